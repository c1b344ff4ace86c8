/* LINEAR: matrix products with what fits into their epilogues, and passes for what does not. */
#include "core/kernels/cuda/activation.h"
#include "core/kernels/cuda/columns.h"
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/elementwise.h"
#include "core/kernels/cuda/gemm.h"

static cm3_status forward(const cm3_call *call) {
    const int64_t n = call->in[0].shape.dim[0], k = call->in[0].shape.dim[1], m = call->in[1].shape.dim[0];
    const cm3_activation act = call->attr->activation;
    const bool silu = act == CM3_ACT_SILU;
    cm3__cuda_gemm product = {};
    product.m = n;
    product.n = m;
    product.k = k;
    product.type = call->in[0].type;
    product.c_type = call->out[0].type;
    product.a = call->in[0].data;
    product.b = call->in[1].data;
    product.b_transposed = true;
    product.c = silu ? call->out[1].data : call->out[0].data;
    product.bias = call->in[2].data;
    product.residual = call->in[3].data;
    product.activation = silu ? CM3_ACT_NONE : act;
    product.pre = act == CM3_ACT_GELU ? call->out[1].data : nullptr;
    product.mask = act == CM3_ACT_RELU ? (uint32_t *)call->out[1].data : nullptr;
    if (!product.c) product.c = call->out[0].data; /* nobody wants what was there before SILU */
    CM3_TRY(cm3__cuda_gemm_run(&product));
    if (!silu) return CM3_OK;
    CM3_BY_TYPE(call->in[0].type, run_elementwise(n * m, (const T *)product.c, (const T *)nullptr,
                                                  (T *)call->out[0].data, false, [=] __device__(float x, float) {
                                                      return activated(x, CM3_ACT_SILU);
                                                  }));
    return cm3__cuda_launched("linear, forward");
}

template <typename T>
static __global__ void epilogue(int64_t count, int64_t n, T *c, const T *bias, T *pre, cm3_activation act) {
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float value = to_float(c[i]) + (bias ? to_float(bias[i % n]) : 0.0f);
    if (pre) pre[i] = from_float<T>(value);
    c[i] = from_float<T>(activated(value, act));
}

/* A word of the mask of x (rows, columns) each thread. */
template <typename T>
static __global__ void make_mask(int64_t rows, int64_t columns, const T *x, uint32_t *mask) {
    const int64_t words = CM3_MASK_WORDS(columns), at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= rows * words) return;
    const int64_t row = at / words, first = at % words * 32;
    uint32_t word = 0;
    for (int64_t i = 0; i < 32 && first + i < columns; i++)
        word |= (uint32_t)(to_float(x[row * columns + first + i]) > 0) << i;
    mask[at] = word;
}

template <typename T>
static __global__ void apply_mask(int64_t count, int64_t columns, T *x, const uint32_t *mask) {
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const int64_t row = i / columns, column = i % columns;
    if (!(mask[row * CM3_MASK_WORDS(columns) + column / 32] >> column % 32 & 1)) x[i] = from_float<T>(0);
}

static void run_apply_mask(cm3_dtype type, int64_t rows, int64_t columns, void *x, const uint32_t *mask) {
    CM3_BY_TYPE(type, CM3_LAUNCH(apply_mask<T>, cm3__blocks_for(rows * columns, 256), 256, 0, rows * columns, columns,
                                 (T *)x, mask));
}

extern "C" cm3_status cm3__cuda_epilogue(const cm3__cuda_gemm *p) {
    const int64_t count = p->m * p->n;
    if (p->mask && p->activation != CM3_ACT_RELU) {
        run_apply_mask(p->c_type, p->m, p->n, p->c, p->mask);
        return cm3__cuda_launched("linear, epilogue");
    }
    CM3_BY_TYPE(p->type, CM3_LAUNCH(epilogue<T>, cm3__blocks_for(count, 256), 256, 0, count, p->n, (T *)p->c,
                                    (const T *)p->bias, (T *)p->pre, p->activation));
    if (p->mask)
        CM3_BY_TYPE(p->type, CM3_LAUNCH(make_mask<T>, cm3__blocks_for(p->m * CM3_MASK_WORDS(p->n), 256), 256, 0, p->m,
                                        p->n, (const T *)p->c, p->mask));
    return cm3__cuda_launched("linear, epilogue");
}

/* Gradient of what the product gave, in place of the gradient of what the activation gave. */
static void activation_backward(const cm3_call *call) {
    const cm3_activation act = call->attr->activation;
    const void *value = call->out[1].data;
    if (act == CM3_ACT_NONE || call->attr->masked) return;
    if (act == CM3_ACT_RELU) {
        run_apply_mask(call->grad_out.type, call->grad_out.shape.dim[0], call->grad_out.shape.dim[1],
                       call->grad_out.data, (const uint32_t *)value);
        return;
    }
    CM3_BY_TYPE(call->grad_out.type,
                run_elementwise(cm3_shape_count(call->grad_out.shape), (const T *)call->grad_out.data,
                                (const T *)value, (T *)call->grad_out.data, false,
                                [=] __device__(float dy, float x) { return dy * slope(x, act); }));
}

/* Gradient of input i: op(g) (rows, sum) times `other` (sum, columns). */
static cm3_status product_gradient(const cm3_call *call, int i, bool transposed, int64_t rows, int64_t sum,
                                   int64_t columns, const void *other, uint32_t *mask) {
    if (!call->grad_in[i].data) return CM3_OK;
    cm3__cuda_gemm product = {};
    product.m = rows;
    product.n = columns;
    product.k = sum;
    product.type = call->grad_out.type;
    product.a = call->grad_out.data;
    product.a_transposed = transposed;
    product.b = other;
    product.c = call->grad_in[i].data;
    product.c_type = call->grad_in[i].type;
    product.accumulate = call->accumulate[i];
    product.mask = mask;
    return cm3__cuda_gemm_run(&product);
}

static cm3_status backward(const cm3_call *call) {
    const int64_t n = call->in[0].shape.dim[0], k = call->in[0].shape.dim[1], m = call->in[1].shape.dim[0];
    const void *g = call->grad_out.data;
    if (call->grad_in[3].data && call->grad_in[3].data != g)
        CM3_TRY(cm3__cuda_cast(&call->grad_in[3], &call->grad_out, call->accumulate[3]));
    activation_backward(call);
    if (call->grad_in[2].data)
        CM3_BY_TYPE(call->grad_out.type, column_sums(
                                             n, m,
                                             [=] __device__(int64_t r, int64_t c) {
                                                 return to_float(((const T *)g)[r * m + c]);
                                             },
                                             (float *)call->grad_in[2].data, call->accumulate[2],
                                             (float *)call->workspace));
    CM3_TRY(product_gradient(call, 1, true, m, n, k, call->in[0].data, nullptr));
    CM3_TRY(product_gradient(call, 0, false, n, m, k, call->in[1].data, (uint32_t *)call->in[4].data));
    return cm3__cuda_launched("linear, backward");
}

CM3__CUDA_KERNEL(linear, forward, backward);
