/* QK_NORM: a group of lanes has a head of a row. With positions a lane has both elements of every pair that is turned:
 * norm and rotation are one pass, forward and backward. */
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/rope.h"

constexpr int THREADS = 256, ROWS = 4;          /* of a block, forward */
constexpr int BACK_THREADS = 128, BACK_ROWS = 8; /* backward: rows whose angles are there at once */
constexpr int STRETCHES = CM3__QK_NORM_STRETCHES, SUM_ROWS = 8;

/* How the kernels are specialised: elements of T in accesses of N; a head in P parts, of which a lane has the same
 * vectors: halves where pairs are turned, else the whole; ONE: a lane has one vector of each part, and keeps it. */
template <typename T_, int N_, int P_, bool ONE_> struct kind {
    typedef T_ T;
    static constexpr int N = N_, P = P_;
    static constexpr bool ONE = ONE_;
};

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

/* The same vector of all parts, which follow each other by `part`. */
template <typename T, int N, int P>
static __device__ __forceinline__ void load_parts(float (&to)[P][N], const T *from, int64_t part) {
    CM3_UNROLL for (int p = 0; p < P; p++) load<T, N>(to[p], from + p * part);
}

template <typename T, int N, int P>
static __device__ __forceinline__ void store_parts(T *to, const float (&from)[P][N], int64_t part) {
    CM3_UNROLL for (int p = 0; p < P; p++) store<T, N>(to + p * part, from[p]);
}

template <int N, int P>
static __device__ __forceinline__ void turn_parts(float (&x)[P][N], const float *cosines, int64_t part) {
    if constexpr (P == 2) rope_pairs<N>(x[0], x[1], cosines, part);
}

#define EACH CM3_UNROLL for (int p = 0; p < P; p++) CM3_UNROLL for (int k = 0; k < N; k++)

/* --- forward ----------------------------------------------------------------------------------------------------- */

