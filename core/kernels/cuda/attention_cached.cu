/* ATTENTION_CACHED: new positions of a generation, against the keys and values of those before them.
 *
 * Several new positions are appended and then go the way of all attention. One new position is bound by reading the
 * caches: each head's keys are split over blocks, so that a few sequences fill the device; each split leaves its
 * largest score, the sum of its weights and its weighted values, and a second kernel puts the splits together in order.
 */
#include "core/kernels/cuda/attention.h"
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/elementwise.h"

constexpr int SPLIT = CM3__CACHE_SPLIT; /* keys of a split, and threads of a block */

/* --- one new position -------------------------------------------------------------------------------------------- */

/* Where the new position's key and value come from and go to. */
template <typename T> struct append {
    const T *k, *v; /* of head 0 of sequence 0, in packed rows of width `row` */
    int64_t row;
    T *k_cache, *v_cache;
};

/* Rows of one side (keys or values) of a head: the newest one is not in the cache yet. */
template <typename T> struct cached_rows {
    const T *cache, *newest_at;
    int64_t row;
    int newest;
    __device__ __forceinline__ const T *at(int key) const {
        return key == newest ? newest_at : cache + key * row;
    }
};

/* L lanes read a key, N neighbours each, and AT_ONCE keys of theirs at a time. */
constexpr int AT_ONCE = 4;

template <typename T, int N, int L>
static __device__ __forceinline__ void split_scores(const cached_rows<T> &k, int first, int count, int64_t d,
                                                    const float *q, float *score) {
    constexpr int GROUPS = SPLIT / L;
    const int group = (int)threadIdx.x / L, lane = (int)threadIdx.x % L;
    for (int base = group; base < group + count; base += GROUPS * AT_ONCE) { /* as often for every lane of a warp */
        float dot[AT_ONCE] = {};
        for (int64_t c = lane * N; c < d; c += L * N) {
            float x[AT_ONCE][N] = {};
            CM3_UNROLL for (int u = 0; u < AT_ONCE; u++) {
                const int j = base + u * GROUPS;
                if (j < count) load<T, N>(x[u], k.at(first + j) + c);
            }
            CM3_UNROLL for (int u = 0; u < AT_ONCE; u++) CM3_UNROLL for (int i = 0; i < N; i++) dot[u] +=
                x[u][i] * q[c + i];
        }
        CM3_UNROLL for (int u = 0; u < AT_ONCE; u++) {
            CM3_UNROLL for (int step = L / 2; step > 0; step /= 2) dot[u] += __shfl_xor_sync(0xffffffffu, dot[u], step);
            if (lane == 0 && base + u * GROUPS < count) score[base + u * GROUPS] = dot[u];
        }
    }
}

/* sums (d) = the weighted values. */
template <typename T, int N, int L>
static __device__ __forceinline__ void split_values(const cached_rows<T> &v, int first, int count, int64_t d,
                                                    const float *weight, float *sums) {
    constexpr int GROUPS = SPLIT / L, COLUMNS = L * N;
    __shared__ float part[GROUPS][COLUMNS];
    const int group = (int)threadIdx.x / L, lane = (int)threadIdx.x % L;
    for (int64_t slab = 0; slab < d; slab += COLUMNS) {
        const int64_t c = slab + lane * N;
        float sum[N] = {};
        for (int base = group; c < d && base < count; base += GROUPS * AT_ONCE) {
            float x[AT_ONCE][N] = {};
            CM3_UNROLL for (int u = 0; u < AT_ONCE; u++) {
                const int j = base + u * GROUPS;
                if (j < count) load<T, N>(x[u], v.at(first + j) + c);
            }
            CM3_UNROLL for (int u = 0; u < AT_ONCE; u++) {
                const int j = base + u * GROUPS;
                const float w = j < count ? weight[j] : 0.0f;
                CM3_UNROLL for (int i = 0; i < N; i++) sum[i] += w * x[u][i];
            }
        }
        __syncthreads(); /* the last slab has been read */
        CM3_UNROLL for (int i = 0; i < N; i++) part[group][lane * N + i] = sum[i];
        __syncthreads();
        for (int column = (int)threadIdx.x; column < COLUMNS && slab + column < d; column += SPLIT) {
            float whole = 0;
            CM3_UNROLL for (int g = 0; g < GROUPS; g++) whole += part[g][column];
            sums[slab + column] = whole;
        }
    }
}

