#include "core/kernels/cpu/turn.h"

/* to = [to +] from with q and k turned by direction times the angle: +1 forward, -1 is the transpose, for the gradient.
 */
static void rotate_all(const cm3_call *call, float *to, const float *from, double direction, bool accumulate) {
    const cm3__packed s = cm3__packed_of(call);
    const int64_t n = s.rows, width = s.width, d = s.d, turned = s.heads + s.kv_heads;
    const cm3__turn turn = cm3__turn_of(call, call->in[1].data, direction, call->workspace);
    const cm3_simd *simd = cm3__simd();
#pragma omp parallel for schedule(static) num_threads(cm3__threads(n, width))
    for (int64_t i = 0; i < n; i++) {
        const float *cosine = cm3__turn_row(&turn, i), *source = from + i * width;
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

const cm3_kernel cm3__cpu_rotary = {.forward = forward,
                                    .backward = backward,
                                    .forward_workspace = cm3__turn_workspace,
                                    .backward_workspace = cm3__turn_workspace};
