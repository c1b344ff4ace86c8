/* SWIGLU, ACTIVATE and ADD: elementwise, bound by memory. */
#include "core/kernels/cpu/kernel.h"

#include <string.h>

enum { CHUNK = 1 << 13 }; /* values a piece: fits the first level of cache */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* --- SWIGLU ------------------------------------------------------------------------------------------------------ */

static cm3_status swiglu_forward(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->out[0], 0), f = cm3__dim(&call->out[0], 1);
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    const cm3_simd *simd = cm3__simd();
#pragma omp parallel for schedule(static) num_threads(cm3__threads(n, 3 * f))
    for (int64_t i = 0; i < n; i++) simd->swiglu(y + i * f, x + i * 2 * f, x + i * 2 * f + f, f);
    return CM3_OK;
}

static cm3_status swiglu_backward(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->grad_out, 0), f = cm3__dim(&call->grad_out, 1);
    const float *x = call->in[0].data, *dy = call->grad_out.data;
    float *dx = call->grad_in[0].data;
    const cm3_simd *simd = cm3__simd();
    if (!dx) return CM3_OK;
#pragma omp parallel for schedule(static) num_threads(cm3__threads(n, 5 * f))
    for (int64_t i = 0; i < n; i++)
        simd->swiglu_backward(dx + i * 2 * f, dx + i * 2 * f + f, dy + i * f, x + i * 2 * f, x + i * 2 * f + f,
                              call->accumulate[0], f);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_swiglu = {.forward = swiglu_forward, .backward = swiglu_backward};

/* --- ACTIVATE ---------------------------------------------------------------------------------------------------- */

static cm3_status activate_forward(const cm3_call *call) {
    const int64_t count = cm3_shape_count(call->out[0].shape), chunks = (count + CHUNK - 1) / CHUNK;
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    const cm3_simd *simd = cm3__simd();
#pragma omp parallel for schedule(static) num_threads(cm3__threads(chunks, CHUNK))
    for (int64_t i = 0; i < chunks; i++) {
        const int64_t first = i * CHUNK, n = least(CHUNK, count - first);
        if (y != x) memcpy(y + first, x + first, (size_t)n * sizeof *y);
        simd->bias_activate(y + first, NULL, NULL, call->attr->activation, n);
    }
    return CM3_OK;
}

static cm3_status activate_backward(const cm3_call *call) {
    const int64_t count = cm3_shape_count(call->grad_out.shape), chunks = (count + CHUNK - 1) / CHUNK;
    const cm3_activation act = call->attr->activation;
    const float *dy = call->grad_out.data;
    const float *value = act == CM3_ACT_RELU ? call->out[0].data : act == CM3_ACT_NONE ? dy : call->in[0].data;
    float *dx = call->grad_in[0].data;
    const cm3_simd *simd = cm3__simd();
    if (!dx) return CM3_OK;
#pragma omp parallel for schedule(static) num_threads(cm3__threads(chunks, CHUNK))
    for (int64_t i = 0; i < chunks; i++) {
        const int64_t first = i * CHUNK;
        simd->activate_backward(dx + first, dy + first, value + first, act, call->accumulate[0],
                                least(CHUNK, count - first));
    }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_activate = {.forward = activate_forward, .backward = activate_backward};

/* --- ADD --------------------------------------------------------------------------------------------------------- */

static cm3_status add_forward(const cm3_call *call) {
    const int64_t count = cm3_shape_count(call->out[0].shape);
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *y = call->out[0].data;
#pragma omp parallel for simd schedule(static) num_threads(cm3__threads(count, 1))
    for (int64_t i = 0; i < count; i++) y[i] = a[i] + b[i];
    return CM3_OK;
}

static cm3_status add_backward(const cm3_call *call) {
    const int64_t count = cm3_shape_count(call->grad_out.shape);
    const float *dy = call->grad_out.data;
    for (int input = 0; input < 2; input++) {
        float *dx = call->grad_in[input].data;
        if (!dx || dx == dy) continue;
        const bool accumulate = call->accumulate[input];
#pragma omp parallel for simd schedule(static) num_threads(cm3__threads(count, 1))
        for (int64_t i = 0; i < count; i++) dx[i] = accumulate ? dx[i] + dy[i] : dy[i];
    }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_add = {.forward = add_forward, .backward = add_backward};
