/* ATTENTION: who computes which head and which queries; the mathematics is in simd/attention.c. */
#include "core/kernels/cpu/packed.h"

#include <math.h>

/* Head `head` of sequence `b`. */
static cm3__attention head_of(const cm3_call *call, const cm3__packed *s, int64_t b, int64_t head) {
    const int64_t kv_head = cm3__packed_kv_head(s, head), row = b * s->sequence, out_width = s->heads * s->d;
    const int64_t q = row * s->width + head * s->d, k = row * s->width + (s->heads + kv_head) * s->d,
                  v = k + s->kv_heads * s->d;
    const int64_t y = row * out_width + head * s->d;
    const float *qkv = call->in[0].data, *dy = call->grad_out.data;
    float *out = call->out[0].data, *lse = call->out[1].data, *grad = call->grad_in[0].data;
    return (cm3__attention){.queries = s->sequence,
                            .keys = s->sequence,
                            .d = s->d,
                            .causal = call->attr->causal,
                            .scale = call->attr->scale,
                            .q = qkv + q,
                            .k = qkv + k,
                            .v = qkv + v,
                            .q_row = s->width,
                            .k_row = s->width,
                            .v_row = s->width,
                            .y = out + y,
                            .y_row = out_width,
                            .lse = lse ? lse + (b * s->heads + head) * s->sequence : NULL,
                            .dy = dy ? dy + y : NULL,
                            .dq = grad ? grad + q : NULL,
                            .dk = grad ? grad + k : NULL,
                            .dv = grad ? grad + v : NULL,
                            .accumulate = call->accumulate[0]};
}

static size_t aligned(size_t floats) {
    return (floats + 15) / 16 * 16;
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

static size_t forward_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return (size_t)cm3_threads_count() * aligned(cm3__attention_forward_scratch(s.sequence, s.d)) * sizeof(float);
}

/* The query at which `share` of a head's work is done: causal work grows with the square of it. */
static int64_t query_at(double share, int64_t queries, bool causal) {
    const int64_t blocks = (queries + CM3__BLOCK_QUERIES - 1) / CM3__BLOCK_QUERIES;
    const int64_t query = (int64_t)floor((causal ? sqrt(share) : share) * (double)blocks + 0.5) * CM3__BLOCK_QUERIES;
    return query < queries ? query : queries;
}

/* Parts of about equal work that the queries of a group of heads are cut into, where there are few groups. */
static int64_t parts_of(const cm3__packed *s) {
    enum { PIECES_PER_THREAD = 4 };
    const int64_t groups = s->batch * s->kv_heads, wanted = PIECES_PER_THREAD * cm3_threads_count();
    return groups < wanted ? (wanted + groups - 1) / groups : 1;
}

/* A piece is one part of the queries of all heads that share keys. */
static void attend(const void *context, int64_t piece, int64_t end) {
    const cm3_call *call = context;
    const cm3__packed s = cm3__packed_of(call);
    const int64_t sharing = s.heads / s.kv_heads, parts = parts_of(&s);
    float *scratch = (float *)call->workspace +
                     (size_t)cm3_thread_index() * aligned(cm3__attention_forward_scratch(s.sequence, s.d));
    for (; piece < end; piece++) {
        const int64_t group = piece / parts, part = piece % parts;
        const int64_t first = query_at((double)part / (double)parts, s.sequence, call->attr->causal),
                      last = query_at((double)(part + 1) / (double)parts, s.sequence, call->attr->causal);
        for (int64_t i = 0; i < sharing && first < last; i++) {
            const cm3__attention a = head_of(call, &s, group / s.kv_heads, group % s.kv_heads * sharing + i);
            cm3__simd()->attention_forward(&a, &(cm3__attention_part){.first = first, .last = last, .new_keys = i == 0},
                                           scratch);
        }
    }
}

static cm3_status forward(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    const int64_t parts = parts_of(&s), head = s.sequence * s.sequence / CM3__BLOCK_QUERIES * s.d;
    cm3_parallel_for(s.batch * s.kv_heads * parts, cm3__grain(head * (s.heads / s.kv_heads) / parts), attend, call);
    return CM3_OK;
}

/* --- backward: a piece is a group of heads that share keys, so that nobody else adds to their gradients ---------- */

static size_t backward_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return (size_t)cm3_threads_count() * aligned(cm3__attention_backward_scratch(s.sequence, s.d)) * sizeof(float);
}

static void attend_backward(const void *context, int64_t group, int64_t end) {
    const cm3_call *call = context;
    const cm3__packed s = cm3__packed_of(call);
    const int64_t sharing = s.heads / s.kv_heads;
    float *scratch = (float *)call->workspace +
                     (size_t)cm3_thread_index() * aligned(cm3__attention_backward_scratch(s.sequence, s.d));
    for (; group < end; group++)
        for (int64_t i = 0; i < sharing; i++) {
            const cm3__attention a = head_of(call, &s, group / s.kv_heads, group % s.kv_heads * sharing + i);
            cm3__simd()->attention_backward(
                &a, &(cm3__attention_part){.last = s.sequence, .new_keys = i == 0, .last_of_keys = i == sharing - 1},
                scratch);
        }
}

static cm3_status backward(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    if (call->grad_in[0].data)
        cm3_parallel_for(s.batch * s.kv_heads, cm3__grain(s.sequence * s.sequence), attend_backward, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_attention = {.forward = forward,
                                       .backward = backward,
                                       .forward_workspace = forward_workspace,
                                       .backward_workspace = backward_workspace};
