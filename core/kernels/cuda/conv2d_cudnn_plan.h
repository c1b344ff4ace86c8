/* cuDNN's graphs of CONV2D: a convolution with its bias, and its two gradients. Images lie as (B,H,W,C) and weights
 * as (O,k,k,C), which cuDNN calls NHWC for both. */
#ifndef CM3_CORE_KERNELS_CUDA_CONV2D_CUDNN_PLAN_H
#define CM3_CORE_KERNELS_CUDA_CONV2D_CUDNN_PLAN_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/kernels/cuda/cudnn_run.h"
#include "core/tensor/op.h"

typedef enum cm3__conv2d_pass { CM3__CONV2D_FORWARD, CM3__CONV2D_OF_IMAGES, CM3__CONV2D_OF_WEIGHTS } cm3__conv2d_pass;

typedef struct cm3__conv2d_shape {
    int64_t pass;
    int64_t batch, rows, columns, channels; /* of the images */
    int64_t out_rows, out_columns, outputs; /* of the results */
    int64_t kernel, stride, pad, pad_after;
    int64_t bias;       /* 0 or 1: forward adds one */
    int64_t accumulate; /* 0 or 1: a gradient is added to what is there */
} cm3__conv2d_shape;

/* What a plan reads and writes, all f32: its gradient has the place of what it is the gradient of. */
typedef enum cm3__conv2d_tensor {
    CM3__CONV2D_X = 1,
    CM3__CONV2D_WEIGHT,
    CM3__CONV2D_Y,
    CM3__CONV2D_BIAS
} cm3__conv2d_tensor;

extern const cm3__cudnn_operation cm3__cudnn_of_conv2d;

cm3__conv2d_shape cm3__cudnn_conv2d_shape(const cm3_call *call, cm3__conv2d_pass pass);
int64_t cm3__cudnn_conv2d_room(const void *shape);

#ifdef __cplusplus
}
#endif

#endif
