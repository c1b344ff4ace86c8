/* cuDNN's graphs of attention:
 *
 *   forward    S = scale Q K^T [later keys: -inf];  LSE = log sum exp S;  P = softmax S;  Y = P V
 *   backward   P = exp(S - LSE);  DELTA = sum(Y dY);  dS = scale P (dY V^T - DELTA)
 *              dV = P^T dY;  dK = dS^T Q;  dQ = dS K, added up in f32
 *
 * Scores and what is made of them are virtual: no memory ever holds them. */
#ifndef CM3_CORE_KERNELS_CUDA_ATTENTION_CUDNN_PLAN_H
#define CM3_CORE_KERNELS_CUDA_ATTENTION_CUDNN_PLAN_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/kernels/cuda/cudnn_run.h"
#include "core/tensor/op.h"

/* bf16; rows have q of `heads` heads, then k and v of `kv_heads`, each of d elements. */
typedef struct cm3__attention_shape {
    int64_t batch, heads, kv_heads, sequence, d;
    int64_t causal, backward; /* 0 or 1 */
} cm3__attention_shape;

/* What a plan reads and writes. */
typedef enum cm3__attention_tensor {
    CM3__Q = 1,
    CM3__K,
    CM3__V,
    CM3__Y,
    CM3__LSE, /* f32 (batch, heads, sequence) */
    CM3__DY,
    CM3__DQ, /* these three lie as q, k and v */
    CM3__DK,
    CM3__DV,
    CM3__DELTA,  /* f32 (batch, heads, sequence) */
    CM3__DQ_SUM, /* f32 (batch, heads, sequence, d) */
    CM3__SCALE,  /* floats of the host */
    CM3__HIDDEN, /* the score of a key that must not be seen */
    CM3__ONE,
    CM3__ATTENTION_TENSORS
} cm3__attention_tensor;

extern const cm3__cudnn_operation cm3__cudnn_of_attention;

/* Whether cuDNN may take this call. */
bool cm3__cudnn_attention_shape(const cm3_call *call, bool backward, cm3__attention_shape *shape);
/* Of DELTA, and of DELTA and DQ_SUM behind it, with which the workspace of the backward pass begins. */
size_t cm3__cudnn_attention_delta_bytes(const cm3__attention_shape *shape);
size_t cm3__cudnn_attention_sum_bytes(const cm3__attention_shape *shape);
int64_t cm3__cudnn_attention_room(const void *shape);

#ifdef __cplusplus
}
#endif

#endif
