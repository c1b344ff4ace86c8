/* ACTIVATE, ADD and SWIGLU: bound by memory. */
#include "core/kernels/cuda/activation.h"

#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/elementwise.h"

/* --- ACTIVATE ---------------------------------------------------------------------------------------------------- */

static cm3_status activate_forward(const cm3_call *call) {
    const cm3_activation act = call->attr->activation;
    CM3_BY_TYPE(call->in[0].type, run_elementwise(cm3_shape_count(call->out[0].shape), (const T *)call->in[0].data,
                                                  (const T *)nullptr, (T *)call->out[0].data, false,
                                                  [=] __device__(float x, float) { return activated(x, act); }));
    return cm3__cuda_launched("activate, forward");
}

static cm3_status activate_backward(const cm3_call *call) {
    const cm3_activation act = call->attr->activation;
    const void *value = act == CM3_ACT_RELU ? call->out[0].data : act == CM3_ACT_NONE ? nullptr : call->in[0].data;
    if (!call->grad_in[0].data) return CM3_OK;
    CM3_BY_TYPE(call->grad_out.type,
                run_elementwise(cm3_shape_count(call->grad_out.shape), (const T *)call->grad_out.data, (const T *)value,
                                (T *)call->grad_in[0].data, call->accumulate[0],
                                [=] __device__(float dy, float x) { return dy * slope(x, act); }));
    return cm3__cuda_launched("activate, backward");
}

CM3__CUDA_KERNEL(activate, activate_forward, activate_backward);

/* --- ADD --------------------------------------------------------------------------------------------------------- */

static cm3_status add_forward(const cm3_call *call) {
    CM3_BY_TYPE(call->in[0].type, run_elementwise(cm3_shape_count(call->out[0].shape), (const T *)call->in[0].data,
                                                  (const T *)call->in[1].data, (T *)call->out[0].data, false,
                                                  [=] __device__(float a, float b) { return a + b; }));
    return cm3__cuda_launched("add, forward");
}

static cm3_status add_backward(const cm3_call *call) {
    for (int i = 0; i < 2; i++)
        if (call->grad_in[i].data && call->grad_in[i].data != call->grad_out.data)
            CM3_TRY(cm3__cuda_cast(&call->grad_in[i], &call->grad_out, call->accumulate[i]));
    return CM3_OK;
}

CM3__CUDA_KERNEL(add, add_forward, add_backward);

/* --- SWIGLU ------------------------------------------------------------------------------------------------------ */

/* N columns of a row a thread. */
template <typename T, int N> static __global__ void swiglu_forward(const T *x, int64_t count, int64_t width, T *y) {
    const int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (at >= count) return;
    const T *from = x + at + at / width * width;
    float gate[N], up[N];
    load<T, N>(gate, from);
    load<T, N>(up, from + width);
    CM3_UNROLL for (int i = 0; i < N; i++) up[i] *= activated(gate[i], CM3_ACT_SILU);
    store<T, N>(y + at, up);
}

template <typename T, int N>
static __global__ void swiglu_backward(const T *x, const T *dy, int64_t count, int64_t width, T *dx, bool accumulate) {
    const int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (at >= count) return;
    const int64_t from = at + at / width * width;
    float gate[N], up[N], g[N], a[N] = {}, b[N] = {};
    load<T, N>(gate, x + from);
    load<T, N>(up, x + from + width);
    load<T, N>(g, dy + at);
    if (accumulate) {
        load<T, N>(a, dx + from);
        load<T, N>(b, dx + from + width);
    }
    CM3_UNROLL for (int i = 0; i < N; i++) {
        a[i] += g[i] * up[i] * slope(gate[i], CM3_ACT_SILU);
        b[i] += g[i] * activated(gate[i], CM3_ACT_SILU);
    }
    store<T, N>(dx + from, a);
    store<T, N>(dx + from + width, b);
}

template <typename T, int N> static void run_swiglu(const cm3_call *call, bool is_backward) {
    constexpr int THREADS = CM3_ELEMENTWISE_THREADS;
    const int64_t width = call->in[0].shape.dim[1] / 2, count = call->in[0].shape.dim[0] * width;
    const unsigned blocks = cm3__blocks_for(count, N * THREADS);
    const T *x = (const T *)call->in[0].data;
    if (count <= 0) return;
    if (is_backward)
        CM3_LAUNCH((swiglu_backward<T, N>), blocks, THREADS, 0, x, (const T *)call->grad_out.data, count, width,
                   (T *)call->grad_in[0].data, call->accumulate[0]);
    else
        CM3_LAUNCH((swiglu_forward<T, N>), blocks, THREADS, 0, x, count, width, (T *)call->out[0].data);
}

static cm3_status swiglu(const cm3_call *call, bool is_backward) {
    const int64_t width = call->in[0].shape.dim[1] / 2;
    const void *to = is_backward ? call->grad_in[0].data : call->out[0].data;
    const void *dy = is_backward ? call->grad_out.data : nullptr;
    if (!to) return CM3_OK;
    CM3_BY_TYPE(call->in[0].type,
                if (can_use_vectors<T>(width, call->in[0].data, to, dy)) run_swiglu<T, CM3_VEC<T>>(call, is_backward);
                else run_swiglu<T, 1>(call, is_backward));
    return cm3__cuda_launched("swiglu");
}

static cm3_status run_swiglu_forward(const cm3_call *call) {
    return swiglu(call, false);
}

static cm3_status run_swiglu_backward(const cm3_call *call) {
    return swiglu(call, true);
}

CM3__CUDA_KERNEL(swiglu, run_swiglu_forward, run_swiglu_backward);

/* --- to = or += from, of any two types --------------------------------------------------------------------------- */

template <typename Y, typename X> static void cast(const cm3_tensor *to, const cm3_tensor *from, bool accumulate) {
    run_elementwise(cm3_shape_count(to->shape), (const X *)from->data, (const X *)nullptr, (Y *)to->data, accumulate,
                    [=] __device__(float x, float) { return x; });
}

extern "C" cm3_status cm3__cuda_cast(const cm3_tensor *to, const cm3_tensor *from, bool accumulate) {
    if (to->type == CM3_BF16)
        CM3_BY_TYPE(from->type, cast<bf16, T>(to, from, accumulate));
    else
        CM3_BY_TYPE(from->type, cast<float, T>(to, from, accumulate));
    return cm3__cuda_launched("cast");
}
