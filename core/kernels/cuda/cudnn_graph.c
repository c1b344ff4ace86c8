#include "core/kernels/cuda/cudnn_graph.h"

#ifdef CM3__CUDNN_IS_KNOWN

/* --- parts of a graph -------------------------------------------------------------------------------------------- */

static bool done(cm3__graph *g, cudnnStatus_t status, const char *what) {
    char why[512] = "";
    if (status == CUDNN_STATUS_SUCCESS) return true;
    g->cudnn->GetLastErrorString(why, sizeof why);
    g->status = cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN: %s: %s %s", what, g->cudnn->GetErrorString(status), why);
    return false;
}

cm3__part cm3__graph_part(cm3__graph *g, cudnnBackendDescriptorType_t type) {
    cm3__part made = NULL;
    if (g->status == CM3_OK && g->part_count == CM3__GRAPH_PARTS)
        g->status = cm3_fail(CM3_ERR_INTERNAL, "a graph of more than %d parts", CM3__GRAPH_PARTS);
    if (g->status == CM3_OK && done(g, g->cudnn->BackendCreateDescriptor(type, &made), "a part of a graph"))
        g->parts[g->part_count++] = made;
    return made;
}

void cm3__graph_set(cm3__graph *g, cm3__part of, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                    int64_t count, const void *values) {
    if (g->status == CM3_OK) done(g, g->cudnn->BackendSetAttribute(of, name, type, count, values), "an attribute");
}

/* Gives how many values came; there may be more. */
static int64_t get(cm3__graph *g, cm3__part of, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   int64_t most, void *values) {
    int64_t count = 0;
    if (g->status != CM3_OK) return 0;
    if (!done(g, g->cudnn->BackendGetAttribute(of, name, type, most, &count, values), "an attribute")) return 0;
    return count < most ? count : most;
}

