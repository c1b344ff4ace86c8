#include "core/kernels/cuda/cudnn_run.h"

#include "core/kernels/cuda/cudnn_graph.h"
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/stream.h"

#ifdef CM3__CUDNN_IS_KNOWN
#include <stdlib.h>
#include <string.h>

enum { MOST_PLANS = 512 };

typedef struct kept_plan {
    const cm3__cudnn_operation *operation;
    unsigned char shape[CM3__CUDNN_SHAPE];
    cm3__cudnn_plan plan;
} kept_plan;

static cm3__cudnn cudnn;
static cudnnHandle_t handle;
static kept_plan plans[MOST_PLANS];
static int plan_count;

static cm3_status check(const char *what, cudnnStatus_t status) {
    if (status == CUDNN_STATUS_SUCCESS) return CM3_OK;
    return cm3_fail(CM3_ERR_DEVICE, "cuDNN: %s: %s", what, cudnn.GetErrorString(status));
}

static cm3_status open_cudnn(void) {
    cudnnHandle_t made;
    if (handle) return CM3_OK;
    CM3_TRY(cm3__cudnn_load(&cudnn));
    CM3_TRY(check("opening it", cudnn.Create(&made)));
    CM3_TRY(check("its stream", cudnn.SetStream(made, cm3__cuda_stream())));
    handle = made;
    return CM3_OK;
}

static cm3_status find(const cm3__cudnn_operation *operation, const void *shape, const cm3__cudnn_plan **found) {
    for (int i = 0; i < plan_count; i++) {
        *found = &plans[i].plan;
        if (plans[i].operation == operation && !memcmp(plans[i].shape, shape, operation->shape_bytes)) return CM3_OK;
    }
    if (plan_count == MOST_PLANS) return cm3_fail(CM3_ERR_UNSUPPORTED, "cuDNN: more than %d plans", MOST_PLANS);
    kept_plan *made = &plans[plan_count];
    CM3_TRY(open_cudnn());
    CM3_TRY(cm3__cudnn_plan_make(&cudnn, &(cm3__cudnn_device){.handle = handle}, operation, shape, &made->plan));
    made->operation = operation;
    memcpy(made->shape, shape, operation->shape_bytes);
    plan_count++;
    *found = &made->plan;
    return CM3_OK;
}

static cm3_status execute(const char *name, const cm3__cudnn_plan *plan, void *const address[], void *workspace) {
    void *wanted[CM3__CUDNN_TENSORS];
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
    return check(name, status);
}

cm3_status cm3__cudnn_run(const cm3__cudnn_operation *operation, const void *shape, void *const address[],
                          void *workspace) {
    const cm3__cudnn_plan *plan = NULL;
    CM3_TRY(find(operation, shape, &plan));
    const uintptr_t unit = CM3__CUDNN_ALIGNMENT;
    char *own = (char *)(((uintptr_t)workspace + unit - 1) / unit * unit);
    if (operation->clean) CM3_TRY(cm3__device_memory.clear(own, (size_t)plan->workspace));
    return execute(operation->name, plan, address, own);
}

#else

cm3_status cm3__cudnn_run(const cm3__cudnn_operation *operation, const void *shape, void *const address[],
                          void *workspace) {
    (void)shape, (void)address, (void)workspace;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "%s: built without cuDNN's header", operation->name);
}

#endif