/* partial: of each head and split d weighted values, the largest score (base 2), the sum of weights. */
template <typename T, int N, int L>
static __global__ void one_split(const attention<T> a, const append<T> to, int splits, float *partial) {
    __shared__ float score[SPLIT];
    CM3_SHARED(float, q);
    const int64_t index = blockIdx.x / (unsigned)splits, b = index / a.heads, head = index % a.heads;
    const attention_head<T> h = head_of(a, b, head);
    const int first = (int)(blockIdx.x % (unsigned)splits) * SPLIT, count = min(SPLIT, h.keys - first);
    if (count <= 0) return; /* the whole block */
    const int64_t at_new = b * to.row + head * a.kv_heads / a.heads * a.d;
    const cached_rows<T> k = {h.k, to.k + at_new, a.k_row, h.start}, v = {h.v, to.v + at_new, a.k_row, h.start};
    const bool appends = first <= h.start && h.start < first + count && head % (a.heads / a.kv_heads) == 0;
    for (int64_t c = threadIdx.x; c < a.d; c += SPLIT) {
        q[c] = to_float(h.q[c]) * a.scale * CM3_LOG2_E;
        if (!appends) continue;
        to.k_cache[h.at_k + h.start * a.k_row + c] = k.newest_at[c];
        to.v_cache[h.at_k + h.start * a.k_row + c] = v.newest_at[c];
    }
    __syncthreads();
    split_scores<T, N, L>(k, first, count, a.d, q, score);
    __syncthreads();
    const int mine = (int)threadIdx.x;
    const float own = mine < count ? score[mine] : -INFINITY, most = block_most(own);
    const float weight = exp2f(own - most), total = block_sum(weight);
    score[mine] = weight;
    __syncthreads();
    partial += (int64_t)blockIdx.x * (a.d + 2);
    split_values<T, N, L>(v, first, count, a.d, score, partial);
    if (mine > 0) return;
    partial[a.d] = most;
    partial[a.d + 1] = total;
}

/* A block has a head. */
template <typename T> static __global__ void all_splits(const attention<T> a, int splits, const float *partial) {
    const int64_t index = blockIdx.x, each = a.d + 2;
    const attention_head<T> h = head_of(a, index / a.heads, index % a.heads);
    const int used = (h.keys + SPLIT - 1) / SPLIT;
    partial += index * splits * each;
    float most = -INFINITY, total = 0;
    for (int s = 0; s < used; s++) most = fmaxf(most, partial[s * each + a.d]);
    for (int s = 0; s < used; s++) total += partial[s * each + a.d + 1] * exp2f(partial[s * each + a.d] - most);
    for (int64_t c = threadIdx.x; c < a.d; c += blockDim.x) {
        float sum = 0;
        for (int s = 0; s < used; s++) sum += partial[s * each + c] * exp2f(partial[s * each + a.d] - most);
        a.y[h.at_y + c] = from_float<T>(sum / total);
    }
}

/* --- several new positions --------------------------------------------------------------------------------------- */

/* The new keys and values to their places. A sequence whose cache has no room for them is its caller's fault; nothing
 * is written beside the cache. */
template <typename T> static __global__ void append_all(const attention<T> a, const append<T> to) {
    const int64_t each = a.kv_heads * a.d, at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= a.batch * a.queries * each) return;
    const int64_t c = at % each, t = at / each % a.queries, b = at / each / a.queries, key = a.start[b] + t;
    if (key < 0 || key >= a.keys) return;
    const int64_t from = (b * a.queries + t) * to.row + c, place = b * a.k_batch + key * a.k_row + c;
    to.k_cache[place] = to.k[from];
    to.v_cache[place] = to.v[from];
}

/* --- launchers --------------------------------------------------------------------------------------------------- */

template <typename T, int N, int L>
static void run_one(const attention<T> &a, const append<T> &to, int splits, float *partial) {
    const unsigned heads = (unsigned)(a.batch * a.heads);
    CM3_LAUNCH((one_split<T, N, L>), heads * (unsigned)splits, SPLIT, (size_t)a.d * sizeof(float), a, to, splits,
               partial);
    CM3_LAUNCH((all_splits<T>), heads, SPLIT, 0, a, splits, partial);
}

template <typename T, int N>
static void run_one_by_width(const attention<T> &a, const append<T> &to, int splits, float *partial) {
    if (a.d <= 8 * N)
        run_one<T, N, 8>(a, to, splits, partial);
    else if (a.d <= 16 * N)
        run_one<T, N, 16>(a, to, splits, partial);
    else
        run_one<T, N, 32>(a, to, splits, partial);
}

template <typename T> static void run_forward(const cm3_call *call) {
    attention<T> a = packed_heads<T>(call);
    const append<T> to = {a.k, a.v, a.q_row, (T *)call->in[1].data, (T *)call->in[2].data};
    float *partial = (float *)call->workspace;
    a.causal = true;
    a.start = (const int32_t *)call->in[3].data;
    a.keys = call->in[1].shape.dim[1];
    a.k = to.k_cache;
    a.v = to.v_cache;
    a.k_row = a.kv_heads * a.d;
    a.k_batch = a.keys * a.k_row;
    if (a.queries > 1) {
        CM3_LAUNCH((append_all<T>), cm3__blocks_for(a.batch * a.queries * a.k_row, CM3_ELEMENTWISE_THREADS),
                   CM3_ELEMENTWISE_THREADS, 0, a, to);
        cm3__cuda_attention_forward(a);
    } else if (can_use_vectors<T>(a.d, to.k, a.k, a.v))
        run_one_by_width<T, CM3_VEC<T>>(a, to, (int)cm3__cache_splits(call), partial);
    else
        run_one_by_width<T, 1>(a, to, (int)cm3__cache_splits(call), partial);
}

static cm3_status forward(const cm3_call *call) {
    CM3_TRY(cm3__cuda_attention_check(call));
    CM3_BY_TYPE(call->in[0].type, run_forward<T>(call));
    return cm3__cuda_launched("attention cached");
}

CM3__CUDA_KERNEL(attention_cached, forward, nullptr);
