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

extern "C" cm3_status cm3__cuda_epilogue(const cm3__cuda_gemm *p) {
    const int64_t count = p->m * p->n;
    CM3_BY_TYPE(p->type, CM3_LAUNCH(epilogue<T>, cm3__blocks_for(count, 256), 256, 0, count, p->n, (T *)p->c,
                                    (const T *)p->bias, (T *)p->pre, p->activation));
    return cm3__cuda_launched("linear, epilogue");
}

/* Gradient of what the product gave, in place of the gradient of what the activation gave. */
static void activation_backward(const cm3_call *call) {
    const cm3_activation act = call->attr->activation;
    const void *value = act == CM3_ACT_RELU ? call->out[0].data : call->out[1].data;
    if (act == CM3_ACT_NONE) return;
    CM3_BY_TYPE(call->grad_out.type,
                run_elementwise(cm3_shape_count(call->grad_out.shape), (const T *)call->grad_out.data,
                                (const T *)value, (T *)call->grad_out.data, false,
                                [=] __device__(float dy, float x) { return dy * slope(x, act); }));
}

/* Gradient of input i: op(g) (rows, sum) times `other` (sum, columns). */
static cm3_status product_gradient(const cm3_call *call, int i, bool transposed, int64_t rows, int64_t sum,
                                   int64_t columns, const void *other) {
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
    CM3_TRY(product_gradient(call, 1, true, m, n, k, call->in[0].data));
    CM3_TRY(product_gradient(call, 0, false, n, m, k, call->in[1].data));
    return cm3__cuda_launched("linear, backward");
}

static size_t backward_workspace(const cm3_call *call) {
    return call->in[2].shape.rank ? cm3__columns_workspace(call->in[1].shape.dim[0]) * sizeof(float) : 0;
}

extern "C" const cm3_kernel cm3__cuda_linear = {forward, backward, nullptr, backward_workspace};
