#include "core/kernels/cpu/simd/math.h"
#include "core/kernels/cpu/simd/prototypes.h"

void CM3_SIMD(cm3__exp)(float *y, const float *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = cm3__expf(x[i]);
}

/* --- activations ------------------------------------------------------------------------------------------------- */

static inline float activate(cm3_activation act, float x) {
    switch (act) {
    case CM3_ACT_RELU:
        return x > 0 ? x : 0;
    case CM3_ACT_GELU:
        return x * cm3__sigmoid(cm3__gelu_argument(x));
    case CM3_ACT_SILU:
        return x * cm3__sigmoid(x);
    default:
        return x;
    }
}

/* The derivative of act, from its output for RELU and from its input else. */
static inline float slope(cm3_activation act, float value) {
    float s;
    switch (act) {
    case CM3_ACT_RELU:
        return value > 0 ? 1 : 0;
    case CM3_ACT_GELU:
        s = cm3__sigmoid(cm3__gelu_argument(value));
        return s + value * s * (1 - s) * cm3__gelu_slope(value);
    case CM3_ACT_SILU:
        s = cm3__sigmoid(value);
        return s + value * s * (1 - s);
    default:
        return 1;
    }
}

static inline __attribute__((always_inline)) void activate_all(float *y, float *pre, const float *bias,
                                                               cm3_activation act, int64_t n) {
    if (bias) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] += bias[i];
    }
    if (pre) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            pre[i] = y[i];
            y[i] = activate(act, y[i]);
        }
    } else if (act != CM3_ACT_NONE) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = activate(act, y[i]);
    }
}

void CM3_SIMD(cm3__bias_activate)(float *y, float *pre, const float *bias, cm3_activation act, int64_t n) {
    switch (act) { /* a constant in each call, so that every loop holds one activation only */
    case CM3_ACT_RELU:
        activate_all(y, pre, bias, CM3_ACT_RELU, n);
        break;
    case CM3_ACT_GELU:
        activate_all(y, pre, bias, CM3_ACT_GELU, n);
        break;
    case CM3_ACT_SILU:
        activate_all(y, pre, bias, CM3_ACT_SILU, n);
        break;
    default:
        activate_all(y, pre, bias, CM3_ACT_NONE, n);
        break;
    }
}

static inline __attribute__((always_inline)) void backward_all(float *dx, const float *dy, const float *value,
                                                               cm3_activation act, bool accumulate, int64_t n) {
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] += dy[i] * slope(act, value[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * slope(act, value[i]);
    }
}

void CM3_SIMD(cm3__activate_backward)(float *dx, const float *dy, const float *value, cm3_activation act,
                                      bool accumulate, int64_t n) {
    switch (act) {
    case CM3_ACT_RELU:
        backward_all(dx, dy, value, CM3_ACT_RELU, accumulate, n);
        break;
    case CM3_ACT_GELU:
        backward_all(dx, dy, value, CM3_ACT_GELU, accumulate, n);
        break;
    case CM3_ACT_SILU:
        backward_all(dx, dy, value, CM3_ACT_SILU, accumulate, n);
        break;
    default:
        backward_all(dx, dy, dy, CM3_ACT_NONE, accumulate, n);
        break;
    }
}

void CM3_SIMD(cm3__swiglu)(float *y, const float *gate, const float *up, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = activate(CM3_ACT_SILU, gate[i]) * up[i];
}

void CM3_SIMD(cm3__swiglu_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                                    bool accumulate, int64_t n) {
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float s = cm3__sigmoid(gate[i]), g = dy[i];
            dgate[i] += g * up[i] * s * (1 + gate[i] * (1 - s));
            dup[i] += g * gate[i] * s;
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float s = cm3__sigmoid(gate[i]), g = dy[i];
            dgate[i] = g * up[i] * s * (1 + gate[i] * (1 - s));
            dup[i] = g * gate[i] * s;
        }
    }
}

void CM3_SIMD(cm3__rotate)(float *y, const float *x, const float *cosine, const float *sine, bool accumulate,
                           int64_t n) {
    if (accumulate) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            const float a = x[j], b = x[n + j];
            y[j] += a * cosine[j] - b * sine[j];
            y[n + j] += a * sine[j] + b * cosine[j];
        }
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            const float a = x[j], b = x[n + j];
            y[j] = a * cosine[j] - b * sine[j];
            y[n + j] = a * sine[j] + b * cosine[j];
        }
    }
}

void CM3_SIMD(cm3__mask_make)(uint32_t *mask, const float *x, int64_t n) {
    for (int64_t first = 0; first < n; first += 32, mask++) {
        const int lanes = n - first < 32 ? (int)(n - first) : 32;
        uint32_t word = 0;
#pragma omp simd reduction(| : word)
        for (int i = 0; i < lanes; i++) word |= x[first + i] > 0 ? UINT32_C(1) << i : 0;
        *mask = word;
    }
}

void CM3_SIMD(cm3__mask_apply)(float *x, const uint32_t *mask, int64_t n) {
    for (int64_t first = 0; first < n; first += 32, mask++) {
        const int lanes = n - first < 32 ? (int)(n - first) : 32;
        const uint32_t word = *mask;
#pragma omp simd
        for (int i = 0; i < lanes; i++) x[first + i] = word >> i & 1 ? x[first + i] : 0;
    }
}

/* --- softmax of one row ------------------------------------------------------------------------------------------ */

static float largest(const float *x, int64_t n) {
    enum { LANES = 64 }; /* maxima of every 64th value: unlike one maximum, these are independent of each other */
    float most[LANES], all = -INFINITY;
    for (int l = 0; l < LANES; l++) most[l] = -INFINITY;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
#pragma omp simd
        for (int l = 0; l < LANES; l++) most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
    for (; i < n; i++) most[i % LANES] = x[i] > most[i % LANES] ? x[i] : most[i % LANES];
    for (int l = 0; l < LANES; l++) all = most[l] > all ? most[l] : all;
    return all;
}

void CM3_SIMD(cm3__log_sum_exp)(float *lse, const float *x, int64_t n) {
    const float most = largest(x, n);
    enum { BLOCK = 2048 }; /* short float sums, then a double one: the error does not grow with the vocabulary */
    double total = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t end = start + BLOCK < n ? start + BLOCK : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = start; i < end; i++) sum += cm3__expf(x[i] - most);
        total += (double)sum;
    }
    *lse = most + (float)log(total);
}

void CM3_SIMD(cm3__softmax_scaled)(float *x, float lse, float factor, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) x[i] = cm3__expf(x[i] - lse) * factor;
}
