/* Attention in bf16 on the tensor cores, for heads of up to 128 whose rows go in pieces of 16 bytes.
 *
 * Four warps have 16 TILES rows each of one side: queries, or keys for their own gradients. The other side comes in
 * tiles of COLUMNS rows, copied while the tile before is computed. A warp holds its scores, and the sums that they
 * weight, in registers: scores leave one product in the very places where the next one wants them. Heads are padded
 * with zeros to D.
 *
 * The backward pass makes the scores twice, for dq and for dk and dv. It needs no atomics for that: its bits are the
 * same in every run. */
#ifndef CM3_CORE_KERNELS_CUDA_ATTENTION_TENSOR_H
#define CM3_CORE_KERNELS_CUDA_ATTENTION_TENSOR_H

#include "core/kernels/cuda/attention.h"
#include "core/kernels/cuda/mma.h"

constexpr int TENSOR_WARPS = 4, TENSOR_THREADS = TENSOR_WARPS * CM3_WARP;

/* Elements from one row of a tile in shared memory to the next: 16 bytes more than a row, so that eight rows of a
 * matrix lie in different banks. */
template <int D> constexpr int TENSOR_ROW = D + 8;

/* --- the parts --------------------------------------------------------------------------------------------------- */

/* Starts to copy `count` rows of d elements, `row` apart, to a tile of ROWS rows; the rest of the tile is zeros. */
template <int D, int ROWS>
static __device__ __forceinline__ void copy_tile(bf16 *tile, const bf16 *from, int64_t row, int count, int d) {
    constexpr int PIECES = D / 8, STEP = TENSOR_THREADS / PIECES; /* rows that the block copies at once */
    const int first = (int)threadIdx.x / PIECES, c = (int)threadIdx.x % PIECES * 8;
    tile += first * TENSOR_ROW<D> + c;
    const bf16 *piece = from + first * row + c;
    CM3_UNROLL for (int r = 0; r < ROWS; r += STEP) {
        const bool there = first + r < count && c < d;
        copy_async<16>(tile + r * TENSOR_ROW<D>, there ? piece : from, there);
        piece += STEP * row;
    }
}

