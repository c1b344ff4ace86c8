/* ATTENTION_CACHED: new positions of a generation, against the keys and values of those before them. */
#include "core/kernels/cpu/kernel.h"

#include <string.h>

typedef struct shape {
    int64_t batch, fresh, heads, kv_heads, d, width, capacity; /* fresh: T; capacity: P */
} shape;

static shape shape_of(const cm3_call *call) {
    const int64_t heads = call->attr->heads, kv_heads = call->attr->kv_heads, width = cm3__dim(&call->in[0], 1);
    return (shape){cm3__dim(&call->in[0], 0) / call->attr->sequence,
                   call->attr->sequence,
                   heads,
                   kv_heads,
                   width / (heads + 2 * kv_heads),
                   width,
                   cm3__dim(&call->in[1], 1)};
}

static size_t scratch_of(const shape *s) {
    const size_t one = (size_t)s->capacity, many = cm3__attention_forward_scratch(s->capacity, s->d);
    return ((s->fresh == 1 ? one : many) + 15) / 16 * 16;
}

static size_t workspace(const cm3_call *call) {
    const shape s = shape_of(call);
    return (size_t)omp_get_max_threads() * scratch_of(&s) * sizeof(float);
}

static void append(const cm3_call *call, const shape *s, int64_t b, int64_t start) {
    const int64_t row = s->kv_heads * s->d;
    const float *qkv = (const float *)call->in[0].data + b * s->fresh * s->width;
    float *keys = (float *)call->in[1].data + (b * s->capacity + start) * row;
    float *values = (float *)call->in[2].data + (b * s->capacity + start) * row;
    for (int64_t t = 0; t < s->fresh; t++) {
        memcpy(keys + t * row, qkv + t * s->width + s->heads * s->d, (size_t)row * sizeof *keys);
        memcpy(values + t * row, qkv + t * s->width + s->heads * s->d + row, (size_t)row * sizeof *values);
    }
}

static cm3__attention head_of(const cm3_call *call, const shape *s, int64_t b, int64_t head, int64_t start) {
    const int64_t kv_head = head * s->kv_heads / s->heads, row = s->kv_heads * s->d,
                  at = b * s->capacity * row + kv_head * s->d;
    return (cm3__attention){.queries = s->fresh,
                            .keys = start + s->fresh,
                            .d = s->d,
                            .offset = start,
                            .causal = true,
                            .scale = call->attr->scale,
                            .q = (const float *)call->in[0].data + b * s->fresh * s->width + head * s->d,
                            .q_row = s->width,
                            .k = (const float *)call->in[1].data + at,
                            .k_row = row,
                            .v = (const float *)call->in[2].data + at,
                            .v_row = row,
                            .y = (float *)call->out[0].data + (b * s->fresh * s->heads + head) * s->d,
                            .y_row = s->heads * s->d};
}

static cm3_status forward(const cm3_call *call) {
    const shape s = shape_of(call);
    const int32_t *start = call->in[3].data;
    const size_t scratch = scratch_of(&s);
    const cm3_simd *simd = cm3__simd();
    for (int64_t b = 0; b < s.batch; b++) {
        if (start[b] < 0 || start[b] + s.fresh > s.capacity)
            return cm3_fail(
                CM3_ERR_SHAPE,
                "attention_cached: row %lld starts at %d, but a cache of %lld has no room there for %lld more",
                (long long)b, start[b], (long long)s.capacity, (long long)s.fresh);
        append(call, &s, b, start[b]);
    }
    const int threads = cm3__threads(s.batch * s.heads, s.capacity * s.d);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < s.batch * s.heads; i++) {
        const int64_t b = i / s.heads, head = i % s.heads;
        const cm3__attention a = head_of(call, &s, b, head, start[b]);
        float *mine = (float *)call->workspace + (size_t)omp_get_thread_num() * scratch;
        (s.fresh == 1 ? simd->attention_one
                      : simd->attention_forward)(&a, &(cm3__attention_part){.last = s.fresh, .new_keys = true}, mine);
    }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_attention_cached = {.forward = forward, .forward_workspace = workspace};
