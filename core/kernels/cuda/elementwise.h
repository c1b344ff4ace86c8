/* Elementwise passes over memory, 16 bytes at a time where they can: one function of each element. */
#ifndef CM3_CORE_KERNELS_CUDA_ELEMENTWISE_H
#define CM3_CORE_KERNELS_CUDA_ELEMENTWISE_H

#include "core/kernels/cuda/launch.h"

constexpr int CM3_ELEMENTWISE_THREADS = 256;

/* y = f(x0, x1), or y += it. X1 may be NULL. Each of a type of its own; N elements a thread. */
template <int N, typename Y, typename X0, typename X1, typename F>
static __global__ void elementwise(int64_t count, const X0 *x0, const X1 *x1, Y *y, bool accumulate, F f) {
    const int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (at >= count) return;
    float a[N], b[N] = {}, to[N] = {};
    load<X0, N>(a, x0 + at);
    if (x1) load<X1, N>(b, x1 + at);
    if (accumulate) load<Y, N>(to, y + at);
    CM3_UNROLL for (int i = 0; i < N; i++) to[i] += f(a[i], b[i]);
    store<Y, N>(y + at, to);
}

template <typename Y, typename X0, typename X1, typename F>
static void run_elementwise(int64_t count, const X0 *x0, const X1 *x1, Y *y, bool accumulate, F f) {
    constexpr int WIDE = 16 / (sizeof(Y) > sizeof(X0) ? (int)sizeof(Y) : (int)sizeof(X0));
    constexpr int THREADS = CM3_ELEMENTWISE_THREADS;
    if (count <= 0) return;
    if (count % WIDE == 0 && ((uintptr_t)x0 | (uintptr_t)x1 | (uintptr_t)y) % 16 == 0)
        CM3_LAUNCH((elementwise<WIDE, Y, X0, X1, F>), cm3__blocks_for(count, WIDE * THREADS), THREADS, 0, count, x0, x1,
                   y, accumulate, f);
    else
        CM3_LAUNCH((elementwise<1, Y, X0, X1, F>), cm3__blocks_for(count, THREADS), THREADS, 0, count, x0, x1, y,
                   accumulate, f);
}

#endif
