/* Convolution without im2col. In NHWC the k pixels by C channels under one row of a window lie side by side in memory,
 * so a convolution is k matrix products whose left side is the image itself, read with overlapping rows:
 *
 *     y[p, o] = sum over r < k, j < k C of x[row of p + r][p * stride * C + j] * weight[o][r][j]
 *
 * Tasks are strips of rows. A strip of the image is copied once, with its border of zeros, into a thread's own
 * workspace, where it stays in the cache while all weights pass by, packed into panels of a few vectors. The gradient
 * of x is the same computation with weights turned around, once for each class of pixels that a stride tells apart. The
 * gradient of the weights is an outer product over the same strips: a sum for each of as many parts of them as there
 * are threads, added in the order of parts. */
#include "core/kernels/cpu/kernel.h"

#include <string.h>

enum {
    STRIP_FLOATS = 128 << 10, /* of a strip, with its border: half of a second-level cache of 1 MiB */
    DEPTH_BLOCK = 192,        /* of a panel: 192 x 32 floats stay in the first-level cache */
    TASKS_PER_THREAD = 4,
    STRIPS_IN_WORK = 8,       /* most strips whose outer products share a thread's sums while these are in cache */
    SMALLEST_SHARED = 1 << 18 /* multiplications: below, waking other threads costs more than they bring */
};

static int64_t min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int64_t round_up(int64_t a, int64_t b) {
    return divide_up(a, b) * b;
}

/* --- one pass ---------------------------------------------------------------------------------------------------- */

/* Windows over one set of images, and where their results lie in another. */
typedef struct pass {
    int64_t batch, rows, columns, channels;   /* of the source */
    int64_t taps_y, taps_x, step;             /* of a window; from one window to the next */
    int64_t first_y, first_x;                 /* source position of the first window's first tap; outside is zero */
    int64_t to_rows, to_columns, to_channels; /* of the results */
    int64_t to_image, to_row, to_column;      /* distances between results in memory, in floats */
    int64_t strip_rows, strips;               /* results of a task; tasks of an image */
    int64_t strip_columns, strip_floats; /* of the source under a strip, with the border; no floats: read in place */
} pass;

/* `beside`: floats that lie beside the strip for each row of results. */
static void choose_strips(pass *p, int threads, bool in_place_allowed, int64_t beside) {
    p->strip_columns = (p->to_columns - 1) * p->step + p->taps_x;
    const int64_t row_floats = p->strip_columns * p->channels;
    const int64_t fitting = (STRIP_FLOATS - p->taps_y * row_floats) / (p->step * row_floats + beside) + 1;
    const int64_t sharing = p->batch * p->to_rows / (TASKS_PER_THREAD * threads);
    p->strip_rows = max(1, min(min(fitting, p->to_rows), p->batch < TASKS_PER_THREAD * threads ? sharing : p->to_rows));
    p->strips = divide_up(p->to_rows, p->strip_rows);
    const bool inside = p->first_y >= 0 && p->first_x >= 0 &&
                        p->first_y + (p->to_rows - 1) * p->step + p->taps_y <= p->rows &&
                        p->first_x + p->strip_columns <= p->columns;
    p->strip_floats =
        inside && in_place_allowed ? 0 : round_up(((p->strip_rows - 1) * p->step + p->taps_y) * row_floats, 16);
}

/* The source under `count` rows of windows from `row` on, and the distance of its rows. */
static const float *strip_of(const pass *p, const float *images, int64_t image, int64_t row, int64_t count, float *copy,
                             int64_t *row_floats) {
    const float *source = images + image * p->rows * p->columns * p->channels;
    const int64_t y0 = p->first_y + row * p->step, height = (count - 1) * p->step + p->taps_y;
    if (!p->strip_floats) {
        *row_floats = p->columns * p->channels;
        return source + (y0 * p->columns + p->first_x) * p->channels;
    }
    *row_floats = p->strip_columns * p->channels;
    const int64_t left = min(max(-p->first_x, 0), p->strip_columns);
    const int64_t right = max(min(p->columns - p->first_x, p->strip_columns), left);
    for (int64_t y = 0; y < height; y++) {
        float *to = copy + y * *row_floats;
        const bool outside = y0 + y < 0 || y0 + y >= p->rows;
        const int64_t begin = outside ? p->strip_columns : left, end = outside ? p->strip_columns : right;
        memset(to, 0, (size_t)(begin * p->channels) * sizeof *to);
        if (end > begin)
            memcpy(to + begin * p->channels, source + ((y0 + y) * p->columns + p->first_x + begin) * p->channels,
                   (size_t)((end - begin) * p->channels) * sizeof *to);
        memset(to + end * p->channels, 0, (size_t)((p->strip_columns - end) * p->channels) * sizeof *to);
    }
    return copy;
}

