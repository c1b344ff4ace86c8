#include "tests/support/simt/attention_cudnn.h"

#include "core/kernels/cuda/attention_plain.h"
extern "C" {
#include "core/kernels/cuda/attention_cudnn.h"
}

extern "C" simt_cudnn *simt_cudnn_now(void) {
    static simt_cudnn now;
    return &now;
}

static void multiply(bf16 *x, int64_t count, float by) {
    for (int64_t i = 0; i < count && by != 1; i++) x[i] = from_float<bf16>(to_float(x[i]) * by);
}

/* Of a run that began at this time: it errs, and takes as long, as the test wants. */
static void finish(double began, const cm3_tensor *result) {
    simt_cudnn *now = simt_cudnn_now();
    const float by = (1 + now->error) * (1 + (now->runs++ % 2 ? now->noise : 0));
    bf16 *x = (bf16 *)result->data;
    const int64_t count = cm3_shape_count(result->shape);
    simt_queue([=] { multiply(x, count, by); });
    simt_clock = began + now->seconds;
}

static void sum_y_dy(const attention<bf16> &a) {
    for (int64_t row = 0; row < a.batch * a.queries * a.heads; row++) { /* (b, t, head) */
        const int64_t head = row % a.heads, t = row / a.heads % a.queries, b = row / a.heads / a.queries;
        float sum = 0;
        for (int64_t c = 0; c < a.d; c++) sum += to_float(a.y[row * a.d + c]) * to_float(a.dy[row * a.d + c]);
        a.delta[(b * a.heads + head) * a.queries + t] = sum;
    }
}

static cm3_status forward(const cm3_call *call) {
    const double began = simt_clock;
    attention<bf16> a = packed_heads<bf16>(call);
    a.lse = (float *)call->out[1].data;
    run_plain_forward(a);
    finish(began, &call->out[0]);
    return CM3_OK;
}

static size_t room(const cm3_call *call) {
    const attention<bf16> a = packed_heads<bf16>(call);
    const bool takes = call->in[0].type == CM3_BF16 && a.d == simt_cudnn_now()->d;
    return takes ? (size_t)(a.batch * a.queries * a.heads * (a.d + 1)) * sizeof(float) : 0;
}

/* All of its workspace is written, delta lies last. */
static cm3_status backward(const cm3_call *call) {
    const double began = simt_clock;
    attention<bf16> a = packed_heads<bf16>(call);
    char *workspace = (char *)call->workspace;
    const size_t sums = (size_t)(a.batch * a.queries * a.heads * a.d) * sizeof(float);
    a.lse = (float *)call->out[1].data;
    a.dy = (const bf16 *)call->grad_out.data;
    a.delta = (float *)(workspace + sums);
    a.dq = (bf16 *)call->grad_in[0].data;
    a.dk = a.dq + a.heads * a.d;
    a.dv = a.dk + a.kv_heads * a.d;
    simt_queue([=] { memset(workspace, 0xFF, sums); });
    simt_queue([=] { sum_y_dy(a); });
    run_plain_backward(a);
    finish(began, &call->grad_in[0]);
    return CM3_OK;
}

extern "C" const cm3_kernel cm3__cudnn_attention = {forward, backward, room, room};
