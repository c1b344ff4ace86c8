/* The stream on which everything of this process is queued, for what calls CUDA's libraries itself. */
#ifndef CM3_CORE_KERNELS_CUDA_STREAM_H
#define CM3_CORE_KERNELS_CUDA_STREAM_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

cudaStream_t cm3__cuda_stream(void);

#ifdef __cplusplus
}
#endif

#endif
