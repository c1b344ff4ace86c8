#include "optim/clip.h"

#include <math.h>
#include <stddef.h>

/* The range is cut into a fixed number of slots, a slot's squares are added in fixed lanes, and the slots one after
 * another: threads only decide who adds a slot, never in which order numbers meet. */
enum { SLOTS = 256, LANES = 16 };

static double slot_sum(const float *values, int64_t count) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)values[i + l] * (double)values[i + l];
    for (int l = 0; i < count; i++, l++) lane[l] += (double)values[i] * (double)values[i];
    double sum = 0;
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

double cm3_sum_of_squares(const float *values, int64_t count) {
    double slots[SLOTS];
    const int64_t length = (count + SLOTS - 1) / SLOTS;
#pragma omp parallel for schedule(static) if (count > 1 << 16)
    for (int s = 0; s < SLOTS; s++) {
        const int64_t begin = s * length < count ? s * length : count;
        const int64_t end = begin + length < count ? begin + length : count;
        slots[s] = slot_sum(values + begin, end - begin);
    }
    double sum = 0;
    for (int s = 0; s < SLOTS; s++) sum += slots[s];
    return sum;
}

cm3_status cm3_gradient_norm(const float *grad, int64_t count, cm3_comm *comm, double *norm) {
    double sum = cm3_sum_of_squares(grad, count);
    if (comm != NULL) CM3_TRY(cm3_comm_reduce_f64(comm, &sum, 1, CM3_REDUCE_SUM));
    *norm = sqrt(sum);
    return CM3_OK;
}

double cm3_clip_factor(double norm, double limit) {
    if (!isfinite(norm)) return NAN;
    return limit > 0 && norm > limit ? limit / norm : 1;
}
