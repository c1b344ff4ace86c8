/* LAYER_NORM and RMS_NORM: a warp has a row, which comes from memory once and is read again from the first cache. */
#include "core/kernels/cuda/columns.h"
#include "core/kernels/cuda/cuda.h"

constexpr int ROWS = 4; /* of a block */

/* The lane's share of a row: term(column) summed over the columns that it has, N at a time. */
template <int N, typename Term> static __device__ __forceinline__ float lane_sum(int64_t d, Term term) {
    float sum = 0;
    for (int64_t c = (int64_t)(threadIdx.x % CM3_WARP) * N; c < d; c += CM3_WARP * N) sum += term(c);
    return sum;
}

template <typename T, int N>
static __global__ void norm_forward(const T *x, const T *gain, const T *bias, int64_t n, int64_t d, float epsilon,
                                    bool centered, T *y, float *rstd, float *mean) {
    const int64_t row = (int64_t)blockIdx.x * ROWS + threadIdx.x / CM3_WARP;
    if (row >= n) return;
    x += row * d;
    y += row * d;
    float center = 0;
    if (centered)
        center = warp_sum(lane_sum<N>(d, [=](int64_t c) {
                     float v[N], sum = 0;
                     load<T, N>(v, x + c);
                     for (int i = 0; i < N; i++) sum += v[i];
                     return sum;
                 })) / (float)d;
    const float variance = warp_sum(lane_sum<N>(d, [=](int64_t c) {
                               float v[N], sum = 0;
                               load<T, N>(v, x + c);
                               for (int i = 0; i < N; i++) sum += (v[i] - center) * (v[i] - center);
                               return sum;
                           })) / (float)d;
    const float factor = 1.0f / sqrtf(variance + epsilon);
    for (int64_t c = (int64_t)(threadIdx.x % CM3_WARP) * N; c < d; c += CM3_WARP * N) {
        float v[N], g[N], b[N];
        load<T, N>(v, x + c);
        if (gain) load<T, N>(g, gain + c);
        if (bias) load<T, N>(b, bias + c);
        for (int i = 0; i < N; i++) v[i] = (v[i] - center) * factor * (gain ? g[i] : 1.0f) + (bias ? b[i] : 0.0f);
        store<T, N>(y + c, v);
    }
    if (threadIdx.x % CM3_WARP) return;
    if (rstd) rstd[row] = factor;
    if (mean) mean[row] = center;
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gain; mean(g) only where the forward pass was centered. x is the
 * input, or, where it had no gain, the output, which is xhat (`mean` and `scale` NULL). */
template <typename T, int N>
static __global__ void norm_backward(const T *x, const T *gain, const T *dy, const float *mean, const float *scale,
                                     const float *rstd, int64_t n, int64_t d, bool centered, T *dx, bool accumulate) {
    const int64_t row = (int64_t)blockIdx.x * ROWS + threadIdx.x / CM3_WARP;
    if (row >= n) return;
    x += row * d;
    dy += row * d;
    dx += row * d;
    const float shift = mean ? mean[row] : 0.0f, factor = scale ? scale[row] : 1.0f;
    float of_g = 0, of_both = 0;
    for (int64_t c = (int64_t)(threadIdx.x % CM3_WARP) * N; c < d; c += CM3_WARP * N) {
        float v[N], g[N], w[N];
        load<T, N>(v, x + c);
        load<T, N>(g, dy + c);
        if (gain) load<T, N>(w, gain + c);
        for (int i = 0; i < N; i++) {
            const float slope = gain ? g[i] * w[i] : g[i];
            of_g += slope;
            of_both += slope * (v[i] - shift) * factor;
        }
    }
    of_g = centered ? warp_sum(of_g) / (float)d : 0.0f;
    of_both = warp_sum(of_both) / (float)d;
    for (int64_t c = (int64_t)(threadIdx.x % CM3_WARP) * N; c < d; c += CM3_WARP * N) {
        float v[N], g[N], w[N], to[N];
        load<T, N>(v, x + c);
        load<T, N>(g, dy + c);
        if (gain) load<T, N>(w, gain + c);
        if (accumulate) load<T, N>(to, dx + c);
        for (int i = 0; i < N; i++) {
            const float slope = gain ? g[i] * w[i] : g[i];
            const float gradient = rstd[row] * (slope - of_g - (v[i] - shift) * factor * of_both);
            to[i] = accumulate ? to[i] + gradient : gradient;
        }
        store<T, N>(dx + c, to);
    }
}

template <typename T, int N> static void run_forward(const cm3_call *call, bool centered) {
    const int64_t n = call->in[0].shape.dim[0], d = call->in[0].shape.dim[1];
    CM3_LAUNCH((norm_forward<T, N>), cm3__blocks_for(n, ROWS), ROWS * CM3_WARP, 0, (const T *)call->in[0].data,
               (const T *)call->in[1].data, centered ? (const T *)call->in[2].data : nullptr, n, d,
               call->attr->epsilon, centered, (T *)call->out[0].data, (float *)call->out[1].data,
               centered ? (float *)call->out[2].data : nullptr);
}

template <typename T, int N> static void run_backward(const cm3_call *call, bool centered) {
    const int64_t n = call->grad_out.shape.dim[0], d = call->grad_out.shape.dim[1];
    const bool affine = call->in[1].shape.rank > 0;
    const T *x = (const T *)(affine ? call->in[0].data : call->out[0].data), *dy = (const T *)call->grad_out.data;
    const T *gain = affine ? (const T *)call->in[1].data : nullptr;
    const float *rstd = (const float *)call->out[1].data, *scale = affine ? rstd : nullptr;
    const float *mean = affine && centered ? (const float *)call->out[2].data : nullptr;
    float *workspace = (float *)call->workspace;
    if (call->grad_in[1].data)
        column_sums(
            n, d,
            [=] __device__(int64_t r, int64_t c) {
                const float shift = mean ? mean[r] : 0.0f;
                return to_float(dy[r * d + c]) * (to_float(x[r * d + c]) - shift) * rstd[r];
            },
            (float *)call->grad_in[1].data, call->accumulate[1], workspace);
    if (centered && call->grad_in[2].data)
        column_sums(n, d, [=] __device__(int64_t r, int64_t c) { return to_float(dy[r * d + c]); },
                    (float *)call->grad_in[2].data, call->accumulate[2], workspace);
    if (call->grad_in[0].data) /* last: it may be written over dy */
        CM3_LAUNCH((norm_backward<T, N>), cm3__blocks_for(n, ROWS), ROWS * CM3_WARP, 0, x, gain, dy, mean, scale, rstd,
                   n, d, centered, (T *)call->grad_in[0].data, call->accumulate[0]);
}

static cm3_status forward(const cm3_call *call, bool centered) {
    const int64_t d = call->in[0].shape.dim[1];
    CM3_BY_TYPE(call->in[0].type, if (can_use_vectors<T>(d, call->in[0].data, call->out[0].data, call->in[1].data))
                                      run_forward<T, CM3_VEC<T>>(call, centered);
                else run_forward<T, 1>(call, centered));
    return cm3__cuda_launched("norm, forward");
}

static cm3_status backward(const cm3_call *call, bool centered) {
    const int64_t d = call->grad_out.shape.dim[1];
    const void *x = call->in[1].shape.rank ? call->in[0].data : call->out[0].data;
    CM3_BY_TYPE(call->grad_out.type, if (can_use_vectors<T>(d, x, call->grad_out.data, call->grad_in[0].data))
                                         run_backward<T, CM3_VEC<T>>(call, centered);
                else run_backward<T, 1>(call, centered));
    return cm3__cuda_launched("norm, backward");
}

static cm3_status layer_norm_forward(const cm3_call *call) {
    return forward(call, true);
}

static cm3_status layer_norm_backward(const cm3_call *call) {
    return backward(call, true);
}

static cm3_status rms_norm_forward(const cm3_call *call) {
    return forward(call, false);
}

static cm3_status rms_norm_backward(const cm3_call *call) {
    return backward(call, false);
}

CM3__CUDA_KERNEL(layer_norm, layer_norm_forward, layer_norm_backward);
CM3__CUDA_KERNEL(rms_norm, rms_norm_forward, rms_norm_backward);