template <typename K, typename T>
static __global__ void qk_norm_forward(const T *x, pair_of<T> gain, pair_of<T> bias, cm3__rope turn, cm3__heads s,
                                       int lanes, float epsilon, T *y, float *stats) {
    constexpr int N = K::N, P = K::P;
    CM3_SHARED(float, angles); /* (ROWS, 2, D / 2) */
    const int64_t part = s.d / P, first = (int64_t)blockIdx.x * ROWS, begin = (int64_t)(threadIdx.x % lanes) * N;
    const int rows = (int)min((int64_t)ROWS, s.rows - first), heads = (int)(s.q + 2 * s.kv);
    const int each = THREADS / lanes, group = (int)threadIdx.x / lanes;
    if (P == 2) rope_rows(angles, turn, first, rows, part);
    if (P == 2) __syncthreads();
    for (int done = 0; done < rows * heads; done += each) {
        /* Groups past the end do the last head again, and write nothing. */
        const int mine = min(done + group, rows * heads - 1), r = mine / heads, head = mine % heads;
        const bool normed = head < s.q + s.kv; /* of q or k */
        const int64_t at = (first + r) * s.width + head * s.d;
        float sum = 0, squares = 0, v[P][N] = {}, g[P][N], b[P][N];
        for (int64_t c = begin; c < part; c += lanes * N) {
            load_parts<T, N, P>(v, x + at + c, part);
            EACH sum += v[p][k];
        }
        const float mean = group_sum(sum, lanes) / (float)s.d;
        for (int64_t c = begin; c < part; c += lanes * N) {
            if (!K::ONE) load_parts<T, N, P>(v, x + at + c, part);
            EACH squares += (v[p][k] - mean) * (v[p][k] - mean);
        }
        const float rstd = 1.0f / sqrtf(group_sum(squares, lanes) / (float)s.d + epsilon);
        if (mine != done + group) return; /* the last round */
        for (int64_t c = begin; c < part; c += lanes * N) {
            if (!K::ONE) load_parts<T, N, P>(v, x + at + c, part);
            if (normed) {
                load_parts<T, N, P>(g, row_of(gain, s, head) + c, part);
                load_parts<T, N, P>(b, row_of(bias, s, head) + c, part);
                EACH v[p][k] = (v[p][k] - mean) * rstd * g[p][k] + b[p][k];
                turn_parts<N, P>(v, angles + r * s.d + c, part);
            }
            store_parts<T, N, P>(y + at + c, v, part);
        }
        if (begin || !normed) continue;
        float *stat = stats + ((first + r) * (s.q + s.kv) + head) * 2;
        stat[0] = mean;
        stat[1] = rstd;
    }
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

/* g is dy turned back; dx = rstd (g gain - mean(g gain) - xhat mean(g gain xhat)); for v dx = dy.
 *
 * A group has one head in a stretch of rows (blockIdx.y), so that it also adds up the gradients of gain and bias:
 * sums (stretches, 2, columns of q and k) of g and of g xhat. Either result may not be wanted: NULL. */
template <typename K, typename T>
static __global__ void qk_norm_backward(const T *x, pair_of<T> gain, const T *dy, const float *stats, cm3__rope turn,
                                        cm3__heads s, int lanes, int64_t stretch, T *dx, bool accumulate,
                                        float *sums) {
    constexpr int N = K::N, P = K::P;
    CM3_SHARED(float, angles); /* (BACK_ROWS, 2, D / 2) */
    const int64_t part = s.d / P, begin = (int64_t)(threadIdx.x % lanes) * N, columns = (s.q + s.kv) * s.d;
    const int64_t first = stretch * blockIdx.y, last = min(first + stretch, s.rows);
    const int64_t wanted = (int64_t)blockIdx.x * (BACK_THREADS / lanes) + threadIdx.x / lanes;
    const int64_t head = min(wanted, s.q + 2 * s.kv - 1);
    const bool real = wanted == head, normed = head < s.q + s.kv, adds = real && normed && sums;
    const T *w_at = normed ? row_of(gain, s, head) : nullptr;
    float *to_g = adds ? sums + (int64_t)blockIdx.y * 2 * columns + head * s.d : nullptr;
    float *to_both = adds ? to_g + columns : nullptr;
    float v[P][N] = {}, g[P][N] = {}, w[P][N] = {}, of_g[P][N] = {}, of_both[P][N] = {};
    if (K::ONE && normed && begin < part) load_parts<T, N, P>(w, w_at + begin, part);
    for (int64_t row = first; row < last; row++) {
        const int ahead = (int)((row - first) % BACK_ROWS);
        if (P == 2 && ahead == 0) {
            __syncthreads(); /* the angles before have been read */
            rope_rows(angles, turn, row, (int)min((int64_t)BACK_ROWS, last - row), part);
            __syncthreads();
        }
        const int64_t at = row * s.width + head * s.d;
        const float *stat = stats + (row * (s.q + s.kv) + head) * 2;
        const float mean = normed ? stat[0] : 0.0f, rstd = normed ? stat[1] : 0.0f;
        const auto fetch = [&](int64_t c) {
            load_parts<T, N, P>(g, dy + at + c, part);
            if (!normed) return;
            load_parts<T, N, P>(v, x + at + c, part);
            if (!K::ONE) load_parts<T, N, P>(w, w_at + c, part);
            turn_parts<N, P>(g, angles + ahead * s.d + c, part);
            EACH v[p][k] = (v[p][k] - mean) * rstd;
        };
        float of_gain = 0, of_x = 0;
        for (int64_t c = begin; c < part; c += lanes * N) {
            fetch(c);
            if (!normed) continue;
            EACH of_gain += g[p][k] * w[p][k];
            EACH of_x += g[p][k] * w[p][k] * v[p][k];
            if (!K::ONE && adds && row > first) {
                load_parts<float, N, P>(of_g, to_g + c, part);
                load_parts<float, N, P>(of_both, to_both + c, part);
            }
            if (!K::ONE && row == first) EACH of_g[p][k] = of_both[p][k] = 0;
            EACH of_g[p][k] += g[p][k];
            EACH of_both[p][k] += g[p][k] * v[p][k];
            if (!K::ONE && adds) {
                store_parts<float, N, P>(to_g + c, of_g, part);
                store_parts<float, N, P>(to_both + c, of_both, part);
            }
        }
        of_gain = group_sum(of_gain, lanes) / (float)s.d;
        of_x = group_sum(of_x, lanes) / (float)s.d;
        if (!real || !dx) continue;
        for (int64_t c = begin; c < part; c += lanes * N) {
            float to[P][N] = {};
            if (!K::ONE) fetch(c);
            if (accumulate) load_parts<T, N, P>(to, dx + at + c, part);
            EACH to[p][k] += normed ? rstd * (g[p][k] * w[p][k] - of_gain - v[p][k] * of_x) : g[p][k];
            store_parts<T, N, P>(dx + at + c, to, part);
        }
    }
    if (!K::ONE || !adds || begin >= part) return;
    store_parts<float, N, P>(to_g + begin, of_g, part);
    store_parts<float, N, P>(to_both + begin, of_both, part);
}

/* Gradients of gain and bias; those that are not wanted are NULL. */
typedef struct parameter_gradients {
    float *at[4]; /* q gain, q bias, k gain, k bias */
    bool accumulate[4];
} parameter_gradients;

/* Blocks of 32 x SUM_ROWS threads. */
static __global__ void qk_norm_totals(const float *sums, int stretches, cm3__heads s, parameter_gradients to) {
    __shared__ float part[SUM_ROWS][CM3_WARP];
    const int64_t columns = (s.q + s.kv) * s.d, column = (int64_t)blockIdx.x * CM3_WARP + threadIdx.x;
    const bool is_bias = blockIdx.y == 0, is_k = column >= s.q * s.d;
    const int which = (is_k ? 2 : 0) + is_bias;
    float sum = 0;
    if (column < columns)
        for (int i = (int)threadIdx.y; i < stretches; i += SUM_ROWS)
            sum += sums[((int64_t)i * 2 + blockIdx.y) * columns + column];
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= columns || !to.at[which]) return;
    for (int i = 1; i < SUM_ROWS; i++) sum += part[i][threadIdx.x];
    float *target = to.at[which] + column - (is_k ? s.q * s.d : 0);
    *target = to.accumulate[which] ? *target + sum : sum;
}