/* scores = rows columns^T: of this warp's TILES * 16 rows and all of the columns. */
template <int D, int TILES, int COLUMNS>
static __device__ __forceinline__ void tile_scores(float (&scores)[TILES][COLUMNS / 8][4], const bf16 *rows,
                                                   const bf16 *columns) {
    CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++)
        CM3_UNROLL for (int i = 0; i < 4; i++) scores[m][n][i] = 0;
    CM3_UNROLL for (int k = 0; k < D; k += 16) {
        uint32_t a[TILES][4], b[4];
        CM3_UNROLL for (int m = 0; m < TILES; m++) load_a(a[m], rows + m * 16 * TENSOR_ROW<D> + k, TENSOR_ROW<D>);
        CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n += 2) {
            load_b(b, columns + n * 8 * TENSOR_ROW<D> + k, TENSOR_ROW<D>);
            CM3_UNROLL for (int m = 0; m < TILES; m++) {
                multiply_add(scores[m][n], a[m], b[0], b[1]);
                multiply_add(scores[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* sums += weights columns, the weights rounded to bf16. */
template <int D, int TILES, int COLUMNS>
static __device__ __forceinline__ void tile_add(float (&sums)[TILES][D / 8][4],
                                                const float (&weights)[TILES][COLUMNS / 8][4], const bf16 *columns) {
    CM3_UNROLL for (int k = 0; k < COLUMNS; k += 16) {
        uint32_t a[TILES][4], b[4];
        CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int i = 0; i < 4; i++) {
            const float *pair = &weights[m][k / 8 + i / 2][i % 2 * 2];
            a[m][i] = pair_of(pair[0], pair[1]);
        }
        CM3_UNROLL for (int n = 0; n < D / 8; n += 2) {
            load_b_by_row(b, columns + k * TENSOR_ROW<D> + n * 8, TENSOR_ROW<D>);
            CM3_UNROLL for (int m = 0; m < TILES; m++) {
                multiply_add(sums[m][n], a[m], b[0], b[1]);
                multiply_add(sums[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* Where the i-th float of a 16 x 8 result lies in it. */
static __device__ __forceinline__ int result_row(int i) {
    return lane_of_warp() / 4 + i / 2 * 8;
}

static __device__ __forceinline__ int result_column(int i) {
    return lane_of_warp() % 4 * 2 + i % 2;
}

/* This warp's sums, each row times its factor, to the first `count` rows from `to` on. */
template <int D, int TILES>
static __device__ __forceinline__ void tile_write(const float (&sums)[TILES][D / 8][4], const float (&factor)[TILES][2],
                                                  bf16 *to, int64_t row, int count, int d, bool accumulate) {
    CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int half = 0; half < 2; half++) {
        const int r = m * 16 + result_row(2 * half);
        if (r >= count) continue;
        CM3_UNROLL for (int n = 0; n < D / 8; n++) {
            if (n * 8 >= d) continue;
            bf16 *at = to + r * row + n * 8 + result_column(0);
            float before[2] = {}, value[2];
            if (accumulate) load<bf16, 2>(before, at);
            CM3_UNROLL for (int i = 0; i < 2; i++) value[i] = before[i] + factor[m][half] * sums[m][n][2 * half + i];
            store<bf16, 2>(at, value);
        }
    }
}

/* Sum and largest over the four lanes that have a row of a result. */
static __device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

static __device__ __forceinline__ float row_most(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

/* Scores of keys that a query must not see, or that are not there, become -inf. Counted from the tile's first key: the
 * position of its first row, and how many keys there are. */
template <int TILES, int COLUMNS>
static __device__ __forceinline__ void hide_keys(float (&scores)[TILES][COLUMNS / 8][4], int first_row, int keys,
                                                 bool causal) {
    CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++)
        CM3_UNROLL for (int i = 0; i < 4; i++) {
        const int key = n * 8 + result_column(i);
        if (key >= keys || (causal && key > first_row + m * 16 + result_row(i))) scores[m][n][i] = -INFINITY;
    }
}

/* Scores become weights 2^(scale score - most); what was summed under an older `most` is scaled down. Each lane has its
 * own part of `total`. Rows see their first key in the first tile, so that `most` is finite from then on. */
template <int D, int TILES, int COLUMNS>
static __device__ __forceinline__ void tile_softmax(float (&scores)[TILES][COLUMNS / 8][4],
                                                    float (&sums)[TILES][D / 8][4], float (&most)[TILES][2],
                                                    float (&total)[TILES][2], float scale) {
    CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int half = 0; half < 2; half++) {
        float larger = most[m][half];
        CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++) CM3_UNROLL for (int i = 0; i < 2; i++) larger =
            fmaxf(larger, scores[m][n][2 * half + i]);
        larger = row_most(larger);
        const float kept = power_of_two((most[m][half] - larger) * scale), shift = larger * scale;
        most[m][half] = larger;
        float sum = 0;
        CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++) CM3_UNROLL for (int i = 0; i < 2; i++) {
            float *s = &scores[m][n][2 * half + i];
            sum += *s = power_of_two(*s * scale - shift);
        }
        total[m][half] = total[m][half] * kept + sum;
        CM3_UNROLL for (int n = 0; n < D / 8; n++) CM3_UNROLL for (int i = 0; i < 2; i++) sums[m][n][2 * half + i] *=
            kept;
    }
}

template <int D, int TILES, int COLUMNS>
static __global__ void __launch_bounds__(TENSOR_THREADS, 2) tensor_forward(const attention<bf16> a) {
    constexpr int ROWS = TENSOR_WARPS * TILES * 16;
    CM3_SHARED(bf16, q);
    bf16 *k = q + ROWS * TENSOR_ROW<D>, *v = k + COLUMNS * TENSOR_ROW<D>;
    int64_t index;
    const int first = last_tiles_first(a.batch * a.heads, &index) * ROWS, d = (int)a.d;
    const attention_head<bf16> h = head_of(a, index / a.heads, index % a.heads);
    const int count = min(ROWS, h.queries - first);
    const int seen = a.causal ? min(h.start + first + count, h.keys) : h.keys;
    const int mine = (int)threadIdx.x / CM3_WARP * TILES * 16; /* this warp's first row of the block's */
    const float scale = a.scale * CM3_LOG2_E;
    float sums[TILES][D / 8][4] = {}, total[TILES][2] = {}, most[TILES][2];
    CM3_UNROLL for (int m = 0; m < TILES; m++) most[m][0] = most[m][1] = -INFINITY;
    copy_tile<D, ROWS>(q, h.q + first * a.q_row, a.q_row, count, d);
    copy_tile<D, COLUMNS>(k, h.k, a.k_row, seen, d);
    copies_end_group();
    for (int key = 0; key < seen; key += COLUMNS) {
        float scores[TILES][COLUMNS / 8][4];
        copies_wait<0>();
        __syncthreads(); /* k is here, v has been read */
        copy_tile<D, COLUMNS>(v, h.v + key * a.k_row, a.k_row, seen - key, d);
        copies_end_group();
        tile_scores<D, TILES, COLUMNS>(scores, q + mine * TENSOR_ROW<D>, k);
        copies_wait<0>();
        __syncthreads(); /* v is here, k has been read */
        if (key + COLUMNS < seen)
            copy_tile<D, COLUMNS>(k, h.k + (key + COLUMNS) * a.k_row, a.k_row, seen - key - COLUMNS, d);
        copies_end_group();
        const int position = h.start + first + mine - key; /* of this warp's first row, from this key on */
        if (key + COLUMNS > seen || (a.causal && COLUMNS - 1 > position))
            hide_keys<TILES, COLUMNS>(scores, position, seen - key, a.causal);
        tile_softmax<D, TILES, COLUMNS>(scores, sums, most, total, scale);
        tile_add<D, TILES, COLUMNS>(sums, scores, v);
    }
    CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int half = 0; half < 2; half++) {
        const float whole = row_sum(total[m][half]);
        const int r = mine + m * 16 + result_row(2 * half);
        total[m][half] = 1 / whole;
        if (a.lse && r < count && lane_of_warp() % 4 == 0)
            a.lse[h.at_row + first + r] = (most[m][half] * scale + log2f(whole)) * CM3_LN_2;
    }
    const int64_t y_row = a.heads * a.d;
    tile_write<D, TILES>(sums, total, a.y + h.at_y + (first + mine) * y_row, y_row, count - mine, d, false);
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

/* dq of a tile of queries. */
template <int D, int TILES, int COLUMNS>
static __global__ void __launch_bounds__(TENSOR_THREADS, 2) tensor_backward_queries(const attention<bf16> a) {
    constexpr int ROWS = TENSOR_WARPS * TILES * 16, PAIR = 2 * COLUMNS * TENSOR_ROW<D>;
    CM3_SHARED(bf16, q);
    bf16 *dy = q + ROWS * TENSOR_ROW<D>, *keys = dy + ROWS * TENSOR_ROW<D>; /* keys: k and v, two tiles of each */
    int64_t index;
    const int first = last_tiles_first(a.batch * a.heads, &index) * ROWS, d = (int)a.d;
    const attention_head<bf16> h = head_of(a, index / a.heads, index % a.heads);
    const int count = min(ROWS, h.queries - first), seen = a.causal ? first + count : h.keys;
    const int64_t y_row = a.heads * a.d;
    const int mine = (int)threadIdx.x / CM3_WARP * TILES * 16;
    const float scale = a.scale * CM3_LOG2_E;
    const auto fetch = [&](int key) {
        bf16 *to = keys + key / COLUMNS % 2 * PAIR;
        if (key < seen) {
            copy_tile<D, COLUMNS>(to, h.k + key * a.k_row, a.k_row, seen - key, d);
            copy_tile<D, COLUMNS>(to + PAIR / 2, h.v + key * a.k_row, a.k_row, seen - key, d);
        }
        copies_end_group();
    };
    float sums[TILES][D / 8][4] = {}, lse[TILES][2], delta[TILES][2], factor[TILES][2];
    CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int half = 0; half < 2; half++) {
        const int r = mine + m * 16 + result_row(2 * half);
        lse[m][half] = r < count ? a.lse[h.at_row + first + r] * CM3_LOG2_E : 0.0f;
        delta[m][half] = r < count ? a.delta[h.at_row + first + r] : 0.0f;
        factor[m][half] = a.scale;
    }
    copy_tile<D, ROWS>(q, h.q + first * a.q_row, a.q_row, count, d);
    copy_tile<D, ROWS>(dy, a.dy + h.at_y + first * y_row, y_row, count, d);
    fetch(0);
    for (int key = 0; key < seen; key += COLUMNS) {
        const bf16 *k = keys + key / COLUMNS % 2 * PAIR, *v = k + PAIR / 2;
        float p[TILES][COLUMNS / 8][4], ds[TILES][COLUMNS / 8][4];
        fetch(key + COLUMNS);
        copies_wait<1>();
        __syncthreads(); /* this tile is here */
        tile_scores<D, TILES, COLUMNS>(p, q + mine * TENSOR_ROW<D>, k);
        tile_scores<D, TILES, COLUMNS>(ds, dy + mine * TENSOR_ROW<D>, v);
        if (key + COLUMNS > seen || (a.causal && key + COLUMNS - 1 > first + mine))
            hide_keys<TILES, COLUMNS>(p, first + mine - key, seen - key, a.causal);
        CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++)
            CM3_UNROLL for (int i = 0; i < 4; i++) ds[m][n][i] =
                power_of_two(p[m][n][i] * scale - lse[m][i / 2]) * (ds[m][n][i] - delta[m][i / 2]);
        tile_add<D, TILES, COLUMNS>(sums, ds, k);
        __syncthreads(); /* it has been read */
    }
    tile_write<D, TILES>(sums, factor, a.dq + h.at_q + (first + mine) * a.q_row, a.q_row, count - mine, d,
                         a.accumulate);
}

/* Queries that come before a key do not see it: their scores, keys by queries, become -inf. The position of the tile's
 * first key is counted from its first query. */
template <int TILES, int COLUMNS>
static __device__ __forceinline__ void hide_queries(float (&scores)[TILES][COLUMNS / 8][4], int first_key) {
    CM3_UNROLL for (int m = 0; m < TILES; m++) CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++)
        CM3_UNROLL for (int i = 0; i < 4; i++) if (n * 8 + result_column(i) < first_key + m * 16 + result_row(i))
            scores[m][n][i] = -INFINITY;
}

/* dk and dv of a tile of keys, over all queries of all heads that read them. A query that is not there has zeros for q,
 * dy, lse and delta, and so adds nothing. */
template <int D, int TILES, int COLUMNS>
static __global__ void __launch_bounds__(TENSOR_THREADS, 2) tensor_backward_keys(const attention<bf16> a) {
    constexpr int ROWS = TENSOR_WARPS * TILES * 16, PAIR = 2 * COLUMNS * TENSOR_ROW<D>;
    CM3_SHARED(bf16, k);
    bf16 *v = k + ROWS * TENSOR_ROW<D>, *pairs = v + ROWS * TENSOR_ROW<D>; /* pairs: q and dy, two tiles of each */
    float *statistics = (float *)(pairs + 2 * PAIR);                       /* lse and delta, likewise */
    const int each = (int)(a.batch * a.kv_heads), index = (int)blockIdx.x % each;
    const int first = (int)blockIdx.x / each * ROWS, d = (int)a.d, queries = (int)a.queries;
    const int sharing = (int)(a.heads / a.kv_heads), from = a.causal ? first / COLUMNS * COLUMNS : 0;
    const int tiles = (queries - from + COLUMNS - 1) / COLUMNS; /* of each head */
    const int64_t b = index / a.kv_heads, head = index % a.kv_heads * sharing, y_row = a.heads * a.d;
    const attention_head<bf16> leader = head_of(a, b, head);
    const int count = min(ROWS, (int)a.keys - first);
    const int mine = (int)threadIdx.x / CM3_WARP * TILES * 16;
    const float scale = a.scale * CM3_LOG2_E;
    const auto fetch = [&](int step) {
        bf16 *q = pairs + step % 2 * PAIR, *dy = q + PAIR / 2;
        if (step < tiles * sharing) {
            const attention_head<bf16> h = head_of(a, b, head + step / tiles);
            const int query = from + step % tiles * COLUMNS;
            copy_tile<D, COLUMNS>(q, h.q + query * a.q_row, a.q_row, queries - query, d);
            copy_tile<D, COLUMNS>(dy, a.dy + h.at_y + query * y_row, y_row, queries - query, d);
            float *to = statistics + step % 2 * 2 * COLUMNS + threadIdx.x;
            const int at = query + (int)threadIdx.x % COLUMNS;
            const int64_t row = h.at_row + (at < queries ? at : 0);
            if (threadIdx.x < 2 * COLUMNS)
                copy_async<4>(to, (threadIdx.x < COLUMNS ? a.lse : a.delta) + row, at < queries);
        }
        copies_end_group();
    };
    float dk[TILES][D / 8][4] = {}, dv[TILES][D / 8][4] = {};
    copy_tile<D, ROWS>(k, leader.k + first * a.k_row, a.k_row, count, d);
    copy_tile<D, ROWS>(v, leader.v + first * a.k_row, a.k_row, count, d);
    fetch(0);
    for (int step = 0; step < tiles * sharing; step++) {
        const bf16 *q = pairs + step % 2 * PAIR, *dy = q + PAIR / 2;
        const float *lse = statistics + step % 2 * 2 * COLUMNS, *delta = lse + COLUMNS;
        const int query = from + step % tiles * COLUMNS;
        float p[TILES][COLUMNS / 8][4], ds[TILES][COLUMNS / 8][4];
        fetch(step + 1);
        copies_wait<1>();
        __syncthreads(); /* this tile is here */
        tile_scores<D, TILES, COLUMNS>(p, k + mine * TENSOR_ROW<D>, q);
        if (a.causal && query < first + mine + TILES * 16 - 1) hide_queries<TILES, COLUMNS>(p, first + mine - query);
        CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++) CM3_UNROLL for (int i = 0; i < 4; i++) {
            const float shift = lse[n * 8 + result_column(i)] * CM3_LOG2_E;
            CM3_UNROLL for (int m = 0; m < TILES; m++) p[m][n][i] = power_of_two(p[m][n][i] * scale - shift);
        }
        tile_add<D, TILES, COLUMNS>(dv, p, dy);
        tile_scores<D, TILES, COLUMNS>(ds, v + mine * TENSOR_ROW<D>, dy);
        CM3_UNROLL for (int n = 0; n < COLUMNS / 8; n++) CM3_UNROLL for (int i = 0; i < 4; i++) {
            const float shift = delta[n * 8 + result_column(i)];
            CM3_UNROLL for (int m = 0; m < TILES; m++) ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - shift);
        }
        tile_add<D, TILES, COLUMNS>(dk, ds, q);
        __syncthreads(); /* it has been read */
    }
    float of_k[TILES][2], of_v[TILES][2];
    CM3_UNROLL for (int m = 0; m < TILES; m++) {
        of_k[m][0] = of_k[m][1] = a.scale;
        of_v[m][0] = of_v[m][1] = 1;
    }
    const int64_t at = leader.at_k + (first + mine) * a.k_row;
    tile_write<D, TILES>(dk, of_k, a.dk + at, a.k_row, count - mine, d, a.accumulate);
    tile_write<D, TILES>(dv, of_v, a.dv + at, a.k_row, count - mine, d, a.accumulate);
}

