/* Plans of cuDNN through its backend API, which is plain C: operations are described one by one, the library proposes
 * engines for all of them together, and the first one that we accept and that can be made ready is the plan. The GPU is
 * there, or only described: then the driver may be missing, too. No engine that admits to other bits in every run is
 * accepted.
 *
 * After the first failure every function of a graph does nothing; `status` has it. */
#ifndef CM3_CORE_KERNELS_CUDA_CUDNN_GRAPH_H
#define CM3_CORE_KERNELS_CUDA_CUDNN_GRAPH_H

#include "core/kernels/cuda/cudnn_library.h"
#include "core/kernels/cuda/cudnn_run.h"

#ifdef CM3__CUDNN_IS_KNOWN

/* --- plans ------------------------------------------------------------------------------------------------------- */

/* One of the two. */
typedef struct cm3__cudnn_device {
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t description; /* finalized; of the type DEVICEPROP */
} cm3__cudnn_device;

typedef struct cm3__cudnn_plan {
    cudnnBackendDescriptor_t plan, config;
    int64_t workspace;                   /* bytes of its own: no more than its room */
    int64_t tensors[CM3__CUDNN_TENSORS]; /* the numbers of those that it wants addresses of */
    int count;
} cm3__cudnn_plan;

/* CM3_ERR_UNSUPPORTED if cuDNN has none. */
cm3_status cm3__cudnn_plan_make(const cm3__cudnn *cudnn, const cm3__cudnn_device *device,
                                const cm3__cudnn_operation *operation, const void *shape, cm3__cudnn_plan *plan);
void cm3__cudnn_plan_free(const cm3__cudnn *cudnn, cm3__cudnn_plan *plan);

/* --- graphs ------------------------------------------------------------------------------------------------------ */

typedef cudnnBackendDescriptor_t cm3__part;

enum { CM3__GRAPH_PARTS = 640, CM3__GRAPH_OPERATIONS = 32 };

typedef struct cm3__graph {
    const cm3__cudnn *cudnn;
    const cm3__cudnn_operation *operation;
    const void *shape;
    cm3__cudnn_plan *plan;
    cm3_status status;
    cm3__part parts[CM3__GRAPH_PARTS], operations[CM3__GRAPH_OPERATIONS];
    int part_count, operation_count;
} cm3__graph;

/* A part of a graph: made, told its attributes, finished. */
cm3__part cm3__graph_part(cm3__graph *g, cudnnBackendDescriptorType_t type);
void cm3__graph_set(cm3__graph *g, cm3__part of, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                    int64_t count, const void *values);
void cm3__graph_set_part(cm3__graph *g, cm3__part of, cudnnBackendAttributeName_t name, cm3__part value);
void cm3__graph_set_type(cm3__graph *g, cm3__part of, cudnnBackendAttributeName_t name, cudnnDataType_t value);
void cm3__graph_finish(cm3__graph *g, cm3__part of, const char *what);
/* Finishes an operation, the graph's next. */
void cm3__graph_add(cm3__graph *g, cm3__part operation);

typedef struct cm3__layout {
    int64_t dim[4], stride[4];
} cm3__layout;

typedef enum cm3__storage {
    CM3__VIRTUAL, /* between operations: no memory ever holds it */
    CM3__STORED,  /* at an address that 16 divides */
    CM3__BY_VALUE /* a number of the host */
} cm3__storage;

/* number: of those that are not virtual. */
cm3__part cm3__graph_tensor(cm3__graph *g, cm3__storage storage, int number, cudnnDataType_t type, cm3__layout at);

/* y = mode(x [, b [, t]]), all elements alike. */
typedef struct cm3__pointwise {
    cudnnPointwiseMode_t mode;
    cudnnDataType_t type; /* that it computes in */
    int64_t axis;         /* GEN_INDEX: its; else 0 */
    cm3__part x, b, t, y; /* b and t may be NULL */
} cm3__pointwise;

/* Gives y. */
cm3__part cm3__graph_pointwise(cm3__graph *g, cm3__pointwise function);

#endif
#endif
