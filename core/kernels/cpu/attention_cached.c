/* ATTENTION_CACHED: new positions of a generation, against the keys and values of those before them. */
#include "core/kernels/cpu/packed.h"

#include <string.h>

static int64_t capacity_of(const cm3_call *call) {
    return cm3__dim(&call->in[1], 1);
}

static size_t scratch_of(const cm3_call *call) {
    const int64_t capacity = capacity_of(call);
    const size_t one = (size_t)capacity, many = cm3__attention_forward_scratch(capacity, cm3__packed_of(call).d);
    return ((call->attr->sequence == 1 ? one : many) + 15) / 16 * 16;
}

static size_t workspace(const cm3_call *call) {
    return (size_t)cm3_threads_count() * scratch_of(call) * sizeof(float);
}

static void append(const cm3_call *call, const cm3__packed *s, int64_t b, int64_t start) {
    const int64_t row = s->kv_heads * s->d;
    const float *qkv = (const float *)call->in[0].data + b * s->sequence * s->width;
    float *keys = (float *)call->in[1].data + (b * capacity_of(call) + start) * row;
    float *values = (float *)call->in[2].data + (b * capacity_of(call) + start) * row;
    for (int64_t t = 0; t < s->sequence; t++) {
        memcpy(keys + t * row, qkv + t * s->width + s->heads * s->d, (size_t)row * sizeof *keys);
        memcpy(values + t * row, qkv + t * s->width + s->heads * s->d + row, (size_t)row * sizeof *values);
    }
}

static cm3__attention head_of(const cm3_call *call, const cm3__packed *s, int64_t b, int64_t head, int64_t start) {
    const int64_t kv_head = cm3__packed_kv_head(s, head), row = s->kv_heads * s->d,
                  at = b * capacity_of(call) * row + kv_head * s->d;
    return (cm3__attention){.queries = s->sequence,
                            .keys = start + s->sequence,
                            .d = s->d,
                            .offset = start,
                            .causal = true,
                            .scale = call->attr->scale,
                            .q = (const float *)call->in[0].data + b * s->sequence * s->width + head * s->d,
                            .q_row = s->width,
                            .k = (const float *)call->in[1].data + at,
                            .k_row = row,
                            .v = (const float *)call->in[2].data + at,
                            .v_row = row,
                            .y = (float *)call->out[0].data + (b * s->sequence * s->heads + head) * s->d,
                            .y_row = s->heads * s->d};
}

static void attend(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const cm3__packed s = cm3__packed_of(call);
    const int32_t *start = call->in[3].data;
    float *scratch = (float *)call->workspace + (size_t)cm3_thread_index() * scratch_of(call);
    const cm3_simd *simd = cm3__simd();
    for (int64_t i = first; i < last; i++) {
        const int64_t b = i / s.heads, head = i % s.heads;
        const cm3__attention a = head_of(call, &s, b, head, start[b]);
        (s.sequence == 1 ? simd->attention_one : simd->attention_forward)(
            &a, &(cm3__attention_part){.last = s.sequence, .new_keys = true}, scratch);
    }
}

static cm3_status forward(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    const int64_t capacity = capacity_of(call);
    const int32_t *start = call->in[3].data;
    for (int64_t b = 0; b < s.batch; b++) {
        if (start[b] < 0 || start[b] + s.sequence > capacity)
            return cm3_fail(
                CM3_ERR_SHAPE,
                "attention_cached: row %lld starts at %d, but a cache of %lld has no room there for %lld more",
                (long long)b, start[b], (long long)capacity, (long long)s.sequence);
        append(call, &s, b, start[b]);
    }
    cm3_parallel_for(s.batch * s.heads, cm3__grain(capacity * s.d), attend, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_attention_cached = {.forward = forward, .forward_workspace = workspace};
