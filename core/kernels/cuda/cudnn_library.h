/* cuDNN, opened at run time: nothing of ours is linked with it, and nothing needs it. */
#ifndef CM3_CORE_KERNELS_CUDA_CUDNN_LIBRARY_H
#define CM3_CORE_KERNELS_CUDA_CUDNN_LIBRARY_H

#include "core/status.h"

#if __has_include(<cudnn.h>) && __has_include(<cuda_runtime_api.h>)
#define CM3__CUDNN_IS_KNOWN 1
#include <cudnn.h>

/* The functions that we use. */
#define CM3__CUDNN_LIST(X)                                                                                             \
    X(GetVersion)                                                                                                      \
    X(GetErrorString)                                                                                                  \
    X(GetLastErrorString)                                                                                              \
    X(Create)                                                                                                          \
    X(SetStream)                                                                                                       \
    X(BackendCreateDescriptor) X(BackendDestroyDescriptor) X(BackendSetAttribute) X(BackendGetAttribute)               \
        X(BackendFinalize) X(BackendExecute)

typedef struct cm3__cudnn {
#define X(name) __typeof__(&cudnn##name) name;
    CM3__CUDNN_LIST(X)
#undef X
} cm3__cudnn;

/* Opens libcudnn.so.9. CM3_ERR_UNSUPPORTED says why that cannot be. */
cm3_status cm3__cudnn_load(cm3__cudnn *cudnn);

#endif
#endif