/* All results of one strip. Panels of the weights follow one another: (panels, taps_y, taps_x * channels, panel width).
 */
static void run_strip(const pass *p, const cm3_simd *simd, int64_t width, const float *a, int64_t row_floats,
                      int64_t row, int64_t count, const float *panels, const float *bias, float *to, bool add) {
    const int64_t depth = p->taps_x * p->channels;
    for (int64_t n = 0; n < p->to_channels; n += width) {
        const float *panel = panels + n * p->taps_y * depth;
        for (int64_t tap = 0; tap < p->taps_y; tap++) {
            for (int64_t k = 0; k < depth; k += DEPTH_BLOCK) {
                const bool first = tap == 0 && k == 0;
                for (int64_t y = 0; y < count; y++) {
                    float *results = to + (row + y) * p->to_row + n;
                    const bool from_results = !first || add;
                    simd->conv_rows(&(cm3__conv_rows){.a = a + (y * p->step + tap) * row_floats + k,
                                                      .a_stride = p->step * p->channels,
                                                      .panel = panel + (tap * depth + k) * width,
                                                      .depth = min(DEPTH_BLOCK, depth - k),
                                                      .start = from_results ? results
                                                               : bias       ? bias + n
                                                                            : NULL,
                                                      .start_stride = from_results ? p->to_column : 0,
                                                      .y = results,
                                                      .y_stride = p->to_column,
                                                      .m = p->to_columns,
                                                      .n = min(width, p->to_channels - n)});
                }
            }
        }
    }
}

typedef struct pass_loop {
    const pass *p;
    const cm3_simd *simd;
    int64_t width;
    const float *from, *panels, *bias;
    float *to, *strips;
    bool add;
} pass_loop;

static void run_tasks(const void *context, int64_t task, int64_t end) {
    const pass_loop *l = context;
    const pass *p = l->p;
    for (; task < end; task++) {
        const int64_t image = task / p->strips, row = task % p->strips * p->strip_rows;
        const int64_t count = min(p->strip_rows, p->to_rows - row);
        int64_t row_floats;
        const float *a =
            strip_of(p, l->from, image, row, count, l->strips + cm3_thread_index() * p->strip_floats, &row_floats);
        run_strip(p, l->simd, l->width, a, row_floats, row, count, l->panels, l->bias, l->to + image * p->to_image,
                  l->add);
    }
}

static void run_pass(const pass_loop *l) {
    const pass *p = l->p;
    const int64_t tasks = p->batch * p->strips,
                  work = p->batch * p->to_rows * p->to_columns * p->to_channels * p->taps_y * p->taps_x * p->channels;
    cm3_parallel_for(tasks, work >= SMALLEST_SHARED ? 1 : tasks, run_tasks, l);
}

/* --- the geometry of a call -------------------------------------------------------------------------------------- */

typedef struct geometry {
    int64_t batch, rows, columns, inputs; /* x (B, H, W, C) */
    int64_t to_rows, to_columns, outputs; /* y (B, H', W', O) */
    int64_t kernel, stride, pad;
    int threads;
    const cm3_simd *simd;
    cm3__conv_sizes sizes;
} geometry;

static geometry geometry_of(const cm3_call *call) {
    const int64_t *x = call->in[0].shape.dim, *w = call->in[1].shape.dim;
    const int64_t kernel = w[1], stride = call->attr->stride, padding = call->attr->pad + call->attr->pad_after;
    geometry g = {.batch = x[0],
                  .rows = x[1],
                  .columns = x[2],
                  .inputs = x[3],
                  .outputs = w[0],
                  .kernel = kernel,
                  .stride = stride,
                  .to_rows = (x[1] + padding - kernel) / stride + 1,
                  .to_columns = (x[2] + padding - kernel) / stride + 1,
                  .pad = call->attr->pad,
                  .threads = cm3_threads_count(),
                  .simd = cm3__simd()};
    g.simd->conv_sizes_of(&g.sizes);
    return g;
}

