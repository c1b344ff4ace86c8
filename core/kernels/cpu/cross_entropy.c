/* LINEAR_CROSS_ENTROPY: the logits of a few rows at a time become losses and then, in place, their own gradient. */
#include "core/kernels/cpu/kernel.h"

typedef struct shape {
    int64_t n, d, vocabulary, rows; /* rows: of one chunk */
} shape;

static shape shape_of(const cm3_call *call) {
    enum { MOST_BYTES = 128 << 20, FEWEST = 64 };
    shape s = {cm3__dim(&call->in[0], 0), cm3__dim(&call->in[0], 1), cm3__dim(&call->in[1], 0), 0};
    int64_t most =
        MOST_BYTES / (s.vocabulary * (int64_t)sizeof(float)); /* >= 512 rows of 65,536: products near full speed */
    if (most < FEWEST) most = FEWEST;
    const int64_t chunks = (s.n + most - 1) / most;
    s.rows = chunks > 0 ? (s.n + chunks - 1) / chunks : 1;
    return s;
}

/* Each row's loss of a chunk as double, then its logits. */
static size_t workspace(const cm3_call *call) {
    const shape s = shape_of(call);
    return ((size_t)s.rows * sizeof(double) + 63) / 64 * 64 + (size_t)(s.rows * s.vocabulary) * sizeof(float);
}

static cm3_status check(const shape *s, const int32_t *targets) {
    for (int64_t i = 0; i < s->n; i++)
        if (targets[i] >= s->vocabulary)
            return cm3_fail(CM3_ERR_SHAPE, "linear_cross_entropy: target %d at row %lld, but the vocabulary has %lld",
                            targets[i], (long long)i, (long long)s->vocabulary);
    return CM3_OK;
}

/* The loss of one row (0 if ignored) times its weight; with `slope`, its logits become their gradient times slope. */
static double finish_row(const cm3_simd *simd, float *logits, int32_t target, float weight, const shape *s,
                         float z_loss, const float *slope, float *ce) {
    *ce = 0;
    if (target < 0) {
        for (int64_t v = 0; v < s->vocabulary && slope; v++) logits[v] = 0;
        return 0;
    }
    float lse;
    simd->log_sum_exp(&lse, logits, s->vocabulary);
    *ce = lse - logits[target];
    if (slope) {
        const float of_row = *slope * weight;
        simd->softmax_scaled(logits, lse, of_row * (1 + 2 * z_loss * lse), s->vocabulary);
        logits[target] -= of_row;
    }
    return (double)weight * ((double)*ce + (double)z_loss * lse * lse);
}

typedef struct chunk {
    const shape *s;
    float *logits, *ce;   /* (rows, V); (rows) or NULL */
    const float *weights; /* (rows) or NULL */
    const int32_t *targets;
    double *losses;
    float z_loss;
    const float *slope;
} chunk;

static void finish_rows(const void *context, int64_t first, int64_t last) {
    const chunk *c = context;
    const cm3_simd *simd = cm3__simd();
    float unused;
    for (int64_t i = first; i < last; i++)
        c->losses[i] = finish_row(simd, c->logits + i * c->s->vocabulary, c->targets[i], c->weights ? c->weights[i] : 1,
                                  c->s, c->z_loss, c->slope, c->ce ? c->ce + i : &unused);
}

/* `slope` NULL: no gradients. */
static cm3_status run(const cm3_call *call, const float *slope) {
    const shape s = shape_of(call);
    const float *hidden = call->in[0].data, *table = call->in[1].data;
    const int32_t *targets = call->in[2].data;
    const float *weights = call->in[4].data;
    float *ce = call->out[1].data, *dhidden = call->grad_in[0].data, *dtable = call->grad_in[1].data;
    double *losses = call->workspace, sum = 0;
    float *logits = (float *)((char *)call->workspace + ((size_t)s.rows * sizeof(double) + 63) / 64 * 64);
    CM3_TRY(check(&s, targets));
    for (int64_t first = 0; first < s.n; first += s.rows) {
        const int64_t rows = s.n - first < s.rows ? s.n - first : s.rows;
        cm3__gemm(&(cm3_gemm){.m = rows,
                              .n = s.vocabulary,
                              .k = s.d,
                              .a = hidden + first * s.d,
                              .b = table,
                              .c = logits,
                              .b_transposed = true});
        const chunk c = {&s,
                         logits,
                         ce ? ce + first : NULL,
                         weights ? weights + first : NULL,
                         targets + first,
                         losses,
                         call->attr->z_loss,
                         slope};
        cm3_parallel_for(rows, cm3__grain(s.vocabulary), finish_rows, &c);
        for (int64_t i = 0; i < rows; i++) sum += losses[i];
        if (slope && dhidden)
            cm3__gemm(&(cm3_gemm){.m = rows,
                                  .n = s.d,
                                  .k = s.vocabulary,
                                  .a = logits,
                                  .b = table,
                                  .c = dhidden + first * s.d,
                                  .accumulate = call->accumulate[0]});
        if (slope && dtable)
            cm3__gemm(&(cm3_gemm){.m = s.vocabulary,
                                  .n = s.d,
                                  .k = rows,
                                  .a = logits,
                                  .b = hidden + first * s.d,
                                  .c = dtable,
                                  .a_transposed = true,
                                  .accumulate = call->accumulate[1] || first > 0});
    }
    *(float *)call->out[0].data = (float)(*(const float *)call->in[3].data * sum);
    return CM3_OK;
}

static cm3_status forward(const cm3_call *call) {
    return run(call, NULL);
}

static cm3_status backward(const cm3_call *call) {
    const float slope = *(const float *)call->in[3].data * *(const float *)call->grad_out.data;
    return run(call, &slope);
}

const cm3_kernel cm3__cpu_linear_cross_entropy = {
    .forward = forward, .backward = backward, .forward_workspace = workspace, .backward_workspace = workspace};
