#include "core/kernels/cuda/workspace.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t pieces(int64_t count, int64_t each) {
    return (count + each - 1) / each;
}

static int64_t whole(int64_t count, int64_t unit) {
    return pieces(count, unit) * unit;
}

static size_t floats(int64_t count) {
    return (size_t)count * sizeof(float);
}

static int64_t dim(const cm3_tensor *t, int i) {
    return t->shape.dim[i];
}

#define NONE(name, direction)                                                                                          \
    size_t cm3__cuda_##name##_##direction##_workspace(const cm3_call *call) {                                          \
        (void)call;                                                                                                    \
        return 0;                                                                                                      \
    }
#define FORWARD(name) size_t cm3__cuda_##name##_forward_workspace(const cm3_call *call)
#define BACKWARD(name) size_t cm3__cuda_##name##_backward_workspace(const cm3_call *call)

/* --- sums -------------------------------------------------------------------------------------------------------- */

static size_t column_sums(int64_t columns) {
    return floats(CM3_COLUMN_STRETCHES * columns);
}

int64_t cm3__sort_words(int64_t n) {
    return whole(4 * n + CM3_SORT_DIGITS * (pieces(n, CM3_SORT_TILE) + 1), 16);
}

/* Sorted row numbers, and two sums of a piece that reach over its edges. */
static size_t sums_by_id(int64_t n, int64_t d) {
    return floats(cm3__sort_words(n) + 2 * pieces(n, CM3_BY_ID_PIECE) * d);
}

/* --- the transformer --------------------------------------------------------------------------------------------- */

NONE(embed, forward)
BACKWARD(embed) {
    return sums_by_id(dim(&call->in[1], 0), dim(&call->in[0], 1));
}

NONE(layer_norm, forward)
BACKWARD(layer_norm) {
    return call->in[1].shape.rank ? column_sums(dim(&call->in[0], 1)) : 0;
}

NONE(rms_norm, forward)
BACKWARD(rms_norm) {
    return column_sums(dim(&call->in[0], 1));
}

NONE(linear, forward)
BACKWARD(linear) {
    return call->in[2].shape.rank ? column_sums(dim(&call->in[1], 0)) : 0;
}

/* Enough for our kernels and for cuDNN's: which of them run is decided on the device (autotune.h). */
FORWARD(attention) {
    return cm3__cudnn_attention_forward_workspace(call);
}

BACKWARD(attention) {
    const size_t delta = floats(dim(&call->in[0], 0) * call->attr->heads);
    const size_t cudnn = cm3__cudnn_attention_backward_workspace(call);
    return delta > cudnn ? delta : cudnn;
}

static int64_t head_size(const cm3_call *call) {
    return dim(&call->in[0], 1) / (call->attr->heads + 2 * call->attr->kv_heads);
}

int64_t cm3__cache_splits(const cm3_call *call) {
    return pieces(dim(&call->in[1], 1), CM3__CACHE_SPLIT);
}

/* Of every split its values' sum, its largest score and the sum of its exponentials. */
FORWARD(attention_cached) {
    const int64_t heads = dim(&call->in[0], 0) * call->attr->heads;
    return call->attr->sequence > 1 ? 0 : floats(heads * cm3__cache_splits(call) * (head_size(call) + 2));
}

NONE(attention_cached, backward)

static size_t rope_bytes(const cm3_call *call) {
    return (size_t)(head_size(call) / 2) * sizeof(double);
}

size_t cm3__rope_bytes(const cm3_call *call) {
    return call->in[5].shape.rank ? (size_t)whole((int64_t)rope_bytes(call), 64) : 0;
}

FORWARD(qk_norm) {
    return cm3__rope_bytes(call);
}

BACKWARD(qk_norm) {
    const int64_t columns = (call->attr->heads + call->attr->kv_heads) * head_size(call);
    return cm3__rope_bytes(call) + floats(CM3__QK_NORM_STRETCHES * 2 * columns);
}

FORWARD(rotary) {
    return rope_bytes(call);
}

BACKWARD(rotary) {
    return rope_bytes(call);
}

NONE(swiglu, forward)
NONE(swiglu, backward)
NONE(activate, forward)
NONE(activate, backward)
NONE(add, forward)
NONE(add, backward)

cm3__logit_chunks cm3__logit_chunks_of(const cm3_call *call) {
    enum { UNIT = 16 };
    cm3__logit_chunks s = {.n = dim(&call->in[0], 0), .d = dim(&call->in[0], 1), .vocabulary = dim(&call->in[1], 0)};
    const int64_t row = s.vocabulary * (int64_t)cm3_dtype_size(call->in[0].type);
    const int64_t fitting = most(CM3__LOGIT_BYTES / row / UNIT * UNIT, UNIT);
    s.rows = least(whole(pieces(s.n, most(pieces(s.n, fitting), 1)), UNIT), s.n);
    s.losses = (size_t)whole((int64_t)floats(s.n), 256);
    return s;
}

FORWARD(linear_cross_entropy) {
    const cm3__logit_chunks s = cm3__logit_chunks_of(call);
    return s.losses + (size_t)(s.rows * s.vocabulary) * cm3_dtype_size(call->in[0].type);
}

BACKWARD(linear_cross_entropy) {
    return cm3__cuda_linear_cross_entropy_forward_workspace(call);
}

/* --- the image tokenizer ----------------------------------------------------------------------------------------- */

