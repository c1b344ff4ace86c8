/* Memory that cuDNN may use, by shapes alone: memory is planned where there is neither a GPU nor cuDNN. */
#include "core/kernels/cuda/attention_cudnn_plan.h"
#include "core/kernels/cuda/conv2d_cudnn_plan.h"
#include "core/kernels/cuda/workspace.h"

#include <stdlib.h>
#include <string.h>

#ifndef CM3_SIMT /* there the test says it */
bool cm3__cudnn_is_wanted(void) {
    const char *wanted = getenv("CM3_CUDNN");
    return !(wanted && !strcmp(wanted, "0"));
}
#endif

/* --- attention: backward, DELTA and DQ_SUM; then the plan's own -------------------------------------------------- */

bool cm3__cudnn_attention_shape(const cm3_call *call, bool backward, cm3__attention_shape *shape) {
    enum { SEQUENCE_STEP = 128, MOST_D = 128 };
    const cm3_op_attr *attr = call->attr;
    const int64_t *dim = call->in[0].shape.dim;
    *shape = (cm3__attention_shape){.batch = dim[0] / attr->sequence,
                                    .heads = attr->heads,
                                    .kv_heads = attr->kv_heads,
                                    .sequence = attr->sequence,
                                    .d = dim[1] / (attr->heads + 2 * attr->kv_heads),
                                    .causal = attr->causal,
                                    .backward = backward};
    return cm3__cudnn_is_wanted() && call->in[0].type == CM3_BF16 && shape->sequence % SEQUENCE_STEP == 0 &&
           shape->d % 8 == 0 && shape->d <= MOST_D;
}

size_t cm3__cudnn_attention_delta_bytes(const cm3__attention_shape *s) {
    const size_t bytes = (size_t)(s->batch * s->heads * s->sequence) * sizeof(float), unit = CM3__CUDNN_ALIGNMENT;
    return (bytes + unit - 1) / unit * unit;
}

size_t cm3__cudnn_attention_sum_bytes(const cm3__attention_shape *s) {
    return s->backward ? cm3__cudnn_attention_delta_bytes(s) * (size_t)(1 + s->d) : 0;
}

/* Counters; and dk and dv of each head, where heads share them. */
int64_t cm3__cudnn_attention_room(const void *shape) {
    const cm3__attention_shape *s = shape;
    const bool apart = s->backward && s->kv_heads < s->heads;
    return 1024 + (apart ? 2 * s->batch * s->heads * s->sequence * s->d * (int64_t)sizeof(uint16_t) : 0);
}

static size_t attention_bytes(const cm3_call *call, bool backward) {
    cm3__attention_shape s;
    if (!cm3__cudnn_attention_shape(call, backward, &s)) return 0;
    return cm3__cudnn_attention_sum_bytes(&s) + (size_t)cm3__cudnn_attention_room(&s) + CM3__CUDNN_ALIGNMENT;
}

size_t cm3__cudnn_attention_forward_workspace(const cm3_call *call) {
    return attention_bytes(call, false);
}

size_t cm3__cudnn_attention_backward_workspace(const cm3_call *call) {
    return attention_bytes(call, true);
}

/* --- convolutions: any pass may want room for all tensors -------------------------------------------------------- */

cm3__conv2d_shape cm3__cudnn_conv2d_shape(const cm3_call *call, cm3__conv2d_pass pass) {
    const cm3_tensor *result = pass == CM3__CONV2D_FORWARD ? &call->out[0] : &call->grad_out;
    const int64_t *x = call->in[0].shape.dim, *w = call->in[1].shape.dim, *y = result->shape.dim;
    return (cm3__conv2d_shape){.pass = pass,
                               .batch = x[0],
                               .rows = x[1],
                               .columns = x[2],
                               .channels = x[3],
                               .out_rows = y[1],
                               .out_columns = y[2],
                               .outputs = y[3],
                               .kernel = w[1],
                               .stride = call->attr->stride,
                               .pad = call->attr->pad,
                               .pad_after = call->attr->pad_after,
                               .bias = pass == CM3__CONV2D_FORWARD && call->in[2].shape.rank > 0};
}

/* Engines that compute with channels outermost turn images, results and weights round first: they get what that
 * takes, and counters, up to a limit. Above it only engines are left that read what is there. */
int64_t cm3__cudnn_conv2d_room(const void *shape) {
    const cm3__conv2d_shape *s = shape;
    const int64_t limit = 1 << 30, counters = 64 << 10;
    const int64_t images = s->batch * s->rows * s->columns * s->channels;
    const int64_t results = s->batch * s->out_rows * s->out_columns * s->outputs;
    const int64_t weights = s->outputs * s->kernel * s->kernel * s->channels;
    const int64_t bytes = (images + results + weights) * (int64_t)sizeof(float) + counters;
    return bytes < limit ? bytes : limit;
}

static size_t conv2d_bytes(const cm3_call *call, cm3__conv2d_pass pass) {
    const cm3__conv2d_shape s = cm3__cudnn_conv2d_shape(call, pass);
    return cm3__cudnn_is_wanted() ? (size_t)cm3__cudnn_conv2d_room(&s) + CM3__CUDNN_ALIGNMENT : 0;
}

size_t cm3__cudnn_conv2d_forward_workspace(const cm3_call *call) {
    return conv2d_bytes(call, CM3__CONV2D_FORWARD);
}

size_t cm3__cudnn_conv2d_backward_workspace(const cm3_call *call) {
    return conv2d_bytes(call, CM3__CONV2D_OF_WEIGHTS);
}
