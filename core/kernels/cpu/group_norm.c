/* Group normalisation with an optional SiLU behind it (Wu & He, "Group normalization", 2018). An image is cut into
 * chunks of pixels; sums of chunks are f32, everything above them is double and in a fixed order, whatever the number
 * of threads. With at least one image a thread, a thread does whole images, which then are in its cache for the
 * second pass. */
#include "core/kernels/cpu/kernel.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK_FLOATS = 16 << 10,
    TABLES = 5, /* of a value a channel: factor, offset, slope, shift, pivot */
};

typedef struct shape {
    int64_t batch, pixels, channels, groups, width; /* width: channels of a group */
    int64_t chunk, chunks;                          /* pixels of a chunk, chunks of an image */
    bool by_image;                                  /* threads share images, or the chunks of one image */
} shape;

static shape shape_of(const cm3_call *call) {
    const int64_t *x = call->in[0].shape.dim;
    shape s = {.batch = x[0], .pixels = x[1] * x[2], .channels = x[3], .groups = call->attr->groups};
    s.width = s.channels / s.groups;
    s.chunk = CHUNK_FLOATS / s.channels > 16 ? CHUNK_FLOATS / s.channels : 16;
    s.chunks = (s.pixels + s.chunk - 1) / s.chunk;
    s.by_image = s.batch >= cm3_threads_count();
    return s;
}

/* For each image that is worked on: sums (chunks, 2, channels) and the tables (TABLES, channels). */
static int64_t floats_in_work(const shape *s) {
    return (2 * s->chunks + TABLES) * s->channels;
}

static int64_t images_in_work(const shape *s) {
    return s->by_image ? cm3_threads_count() : 1;
}

static size_t forward_workspace(const cm3_call *call) {
    const shape s = shape_of(call);
    return sizeof(float) * (size_t)(images_in_work(&s) * floats_in_work(&s));
}

/* and the sums of each image for gain and bias (batch, 2, channels) */
static size_t backward_workspace(const cm3_call *call) {
    const shape s = shape_of(call);
    return forward_workspace(call) + sizeof(float) * (size_t)(2 * s.batch * s.channels);
}

typedef struct chunk_loop {
    const shape *s;
    const cm3__group_norm *whole;
    float *sums;
    void (*loop)(const cm3__group_norm *);
} chunk_loop;

static void run_chunk(const void *context, int64_t pixel, int64_t end) {
    const chunk_loop *l = context;
    cm3__group_norm part = *l->whole;
    const int64_t channels = l->s->channels, start = pixel * channels;
    part.pixels = end - pixel;
    part.channels = channels;
    part.x += start;
    if (part.y) part.y += start;
    if (part.g) part.g += start;
    part.sum = l->sums + 2 * (pixel / l->s->chunk) * channels;
    part.product = part.sum + channels;
    l->loop(&part);
}

/* Runs `loop` over the chunks of the image that `whole` points at. */
static void over_chunks(const shape *s, const cm3__group_norm *whole, float *sums,
                        void (*loop)(const cm3__group_norm *)) {
    cm3_parallel_for(s->pixels, s->chunk, run_chunk, &(chunk_loop){s, whole, sums, loop});
}

/* Calls `images` for all of a call: on all threads, or on this one, which shares the chunks of each. */
static void over_images(const cm3_call *call, const shape *s, cm3_piece_function images) {
    if (s->by_image)
        cm3_parallel_for(s->batch, cm3__grain(s->pixels * s->channels), images, call);
    else
        images(call, 0, s->batch);
}

static float *work_of(const cm3_call *call, const shape *s) {
    return (float *)call->workspace + (s->by_image ? cm3_thread_index() : 0) * floats_in_work(s);
}