static pass forward_pass(const geometry *g, bool in_place_allowed, int64_t beside) {
    pass p = {.batch = g->batch,
              .rows = g->rows,
              .columns = g->columns,
              .channels = g->inputs,
              .taps_y = g->kernel,
              .taps_x = g->kernel,
              .step = g->stride,
              .first_y = -g->pad,
              .first_x = -g->pad,
              .to_rows = g->to_rows,
              .to_columns = g->to_columns,
              .to_channels = g->outputs,
              .to_image = g->to_rows * g->to_columns * g->outputs,
              .to_row = g->to_columns * g->outputs,
              .to_column = g->outputs};
    choose_strips(&p, g->threads, in_place_allowed, beside);
    return p;
}

/* Along one axis, the pixels of x at offset, offset + stride, ... see the taps first, first + stride, ... of the
 * kernel, over neighbouring pixels of y: pixel offset + i * stride meets, in rising order of y, y[i + from], y[i + from
 * + 1], ... */
typedef struct axis_class {
    int64_t pixels, taps, first_tap, from;
} axis_class;

static axis_class class_of(int64_t offset, int64_t size, int64_t kernel, int64_t stride, int64_t pad) {
    axis_class c = {.pixels = divide_up(size - offset, stride), .first_tap = (offset + pad) % stride};
    c.taps = max(0, divide_up(kernel - c.first_tap, stride));
    c.from = (offset + pad - c.first_tap) / stride - (c.taps - 1);
    return c;
}

static pass gradient_pass(const geometry *g, const axis_class *y, const axis_class *x) {
    pass p = {.batch = g->batch,
              .rows = g->to_rows,
              .columns = g->to_columns,
              .channels = g->outputs,
              .taps_y = y->taps,
              .taps_x = x->taps,
              .step = 1,
              .first_y = y->from,
              .first_x = x->from,
              .to_rows = y->pixels,
              .to_columns = x->pixels,
              .to_channels = g->inputs,
              .to_image = g->rows * g->columns * g->inputs,
              .to_row = g->stride * g->columns * g->inputs,
              .to_column = g->stride * g->inputs};
    choose_strips(&p, g->threads, true, 0);
    return p;
}

