/* Attention in tiles that never hold more of the scores than BLOCK_KEYS x BLOCK_QUERIES (Dao et al., FlashAttention,
 * arXiv 2205.14135; Dao, FlashAttention-2, arXiv 2307.08691). Vector lanes run over queries: the scores are made
 * transposed, so that maxima and sums over keys are sums of whole vectors and nothing is ever reduced across lanes. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_ATTENTION_H
#define CM3_CORE_KERNELS_CPU_SIMD_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM3__BLOCK_QUERIES = 64, CM3__BLOCK_KEYS = 96, CM3__MOST_LANES = 16 };

/* One head's matrices; row r of q is q + r q_row, and so on. */
typedef struct cm3__attention {
    int64_t queries, keys, d; /* keys: all that any query may see */
    int64_t offset;           /* causal: query i sees keys 0 .. offset + i */
    bool causal;
    float scale;
    const float *q, *k, *v;
    int64_t q_row, k_row, v_row;
    float *y; /* forward: output; backward: read */
    int64_t y_row;
    float *lse; /* (queries); may be NULL in the forward pass */
    /* backward */
    const float *dy; /* rows as y */
    float *dq;       /* rows as q */
    float *dk, *dv;  /* rows as k and v; written after the last head that shares them */
    bool accumulate; /* dq, dk, dv += */
} cm3__attention;

/* What one call does. */
typedef struct cm3__attention_part {
    int64_t first, last; /* queries; `first` a multiple of BLOCK_QUERIES */
    bool new_keys;       /* k and v are others than in the last call with this scratch */
    bool last_of_keys;   /* backward: give out dk and dv */
} cm3__attention_part;

/* Floats of scratch that one thread needs. */
static inline int64_t cm3__attention_padded(int64_t d) {
    return (d + CM3__MOST_LANES - 1) / CM3__MOST_LANES * CM3__MOST_LANES;
}

static inline size_t cm3__attention_forward_scratch(int64_t keys, int64_t d) {
    const int64_t wide = cm3__attention_padded(d);
    return (size_t)(2 * keys * wide + (2 * wide + CM3__BLOCK_KEYS + 4) * CM3__BLOCK_QUERIES);
}

static inline size_t cm3__attention_backward_scratch(int64_t keys, int64_t d) {
    const int64_t wide = cm3__attention_padded(d);
    return (size_t)(4 * keys * wide + (5 * wide + 2 * CM3__BLOCK_KEYS + 4) * CM3__BLOCK_QUERIES);
}

#endif
