#include "core/kernels/cpu/kernel.h"

#include <math.h>
#include <string.h>

/* Workspace: frequencies (D/2) as double, then for each thread cosines and sines (D/2) of the row at hand. */
static int64_t head_size(const cm3_call *call) {
    return cm3__dim(&call->in[0], 1) / (call->attr->heads + 2 * call->attr->kv_heads);
}

static size_t workspace(const cm3_call *call) {
    const int64_t half = head_size(call) / 2;
    return (size_t)half * sizeof(double) + (size_t)(omp_get_max_threads() * 2 * half) * sizeof(float);
}

/* to = [to +] from with q and k turned by direction times the angle: +1 forward, -1 is the transpose, for the gradient. */
static void rotate_all(const cm3_call *call, float *to, const float *from, double direction, bool accumulate) {
    const int64_t n = cm3__dim(&call->in[0], 0), width = cm3__dim(&call->in[0], 1), d = head_size(call), half = d / 2;
    const int64_t turned = call->attr->heads + call->attr->kv_heads;
    const int32_t *positions = call->in[1].data;
    double *frequency = call->workspace;
    float *tables = (float *)(frequency + half);
    const cm3_simd *simd = cm3__simd();
    for (int64_t j = 0; j < half; j++) frequency[j] = direction * pow((double)call->attr->theta, -2.0 * (double)j / (double)d);
#pragma omp parallel num_threads(cm3__threads(n, width))
    {
        int64_t first, last;
        cm3__my_share(n, 1, &first, &last);
        float *cosine = tables + omp_get_thread_num() * d, *sine = cosine + half;
        for (int64_t i = first; i < last; i++) {
            for (int64_t j = 0; j < half && (i == first || positions[i] != positions[i - 1]); j++) {
                const double angle = positions[i] * frequency[j];
                cosine[j] = (float)cos(angle);
                sine[j] = (float)sin(angle);
            }
            float *row = to + i * width;
            const float *source = from + i * width;
            for (int64_t h = 0; h < turned; h++) simd->rotate(row + h * d, source + h * d, cosine, sine, accumulate, half);
            if (row == source) continue;
            for (int64_t c = turned * d; c < width; c++) row[c] = accumulate ? row[c] + source[c] : source[c];
        }
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
