/* One number from many: a sum in double, in an order that shapes alone decide. */
#ifndef CM3_CORE_KERNELS_CUDA_SUMS_H
#define CM3_CORE_KERNELS_CUDA_SUMS_H

#include "core/kernels/cuda/launch.h"
#include "core/kernels/cuda/workspace.h"

constexpr int CM3_SUM_THREADS = 256;

/* In thread 0: the sum over its block. */
static __device__ __forceinline__ double block_total(double x) {
    __shared__ double part[CM3_SUM_THREADS];
    part[threadIdx.x] = x;
    __syncthreads();
    for (int half = CM3_SUM_THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    return part[0];
}

template <typename Term> static __global__ void sum_blocks(int64_t count, int step, Term term, double *partial) {
    const int64_t stride = (int64_t)gridDim.x * CM3_SUM_THREADS * step;
    double sum = 0;
    for (int64_t i = ((int64_t)blockIdx.x * CM3_SUM_THREADS + threadIdx.x) * step; i < count; i += stride)
        sum += term(i);
    const double total = block_total(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

template <typename Finish> static __global__ void sum_totals(const double *partial, int blocks, Finish finish) {
    double sum = 0;
    for (int i = (int)threadIdx.x; i < blocks; i += CM3_SUM_THREADS) sum += partial[i];
    const double total = block_total(sum);
    if (threadIdx.x == 0) finish(total);
}

/* finish(the sum of term(0), term(step), ... below count); a term is what its `step` elements add. */
template <typename Term, typename Finish>
static void run_sum(int64_t count, int step, Term term, Finish finish, double *workspace) {
    const int64_t wanted = (count + (int64_t)CM3_SUM_THREADS * step - 1) / ((int64_t)CM3_SUM_THREADS * step);
    const int blocks = wanted < 1 ? 1 : wanted < CM3_SUM_BLOCKS ? (int)wanted : CM3_SUM_BLOCKS;
    CM3_LAUNCH((sum_blocks<Term>), (unsigned)blocks, CM3_SUM_THREADS, 0, count, step, term, workspace);
    CM3_LAUNCH((sum_totals<Finish>), 1, CM3_SUM_THREADS, 0, (const double *)workspace, blocks, finish);
}

#endif
