/* The global norm of a gradient, and clipping by it (Pascanu et al., "On the difficulty of training recurrent neural
 * networks", ICML 2013). */
#ifndef CM3_OPTIM_CLIP_H
#define CM3_OPTIM_CLIP_H

#include "core/status.h"
#include "dist/comm.h"

#include <stdint.h>

/* Sum of squares of a range, added up in double. Its bits do not depend on the number of threads. */
double cm3_sum_of_squares(const float *values, int64_t count);

/* The norm of a gradient of which every rank holds all (`comm` NULL) or a piece of its own (summed over `comm`). A
 * gradient that is not finite gives a norm that is not finite: see train/guard.h. */
cm3_status cm3_gradient_norm(const float *grad, int64_t count, cm3_comm *comm, double *norm);

/* min(1, limit / norm); 1 if limit is 0. NaN for a norm that is not finite: nothing is ever hidden. */
double cm3_clip_factor(double norm, double limit);

#endif
