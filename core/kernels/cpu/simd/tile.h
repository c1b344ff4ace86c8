/* Products of small matrices that lie in cache: C (m,n) = or += A (m,k) B (k,n), C and B row-major with n a multiple of
 * CM3_LANES, A with any two strides (so it may be transposed at no cost).
 *
 * A micro-kernel keeps a block of up to CM3_ROWS x CM3_VECTORS vectors of C in registers; for each step of k it loads
 * CM3_VECTORS vectors of B and multiplies them by CM3_ROWS broadcast elements of A. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_TILE_H
#define CM3_CORE_KERNELS_CPU_SIMD_TILE_H

#include "core/kernels/cpu/simd/vec.h"

#include <stdbool.h>
#include <stdint.h>

enum { CM3_LANES = CM3_VEC_LANES, CM3_ROWS = 6, CM3_VECTORS = CM3_VEC_REGISTERS == 32 ? 4 : 2 };

typedef struct cm3_tile {
    const float *a;
    int64_t a_row, a_column; /* element (i,p) of A is a[i a_row + p a_column] */
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
} cm3_tile;

#define CM3_UNROLL _Pragma("GCC unroll 16")

#define CM3_MICRO_KERNEL(M, N)                                                                                         \
    static void micro_##M##_##N(const cm3_tile *t, int64_t k, bool accumulate) {                                       \
        const float *restrict a = t->a, *restrict b = t->b;                                                            \
        const int64_t a_row = t->a_row, a_column = t->a_column, b_row = t->b_row, c_row = t->c_row;                    \
        cm3_vec c[M][N];                                                                                               \
        CM3_UNROLL for (int i = 0; i < M; i++) CM3_UNROLL for (int j = 0; j < N; j++) c[i][j] = (cm3_vec){0};          \
        for (int64_t p = 0; p < k; p++, a += a_column, b += b_row) {                                                   \
            cm3_vec row[N];                                                                                            \
            CM3_UNROLL for (int j = 0; j < N; j++) row[j] = *(const cm3_vec *)(b + j * CM3_LANES);                     \
            CM3_UNROLL for (int i = 0; i < M; i++) {                                                                   \
                const float factor = a[i * a_row];                                                                     \
                CM3_UNROLL for (int j = 0; j < N; j++) c[i][j] += factor * row[j];                                     \
            }                                                                                                          \
        }                                                                                                              \
        CM3_UNROLL for (int i = 0; i < M; i++) CM3_UNROLL for (int j = 0; j < N; j++) {                                \
            cm3_vec *to = (cm3_vec *)(t->c + i * c_row + j * CM3_LANES);                                               \
            if (accumulate) c[i][j] += *to;                                                                            \
            *to = c[i][j];                                                                                             \
        }                                                                                                              \
    }

#define CM3_MICRO_KERNELS(M) CM3_MICRO_KERNEL(M, 1) CM3_MICRO_KERNEL(M, 2) CM3_MICRO_KERNEL(M, 3) CM3_MICRO_KERNEL(M, 4)
CM3_MICRO_KERNELS(1)
CM3_MICRO_KERNELS(2)
CM3_MICRO_KERNELS(3)
CM3_MICRO_KERNELS(4)
CM3_MICRO_KERNELS(5)
CM3_MICRO_KERNELS(6)

#define CM3_MICRO_NAMES(M)                                                                                             \
    { micro_##M##_1, micro_##M##_2, micro_##M##_3, micro_##M##_4 }
static void (*const cm3__micro[6][4])(const cm3_tile *, int64_t, bool) = {CM3_MICRO_NAMES(1), CM3_MICRO_NAMES(2),
                                                                          CM3_MICRO_NAMES(3), CM3_MICRO_NAMES(4),
                                                                          CM3_MICRO_NAMES(5), CM3_MICRO_NAMES(6)};

static inline void cm3__tile_product(cm3_tile t, int64_t m, int64_t n, int64_t k, bool accumulate) {
    const float *a = t.a;
    float *c = t.c;
    for (int64_t j = 0; j < n;) {
        const int64_t left = (n - j) / CM3_LANES, vectors = left < CM3_VECTORS ? left : CM3_VECTORS;
        for (int64_t i = 0; i < m; i += CM3_ROWS) {
            const int64_t rows = m - i < CM3_ROWS ? m - i : CM3_ROWS;
            t.a = a + i * t.a_row;
            t.c = c + i * t.c_row + j;
            cm3__micro[rows - 1][vectors - 1](&t, k, accumulate);
        }
        t.b += vectors * CM3_LANES;
        j += vectors * CM3_LANES;
    }
}

/* --- transposing CM3_LANES vectors in registers ------------------------------------------------------------------ */

/* Step h swaps bit h of the row's number with bit h of the lane's. */
#define CM3_LOW(i, h) (((i) & (h)) ? CM3_LANES + (i) - (h) : (i))
#define CM3_HIGH(i, h) (((i) & (h)) ? CM3_LANES + (i) : (i) + (h))
#define CM3_OF_4(f, i, h) f(i, h), f(i + 1, h), f(i + 2, h), f(i + 3, h)
#define CM3_OF_8(f, i, h) CM3_OF_4(f, i, h), CM3_OF_4(f, i + 4, h)
#if defined(__AVX512F__)
#define CM3_OF_LANES(f, h) CM3_OF_8(f, 0, h), CM3_OF_8(f, 8, h)
#elif defined(__AVX2__)
#define CM3_OF_LANES(f, h) CM3_OF_8(f, 0, h)
#else
#define CM3_OF_LANES(f, h) CM3_OF_4(f, 0, h)
#endif
#define CM3_TRANSPOSE_STEP(v, h)                                                                                       \
    CM3_UNROLL for (int i = 0; i < CM3_LANES; i++) {                                                                   \
        if (i & (h)) continue;                                                                                         \
        const cm3_vec a = v[i], b = v[i + (h)];                                                                        \
        v[i] = __builtin_shufflevector(a, b, CM3_OF_LANES(CM3_LOW, h));                                                \
        v[i + (h)] = __builtin_shufflevector(a, b, CM3_OF_LANES(CM3_HIGH, h));                                         \
    }

/* to[c][r] = from[r][c] for rows and columns up to CM3_LANES; only the first `rows` are read, the last of them again
 * and again for those that are not there. */
static inline void cm3__transpose_rows(float *to, int64_t to_row, const float *from, int64_t from_row, int64_t rows) {
    cm3_vec v[CM3_LANES];
    CM3_UNROLL for (int i = 0; i < CM3_LANES; i++) v[i] =
        *(const cm3_vec *)(from + (i < rows ? i : rows - 1) * from_row);
    CM3_TRANSPOSE_STEP(v, 1)
    CM3_TRANSPOSE_STEP(v, 2)
#if defined(__AVX2__)
    CM3_TRANSPOSE_STEP(v, 4)
#endif
#if defined(__AVX512F__)
    CM3_TRANSPOSE_STEP(v, 8)
#endif
    CM3_UNROLL for (int i = 0; i < CM3_LANES; i++) * (cm3_vec *)(to + i * to_row) = v[i];
}

static inline void cm3__transpose(float *to, int64_t to_row, const float *from, int64_t from_row) {
    cm3__transpose_rows(to, to_row, from, from_row, CM3_LANES);
}

#endif
