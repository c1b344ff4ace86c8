/* Attention over heads as they lie in memory: packed beside each other in a row, or in the caches of a generation.
 *
 * A block has a tile of queries of one head of one sequence, goes over the keys a tile at a time and keeps a running
 * softmax (FlashAttention-2, Dao 2023); S x S is never stored. Exponentials are powers of two: the scores' scale has
 * log2(e) in it. Two ways to do it: attention_plain.h in f32 for every type and head size, attention_tensor.h with the
 * tensor cores in bf16. */
#ifndef CM3_CORE_KERNELS_CUDA_ATTENTION_H
#define CM3_CORE_KERNELS_CUDA_ATTENTION_H

#include "core/kernels/cuda/launch.h"

/* 2^x by the unit for it alone: off by two units in the last place, and no denormals. */
static __device__ __forceinline__ float power_of_two(float x) {
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

/* Query t of sequence b is at position start[b] + t (t where start is NULL) and, if causal, sees no keys behind it. */
template <typename T> struct attention {
    int64_t batch, heads, kv_heads, d;
    int64_t queries, keys; /* of a sequence; keys: with `start` only the room for them */
    const int32_t *start;
    bool causal;
    float scale;
    /* Head 0 of sequence 0; its next head is d elements on, the next position a row, the next sequence `queries` rows
     * of q, k_batch elements of k and v. */
    const T *q, *k, *v;
    int64_t q_row, k_row, k_batch;
    T *y;       /* (batch, queries, heads, d) */
    float *lse; /* (batch, heads, queries), natural; may be NULL */
    /* Backward: without `start`. dq, dk and dv lie as q, k and v do. */
    const T *dy;
    float *delta; /* (batch, heads, queries): the sum of y dy over d */
    T *dq, *dk, *dv;
    bool accumulate;
};

/* Queues the forward pass, by the tensor cores where they take it (attention.cu). */
void cm3__cuda_attention_forward(const attention<float> &a);
void cm3__cuda_attention_forward(const attention<bf16> &a);

constexpr int64_t CM3_ATTENTION_MOST_D = 1600;

/* CM3_ERR_UNSUPPORTED if a head is wider. */
cm3_status cm3__cuda_attention_check(const cm3_call *call);

/* What the packed heads of in[0] say; keys and values after the queries, in the same rows. */
template <typename T> static inline attention<T> packed_heads(const cm3_call *call) {
    const cm3_op_attr *attr = call->attr;
    const int64_t width = call->in[0].shape.dim[1];
    attention<T> a = {};
    a.heads = attr->heads;
    a.kv_heads = attr->kv_heads;
    a.d = width / (a.heads + 2 * a.kv_heads);
    a.queries = a.keys = attr->sequence;
    a.batch = call->in[0].shape.dim[0] / a.queries;
    a.causal = attr->causal;
    a.scale = attr->scale;
    a.q = (const T *)call->in[0].data;
    a.k = a.q + a.heads * a.d;
    a.v = a.k + a.kv_heads * a.d;
    a.q_row = a.k_row = width;
    a.k_batch = a.queries * width;
    a.y = (T *)call->out[0].data;
    return a;
}

/* One head of one sequence. */
template <typename T> struct attention_head {
    int queries, keys, start;
    const T *q, *k, *v;
    int64_t at_q, at_k, at_y, at_row; /* elements from the first of q, of k, of y; of lse and delta */
};

template <typename T>
static __device__ __forceinline__ attention_head<T> head_of(const attention<T> &a, int64_t b, int64_t head) {
    const int64_t kv_head = head * a.kv_heads / a.heads;
    attention_head<T> h;
    h.queries = (int)a.queries;
    h.start = a.start ? a.start[b] : 0;
    h.keys = a.start ? (int)min(h.start + a.queries, a.keys) : (int)a.keys;
    h.at_q = b * a.queries * a.q_row + head * a.d;
    h.at_k = b * a.k_batch + kv_head * a.d;
    h.at_y = (b * a.queries * a.heads + head) * a.d;
    h.at_row = (b * a.heads + head) * a.queries;
    h.q = a.q + h.at_q;
    h.k = a.k + h.at_k;
    h.v = a.v + h.at_k;
    return h;
}

/* blockIdx.x as (tile, sequence and head), the last tiles first: causal masks give them the most work. */
static __device__ __forceinline__ int last_tiles_first(int64_t each, int64_t *index) {
    const unsigned heads = (unsigned)each;
    *index = blockIdx.x % heads;
    return (int)(gridDim.x / heads - 1 - blockIdx.x / heads);
}

#endif
