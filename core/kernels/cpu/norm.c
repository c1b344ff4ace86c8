/* LAYER_NORM, RMS_NORM and QK_NORM: rows of one kind (core/kernels/cpu/simd/norm.h). */
#include "core/kernels/cpu/rope.h"

#include <string.h>

/* --- gradients of gain and bias ---------------------------------------------------------------------------------- */

/* Rows that are summed apart, into a row of `partial` (pieces, count); the sums are then added in the order of pieces.
 */
static int64_t rows_of_piece(int64_t rows, int64_t width) {
    enum { MOST_PIECES = 64 };
    const int64_t grain = cm3__grain(width), fewest = (rows + MOST_PIECES - 1) / MOST_PIECES;
    return grain > fewest ? grain : fewest;
}

static int64_t pieces_of(int64_t rows, int64_t width) {
    return (rows + rows_of_piece(rows, width) - 1) / rows_of_piece(rows, width);
}

typedef struct partials {
    float *grad;
    const float *partial;
    int64_t pieces, stride;
    bool accumulate;
} partials;

static void add_range(const void *context, int64_t first, int64_t last) {
    const partials *p = context;
    for (int64_t i = first; i < last; i++) {
        float sum = 0;
        for (int64_t t = 0; t < p->pieces; t++) sum += p->partial[t * p->stride + i];
        p->grad[i] = p->accumulate ? p->grad[i] + sum : sum;
    }
}

static void add_partials(float *grad, const float *partial, int64_t pieces, int64_t stride, int64_t count,
                         bool accumulate) {
    const partials p = {grad, partial, pieces, stride, accumulate};
    if (grad) cm3_parallel_for(count, cm3__grain(pieces), add_range, &p);
}

/* --- LAYER_NORM and RMS_NORM ------------------------------------------------------------------------------------- */

static void forward_rows(const cm3_call *call, bool centered, int64_t first, int64_t last) {
    const int64_t d = cm3__dim(&call->in[0], 1);
    const float *x = call->in[0].data;
    float *y = call->out[0].data, *rstd = call->out[1].data, *mean = centered ? call->out[2].data : NULL;
    const cm3_simd *simd = cm3__simd();
    for (int64_t i = first; i < last; i++) {
        float unused;
        simd->norm_forward(&(cm3__norm_row){.d = d,
                                            .centered = centered,
                                            .x = x + i * d,
                                            .gain = call->in[1].data,
                                            .bias = centered ? call->in[2].data : NULL,
                                            .epsilon = call->attr->epsilon,
                                            .y = y + i * d,
                                            .mean = mean ? mean + i : NULL,
                                            .rstd = rstd ? rstd + i : &unused});
    }
}

static size_t backward_workspace(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->in[0], 0), d = cm3__dim(&call->in[0], 1);
    return cm3__has(&call->in[1]) ? (size_t)(pieces_of(n, d) * 2 * d) * sizeof(float) : 0;
}

/* One piece. */
static void backward_rows(const cm3_call *call, bool centered, int64_t first, int64_t last) {
    const int64_t n = cm3__dim(&call->grad_out, 0), d = cm3__dim(&call->grad_out, 1);
    const bool affine = cm3__has(&call->in[1]);
    const float *x = affine ? call->in[0].data : call->out[0].data, *dy = call->grad_out.data,
                *gain = affine ? call->in[1].data : NULL;
    const float *rstd = call->out[1].data, *mean = affine && centered ? call->out[2].data : NULL;
    float *dx = call->grad_in[0].data, *sums = (float *)call->workspace + first / rows_of_piece(n, d) * 2 * d;
    const cm3_simd *simd = cm3__simd();
    if (affine) memset(sums, 0, (size_t)(2 * d) * sizeof *sums);
    for (int64_t i = first; i < last; i++)
        simd->norm_backward(&(cm3__norm_row){.d = d,
                                             .centered = centered,
                                             .x = x + i * d,
                                             .gain = gain,
                                             .shift = mean ? mean[i] : 0,
                                             .factor = affine ? rstd[i] : 1,
                                             .inverse_deviation = rstd[i],
                                             .dy = dy + i * d,
                                             .dx = dx ? dx + i * d : NULL,
                                             .accumulate = call->accumulate[0],
                                             .dgain = call->grad_in[1].data ? sums : NULL,
                                             .dbias = centered && call->grad_in[2].data ? sums + d : NULL});
}

