/* SWIGLU, ACTIVATE and ADD: elementwise, bound by memory. */
#include "core/kernels/cpu/kernel.h"

#include <string.h>

/* --- SWIGLU ------------------------------------------------------------------------------------------------------ */

static void swiglu_rows(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t f = cm3__dim(&call->out[0], 1);
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    const cm3_simd *simd = cm3__simd();
    for (int64_t i = first; i < last; i++) simd->swiglu(y + i * f, x + i * 2 * f, x + i * 2 * f + f, f);
}

static cm3_status swiglu_forward(const cm3_call *call) {
    cm3_parallel_for(cm3__dim(&call->out[0], 0), cm3__grain(3 * cm3__dim(&call->out[0], 1)), swiglu_rows, call);
    return CM3_OK;
}

static void swiglu_backward_rows(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t f = cm3__dim(&call->grad_out, 1);
    const float *x = call->in[0].data, *dy = call->grad_out.data;
    float *dx = call->grad_in[0].data;
    const cm3_simd *simd = cm3__simd();
    for (int64_t i = first; i < last; i++)
        simd->swiglu_backward(dx + i * 2 * f, dx + i * 2 * f + f, dy + i * f, x + i * 2 * f, x + i * 2 * f + f,
                              call->accumulate[0], f);
}

static cm3_status swiglu_backward(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->grad_out, 0), f = cm3__dim(&call->grad_out, 1);
    if (call->grad_in[0].data) cm3_parallel_for(n, cm3__grain(5 * f), swiglu_backward_rows, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_swiglu = {.forward = swiglu_forward, .backward = swiglu_backward};

/* --- ACTIVATE ---------------------------------------------------------------------------------------------------- */

static void activate_values(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    if (y != x) memcpy(y + first, x + first, (size_t)(last - first) * sizeof *y);
    cm3__simd()->bias_activate(y + first, NULL, NULL, call->attr->activation, last - first);
}

static cm3_status activate_forward(const cm3_call *call) {
    cm3_parallel_for(cm3_shape_count(call->out[0].shape), cm3__grain(1), activate_values, call);
    return CM3_OK;
}

static void activate_backward_values(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const cm3_activation act = call->attr->activation;
    const float *dy = call->grad_out.data;
    const float *value = act == CM3_ACT_RELU ? call->out[0].data : act == CM3_ACT_NONE ? dy : call->in[0].data;
    float *dx = call->grad_in[0].data;
    cm3__simd()->activate_backward(dx + first, dy + first, value + first, act, call->accumulate[0], last - first);
}

static cm3_status activate_backward(const cm3_call *call) {
    if (call->grad_in[0].data)
        cm3_parallel_for(cm3_shape_count(call->grad_out.shape), cm3__grain(1), activate_backward_values, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_activate = {.forward = activate_forward, .backward = activate_backward};

/* --- ADD --------------------------------------------------------------------------------------------------------- */

static void add_values(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *y = call->out[0].data;
#pragma omp simd
    for (int64_t i = first; i < last; i++) y[i] = a[i] + b[i];
}

static cm3_status add_forward(const cm3_call *call) {
    cm3_parallel_for(cm3_shape_count(call->out[0].shape), cm3__grain(1), add_values, call);
    return CM3_OK;
}

static cm3_status add_backward(const cm3_call *call) {
    const int64_t count = cm3_shape_count(call->grad_out.shape);
    for (int i = 0; i < 2; i++) cm3__add_to(call->grad_in[i].data, call->grad_out.data, count, call->accumulate[i]);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_add = {.forward = add_forward, .backward = add_backward};