/* Channel c of all chunks. */
static void add_chunks(const shape *s, const float *sums, int64_t c, double *sum, double *product) {
    *sum = *product = 0;
    for (int64_t i = 0; i < s->chunks; i++) {
        *sum += sums[2 * i * s->channels + c];
        *product += sums[(2 * i + 1) * s->channels + c];
    }
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

/* Each channel's sums are about its own pivot, a value of the channel itself: nothing cancels. */
static void moments_of_group(const shape *s, const float *sums, const float *pivot, int64_t group, double *mean,
                             double *variance) {
    const double pixels = (double)s->pixels, first = pivot[group * s->width];
    double shift = 0, squares = 0; /* of the group's values, about `first` */
    for (int64_t c = group * s->width; c < (group + 1) * s->width; c++) {
        double sum, product;
        add_chunks(s, sums, c, &sum, &product);
        const double d = pivot[c] - first;
        shift += sum + pixels * d;
        squares += product + 2 * d * sum + pixels * d * d;
    }
    const double count = pixels * (double)s->width, offset = shift / count;
    *mean = first + offset;
    *variance = fmax(0, squares / count - offset * offset);
}

static void forward_image(const cm3_call *call, const shape *s, int64_t image, float *work) {
    const int64_t start = image * s->pixels * s->channels;
    float *sums = work, *factor = work + 2 * s->chunks * s->channels, *offset = factor + s->channels,
          *pivot = offset + s->channels;
    const float *gain = call->in[1].data, *bias = call->in[2].data;
    float *means = (float *)call->out[1].data + image * s->groups,
          *rstds = (float *)call->out[2].data + image * s->groups;
    cm3__group_norm n = {.x = (const float *)call->in[0].data + start,
                         .y = (float *)call->out[0].data + start,
                         .pivot = pivot,
                         .factor = factor,
                         .offset = offset,
                         .silu = call->attr->activation == CM3_ACT_SILU};
    memcpy(pivot, n.x, (size_t)s->channels * sizeof *pivot);
    over_chunks(s, &n, sums, cm3__simd()->group_norm_moments);
    for (int64_t group = 0; group < s->groups; group++) {
        double mean, variance;
        moments_of_group(s, sums, pivot, group, &mean, &variance);
        means[group] = (float)mean;
        rstds[group] = (float)(1 / sqrt(variance + call->attr->epsilon));
        for (int64_t c = group * s->width; c < (group + 1) * s->width; c++) {
            factor[c] = rstds[group] * gain[c];
            offset[c] = bias[c] - means[group] * factor[c];
        }
    }
    over_chunks(s, &n, sums, cm3__simd()->group_norm_apply);
}

static void forward_images(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const shape s = shape_of(call);
    for (int64_t image = first; image < last; image++) forward_image(call, &s, image, work_of(call, &s));
}

static cm3_status forward(const cm3_call *call) {
    const shape s = shape_of(call);
    over_images(call, &s, forward_images);
    return CM3_OK;
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

/* With n = (x - mean) rstd, u the value before the activation, and g its gradient: dgain = sum g n, dbias = sum g,
 * dx = rstd (g gain - mean over the group of (g gain) - n * mean over the group of (g gain n)). */
static void backward_image(const cm3_call *call, const shape *s, int64_t image, float *work, float *totals) {
    const int64_t start = image * s->pixels * s->channels, channels = s->channels;
    float *sums = work, *factor = work + 2 * s->chunks * channels, *offset = factor + channels,
          *slope = offset + channels;
    float *shift = slope + channels, *pivot = shift + channels;
    const float *gain = call->in[1].data, *bias = call->in[2].data;
    const float *means = (const float *)call->out[1].data + image * s->groups;
    const float *rstds = (const float *)call->out[2].data + image * s->groups;
    cm3__group_norm n = {.x = (const float *)call->in[0].data + start,
                         .g = (float *)call->grad_out.data + start,
                         .pivot = pivot,
                         .y = call->grad_in[0].data ? (float *)call->grad_in[0].data + start : NULL,
                         .factor = factor,
                         .offset = offset,
                         .slope = slope,
                         .shift = shift,
                         .silu = call->attr->activation == CM3_ACT_SILU,
                         .accumulate = call->accumulate[0]};
    for (int64_t c = 0; c < channels; c++) {
        pivot[c] = means[c / s->width];
        factor[c] = rstds[c / s->width] * gain[c];
        offset[c] = bias[c] - pivot[c] * factor[c];
    }
    over_chunks(s, &n, sums, cm3__simd()->group_norm_slopes);
    for (int64_t group = 0; group < s->groups; group++) {
        const double mean = means[group], rstd = rstds[group], count = (double)(s->pixels * s->width);
        double plain = 0, projected = 0; /* sums of g gain, and of g gain n */
        for (int64_t c = group * s->width; c < (group + 1) * s->width; c++) {
            double sum, product;
            add_chunks(s, sums, c, &sum, &product);
            totals[c] = (float)(product * rstd);
            totals[channels + c] = (float)sum;
            plain += sum * gain[c];
            projected += product * rstd * gain[c];
        }
        for (int64_t c = group * s->width; c < (group + 1) * s->width; c++) {
            slope[c] = (float)(-rstd * rstd * projected / count);
            shift[c] = (float)(-rstd * plain / count + rstd * rstd * projected / count * mean);
        }
    }
    if (n.y) over_chunks(s, &n, sums, cm3__simd()->group_norm_gradient);
}

/* to = [to +] the images' sums, in their order */
static void add_images(const shape *s, const float *totals, float *to, bool accumulate) {
    for (int64_t c = 0; to && c < s->channels; c++) {
        double sum = accumulate ? to[c] : 0;
        for (int64_t image = 0; image < s->batch; image++) sum += totals[2 * image * s->channels + c];
        to[c] = (float)sum;
    }
}

static float *totals_of(const cm3_call *call, const shape *s) {
    return (float *)call->workspace + images_in_work(s) * floats_in_work(s);
}

static void backward_images(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const shape s = shape_of(call);
    for (int64_t image = first; image < last; image++)
        backward_image(call, &s, image, work_of(call, &s), totals_of(call, &s) + 2 * image * s.channels);
}

static cm3_status backward(const cm3_call *call) {
    const shape s = shape_of(call);
    const float *totals = totals_of(call, &s);
    over_images(call, &s, backward_images);
    add_images(&s, totals, call->grad_in[1].data, call->accumulate[1]);
    add_images(&s, totals + s.channels, call->grad_in[2].data, call->accumulate[2]);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_group_norm = {.forward = forward,
                                        .backward = backward,
                                        .forward_workspace = forward_workspace,
                                        .backward_workspace = backward_workspace};
