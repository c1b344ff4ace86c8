#include "core/kernels/cpu/turn.h"

#include <math.h>

size_t cm3__turn_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return ((size_t)(s.d / 2) * sizeof(double) + (size_t)(s.rows * s.d) * sizeof(float) + 63) / 64 * 64;
}

static void fill_row(const cm3__turn *t, int64_t row, int32_t position) {
    float *cosine = t->table + row * t->d, *sine = cosine + t->d / 2;
    for (int64_t j = 0; j < t->d / 2; j++) {
        const double angle = position * t->frequency[j];
        cosine[j] = (float)cos(angle);
        sine[j] = (float)sin(angle);
    }
}

/* Sequences of one batch share their positions: when these are few enough, each angle is computed once. */
cm3__turn cm3__turn_of(const cm3_call *call, const int32_t *positions, double direction, void *workspace) {
    const int64_t n = cm3__packed_of(call).rows, d = cm3__packed_of(call).d;
    double *frequency = workspace;
    cm3__turn t = {.d = d, .positions = positions, .frequency = frequency, .table = (float *)(frequency + d / 2)};
    int32_t least = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        least = positions[i] < least ? positions[i] : least;
        most = positions[i] > most ? positions[i] : most;
    }
    t.shared = least >= 0 && most < n;
    const int64_t rows = t.shared ? (int64_t)most + 1 : n;
    for (int64_t j = 0; j < d / 2; j++)
        frequency[j] = direction * pow((double)call->attr->theta, -2.0 * (double)j / (double)d);
#pragma omp parallel for schedule(static) num_threads(cm3__threads(rows, 16 * d))
    for (int64_t row = 0; row < rows; row++) fill_row(&t, row, t.shared ? (int32_t)row : positions[row]);
    return t;
}
