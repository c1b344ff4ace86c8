/* LAYER_NORM, RMS_NORM and QK_NORM: rows of one kind (core/kernels/cpu/simd/norm.h). */
#include "core/kernels/cpu/turn.h"

#include <string.h>

/* --- gradients of gain and bias ---------------------------------------------------------------------------------- */

/* Threads sum rows apart, into `partial` (threads, count); then the sums of the threads are added in their order. */
static void add_partials(float *grad, const float *partial, int threads, int64_t stride, int64_t count,
                         bool accumulate) {
    for (int64_t i = 0; i < count; i++) {
        float sum = 0;
        for (int t = 0; t < threads; t++) sum += partial[t * stride + i];
        grad[i] = accumulate ? grad[i] + sum : sum;
    }
}

/* --- LAYER_NORM and RMS_NORM ------------------------------------------------------------------------------------- */

static void forward_rows(const cm3_call *call, bool centered) {
    const int64_t n = cm3__dim(&call->in[0], 0), d = cm3__dim(&call->in[0], 1);
    const float *x = call->in[0].data;
    float *y = call->out[0].data, *rstd = call->out[1].data, *mean = centered ? call->out[2].data : NULL;
    const cm3_simd *simd = cm3__simd();
#pragma omp parallel for schedule(static) num_threads(cm3__threads(n, d))
    for (int64_t i = 0; i < n; i++) {
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
    return cm3__has(&call->in[1]) ? (size_t)(omp_get_max_threads() * 2 * cm3__dim(&call->in[0], 1)) * sizeof(float) : 0;
}

static void backward_rows(const cm3_call *call, bool centered) {
    const int64_t n = cm3__dim(&call->grad_out, 0), d = cm3__dim(&call->grad_out, 1);
    const bool affine = cm3__has(&call->in[1]);
    const float *x = affine ? call->in[0].data : call->out[0].data, *dy = call->grad_out.data,
                *gain = affine ? call->in[1].data : NULL;
    const float *rstd = call->out[1].data, *mean = affine && centered ? call->out[2].data : NULL;
    float *dx = call->grad_in[0].data, *dgain = call->grad_in[1].data, *dbias = centered ? call->grad_in[2].data : NULL;
    float *partial = call->workspace;
    const cm3_simd *simd = cm3__simd();
    const int threads = cm3__threads(n, d);
    if (affine) memset(partial, 0, (size_t)(threads * 2 * d) * sizeof *partial);
#pragma omp parallel num_threads(threads)
    {
        int64_t first, last;
        cm3__my_share(n, 1, &first, &last);
        float *mine = partial + omp_get_thread_num() * 2 * d;
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
                                                 .dgain = dgain ? mine : NULL,
                                                 .dbias = dbias ? mine + d : NULL});
    }
    if (dgain) add_partials(dgain, partial, threads, 2 * d, d, call->accumulate[1]);
    if (dbias) add_partials(dbias, partial + d, threads, 2 * d, d, call->accumulate[2]);
}

static cm3_status layer_norm_forward(const cm3_call *call) {
    forward_rows(call, true);
    return CM3_OK;
}

static cm3_status layer_norm_backward(const cm3_call *call) {
    backward_rows(call, true);
    return CM3_OK;
}

static cm3_status rms_norm_forward(const cm3_call *call) {
    forward_rows(call, false);
    return CM3_OK;
}

static cm3_status rms_norm_backward(const cm3_call *call) {
    backward_rows(call, false);
    return CM3_OK;
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
    return cm3__has(&call->in[5]) ? cm3__turn_workspace(call) : 0;
}

static cm3_status qk_norm_forward(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    const bool turns = cm3__has(&call->in[5]);
    cm3__turn turn = {0};
    if (turns) turn = cm3__turn_of(call, call->in[5].data, 1, call->workspace);
    const int64_t normed = s.heads + s.kv_heads, values = s.kv_heads * s.d;
    const float *x = call->in[0].data;
    float *y = call->out[0].data, *stats = call->out[1].data;
    const cm3_simd *simd = cm3__simd();
#pragma omp parallel for schedule(static) num_threads(cm3__threads(s.rows, s.width))
    for (int64_t i = 0; i < s.rows; i++) {
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
            const float *cosine = turns ? cm3__turn_row(&turn, i) : NULL;
            if (turns) simd->rotate(head, head, cosine, cosine + s.d / 2, false, s.d / 2);
        }
        memmove(y + (i + 1) * s.width - values, x + (i + 1) * s.width - values, (size_t)values * sizeof *y);
    }
    return CM3_OK;
}

