#include "core/kernels/cuda/attention_cudnn_plan.h"

#ifdef CM3__CUDNN_IS_KNOWN
#include "core/library.h"

#include <string.h>

enum { OLDEST = 91000 }; /* 9.10: clears what it adds up in, and takes -inf for a score */

cm3_status cm3__cudnn_load(cm3__cudnn *cudnn) {
    void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL); /* stays open */
    if (!library) return cm3_fail(CM3_ERR_UNSUPPORTED, "%s", dlerror());
#define X(name)                                                                                                        \
    if (!cm3_library_find(library, "cudnn" #name, &cudnn->name, sizeof cudnn->name))                                   \
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s", dlerror());
    CM3__CUDNN_LIST(X)
#undef X
    if (cudnn->GetVersion() >= OLDEST) return CM3_OK;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "libcudnn.so.9 has version %zu, at least %d is needed", cudnn->GetVersion(),
                    OLDEST);
}

/* --- parts of a graph -------------------------------------------------------------------------------------------- */

typedef cudnnBackendDescriptor_t part;

enum { MOST_PARTS = 160, MOST_OPERATIONS = 32, MOST_PROPOSALS = 8 };
enum { F32 = CUDNN_DATA_FLOAT, BF16 = CUDNN_DATA_BFLOAT16, INDEX = CUDNN_DATA_INT32, TRUTH = CUDNN_DATA_BOOLEAN };

/* After the first failure every step does nothing. */
typedef struct graph {
    const cm3__cudnn *cudnn;
    const cm3__attention_shape *shape;
    cm3__cudnn_plan *plan;
    cm3_status status;
    part parts[MOST_PARTS], operations[MOST_OPERATIONS];
    int part_count, operation_count;
} graph;

static bool done(graph *g, cudnnStatus_t status, const char *what) {
    char why[512] = "";
    if (status == CUDNN_STATUS_SUCCESS) return true;
    g->cudnn->GetLastErrorString(why, sizeof why);
    g->status = cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN: %s: %s %s", what, g->cudnn->GetErrorString(status), why);
    return false;
}

static part make(graph *g, cudnnBackendDescriptorType_t type) {
    part made = NULL;
    if (g->status == CM3_OK && g->part_count == MOST_PARTS)
        g->status = cm3_fail(CM3_ERR_INTERNAL, "a graph of more than %d parts", MOST_PARTS);
    if (g->status == CM3_OK && done(g, g->cudnn->BackendCreateDescriptor(type, &made), "a part of a graph"))
        g->parts[g->part_count++] = made;
    return made;
}

static void set(graph *g, part of, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *values) {
    if (g->status == CM3_OK) done(g, g->cudnn->BackendSetAttribute(of, name, type, count, values), "an attribute");
}

/* Gives how many values there were. */
static int64_t get(graph *g, part of, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t most,
                   void *values) {
    int64_t count = 0;
    if (g->status != CM3_OK) return 0;
    return done(g, g->cudnn->BackendGetAttribute(of, name, type, most, &count, values), "an attribute") ? count : 0;
}

