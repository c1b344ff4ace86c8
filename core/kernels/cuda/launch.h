/* What every kernel of this folder is written against: launching, bfloat16, vectors of 16 bytes, sums over a block.
 *
 * The same sources have two compilers. nvcc makes device code of them; the tests compile them as plain C++ for the
 * host, where tests/support/simt runs the threads of a block as fibers, so that every kernel goes through every
 * operation case without a GPU, under the address sanitizer. So kernels keep to what both understand: what this header
 * offers, barriers, shuffles and atomics. */
#ifndef CM3_CORE_KERNELS_CUDA_LAUNCH_H
#define CM3_CORE_KERNELS_CUDA_LAUNCH_H

extern "C" {
#include "core/status.h"
#include "core/tensor/op.h"
}

#ifdef __CUDACC__
#include "core/kernels/cuda/stream.h"

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#else
#include <simt.h> /* tests/support/simt */
#endif

#include <stdint.h>

/* --- launching --------------------------------------------------------------------------------------------------- */

/* CM3_LAUNCH((kernel<T>), blocks, threads, shared_bytes, arguments ...) on the backend's stream. */
#ifdef __CUDACC__
#define CM3_LAUNCH(kernel, blocks, threads, shared, ...)                                                               \
    (kernel)<<<(blocks), (threads), (shared), cm3__cuda_stream()>>>(__VA_ARGS__)
/* The block's dynamic shared memory. */
#define CM3_SHARED(type, name)                                                                                         \
    extern __shared__ __align__(16) unsigned char cm3__dynamic_shared[];                                               \
    type *name = (type *)cm3__dynamic_shared
#else
#define CM3_LAUNCH(kernel, blocks, threads, shared, ...)                                                               \
    simt_launch(#kernel, (blocks), (threads), (shared), simt_bind((kernel), __VA_ARGS__))
#define CM3_SHARED(type, name) type *name = (type *)simt_shared()
#endif

/* Before a launch with more than 48 KiB of dynamic shared memory: lets (kernel) have that much. */
#ifdef __CUDACC__
#define CM3_ALLOW_SHARED(kernel, bytes)                                                                                \
    (void)cudaFuncSetAttribute((kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes))
#else
#define CM3_ALLOW_SHARED(kernel, bytes) ((void)(kernel), (void)(bytes))
#endif

/* CM3_UNROLL before a loop with constant bounds. */
#ifdef __CUDACC__
#define CM3_UNROLL _Pragma("unroll")
#else
#define CM3_UNROLL
#endif

/* Whether the launches since the last call could be queued. */
extern "C" cm3_status cm3__cuda_launched(const char *what);

/* Runs the statements with T = bf16 or float. */
#define CM3_BY_TYPE(type, ...)                                                                                         \
    do {                                                                                                               \
        if ((type) == CM3_BF16) {                                                                                      \
            typedef bf16 T;                                                                                            \
            __VA_ARGS__;                                                                                               \
        } else {                                                                                                       \
            typedef float T;                                                                                           \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

static inline unsigned cm3__blocks_for(int64_t count, int64_t each) {
    return (unsigned)((count + each - 1) / each);
}

/* --- numbers ----------------------------------------------------------------------------------------------------- */

constexpr int CM3_WARP = 32;
constexpr float CM3_LOG2_E = 1.4426950408889634f, CM3_LN_2 = 0.6931471805599453f;

typedef struct bf16 {
    uint16_t bits;
} bf16;

static __device__ __forceinline__ float to_float(float x) {
    return x;
}

static __device__ __forceinline__ float to_float(bf16 x) {
    return __uint_as_float((uint32_t)x.bits << 16);
}

/* Round to nearest, ties to even. */
template <typename T> static __device__ __forceinline__ T from_float(float x);

template <> __device__ __forceinline__ float from_float<float>(float x) {
    return x;
}

template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) {
    bf16 y;
#ifdef __CUDACC__
    y.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
    const uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        y.bits = 0x7fff;
    else
        y.bits = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
#endif
    return y;
}

/* N neighbours that travel in one access; rows whose length or address does not allow 16 bytes use N = 1. */
template <typename T, int N> struct alignas(sizeof(T) * N) vec {
    T at[N];
};

template <typename T> constexpr int CM3_VEC = 16 / (int)sizeof(T);

/* Accesses of at most 16 bytes, however many of T they bring. */
template <typename T, int N> constexpr int CM3_PIECE = N < CM3_VEC<T> ? N : CM3_VEC<T>;

template <typename T, int N> static __device__ __forceinline__ void load(float (&to)[N], const T *from) {
    constexpr int P = CM3_PIECE<T, N>;
    CM3_UNROLL for (int p = 0; p < N; p += P) {
        const vec<T, P> v = *(const vec<T, P> *)(from + p);
        CM3_UNROLL for (int i = 0; i < P; i++) to[p + i] = to_float(v.at[i]);
    }
}

template <typename T, int N> static __device__ __forceinline__ void store(T *to, const float (&from)[N]) {
    constexpr int P = CM3_PIECE<T, N>;
    CM3_UNROLL for (int p = 0; p < N; p += P) {
        vec<T, P> v;
        CM3_UNROLL for (int i = 0; i < P; i++) v.at[i] = from_float<T>(from[p + i]);
        *(vec<T, P> *)(to + p) = v;
    }
}

/* Whether rows of `width` elements that start at these addresses (NULL: does not matter) can go 16 bytes at a time. */
template <typename T> static inline bool can_use_vectors(int64_t width, const void *a, const void *b = nullptr,
                                                         const void *c = nullptr) {
    return width % CM3_VEC<T> == 0 && ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
}

/* --- sums over warps and blocks: fixed order, every thread gets the result --------------------------------------- */

static __device__ __forceinline__ float warp_sum(float x) {
    CM3_UNROLL for (int step = CM3_WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

static __device__ __forceinline__ float warp_most(float x) {
    CM3_UNROLL for (int step = CM3_WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

/* blockDim.x is a multiple of 32 and at most 1024; all threads of the block take part. */
static __device__ __forceinline__ float block_sum(float x) {
    __shared__ float part[CM3_WARP];
    const int lane = (int)threadIdx.x % CM3_WARP, warp = (int)threadIdx.x / CM3_WARP;
    x = warp_sum(x);
    __syncthreads(); /* an earlier sum has been read */
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return warp_sum(lane < (int)blockDim.x / CM3_WARP ? part[lane] : 0.0f);
}

static __device__ __forceinline__ float block_most(float x) {
    __shared__ float part[CM3_WARP];
    const int lane = (int)threadIdx.x % CM3_WARP, warp = (int)threadIdx.x / CM3_WARP;
    x = warp_most(x);
    __syncthreads();
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return warp_most(lane < (int)blockDim.x / CM3_WARP ? part[lane] : -INFINITY);
}

#endif
