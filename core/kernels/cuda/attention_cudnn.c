#include "core/kernels/cuda/attention_cudnn.h"

#include "core/kernels/cuda/attention_cudnn_plan.h"
#include "core/kernels/cuda/workspace.h"

#include <math.h>

static cm3_status run(const cm3_call *call, bool backward) {
    cm3__attention_shape s;
    if (!cm3__cudnn_attention_shape(call, backward, &s))
        return cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN does not take this attention");
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
                                               [CM3__DQ_SUM] = delta + cm3__cudnn_attention_delta_bytes(&s),
                                               [CM3__SCALE] = &scale,
                                               [CM3__HIDDEN] = &hidden,
                                               [CM3__ONE] = &one};
    return cm3__cudnn_run(&cm3__cudnn_of_attention, &s, address, delta + cm3__cudnn_attention_sum_bytes(&s));
}

static cm3_status forward(const cm3_call *call) {
    return run(call, false);
}

static cm3_status backward(const cm3_call *call) {
    return run(call, true);
}

const cm3_kernel cm3__cudnn_attention = {forward, backward, cm3__cudnn_attention_forward_workspace,
                                         cm3__cudnn_attention_backward_workspace};
