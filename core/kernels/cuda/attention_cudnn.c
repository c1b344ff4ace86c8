#include "core/kernels/cuda/attention_cudnn.h"

#include "core/kernels/cuda/attention_cudnn_plan.h"

#include <math.h>

enum { ALIGNMENT = 256, SEQUENCE_STEP = 128, MOST_D = 128 };

/* Whether cuDNN may take it. */
static bool shape_of(const cm3_call *call, bool backward, cm3__attention_shape *shape) {
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

/* --- memory: backward, DELTA and DQ_SUM; then the plan's own ----------------------------------------------------- */

static size_t delta_bytes(const cm3__attention_shape *s) {
    const size_t bytes = (size_t)(s->batch * s->heads * s->sequence) * sizeof(float);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t backward_bytes(const cm3__attention_shape *s) {
    return s->backward ? delta_bytes(s) * (size_t)(1 + s->d) : 0;
}

static size_t room(const cm3_call *call, bool backward) {
    cm3__attention_shape s;
    if (!shape_of(call, backward, &s)) return 0;
    return backward_bytes(&s) + cm3__cudnn_room(&cm3__cudnn_of_attention, &s);
}

static size_t forward_room(const cm3_call *call) {
    return room(call, false);
}

static size_t backward_room(const cm3_call *call) {
    return room(call, true);
}

/* --- running ----------------------------------------------------------------------------------------------------- */

static cm3_status run(const cm3_call *call, bool backward) {
    cm3__attention_shape s;
    if (!shape_of(call, backward, &s)) return cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN does not take this attention");
    const int64_t k = s.heads * s.d, v = k + s.kv_heads * s.d; /* elements from the first of a row */
    uint16_t *in = call->in[0].data, *grad = backward ? call->grad_in[0].data : NULL;
    float scale = call->attr->scale, hidden = -INFINITY, one = 1;
    char *delta = call->workspace;
    void *const address[CM3__CUDNN_TENSORS] = {[CM3__Q] = in,
                                               [CM3__K] = in + k,
                                               [CM3__V] = in + v,
                                               [CM3__Y] = call->out[0].data,
                                               [CM3__LSE] = call->out[1].data,
                                               [CM3__DY] = call->grad_out.data,
                                               [CM3__DQ] = grad,
                                               [CM3__DK] = grad ? grad + k : NULL,
                                               [CM3__DV] = grad ? grad + v : NULL,
                                               [CM3__DELTA] = delta,
                                               [CM3__DQ_SUM] = delta + delta_bytes(&s),
                                               [CM3__SCALE] = &scale,
                                               [CM3__HIDDEN] = &hidden,
                                               [CM3__ONE] = &one};
    return cm3__cudnn_run(&cm3__cudnn_of_attention, &s, address, delta + backward_bytes(&s));
}

static cm3_status forward(const cm3_call *call) {
    return run(call, false);
}

static cm3_status backward(const cm3_call *call) {
    return run(call, true);
}

const cm3_kernel cm3__cudnn_attention = {forward, backward, forward_room, backward_room};
