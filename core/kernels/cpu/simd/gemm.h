/* Packed matrix products (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). The
 * product is cut along k and n into blocks whose part of B fits into the caches, and along m into pieces:
 *
 *     for each slice of k, for each block of n    B is copied into panels of some columns (gemm_pack)      third level
 *       for each piece of m (gemm_rows)           A is copied into panels of some rows, or read in place   second level
 *         for each panel of B, of A               a tile of C is kept in registers over the whole slice    first level
 *
 * Threads share the packed B: they pack it together, then take pieces as they come (core/kernels/cpu/gemm.c). An
 * element of C is summed in the same order however the product was cut along m and n.
 *
 * Of at most CM3__GEMM_SKINNY rows, columns [first, last) are made without any of this (gemm_skinny); a_column and
 * b_row must be 1. */
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

/* Slice [p, p + deep) of k, columns [j, j + wide) of n. All zeros before the first. */
typedef struct cm3__gemm_slice {
    int64_t p, deep, j, wide;
} cm3__gemm_slice;

enum {
    CM3__GEMM_SKINNY = 16,
    CM3__GEMM_DEPTH = 400,     /* most of k in a slice */
    CM3__GEMM_TILE = 14,       /* rows of a tile */
    CM3__GEMM_HEIGHT = 196,    /* most rows of a piece of A: a multiple of a tile's */
    CM3__GEMM_WIDTH = 1024,    /* most columns of a block of B */
    CM3__GEMM_SPARE = 32 * 16, /* panels are written in whole vectors, which reach behind their end */
    CM3__GEMM_UNIT = 32,       /* columns of a panel of B, or a multiple of them */
    /* Floats of scratch: of a slice's B, and of a piece's A. */
    CM3__GEMM_B = CM3__GEMM_DEPTH * (CM3__GEMM_WIDTH + CM3__GEMM_UNIT) + CM3__GEMM_SPARE,
    CM3__GEMM_A = CM3__GEMM_DEPTH * (CM3__GEMM_HEIGHT + CM3__GEMM_UNIT) + CM3__GEMM_SPARE,
};

/* `count` cut into equal parts of at most `most`, which are multiples of `unit`. */
static inline int64_t cm3__gemm_part(int64_t count, int64_t most, int64_t unit) {
    const int64_t parts = (count + most - 1) / most, part = (count + parts - 1) / parts;
    const int64_t whole = (part + unit - 1) / unit * unit, limit = most / unit * unit;
    return whole < limit ? whole : limit;
}

/* The first or next slice; false after the last. */
static inline bool cm3__gemm_next(const cm3__gemm_block *g, cm3__gemm_slice *s) {
    const int64_t depth = cm3__gemm_part(g->k, CM3__GEMM_DEPTH, 1),
                  width = cm3__gemm_part(g->n, CM3__GEMM_WIDTH, CM3__GEMM_UNIT);
    s->j += s->wide;
    if (s->j >= g->n) s->j = 0, s->p += s->deep;
    if (s->p >= g->k) return false;
    s->deep = depth < g->k - s->p ? depth : g->k - s->p;
    s->wide = width < g->n - s->j ? width : g->n - s->j;
    return true;
}

#endif