static void layer_norm_forward_rows(const void *call, int64_t first, int64_t last) {
    forward_rows(call, true, first, last);
}

static void layer_norm_backward_rows(const void *call, int64_t first, int64_t last) {
    backward_rows(call, true, first, last);
}

static void rms_norm_forward_rows(const void *call, int64_t first, int64_t last) {
    forward_rows(call, false, first, last);
}

static void rms_norm_backward_rows(const void *call, int64_t first, int64_t last) {
    backward_rows(call, false, first, last);
}

static cm3_status forward_by(const cm3_call *call, cm3_piece_function rows) {
    cm3_parallel_for(cm3__dim(&call->in[0], 0), cm3__grain(cm3__dim(&call->in[0], 1)), rows, call);
    return CM3_OK;
}

static cm3_status backward_by(const cm3_call *call, cm3_piece_function rows, bool centered) {
    const int64_t n = cm3__dim(&call->grad_out, 0), d = cm3__dim(&call->grad_out, 1), pieces = pieces_of(n, d);
    const float *sums = call->workspace;
    cm3_parallel_for(n, rows_of_piece(n, d), rows, call);
    add_partials(call->grad_in[1].data, sums, pieces, 2 * d, d, call->accumulate[1]);
    if (centered) add_partials(call->grad_in[2].data, sums + d, pieces, 2 * d, d, call->accumulate[2]);
    return CM3_OK;
}

static cm3_status layer_norm_forward(const cm3_call *call) {
    return forward_by(call, layer_norm_forward_rows);
}

static cm3_status layer_norm_backward(const cm3_call *call) {
    return backward_by(call, layer_norm_backward_rows, true);
}

static cm3_status rms_norm_forward(const cm3_call *call) {
    return forward_by(call, rms_norm_forward_rows);
}

static cm3_status rms_norm_backward(const cm3_call *call) {
    return backward_by(call, rms_norm_backward_rows, false);
}

const cm3_kernel cm3__cpu_layer_norm = {
    .forward = layer_norm_forward, .backward = layer_norm_backward, .backward_workspace = backward_workspace};
const cm3_kernel cm3__cpu_rms_norm = {
    .forward = rms_norm_forward, .backward = rms_norm_backward, .backward_workspace = backward_workspace};

/* --- QK_NORM: every head of q and k is a row of its own ---------------------------------------------------------- */

/* Rows 0 .. H-1 of the gains are q's, the next G are k's. */
static const float *head_row(const cm3_call *call, const cm3__packed *s, int64_t head, int q_input) {
    const float *q = call->in[q_input].data, *k = call->in[q_input + 2].data;
    return head < s->heads ? q + head * s->d : k + (head - s->heads) * s->d;
}

static size_t qk_norm_forward_workspace(const cm3_call *call) {
    return cm3__has(&call->in[5]) ? cm3__rope_workspace(call) : 0;
}

typedef struct qk_norm {
    const cm3_call *call;
    cm3__packed shape;
    cm3__rope rope; /* no table: none */
    float *sums;    /* backward: (pieces, qk_norm_floats) */
} qk_norm;

static qk_norm qk_norm_of(const cm3_call *call, double direction) {
    qk_norm q = {.call = call, .shape = cm3__packed_of(call)};
    if (cm3__has(&call->in[5])) q.rope = cm3__rope_of(call, call->in[5].data, direction, call->workspace);
    q.sums = (float *)((char *)call->workspace + qk_norm_forward_workspace(call));
    return q;
}

static void qk_norm_forward_rows(const void *context, int64_t first, int64_t last) {
    const qk_norm *q = context;
    const cm3_call *call = q->call;
    const cm3__packed s = q->shape;
    const int64_t normed = s.heads + s.kv_heads, values = s.kv_heads * s.d;
    const float *x = call->in[0].data;
    float *y = call->out[0].data, *stats = call->out[1].data;
    const cm3_simd *simd = cm3__simd();
    for (int64_t i = first; i < last; i++) {
        for (int64_t h = 0; h < normed; h++) {
            float *stat = stats + (i * normed + h) * 2, *head = y + i * s.width + h * s.d;
            simd->norm_forward(&(cm3__norm_row){.d = s.d,
                                                .centered = true,
                                                .x = x + i * s.width + h * s.d,
                                                .gain = head_row(call, &s, h, 1),
                                                .bias = head_row(call, &s, h, 2),
                                                .epsilon = call->attr->epsilon,
                                                .y = head,
                                                .mean = stat,
                                                .rstd = stat + 1});
            const float *cosine = q->rope.table ? cm3__rope_row(&q->rope, i) : NULL;
            if (cosine) simd->rotate(head, head, cosine, cosine + s.d / 2, false, s.d / 2);
        }
        memmove(y + (i + 1) * s.width - values, x + (i + 1) * s.width - values, (size_t)values * sizeof *y);
    }
}

