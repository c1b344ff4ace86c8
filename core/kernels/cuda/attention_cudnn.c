/* cuDNN's plans of attention, made at the first run of a shape and kept. The library is opened then, too; where that
 * cannot be, or CM3_CUDNN=0 is in the environment, runs fail and attention is our own kernels'. */
#include "core/kernels/cuda/attention_cudnn.h"

#include "core/kernels/cuda/attention_cudnn_plan.h"
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/stream.h"

#ifdef CM3__CUDNN_IS_KNOWN
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHAPES = 64, ALIGNMENT = 256, SEQUENCE_STEP = 128, MOST_D = 128 };

typedef struct shape_plan {
    cm3__attention_shape shape;
    cm3__cudnn_plan plan;
} shape_plan;

static cm3__cudnn cudnn;
static cudnnHandle_t handle;
static shape_plan plans[MOST_SHAPES];
static int plan_count;

static cm3_status check(const char *what, cudnnStatus_t status) {
    if (status == CUDNN_STATUS_SUCCESS) return CM3_OK;
    return cm3_fail(CM3_ERR_DEVICE, "cuDNN: %s: %s", what, cudnn.GetErrorString(status));
}

static cm3_status open_cudnn(void) {
    if (handle) return CM3_OK;
    CM3_TRY(cm3__cudnn_load(&cudnn));
    CM3_TRY(check("opening it", cudnn.Create(&handle)));
    return check("its stream", cudnn.SetStream(handle, cm3__cuda_stream()));
}

/* --- plans ------------------------------------------------------------------------------------------------------- */

/* Whether cuDNN may take it. */
static bool shape_of(const cm3_call *call, bool backward, cm3__attention_shape *shape) {
    const cm3_op_attr *attr = call->attr;
    const int64_t *dim = call->in[0].shape.dim;
    const char *wanted = getenv("CM3_CUDNN");
    memset(shape, 0, sizeof *shape); /* padding is compared, too */
    shape->batch = dim[0] / attr->sequence;
    shape->heads = attr->heads;
    shape->kv_heads = attr->kv_heads;
    shape->sequence = attr->sequence;
    shape->d = dim[1] / (attr->heads + 2 * attr->kv_heads);
    shape->causal = attr->causal;
    shape->backward = backward;
    return call->in[0].type == CM3_BF16 && shape->sequence % SEQUENCE_STEP == 0 && shape->d % 8 == 0 &&
           shape->d <= MOST_D && !(wanted && !strcmp(wanted, "0"));
}

static cm3_status find(const cm3_call *call, bool backward, const shape_plan **found) {
    cm3__attention_shape shape;
    if (!shape_of(call, backward, &shape) || plan_count == MOST_SHAPES)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN does not take this attention");
    for (int i = 0; i < plan_count; i++) {
        *found = &plans[i];
        if (!memcmp(&plans[i].shape, &shape, sizeof shape)) return CM3_OK;
    }
    shape_plan *made = &plans[plan_count];
    CM3_TRY(open_cudnn());
    CM3_TRY(cm3__cudnn_plan_make(&cudnn, &(cm3__cudnn_device){.handle = handle}, &shape, &made->plan));
    memcpy(&made->shape, &shape, sizeof shape);
    plan_count++;
    *found = made;
    return CM3_OK;
}

/* --- memory: the plan's own, then, backward, DELTA and DQ_SUM ---------------------------------------------------- */

static size_t aligned(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t delta_bytes(const cm3__attention_shape *s) {
    return aligned((size_t)(s->batch * s->heads * s->sequence) * sizeof(float));
}

static size_t plan_bytes(const cm3__attention_shape *s) {
    return aligned((size_t)cm3__cudnn_plan_room(s));
}

static size_t room(const cm3_call *call, bool backward) {
    cm3__attention_shape s;
    if (!shape_of(call, backward, &s)) return 0;
    return ALIGNMENT + plan_bytes(&s) + (backward ? delta_bytes(&s) * (size_t)(1 + s.d) : 0);
}

static size_t forward_room(const cm3_call *call) {
    return room(call, false);
}

static size_t backward_room(const cm3_call *call) {
    return room(call, true);
}

/* --- running ----------------------------------------------------------------------------------------------------- */

static cm3_status execute(const cm3__cudnn_plan *plan, void *const address[], void *workspace) {
    void *wanted[CM3__ATTENTION_TENSORS];
    cudnnBackendDescriptor_t pack;
    for (int i = 0; i < plan->count; i++) wanted[i] = address[plan->tensors[i]];
    CM3_TRY(check("addresses", cudnn.BackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack)));
    cudnnStatus_t status = cudnn.BackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64,
                                                     plan->count, plan->tensors);
    if (!status)
        status = cudnn.BackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
                                           plan->count, wanted);
    if (!status)
        status = cudnn.BackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (!status) status = cudnn.BackendFinalize(pack);
    if (!status) status = cudnn.BackendExecute(handle, plan->plan, pack);
    cudnn.BackendDestroyDescriptor(pack);
    return check("attention", status);
}

static cm3_status run(const cm3_call *call, bool backward) {
    const shape_plan *of = NULL;
    CM3_TRY(find(call, backward, &of));
    const cm3__attention_shape *s = &of->shape;
    const int64_t k = s->heads * s->d, v = k + s->kv_heads * s->d; /* elements from the first of a row */
    uint16_t *in = call->in[0].data, *grad = backward ? call->grad_in[0].data : NULL;
    float scale = call->attr->scale, hidden = -INFINITY, one = 1;
    char *own = (char *)(((uintptr_t)call->workspace + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    char *delta = own + plan_bytes(s);
    void *const address[CM3__ATTENTION_TENSORS] = {[CM3__Q] = in,
                                                   [CM3__K] = in + k,
                                                   [CM3__V] = in + v,
                                                   [CM3__Y] = call->out[0].data,
                                                   [CM3__LSE] = call->out[1].data,
                                                   [CM3__DY] = call->grad_out.data,
                                                   [CM3__DQ] = grad,
                                                   [CM3__DK] = grad ? grad + k : NULL,
                                                   [CM3__DV] = grad ? grad + v : NULL,
                                                   [CM3__DELTA] = delta,
                                                   [CM3__DQ_SUM] = delta + delta_bytes(s),
                                                   [CM3__SCALE] = &scale,
                                                   [CM3__HIDDEN] = &hidden,
                                                   [CM3__ONE] = &one};
    /* Counters that must begin at zero: other operations have had this memory. */
    CM3_TRY(cm3__device_memory.clear(own, (size_t)of->plan.workspace));
    return execute(&of->plan, address, own);
}

static cm3_status forward(const cm3_call *call) {
    return run(call, false);
}

static cm3_status backward(const cm3_call *call) {
    return run(call, true);
}

const cm3_kernel cm3__cudnn_attention = {forward, backward, forward_room, backward_room};

#else

static size_t no_room(const cm3_call *call) {
    (void)call;
    return 0;
}

const cm3_kernel cm3__cudnn_attention = {.forward_workspace = no_room, .backward_workspace = no_room};

#endif