/* --- launchers --------------------------------------------------------------------------------------------------- */

template <typename T> static pair_of<T> pair_at(const cm3_call *call, int input) {
    return {(const T *)call->in[input].data, (const T *)call->in[input + 2].data};
}

/* Lanes that share a head: as many as a part has vectors, if a warp has so many. */
static int lanes_for(int64_t vectors) {
    int lanes = 1;
    while (lanes < CM3_WARP && lanes < vectors) lanes *= 2;
    return lanes;
}

static bool turns(const cm3_call *call) {
    return call->in[5].shape.rank > 0;
}

template <typename K> static void run_forward(const cm3_call *call, const cm3__rope &turn) {
    typedef typename K::T T;
    const cm3__heads s = cm3__heads_of(call);
    CM3_LAUNCH((qk_norm_forward<K, T>), cm3__blocks_for(s.rows, ROWS), THREADS,
               K::P == 2 ? cm3__rope_shared(call, ROWS) : 0, (const T *)call->in[0].data, pair_at<T>(call, 1),
               pair_at<T>(call, 2), turn, s, lanes_for(s.d / K::P / K::N), call->attr->epsilon,
               (T *)call->out[0].data, (float *)call->out[1].data);
}

template <typename K> static void run_backward(const cm3_call *call, const cm3__rope &turn) {
    typedef typename K::T T;
    const cm3__heads s = cm3__heads_of(call);
    const int lanes = lanes_for(s.d / K::P / K::N);
    const int64_t most = (s.rows + STRETCHES - 1) / STRETCHES, stretch = most > BACK_ROWS ? most : BACK_ROWS;
    const unsigned stretches = cm3__blocks_for(s.rows, stretch);
    float *sums = nullptr;
    parameter_gradients to = {};
    for (int i = 0; i < 4; i++) {
        to.at[i] = (float *)call->grad_in[i + 1].data;
        to.accumulate[i] = call->accumulate[i + 1];
        if (to.at[i]) sums = (float *)((char *)call->workspace + cm3__rope_bytes(call));
    }
    CM3_LAUNCH((qk_norm_backward<K, T>), dim3(cm3__blocks_for(s.q + 2 * s.kv, BACK_THREADS / lanes), stretches),
               BACK_THREADS, K::P == 2 ? cm3__rope_shared(call, BACK_ROWS) : 0, (const T *)call->in[0].data,
               pair_at<T>(call, 1), (const T *)call->grad_out.data, (const float *)call->out[1].data, turn, s, lanes,
               stretch, (T *)call->grad_in[0].data, call->accumulate[0], sums);
    if (sums)
        CM3_LAUNCH(qk_norm_totals, dim3(cm3__blocks_for((s.q + s.kv) * s.d, CM3_WARP), 2), dim3(CM3_WARP, SUM_ROWS), 0,
                   (const float *)sums, (int)stretches, s, to);
}

