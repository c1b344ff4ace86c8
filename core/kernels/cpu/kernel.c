#include "core/kernels/cpu/kernel.h"

#include <string.h>

typedef struct addition {
    float *to;
    const float *from;
    bool accumulate;
} addition;

static void add_range(const void *context, int64_t first, int64_t last) {
    const addition *a = context;
    float *to = a->to;
    const float *from = a->from;
    if (!a->accumulate) {
        memcpy(to + first, from + first, (size_t)(last - first) * sizeof *to);
        return;
    }
#pragma omp simd
    for (int64_t i = first; i < last; i++) to[i] += from[i];
}

void cm3__add_to(float *to, const float *from, int64_t count, bool accumulate) {
    const addition a = {.to = to, .from = from, .accumulate = accumulate};
    if (to && to != from) cm3_parallel_for(count, cm3__grain(1), add_range, &a);
}
