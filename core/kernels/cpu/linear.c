#include "core/kernels/cpu/kernel.h"

typedef struct finish {
    const cm3_simd *simd;
    float *y, *pre;               /* (N,M); pre may be NULL */
    const float *bias, *residual; /* NULL: none, or a residual that is already in y */
    uint32_t *mask;               /* RELU; may be NULL */
    int64_t width;
    cm3_activation activation;
} finish;

/* Row i of the mask of a matrix of that width, from a column on, which begins a word. */
static uint32_t *mask_at(uint32_t *mask, int64_t width, int64_t i, int64_t column) {
    return mask + i * CM3_MASK_WORDS(width) + column / CM3__GEMM_WORD;
}

static void finish_piece(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const finish *f = context;
    for (int64_t i = row; i < row + rows; i++) {
        const int64_t at = i * f->width + column;
        f->simd->bias_activate(f->y + at, f->pre ? f->pre + at : NULL, f->bias ? f->bias + column : NULL, f->activation,
                               columns);
        if (f->mask) f->simd->mask_make(mask_at(f->mask, f->width, i, column), f->y + at, columns);
        if (!f->residual) continue;
        for (int64_t c = 0; c < columns; c++) f->y[at + c] += f->residual[at + c];
    }
}

static cm3_status forward(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->in[0], 0), k = cm3__dim(&call->in[0], 1), m = cm3__dim(&call->in[1], 0);
    float *y = call->out[0].data;
    const bool in_place = call->in[3].data == y, relu = call->attr->activation == CM3_ACT_RELU;
    finish f = {.simd = cm3__simd(),
                .y = y,
                .pre = relu ? NULL : call->out[1].data,
                .mask = relu ? call->out[1].data : NULL,
                .bias = call->in[2].data,
                .residual = in_place ? NULL : call->in[3].data,
                .width = m,
                .activation = call->attr->activation};
    const bool something = f.pre || f.bias || f.residual || f.activation != CM3_ACT_NONE;
    cm3__gemm(&(cm3_gemm){.m = n,
                          .n = m,
                          .k = k,
                          .a = call->in[0].data,
                          .b = call->in[1].data,
                          .c = y,
                          .b_transposed = true,
                          .accumulate = in_place,
                          .epilogue = something ? finish_piece : NULL,
                          .context = &f});
    return CM3_OK;
}

/* Gradient of what the product gave, in place of the gradient of what the activation gave. */
static void activation_backward(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const cm3_activation act = call->attr->activation;
    const int64_t m = cm3__dim(&call->in[1], 0);
    uint32_t *mask = call->out[1].data; /* RELU's; other activations leave what they were given */
    const float *pre = call->out[1].data;
    float *g = call->grad_out.data;
    const cm3_simd *simd = cm3__simd();
    for (int64_t i = first; i < last; i++) {
        if (act == CM3_ACT_RELU)
            simd->mask_apply(g + i * m, mask_at(mask, m, i, 0), m);
        else
            simd->activate_backward(g + i * m, g + i * m, pre + i * m, act, false, m);
    }
}

/* What comes after the product that gives x's gradient, where RELU made x. */
typedef struct masking {
    const cm3_simd *simd;
    float *grad; /* (N,K) */
    uint32_t *mask;
    int64_t width;
} masking;

static void mask_piece(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const masking *m = context;
    for (int64_t i = row; i < row + rows; i++)
        m->simd->mask_apply(m->grad + i * m->width + column, mask_at(m->mask, m->width, i, column), columns);
}

/* Gradient of the bias: sums of columns, to which rows are added in order. */
static void bias_backward(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t n = cm3__dim(&call->in[0], 0), m = cm3__dim(&call->in[1], 0);
    const float *g = call->grad_out.data;
    float *sum = call->grad_in[2].data;
    for (int64_t c = first; c < last && !call->accumulate[2]; c++) sum[c] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = first; c < last; c++) sum[c] += g[i * m + c];
}

static cm3_status backward(const cm3_call *call) {
    enum { COLUMNS = 64 };
    const int64_t n = cm3__dim(&call->in[0], 0), k = cm3__dim(&call->in[0], 1), m = cm3__dim(&call->in[1], 0);
    const float *g = call->grad_out.data;
    cm3__add_to(call->grad_in[3].data, g, n * m, call->accumulate[3]);
    if (call->attr->activation != CM3_ACT_NONE && !call->attr->masked)
        cm3_parallel_for(n, cm3__grain(m), activation_backward, call);
    if (call->grad_in[2].data) cm3_parallel_for(m, COLUMNS, bias_backward, call);
    if (call->grad_in[1].data)
        cm3__gemm(&(cm3_gemm){.m = m,
                              .n = k,
                              .k = n,
                              .a = g,
                              .b = call->in[0].data,
                              .c = call->grad_in[1].data,
                              .a_transposed = true,
                              .accumulate = call->accumulate[1]});
    masking after = {.simd = cm3__simd(), .grad = call->grad_in[0].data, .mask = call->in[4].data, .width = k};
    if (call->grad_in[0].data)
        cm3__gemm(&(cm3_gemm){.m = n,
                              .n = k,
                              .k = m,
                              .a = g,
                              .b = call->in[1].data,
                              .c = call->grad_in[0].data,
                              .accumulate = call->accumulate[0],
                              .epilogue = after.mask ? mask_piece : NULL,
                              .context = &after});
    return CM3_OK;
}

const cm3_kernel cm3__cpu_linear = {.forward = forward, .backward = backward};
