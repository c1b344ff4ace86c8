/* Nearest-neighbour upsampling and 2 x 2 average pooling. Each is the other's gradient, up to a factor, so both are
 * written over one walk: a small image (rows, columns) and a large one of twice its sides. */
#include "core/kernels/cpu/kernel.h"

typedef struct resampling {
    const float *from;
    float *to;
    int64_t columns, channels; /* of the small image */
    float factor;
    bool add;
} resampling;

/* large = [large +] factor * small, each pixel of small over 2 x 2 pixels; by rows of small. */
static void spread_rows(const void *context, int64_t first, int64_t last) {
    const resampling *r = context;
    const int64_t columns = r->columns, channels = r->channels;
    for (int64_t row = 2 * first; row < 2 * last; row++) {
        const float *from = r->from + row / 2 * columns * channels;
        float *to = r->to + row * 2 * columns * channels;
        for (int64_t x = 0; x < 2 * columns; x++, to += channels) {
            const float *pixel = from + x / 2 * channels;
            for (int64_t c = 0; c < channels; c++) to[c] = r->add ? to[c] + r->factor * pixel[c] : r->factor * pixel[c];
        }
    }
}

/* small = [small +] factor * the sum of 2 x 2 pixels of large; by rows of small. */
static void gather_rows(const void *context, int64_t first, int64_t last) {
    const resampling *r = context;
    const int64_t columns = r->columns, channels = r->channels;
    for (int64_t row = first; row < last; row++) {
        const float *upper = r->from + row * 4 * columns * channels, *lower = upper + 2 * columns * channels;
        float *to = r->to + row * columns * channels;
        for (int64_t x = 0; x < columns; x++, to += channels, upper += 2 * channels, lower += 2 * channels) {
            for (int64_t c = 0; c < channels; c++) {
                const float sum = r->factor * ((upper[c] + upper[channels + c]) + (lower[c] + lower[channels + c]));
                to[c] = r->add ? to[c] + sum : sum;
            }
        }
    }
}

/* `small`: the shape of the small images. */
static void resample(cm3_piece_function rows, const cm3_tensor *from, const cm3_tensor *to, const int64_t small[4],
                     float factor, bool add) {
    const resampling r = {from->data, to->data, small[2], small[3], factor, add};
    if (r.to) cm3_parallel_for(small[0] * small[1], cm3__grain(4 * small[2] * small[3]), rows, &r);
}

static cm3_status upsample(const cm3_call *call) {
    resample(spread_rows, &call->in[0], &call->out[0], call->in[0].shape.dim, 1, false);
    return CM3_OK;
}

static cm3_status upsample_backward(const cm3_call *call) {
    resample(gather_rows, &call->grad_out, &call->grad_in[0], call->in[0].shape.dim, 1, call->accumulate[0]);
    return CM3_OK;
}

static cm3_status average_pool(const cm3_call *call) {
    resample(gather_rows, &call->in[0], &call->out[0], call->out[0].shape.dim, 0.25f, false);
    return CM3_OK;
}

static cm3_status average_pool_backward(const cm3_call *call) {
    resample(spread_rows, &call->grad_out, &call->grad_in[0], call->grad_out.shape.dim, 0.25f, call->accumulate[0]);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_upsample = {.forward = upsample, .backward = upsample_backward};
const cm3_kernel cm3__cpu_average_pool = {.forward = average_pool, .backward = average_pool_backward};