void cm3__graph_set_part(cm3__graph *g, cm3__part of, cudnnBackendAttributeName_t name, cm3__part value) {
    if (value) cm3__graph_set(g, of, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void cm3__graph_set_type(cm3__graph *g, cm3__part of, cudnnBackendAttributeName_t name, cudnnDataType_t value) {
    cm3__graph_set(g, of, name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}

void cm3__graph_finish(cm3__graph *g, cm3__part of, const char *what) {
    if (g->status == CM3_OK) done(g, g->cudnn->BackendFinalize(of), what);
}

void cm3__graph_add(cm3__graph *g, cm3__part operation) {
    cm3__graph_finish(g, operation, "an operation");
    if (g->status == CM3_OK && g->operation_count == CM3__GRAPH_OPERATIONS)
        g->status = cm3_fail(CM3_ERR_INTERNAL, "a graph of more than %d operations", CM3__GRAPH_OPERATIONS);
    if (g->status == CM3_OK) g->operations[g->operation_count++] = operation;
}

cm3__part cm3__graph_tensor(cm3__graph *g, cm3__storage storage, int number, cudnnDataType_t type, cm3__layout at) {
    const bool is_virtual = storage == CM3__VIRTUAL, is_value = storage == CM3__BY_VALUE;
    const int64_t alignment = 16, id = is_virtual ? CM3__CUDNN_TENSORS + g->part_count : number;
    const cm3__part made = cm3__graph_part(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    cm3__graph_set_type(g, made, CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    cm3__graph_set(g, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    cm3__graph_set(g, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    cm3__graph_set(g, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, at.dim);
    cm3__graph_set(g, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, at.stride);
    cm3__graph_set(g, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    cm3__graph_set(g, made, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &is_value);
    cm3__graph_finish(g, made, "a tensor");
    if (!is_virtual) g->plan->tensors[g->plan->count++] = id;
    return made;
}

cm3__part cm3__graph_pointwise(cm3__graph *g, cm3__pointwise f) {
    const cm3__part how = cm3__graph_part(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    cm3__graph_set(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &f.mode);
    cm3__graph_set_type(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, f.type);
    if (f.axis) cm3__graph_set(g, how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &f.axis);
    cm3__graph_finish(g, how, "an elementwise function");
    const cm3__part operation = cm3__graph_part(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, f.x);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, f.b);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, f.t);
    cm3__graph_set_part(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, f.y);
    cm3__graph_add(g, operation);
    return f.y;
}

/* --- engines ----------------------------------------------------------------------------------------------------- */

enum { MOST_PROPOSALS = 64 }; /* those in f32 come last */

static bool is_refused(const cm3__cudnn_operation *operation, cudnnBackendNumericalNote_t note) {
    switch (note) {
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
        return true;
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: /* on f32: TF32 */
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
    case CUDNN_NUMERICAL_NOTE_FFT: /* these two subtract large from large */
    case CUDNN_NUMERICAL_NOTE_WINOGRAD:
        return operation->exact;
    default:
        return false;
    }
}

static bool is_accepted(cm3__graph *g, cm3__part config) {
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cm3__part engine = cm3__graph_part(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    get(g, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine);
    const int64_t count = get(g, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                              CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes);
    for (int64_t i = 0; i < count; i++)
        if (is_refused(g->operation, notes[i])) return false;
    return g->status == CM3_OK;
}

/* Outlives the graph. */
static void keep(cm3__graph *g, cm3__part which, cm3__part *kept) {
    for (int i = 0; i < g->part_count; i++)
        if (g->parts[i] == which) g->parts[i] = NULL;
    *kept = which;
}

static void make_ready(cm3__graph *g, const cm3__cudnn_device *device, cm3__part config) {
    const cm3__part plan = cm3__graph_part(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    const int64_t room = g->operation->room(g->shape);
    int64_t workspace = 0;
    if (device->handle)
        cm3__graph_set(g, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &device->handle);
    else
        cm3__graph_set_part(g, plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device->description);
    cm3__graph_set_part(g, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    cm3__graph_finish(g, plan, "a plan");
    get(g, plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &workspace);
    if (g->status == CM3_OK && workspace > room)
        g->status = cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN: a workspace of %lld bytes, at most %lld are given",
                             (long long)workspace, (long long)room);
    if (g->status != CM3_OK) return;
    g->plan->workspace = workspace;
    keep(g, plan, &g->plan->plan);
    keep(g, config, &g->plan->config);
}

/* The first of the proposed engines that is accepted and can be made ready. */
static void choose_engine(cm3__graph *g, const cm3__cudnn_device *device, cm3__part operations,
                          cudnnBackendHeurMode_t mode) {
    const cm3__part proposals = cm3__graph_part(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    cm3__part configs[MOST_PROPOSALS];
    cm3__graph_set_part(g, proposals, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations);
    cm3__graph_set(g, proposals, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    cm3__graph_set_part(g, proposals, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device->description);
    cm3__graph_finish(g, proposals, "engines");
    for (int i = 0; i < MOST_PROPOSALS; i++) configs[i] = cm3__graph_part(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    const int64_t count =
        get(g, proposals, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_PROPOSALS, configs);
    if (g->status != CM3_OK) return;
    for (int64_t i = 0; i < count && !g->plan->plan; i++) {
        g->status = CM3_OK; /* not of the engine before */
        if (is_accepted(g, configs[i])) make_ready(g, device, configs[i]);
    }
    if (g->status == CM3_OK && !g->plan->plan)
        g->status = cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN: no engine for this %s", g->operation->name);
}

/* --- plans ------------------------------------------------------------------------------------------------------- */

static void plan_graph(cm3__graph *g, const cm3__cudnn_device *device) {
    const cm3__part operations = cm3__graph_part(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (device->handle)
        cm3__graph_set(g, operations, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &device->handle);
    cm3__graph_set(g, operations, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->operation_count,
                   g->operations);
    cm3__graph_finish(g, operations, g->operation->name);
    if (g->status != CM3_OK) return;
    choose_engine(g, device, operations, CUDNN_HEUR_MODE_A);
    if (g->status == CM3_OK) return;
    g->status = CM3_OK;
    choose_engine(g, device, operations, CUDNN_HEUR_MODE_FALLBACK);
}

cm3_status cm3__cudnn_plan_make(const cm3__cudnn *cudnn, const cm3__cudnn_device *device,
                                const cm3__cudnn_operation *operation, const void *shape, cm3__cudnn_plan *plan) {
    cm3__graph g = {.cudnn = cudnn, .operation = operation, .shape = shape, .plan = plan};
    *plan = (cm3__cudnn_plan){0};
    operation->describe(&g);
    plan_graph(&g, device);
    while (g.part_count) {
        const cm3__part last = g.parts[--g.part_count];
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
