#include "core/kernels/cpu/packed.h"

#include <math.h>

/* Frequencies (D/2) as double; then up to N rows of D/2 cosines and D/2 sines. */
static size_t workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return (size_t)(s.d / 2) * sizeof(double) + (size_t)(s.rows * s.d) * sizeof(float);
}

typedef struct turn {
    int64_t d;
    const double *frequency;
    float *table;
    bool shared; /* row p of the table is for position p, or row i is for row i of the tensor */
} turn;

static void fill_row(const turn *t, int64_t row, int32_t position) {
    float *cosine = t->table + row * t->d, *sine = cosine + t->d / 2;
    for (int64_t j = 0; j < t->d / 2; j++) {
        const double angle = position * t->frequency[j];
        cosine[j] = (float)cos(angle);
        sine[j] = (float)sin(angle);
    }
}

/* Sequences of one batch share their positions: when these are few enough, each angle is computed once. */
static turn turn_of(const cm3_call *call, double direction) {
    const int64_t n = cm3__packed_of(call).rows, d = cm3__packed_of(call).d;
    const int32_t *positions = call->in[1].data;
    double *frequency = call->workspace;
    const turn t = {.d = d, .frequency = frequency, .table = (float *)(frequency + d / 2)};
    int32_t least = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        least = positions[i] < least ? positions[i] : least;
        most = positions[i] > most ? positions[i] : most;
    }
    const bool shared = least >= 0 && most < n;
    const int64_t rows = shared ? (int64_t)most + 1 : n;
    for (int64_t j = 0; j < d / 2; j++)
        frequency[j] = direction * pow((double)call->attr->theta, -2.0 * (double)j / (double)d);
#pragma omp parallel for schedule(static) num_threads(cm3__threads(rows, 16 * d))
    for (int64_t row = 0; row < rows; row++) fill_row(&t, row, shared ? (int32_t)row : positions[row]);
    return (turn){.d = d, .frequency = frequency, .table = t.table, .shared = shared};
}

/* to = [to +] from with q and k turned by direction times the angle: +1 forward, -1 is the transpose, for the gradient.
 */
static void rotate_all(const cm3_call *call, float *to, const float *from, double direction, bool accumulate) {
    const cm3__packed s = cm3__packed_of(call);
    const int64_t n = s.rows, width = s.width, d = s.d, turned = s.heads + s.kv_heads;
    const int32_t *positions = call->in[1].data;
    const turn t = turn_of(call, direction);
    const cm3_simd *simd = cm3__simd();
#pragma omp parallel for schedule(static) num_threads(cm3__threads(n, width))
    for (int64_t i = 0; i < n; i++) {
        const float *cosine = t.table + (t.shared ? positions[i] : i) * d, *source = from + i * width;
        float *row = to + i * width;
        for (int64_t h = 0; h < turned; h++)
            simd->rotate(row + h * d, source + h * d, cosine, cosine + d / 2, accumulate, d / 2);
        if (row == source) continue;
        for (int64_t c = turned * d; c < width; c++) row[c] = accumulate ? row[c] + source[c] : source[c];
    }
}

static cm3_status forward(const cm3_call *call) {
    rotate_all(call, call->out[0].data, call->in[0].data, 1, false);
    return CM3_OK;
}

static cm3_status backward(const cm3_call *call) {
    if (call->grad_in[0].data) rotate_all(call, call->grad_in[0].data, call->grad_out.data, -1, call->accumulate[0]);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_rotary = {
    .forward = forward, .backward = backward, .forward_workspace = workspace, .backward_workspace = workspace};
