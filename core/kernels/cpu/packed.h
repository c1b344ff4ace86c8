/* Packed heads, (N, (H+2G) D): a row has H heads of q, then G of k, then G of v; N is batch times sequence. */
#ifndef CM3_CORE_KERNELS_CPU_PACKED_H
#define CM3_CORE_KERNELS_CPU_PACKED_H

#include "core/kernels/cpu/kernel.h"

typedef struct cm3__packed {
    int64_t rows, width;        /* width: floats of one row */
    int64_t heads, kv_heads, d; /* H, G, D */
    int64_t batch, sequence;    /* 0, 0 where the operation does not know of sequences */
} cm3__packed;

/* Of the first input of a call. */
static inline cm3__packed cm3__packed_of(const cm3_call *call) {
    const cm3_op_attr *attr = call->attr;
    const int64_t rows = cm3__dim(&call->in[0], 0), width = cm3__dim(&call->in[0], 1);
    return (cm3__packed){.rows = rows,
                         .width = width,
                         .heads = attr->heads,
                         .kv_heads = attr->kv_heads,
                         .d = width / (attr->heads + 2 * attr->kv_heads),
                         .batch = attr->sequence ? rows / attr->sequence : 0,
                         .sequence = attr->sequence};
}

/* The head of k and v that head `head` of q reads; heads that share one follow each other. */
static inline int64_t cm3__packed_kv_head(const cm3__packed *s, int64_t head) {
    return head * s->kv_heads / s->heads;
}

#endif
