/* cuDNN's plans for attention, through its backend API, which is plain C: operations are described one by one, the
 * library proposes engines for all of them together, and the first one that can be made ready is the plan. The GPU is
 * there, or only described: then the driver may be missing, too.
 *
 *   forward    S = scale Q K^T [later keys: -inf];  LSE = log sum exp S;  P = softmax S;  Y = P V
 *   backward   P = exp(S - LSE);  DELTA = sum(Y dY);  dS = scale P (dY V^T - DELTA)
 *              dV = P^T dY;  dK = dS^T Q;  dQ = dS K, added up in f32
 *
 * Scores and what is made of them are virtual: no memory ever holds them. */
#ifndef CM3_CORE_KERNELS_CUDA_ATTENTION_CUDNN_PLAN_H
#define CM3_CORE_KERNELS_CUDA_ATTENTION_CUDNN_PLAN_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

#if __has_include(<cudnn.h>) && __has_include(<cuda_runtime_api.h>)
#define CM3__CUDNN_IS_KNOWN 1
#include <cudnn.h>

/* The functions that we use. */
#define CM3__CUDNN_LIST(X)                                                                                             \
    X(GetVersion)                                                                                                      \
    X(GetErrorString)                                                                                                  \
    X(GetLastErrorString)                                                                                              \
    X(Create) X(SetStream) X(BackendCreateDescriptor) X(BackendDestroyDescriptor) X(BackendSetAttribute)               \
        X(BackendGetAttribute) X(BackendFinalize) X(BackendExecute)

typedef struct cm3__cudnn {
#define X(name) __typeof__(&cudnn##name) name;
    CM3__CUDNN_LIST(X)
#undef X
} cm3__cudnn;

/* Opens libcudnn.so.9. CM3_ERR_UNSUPPORTED says why that cannot be. */
cm3_status cm3__cudnn_load(cm3__cudnn *cudnn);

/* bf16; rows have q of `heads` heads, then k and v of `kv_heads`, each of d elements. */
typedef struct cm3__attention_shape {
    int64_t batch, heads, kv_heads, sequence, d;
    bool causal, backward;
} cm3__attention_shape;

/* What a plan reads and writes. */
typedef enum cm3__attention_tensor {
    CM3__VIRTUAL,
    CM3__Q,
    CM3__K,
    CM3__V,
    CM3__Y,
    CM3__LSE, /* f32 (batch, heads, sequence) */
    CM3__DY,
    CM3__DQ, /* these three lie as q, k and v */
    CM3__DK,
    CM3__DV,
    CM3__DELTA,  /* f32 (batch, heads, sequence) */
    CM3__DQ_SUM, /* f32 (batch, heads, sequence, d) */
    CM3__SCALE,  /* floats of the host */
    CM3__HIDDEN, /* the score of a key that must not be seen */
    CM3__ONE,
    CM3__ATTENTION_TENSORS
} cm3__attention_tensor;

/* One of the two. */
typedef struct cm3__cudnn_device {
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t description; /* finalized; of the type DEVICEPROP */
} cm3__cudnn_device;

typedef struct cm3__cudnn_plan {
    cudnnBackendDescriptor_t plan, config;
    int64_t workspace;                       /* bytes of its own: no more than its room */
    int64_t tensors[CM3__ATTENTION_TENSORS]; /* those that it wants addresses of */
    int count;
} cm3__cudnn_plan;

/* Bytes that a plan may want for itself. */
int64_t cm3__cudnn_plan_room(const cm3__attention_shape *shape);
/* CM3_ERR_UNSUPPORTED if cuDNN has none. */
cm3_status cm3__cudnn_plan_make(const cm3__cudnn *cudnn, const cm3__cudnn_device *device,
                                const cm3__attention_shape *shape, cm3__cudnn_plan *plan);
void cm3__cudnn_plan_free(const cm3__cudnn *cudnn, cm3__cudnn_plan *plan);

#endif
#endif
