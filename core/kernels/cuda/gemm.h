/* Matrix products: cuBLASLt on a device (gemm_cublaslt.c), plain loops where the tests run kernels on the host. */
#ifndef CM3_CORE_KERNELS_CUDA_GEMM_H
#define CM3_CORE_KERNELS_CUDA_GEMM_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/tensor/op.h"

/* C (m,n) = act(op(A) (m,k) op(B) (k,n) + bias) + residual, or C = or += op(A) op(B), masked. All row-major and dense;
 * sums in f32. */
typedef struct cm3__cuda_gemm {
    int64_t m, n, k;
    cm3_dtype type; /* of A, B, bias, residual and pre */
    const void *a, *b;
    bool a_transposed, b_transposed; /* A is stored (k,m), B is stored (n,k) */
    void *c;
    cm3_dtype c_type;          /* `type`, or f32 */
    bool accumulate;           /* C += ; of what follows only a mask goes with it */
    const void *bias;          /* (n), or NULL */
    const void *residual;      /* (m,n), may be C itself; or NULL. Goes with CM3_ACT_NONE. */
    cm3_activation activation; /* NONE, RELU or GELU */
    void *pre;                 /* GELU: receives (m,n), the value before it; may be NULL */
    uint32_t
        *mask; /* (m, CM3_MASK_WORDS(n)) or NULL. RELU: receives a bit for each C > 0. NONE: C is 0 where none is. */
} cm3__cuda_gemm;

cm3_status cm3__cuda_gemm_run(const cm3__cuda_gemm *product);
/* What a product's epilogue does, as a pass over C, which holds the bare product plus residual (linear.cu). */
cm3_status cm3__cuda_epilogue(const cm3__cuda_gemm *product);

#ifdef __cplusplus
}
#endif

#endif
