/* Compiled without contraction of products and sums (cmake/layers.cmake): the same bits at every level. */
#include "core/kernels/cpu/simd/prototypes.h"

#include "core/tensor/tensor.h"

#include <math.h>

void CM3_SIMD(cm3__squares)(double *sum, const float *x, int64_t n) {
    enum { LANES = 16 };
    double lane[LANES] = {0}; /* a fixed number, whatever the processor's vectors hold */
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
    for (int l = 0; i < n; i++, l++) lane[l] += (double)x[i] * (double)x[i];
    *sum = 0;
    for (int l = 0; l < LANES; l++) *sum += lane[l];
}

void CM3_SIMD(cm3__adamw)(const cm3_flat_adamw *update, float clip, float decay, int64_t offset, int64_t n) {
    const cm3_flat_adamw u = *update;
    const float *restrict grad = u.grad + offset;
    float *restrict value = u.value + offset, *restrict m = u.m + offset, *restrict v = u.v + offset;
    for (int64_t i = 0; i < n; i++) {
        const float g = clip * grad[i];
        m[i] = u.beta1 * m[i] + u.gain1 * g;
        v[i] = u.beta2 * v[i] + u.gain2 * (g * g);
        value[i] -= u.rate * (m[i] / (sqrtf(v[i]) + u.epsilon)) + decay * value[i];
    }
    uint16_t *restrict rounded = u.bf16_weights ? (uint16_t *)u.bf16_weights + offset : NULL;
    for (int64_t i = 0; rounded && i < n; i++) rounded[i] = cm3_bf16_of(value[i]);
}
