/* The table of angles of rotary positions (RoPE), for ROTARY and QK_NORM. */
#ifndef CM3_CORE_KERNELS_CPU_ROPE_H
#define CM3_CORE_KERNELS_CPU_ROPE_H

#include "core/kernels/cpu/packed.h"

typedef struct cm3__rope {
    int64_t d;
    const int32_t *positions;
    const double *frequency; /* (D/2) */
    float *table;            /* rows of D/2 cosines and D/2 sines */
    bool shared;             /* row p of the table is for position p, or row i is for row i of the tensor */
} cm3__rope;

/* Bytes, a multiple of 64: D/2 doubles, then up to N rows of the table. */
size_t cm3__rope_workspace(const cm3_call *call);
/* Fills the workspace for the heads of a call's first input; direction 1, or -1 for the transpose, for gradients. */
cm3__rope cm3__rope_of(const cm3_call *call, const int32_t *positions, double direction, void *workspace);

/* Cosines of a row of the tensor; sines follow them. */
static inline const float *cm3__rope_row(const cm3__rope *rope, int64_t row) {
    return rope->table + (rope->shared ? rope->positions[row] : row) * rope->d;
}

#endif
