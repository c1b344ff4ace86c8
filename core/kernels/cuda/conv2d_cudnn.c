#include "core/kernels/cuda/conv2d_cudnn.h"

#include "core/kernels/cuda/conv2d_cudnn_plan.h"

static cm3__conv2d_shape shape_of(const cm3_call *call, cm3__conv2d_pass pass) {
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

/* The same for all passes: plans may want room for all tensors whichever they compute. */
static size_t room(const cm3_call *call, cm3__conv2d_pass pass) {
    const cm3__conv2d_shape s = shape_of(call, pass);
    return cm3__cudnn_is_wanted() ? cm3__cudnn_room(&cm3__cudnn_of_conv2d, &s) : 0;
}

static size_t forward_room(const cm3_call *call) {
    return room(call, CM3__CONV2D_FORWARD);
}

static size_t backward_room(const cm3_call *call) {
    return room(call, CM3__CONV2D_OF_WEIGHTS);
}

static cm3_status forward(const cm3_call *call) {
    const cm3__conv2d_shape s = shape_of(call, CM3__CONV2D_FORWARD);
    void *const address[CM3__CUDNN_TENSORS] = {[CM3__CONV2D_X] = call->in[0].data,
                                               [CM3__CONV2D_WEIGHT] = call->in[1].data,
                                               [CM3__CONV2D_BIAS] = call->in[2].data,
                                               [CM3__CONV2D_Y] = call->out[0].data};
    return cm3__cudnn_run(&cm3__cudnn_of_conv2d, &s, address, call->workspace);
}

static cm3_status gradient(const cm3_call *call, cm3__conv2d_pass pass) {
    const bool of_weights = pass == CM3__CONV2D_OF_WEIGHTS;
    cm3__conv2d_shape s = shape_of(call, pass);
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

const cm3_kernel cm3__cudnn_conv2d = {forward, backward, forward_room, backward_room};
