/* Matrix product of one thread, packed (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
 * 2008). The product is cut along k into slices, along n and m into blocks that fit into the caches:
 *
 *     for each slice of k, for each block of n    B is copied into panels of CM3__GEMM_COLUMNS columns     third level
 *       for each block of m                       A is copied into panels of some rows, or read in place   second level
 *         for each panel of B, of A               a tile of C is kept in registers over the whole slice    first level
 *
 * An element of C is summed in the same order however the product was cut along m and n. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_GEMM_H
#define CM3_CORE_KERNELS_CPU_SIMD_GEMM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3__gemm_block {
    int64_t m, n, k;
    const float *a; /* element (i,p) at a[i a_row + p a_column]; one of the two distances is 1 */
    int64_t a_row, a_column;
    const float *b; /* element (p,j) at b[p b_row + j b_column]; one of the two distances is 1 */
    int64_t b_row, b_column;
    float *c; /* C or C + , row-major */
    int64_t c_row;
    bool accumulate;
} cm3__gemm_block;

enum {
    CM3__GEMM_DEPTH = 384,     /* most of k in a slice */
    CM3__GEMM_HEIGHT = 196,    /* most rows of a block of A */
    CM3__GEMM_WIDTH = 1024,    /* most columns of a block of B */
    CM3__GEMM_SPARE = 32 * 16, /* panels are written in whole vectors, which reach behind their end */
    CM3__GEMM_SCRATCH =
        CM3__GEMM_DEPTH * (CM3__GEMM_HEIGHT + CM3__GEMM_WIDTH + 2 * 32) + 2 * CM3__GEMM_SPARE, /* floats */
};

#endif
