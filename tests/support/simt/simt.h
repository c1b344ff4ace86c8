/* A block of GPU threads on the host: every thread is a fiber, one of them runs at a time, and barriers and shuffles
 * hand over to the next. Shared memory is ordinary memory (statics, and a buffer of exactly the size of the launch), so
 * the address sanitizer sees every access. What a real device leaves undefined ends the program with a message: a
 * barrier that not all threads reach, a shuffle with a lane that has left. */
#ifndef CM3_TESTS_SUPPORT_SIMT_H
#define CM3_TESTS_SUPPORT_SIMT_H

#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* Of the thread that runs. */
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

/* The stream: what is queued is done at once, or kept while a graph is made (device.cpp). */
void simt_queue(const std::function<void()> &work);
extern double simt_clock; /* in seconds, of which everything that is queued takes one */
/* Queues a kernel, whose blocks run one after the other. */
void simt_launch(const char *kernel, dim3 blocks, dim3 threads, size_t shared_bytes,
                 const std::function<void()> &thread);
void *simt_shared(void);
/* A thread of the kernel, with its arguments as they are now. */
template <typename... P, typename... A> std::function<void()> simt_bind(void (*kernel)(P...), A... arguments) {
    return [=] { kernel(arguments...); };
}

void __syncthreads(void);
void __syncwarp(unsigned mask = 0xffffffffu);
/* All lanes of `mask` give 64 bits and see each other's: what shuffles and votes are made of. */
const uint64_t *simt_exchange(unsigned mask, uint64_t bits);

template <typename T> uint64_t simt_bits(T value) {
    static_assert(sizeof(T) <= 8, "a lane exchanges at most 64 bits");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <typename T> T simt_value(uint64_t bits) {
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int simt_lane(void) {
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

template <typename T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    const int base = simt_lane() / width * width;
    return simt_value<T>(simt_exchange(mask, simt_bits(value))[base + lane % width]);
}

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    (void)width;
    return simt_value<T>(simt_exchange(mask, simt_bits(value))[simt_lane() ^ with]);
}

template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const int lane = simt_lane(), from = lane - (int)by;
    const uint64_t *all = simt_exchange(mask, simt_bits(value));
    return simt_value<T>(all[from >= 0 && from / width == lane / width ? from : lane]);
}

/* Lanes of `mask` that give the same value. */
template <typename T> unsigned __match_any_sync(unsigned mask, T value) {
    const uint64_t *all = simt_exchange(mask, simt_bits(value));
    unsigned same = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1 && all[lane] == simt_bits(value)) same |= 1u << lane;
    return same;
}

static inline int __popc(unsigned bits) {
    return __builtin_popcount(bits);
}

/* One thread runs at a time: plain memory is atomic. */
template <typename T> T atomicAdd(T *at, T by) {
    const T before = *at;
    *at = before + by;
    return before;
}

static inline float __uint_as_float(uint32_t bits) {
    return simt_value<float>(bits);
}

static inline uint32_t __float_as_uint(float value) {
    return (uint32_t)simt_bits(value);
}

/* Rounded each: never fused into one. */
static inline float __fadd_rn(float a, float b) {
    return a + b;
}

static inline float __fmul_rn(float a, float b) {
    return a * b;
}

template <typename T> static inline T min(T a, T b) {
    return b < a ? b : a;
}

template <typename T> static inline T max(T a, T b) {
    return a < b ? b : a;
}

#endif
