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

/* --- forward: each thread has a run of (sequence, head, block of queries) ---------------------------------------- */

static size_t forward_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return (size_t)omp_get_max_threads() * aligned(cm3__attention_forward_scratch(s.sequence, s.d)) * sizeof(float);
}

/* The block of queries at which `share` of a head's work is done: causal work grows with the square of it. */
static int64_t block_at(double share, int64_t blocks, bool causal) {
    const int64_t block = (int64_t)floor((causal ? sqrt(share) : share) * (double)blocks + 0.5);
    return block < blocks ? block : blocks;
}

static cm3_status forward(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    const int64_t blocks = (s.sequence + CM3__BLOCK_QUERIES - 1) / CM3__BLOCK_QUERIES, heads = s.batch * s.heads;
    const int threads = cm3__threads(heads * blocks, s.sequence * s.d);
    const size_t scratch = aligned(cm3__attention_forward_scratch(s.sequence, s.d));
    const cm3_simd *simd = cm3__simd();
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const double begin = (double)heads * thread / team, end = (double)heads * (thread + 1) / team;
        int64_t packed = -1; /* which keys are in the scratch */
        for (int64_t head = (int64_t)begin; head < heads && (double)head < end; head++) {
            const int64_t b = head / s.heads, h = head % s.heads, keys = b * s.kv_heads + cm3__packed_kv_head(&s, h);
            const double from = begin > (double)head ? begin - (double)head : 0,
                         to = end < (double)(head + 1) ? end - (double)head : 1;
            int64_t first = block_at(from, blocks, call->attr->causal) * CM3__BLOCK_QUERIES;
            int64_t last = block_at(to, blocks, call->attr->causal) * CM3__BLOCK_QUERIES;
            if (last > s.sequence) last = s.sequence;
            if (first >= last) continue;
            const cm3__attention a = head_of(call, &s, b, h);
            simd->attention_forward(&a,
                                    &(cm3__attention_part){.first = first, .last = last, .new_keys = keys != packed},
                                    (float *)call->workspace + (size_t)thread * scratch);
            packed = keys;
        }
    }
    return CM3_OK;
}

/* --- backward: a thread takes whole groups of heads that share keys, so nobody else adds to their gradients ------ */

static size_t backward_workspace(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    return (size_t)omp_get_max_threads() * aligned(cm3__attention_backward_scratch(s.sequence, s.d)) * sizeof(float);
}

static cm3_status backward(const cm3_call *call) {
    const cm3__packed s = cm3__packed_of(call);
    const int64_t groups = s.batch * s.kv_heads, sharing = s.heads / s.kv_heads;
    const size_t scratch = aligned(cm3__attention_backward_scratch(s.sequence, s.d));
    const cm3_simd *simd = cm3__simd();
    if (!call->grad_in[0].data) return CM3_OK;
#pragma omp parallel for schedule(dynamic) num_threads(cm3__threads(groups, s.sequence *s.sequence))
    for (int64_t g = 0; g < groups; g++)
        for (int64_t i = 0; i < sharing; i++) {
            const cm3__attention a = head_of(call, &s, g / s.kv_heads, g % s.kv_heads * sharing + i);
            simd->attention_backward(
                &a, &(cm3__attention_part){.last = s.sequence, .new_keys = i == 0, .last_of_keys = i == sharing - 1},
                (float *)call->workspace + (size_t)omp_get_thread_num() * scratch);
        }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_attention = {.forward = forward,
                                       .backward = backward,
                                       .forward_workspace = forward_workspace,
                                       .backward_workspace = backward_workspace};
