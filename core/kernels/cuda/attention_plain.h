/* Attention of any type and head size, in f32 on the ordinary units: what every other way is measured against, the way
 * of f32, and of heads that the tensor cores' tiles do not take.
 *
 * A block has PLAIN_ROWS rows of one side (queries, or keys for their own gradients) and goes over the other side
 * PLAIN_COLUMNS at a time. Warp w has rows 4w..4w+3 of a tile of scores, lane j its column j. */
#ifndef CM3_CORE_KERNELS_CUDA_ATTENTION_PLAIN_H
#define CM3_CORE_KERNELS_CUDA_ATTENTION_PLAIN_H

#include "core/kernels/cuda/attention.h"

constexpr int PLAIN_ROWS = 16, PLAIN_COLUMNS = CM3_WARP, PLAIN_THREADS = 128, PLAIN_SLAB = 64;
constexpr int PLAIN_EACH = PLAIN_ROWS / (PLAIN_THREADS / CM3_WARP); /* rows of a warp */

/* --- the parts --------------------------------------------------------------------------------------------------- */

/* Rows of d elements in memory. */
template <typename T> struct plain_rows {
    const T *at;
    int64_t row;
    int count;
};

/* Products of this warp's rows of a with this lane's row of b, a slab of d at a time; rows that are not there: 0. */
template <typename T>
static __device__ void plain_products(const plain_rows<T> &a, const plain_rows<T> &b, int64_t d,
                                      float (&to)[PLAIN_EACH]) {
    __shared__ float rows[PLAIN_ROWS][PLAIN_SLAB], columns[PLAIN_COLUMNS][PLAIN_SLAB + 1];
    const int lane = (int)threadIdx.x % CM3_WARP, first = (int)threadIdx.x / CM3_WARP * PLAIN_EACH;
    CM3_UNROLL for (int r = 0; r < PLAIN_EACH; r++) to[r] = 0;
    for (int64_t slab = 0; slab < d; slab += PLAIN_SLAB) {
        __syncthreads(); /* the last slab has been read */
        for (int e = (int)threadIdx.x; e < PLAIN_ROWS * PLAIN_SLAB; e += PLAIN_THREADS) {
            const int r = e / PLAIN_SLAB, c = e % PLAIN_SLAB;
            rows[r][c] = r < a.count && slab + c < d ? to_float(a.at[r * a.row + slab + c]) : 0.0f;
        }
        for (int e = (int)threadIdx.x; e < PLAIN_COLUMNS * PLAIN_SLAB; e += PLAIN_THREADS) {
            const int r = e / PLAIN_SLAB, c = e % PLAIN_SLAB;
            columns[r][c] = r < b.count && slab + c < d ? to_float(b.at[r * b.row + slab + c]) : 0.0f;
        }
        __syncthreads();
        for (int c = 0; c < PLAIN_SLAB; c++)
            CM3_UNROLL for (int r = 0; r < PLAIN_EACH; r++) to[r] += rows[first + r][c] * columns[lane][c];
    }
}

typedef float plain_weights[PLAIN_ROWS][PLAIN_COLUMNS];

/* sums (PLAIN_ROWS, d), each thread its own columns: sums_i = keep_i sums_i + sum_j weights_ij b_j; `keep` NULL: 1. */
template <typename T>
static __device__ void plain_add(float *sums, int64_t d, const plain_weights &weights, const float *keep,
                                 const plain_rows<T> &b) {
    for (int64_t c = threadIdx.x; c < d; c += PLAIN_THREADS) {
        float sum[PLAIN_ROWS];
        CM3_UNROLL for (int i = 0; i < PLAIN_ROWS; i++) sum[i] = sums[i * d + c] * (keep ? keep[i] : 1.0f);
        for (int j = 0; j < b.count; j++) {
            const float x = to_float(b.at[j * b.row + c]);
            CM3_UNROLL for (int i = 0; i < PLAIN_ROWS; i++) sum[i] += weights[i][j] * x;
        }
        CM3_UNROLL for (int i = 0; i < PLAIN_ROWS; i++) sums[i * d + c] = sum[i];
    }
}

static __device__ void plain_clear(float *sums, int64_t d) {
    for (int64_t c = threadIdx.x; c < d; c += PLAIN_THREADS)
        for (int i = 0; i < PLAIN_ROWS; i++) sums[i * d + c] = 0;
}

