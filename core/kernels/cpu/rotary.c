#include "core/kernels/cpu/rope.h"

typedef struct rotation {
    cm3__packed shape;
    cm3__rope rope;
    float *to;
    const float *from;
    bool accumulate;
} rotation;

static void rotate_rows(const void *context, int64_t first, int64_t last) {
    const rotation *r = context;
    const cm3__packed *s = &r->shape;
    const int64_t width = s->width, d = s->d, rotated = s->heads + s->kv_heads;
    const cm3_simd *simd = cm3__simd();
    for (int64_t i = first; i < last; i++) {
        const float *cosine = cm3__rope_row(&r->rope, i), *source = r->from + i * width;
        float *row = r->to + i * width;
        for (int64_t h = 0; h < rotated; h++)
            simd->rotate(row + h * d, source + h * d, cosine, cosine + d / 2, r->accumulate, d / 2);
        if (row == source) continue;
        for (int64_t c = rotated * d; c < width; c++) row[c] = r->accumulate ? row[c] + source[c] : source[c];
    }
}

/* to = [to +] from with q and k rotated by direction times the angle: +1 forward, -1 is the transpose, for gradients.
 */
static void rotate_all(const cm3_call *call, float *to, const float *from, double direction, bool accumulate) {
    const rotation r = {.shape = cm3__packed_of(call),
                        .rope = cm3__rope_of(call, call->in[1].data, direction, call->workspace),
                        .to = to,
                        .from = from,
                        .accumulate = accumulate};
    cm3_parallel_for(r.shape.rows, cm3__grain(r.shape.width), rotate_rows, &r);
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
                                    .forward_workspace = cm3__rope_workspace,
                                    .backward_workspace = cm3__rope_workspace};
