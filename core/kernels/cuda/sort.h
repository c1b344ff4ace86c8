/* A stable sort of row numbers by small integers (ids of tokens, codes), least significant digits first: within an id
 * the rows stay in order, so whatever is summed along the result has one order in every run. */
#ifndef CM3_CORE_KERNELS_CUDA_SORT_H
#define CM3_CORE_KERNELS_CUDA_SORT_H

#include "core/kernels/cuda/launch.h"
#include "core/kernels/cuda/workspace.h"

constexpr int CM3_SORT_THREADS = 256, CM3_SORT_WARPS = CM3_SORT_THREADS / CM3_WARP;
constexpr int CM3_SORT_ROUNDS = CM3_SORT_TILE / CM3_SORT_THREADS;
static_assert((int)CM3_SORT_DIGITS == CM3_SORT_THREADS, "a thread a digit");

/* Ids in ascending order, and the rows that they came from. */
typedef struct cm3__sorted {
    const int32_t *id, *row;
} cm3__sorted;

/* Ids beyond 0 .. last go with its ends. */
static __device__ __forceinline__ int32_t sort_id(const int32_t *ids, int64_t i, int32_t last) {
    return min(max(ids[i], 0), last);
}

static __device__ __forceinline__ int sort_digit(int32_t id, int shift) {
    return id >> shift & (CM3_SORT_DIGITS - 1);
}

/* How often each digit is in each tile: count (digits, tiles). */
static __global__ void sort_count(const int32_t *ids, int64_t n, int32_t last, int shift, int32_t *count) {
    __shared__ int32_t mine[CM3_SORT_DIGITS];
    mine[threadIdx.x] = 0;
    __syncthreads();
    for (int r = 0; r < CM3_SORT_ROUNDS; r++) {
        const int64_t i = (int64_t)blockIdx.x * CM3_SORT_TILE + r * CM3_SORT_THREADS + threadIdx.x;
        if (i < n) atomicAdd(&mine[sort_digit(sort_id(ids, i, last), shift)], 1);
    }
    __syncthreads();
    count[(int64_t)threadIdx.x * gridDim.x + blockIdx.x] = mine[threadIdx.x];
}

/* The sum of what this lane and those below it give. */
static __device__ __forceinline__ int32_t warp_running_sum(int32_t x) {
    const int lane = (int)threadIdx.x % CM3_WARP;
    for (int step = 1; step < CM3_WARP; step *= 2) {
        const int32_t below = __shfl_up_sync(0xffffffffu, x, (unsigned)step);
        if (lane >= step) x += below;
    }
    return x;
}

/* count: what the tiles before have of this digit; total: what all have. A warp a digit. */
static __global__ void sort_tiles(int64_t tiles, int32_t *count, int32_t *total) {
    const int64_t digit = (int64_t)blockIdx.x * CM3_SORT_WARPS + threadIdx.x / CM3_WARP;
    const int lane = (int)threadIdx.x % CM3_WARP;
    int32_t before = 0;
    for (int64_t first = 0; first < tiles; first += CM3_WARP) {
        int32_t *at = count + digit * tiles + first + lane;
        const int32_t mine = first + lane < tiles ? *at : 0, sum = warp_running_sum(mine);
        if (first + lane < tiles) *at = before + sum - mine;
        before += __shfl_sync(0xffffffffu, sum, CM3_WARP - 1);
    }
    if (lane == 0) total[digit] = before;
}

/* The sum of what the threads below this one give. */
static __device__ __forceinline__ int32_t block_sum_below(int32_t mine) {
    __shared__ int32_t part[CM3_SORT_WARPS];
    const int lane = (int)threadIdx.x % CM3_WARP, warp = (int)threadIdx.x / CM3_WARP;
    const int32_t sum = warp_running_sum(mine);
    if (lane == CM3_WARP - 1) part[warp] = sum;
    __syncthreads();
    int32_t before = 0;
    for (int w = 0; w < warp; w++) before += part[w];
    return before + sum - mine;
}

/* Puts a tile's ids where they belong by one digit. A warp has neighbouring ids and takes them in order. row_from NULL:
 * id i is of row i. */
static __global__ void sort_place(const int32_t *ids, const int32_t *row_from, int64_t n, int32_t last, int shift,
                                  const int32_t *count, const int32_t *total, int32_t *id_to, int32_t *row_to) {
    __shared__ int32_t next[CM3_SORT_WARPS][CM3_SORT_DIGITS]; /* where a warp's next id of a digit goes */
    const int lane = (int)threadIdx.x % CM3_WARP, warp = (int)threadIdx.x / CM3_WARP;
    const int64_t first = (int64_t)blockIdx.x * CM3_SORT_TILE + warp * CM3_WARP * CM3_SORT_ROUNDS + lane;
    for (int w = 0; w < CM3_SORT_WARPS; w++) next[w][threadIdx.x] = 0;
    __syncthreads();
    for (int r = 0; r < CM3_SORT_ROUNDS; r++) {
        const int64_t i = first + r * CM3_WARP;
        if (i < n) atomicAdd(&next[warp][sort_digit(sort_id(ids, i, last), shift)], 1);
    }
    __syncthreads();
    int32_t at = block_sum_below(total[threadIdx.x]) + count[(int64_t)threadIdx.x * gridDim.x + blockIdx.x];
    for (int w = 0; w < CM3_SORT_WARPS; w++) {
        const int32_t mine = next[w][threadIdx.x];
        next[w][threadIdx.x] = at;
        at += mine;
    }
    __syncthreads();
    for (int r = 0; r < CM3_SORT_ROUNDS; r++) {
        const int64_t i = first + r * CM3_WARP;
        const int32_t id = i < n ? sort_id(ids, i, last) : 0;
        const int digit = i < n ? sort_digit(id, shift) : -1;
        const unsigned same = __match_any_sync(0xffffffffu, digit);
        const int before = __popc(same & ((1u << lane) - 1));
        const int32_t to = digit >= 0 ? next[warp][digit] + before : 0;
        __syncwarp();
        if (digit >= 0 && before == 0) next[warp][digit] += __popc(same);
        __syncwarp();
        if (digit < 0) continue;
        id_to[to] = id;
        row_to[to] = row_from ? row_from[i] : (int32_t)i;
    }
}

/* ids (n), each of `bound`, n > 0; workspace: cm3__sort_words(n). */
static cm3__sorted cm3__sort(const int32_t *ids, int64_t n, int64_t bound, int32_t *workspace) {
    const unsigned tiles = cm3__blocks_for(n, CM3_SORT_TILE);
    const int32_t last = (int32_t)(bound - 1);
    int32_t *count = workspace + 4 * n, *total = count + (int64_t)CM3_SORT_DIGITS * tiles;
    cm3__sorted now = {ids, nullptr};
    for (int pass = 0; pass == 0 || (pass < 4 && last >> 8 * pass > 0); pass++) {
        int32_t *id_to = workspace + pass % 2 * 2 * n, *row_to = id_to + n;
        const int shift = 8 * pass;
        CM3_LAUNCH(sort_count, tiles, CM3_SORT_THREADS, 0, now.id, n, last, shift, count);
        CM3_LAUNCH(sort_tiles, CM3_SORT_DIGITS / CM3_SORT_WARPS, CM3_SORT_THREADS, 0, (int64_t)tiles, count, total);
        CM3_LAUNCH(sort_place, tiles, CM3_SORT_THREADS, 0, now.id, now.row, n, last, shift, count, total, id_to,
                   row_to);
        now = {id_to, row_to};
    }
    return now;
}

#endif
