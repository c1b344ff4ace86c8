/* UPSAMPLE and AVERAGE_POOL. Each is the other's gradient, up to a factor: a thread has one place of the small image
 * and the four of the large one that go with it. */
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/launch.h"

constexpr int THREADS = 256;

/* A vector of channels of the small image, and of the upper left one of its four. */
typedef struct places {
    int64_t small, large;
} places;

static __device__ __forceinline__ places places_of(int64_t at, int64_t columns, int64_t channels) {
    const int64_t width = columns * channels, row = at / width, x = (at % width) / channels, c = at % channels;
    return {at, (row * 2 * columns * 2 + 2 * x) * channels + c};
}

/* large = [large +] factor small, over 2 x 2 pixels */
template <int N>
static __global__ void spread(const float *small, int64_t count, int64_t columns, int64_t channels, float factor,
                              float *large, bool accumulate) {
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at >= count) return;
    const places p = places_of(at, columns, channels);
    float x[N];
    load<float, N>(x, small + p.small);
    CM3_UNROLL for (int i = 0; i < 4; i++) {
        float *to = large + p.large + i / 2 * 2 * columns * channels + i % 2 * channels, y[N] = {};
        if (accumulate) load<float, N>(y, to);
        CM3_UNROLL for (int k = 0; k < N; k++) y[k] += factor * x[k];
        store<float, N>(to, y);
    }
}

/* small = [small +] factor times the sum of 2 x 2 pixels of large */
template <int N>
static __global__ void gather(const float *large, int64_t count, int64_t columns, int64_t channels, float factor,
                              float *small, bool accumulate) {
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at >= count) return;
    const places p = places_of(at, columns, channels);
    float sum[N] = {}, y[N] = {};
    CM3_UNROLL for (int i = 0; i < 4; i++) {
        float x[N];
        load<float, N>(x, large + p.large + i / 2 * 2 * columns * channels + i % 2 * channels);
        CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += x[k];
    }
    if (accumulate) load<float, N>(y, small + p.small);
    CM3_UNROLL for (int k = 0; k < N; k++) y[k] += factor * sum[k];
    store<float, N>(small + p.small, y);
}

template <int N>
static void run(const cm3_shape *small, bool spreads, const float *from, float factor, float *to, bool accumulate) {
    const int64_t count = cm3_shape_count(*small), columns = small->dim[2], channels = small->dim[3];
    const unsigned blocks = cm3__blocks_for(count, N * THREADS);
    if (count <= 0) return;
    if (spreads)
        CM3_LAUNCH((spread<N>), blocks, THREADS, 0, from, count, columns, channels, factor, to, accumulate);
    else
        CM3_LAUNCH((gather<N>), blocks, THREADS, 0, from, count, columns, channels, factor, to, accumulate);
}

static cm3_status resample(const cm3_tensor *small, bool spreads, const void *from, float factor, void *to,
                           bool accumulate) {
    if (!to) return CM3_OK;
    if (can_use_vectors<float>(small->shape.dim[3], from, to))
        run<CM3_VEC<float>>(&small->shape, spreads, (const float *)from, factor, (float *)to, accumulate);
    else
        run<1>(&small->shape, spreads, (const float *)from, factor, (float *)to, accumulate);
    return cm3__cuda_launched("resampling");
}

static cm3_status upsample(const cm3_call *call) {
    return resample(&call->in[0], true, call->in[0].data, 1, call->out[0].data, false);
}

static cm3_status upsample_backward(const cm3_call *call) {
    return resample(&call->in[0], false, call->grad_out.data, 1, call->grad_in[0].data, call->accumulate[0]);
}

static cm3_status average_pool(const cm3_call *call) {
    return resample(&call->out[0], false, call->in[0].data, 0.25f, call->out[0].data, false);
}

static cm3_status average_pool_backward(const cm3_call *call) {
    return resample(&call->grad_out, true, call->grad_out.data, 0.25f, call->grad_in[0].data, call->accumulate[0]);
}

CM3__CUDA_KERNEL(upsample, upsample, upsample_backward);
CM3__CUDA_KERNEL(average_pool, average_pool, average_pool_backward);
