/* NEAREST_CODE, CODE_LOOKUP, CODE_LOSS: the vector quantisation of the image tokenizer. A code that is not in the
 * codebook counts as a row of NaN: the device cannot fail, and a loss that is not finite is seen. */
#include "core/kernels/cuda/sorted_scatter_add.h"
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/elementwise.h"
#include "core/kernels/cuda/gemm.h"
#include "core/kernels/cuda/sums.h"

constexpr int THREADS = 256, WARPS = THREADS / CM3_WARP;

/* --- NEAREST_CODE ------------------------------------------------------------------------------------------------ */

static __global__ void halve_squares(const float *book, int64_t codes, int64_t d, float *halves) {
    const int64_t k = (int64_t)blockIdx.x * WARPS + threadIdx.x / CM3_WARP;
    if (k >= codes) return;
    double sum = 0;
    for (int64_t j = threadIdx.x % CM3_WARP; j < d; j += CM3_WARP) sum += (double)book[k * d + j] * book[k * d + j];
    CM3_UNROLL for (int step = CM3_WARP / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % CM3_WARP == 0) halves[k] = (float)(0.5 * sum);
}

/* |z - e|^2 = |z|^2 + 2 (|e|^2 / 2 - z e): the lowest bracket, of equal ones the first. A warp a row. */
static __global__ void lowest(const float *products, const float *halves, int64_t rows, int64_t codes, int32_t *code) {
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / CM3_WARP;
    if (row >= rows) return;
    float least = INFINITY;
    int32_t at = 0;
    for (int64_t k = threadIdx.x % CM3_WARP; k < codes; k += CM3_WARP) {
        const float score = halves[k] - products[row * codes + k];
        if (score < least) least = score, at = (int32_t)k;
    }
    CM3_UNROLL for (int step = CM3_WARP / 2; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, least, step);
        const int32_t other_at = __shfl_xor_sync(0xffffffffu, at, step);
        if (other < least || (other == least && other_at < at)) least = other, at = other_at;
    }
    if (threadIdx.x % CM3_WARP == 0) code[row] = at;
}

static cm3_status nearest(const cm3_call *call) {
    const int64_t rows = call->in[0].shape.dim[0], d = call->in[0].shape.dim[1], codes = call->in[1].shape.dim[0];
    const float *z = (const float *)call->in[0].data, *book = (const float *)call->in[1].data;
    float *products = (float *)call->workspace, *halves = products + cm3__code_rows(call) * codes;
    int32_t *code = (int32_t *)call->out[0].data;
    CM3_LAUNCH(halve_squares, cm3__blocks_for(codes, WARPS), THREADS, 0, book, codes, d, halves);
    for (int64_t first = 0; first < rows; first += cm3__code_rows(call)) {
        cm3__cuda_gemm product = {};
        product.m = rows - first < cm3__code_rows(call) ? rows - first : cm3__code_rows(call);
        product.n = codes;
        product.k = d;
        product.type = product.c_type = CM3_F32;
        product.a = z + first * d;
        product.b = book;
        product.b_transposed = true;
        product.c = products;
        CM3_TRY(cm3__cuda_gemm_run(&product));
        CM3_LAUNCH(lowest, cm3__blocks_for(product.m, WARPS), THREADS, 0, products, halves, product.m, codes,
                   code + first);
    }
    return cm3__cuda_launched("nearest_code");
}

CM3__CUDA_KERNEL(nearest_code, nearest, nullptr);

/* --- rows by their codes ----------------------------------------------------------------------------------------- */

typedef struct codebook {
    const float *book;
    const int32_t *code;
    int64_t codes, d;
} codebook;

static codebook codebook_of(const cm3_call *call) {
    return {(const float *)call->in[1].data, (const int32_t *)call->in[2].data, call->in[1].shape.dim[0],
            call->in[1].shape.dim[1]};
}

/* What the code of row `at / d` holds in the columns that element `at` begins. */
template <int N> static __device__ __forceinline__ void load_code(float (&to)[N], const codebook &b, int64_t at) {
    const int64_t row = at / b.d;
    const int32_t code = b.code[row];
    if (code >= 0 && code < b.codes)
        load<float, N>(to, b.book + code * b.d + at % b.d);
    else
        for (int k = 0; k < N; k++) to[k] = NAN;
}

/* --- CODE_LOOKUP ------------------------------------------------------------------------------------------------- */

template <int N> static __global__ void code_rows(codebook b, int64_t count, float *y) {
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at >= count) return;
    float e[N];
    load_code<N>(e, b, at);
    store<float, N>(y + at, e);
}