/* The sums times factor to rows in memory. */
template <typename T>
static __device__ void plain_write(const float *sums, int64_t d, const float *factor, T *to, int64_t row, int count,
                                   bool accumulate) {
    for (int64_t c = threadIdx.x; c < d; c += PLAIN_THREADS)
        for (int i = 0; i < count; i++) {
            const float sum = sums[i * d + c] * (factor ? factor[i] : 1.0f);
            to[i * row + c] = from_float<T>(accumulate ? to_float(to[i * row + c]) + sum : sum);
        }
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

template <typename T> static __global__ void plain_forward(const attention<T> a) {
    __shared__ plain_weights weights;
    __shared__ float keep[PLAIN_ROWS];
    CM3_SHARED(float, sums);
    int64_t index;
    const int first = last_tiles_first(a.batch * a.heads, &index) * PLAIN_ROWS;
    const attention_head<T> h = head_of(a, index / a.heads, index % a.heads);
    const int count = min(PLAIN_ROWS, h.queries - first);
    const int lane = (int)threadIdx.x % CM3_WARP, mine = (int)threadIdx.x / CM3_WARP * PLAIN_EACH;
    const plain_rows<T> q = {h.q + first * a.q_row, a.q_row, count};
    const int seen = a.causal ? min(h.start + first + count, h.keys) : h.keys;
    float most[PLAIN_EACH], total[PLAIN_EACH];
    CM3_UNROLL for (int r = 0; r < PLAIN_EACH; r++) most[r] = -INFINITY, total[r] = 0;
    plain_clear(sums, a.d);
    for (int key = 0; key < seen; key += PLAIN_COLUMNS) {
        const int keys = min(PLAIN_COLUMNS, seen - key);
        float score[PLAIN_EACH];
        plain_products(q, plain_rows<T>{h.k + key * a.k_row, a.k_row, keys}, a.d, score);
        CM3_UNROLL for (int r = 0; r < PLAIN_EACH; r++) {
            const bool visible = lane < keys && (!a.causal || key + lane <= h.start + first + mine + r);
            const float s = visible ? score[r] * a.scale * CM3_LOG2_E : -INFINITY;
            const float larger = fmaxf(most[r], warp_most(s)), p = exp2f(s - larger);
            const float kept = exp2f(most[r] - larger); /* every row sees key 0: finite from the first tile on */
            total[r] = total[r] * kept + warp_sum(p);
            most[r] = larger;
            weights[mine + r][lane] = p;
            if (lane == 0) keep[mine + r] = kept;
        }
        __syncthreads();
        plain_add(sums, a.d, weights, keep, plain_rows<T>{h.v + key * a.k_row, a.k_row, keys});
    }
    __syncthreads();
    CM3_UNROLL for (int r = 0; r < PLAIN_EACH; r++) {
        if (lane || mine + r >= count) continue;
        keep[mine + r] = 1 / total[r];
        if (a.lse) a.lse[h.at_row + first + mine + r] = (most[r] + log2f(total[r])) * CM3_LN_2;
    }
    __syncthreads();
    plain_write(sums, a.d, keep, a.y + h.at_y + first * a.heads * a.d, a.heads * a.d, count, false);
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

/* p = softmax(s), ds = p (dp - delta): of query `query` and key `key`. */
template <typename T>
static __device__ __forceinline__ void plain_slope(const attention<T> &a, const attention_head<T> &h, int query,
                                                   int key, float score, float dp, float *p, float *ds) {
    *p = *ds = 0;
    if (query >= h.queries || key >= h.keys || (a.causal && key > query)) return;
    *p = exp2f((score * a.scale - a.lse[h.at_row + query]) * CM3_LOG2_E);
    *ds = *p * (dp - a.delta[h.at_row + query]) * a.scale;
}

template <typename T> static __global__ void plain_backward_queries(const attention<T> a) {
    __shared__ plain_weights weights;
    CM3_SHARED(float, sums);
    int64_t index;
    const int first = last_tiles_first(a.batch * a.heads, &index) * PLAIN_ROWS;
    const attention_head<T> h = head_of(a, index / a.heads, index % a.heads);
    const int count = min(PLAIN_ROWS, h.queries - first);
    const int lane = (int)threadIdx.x % CM3_WARP, mine = (int)threadIdx.x / CM3_WARP * PLAIN_EACH;
    const int64_t y_row = a.heads * a.d;
    const int seen = a.causal ? first + count : h.keys;
    const plain_rows<T> q = {h.q + first * a.q_row, a.q_row, count};
    const plain_rows<T> dy = {a.dy + h.at_y + first * y_row, y_row, count};
    plain_clear(sums, a.d);
    for (int key = 0; key < seen; key += PLAIN_COLUMNS) {
        const int keys = min(PLAIN_COLUMNS, seen - key);
        const plain_rows<T> k = {h.k + key * a.k_row, a.k_row, keys}, v = {h.v + key * a.k_row, a.k_row, keys};
        float score[PLAIN_EACH], dp[PLAIN_EACH], p;
        plain_products(q, k, a.d, score);
        plain_products(dy, v, a.d, dp);
        CM3_UNROLL for (int r = 0; r < PLAIN_EACH; r++)
            plain_slope(a, h, first + mine + r, key + lane, score[r], dp[r], &p, &weights[mine + r][lane]);
        __syncthreads();
        plain_add(sums, a.d, weights, nullptr, k);
    }
    plain_write(sums, a.d, nullptr, a.dq + h.at_q + first * a.q_row, a.q_row, count, a.accumulate);
}

template <typename T> static __global__ void plain_backward_keys(const attention<T> a) {
    __shared__ plain_weights of_p, of_ds;
    CM3_SHARED(float, dk);
    float *dv = dk + PLAIN_ROWS * a.d;
    const int64_t each = a.batch * a.kv_heads, index = blockIdx.x % each, sharing = a.heads / a.kv_heads;
    const int64_t y_row = a.heads * a.d;
    const int first = (int)(blockIdx.x / each) * PLAIN_ROWS;
    const int count = min(PLAIN_ROWS, (int)a.keys - first);
    const int lane = (int)threadIdx.x % CM3_WARP, mine = (int)threadIdx.x / CM3_WARP * PLAIN_EACH;
    int64_t at_k = 0;
    plain_clear(dk, a.d);
    plain_clear(dv, a.d);
    for (int64_t s = 0; s < sharing; s++) { /* the heads that read these keys */
        const attention_head<T> h = head_of(a, index / a.kv_heads, index % a.kv_heads * sharing + s);
        const plain_rows<T> k = {h.k + first * a.k_row, a.k_row, count}, v = {h.v + first * a.k_row, a.k_row, count};
        at_k = h.at_k;
        for (int query = a.causal ? first : 0; query < h.queries; query += PLAIN_COLUMNS) {
            const int queries = min(PLAIN_COLUMNS, h.queries - query);
            const plain_rows<T> q = {h.q + query * a.q_row, a.q_row, queries};
            const plain_rows<T> dy = {a.dy + h.at_y + query * y_row, y_row, queries};
            float score[PLAIN_EACH], dp[PLAIN_EACH];
            plain_products(k, q, a.d, score);
            plain_products(v, dy, a.d, dp);
            CM3_UNROLL for (int r = 0; r < PLAIN_EACH; r++) plain_slope(
                a, h, query + lane, first + mine + r, score[r], dp[r], &of_p[mine + r][lane], &of_ds[mine + r][lane]);
            __syncthreads();
            plain_add(dk, a.d, of_ds, nullptr, q);
            plain_add(dv, a.d, of_p, nullptr, dy);
        }
    }
    plain_write(dk, a.d, nullptr, a.dk + at_k + first * a.k_row, a.k_row, count, a.accumulate);
    plain_write(dv, a.d, nullptr, a.dv + at_k + first * a.k_row, a.k_row, count, a.accumulate);
}

/* --- launchers --------------------------------------------------------------------------------------------------- */

static_assert(2 * PLAIN_ROWS * CM3_ATTENTION_MOST_D * sizeof(float) <= 208 << 10, "dk and dv beside the tiles");

template <typename T> static void run_plain_forward(const attention<T> &a) {
    const size_t shared = (size_t)(PLAIN_ROWS * a.d) * sizeof(float);
    CM3_ALLOW_SHARED((plain_forward<T>), shared);
    CM3_LAUNCH((plain_forward<T>), cm3__blocks_for(a.queries, PLAIN_ROWS) * (unsigned)(a.batch * a.heads),
               PLAIN_THREADS, shared, a);
}

template <typename T> static void run_plain_backward(const attention<T> &a) {
    const size_t shared = (size_t)(PLAIN_ROWS * a.d) * sizeof(float);
    CM3_ALLOW_SHARED((plain_backward_queries<T>), shared);
    CM3_LAUNCH((plain_backward_queries<T>), cm3__blocks_for(a.queries, PLAIN_ROWS) * (unsigned)(a.batch * a.heads),
               PLAIN_THREADS, shared, a);
    CM3_ALLOW_SHARED((plain_backward_keys<T>), 2 * shared);
    CM3_LAUNCH((plain_backward_keys<T>), cm3__blocks_for(a.keys, PLAIN_ROWS) * (unsigned)(a.batch * a.kv_heads),
               PLAIN_THREADS, 2 * shared, a);
}

#endif
