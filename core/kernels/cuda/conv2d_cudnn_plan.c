#include "core/kernels/cuda/conv2d_cudnn_plan.h"

#include "core/kernels/cuda/cudnn_graph.h"

#ifdef CM3__CUDNN_IS_KNOWN
typedef cm3__conv2d_shape shape;
typedef cm3__graph graph;
typedef cm3__part part;

/* cuDNN names sides as (n,c,h,w), whatever their order in memory. */
static part tensor(graph *g, cm3__storage storage, cm3__conv2d_tensor number, int64_t n, int64_t h, int64_t w,
                   int64_t c) {
    return cm3__graph_tensor(g, storage, number, CUDNN_DATA_FLOAT,
                             (cm3__layout){{n, c, h, w}, {h * w * c, 1, w * c, c}});
}

static part geometry(graph *g, const shape *s) {
    const part made = cm3__graph_part(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t sides = 2, next[] = {1, 1}, stride[] = {s->stride, s->stride};
    const int64_t before[] = {s->pad, s->pad}, after[] = {s->pad_after, s->pad_after};
    cm3__graph_set_type(g, made, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    cm3__graph_set(g, made, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    cm3__graph_set(g, made, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &sides);
    cm3__graph_set(g, made, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, next);
    cm3__graph_set(g, made, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    cm3__graph_set(g, made, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before);
    cm3__graph_set(g, made, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after);
    cm3__graph_finish(g, made, "a convolution");
    return made;
}

#define ATTRIBUTES(direction, dx, dw, dy)                                                                              \
    CUDNN_ATTR_OPERATION_CONVOLUTION_##direction##_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_##direction##_##dx,     \
        CUDNN_ATTR_OPERATION_CONVOLUTION_##direction##_##dw, CUDNN_ATTR_OPERATION_CONVOLUTION_##direction##_##dy,      \
        CUDNN_ATTR_OPERATION_CONVOLUTION_##direction##_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_##direction##_BETA

/* The same operation for all passes, but for names. */
static const struct direction {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t geometry, x, weight, y, alpha, beta;
} directions[] = {
    [CM3__CONV2D_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, ATTRIBUTES(FORWARD, X, W, Y)},
    [CM3__CONV2D_OF_IMAGES] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                               ATTRIBUTES(BWD_DATA, DX, W, DY)},
    [CM3__CONV2D_OF_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                                ATTRIBUTES(BWD_FILTER, X, DW, DY)}};

/* result = alpha convolution + beta result */
static void convolve(graph *g, const shape *s, part x, part weight, part y) {
    const struct direction *d = &directions[s->pass];
    const float alpha = 1, beta = s->accumulate ? 1 : 0;
    const part how = geometry(g, s), operation = cm3__graph_part(g, d->type);
    cm3__graph_set_part(g, operation, d->geometry, how);
    cm3__graph_set_part(g, operation, d->x, x);
    cm3__graph_set_part(g, operation, d->weight, weight);
    cm3__graph_set_part(g, operation, d->y, y);
    cm3__graph_set(g, operation, d->alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
    cm3__graph_set(g, operation, d->beta, CUDNN_TYPE_FLOAT, 1, &beta);
    cm3__graph_add(g, operation);
}

static part results(graph *g, const shape *s, cm3__storage storage) {
    return tensor(g, storage, CM3__CONV2D_Y, s->batch, s->out_rows, s->out_columns, s->outputs);
}

static void describe(graph *g) {
    const shape *s = g->shape;
    const part x = tensor(g, CM3__STORED, CM3__CONV2D_X, s->batch, s->rows, s->columns, s->channels);
    const part weight = tensor(g, CM3__STORED, CM3__CONV2D_WEIGHT, s->outputs, s->kernel, s->kernel, s->channels);
    const part y = results(g, s, s->bias ? CM3__VIRTUAL : CM3__STORED);
    convolve(g, s, x, weight, y);
    if (!s->bias) return;
    cm3__graph_pointwise(g, (cm3__pointwise){.mode = CUDNN_POINTWISE_ADD,
                                             .type = CUDNN_DATA_FLOAT,
                                             .x = y,
                                             .b = tensor(g, CM3__STORED, CM3__CONV2D_BIAS, 1, 1, 1, s->outputs),
                                             .y = results(g, s, CM3__STORED)});
}

#endif

/* Exact: our own kernel multiplies in f32, and so do the CPUs that the image tokenizer may have been trained on. */
const cm3__cudnn_operation cm3__cudnn_of_conv2d = {
    .name = "convolution",
    .shape_bytes = sizeof(cm3__conv2d_shape),
    .exact = true,
    .room = cm3__cudnn_conv2d_room,
#ifdef CM3__CUDNN_IS_KNOWN
    .describe = describe,
#endif
};
