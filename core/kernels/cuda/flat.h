/* The optimizer's passes over flat ranges of f32: core/tensor/flat.h on the device, and its parts. Norm and clip factor
 * stay in the device's memory.
 *
 *     cm3__flat_squares(grad, count, false, work, sum)    then, with several ranks, `sum` is added over them
 *     cm3__flat_judge(sum, limit, loss, verdict)
 *     cm3__flat_adamw(update, verdict)
 *
 * Every address is the device's unless it says host. Sums have a fixed order: the same bits in every run. */
#ifndef CM3_CORE_KERNELS_CUDA_FLAT_H
#define CM3_CORE_KERNELS_CUDA_FLAT_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/status.h"
#include "core/tensor/flat.h"

#include <stddef.h>

extern const cm3_flat cm3__cuda_flat;

enum { CM3__FLAT_WORK = 1024 }; /* doubles of `work` */

/* sum (1) = or += the squares of values (count), added up in double. One value that is not finite makes it so too. */
cm3_status cm3__flat_squares(const float *values, int64_t count, bool accumulate, double *work, double *sum);

/* From a sum of squares and a loss (1), or NULL; a limit of 0: no clipping. */
cm3_status cm3__flat_judge(const double *sum, double limit, const float *loss, cm3_flat_verdict *verdict);

/* AdamW, to the bit as optim/adamw.h makes it on the host. `update` and its spans are the host's and may change when
 * this returns. With a verdict its factor goes times the update's own, and nothing is written where it is not finite.
 */
cm3_status cm3__flat_adamw(const cm3_flat_adamw *update, const cm3_flat_verdict *verdict);

#ifdef __cplusplus
}
#endif

#endif
