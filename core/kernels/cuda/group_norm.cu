/* GROUP_NORM with an optional SiLU behind it. An image is cut into stretches of pixels; a block sums a stretch for its
 * channels, then a warp a group puts the sums together, in double and in a fixed order. So the image crosses memory
 * twice: for its sums, and for the result. */
#include "core/kernels/cuda/activation.h"
#include "core/kernels/cuda/columns.h"
#include "core/kernels/cuda/cuda.h"

constexpr int THREADS = CM3__GROUP_NORM_THREADS, WARPS = THREADS / CM3_WARP;

typedef cm3__group_layout layout;

/* Threads of a block: `columns` have vectors of channels, each of `rows` other pixels. */
typedef struct block_form {
    int columns, rows;
} block_form;

static block_form form_of(int64_t channels, int n) {
    const int64_t vectors = channels / n;
    const int columns = vectors < THREADS ? (int)vectors : THREADS;
    return {columns, THREADS / columns};
}

/* Where a thread is: its channels, and the pixels first, first + rows, ... before last of image `image`. */
typedef struct spot {
    int64_t image, stretch, first, last, channel;
} spot;

static __device__ __forceinline__ spot spot_of(const layout &s, int n) {
    const int64_t image = blockIdx.x / s.stretches, stretch = blockIdx.x % s.stretches, begin = stretch * s.stretch;
    return {image, stretch, begin + threadIdx.y, min(begin + s.stretch, s.pixels),
            ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * n};
}

/* --- sums -------------------------------------------------------------------------------------------------------- */

/* What a channel of an image is made with. */
typedef struct channel_of {
    float mean, rstd, factor, offset; /* before the activation: factor x + offset */
} channel_of;

typedef struct tables {
    const float *mean, *rstd, *gain, *bias;
} tables;

static __device__ __forceinline__ channel_of channel_at(const tables &t, const layout &s, int64_t image, int64_t c) {
    const int64_t group = image * s.groups + c / s.width;
    const float mean = t.mean[group], rstd = t.rstd[group], factor = rstd * t.gain[c];
    return {mean, rstd, factor, t.bias[c] - mean * factor};
}

/* g, the gradient before the activation */
static __device__ __forceinline__ float gradient_before(float dy, float x, const channel_of &c, bool silu) {
    return silu ? dy * slope(x * c.factor + c.offset, CM3_ACT_SILU) : dy;
}

/* Forward (dy NULL): for each channel of a stretch the sums of x - pivot and of its square; the pivot is the image's
 * first value of the channel, so that nothing cancels. Backward: the sums of g and of g (x - mean). */
template <int N>
static __global__ void stretch_sums(const float *x, const float *dy, tables t, layout s, bool silu, float *sums) {
    __shared__ float part[2][THREADS * N];
    const spot p = spot_of(s, N);
    const bool mine = p.channel < s.channels;
    float sum[N] = {}, product[N] = {}, pivot[N] = {};
    channel_of made[N] = {};
    if (mine) {
        const int64_t image = p.image * s.pixels * s.channels + p.channel;
        if (!dy) load<float, N>(pivot, x + image);
        if (dy) CM3_UNROLL for (int k = 0; k < N; k++) made[k] = channel_at(t, s, p.image, p.channel + k);
        for (int64_t i = p.first; i < p.last; i += blockDim.y) {
            float v[N], g[N];
            load<float, N>(v, x + image + i * s.channels);
            if (dy) load<float, N>(g, dy + image + i * s.channels);
            CM3_UNROLL for (int k = 0; k < N; k++) {
                const float shifted = v[k] - (dy ? made[k].mean : pivot[k]);
                const float factor = dy ? gradient_before(g[k], v[k], made[k], silu) : shifted;
                sum[k] += factor;
                product[k] += factor * shifted;
            }
        }
    }
    const int columns = (int)blockDim.x * N, at = (int)threadIdx.x * N;
    CM3_UNROLL for (int k = 0; k < N; k++) {
        part[0][(int)threadIdx.y * columns + at + k] = sum[k];
        part[1][(int)threadIdx.y * columns + at + k] = product[k];
    }
    __syncthreads();
    if (threadIdx.y || !mine) return;
    for (int r = 1; r < (int)blockDim.y; r++) CM3_UNROLL for (int k = 0; k < N; k++) {
            sum[k] += part[0][r * columns + at + k];
            product[k] += part[1][r * columns + at + k];
        }
    float *to = sums + (p.image * s.stretches + p.stretch) * 2 * s.channels + p.channel;
    store<float, N>(to, sum);
    store<float, N>(to + s.channels, product);
}

