#include "tests/support/simt/simt_cudnn.h"

#include "core/kernels/cuda/attention_cudnn_plan.h"
#include "core/kernels/cuda/attention_plain.h"
#include "core/kernels/cuda/conv2d_cudnn_plan.h"


extern "C" simt_cudnn *simt_cudnn_now(void) {
    static simt_cudnn now;
    return &now;
}

/* A result, off by as much as the test wants. */
template <typename T> static void falsify(void *result, int64_t count) {
    const simt_cudnn *now = simt_cudnn_now();
    const float by = (1 + now->error) * (1 + (now->runs % 2 ? now->noise : 0));
    if (by == 1) return;
    simt_queue([=] {
        T *x = (T *)result;
        for (int64_t i = 0; i < count; i++) x[i] = from_float<T>(to_float(x[i]) * by);
    });
}

/* --- attention --------------------------------------------------------------------------------------------------- */

static attention<bf16> attention_of(const cm3__attention_shape &s, void *const address[]) {
    attention<bf16> a = {};
    a.batch = s.batch;
    a.heads = s.heads;
    a.kv_heads = s.kv_heads;
    a.d = s.d;
    a.queries = a.keys = s.sequence;
    a.causal = s.causal;
    a.scale = *(const float *)address[CM3__SCALE];
    a.q = (const bf16 *)address[CM3__Q];
    a.k = (const bf16 *)address[CM3__K];
    a.v = (const bf16 *)address[CM3__V];
    a.q_row = a.k_row = (s.heads + 2 * s.kv_heads) * s.d;
    a.k_batch = s.sequence * a.q_row;
    a.y = (bf16 *)address[CM3__Y];
    a.lse = (float *)address[CM3__LSE];
    a.dy = (const bf16 *)address[CM3__DY];
    a.delta = (float *)address[CM3__DELTA];
    a.dq = (bf16 *)address[CM3__DQ];
    a.dk = (bf16 *)address[CM3__DK];
    a.dv = (bf16 *)address[CM3__DV];
    return a;
}

static void sum_y_dy(const attention<bf16> &a) {
    for (int64_t row = 0; row < a.batch * a.queries * a.heads; row++) { /* (b, t, head) */
        const int64_t head = row % a.heads, t = row / a.heads % a.queries, b = row / a.heads / a.queries;
        float sum = 0;
        for (int64_t c = 0; c < a.d; c++) sum += to_float(a.y[row * a.d + c]) * to_float(a.dy[row * a.d + c]);
        a.delta[(b * a.heads + head) * a.queries + t] = sum;
    }
}

static void run_attention(const cm3__attention_shape &s, void *const address[]) {
    const attention<bf16> a = attention_of(s, address);
    const int64_t rows = s.batch * s.sequence;
    if (!s.backward) {
        run_plain_forward(a);
        falsify<bf16>(a.y, rows * s.heads * s.d);
        return;
    }
    void *sums = address[CM3__DQ_SUM];
    simt_queue([=] { memset(sums, 0xFF, (size_t)(rows * a.heads * a.d) * sizeof(float)); });
    simt_queue([=] { sum_y_dy(a); });
    run_plain_backward(a);
    falsify<bf16>(a.dq, rows * a.q_row);
}

/* --- convolutions ------------------------------------------------------------------------------------------------ */

/* Every multiplication of a convolution, in one order: x, weight and y by their places. */
template <typename Term> static void for_terms(const cm3__conv2d_shape &s, Term term) {
    for (int64_t i = 0; i < s.batch * s.out_rows * s.out_columns * s.outputs; i++) {
        const int64_t o = i % s.outputs, at = i / s.outputs, image = at / (s.out_rows * s.out_columns);
        for (int64_t tap = 0; tap < s.kernel * s.kernel; tap++) {
            const int64_t row = at / s.out_columns % s.out_rows * s.stride - s.pad + tap / s.kernel;
            const int64_t column = at % s.out_columns * s.stride - s.pad + tap % s.kernel;
            if (row < 0 || row >= s.rows || column < 0 || column >= s.columns) continue;
            for (int64_t c = 0; c < s.channels; c++)
                term(((image * s.rows + row) * s.columns + column) * s.channels + c,
                     (o * s.kernel * s.kernel + tap) * s.channels + c, i);
        }
    }
}

static void convolve(const cm3__conv2d_shape &s, float *x, float *weight, float *y, const float *bias) {
    const int64_t results = s.batch * s.out_rows * s.out_columns * s.outputs;
    const int64_t images = s.batch * s.rows * s.columns * s.channels;
    const int64_t weights = s.outputs * s.kernel * s.kernel * s.channels;
    switch (s.pass) {
    case CM3__CONV2D_FORWARD:
        for (int64_t i = 0; i < results; i++) y[i] = bias ? bias[i % s.outputs] : 0;
        for_terms(s, [=](int64_t at_x, int64_t at_w, int64_t at_y) { y[at_y] += x[at_x] * weight[at_w]; });
        break;
    case CM3__CONV2D_OF_IMAGES:
        for (int64_t i = 0; i < images && !s.accumulate; i++) x[i] = 0;
        for_terms(s, [=](int64_t at_x, int64_t at_w, int64_t at_y) { x[at_x] += y[at_y] * weight[at_w]; });
        break;
    case CM3__CONV2D_OF_WEIGHTS:
        for (int64_t i = 0; i < weights && !s.accumulate; i++) weight[i] = 0;
        for_terms(s, [=](int64_t at_x, int64_t at_w, int64_t at_y) { weight[at_w] += y[at_y] * x[at_x]; });
        break;
    }
}

static void run_conv2d(const cm3__conv2d_shape &s, void *const address[]) {
    float *x = (float *)address[CM3__CONV2D_X], *weight = (float *)address[CM3__CONV2D_WEIGHT];
    float *y = (float *)address[CM3__CONV2D_Y], *bias = s.bias ? (float *)address[CM3__CONV2D_BIAS] : nullptr;
    simt_queue([=] { convolve(s, x, weight, y, bias); });
    if (s.pass == CM3__CONV2D_FORWARD)
        falsify<float>(y, s.batch * s.out_rows * s.out_columns * s.outputs);
    else if (s.pass == CM3__CONV2D_OF_IMAGES)
        falsify<float>(x, s.batch * s.rows * s.columns * s.channels);
    else
        falsify<float>(weight, s.outputs * s.kernel * s.kernel * s.channels);
}

/* --- what cudnn_run.h declares ----------------------------------------------------------------------------------- */

extern "C" bool cm3__cudnn_is_wanted(void) {
    return simt_cudnn_now()->there;
}

extern "C" cm3_status cm3__cudnn_run(const cm3__cudnn_operation *operation, const void *shape, void *const address[],
                                     void *workspace) {
    const double began = simt_clock;
    const size_t bytes = (size_t)operation->room(shape) + CM3__CUDNN_ALIGNMENT;
    for (int i = 1; i < CM3__CUDNN_TENSORS; i++)
        if ((uintptr_t)address[i] % 16 && (operation != &cm3__cudnn_of_attention || i < CM3__SCALE))
            return cm3_fail(CM3_ERR_INTERNAL, "%s: tensor %d is not aligned", operation->name, i);
    simt_queue([=] { memset(workspace, 0xFF, bytes); });
    if (operation == &cm3__cudnn_of_attention)
        run_attention(*(const cm3__attention_shape *)shape, address);
    else
        run_conv2d(*(const cm3__conv2d_shape *)shape, address);
    simt_cudnn_now()->runs++;
    simt_clock = began + simt_cudnn_now()->seconds;
    return CM3_OK;
}
