/* Nearest-neighbour upsampling and 2 x 2 average pooling. Each is the other's gradient, up to a factor, so both are
 * written over one walk: a small picture (rows, columns) and a large one of twice its sides. */
#include "core/kernels/cpu/cpu.h"

enum { SMALLEST_SHARED = 1 << 13 }; /* small picture, floats: below, waking other threads costs more than they bring */

/* large = [large +] factor * small, each pixel of small over 2 x 2 pixels */
static void spread(const float *small, float *large, const int64_t dim[4], float factor, bool add) {
    const int64_t columns = dim[2], channels = dim[3];
#pragma omp parallel for schedule(static) if (dim[0] * dim[1] * columns * channels >= SMALLEST_SHARED)
    for (int64_t row = 0; row < 2 * dim[0] * dim[1]; row++) { /* of all large pictures: twice as many as small ones */
        const float *from = small + row / 2 * columns * channels;
        float *to = large + row * 2 * columns * channels;
        for (int64_t x = 0; x < 2 * columns; x++, to += channels) {
            const float *pixel = from + x / 2 * channels;
            for (int64_t c = 0; c < channels; c++) to[c] = add ? to[c] + factor * pixel[c] : factor * pixel[c];
        }
    }
}

/* small = [small +] factor * the sum of 2 x 2 pixels of large */
static void gather(const float *large, float *small, const int64_t dim[4], float factor, bool add) {
    const int64_t columns = dim[2], channels = dim[3];
#pragma omp parallel for schedule(static) if (dim[0] * dim[1] * columns * channels >= SMALLEST_SHARED)
    for (int64_t row = 0; row < dim[0] * dim[1]; row++) {
        const float *upper = large + row * 4 * columns * channels, *lower = upper + 2 * columns * channels;
        float *to = small + row * columns * channels;
        for (int64_t x = 0; x < columns; x++, to += channels, upper += 2 * channels, lower += 2 * channels) {
            for (int64_t c = 0; c < channels; c++) {
                const float sum = factor * ((upper[c] + upper[channels + c]) + (lower[c] + lower[channels + c]));
                to[c] = add ? to[c] + sum : sum;
            }
        }
    }
}

static cm3_status upsample(const cm3_call *call) {
    spread(call->in[0].data, call->out[0].data, call->in[0].shape.dim, 1, false);
    return CM3_OK;
}

static cm3_status upsample_backward(const cm3_call *call) {
    if (call->grad_in[0].data)
        gather(call->grad_out.data, call->grad_in[0].data, call->in[0].shape.dim, 1, call->accumulate[0]);
    return CM3_OK;
}

static cm3_status average_pool(const cm3_call *call) {
    gather(call->in[0].data, call->out[0].data, call->out[0].shape.dim, 0.25f, false);
    return CM3_OK;
}

static cm3_status average_pool_backward(const cm3_call *call) {
    if (call->grad_in[0].data)
        spread(call->grad_out.data, call->grad_in[0].data, call->grad_out.shape.dim, 0.25f, call->accumulate[0]);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_upsample = {.forward = upsample, .backward = upsample_backward};
const cm3_kernel cm3__cpu_average_pool = {.forward = average_pool, .backward = average_pool_backward};
