#include "core/kernels/cpu/simd/math.h"
#include "core/kernels/cpu/simd/prototypes.h"

/* sum = sum of x - pivot, product = sum of its squares */
void CM3_SIMD(cm3__group_norm_moments)(const cm3__group_norm *n) {
    const int64_t channels = n->channels;
    const float *restrict pivot = n->pivot;
    float *restrict sum = n->sum, *restrict square = n->product;
    for (int64_t c = 0; c < channels; c++) sum[c] = square[c] = 0;
    for (int64_t p = 0; p < n->pixels; p++) {
        const float *restrict x = n->x + p * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            const float d = x[c] - pivot[c];
            sum[c] += d;
            square[c] += d * d;
        }
    }
}

/* y = act(x factor + offset) */
void CM3_SIMD(cm3__group_norm_apply)(const cm3__group_norm *n) {
    const int64_t channels = n->channels;
    const float *restrict factor = n->factor, *restrict offset = n->offset;
    for (int64_t p = 0; p < n->pixels; p++) {
        const float *restrict x = n->x + p * channels;
        float *restrict y = n->y + p * channels;
        if (n->silu) {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) {
                const float value = x[c] * factor[c] + offset[c];
                y[c] = value * cm3__sigmoid(value);
            }
        } else {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) y[c] = x[c] * factor[c] + offset[c];
        }
    }
}

/* g = g act'(x factor + offset); sum = sum of g, product = sum of g (x - pivot) */
void CM3_SIMD(cm3__group_norm_slopes)(const cm3__group_norm *n) {
    const int64_t channels = n->channels;
    const float *restrict factor = n->factor, *restrict offset = n->offset, *restrict pivot = n->pivot;
    float *restrict sum = n->sum, *restrict product = n->product;
    for (int64_t c = 0; c < channels; c++) sum[c] = product[c] = 0;
    for (int64_t p = 0; p < n->pixels; p++) {
        const float *restrict x = n->x + p * channels;
        float *restrict g = n->g + p * channels;
        if (n->silu) {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) {
                const float value = x[c] * factor[c] + offset[c], s = cm3__sigmoid(value);
                g[c] *= s * (1 + value * (1 - s));
            }
        }
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            sum[c] += g[c];
            product[c] += g[c] * (x[c] - pivot[c]);
        }
    }
}

/* y = [y +] g factor + x slope + shift; y may be g */
void CM3_SIMD(cm3__group_norm_gradient)(const cm3__group_norm *n) {
    const int64_t channels = n->channels;
    const float *restrict factor = n->factor, *restrict slope = n->slope, *restrict shift = n->shift;
    for (int64_t p = 0; p < n->pixels; p++) {
        const float *x = n->x + p * channels, *g = n->g + p * channels;
        float *y = n->y + p * channels;
        if (n->accumulate) {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) y[c] += g[c] * factor[c] + (x[c] * slope[c] + shift[c]);
        } else {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) y[c] = g[c] * factor[c] + (x[c] * slope[c] + shift[c]);
        }
    }
}
