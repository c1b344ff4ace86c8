/* Sums over the rows of a matrix, in a fixed order: gradients of biases and gains. Each block sums a stretch of rows
 * for 32 columns into a partial sum; then the stretches are added one after the other. */
#ifndef CM3_CORE_KERNELS_CUDA_COLUMNS_H
#define CM3_CORE_KERNELS_CUDA_COLUMNS_H

#include "core/kernels/cuda/launch.h"
#include "core/kernels/cuda/workspace.h"

constexpr int CM3_COLUMN_ROWS = 8;

/* term(row, column) is what is summed. Blocks of 32 x CM3_COLUMN_ROWS threads: gridDim.x covers the columns, gridDim.y
 * are the stretches. */
template <typename Term>
static __global__ void column_stretches(int64_t rows, int64_t columns, Term term, float *partial) {
    __shared__ float sums[CM3_COLUMN_ROWS][CM3_WARP];
    const int64_t column = (int64_t)blockIdx.x * CM3_WARP + threadIdx.x;
    const int64_t each = (rows + gridDim.y - 1) / gridDim.y, first = each * blockIdx.y;
    const int64_t last = min(first + each, rows);
    float sum = 0;
    if (column < columns)
        for (int64_t r = first + threadIdx.y; r < last; r += CM3_COLUMN_ROWS) sum += term(r, column);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= columns) return;
    for (int i = 1; i < CM3_COLUMN_ROWS; i++) sum += sums[i][threadIdx.x];
    partial[blockIdx.y * columns + column] = sum;
}

static __global__ void column_totals(const float *partial, int stretches, int64_t columns, float *to, bool accumulate) {
    const int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    float sum = 0;
    for (int s = 0; s < stretches; s++) sum += partial[s * columns + column];
    to[column] = accumulate ? to[column] + sum : sum;
}

/* to (columns) = or += the sum over rows of term. */
template <typename Term>
static void column_sums(int64_t rows, int64_t columns, Term term, float *to, bool accumulate, float *workspace) {
    const int stretches = rows < CM3_COLUMN_STRETCHES * CM3_COLUMN_ROWS ? (int)(rows / CM3_COLUMN_ROWS) + 1
                                                                        : CM3_COLUMN_STRETCHES;
    CM3_LAUNCH((column_stretches<Term>), dim3(cm3__blocks_for(columns, CM3_WARP), (unsigned)stretches),
               dim3(CM3_WARP, CM3_COLUMN_ROWS), 0, rows, columns, term, workspace);
    CM3_LAUNCH(column_totals, cm3__blocks_for(columns, 128), 128, 0, workspace, stretches, columns, to, accumulate);
}

#endif
