/* Elementary functions of one float, without branches or tables so that compilers make vectors of them. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_MATH_H
#define CM3_CORE_KERNELS_CPU_SIMD_MATH_H

#include <math.h>
#include <stdint.h>

static inline float cm3__float_of_bits(uint32_t bits) {
    const union {
        uint32_t u;
        float f;
    } pun = {.u = bits};
    return pun.f;
}

static inline uint32_t cm3__bits_of_float(float value) {
    const union {
        float f;
        uint32_t u;
    } pun = {.f = value};
    return pun.u;
}

/* e^x within 2 ulp: x = n ln 2 + r, |r| <= ln 2 / 2, and e^r = 1 + r + r^2 P(r) with the P that minimises the relative
 * error. Below -87.3 (smaller than any normal number) it is 0, above 88.3 infinity; NaN stays NaN. */
static inline float cm3__expf(float x) {
    const float lowest = -87.336540f, highest = 88.376259f;
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    float y = x < lowest ? lowest : x;
    y = y > highest ? highest : y;
    const float shifted = y * 1.44269504f + round;
    const float n = shifted - round;
    const float r = (y - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts, the first with few bits */
    float p = 0.00138145126f;
    p = p * r + 0.00836877991f;
    p = p * r + 0.0416683927f;
    p = p * r + 0.166665196f;
    p = p * r + 0.49999994f;
    p = (p * r) * r + r + 1.0f;
    const float power = cm3__float_of_bits((cm3__bits_of_float(shifted) << 23) + 0x3f800000u); /* 2^n */
    float e = p * power;
    e = x < lowest ? 0.0f : e;
    return x > highest ? INFINITY : e;
}

/* 2^x for x < 127, within 3 ulp, for the softmax of attention: 0 below -126.5. */
static inline float cm3__exp2f(float x) {
    const float round = 12582912.0f;
    const float y = x < -127.0f ? -127.0f : x;
    const float shifted = y + round;
    const float r = y - (shifted - round);
    float p = 0.00132647448f;
    p = p * r + 0.00967151299f;
    p = p * r + 0.0555073358f;
    p = p * r + 0.240222424f;
    p = p * r + 0.693147004f;
    p = p * r + 1.0f;
    return p * cm3__float_of_bits((cm3__bits_of_float(shifted) << 23) + 0x3f800000u); /* -127 leaves no bit: 0 */
}

static inline float cm3__sigmoid(float x) {
    return 1.0f / (1.0f + cm3__expf(-x));
}

/* GELU in its tanh form is x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3): no cancellation for negative x. */
static inline float cm3__gelu_argument(float x) {
    return x * (1.59576912f + 0.0713548162f * x * x);
}

static inline float cm3__gelu_slope(float x) {
    return 1.59576912f + 0.214064449f * x * x;
}

#endif
