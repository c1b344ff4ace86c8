#include "core/kernels/cpu/cpu.h"

#include <math.h>

enum { BLOCK = 4096 }; /* values with a sum of their own: the order of sums does not depend on threads */

static int64_t blocks_of(const cm3_call *call) {
    return (cm3_shape_count(call->in[0].shape) + BLOCK - 1) / BLOCK;
}

static size_t workspace(const cm3_call *call) {
    return sizeof(double) * (size_t)blocks_of(call);
}

static double block_sum(const float *x, const float *y, int64_t count, float l1, float l2) {
    float absolute = 0, square = 0;
#pragma omp simd reduction(+ : absolute, square)
    for (int64_t i = 0; i < count; i++) {
        const float difference = x[i] - y[i];
        absolute += fabsf(difference);
        square += difference * difference;
    }
    return (double)l1 * absolute + (double)l2 * square;
}

static cm3_status forward(const cm3_call *call) {
    const int64_t count = cm3_shape_count(call->in[0].shape), blocks = blocks_of(call);
    const float *x = call->in[0].data, *y = call->in[1].data, *scale = call->in[2].data;
    double *sums = call->workspace, total = 0;
#pragma omp parallel for schedule(static) if (blocks > 4)
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t begin = block * BLOCK;
        sums[block] = block_sum(x + begin, y + begin, count - begin < BLOCK ? count - begin : BLOCK, call->attr->l1,
                                call->attr->l2);
    }
    for (int64_t block = 0; block < blocks; block++) total += sums[block];
    *(float *)call->out[0].data = (float)(total * *scale);
    return CM3_OK;
}

static cm3_status backward(const cm3_call *call) {
    const int64_t count = cm3_shape_count(call->in[0].shape);
    const float *x = call->in[0].data, *y = call->in[1].data;
    const float factor = *(const float *)call->in[2].data * *(const float *)call->grad_out.data;
    const float l1 = factor * call->attr->l1, l2 = 2 * factor * call->attr->l2;
    float *dx = call->grad_in[0].data;
    if (!dx) return CM3_OK;
#pragma omp parallel for simd schedule(static) if (count > 4 * BLOCK)
    for (int64_t i = 0; i < count; i++) {
        const float difference = x[i] - y[i];
        const float sign = (float)((difference > 0) - (difference < 0));
        const float g = l1 * sign + l2 * difference;
        dx[i] = call->accumulate[0] ? dx[i] + g : g;
    }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_pixel_loss = {.forward = forward, .backward = backward, .forward_workspace = workspace};