/* --- launchers --------------------------------------------------------------------------------------------------- */

constexpr int64_t TENSOR_MOST_D = 128;

/* A positive scale, because the running softmax takes the largest score before it is scaled. */
static bool tensor_cores_take(const attention<bf16> &a) {
    const uintptr_t addresses = (uintptr_t)a.q | (uintptr_t)a.k | (uintptr_t)a.v | (uintptr_t)a.y | (uintptr_t)a.dy;
    return a.d % 8 == 0 && a.d <= TENSOR_MOST_D && a.scale > 0 && (a.q_row | a.k_row | a.k_batch) % 8 == 0 &&
           addresses % 16 == 0;
}

template <int D, int TILES, int COLUMNS> static void run_tensor_forward(const attention<bf16> &a) {
    constexpr int ROWS = TENSOR_WARPS * TILES * 16;
    constexpr size_t shared = (size_t)(ROWS + 2 * COLUMNS) * TENSOR_ROW<D> * sizeof(bf16);
    CM3_ALLOW_SHARED((tensor_forward<D, TILES, COLUMNS>), shared);
    CM3_LAUNCH((tensor_forward<D, TILES, COLUMNS>), cm3__blocks_for(a.queries, ROWS) * (unsigned)(a.batch * a.heads),
               TENSOR_THREADS, shared, a);
}

