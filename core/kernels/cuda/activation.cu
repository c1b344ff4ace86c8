/* ACTIVATE and ADD: bound by memory. */
#include "core/kernels/cuda/activation.h"

#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/elementwise.h"

/* --- ACTIVATE ---------------------------------------------------------------------------------------------------- */

static cm3_status activate_forward(const cm3_call *call) {
    const cm3_activation act = call->attr->activation;
    CM3_BY_TYPE(call->in[0].type,
                run_elementwise(cm3_shape_count(call->out[0].shape), (const T *)call->in[0].data, (const T *)nullptr,
                                (T *)call->out[0].data, false,
                                [=] __device__(float x, float) { return activated(x, act); }));
    return cm3__cuda_launched("activate, forward");
}

static cm3_status activate_backward(const cm3_call *call) {
    const cm3_activation act = call->attr->activation;
    const void *value = act == CM3_ACT_RELU ? call->out[0].data : act == CM3_ACT_NONE ? nullptr : call->in[0].data;
    if (!call->grad_in[0].data) return CM3_OK;
    CM3_BY_TYPE(call->grad_out.type,
                run_elementwise(cm3_shape_count(call->grad_out.shape), (const T *)call->grad_out.data,
                                (const T *)value, (T *)call->grad_in[0].data, call->accumulate[0],
                                [=] __device__(float dy, float x) { return dy * slope(x, act); }));
    return cm3__cuda_launched("activate, backward");
}

extern "C" const cm3_kernel cm3__cuda_activate = {activate_forward, activate_backward, nullptr, nullptr};

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

extern "C" const cm3_kernel cm3__cuda_add = {add_forward, add_backward, nullptr, nullptr};

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
