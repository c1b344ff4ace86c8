#include "core/kernels/cpu/kernel.h"

#include <math.h>

enum { BLOCK = 4096 }; /* values of a piece, which has a sum of its own */

static int64_t blocks_of(const cm3_call *call) {
    return (cm3_shape_count(call->in[0].shape) + BLOCK - 1) / BLOCK;
}

static size_t workspace(const cm3_call *call) {
    return sizeof(double) * (size_t)blocks_of(call);
}

static void sum_block(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const float *x = call->in[0].data, *y = call->in[1].data;
    float absolute = 0, square = 0;
#pragma omp simd reduction(+ : absolute, square)
    for (int64_t i = first; i < last; i++) {
        const float difference = x[i] - y[i];
        absolute += fabsf(difference);
        square += difference * difference;
    }
    ((double *)call->workspace)[first / BLOCK] = (double)call->attr->l1 * absolute + (double)call->attr->l2 * square;
}

static cm3_status forward(const cm3_call *call) {
    const float *scale = call->in[2].data;
    const double *sums = call->workspace;
    double total = 0;
    cm3_parallel_for(cm3_shape_count(call->in[0].shape), BLOCK, sum_block, call);
    for (int64_t block = 0; block < blocks_of(call); block++) total += sums[block];
    *(float *)call->out[0].data = (float)(total * *scale);
    return CM3_OK;
}

static void backward_range(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const float *x = call->in[0].data, *y = call->in[1].data;
    const float factor = *(const float *)call->in[2].data * *(const float *)call->grad_out.data;
    const float l1 = factor * call->attr->l1, l2 = 2 * factor * call->attr->l2;
    const bool accumulate = call->accumulate[0];
    float *dx = call->grad_in[0].data;
#pragma omp simd
    for (int64_t i = first; i < last; i++) {
        const float difference = x[i] - y[i];
        const float sign = (float)((difference > 0) - (difference < 0));
        const float g = l1 * sign + l2 * difference;
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

static cm3_status backward(const cm3_call *call) {
    if (call->grad_in[0].data)
        cm3_parallel_for(cm3_shape_count(call->in[0].shape), cm3__grain(1), backward_range, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_pixel_loss = {.forward = forward, .backward = backward, .forward_workspace = workspace};
