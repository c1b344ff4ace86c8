/* The device under the kernels: CUDA's runtime (device_cuda.cu), or the host where the tests run kernels on it
 * (tests/support/simt). */
#ifndef CM3_CORE_KERNELS_CUDA_DEVICE_H
#define CM3_CORE_KERNELS_CUDA_DEVICE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/tensor/op.h"

/* Opens number `local` of the devices that can be seen, beginning again after the last. CM3_ERR_UNSUPPORTED says why
 * there is none. Once; later calls do nothing. */
cm3_status cm3__device_open(int local);
/* "NVIDIA H100 80GB HBM3, 132 SMs, 79.1 GiB, driver 13.0": for the start-up table. */
const char *cm3__device_text(void);
/* Of the backend's table. */
double cm3__device_peak(cm3_dtype type);
/* Waits until all that was queued is done, and says what failed of it. */
cm3_status cm3__device_wait(void);

/* Waits, and forgets a failure that somebody has dealt with. */
void cm3__device_forget(void);

/* The time that the device takes for what is queued between the two; the second waits for it. */
cm3_status cm3__device_clock_start(void);
cm3_status cm3__device_clock_stop(double *seconds);

extern const cm3_memory cm3__device_memory;
extern const cm3_graph_api cm3__device_graph;
extern const cm3_collective cm3__device_collective __attribute__((weak)); /* where NCCL is known */

#ifdef __cplusplus
}
#endif

#endif
