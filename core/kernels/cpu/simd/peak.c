#include "core/kernels/cpu/simd/prototypes.h"
#include "core/kernels/cpu/simd/vec.h"

/* As many independent sums as hide the latency of a multiply-add in both multipliers, and as all levels have registers
 * for. */
enum { SUMS = 12 };

void CM3_SIMD(cm3__multiply_adds)(int64_t rounds, double *flops, float *result) {
    cm3_vec sum[SUMS], factor, term;
    for (int l = 0; l < CM3_VEC_LANES; l++) {
        factor[l] = 0.5f;
        term[l] = *result;
    }
    for (int s = 0; s < SUMS; s++) sum[s] = term * (float)s;
    for (int64_t i = 0; i < rounds; i++)
        for (int s = 0; s < SUMS; s++) sum[s] = sum[s] * factor + term;
    for (int s = 0; s < SUMS; s++)
        for (int l = 0; l < CM3_VEC_LANES; l++) *result += sum[s][l]; /* so that they are computed */
    *flops = 2.0 * SUMS * CM3_VEC_LANES * (double)rounds;
}
