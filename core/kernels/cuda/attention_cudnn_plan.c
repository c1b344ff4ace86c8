#include "core/kernels/cuda/attention_cudnn_plan.h"

#include "core/kernels/cuda/cudnn_graph.h"

#ifdef CM3__CUDNN_IS_KNOWN
typedef cm3__attention_shape shape;
typedef cm3__graph graph;
typedef cm3__part part;

static const cudnnDataType_t F32 = CUDNN_DATA_FLOAT, BF16 = CUDNN_DATA_BFLOAT16, INDEX = CUDNN_DATA_INT32,
                             TRUTH = CUDNN_DATA_BOOLEAN;

/* --- tensors ----------------------------------------------------------------------------------------------------- */

/* Dimensions are batch, head, row, column. */
typedef cm3__layout layout;

static part stored(graph *g, cm3__attention_tensor number, cudnnDataType_t type, layout at) {
    return cm3__graph_tensor(g, CM3__STORED, number, type, at);
}

static part between(graph *g, cudnnDataType_t type, layout at) {
    return cm3__graph_tensor(g, CM3__VIRTUAL, 0, type, at);
}

/* Heads beside each other in rows of `row` elements. */
static layout heads_in_rows(const shape *s, int64_t heads, int64_t row) {
    return (layout){{s->batch, heads, s->sequence, s->d}, {s->sequence * row, s->d, row, 1}};
}

/* Heads one after the other. */
static layout heads_apart(const shape *s) {
    const int64_t head = s->sequence * s->d;
    return (layout){{s->batch, s->heads, s->sequence, s->d}, {s->heads * head, head, s->d, 1}};
}

static layout turned(layout of) {
    return (layout){{of.dim[0], of.dim[1], of.dim[3], of.dim[2]},
                    {of.stride[0], of.stride[1], of.stride[3], of.stride[2]}};
}

static layout of_scores(const shape *s) {
    const int64_t heads = s->heads, rows = s->sequence;
    return (layout){{s->batch, heads, rows, rows}, {heads * rows * rows, rows * rows, rows, 1}};
}

static part scores(graph *g, cudnnDataType_t type) {
    return between(g, type, of_scores(g->shape));
}

/* A number for each query: dense, or cuDNN's gradients are silently wrong. */
static layout of_rows(const shape *s) {
    return (layout){{s->batch, s->heads, s->sequence, 1}, {s->heads * s->sequence, s->sequence, 1, 1}};
}

static part row_numbers(graph *g) {
    return between(g, F32, of_rows(g->shape));
}

static part stored_row_numbers(graph *g, cm3__attention_tensor number) {
    return stored(g, number, F32, of_rows(g->shape));
}

static part number_of_host(graph *g, cm3__attention_tensor number) {
    return cm3__graph_tensor(g, CM3__BY_VALUE, number, F32, (layout){{1, 1, 1, 1}, {1, 1, 1, 1}});
}

/* --- operations: each gives its result --------------------------------------------------------------------------- */

