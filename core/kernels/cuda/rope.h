/* The angles of rotary positions, for ROTARY and QK_NORM: a block computes those of its rows once for all heads. */
#ifndef CM3_CORE_KERNELS_CUDA_ROPE_H
#define CM3_CORE_KERNELS_CUDA_ROPE_H

#include "core/kernels/cuda/packed.h"

typedef struct cm3__rope {
    const int32_t *positions; /* (N); NULL: nothing turns */
    const double *frequency;  /* (D / 2), of the workspace */
} cm3__rope;

/* direction theta^(-2j/d), in double: a position times this must stay exact to f32 for any position. */
static __global__ void rope_frequencies(int64_t half, double theta, double direction, double *frequency) {
    const int64_t j = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (j < half) frequency[j] = direction * pow(theta, -(double)j / (double)half);
}

/* Whole turns are taken off in double; what is left is small enough for f32. */
static __device__ __forceinline__ void rope_angle(double angle, float *cosine, float *sine) {
    constexpr double WHOLE = 6.283185307179586;
    const float rest = (float)(angle - WHOLE * rint(angle / WHOLE));
    sincosf(rest, sine, cosine);
}

/* By all threads of a block, for `rows` rows from `first` on: angles (rows, 2, D / 2), cosines and sines. */
static __device__ __forceinline__ void rope_rows(float *angles, const cm3__rope &t, int64_t first, int rows,
                                                 int64_t half) {
    for (int64_t i = threadIdx.x; i < rows * half; i += blockDim.x) {
        const int64_t r = i / half, j = i % half;
        float *at = angles + r * 2 * half + j;
        rope_angle(t.positions[first + r] * t.frequency[j], at, at + half);
    }
}

/* N pairs by the angles of one row, `cosines` from the first of them on. */
template <int N>
static __device__ __forceinline__ void rope_pairs(float (&low)[N], float (&high)[N], const float *cosines,
                                                  int64_t half) {
    float c[N], s[N];
    load<float, N>(c, cosines);
    load<float, N>(s, cosines + half);
    CM3_UNROLL for (int k = 0; k < N; k++) {
        const float a = low[k], b = high[k];
        low[k] = a * c[k] - b * s[k];
        high[k] = b * c[k] + a * s[k];
    }
}

/* Bytes of the angles of some rows, of dynamic shared memory. */
static inline size_t cm3__rope_shared(const cm3_call *call, int rows) {
    return (size_t)(rows * cm3__heads_of(call).d) * sizeof(float);
}

/* Queues the frequencies: direction 1, or -1 for the transpose, for gradients. Blocks will have `rows` rows. */
static inline cm3_status cm3__rope_of(const cm3_call *call, int input, double direction, int rows, cm3__rope *turn) {
    const int64_t half = cm3__heads_of(call).d / 2;
    double *frequency = (double *)call->workspace;
    if (cm3__rope_shared(call, rows) > 48 << 10)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "rotary: heads of %lld are too large for a GPU", (long long)half * 2);
    CM3_LAUNCH(rope_frequencies, cm3__blocks_for(half, 64), 64, 0, half, (double)call->attr->theta, direction,
               frequency);
    *turn = {(const int32_t *)call->in[input].data, frequency};
    return CM3_OK;
}

#endif
