/* QK_NORM: a group of lanes has a head of a row. */
#include "core/kernels/cuda/packed.h"
#include "core/kernels/cuda/cuda.h"

constexpr int THREADS = 256, SUM_ROWS = 8, STRETCHES = 64;

/* Gain, or bias, of q's heads and of k's: rows of D. */
template <typename T> struct pair_of { const T *q, *k; };

template <typename T>
static __device__ __forceinline__ const T *row_of(pair_of<T> table, const cm3__heads &s, int64_t head) {
    return head < s.q ? table.q + head * s.d : table.k + (head - s.q) * s.d;
}

/* The sum over the `lanes` neighbours (a power of two) that share a head. */
static __device__ __forceinline__ float group_sum(float x, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Where a group is in the tensor. Groups past the end do the last head again, and write nothing. */
typedef struct place {
    int64_t row, head, at; /* at: of the head's first element */
    int lane;
    bool real, normed; /* normed: a head of q or k */
} place;

static __device__ __forceinline__ place place_of(const cm3__heads &s, int lanes) {
    const int64_t heads = s.q + 2 * s.kv, group = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / lanes;
    const int64_t mine = min(group, s.rows * heads - 1);
    place p;
    p.row = mine / heads;
    p.head = mine % heads;
    p.at = mine * s.d;
    p.lane = (int)threadIdx.x % lanes;
    p.real = group == mine;
    p.normed = p.head < s.q + s.kv;
    return p;
}

template <typename T, int N>
static __global__ void qk_norm_forward(const T *x, pair_of<T> gain, pair_of<T> bias, cm3__heads s, int lanes,
                                       float epsilon, T *y, float *stats) {
    const place p = place_of(s, lanes);
    float sum = 0, squares = 0, v[N], g[N], b[N];
    x += p.at;
    y += p.at;
    for (int64_t c = p.lane * N; c < s.d; c += lanes * N) {
        load<T, N>(v, x + c);
        CM3_UNROLL for (int k = 0; k < N; k++) sum += v[k];
    }
    const float mean = group_sum(sum, lanes) / (float)s.d;
    for (int64_t c = p.lane * N; c < s.d; c += lanes * N) {
        load<T, N>(v, x + c);
        CM3_UNROLL for (int k = 0; k < N; k++) squares += (v[k] - mean) * (v[k] - mean);
    }
    const float rstd = 1.0f / sqrtf(group_sum(squares, lanes) / (float)s.d + epsilon);
    if (!p.real) return;
    for (int64_t c = p.lane * N; c < s.d; c += lanes * N) {
        load<T, N>(v, x + c);
        if (p.normed) {
            load<T, N>(g, row_of(gain, s, p.head) + c);
            load<T, N>(b, row_of(bias, s, p.head) + c);
            CM3_UNROLL for (int k = 0; k < N; k++) v[k] = (v[k] - mean) * rstd * g[k] + b[k];
        }
        store<T, N>(y + c, v);
    }
    if (p.lane || !p.normed) return;
    float *stat = stats + (p.row * (s.q + s.kv) + p.head) * 2;
    stat[0] = mean;
    stat[1] = rstd;
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gain; for v dx = dy. */
template <typename T, int N>
static __global__ void qk_norm_backward(const T *x, pair_of<T> gain, const T *dy, const float *stats, cm3__heads s,
                                        int lanes, T *dx, bool accumulate) {
    const place p = place_of(s, lanes);
    const float *stat = stats + (p.row * (s.q + s.kv) + p.head) * 2;
    const float mean = p.normed ? stat[0] : 0.0f, rstd = p.normed ? stat[1] : 0.0f;
    float of_g = 0, of_both = 0, v[N], g[N], w[N];
    x += p.at;
    dy += p.at;
    dx += p.at;
    if (p.normed)
        for (int64_t c = p.lane * N; c < s.d; c += lanes * N) {
            load<T, N>(v, x + c);
            load<T, N>(g, dy + c);
            load<T, N>(w, row_of(gain, s, p.head) + c);
            CM3_UNROLL for (int k = 0; k < N; k++) {
                of_g += g[k] * w[k];
                of_both += g[k] * w[k] * (v[k] - mean) * rstd;
            }
        }
    of_g = group_sum(of_g, lanes) / (float)s.d;
    of_both = group_sum(of_both, lanes) / (float)s.d;
    if (!p.real) return;
    for (int64_t c = p.lane * N; c < s.d; c += lanes * N) {
        float to[N] = {};
        load<T, N>(g, dy + c);
        if (accumulate) load<T, N>(to, dx + c);
        if (p.normed) {
            load<T, N>(v, x + c);
            load<T, N>(w, row_of(gain, s, p.head) + c);
            CM3_UNROLL for (int k = 0; k < N; k++) g[k] = rstd * (g[k] * w[k] - of_g - (v[k] - mean) * rstd * of_both);
        }
        CM3_UNROLL for (int k = 0; k < N; k++) to[k] += g[k];
        store<T, N>(dx + c, to);
    }
}

/* Sums over a stretch of rows of dy and of dy xhat, for N columns of q's and k's heads a thread: (stretches, 2,
 * columns). Blocks of 32 x SUM_ROWS threads. */
template <typename T, int N>
static __global__ void qk_norm_stretches(const T *x, const T *dy, const float *stats, cm3__heads s, float *sums) {
    __shared__ float part[SUM_ROWS][2][CM3_WARP * N];
    const int64_t columns = (s.q + s.kv) * s.d, column = ((int64_t)blockIdx.x * CM3_WARP + threadIdx.x) * N;
    const int64_t each = (s.rows + gridDim.y - 1) / gridDim.y, first = each * blockIdx.y;
    const int64_t last = min(first + each, s.rows);
    float of_g[N] = {}, of_both[N] = {};
    if (column < columns)
        for (int64_t r = first + threadIdx.y; r < last; r += SUM_ROWS) {
            const float *stat = stats + (r * (s.q + s.kv) + column / s.d) * 2;
            float v[N], g[N];
            load<T, N>(v, x + r * s.width + column);
            load<T, N>(g, dy + r * s.width + column);
            CM3_UNROLL for (int k = 0; k < N; k++) {
                of_g[k] += g[k];
                of_both[k] += g[k] * (v[k] - stat[0]) * stat[1];
            }
        }
    CM3_UNROLL for (int k = 0; k < N; k++) {
        part[threadIdx.y][0][threadIdx.x * N + k] = of_g[k];
        part[threadIdx.y][1][threadIdx.x * N + k] = of_both[k];
    }
    __syncthreads();
    if (threadIdx.y || column >= columns) return;
    for (int r = 1; r < SUM_ROWS; r++) CM3_UNROLL for (int k = 0; k < N; k++) {
            of_g[k] += part[r][0][threadIdx.x * N + k];
            of_both[k] += part[r][1][threadIdx.x * N + k];
        }
    float *to = sums + (int64_t)blockIdx.y * 2 * columns + column;
    store<float, N>(to, of_g);
    store<float, N>(to + columns, of_both);
}

/* Gradients of gain and bias; those that are not wanted are NULL. */
typedef struct parameter_gradients {
    float *at[4]; /* q gain, q bias, k gain, k bias */
    bool accumulate[4];
} parameter_gradients;

static __global__ void qk_norm_totals(const float *sums, int stretches, cm3__heads s, parameter_gradients to) {
    const int64_t columns = (s.q + s.kv) * s.d, column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const bool is_bias = blockIdx.y == 0, is_k = column >= s.q * s.d;
    const int which = (is_k ? 2 : 0) + is_bias;
    if (column >= columns || !to.at[which]) return;
    float sum = 0;
    for (int i = 0; i < stretches; i++) sum += sums[((int64_t)i * 2 + blockIdx.y) * columns + column];
    float *target = to.at[which] + column - (is_k ? s.q * s.d : 0);
    *target = to.accumulate[which] ? *target + sum : sum;
}

template <typename T> static pair_of<T> pair_at(const cm3_call *call, int input) {
    return {(const T *)call->in[input].data, (const T *)call->in[input + 2].data};
}

/* Lanes that share a head: as many as it has vectors, if a warp has so many. */
static int lanes_for(int64_t vectors) {
    int lanes = 1;
    while (lanes < CM3_WARP && lanes < vectors) lanes *= 2;
    return lanes;
}

template <typename T, int N> static void run_forward(const cm3_call *call) {
    const cm3__heads s = cm3__heads_of(call);
    const int lanes = lanes_for(s.d / N);
    if (s.rows <= 0) return;
    CM3_LAUNCH((qk_norm_forward<T, N>), cm3__blocks_for(s.rows * (s.q + 2 * s.kv), THREADS / lanes), THREADS, 0,
               (const T *)call->in[0].data, pair_at<T>(call, 1), pair_at<T>(call, 2), s, lanes, call->attr->epsilon,
               (T *)call->out[0].data, (float *)call->out[1].data);
}

template <typename T, int N> static void run_parameters(const cm3_call *call) {
    const cm3__heads s = cm3__heads_of(call);
    const int64_t columns = (s.q + s.kv) * s.d;
    const int stretches = s.rows < STRETCHES * SUM_ROWS ? (int)(s.rows / SUM_ROWS) + 1 : STRETCHES;
    float *sums = (float *)call->workspace;
    parameter_gradients to = {};
    bool any = false;
    for (int i = 0; i < 4; i++) {
        to.at[i] = (float *)call->grad_in[i + 1].data;
        to.accumulate[i] = call->accumulate[i + 1];
        any |= to.at[i] != nullptr;
    }
    if (!any) return;
    CM3_LAUNCH((qk_norm_stretches<T, N>), dim3(cm3__blocks_for(columns, CM3_WARP * N), (unsigned)stretches),
               dim3(CM3_WARP, SUM_ROWS), 0, (const T *)call->in[0].data, (const T *)call->grad_out.data,
               (const float *)call->out[1].data, s, sums);
    CM3_LAUNCH(qk_norm_totals, dim3(cm3__blocks_for(columns, 128), 2), 128, 0, (const float *)sums, stretches, s, to);
}

template <typename T, int N> static void run_backward(const cm3_call *call) {
    const cm3__heads s = cm3__heads_of(call);
    const int lanes = lanes_for(s.d / N);
    run_parameters<T, N>(call);
    if (s.rows <= 0 || !call->grad_in[0].data) return;
    CM3_LAUNCH((qk_norm_backward<T, N>), cm3__blocks_for(s.rows * (s.q + 2 * s.kv), THREADS / lanes), THREADS, 0,
               (const T *)call->in[0].data, pair_at<T>(call, 1), (const T *)call->grad_out.data,
               (const float *)call->out[1].data, s, lanes, (T *)call->grad_in[0].data, call->accumulate[0]);
}

static bool vectors_fit(const cm3_call *call, const void *from, const void *to) {
    const int64_t d = cm3__heads_of(call).d, wide = call->in[0].type == CM3_BF16 ? CM3_VEC<bf16> : CM3_VEC<float>;
    uintptr_t all = (uintptr_t)from | (uintptr_t)to | (uintptr_t)call->in[0].data;
    for (int i = 1; i <= 4; i++) all |= (uintptr_t)call->in[i].data;
    return d % wide == 0 && all % 16 == 0;
}

static cm3_status forward(const cm3_call *call) {
    const bool wide = vectors_fit(call, nullptr, call->out[0].data);
    CM3_BY_TYPE(call->in[0].type, if (wide) run_forward<T, CM3_VEC<T>>(call); else run_forward<T, 1>(call));
    return cm3__cuda_launched("qk_norm, forward");
}

static cm3_status backward(const cm3_call *call) {
    const bool wide = vectors_fit(call, call->grad_out.data, call->grad_in[0].data);
    CM3_BY_TYPE(call->in[0].type, if (wide) run_backward<T, CM3_VEC<T>>(call); else run_backward<T, 1>(call));
    return cm3__cuda_launched("qk_norm, backward");
}

/* (stretches, 2, columns of q and k) */
static size_t backward_workspace(const cm3_call *call) {
    const cm3__heads s = cm3__heads_of(call);
    return (size_t)(STRETCHES * 2 * (s.q + s.kv) * s.d) * sizeof(float);
}

extern "C" const cm3_kernel cm3__cuda_qk_norm = {forward, backward, nullptr, backward_workspace};