static part multiply(graph *g, part a, part b, part c) {
    const part how = cm3__graph_part(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    cm3__graph_set_type(g, how, CUDNN_ATTR_MATMUL_COMP_TYPE, F32);
    cm3__graph_finish(g, how, "a product");
    const part operation = cm3__graph_part(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    cm3__graph_add(g, operation);
    return c;
}

static part apply(graph *g, cudnnPointwiseMode_t mode, part x, part b, part y) {
    return cm3__graph_pointwise(g, (cm3__pointwise){.mode = mode, .type = F32, .x = x, .b = b, .y = y});
}

/* Along the sides on which y has one element, or fewer heads. */
static part reduce(graph *g, cudnnReduceTensorOp_t by, part x, part y) {
    const part how = cm3__graph_part(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    cm3__graph_set(g, how, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &by);
    cm3__graph_set_type(g, how, CUDNN_ATTR_REDUCTION_COMP_TYPE, F32);
    cm3__graph_finish(g, how, "a sum");
    const part operation = cm3__graph_part(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    cm3__graph_add(g, operation);
    return y;
}

/* The same elements in another layout. */
static part reshape(graph *g, part x, cudnnDataType_t type, layout at) {
    const part y = between(g, type, at);
    const part operation = cm3__graph_part(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    cm3__graph_add(g, operation);
    return y;
}

static part hide_later_keys(graph *g, part x) {
    const part hidden = number_of_host(g, CM3__HIDDEN);
    const part query = cm3__graph_pointwise(
        g, (cm3__pointwise){.mode = CUDNN_POINTWISE_GEN_INDEX, .axis = 2, .x = x, .y = scores(g, INDEX)});
    const part key = cm3__graph_pointwise(
        g, (cm3__pointwise){.mode = CUDNN_POINTWISE_GEN_INDEX, .axis = 3, .x = x, .y = scores(g, INDEX)});
    const part seen = cm3__graph_pointwise(
        g,
        (cm3__pointwise){.mode = CUDNN_POINTWISE_CMP_GE, .type = TRUTH, .x = query, .b = key, .y = scores(g, TRUTH)});
    return cm3__graph_pointwise(
        g,
        (cm3__pointwise){.mode = CUDNN_POINTWISE_BINARY_SELECT, .x = x, .b = hidden, .t = seen, .y = scores(g, F32)});
}

/* --- the two graphs ---------------------------------------------------------------------------------------------- */

static int64_t packed_row(const shape *s) {
    return (s->heads + 2 * s->kv_heads) * s->d;
}

static void describe_forward(graph *g) {
    const shape *s = g->shape;
    const layout of_q = heads_in_rows(s, s->heads, packed_row(s)), of_k = heads_in_rows(s, s->kv_heads, packed_row(s));
    const part q = stored(g, CM3__Q, BF16, of_q), k = stored(g, CM3__K, BF16, turned(of_k));
    const part v = stored(g, CM3__V, BF16, of_k),
               y = stored(g, CM3__Y, BF16, heads_in_rows(s, s->heads, s->heads * s->d));
    part score = multiply(g, q, k, scores(g, F32));
    score = apply(g, CUDNN_POINTWISE_MUL, score, number_of_host(g, CM3__SCALE), scores(g, F32));
    if (s->causal) score = hide_later_keys(g, score);
    const part most = reduce(g, CUDNN_REDUCE_TENSOR_MAX, score, row_numbers(g));
    const part above = apply(g, CUDNN_POINTWISE_SUB, score, most, scores(g, F32));
    const part weight = apply(g, CUDNN_POINTWISE_EXP, above, NULL, scores(g, F32));
    const part sum = reduce(g, CUDNN_REDUCE_TENSOR_ADD, weight, row_numbers(g));
    const part log_sum = apply(g, CUDNN_POINTWISE_LOG, sum, NULL, row_numbers(g));
    apply(g, CUDNN_POINTWISE_ADD, most, log_sum, stored_row_numbers(g, CM3__LSE));
    multiply(g, apply(g, CUDNN_POINTWISE_DIV, weight, sum, scores(g, BF16)), v, y);
}

/* weights^T rows to the keys' own rows; of heads that share keys: their sum. */
static void add_to_keys(graph *g, part weights, part rows, cm3__attention_tensor id, layout at) {
    const shape *s = g->shape;
    const part turned_weights = reshape(g, weights, BF16, turned(of_scores(s)));
    const part to = stored(g, id, BF16, at);
    if (s->kv_heads == s->heads) {
        multiply(g, turned_weights, rows, to);
        return;
    }
    const part of_each = multiply(g, turned_weights, rows, between(g, BF16, heads_apart(s)));
    reduce(g, CUDNN_REDUCE_TENSOR_ADD, of_each, to);
}

static void describe_backward(graph *g) {
    const shape *s = g->shape;
    const layout of_q = heads_in_rows(s, s->heads, packed_row(s)), of_k = heads_in_rows(s, s->kv_heads, packed_row(s));
    const layout of_y = heads_in_rows(s, s->heads, s->heads * s->d);
    const part q = stored(g, CM3__Q, BF16, of_q), k = stored(g, CM3__K, BF16, turned(of_k));
    const part v = stored(g, CM3__V, BF16, turned(of_k));
    const part y = stored(g, CM3__Y, BF16, of_y), dy = stored(g, CM3__DY, BF16, of_y);
    const part scale = number_of_host(g, CM3__SCALE);

    const part y_dy = apply(g, CUDNN_POINTWISE_MUL, dy, y, between(g, F32, heads_apart(s)));
    const part sum = reduce(g, CUDNN_REDUCE_TENSOR_ADD, y_dy, row_numbers(g));
    const part delta =
        apply(g, CUDNN_POINTWISE_MUL, sum, number_of_host(g, CM3__ONE), stored_row_numbers(g, CM3__DELTA));

    part score = multiply(g, q, k, scores(g, F32));
    score = apply(g, CUDNN_POINTWISE_MUL, score, scale, scores(g, F32));
    score = apply(g, CUDNN_POINTWISE_SUB, score, stored_row_numbers(g, CM3__LSE), scores(g, F32));
    if (s->causal) score = hide_later_keys(g, score);
    const part p = apply(g, CUDNN_POINTWISE_EXP, score, NULL, scores(g, F32));
    add_to_keys(g, p, dy, CM3__DV, of_k);

    part slope = multiply(g, dy, v, scores(g, F32));
    slope = apply(g, CUDNN_POINTWISE_SUB, slope, delta, scores(g, F32));
    slope = apply(g, CUDNN_POINTWISE_MUL, slope, p, scores(g, F32));
    slope = apply(g, CUDNN_POINTWISE_MUL, slope, scale, scores(g, F32));
    add_to_keys(g, slope, q, CM3__DK, of_k);

    const part keys = reshape(g, k, BF16, of_k);
    const part dq = multiply(g, slope, keys, stored(g, CM3__DQ_SUM, F32, heads_apart(s)));
    apply(g, CUDNN_POINTWISE_IDENTITY, dq, NULL, stored(g, CM3__DQ, BF16, of_q));
}

static void describe(graph *g) {
    const shape *s = g->shape;
    if (s->backward)
        describe_backward(g);
    else
        describe_forward(g);
}

#endif

const cm3__cudnn_operation cm3__cudnn_of_attention = {
    .name = "attention",
    .shape_bytes = sizeof(cm3__attention_shape),
    .clean = true,
    .room = cm3__cudnn_attention_room,
#ifdef CM3__CUDNN_IS_KNOWN
    .describe = describe,
#endif
};
