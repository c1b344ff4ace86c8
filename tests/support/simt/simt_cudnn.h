/* What stands in the place of cuDNN on the host (core/kernels/cuda/cudnn_run.h): there or not, fast or slow, right or
 * wrong, as a test tells it. It computes by plain loops from nothing but a shape and addresses, and fills the memory
 * that a plan may have for itself. */
#ifndef CM3_TESTS_SUPPORT_SIMT_SIMT_CUDNN_H
#define CM3_TESTS_SUPPORT_SIMT_SIMT_CUDNN_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct simt_cudnn {
    bool there;
    double seconds; /* that a run takes; a launch of ours takes one */
    float error;    /* relative, of all results */
    float noise;    /* relative, of every second run */
    int runs;
} simt_cudnn;

simt_cudnn *simt_cudnn_now(void);

#ifdef __cplusplus
}
#endif

#endif
