/* Matrix products of the CPU backend, row-major f32: C (m,n) = A B + keep C, on all threads of the pool.
 *
 * Sums have the same order in every run with one number of threads. Called within another loop, the product runs on the
 * calling thread alone. Large products are ours where the processor has AVX-512 (simd/gemm.h); so are those of few
 * rows, generation's (simd/gemm_skinny.c). Everything else is OpenBLAS's, cut into rectangles of C. */
#ifndef CM3_CORE_KERNELS_CPU_GEMM_H
#define CM3_CORE_KERNELS_CPU_GEMM_H

#include <stdbool.h>
#include <stdint.h>

enum { CM3__GEMM_WORD = 32 };

typedef struct cm3_gemm {
    int64_t m, n, k;
    const float *a;              /* (m,k), or (k,m) when a_transposed */
    const float *b;              /* (k,n), or (n,k) when b_transposed */
    float *c;                    /* (m,n) */
    int64_t a_row, b_row, c_row; /* distance of stored rows; 0: dense */
    bool a_transposed, b_transposed;
    bool accumulate; /* C += */
    bool library;    /* by OpenBLAS whatever the shape: to compare with */
    /* Called for finished pieces of C while they are in cache: rows [row, row + rows), columns [column, column +
     * columns), the first a multiple of CM3__GEMM_WORD. Pieces do not overlap and together are all of C. NULL: nothing.
     */
    void (*epilogue)(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns);
    void *context;
} cm3_gemm;

void cm3__gemm(const cm3_gemm *product);

/* First and last + 1 of `count` things for one of `parts`, in whole `unit`s, as even as can be. */
static inline void cm3__share(int64_t count, int64_t unit, int64_t part, int64_t parts, int64_t *first, int64_t *last) {
    const int64_t units = (count + unit - 1) / unit;
    *first = units * part / parts * unit;
    *last = units * (part + 1) / parts * unit;
    if (*first > count) *first = count;
    if (*last > count) *last = count;
}

#endif