static __device__ __forceinline__ double warp_total(double x) {
    CM3_UNROLL for (int step = CM3_WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Mean and rstd of a group of an image, by a warp. */
static __global__ void group_moments(const float *x, const float *sums, layout s, float epsilon, float *mean,
                                     float *rstd) {
    const int64_t at = (int64_t)blockIdx.x * WARPS + threadIdx.x / CM3_WARP;
    if (at >= s.batch * s.groups) return;
    const int64_t image = at / s.groups, first = at % s.groups * s.width;
    const float *pivot = x + image * s.pixels * s.channels;
    double shift = 0, squares = 0; /* of the group's values, about the first pivot */
    for (int64_t i = threadIdx.x % CM3_WARP; i < s.stretches * s.width; i += CM3_WARP) {
        const int64_t stretch = i / s.width, c = first + i % s.width;
        const float *of = sums + (image * s.stretches + stretch) * 2 * s.channels + c;
        const double sum = of[0], product = of[s.channels], d = (double)pivot[c] - (double)pivot[first];
        const double pixels = (double)(min((stretch + 1) * s.stretch, s.pixels) - stretch * s.stretch);
        shift += sum + pixels * d;
        squares += product + 2 * d * sum + pixels * d * d;
    }
    const double count = (double)(s.pixels * s.width), offset = warp_total(shift) / count;
    const double variance = warp_total(squares) / count - offset * offset;
    if (threadIdx.x % CM3_WARP) return;
    mean[at] = (float)((double)pivot[first] + offset);
    rstd[at] = (float)(1 / sqrt((variance > 0 ? variance : 0) + (double)epsilon));
}

/* The means over a group of g gain, and of g gain (x - mean) rstd, both times rstd: (batch, groups, 2). */
static __global__ void group_slopes(const float *sums, tables t, layout s, float *slopes) {
    const int64_t at = (int64_t)blockIdx.x * WARPS + threadIdx.x / CM3_WARP;
    if (at >= s.batch * s.groups) return;
    const int64_t image = at / s.groups, first = at % s.groups * s.width;
    const double rstd = t.rstd[at], count = (double)(s.pixels * s.width);
    double plain = 0, projected = 0;
    for (int64_t i = threadIdx.x % CM3_WARP; i < s.stretches * s.width; i += CM3_WARP) {
        const int64_t c = first + i % s.width;
        const float *of = sums + (image * s.stretches + i / s.width) * 2 * s.channels + c;
        plain += (double)of[0] * (double)t.gain[c];
        projected += (double)of[s.channels] * rstd * (double)t.gain[c];
    }
    plain = warp_total(plain);
    projected = warp_total(projected);
    if (threadIdx.x % CM3_WARP) return;
    slopes[2 * at] = (float)(rstd * plain / count);
    slopes[2 * at + 1] = (float)(rstd * projected / count);
}

/* --- results ----------------------------------------------------------------------------------------------------- */

template <int N> static __global__ void apply(const float *x, tables t, layout s, bool silu, float *y) {
    const spot p = spot_of(s, N);
    if (p.channel >= s.channels) return;
    channel_of made[N];
    CM3_UNROLL for (int k = 0; k < N; k++) made[k] = channel_at(t, s, p.image, p.channel + k);
    for (int64_t i = p.first; i < p.last; i += blockDim.y) {
        const int64_t at = (p.image * s.pixels + i) * s.channels + p.channel;
        float v[N];
        load<float, N>(v, x + at);
        CM3_UNROLL for (int k = 0; k < N; k++) {
            v[k] = v[k] * made[k].factor + made[k].offset;
            if (silu) v[k] = activated(v[k], CM3_ACT_SILU);
        }
        store<float, N>(y + at, v);
    }
}

/* With n = (x - mean) rstd: dx = rstd (g gain - mean over the group of (g gain) - n mean over the group of (g gain n)).
 * dx may be dy. */
template <int N>
static __global__ void gradient(const float *x, const float *dy, tables t, const float *slopes, layout s, bool silu,
                                float *dx, bool accumulate) {
    const spot p = spot_of(s, N);
    if (p.channel >= s.channels) return;
    channel_of made[N];
    float plain[N], projected[N];
    CM3_UNROLL for (int k = 0; k < N; k++) {
        const int64_t group = p.image * s.groups + (p.channel + k) / s.width;
        made[k] = channel_at(t, s, p.image, p.channel + k);
        plain[k] = slopes[2 * group];
        projected[k] = slopes[2 * group + 1];
    }
    for (int64_t i = p.first; i < p.last; i += blockDim.y) {
        const int64_t at = (p.image * s.pixels + i) * s.channels + p.channel;
        float v[N], g[N], to[N] = {};
        load<float, N>(v, x + at);
        load<float, N>(g, dy + at);
        if (accumulate) load<float, N>(to, dx + at);
        CM3_UNROLL for (int k = 0; k < N; k++) to[k] += made[k].factor * gradient_before(g[k], v[k], made[k], silu) -
                                                        plain[k] - (v[k] - made[k].mean) * made[k].rstd * projected[k];
        store<float, N>(dx + at, to);
    }
}

/* --- launches ---------------------------------------------------------------------------------------------------- */

static dim3 grid_of(const layout &s, const block_form &form, int n) {
    return dim3((unsigned)(s.batch * s.stretches), cm3__blocks_for(s.channels, (int64_t)form.columns * n));
}

template <int N> static void run_forward(const cm3_call *call) {
    const layout s = cm3__group_layout_of(call);
    const block_form form = form_of(s.channels, N);
    const dim3 grid = grid_of(s, form, N), block((unsigned)form.columns, (unsigned)form.rows);
    const bool silu = call->attr->activation == CM3_ACT_SILU;
    const float *x = (const float *)call->in[0].data;
    float *mean = (float *)call->out[1].data, *rstd = (float *)call->out[2].data, *sums = (float *)call->workspace;
    const tables t = {mean, rstd, (const float *)call->in[1].data, (const float *)call->in[2].data};
    if (s.batch * s.pixels <= 0) return;
    CM3_LAUNCH((stretch_sums<N>), grid, block, 0, x, (const float *)nullptr, t, s, silu, sums);
    CM3_LAUNCH(group_moments, cm3__blocks_for(s.batch * s.groups, WARPS), THREADS, 0, x, (const float *)sums, s,
               call->attr->epsilon, mean, rstd);
    CM3_LAUNCH((apply<N>), grid, block, 0, x, t, s, silu, (float *)call->out[0].data);
}

/* dgain = sum g n, dbias = sum g: sums over the stretches of all images. */
static void parameter_gradient(const cm3_call *call, int input, const layout &s, const float *rstd, const float *sums,
                               float *workspace) {
    const bool gain = input == 1;
    if (!call->grad_in[input].data) return;
    column_sums(
        s.batch * s.stretches, s.channels,
        [=] __device__(int64_t r, int64_t c) {
            const float *of = sums + r * 2 * s.channels + c;
            return gain ? of[s.channels] * rstd[r / s.stretches * s.groups + c / s.width] : of[0];
        },
        (float *)call->grad_in[input].data, call->accumulate[input], workspace);
}

template <int N> static void run_backward(const cm3_call *call) {
    const layout s = cm3__group_layout_of(call);
    const block_form form = form_of(s.channels, N);
    const dim3 grid = grid_of(s, form, N), block((unsigned)form.columns, (unsigned)form.rows);
    const bool silu = call->attr->activation == CM3_ACT_SILU;
    const float *x = (const float *)call->in[0].data, *dy = (const float *)call->grad_out.data;
    const tables t = {(const float *)call->out[1].data, (const float *)call->out[2].data,
                      (const float *)call->in[1].data, (const float *)call->in[2].data};
    float *sums = (float *)call->workspace, *slopes = sums + cm3__group_sums(&s);
    if (s.batch * s.pixels <= 0) return;
    CM3_LAUNCH((stretch_sums<N>), grid, block, 0, x, dy, t, s, silu, sums);
    for (int i = 1; i <= 2; i++) parameter_gradient(call, i, s, t.rstd, sums, slopes + 2 * s.batch * s.groups);
    if (!call->grad_in[0].data) return;
    CM3_LAUNCH(group_slopes, cm3__blocks_for(s.batch * s.groups, WARPS), THREADS, 0, (const float *)sums, t, s, slopes);
    CM3_LAUNCH((gradient<N>), grid, block, 0, x, dy, t, (const float *)slopes, s, silu, (float *)call->grad_in[0].data,
               call->accumulate[0]);
}

static cm3_status forward(const cm3_call *call) {
    if (can_use_vectors<float>(call->in[0].shape.dim[3], call->in[0].data, call->out[0].data))
        run_forward<4>(call);
    else
        run_forward<1>(call);
    return cm3__cuda_launched("group_norm, forward");
}

static cm3_status backward(const cm3_call *call) {
    if (can_use_vectors<float>(call->in[0].shape.dim[3], call->in[0].data, call->grad_out.data, call->grad_in[0].data))
        run_backward<4>(call);
    else
        run_backward<1>(call);
    return cm3__cuda_launched("group_norm, backward");
}

CM3__CUDA_KERNEL(group_norm, forward, backward);
