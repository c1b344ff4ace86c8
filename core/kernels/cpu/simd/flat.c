/* Compiled without contraction of products and sums (cmake/layers.cmake): the same bits at every level. */
#include "core/kernels/cpu/simd/prototypes.h"

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

/* To nearest, ties to even, as a GPU rounds. */
static void round_to_bf16(uint16_t *restrict to, const float *restrict from, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const union {
            float value;
            uint32_t bits;
        } x = {.value = from[i]};
        to[i] = (uint16_t)((x.bits + 0x7fff + (x.bits >> 16 & 1)) >> 16);
    }
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
    if (u.bf16_weights) round_to_bf16((uint16_t *)u.bf16_weights + offset, value, n);
}
