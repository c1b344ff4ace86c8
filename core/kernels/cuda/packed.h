/* Packed heads, (N, (H+2G) D): a row has H heads of q, then G of k, then G of v. */
#ifndef CM3_CORE_KERNELS_CUDA_PACKED_H
#define CM3_CORE_KERNELS_CUDA_PACKED_H

#include "core/kernels/cuda/launch.h"

typedef struct cm3__heads {
    int64_t rows, width; /* width: elements of a row */
    int64_t q, kv, d;    /* H, G, D */
} cm3__heads;

/* Of the first input of a call. */
static inline cm3__heads cm3__heads_of(const cm3_call *call) {
    const cm3_op_attr *attr = call->attr;
    const int64_t rows = call->in[0].shape.dim[0], width = call->in[0].shape.dim[1];
    return {rows, width, attr->heads, attr->kv_heads, width / (attr->heads + 2 * attr->kv_heads)};
}

#endif