static cm3_status lookup(const cm3_call *call) {
    const codebook b = codebook_of(call);
    const int64_t count = cm3_shape_count(call->out[0].shape);
    float *y = (float *)call->out[0].data;
    if (count <= 0) return CM3_OK;
    if (can_use_vectors<float>(b.d, b.book, y))
        CM3_LAUNCH((code_rows<4>), cm3__blocks_for(count, 4 * THREADS), THREADS, 0, b, count, y);
    else
        CM3_LAUNCH((code_rows<1>), cm3__blocks_for(count, THREADS), THREADS, 0, b, count, y);
    return cm3__cuda_launched("code_lookup, forward");
}

/* Straight through: as if the code had been the vector itself. */
static cm3_status lookup_backward(const cm3_call *call) {
    const float *dy = (const float *)call->grad_out.data;
    float *dz = (float *)call->grad_in[0].data;
    if (!dz || (dz == dy && !call->accumulate[0])) return CM3_OK;
    run_elementwise(cm3_shape_count(call->in[0].shape), dy, (const float *)nullptr, dz, call->accumulate[0],
                    [=] __device__(float g, float) { return g; });
    return cm3__cuda_launched("code_lookup, backward");
}

CM3__CUDA_KERNEL(code_lookup, lookup, lookup_backward);

/* --- CODE_LOSS --------------------------------------------------------------------------------------------------- */

template <int N> static void run_loss(const cm3_call *call) {
    const codebook b = codebook_of(call);
    const float *z = (const float *)call->in[0].data, *scale = (const float *)call->in[3].data;
    const double factor = 1.0 + call->attr->commitment;
    float *loss = (float *)call->out[0].data;
    run_sum(
        cm3_shape_count(call->in[0].shape), N,
        [=] __device__(int64_t at) {
            float x[N], e[N], sum = 0;
            load<float, N>(x, z + at);
            load_code<N>(e, b, at);
            CM3_UNROLL for (int k = 0; k < N; k++) sum += (x[k] - e[k]) * (x[k] - e[k]);
            return (double)sum;
        },
        [=] __device__(double total) { *loss = (float)(factor * total * *scale); }, (double *)call->workspace);
}

/* dz = [dz +] 2 scale g commitment (z - e) */
template <int N>
static __global__ void vector_gradient(codebook b, const float *z, const float *scale, const float *g, float commitment,
                                       int64_t count, float *dz, bool accumulate) {
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at >= count) return;
    const float factor = 2 * *scale * *g * commitment;
    float x[N], e[N], to[N] = {};
    load<float, N>(x, z + at);
    load_code<N>(e, b, at);
    if (accumulate) load<float, N>(to, dz + at);
    CM3_UNROLL for (int k = 0; k < N; k++) to[k] += factor * (x[k] - e[k]);
    store<float, N>(dz + at, to);
}

template <int N> static cm3_status run_loss_backward(const cm3_call *call) {
    const codebook b = codebook_of(call);
    const int64_t rows = call->in[0].shape.dim[0], count = rows * b.d;
    const float *z = (const float *)call->in[0].data, *scale = (const float *)call->in[3].data;
    const float *g = (const float *)call->grad_out.data;
    if (call->grad_in[0].data && count > 0)
        CM3_LAUNCH((vector_gradient<N>), cm3__blocks_for(count, N * THREADS), THREADS, 0, b, z, scale, g,
                   call->attr->commitment, count, (float *)call->grad_in[0].data, call->accumulate[0]);
    if (!call->grad_in[1].data) return CM3_OK;
    return cm3__sums_by_id<N>(
        b.code, rows, b.codes, b.d,
        [=] __device__(float(&to)[N], int64_t row, int64_t, int64_t column) {
            const float factor = 2 * *scale * *g;
            float x[N];
            load<float, N>(x, z + row * b.d + column);
            load_code<N>(to, b, row * b.d + column);
            CM3_UNROLL for (int k = 0; k < N; k++) to[k] = factor * (to[k] - x[k]);
        },
        (float *)call->grad_in[1].data, call->accumulate[1], call->workspace);
}

static bool loss_fits_vectors(const cm3_call *call) {
    const uintptr_t all = (uintptr_t)call->in[1].data | (uintptr_t)call->grad_in[1].data;
    return all % 16 == 0 && can_use_vectors<float>(call->in[0].shape.dim[1], call->in[0].data, call->grad_in[0].data);
}

static cm3_status loss(const cm3_call *call) {
    if (loss_fits_vectors(call))
        run_loss<4>(call);
    else
        run_loss<1>(call);
    return cm3__cuda_launched("code_loss, forward");
}

static cm3_status loss_backward(const cm3_call *call) {
    if (loss_fits_vectors(call))
        CM3_TRY(run_loss_backward<4>(call));
    else
        CM3_TRY(run_loss_backward<1>(call));
    return cm3__cuda_launched("code_loss, backward");
}

CM3__CUDA_KERNEL(code_loss, loss, loss_backward);
