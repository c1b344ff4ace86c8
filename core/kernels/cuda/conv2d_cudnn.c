#include "core/kernels/cuda/conv2d_cudnn.h"

#include "core/kernels/cuda/conv2d_cudnn_plan.h"
#include "core/kernels/cuda/workspace.h"

static cm3_status forward(const cm3_call *call) {
    const cm3__conv2d_shape s = cm3__cudnn_conv2d_shape(call, CM3__CONV2D_FORWARD);
    void *const address[CM3__CUDNN_TENSORS] = {[CM3__CONV2D_X] = call->in[0].data,
                                               [CM3__CONV2D_WEIGHT] = call->in[1].data,
                                               [CM3__CONV2D_BIAS] = call->in[2].data,
                                               [CM3__CONV2D_Y] = call->out[0].data};
    return cm3__cudnn_run(&cm3__cudnn_of_conv2d, &s, address, call->workspace);
}

static cm3_status gradient(const cm3_call *call, cm3__conv2d_pass pass) {
    const bool of_weights = pass == CM3__CONV2D_OF_WEIGHTS;
    cm3__conv2d_shape s = cm3__cudnn_conv2d_shape(call, pass);
    s.accumulate = call->accumulate[of_weights];
    void *const address[CM3__CUDNN_TENSORS] = {[CM3__CONV2D_X] = of_weights ? call->in[0].data : call->grad_in[0].data,
                                               [CM3__CONV2D_WEIGHT] =
                                                   of_weights ? call->grad_in[1].data : call->in[1].data,
                                               [CM3__CONV2D_Y] = call->grad_out.data};
    return cm3__cudnn_run(&cm3__cudnn_of_conv2d, &s, address, call->workspace);
}

static cm3_status backward(const cm3_call *call) {
    if (call->grad_in[2].data) return cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN does not sum up gradients of a bias");
    if (call->grad_in[1].data) CM3_TRY(gradient(call, CM3__CONV2D_OF_WEIGHTS));
    if (call->grad_in[0].data) CM3_TRY(gradient(call, CM3__CONV2D_OF_IMAGES));
    return CM3_OK;
}

const cm3_kernel cm3__cudnn_conv2d = {forward, backward, cm3__cudnn_conv2d_forward_workspace,
                                      cm3__cudnn_conv2d_backward_workspace};
