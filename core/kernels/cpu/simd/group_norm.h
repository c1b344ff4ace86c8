/* A run of pixels of one image, for GROUP_NORM. Everything of a group is given for each of its channels. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_GROUP_NORM_H
#define CM3_CORE_KERNELS_CPU_SIMD_GROUP_NORM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3__group_norm {
    int64_t pixels, channels;
    const float *x;              /* (pixels, channels) */
    float *y;                    /* (pixels, channels): the result, or the gradient of x */
    float *g;                    /* (pixels, channels): the gradient of y, then of the value before the activation */
    const float *factor, *offset; /* (channels): the value before the activation is x factor + offset */
    const float *slope, *shift;  /* (channels): the gradient of x is g factor + x slope + shift */
    const float *pivot;          /* (channels): sums are of x - pivot */
    float *sum, *product;        /* (channels) */
    bool silu, accumulate;
} cm3__group_norm;

#endif