/* Runs the statement with K = the kind that fits: vectors of 16 bytes if shapes and addresses allow them. */
#define BY_KIND(call, from, to, ...)                                                                                   \
    CM3_BY_TYPE((call)->in[0].type,                                                                                    \
                if (turns(call)) by_vectors<T, 2>(call, from, to, [&](auto k) {                                        \
                    typedef decltype(k) K;                                                                             \
                    __VA_ARGS__;                                                                                       \
                });                                                                                                    \
                else by_vectors<T, 1>(call, from, to, [&](auto k) {                                                    \
                    typedef decltype(k) K;                                                                             \
                    __VA_ARGS__;                                                                                       \
                }))

template <typename T, int P, typename Run>
static void by_vectors(const cm3_call *call, const void *from, const void *to, const Run &run) {
    const int64_t part = cm3__heads_of(call).d / P;
    uintptr_t all = (uintptr_t)from | (uintptr_t)to | (uintptr_t)call->in[0].data;
    for (int i = 1; i <= 4; i++) all |= (uintptr_t)call->in[i].data;
    const bool wide = part % CM3_VEC<T> == 0 && all % 16 == 0;
    if (wide && part <= CM3_WARP * CM3_VEC<T>)
        run(kind<T, CM3_VEC<T>, P, true>());
    else if (wide)
        run(kind<T, CM3_VEC<T>, P, false>());
    else
        run(kind<T, 1, P, false>());
}

static cm3_status forward(const cm3_call *call) {
    cm3__rope turn = {};
    if (cm3__heads_of(call).rows <= 0) return CM3_OK;
    if (turns(call)) CM3_TRY(cm3__rope_of(call, 5, 1, ROWS, &turn));
    BY_KIND(call, nullptr, call->out[0].data, run_forward<K>(call, turn));
    return cm3__cuda_launched("qk_norm, forward");
}

static cm3_status backward(const cm3_call *call) {
    cm3__rope turn = {};
    if (cm3__heads_of(call).rows <= 0) return CM3_OK;
    if (turns(call)) CM3_TRY(cm3__rope_of(call, 5, -1, BACK_ROWS, &turn));
    BY_KIND(call, call->grad_out.data, call->grad_in[0].data, run_backward<K>(call, turn));
    return cm3__cuda_launched("qk_norm, backward");
}

CM3__CUDA_KERNEL(qk_norm, forward, backward);