cm3__conv cm3__conv_of(const cm3_call *call, const cm3_tensor *result) {
    const int64_t *x = call->in[0].shape.dim, *w = call->in[1].shape.dim, *y = result->shape.dim;
    return (cm3__conv){.batch = x[0],
                       .rows = x[1],
                       .columns = x[2],
                       .channels = x[3],
                       .out_rows = y[1],
                       .out_columns = y[2],
                       .outputs = y[3],
                       .kernel = w[1],
                       .stride = call->attr->stride,
                       .pad = call->attr->pad,
                       .window = w[1] * w[1] * x[3]};
}

bool cm3__conv_is_plain(const cm3__conv *s) {
    return s->kernel == 1 && s->stride == 1 && s->out_rows == s->rows && s->out_columns == s->columns;
}

int64_t cm3__conv_results_at_once(const cm3__conv *s) {
    const int64_t results = s->batch * s->out_rows * s->out_columns;
    return cm3__conv_is_plain(s) ? results : most(1, least(results, CM3__WINDOW_FLOATS / s->window));
}

/* As many whole images as fit, or as many rows of one as fit with the windows that reach into them from beside. */
cm3__conv_band cm3__conv_first_band(const cm3__conv *s) {
    const int64_t row = s->out_columns * s->window, fitting = most(1, CM3__WINDOW_FLOATS / row);
    const int64_t images = fitting / s->out_rows, height = most(1, (fitting - 1) * s->stride - (s->kernel - 1));
    if (images > 0)
        return (cm3__conv_band){.images = least(images, s->batch), .y_end = s->rows, .out_end = s->out_rows};
    return (cm3__conv_band){.images = 1, .y_end = least(height, s->rows)};
}

static int64_t results_of_band(const cm3__conv *s) {
    const cm3__conv_band b = cm3__conv_first_band(s);
    const int64_t reach = (b.y_end + s->kernel - 1) / s->stride + 1;
    return b.images * (b.out_end ? s->out_rows : least(reach, s->out_rows)) * s->out_columns;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

FORWARD(conv2d) {
    const cm3__conv s = cm3__conv_of(call, &call->out[0]);
    const size_t own = cm3__conv_is_plain(&s) ? 0 : floats(cm3__conv_results_at_once(&s) * s.window);
    return larger(own, cm3__cudnn_conv2d_forward_workspace(call));
}

BACKWARD(conv2d) {
    const cm3__conv s = cm3__conv_of(call, &call->grad_out);
    const int64_t results = most(cm3__conv_results_at_once(&s), results_of_band(&s));
    const size_t windows = cm3__conv_is_plain(&s) ? 0 : floats(results * s.window);
    return larger(larger(windows, column_sums(s.outputs)), cm3__cudnn_conv2d_backward_workspace(call));
}

/* Pixels of a stretch: long ones have few sums, but all of the device should have some. */
static int64_t stretch_of(const cm3__group_layout *s) {
    enum { LEAST = 4, MOST = 32, BLOCKS = 528 }; /* pixels that a thread sums; blocks that fill a device */
    const int64_t vectors = s->channels / (s->channels % 4 ? 1 : 4), columns = least(vectors, CM3__GROUP_NORM_THREADS);
    const int64_t rows = CM3__GROUP_NORM_THREADS / columns;
    const int64_t each = s->batch * s->pixels * pieces(vectors, columns) / (BLOCKS * rows);
    return rows * most(LEAST, least(each, MOST));
}

cm3__group_layout cm3__group_layout_of(const cm3_call *call) {
    const int64_t *x = call->in[0].shape.dim;
    cm3__group_layout s = {.batch = x[0],
                           .pixels = x[1] * x[2],
                           .channels = x[3],
                           .groups = call->attr->groups,
                           .width = x[3] / call->attr->groups};
    s.stretch = stretch_of(&s);
    s.stretches = pieces(s.pixels, s.stretch);
    return s;
}

int64_t cm3__group_sums(const cm3__group_layout *s) {
    return 2 * s->batch * s->stretches * s->channels;
}

FORWARD(group_norm) {
    const cm3__group_layout s = cm3__group_layout_of(call);
    return floats(cm3__group_sums(&s));
}

BACKWARD(group_norm) {
    const cm3__group_layout s = cm3__group_layout_of(call);
    return floats(cm3__group_sums(&s) + 2 * s.batch * s.groups) + column_sums(s.channels);
}

NONE(upsample, forward)
NONE(upsample, backward)
NONE(average_pool, forward)
NONE(average_pool, backward)

/* Products of as many rows as stay in the second cache. */
int64_t cm3__code_rows(const cm3_call *call) {
    enum { PRODUCTS = 8 << 20 };
    return most(1, least(PRODUCTS / dim(&call->in[1], 0), dim(&call->in[0], 0)));
}

FORWARD(nearest_code) {
    return floats((cm3__code_rows(call) + 1) * dim(&call->in[1], 0));
}

NONE(nearest_code, backward)
NONE(code_lookup, forward)
NONE(code_lookup, backward)

FORWARD(code_loss) {
    (void)call;
    return CM3_SUM_BLOCKS * sizeof(double);
}

BACKWARD(code_loss) {
    return sums_by_id(dim(&call->in[0], 0), dim(&call->in[0], 1));
}

FORWARD(pixel_loss) {
    (void)call;
    return CM3_SUM_BLOCKS * sizeof(double);
}

NONE(pixel_loss, backward)
