/* What stands in the place of cuDNN's attention on the host: it takes bf16 heads of a width and says no to all others,
 * computes by our plain kernels, and errs as a test tells it to. */
#ifndef CM3_TESTS_SUPPORT_SIMT_ATTENTION_CUDNN_H
#define CM3_TESTS_SUPPORT_SIMT_ATTENTION_CUDNN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct simt_cudnn {
    int64_t d;      /* of heads that it takes; 0: none */
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
