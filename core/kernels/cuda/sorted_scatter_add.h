/* Sums of rows that have the same id: the gradient of a table whose rows were looked up. No atomics, and no row of the
 * table is left to one block, however often its id occurs: row numbers are sorted by id, the sorted list is cut into
 * pieces of one length, blocks sum what a piece has of each id, and where an id goes on in the next pieces, their sums
 * are added in order. */
#ifndef CM3_CORE_KERNELS_CUDA_SORTED_SCATTER_ADD_H
#define CM3_CORE_KERNELS_CUDA_SORTED_SCATTER_ADD_H

#include "core/kernels/cuda/sort.h"
#include "core/kernels/cuda/device.h"

constexpr int CM3_BY_ID_BATCH = 4;                        /* rows that are in flight together */
constexpr int CM3_BY_ID_LANES = 8, CM3_BY_ID_PIECES = 8; /* of a block that joins pieces */

static __host__ __device__ inline int64_t cm3__by_id_pieces(int64_t n) {
    return (n + CM3_BY_ID_PIECE - 1) / CM3_BY_ID_PIECE;
}

/* Sums a piece's runs of one id. A run that is all inside of the piece goes to its row; of one that reaches over an
 * edge the sum goes to edges (pieces, 2, d): 0 where it began in an earlier piece, 1 where it begins here. */
template <int N, typename Term>
static __global__ void by_id_pieces(cm3__sorted list, int64_t n, int64_t d, Term term, float *to, bool accumulate,
                                    float *edges) {
    __shared__ int32_t id[CM3_BY_ID_PIECE + 2], row[CM3_BY_ID_PIECE]; /* id: also of the neighbours; -1 for none */
    const int64_t first = (int64_t)blockIdx.x * CM3_BY_ID_PIECE;
    const int count = (int)min((int64_t)CM3_BY_ID_PIECE, n - first), t = (int)threadIdx.x;
    if (t < count + 2) id[t] = first + t > 0 && first + t <= n ? list.id[first + t - 1] : -1;
    if (t < count) row[t] = list.row[first + t];
    __syncthreads();
    const int64_t column = ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (column >= d) return;
    bool before = id[0] == id[1];
    float sum[N] = {};
    for (int i = 0; i < count; i += CM3_BY_ID_BATCH) {
        float x[CM3_BY_ID_BATCH][N] = {};
        CM3_UNROLL for (int b = 0; b < CM3_BY_ID_BATCH; b++) if (i + b < count)
            term(x[b], (int64_t)row[i + b], (int64_t)id[i + b + 1], column);
        CM3_UNROLL for (int b = 0; b < CM3_BY_ID_BATCH; b++) {
            const int at = i + b + 1;
            if (at > count) break;
            CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += x[b][k];
            const bool after = id[at] == id[at + 1];
            if (after && at < count) continue;
            float *place = to + id[at] * d + column;
            if (before || after) {
                place = edges + ((int64_t)blockIdx.x * 2 + (before ? 0 : 1)) * d + column;
            } else if (accumulate) {
                float old[N];
                load<float, N>(old, place);
                CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += old[k];
            }
            store<float, N>(place, sum);
            CM3_UNROLL for (int k = 0; k < N; k++) sum[k] = 0;
            before = false;
        }
    }
}

/* How many pieces the run has that begins in this piece and goes on in the next one; 0 if there is none. */
static __device__ __forceinline__ int64_t by_id_reach(cm3__sorted list, int64_t n, int64_t piece) {
    const int64_t first = piece * CM3_BY_ID_PIECE, next = first + CM3_BY_ID_PIECE;
    if (next >= n) return 0;
    const int32_t id = list.id[next - 1];
    if (list.id[next] != id || (first > 0 && list.id[first - 1] == id)) return 0;
    int64_t low = piece + 1, high = cm3__by_id_pieces(n); /* the first piece that begins with another id */
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (list.id[middle * CM3_BY_ID_PIECE] == id)
            low = middle + 1;
        else
            high = middle;
    }
    return low - piece;
}

/* Adds the sums of the runs that reach over edges. Blocks of 32 x CM3_BY_ID_LANES threads. */
template <int N>
static __global__ void by_id_join(cm3__sorted list, int64_t n, int64_t d, const float *edges, float *to,
                                  bool accumulate) {
    __shared__ int64_t reach[CM3_BY_ID_PIECES];
    __shared__ float sums[CM3_BY_ID_LANES][CM3_WARP * N];
    const int64_t first = (int64_t)blockIdx.x * CM3_BY_ID_PIECES, pieces = cm3__by_id_pieces(n);
    const int64_t column = ((int64_t)blockIdx.y * CM3_WARP + threadIdx.x) * N;
    const int lane = (int)threadIdx.y;
    if (lane == 0 && threadIdx.x < CM3_BY_ID_PIECES)
        reach[threadIdx.x] = first + threadIdx.x < pieces ? by_id_reach(list, n, first + threadIdx.x) : 0;
    __syncthreads();
    for (int p = 0; p < CM3_BY_ID_PIECES; p++) {
        if (!reach[p]) continue;
        float sum[N] = {}, x[N];
        if (column < d)
            for (int64_t i = lane; i < reach[p]; i += CM3_BY_ID_LANES) {
                load<float, N>(x, edges + ((first + p + i) * 2 + (i ? 0 : 1)) * d + column);
                CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += x[k];
            }
        CM3_UNROLL for (int k = 0; k < N; k++) sums[lane][threadIdx.x * N + k] = sum[k];
        __syncthreads();
        if (lane == 0 && column < d) {
            float *place = to + list.id[(first + p + 1) * CM3_BY_ID_PIECE] * d + column;
            for (int l = 1; l < CM3_BY_ID_LANES; l++)
                CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += sums[l][threadIdx.x * N + k];
            if (accumulate) {
                load<float, N>(x, place);
                CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += x[k];
            }
            store<float, N>(place, sum);
        }
        __syncthreads();
    }
}

/* to (bound, d) = or += for each id the sum of term over its rows; ids (n). term(x, row, id, column) gives N neighbours
 * from `column` on. N is 1, or a multiple of 4 that divides d, with `to` aligned to 16 bytes. */
template <int N, typename Term>
static cm3_status cm3__sums_by_id(const int32_t *ids, int64_t n, int64_t bound, int64_t d, Term term, float *to,
                                  bool accumulate, void *workspace) {
    constexpr int J = N < 4 ? N : 4;
    if (!accumulate) CM3_TRY(cm3__device_memory.clear(to, (size_t)(bound * d) * sizeof(float)));
    if (n <= 0 || d <= 0) return CM3_OK;
    const cm3__sorted list = cm3__sort(ids, n, bound, (int32_t *)workspace);
    float *edges = (float *)workspace + cm3__sort_words(n);
    const int64_t pieces = cm3__by_id_pieces(n), vectors = d / N;
    const int threads = vectors >= 128 ? 128 : (int)(vectors + CM3_WARP - 1) / CM3_WARP * CM3_WARP;
    CM3_LAUNCH((by_id_pieces<N, Term>), dim3((unsigned)pieces, cm3__blocks_for(vectors, threads)), threads, 0, list, n,
               d, term, to, accumulate, edges);
    CM3_LAUNCH((by_id_join<J>), dim3(cm3__blocks_for(pieces, CM3_BY_ID_PIECES), cm3__blocks_for(d, CM3_WARP * J)),
               dim3(CM3_WARP, CM3_BY_ID_LANES), 0, list, n, d, (const float *)edges, to, accumulate);
    return CM3_OK;
}

#endif