static void set_part(graph *g, part of, cudnnBackendAttributeName_t name, part value) {
    if (value) set(g, of, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void set_type(graph *g, part of, cudnnBackendAttributeName_t name, int type) {
    const cudnnDataType_t value = (cudnnDataType_t)type;
    set(g, of, name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}

static void finish(graph *g, part of, const char *what) {
    if (g->status == CM3_OK) done(g, g->cudnn->BackendFinalize(of), what);
}

static void finish_operation(graph *g, part operation) {
    finish(g, operation, "an operation");
    if (g->status == CM3_OK && g->operation_count == MOST_OPERATIONS)
        g->status = cm3_fail(CM3_ERR_INTERNAL, "a graph of more than %d operations", MOST_OPERATIONS);
    if (g->status == CM3_OK) g->operations[g->operation_count++] = operation;
}

/* --- tensors ----------------------------------------------------------------------------------------------------- */

/* Of (batch, head, row, column). */
typedef struct layout {
    int64_t dim[4], stride[4];
} layout;

static part tensor(graph *g, cm3__attention_tensor id, int type, layout at) {
    const bool is_virtual = id == CM3__VIRTUAL, is_value = id >= CM3__SCALE;
    const int64_t alignment = 16, number = is_virtual ? CM3__ATTENTION_TENSORS + g->part_count : (int64_t)id;
    const part made = make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set_type(g, made, CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    set(g, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &number);
    set(g, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(g, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, at.dim);
    set(g, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, at.stride);
    set(g, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    set(g, made, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &is_value);
    finish(g, made, "a tensor");
    if (!is_virtual) g->plan->tensors[g->plan->count++] = id;
    return made;
}

/* Heads beside each other in rows of `row` elements. */
static layout heads_in_rows(const graph *g, int64_t heads, int64_t row) {
    const cm3__attention_shape *s = g->shape;
    return (layout){{s->batch, heads, s->sequence, s->d}, {s->sequence * row, s->d, row, 1}};
}

/* Heads one after the other. */
static layout heads_apart(const graph *g) {
    const cm3__attention_shape *s = g->shape;
    const int64_t head = s->sequence * s->d;
    return (layout){{s->batch, s->heads, s->sequence, s->d}, {s->heads * head, head, s->d, 1}};
}

static layout turned(layout of) {
    return (layout){{of.dim[0], of.dim[1], of.dim[3], of.dim[2]},
                    {of.stride[0], of.stride[1], of.stride[3], of.stride[2]}};
}

static layout of_scores(const graph *g) {
    const int64_t heads = g->shape->heads, rows = g->shape->sequence;
    return (layout){{g->shape->batch, heads, rows, rows}, {heads * rows * rows, rows * rows, rows, 1}};
}

static part scores(graph *g, int type) {
    return tensor(g, CM3__VIRTUAL, type, of_scores(g));
}

/* A number for each query: dense, or cuDNN's gradients are silently wrong. */
static part row_numbers(graph *g, cm3__attention_tensor id) {
    const int64_t heads = g->shape->heads, rows = g->shape->sequence;
    return tensor(g, id, F32, (layout){{g->shape->batch, heads, rows, 1}, {heads * rows, rows, 1, 1}});
}

static part number(graph *g, cm3__attention_tensor id) {
    return tensor(g, id, F32, (layout){{1, 1, 1, 1}, {1, 1, 1, 1}});
}

/* --- operations: each gives its result ---------------------------------------------------------------------------- */

static part multiply(graph *g, part a, part b, part c) {
    const part how = make(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    set_type(g, how, CUDNN_ATTR_MATMUL_COMP_TYPE, F32);
    finish(g, how, "a product");
    const part operation = make(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
    set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_part(g, operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    finish_operation(g, operation);
    return c;
}

typedef struct elementwise {
    cudnnPointwiseMode_t mode;
    int type;        /* that it computes in */
    int64_t axis;    /* GEN_INDEX: its; else 0 */
    part x, b, t, y; /* b and t may be NULL */
} elementwise;

static part apply_all(graph *g, elementwise e) {
    const part how = make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &e.mode);
    set_type(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, e.type);
    if (e.axis) set(g, how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &e.axis);
    finish(g, how, "an elementwise function");
    const part operation = make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, e.x);
    set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, e.b);
    set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, e.t);
    set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, e.y);
    finish_operation(g, operation);
    return e.y;
}

static part apply(graph *g, cudnnPointwiseMode_t mode, part x, part b, part y) {
    return apply_all(g, (elementwise){.mode = mode, .type = F32, .x = x, .b = b, .y = y});
}

/* Along the sides on which y has one element, or fewer heads. */
static part reduce(graph *g, cudnnReduceTensorOp_t by, part x, part y) {
    const part how = make(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    set(g, how, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &by);
    set_type(g, how, CUDNN_ATTR_REDUCTION_COMP_TYPE, F32);
    finish(g, how, "a sum");
    const part operation = make(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_part(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
    set_part(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_part(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    finish_operation(g, operation);
    return y;
}

/* The same elements in another layout. */
static part reshape(graph *g, part x, int type, layout at) {
    const part y = tensor(g, CM3__VIRTUAL, type, at);
    const part operation = make(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set_part(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_part(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    finish_operation(g, operation);
    return y;
}

static part hide_later_keys(graph *g, part x) {
    const part hidden = number(g, CM3__HIDDEN);
    const part query =
        apply_all(g, (elementwise){.mode = CUDNN_POINTWISE_GEN_INDEX, .axis = 2, .x = x, .y = scores(g, INDEX)});
    const part key =
        apply_all(g, (elementwise){.mode = CUDNN_POINTWISE_GEN_INDEX, .axis = 3, .x = x, .y = scores(g, INDEX)});
    const part seen = apply_all(
        g, (elementwise){.mode = CUDNN_POINTWISE_CMP_GE, .type = TRUTH, .x = query, .b = key, .y = scores(g, TRUTH)});
    return apply_all(
        g, (elementwise){.mode = CUDNN_POINTWISE_BINARY_SELECT, .x = x, .b = hidden, .t = seen, .y = scores(g, F32)});
}

/* --- the two graphs ---------------------------------------------------------------------------------------------- */

static int64_t packed_row(const cm3__attention_shape *s) {
    return (s->heads + 2 * s->kv_heads) * s->d;
}

static void describe_forward(graph *g) {
    const cm3__attention_shape *s = g->shape;
    const layout of_q = heads_in_rows(g, s->heads, packed_row(s)), of_k = heads_in_rows(g, s->kv_heads, packed_row(s));
    const part q = tensor(g, CM3__Q, BF16, of_q), k = tensor(g, CM3__K, BF16, turned(of_k));
    const part v = tensor(g, CM3__V, BF16, of_k),
               y = tensor(g, CM3__Y, BF16, heads_in_rows(g, s->heads, s->heads * s->d));
    part score = multiply(g, q, k, scores(g, F32));
    score = apply(g, CUDNN_POINTWISE_MUL, score, number(g, CM3__SCALE), scores(g, F32));
    if (s->causal) score = hide_later_keys(g, score);
    const part most = reduce(g, CUDNN_REDUCE_TENSOR_MAX, score, row_numbers(g, CM3__VIRTUAL));
    const part above = apply(g, CUDNN_POINTWISE_SUB, score, most, scores(g, F32));
    const part weight = apply(g, CUDNN_POINTWISE_EXP, above, NULL, scores(g, F32));
    const part sum = reduce(g, CUDNN_REDUCE_TENSOR_ADD, weight, row_numbers(g, CM3__VIRTUAL));
    const part log_sum = apply(g, CUDNN_POINTWISE_LOG, sum, NULL, row_numbers(g, CM3__VIRTUAL));
    apply(g, CUDNN_POINTWISE_ADD, most, log_sum, row_numbers(g, CM3__LSE));
    multiply(g, apply(g, CUDNN_POINTWISE_DIV, weight, sum, scores(g, BF16)), v, y);
}

/* weights^T rows to the keys' own rows; of heads that share keys: their sum. */
static void add_to_keys(graph *g, part weights, part rows, cm3__attention_tensor id, layout at) {
    const part turned_weights = reshape(g, weights, BF16, turned(of_scores(g)));
    const part to = tensor(g, id, BF16, at);
    if (g->shape->kv_heads == g->shape->heads) {
        multiply(g, turned_weights, rows, to);
        return;
    }
    const part of_each = multiply(g, turned_weights, rows, tensor(g, CM3__VIRTUAL, BF16, heads_apart(g)));
    reduce(g, CUDNN_REDUCE_TENSOR_ADD, of_each, to);
}

static void describe_backward(graph *g) {
    const cm3__attention_shape *s = g->shape;
    const layout of_q = heads_in_rows(g, s->heads, packed_row(s)), of_k = heads_in_rows(g, s->kv_heads, packed_row(s));
    const layout of_y = heads_in_rows(g, s->heads, s->heads * s->d);
    const part q = tensor(g, CM3__Q, BF16, of_q), k = tensor(g, CM3__K, BF16, turned(of_k));
    const part v = tensor(g, CM3__V, BF16, turned(of_k));
    const part y = tensor(g, CM3__Y, BF16, of_y), dy = tensor(g, CM3__DY, BF16, of_y);
    const part scale = number(g, CM3__SCALE);

    const part y_dy = apply(g, CUDNN_POINTWISE_MUL, dy, y, tensor(g, CM3__VIRTUAL, F32, heads_apart(g)));
    const part sum = reduce(g, CUDNN_REDUCE_TENSOR_ADD, y_dy, row_numbers(g, CM3__VIRTUAL));
    const part delta = apply(g, CUDNN_POINTWISE_MUL, sum, number(g, CM3__ONE), row_numbers(g, CM3__DELTA));

    part score = multiply(g, q, k, scores(g, F32));
    score = apply(g, CUDNN_POINTWISE_MUL, score, scale, scores(g, F32));
    score = apply(g, CUDNN_POINTWISE_SUB, score, row_numbers(g, CM3__LSE), scores(g, F32));
    if (s->causal) score = hide_later_keys(g, score);
    const part p = apply(g, CUDNN_POINTWISE_EXP, score, NULL, scores(g, F32));
    add_to_keys(g, p, dy, CM3__DV, of_k);

    part slope = multiply(g, dy, v, scores(g, F32));
    slope = apply(g, CUDNN_POINTWISE_SUB, slope, delta, scores(g, F32));
    slope = apply(g, CUDNN_POINTWISE_MUL, slope, p, scores(g, F32));
    slope = apply(g, CUDNN_POINTWISE_MUL, slope, scale, scores(g, F32));
    add_to_keys(g, slope, q, CM3__DK, of_k);

    const part keys = reshape(g, k, BF16, of_k);
    const part dq = multiply(g, slope, keys, tensor(g, CM3__DQ_SUM, F32, heads_apart(g)));
    apply(g, CUDNN_POINTWISE_IDENTITY, dq, NULL, tensor(g, CM3__DQ, BF16, of_q));
}

/* --- plans ------------------------------------------------------------------------------------------------------- */

/* Counters; and dk and dv of each head, where heads share them. */
int64_t cm3__cudnn_plan_room(const cm3__attention_shape *s) {
    const bool apart = s->backward && s->kv_heads < s->heads;
    return 1024 + (apart ? 2 * s->batch * s->heads * s->sequence * s->d * (int64_t)sizeof(uint16_t) : 0);
}

static void keep(graph *g, part which, part *kept) {
    for (int i = 0; i < g->part_count; i++)
        if (g->parts[i] == which) g->parts[i] = NULL;
    *kept = which;
}

static void make_ready(graph *g, const cm3__cudnn_device *device, part config) {
    const part plan = make(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    const int64_t room = cm3__cudnn_plan_room(g->shape);
    int64_t workspace = 0;
    if (device->handle)
        set(g, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &device->handle);
    else
        set_part(g, plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device->description);
    set_part(g, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    finish(g, plan, "a plan");
    get(g, plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &workspace);
    if (g->status == CM3_OK && workspace > room)
        g->status = cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN: a workspace of %lld bytes, at most %lld are given",
                             (long long)workspace, (long long)room);
    if (g->status != CM3_OK) return;
    g->plan->workspace = workspace;
    keep(g, plan, &g->plan->plan);
    keep(g, config, &g->plan->config);
}

/* The first of the proposed engines that can be made ready. */
static void choose_engine(graph *g, const cm3__cudnn_device *device, part operations, cudnnBackendHeurMode_t mode) {
    const part proposals = make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    part configs[MOST_PROPOSALS];
    set_part(g, proposals, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations);
    set(g, proposals, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    set_part(g, proposals, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device->description);
    finish(g, proposals, "engines");
    for (int i = 0; i < MOST_PROPOSALS; i++) configs[i] = make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    const int64_t count =
        get(g, proposals, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_PROPOSALS, configs);
    if (g->status == CM3_OK && !count) g->status = cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN: no engine for this attention");
    for (int64_t i = 0; i < count && !g->plan->plan; i++) {
        g->status = CM3_OK; /* not of the engine before */
        make_ready(g, device, configs[i]);
    }
}

static void plan_graph(graph *g, const cm3__cudnn_device *device) {
    const part operations = make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (device->handle) set(g, operations, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &device->handle);
    set(g, operations, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->operation_count, g->operations);
    finish(g, operations, "its graph of attention");
    if (g->status != CM3_OK) return;
    choose_engine(g, device, operations, CUDNN_HEUR_MODE_A);
    if (g->status == CM3_OK) return;
    g->status = CM3_OK;
    choose_engine(g, device, operations, CUDNN_HEUR_MODE_FALLBACK);
}

cm3_status cm3__cudnn_plan_make(const cm3__cudnn *cudnn, const cm3__cudnn_device *device,
                                const cm3__attention_shape *shape, cm3__cudnn_plan *plan) {
    graph g = {.cudnn = cudnn, .shape = shape, .plan = plan};
    *plan = (cm3__cudnn_plan){0};
    if (shape->backward)
        describe_backward(&g);
    else
        describe_forward(&g);
    plan_graph(&g, device);
    while (g.part_count) {
        const part last = g.parts[--g.part_count];
        if (last) cudnn->BackendDestroyDescriptor(last);
    }
    return g.status;
}

void cm3__cudnn_plan_free(const cm3__cudnn *cudnn, cm3__cudnn_plan *plan) {
    if (plan->plan) cudnn->BackendDestroyDescriptor(plan->plan);
    if (plan->config) cudnn->BackendDestroyDescriptor(plan->config);
    *plan = (cm3__cudnn_plan){0};
}

#endif