static int64_t panel_floats(const geometry *g, int64_t from, int64_t to) {
    return round_up(to, g->sizes.panel) * round_up(g->kernel * g->kernel * from, 16);
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

typedef struct packing {
    const geometry *g;
    const axis_class *y, *x; /* backward */
    const float *weight;
    float *panels;
} packing;

static void pack_panels(const void *context, int64_t panel, int64_t end) {
    const packing *k = context;
    const geometry *g = k->g;
    const int64_t depth = g->kernel * g->kernel * g->inputs, width = g->sizes.panel;
    for (int64_t n = panel * width; n < end * width; n += width) {
        for (int64_t o = 0; o < width; o++) {
            float *to = k->panels + n * depth + o;
            const float *from = k->weight + (n + o) * depth;
            for (int64_t q = 0; q < depth; q++) to[q * width] = n + o < g->outputs ? from[q] : 0;
        }
    }
}

static void pack_forward(const geometry *g, const float *weight, float *panels) {
    const int64_t width = g->sizes.panel;
    cm3_parallel_for(divide_up(g->outputs, width), cm3__grain(width * g->kernel * g->kernel * g->inputs), pack_panels,
                     &(packing){.g = g, .weight = weight, .panels = panels});
}

static size_t forward_workspace(const cm3_call *call) {
    const geometry g = geometry_of(call);
    const pass p = forward_pass(&g, true, 0);
    return sizeof(float) * (size_t)(panel_floats(&g, g.inputs, g.outputs) + g.threads * p.strip_floats);
}

static cm3_status forward(const cm3_call *call) {
    const geometry g = geometry_of(call);
    const pass p = forward_pass(&g, true, 0);
    float *panels = call->workspace, *strips = panels + panel_floats(&g, g.inputs, g.outputs);
    pack_forward(&g, call->in[1].data, panels);
    run_pass(&(pass_loop){.p = &p,
                          .simd = g.simd,
                          .width = g.sizes.panel,
                          .from = call->in[0].data,
                          .panels = panels,
                          .bias = call->in[2].data,
                          .to = call->out[0].data,
                          .strips = strips});
    return CM3_OK;
}

/* --- gradient of x ----------------------------------------------------------------------------------------------- */

/* Panels of the kernel turned around: (panels of inputs, taps_y, taps_x, outputs, panel width). */
static void pack_gradient_rows(const void *context, int64_t first, int64_t last) {
    const packing *k = context;
    const geometry *g = k->g;
    const axis_class *y = k->y, *x = k->x;
    const int64_t width = g->sizes.panel, depth = y->taps * x->taps * g->outputs;
    for (int64_t q = first; q < last; q++) {
        const int64_t o = q % g->outputs, tap = q / g->outputs;
        const int64_t ky = y->first_tap + (y->taps - 1 - tap / x->taps) * g->stride;
        const int64_t kx = x->first_tap + (x->taps - 1 - tap % x->taps) * g->stride;
        const float *from = k->weight + ((o * g->kernel + ky) * g->kernel + kx) * g->inputs;
        for (int64_t n = 0; n < g->inputs; n += width) {
            float *to = k->panels + n * depth + q * width;
            for (int64_t c = 0; c < width; c++) to[c] = n + c < g->inputs ? from[n + c] : 0;
        }
    }
}

/* Pixels that no window covers. */
static void clear_pass(const pass *p, float *to) {
    for (int64_t i = 0; i < p->batch * p->to_rows; i++)
        for (int64_t x = 0; x < p->to_columns; x++)
            memset(to + i / p->to_rows * p->to_image + i % p->to_rows * p->to_row + x * p->to_column, 0,
                   (size_t)p->to_channels * sizeof *to);
}

static void gradient_of_input(const geometry *g, const cm3_call *call) {
    float *panels = call->workspace, *strips = panels + panel_floats(g, g->outputs, g->inputs);
    for (int64_t oy = 0; oy < min(g->stride, g->rows); oy++) {
        for (int64_t ox = 0; ox < min(g->stride, g->columns); ox++) {
            const axis_class y = class_of(oy, g->rows, g->kernel, g->stride, g->pad);
            const axis_class x = class_of(ox, g->columns, g->kernel, g->stride, g->pad);
            const pass p = gradient_pass(g, &y, &x);
            float *to = (float *)call->grad_in[0].data + (oy * g->columns + ox) * g->inputs;
            if (y.taps && x.taps) {
                cm3_parallel_for(y.taps * x.taps * g->outputs, cm3__grain(g->inputs), pack_gradient_rows,
                                 &(packing){.g = g, .y = &y, .x = &x, .weight = call->in[1].data, .panels = panels});
                run_pass(&(pass_loop){.p = &p,
                                      .simd = g->simd,
                                      .width = g->sizes.panel,
                                      .from = call->grad_out.data,
                                      .panels = panels,
                                      .to = to,
                                      .strips = strips,
                                      .add = call->accumulate[0]});
            } else if (!call->accumulate[0]) {
                clear_pass(&p, to);
            }
        }
    }
}

static int64_t gradient_of_input_floats(const geometry *g) {
    int64_t strip = 0;
    for (int64_t oy = 0; oy < min(g->stride, g->rows); oy++) {
        for (int64_t ox = 0; ox < min(g->stride, g->columns); ox++) {
            const axis_class y = class_of(oy, g->rows, g->kernel, g->stride, g->pad);
            const axis_class x = class_of(ox, g->columns, g->kernel, g->stride, g->pad);
            if (y.taps && x.taps) strip = max(strip, gradient_pass(g, &y, &x).strip_floats);
        }
    }
    return panel_floats(g, g->outputs, g->inputs) + g->threads * strip;
}

/* --- gradients of weights and bias ------------------------------------------------------------------------------- */

/* What one part adds up: weights (O, k, row of a window rounded up to vectors) and the bias; and its copies of the
 * strips in work, each the packed gradient and the source, with room to read whole vectors at its end. */
typedef struct weight_sums {
    int64_t window; /* rounded up */
    int64_t weights, bias, packed, strip;
    int64_t in_work;
} weight_sums;

static weight_sums weight_sums_of(const geometry *g, const pass *p) {
    weight_sums s = {.window = round_up(g->kernel * g->inputs, g->sizes.lanes), .bias = round_up(g->outputs, 16)};
    s.weights = round_up(g->outputs * g->kernel * s.window, 16);
    s.packed = round_up(p->strip_rows * p->to_columns * round_up(g->outputs, g->sizes.outer_rows), 16);
    s.strip = p->strip_floats ? round_up(p->strip_floats + g->sizes.lanes, 16) : 0;
    const int64_t strips = divide_up(p->batch * p->strips, g->threads);
    s.in_work = max(1, min(min(STRIPS_IN_WORK, strips), STRIP_FLOATS / (s.packed + s.strip)));
    return s;
}

static int64_t weight_sums_floats(const weight_sums *s) {
    return s->weights + s->bias + s->in_work * (s->packed + s->strip);
}

static pass weight_pass(const geometry *g) {
    const bool whole_vectors =
        g->kernel * g->inputs % g->sizes.lanes == 0; /* else the last window would be read beyond its end */
    return forward_pass(g, whole_vectors, g->to_columns * g->outputs);
}

/* Pixels are taken in chunks, whose windows stay in the first-level cache: (rows, columns) from (y, x) on, and where
 * their gradients lie packed. */
typedef struct chunk {
    int64_t y, x, rows, columns;
    float *packed;
} chunk;

static int64_t chunks_of(const pass *p, int64_t count) {
    const int64_t rows = max(1, CM3_CONV_OUTER_PIXELS / p->to_columns);
    return divide_up(count, rows) * divide_up(p->to_columns, CM3_CONV_OUTER_PIXELS);
}

static chunk chunk_of(const geometry *g, const pass *p, int64_t count, int64_t index, float *packed) {
    const int64_t rows = max(1, CM3_CONV_OUTER_PIXELS / p->to_columns),
                  across = divide_up(p->to_columns, CM3_CONV_OUTER_PIXELS);
    chunk c = {.y = index / across * rows, .x = index % across * CM3_CONV_OUTER_PIXELS};
    c.rows = min(rows, count - c.y);
    c.columns = min(CM3_CONV_OUTER_PIXELS, p->to_columns - c.x);
    c.packed = packed + (c.y * p->to_columns + c.x * c.rows) * round_up(g->outputs, g->sizes.outer_rows);
    return c;
}

/* One strip in work: its source, the gradient of its results, and that gradient packed. */
typedef struct strip {
    const float *a, *grad;
    int64_t row_floats, count;
    float *packed;
} strip;

static void pack_strip(const geometry *g, const pass *p, const strip *s, float *bias) {
    for (int64_t i = 0; i < chunks_of(p, s->count); i++) {
        const chunk c = chunk_of(g, p, s->count, i, s->packed);
        g->simd->conv_pack(&(cm3__conv_pack){.from = s->grad + c.y * p->to_row + c.x * p->to_column,
                                             .row_distance = p->to_row,
                                             .rows = c.rows,
                                             .columns = c.columns,
                                             .outputs = g->outputs,
                                             .packed = c.packed,
                                             .bias = bias});
    }
}

/* Block j of the window in row `tap`: sums of all outputs (sums point at the first). */
static void add_strip_to_block(const geometry *g, const pass *p, const strip *s, int64_t tap, int64_t j, float *sums,
                               int64_t distance) {
    for (int64_t i = 0; i < chunks_of(p, s->count); i++) {
        const chunk c = chunk_of(g, p, s->count, i, s->packed);
        g->simd->conv_outer(
            &(cm3__conv_outer){.g = c.packed,
                               .a = s->a + (c.y * p->step + tap) * s->row_floats + c.x * p->step * p->channels + j,
                               .a_row = p->step * s->row_floats,
                               .a_column = p->step * p->channels,
                               .rows = c.rows,
                               .columns = c.columns,
                               .sum = sums,
                               .sum_stride = distance,
                               .outputs = g->outputs,
                               .width = min(g->sizes.outer_width, g->kernel * g->inputs - j)});
    }
}

/* The sums of one block of a window, which stay in the second-level cache, meet all strips in work before the next
 * block's turn. */
static void add_strips_to_weights(const geometry *g, const pass *p, const weight_sums *s, const strip *strips,
                                  int64_t count, float *weights) {
    for (int64_t tap = 0; tap < g->kernel; tap++)
        for (int64_t j = 0; j < g->kernel * g->inputs; j += g->sizes.outer_width)
            for (int64_t i = 0; i < count; i++)
                add_strip_to_block(g, p, &strips[i], tap, j, weights + tap * s->window + j, g->kernel * s->window);
}

typedef struct weight_loop {
    const geometry *g;
    const cm3_call *call;
    const pass *p;
    const weight_sums *s;
    float *sums; /* (parts, weight_sums_floats) */
    int64_t parts;
} weight_loop;

/* weights[row] = [weights[row] +] the parts' sums, in their order */
static void add_rows(const void *context, int64_t first, int64_t last) {
    const weight_loop *l = context;
    const int64_t distance = weight_sums_floats(l->s), width = l->g->kernel * l->g->inputs;
    float *weights = l->call->grad_in[1].data;
    for (int64_t row = first; row < last; row++) {
        for (int64_t j = 0; j < width; j++) {
            float sum = l->call->accumulate[1] ? weights[row * width + j] : 0;
            for (int64_t t = 0; t < l->parts; t++) sum += l->sums[t * distance + row * l->s->window + j];
            weights[row * width + j] = sum;
        }
    }
}

static void add_parts(const weight_loop *l) {
    const int64_t outputs = l->g->outputs, distance = weight_sums_floats(l->s);
    float *bias = l->call->grad_in[2].data;
    if (l->call->grad_in[1].data)
        cm3_parallel_for(outputs * l->g->kernel, cm3__grain(l->g->kernel * l->g->inputs), add_rows, l);
    for (int64_t o = 0; bias && o < outputs; o++) {
        float sum = l->call->accumulate[2] ? bias[o] : 0;
        for (int64_t t = 0; t < l->parts; t++) sum += l->sums[t * distance + l->s->weights + o];
        bias[o] = sum;
    }
}

/* What one part does of all strips: those from `task` to `end`, several at a time. */
static void add_share(const geometry *g, const cm3_call *call, const pass *p, const weight_sums *s, int64_t task,
                      int64_t end, float *sums) {
    float *weights = sums, *bias = weights + s->weights, *copies = bias + s->bias;
    memset(sums, 0, (size_t)(s->weights + s->bias) * sizeof *sums);
    while (task < end) {
        strip strips[STRIPS_IN_WORK];
        int64_t count = 0;
        for (; count < s->in_work && task < end; count++, task++) {
            const int64_t image = task / p->strips, row = task % p->strips * p->strip_rows;
            strip *it = &strips[count];
            *it = (strip){.grad = (const float *)call->grad_out.data + image * p->to_image + row * p->to_row,
                          .count = min(p->strip_rows, p->to_rows - row),
                          .packed = copies + count * (s->packed + s->strip)};
            pack_strip(g, p, it, bias);
            if (call->grad_in[1].data)
                it->a = strip_of(p, call->in[0].data, image, row, it->count, it->packed + s->packed, &it->row_floats);
        }
        if (call->grad_in[1].data) add_strips_to_weights(g, p, s, strips, count, weights);
    }
}

static void add_shares(const void *context, int64_t part, int64_t end) {
    const weight_loop *l = context;
    const int64_t tasks = l->p->batch * l->p->strips;
    for (; part < end; part++)
        add_share(l->g, l->call, l->p, l->s, tasks * part / l->parts, tasks * (part + 1) / l->parts,
                  l->sums + part * weight_sums_floats(l->s));
}

static void gradient_of_weights(const geometry *g, const cm3_call *call) {
    const pass p = weight_pass(g);
    const weight_sums s = weight_sums_of(g, &p);
    const int64_t work = p.batch * p.to_rows * p.to_columns * g->outputs * g->kernel * s.window;
    const weight_loop l = {g, call, &p, &s, call->workspace, work >= SMALLEST_SHARED ? g->threads : 1};
    cm3_parallel_for(l.parts, 1, add_shares, &l);
    add_parts(&l);
}

static size_t backward_workspace(const cm3_call *call) {
    const geometry g = geometry_of(call);
    const pass p = weight_pass(&g);
    const weight_sums s = weight_sums_of(&g, &p);
    return sizeof(float) * (size_t)max(g.threads * weight_sums_floats(&s), gradient_of_input_floats(&g));
}

static cm3_status backward(const cm3_call *call) {
    const geometry g = geometry_of(call);
    if (call->grad_in[1].data || call->grad_in[2].data) gradient_of_weights(&g, call);
    if (call->grad_in[0].data) gradient_of_input(&g, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_conv2d = {.forward = forward,
                                    .backward = backward,
                                    .forward_workspace = forward_workspace,
                                    .backward_workspace = backward_workspace};