static cm3_status qk_norm_forward(const cm3_call *call) {
    const qk_norm q = qk_norm_of(call, 1);
    cm3_parallel_for(q.shape.rows, cm3__grain(q.shape.width), qk_norm_forward_rows, &q);
    return CM3_OK;
}

/* Floats of a piece: sums of gains and biases, and a head of dy rotated back. */
static int64_t qk_norm_floats(const cm3__packed *s) {
    return (2 * (s->heads + s->kv_heads) + 1) * s->d;
}

/* Of the rope's table, then of the pieces. */
static size_t qk_norm_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return qk_norm_forward_workspace(call) + (size_t)(pieces_of(s.rows, s.width) * qk_norm_floats(&s)) * sizeof(float);
}

static void qk_norm_backward_row(const cm3_call *call, const cm3__packed *s, const cm3_simd *simd, int64_t i,
                                 const float *cosine, float *dgain) {
    const int64_t normed = s->heads + s->kv_heads;
    float *dbias = dgain + normed * s->d, *rotated = dbias + normed * s->d;
    const float *x = (const float *)call->in[0].data + i * s->width,
                *dy = (const float *)call->grad_out.data + i * s->width;
    float *dx = call->grad_in[0].data ? (float *)call->grad_in[0].data + i * s->width : NULL;
    for (int64_t h = 0; h < normed; h++) {
        const float *stat = (const float *)call->out[1].data + (i * normed + h) * 2;
        if (cosine) simd->rotate(rotated, dy + h * s->d, cosine, cosine + s->d / 2, false, s->d / 2);
        simd->norm_backward(&(cm3__norm_row){.d = s->d,
                                             .centered = true,
                                             .x = x + h * s->d,
                                             .gain = head_row(call, s, h, 1),
                                             .shift = stat[0],
                                             .factor = stat[1],
                                             .inverse_deviation = stat[1],
                                             .dy = cosine ? rotated : dy + h * s->d,
                                             .dx = dx ? dx + h * s->d : NULL,
                                             .accumulate = call->accumulate[0],
                                             .dgain = dgain + h * s->d,
                                             .dbias = dbias + h * s->d});
    }
    if (!dx) return;
    for (int64_t c = normed * s->d; c < s->width; c++) dx[c] = call->accumulate[0] ? dx[c] + dy[c] : dy[c];
}

static void qk_norm_backward_rows(const void *context, int64_t first, int64_t last) {
    const qk_norm *q = context;
    const cm3__packed *s = &q->shape;
    const int64_t count = qk_norm_floats(s);
    float *sums = q->sums + first / rows_of_piece(s->rows, s->width) * count;
    const cm3_simd *simd = cm3__simd();
    memset(sums, 0, (size_t)count * sizeof *sums);
    for (int64_t i = first; i < last; i++)
        qk_norm_backward_row(q->call, s, simd, i, q->rope.table ? cm3__rope_row(&q->rope, i) : NULL, sums);
}

static cm3_status qk_norm_backward(const cm3_call *call) {
    const qk_norm q = qk_norm_of(call, -1);
    const cm3__packed *s = &q.shape;
    const int64_t gains = (s->heads + s->kv_heads) * s->d, pieces = pieces_of(s->rows, s->width);
    cm3_parallel_for(s->rows, rows_of_piece(s->rows, s->width), qk_norm_backward_rows, &q);
    for (int i = 1; i <= 4; i++) { /* q gain, q bias, k gain, k bias */
        const int64_t offset = (i % 2 ? 0 : gains) + (i < 3 ? 0 : s->heads * s->d);
        add_partials(call->grad_in[i].data, q.sums + offset, pieces, qk_norm_floats(s),
                     (i < 3 ? s->heads : s->kv_heads) * s->d, call->accumulate[i]);
    }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_qk_norm = {.forward = qk_norm_forward,
                                     .backward = qk_norm_backward,
                                     .forward_workspace = qk_norm_forward_workspace,
                                     .backward_workspace = qk_norm_workspace};