template <int D, int TILES, int COLUMNS> static void run_tensor_backward(const attention<bf16> &a) {
    constexpr int ROWS = TENSOR_WARPS * TILES * 16;
    constexpr size_t shared =
        (size_t)(2 * ROWS + 4 * COLUMNS) * TENSOR_ROW<D> * sizeof(bf16) + 4 * COLUMNS * sizeof(float);
    CM3_ALLOW_SHARED((tensor_backward_keys<D, TILES, COLUMNS>), shared);
    CM3_LAUNCH((tensor_backward_keys<D, TILES, COLUMNS>),
               cm3__blocks_for(a.keys, ROWS) * (unsigned)(a.batch * a.kv_heads), TENSOR_THREADS, shared, a);
    CM3_ALLOW_SHARED((tensor_backward_queries<D, TILES, COLUMNS>), shared);
    CM3_LAUNCH((tensor_backward_queries<D, TILES, COLUMNS>),
               cm3__blocks_for(a.queries, ROWS) * (unsigned)(a.batch * a.heads), TENSOR_THREADS, shared, a);
}

static void run_tensor_forward(const attention<bf16> &a) {
    if (a.d <= 64)
        run_tensor_forward<64, 2, 64>(a);
    else
        run_tensor_forward<128, 2, 64>(a);
}

static void run_tensor_backward(const attention<bf16> &a) {
    if (a.d <= 64)
        run_tensor_backward<64, 2, 32>(a);
    else
        run_tensor_backward<128, 1, 32>(a); /* what 99 KiB of shared memory take, which is all that some GPUs have */
}

#endif
