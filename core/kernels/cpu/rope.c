#include "core/kernels/cpu/rope.h"

#include <math.h>

size_t cm3__rope_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return ((size_t)(s.d / 2) * sizeof(double) + (size_t)(s.rows * s.d) * sizeof(float) + 63) / 64 * 64;
}

static void fill_rows(const void *context, int64_t first, int64_t last) {
    const cm3__rope *r = context;
    for (int64_t row = first; row < last; row++) {
        float *cosine = r->table + row * r->d, *sine = cosine + r->d / 2;
        const int32_t position = r->shared ? (int32_t)row : r->positions[row];
        for (int64_t j = 0; j < r->d / 2; j++) {
            const double angle = position * r->frequency[j];
            cosine[j] = (float)cos(angle);
            sine[j] = (float)sin(angle);
        }
    }
}

/* Sequences of one batch share their positions: when these are few enough, each angle is computed once. */
cm3__rope cm3__rope_of(const cm3_call *call, const int32_t *positions, double direction, void *workspace) {
    const int64_t n = cm3__packed_of(call).rows, d = cm3__packed_of(call).d;
    double *frequency = workspace;
    cm3__rope r = {.d = d, .positions = positions, .frequency = frequency, .table = (float *)(frequency + d / 2)};
    int32_t least = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        least = positions[i] < least ? positions[i] : least;
        most = positions[i] > most ? positions[i] : most;
    }
    r.shared = least >= 0 && most < n;
    for (int64_t j = 0; j < d / 2; j++)
        frequency[j] = direction * pow((double)call->attr->theta, -2.0 * (double)j / (double)d);
    cm3_parallel_for(r.shared ? (int64_t)most + 1 : n, cm3__grain(16 * d), fill_rows, &r);
    return r;
}