/* Floats of one thread: sums of gains and biases, and a head of dy turned back. */
static int64_t qk_norm_floats(const cm3__packed *s) {
    return (2 * (s->heads + s->kv_heads) + 1) * s->d;
}

/* Of the turn, then of the threads. */
static size_t qk_norm_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return qk_norm_forward_workspace(call) + (size_t)(omp_get_max_threads() * qk_norm_floats(&s)) * sizeof(float);
}

static void qk_norm_backward_row(const cm3_call *call, const cm3__packed *s, const cm3_simd *simd, int64_t i,
                                 const float *cosine, float *dgain) {
    const int64_t normed = s->heads + s->kv_heads;
    float *dbias = dgain + normed * s->d, *turned = dbias + normed * s->d;
    const float *x = (const float *)call->in[0].data + i * s->width,
                *dy = (const float *)call->grad_out.data + i * s->width;
    float *dx = call->grad_in[0].data ? (float *)call->grad_in[0].data + i * s->width : NULL;
    for (int64_t h = 0; h < normed; h++) {
        const float *stat = (const float *)call->out[1].data + (i * normed + h) * 2;
        if (cosine) simd->rotate(turned, dy + h * s->d, cosine, cosine + s->d / 2, false, s->d / 2);
        simd->norm_backward(&(cm3__norm_row){.d = s->d,
                                             .centered = true,
                                             .x = x + h * s->d,
                                             .gain = head_row(call, s, h, 1),
                                             .shift = stat[0],
                                             .factor = stat[1],
                                             .inverse_deviation = stat[1],
                                             .dy = cosine ? turned : dy + h * s->d,
                                             .dx = dx ? dx + h * s->d : NULL,
                                             .accumulate = call->accumulate[0],
                                             .dgain = dgain + h * s->d,
                                             .dbias = dbias + h * s->d});
    }
    if (!dx) return;
    for (int64_t c = normed * s->d; c < s->width; c++) dx[c] = call->accumulate[0] ? dx[c] + dy[c] : dy[c];
}

static cm3_status qk_norm_backward(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    const int64_t gains = (s.heads + s.kv_heads) * s.d, each = qk_norm_floats(&s);
    const int threads = cm3__threads(s.rows, s.width);
    const bool turns = cm3__has(&call->in[5]);
    float *partial = (float *)((char *)call->workspace + qk_norm_forward_workspace(call));
    const cm3_simd *simd = cm3__simd();
    cm3__turn turn = {0};
    if (turns) turn = cm3__turn_of(call, call->in[5].data, -1, call->workspace);
    memset(partial, 0, (size_t)(threads * each) * sizeof *partial);
#pragma omp parallel num_threads(threads)
    {
        int64_t first, last;
        cm3__my_share(s.rows, 1, &first, &last);
        float *mine = partial + omp_get_thread_num() * each;
        for (int64_t i = first; i < last; i++)
            qk_norm_backward_row(call, &s, simd, i, turns ? cm3__turn_row(&turn, i) : NULL, mine);
    }
    for (int i = 1; i <= 4; i++) { /* q gain, q bias, k gain, k bias */
        const int64_t offset = (i % 2 ? 0 : gains) + (i < 3 ? 0 : s.heads * s.d);
        if (call->grad_in[i].data)
            add_partials(call->grad_in[i].data, partial + offset, threads, each, (i < 3 ? s.heads : s.kv_heads) * s.d,
                         call->accumulate[i]);
    }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_qk_norm = {.forward = qk_norm_forward,
                                     .backward = qk_norm_backward,
                                     .forward_workspace = qk_norm_forward_workspace,
                                     .backward_workspace = qk_norm_workspace};
