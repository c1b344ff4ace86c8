#include "core/kernels/cpu/simd/norm.h"
#include "core/kernels/cpu/simd/prototypes.h"

#include <math.h>

void CM3_SIMD(cm3__norm_forward)(const cm3__norm_row *row) {
    const float *x = row->x, *gain = row->gain, *bias = row->bias;
    float *y = row->y;
    const int64_t d = row->d;
    float mean = 0, square = 0;
    if (row->centered) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < d; i++) sum += x[i];
        mean = sum / (float)d;
    }
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < d; i++) square += (x[i] - mean) * (x[i] - mean);
    const float rstd = 1.0f / sqrtf(square / (float)d + row->epsilon);
    if (gain && bias) {
#pragma omp simd
        for (int64_t i = 0; i < d; i++) y[i] = (x[i] - mean) * rstd * gain[i] + bias[i];
    } else if (gain) {
#pragma omp simd
        for (int64_t i = 0; i < d; i++) y[i] = (x[i] - mean) * rstd * gain[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < d; i++) y[i] = (x[i] - mean) * rstd;
    }
    if (row->mean) *row->mean = mean;
    *row->rstd = rstd;
}

/* With g = dy gain and n the normalised x: dx = rstd (g - mean(g) - n mean(g n)), the second term only when centered.
 */
void CM3_SIMD(cm3__norm_backward)(const cm3__norm_row *row) {
    const float *x = row->x, *gain = row->gain, *dy = row->dy;
    float *dx = row->dx, *dgain = row->dgain, *dbias = row->dbias;
    const float shift = row->shift, factor = row->factor, rstd = row->inverse_deviation;
    const int64_t d = row->d;
    if (dgain) {
#pragma omp simd
        for (int64_t i = 0; i < d; i++) dgain[i] += dy[i] * (x[i] - shift) * factor;
    }
    if (dbias) {
#pragma omp simd
        for (int64_t i = 0; i < d; i++) dbias[i] += dy[i];
    }
    if (!dx) return;
    float sum = 0, product = 0;
    if (gain) {
#pragma omp simd reduction(+ : sum, product)
        for (int64_t i = 0; i < d; i++) {
            const float g = dy[i] * gain[i];
            sum += g;
            product += g * (x[i] - shift) * factor;
        }
    } else {
#pragma omp simd reduction(+ : sum, product)
        for (int64_t i = 0; i < d; i++) {
            sum += dy[i];
            product += dy[i] * (x[i] - shift) * factor;
        }
    }
    const float mean = row->centered ? sum / (float)d : 0, slope = product / (float)d;
    if (row->accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < d; i++) {
            const float g = gain ? dy[i] * gain[i] : dy[i];
            dx[i] += rstd * (g - mean - (x[i] - shift) * factor * slope);
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < d; i++) {
            const float g = gain ? dy[i] * gain[i] : dy[i];
            dx[i] = rstd * (g - mean - (x[i] - shift) * factor * slope);
        }
    }
}
