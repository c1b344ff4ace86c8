/* One row of a normalisation, for LAYER_NORM, RMS_NORM and QK_NORM alike. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_NORM_H
#define CM3_CORE_KERNELS_CPU_SIMD_NORM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3__norm_row {
    int64_t d;
    bool centered;            /* subtract the mean (layer norm), or not (RMS norm) */
    const float *x;           /* (d) */
    const float *gain, *bias; /* (d), each may be NULL: 1 and 0 */
    /* forward */
    float epsilon;
    float *y;           /* (d) */
    float *mean, *rstd; /* of this row; mean may be NULL */
    /* backward: normalised x = (x - shift) factor, which lets x be the plain norm's own output (shift 0, factor 1) */
    float shift, factor, inverse_deviation;
    const float *dy;      /* (d) */
    float *dx;            /* (d), may be dy; NULL: not wanted */
    bool accumulate;      /* dx += */
    float *dgain, *dbias; /* (d), added to; each may be NULL */
} cm3__norm_row;

#endif
