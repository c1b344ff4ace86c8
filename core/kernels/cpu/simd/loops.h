/* The vectorised loops of this folder, one table for each instruction set. Kernels ask cm3__simd() once a call.
 *
 * To add a loop: write CM3_SIMD(cm3__name) in a file of simd/ and name it in CM3_SIMD_LIST. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_LOOPS_H
#define CM3_CORE_KERNELS_CPU_SIMD_LOOPS_H

#include "core/kernels/cpu/simd/attention.h"
#include "core/kernels/cpu/simd/conv.h"
#include "core/kernels/cpu/simd/gemm.h"
#include "core/kernels/cpu/simd/group_norm.h"
#include "core/kernels/cpu/simd/norm.h"
#include "core/tensor/flat.h"
#include "core/tensor/op.h"

#include <stdbool.h>
#include <stdint.h>

/* name, arguments, what it computes over n values */
#define CM3_SIMD_LIST(X)                                                                                              \
    /* y = e^x */                                                                                                     \
    X(exp, (float *y, const float *x, int64_t n))                                                                     \
    /* pre = y [+ bias]; y = act(pre). `pre` and `bias` may be NULL. */                                               \
    X(bias_activate, (float *y, float *pre, const float *bias, cm3_activation act, int64_t n))                        \
    /* dx = [dx +] dy act'. `value` is act's output for RELU and its input else. dx may be dy. */                     \
    X(activate_backward,                                                                                              \
      (float *dx, const float *dy, const float *value, cm3_activation act, bool accumulate, int64_t n))               \
    /* bit i % 32 of word i / 32 is x[i] > 0; x[i] = 0 where it is not set */                                         \
    X(mask_make, (uint32_t *mask, const float *x, int64_t n))                                                         \
    X(mask_apply, (float *x, const uint32_t *mask, int64_t n))                                                        \
    /* y = silu(gate) up */                                                                                           \
    X(swiglu, (float *y, const float *gate, const float *up, int64_t n))                                              \
    X(swiglu_backward,                                                                                                \
      (float *dgate, float *dup, const float *dy, const float *gate, const float *up, bool accumulate, int64_t n))    \
    /* y = [y +] x rotated: n pairs (x[j], x[n + j]) by (cosine[j], sine[j]). In place is fine. */                    \
    X(rotate, (float *y, const float *x, const float *cosine, const float *sine, bool accumulate, int64_t n))         \
    /* *lse = log sum e^x */                                                                                          \
    X(log_sum_exp, (float *lse, const float *x, int64_t n))                                                           \
    /* x = e^(x - lse) factor */                                                                                      \
    X(softmax_scaled, (float *x, float lse, float factor, int64_t n))                                                 \
    X(norm_forward, (const cm3__norm_row *row))                                                                       \
    X(norm_backward, (const cm3__norm_row *row))                                                                      \
    X(attention_forward, (const cm3__attention *a, const cm3__attention_part *part, float *scratch))                  \
    X(attention_backward, (const cm3__attention *a, const cm3__attention_part *part, float *scratch))                 \
    X(attention_one, (const cm3__attention *a, const cm3__attention_part *part, float *scratch))                      \
    X(gemm_pack, (const cm3__gemm_block *g, const cm3__gemm_slice *s, int64_t first, int64_t last, float *b))         \
    X(gemm_rows, (const cm3__gemm_block *g, const cm3__gemm_slice *s, int64_t row, int64_t rows, const float *b,      \
                  float *a))                                                                                          \
    X(gemm_skinny, (const cm3__gemm_block *g, int64_t first, int64_t last))                                           \
    X(conv_sizes_of, (cm3__conv_sizes *sizes))                                                                        \
    X(conv_rows, (const cm3__conv_rows *job))                                                                         \
    X(conv_pack, (const cm3__conv_pack *job))                                                                         \
    X(conv_outer, (const cm3__conv_outer *job))                                                                       \
    X(group_norm_moments, (const cm3__group_norm *n))                                                                 \
    X(group_norm_apply, (const cm3__group_norm *n))                                                                   \
    X(group_norm_slopes, (const cm3__group_norm *n))                                                                  \
    X(group_norm_gradient, (const cm3__group_norm *n))                                                                \
    /* *sum = sum x^2 */                                                                                              \
    X(squares, (double *sum, const float *x, int64_t n))                                                              \
    /* elements offset .. offset + n - 1 of the update's ranges */                                                    \
    X(adamw, (const cm3_flat_adamw *update, float clip, float decay, int64_t offset, int64_t n))                      \
    /* as many multiply-adds as the registers allow, `rounds` times; *flops is how many FLOPs that were */            \
    X(multiply_adds, (int64_t rounds, double *flops, float *result))

typedef struct cm3_simd {
#define X(name, arguments) void (*name) arguments;
    CM3_SIMD_LIST(X)
#undef X
    const char *level;
    bool fast_gemm; /* do gemm_pack and gemm_rows beat OpenBLAS at this level? */
} cm3_simd;

#endif
