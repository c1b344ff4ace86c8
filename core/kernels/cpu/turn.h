/* The angles of rotary positions, for ROTARY and QK_NORM. */
#ifndef CM3_CORE_KERNELS_CPU_TURN_H
#define CM3_CORE_KERNELS_CPU_TURN_H

#include "core/kernels/cpu/packed.h"

typedef struct cm3__turn {
    int64_t d;
    const int32_t *positions;
    const double *frequency; /* (D/2) */
    float *table;            /* rows of D/2 cosines and D/2 sines */
    bool shared;             /* row p of the table is for position p, or row i is for row i of the tensor */
} cm3__turn;

/* Bytes, a multiple of 64: D/2 doubles, then up to N rows of the table. */
size_t cm3__turn_workspace(const cm3_call *call);
/* Fills the workspace for the heads of a call's first input; direction 1, or -1 for the transpose, for gradients. */
cm3__turn cm3__turn_of(const cm3_call *call, const int32_t *positions, double direction, void *workspace);

/* Cosines of a row of the tensor; sines follow them. */
static inline const float *cm3__turn_row(const cm3__turn *turn, int64_t row) {
    return turn->table + (turn->shared ? turn->positions[row] : row) * turn->d;
}

#endif
