/* Products of small matrices that lie in cache: C (m,n) = or += A (m,k) B (k,n), C and B row-major with n a multiple of
 * CM3_LANES, A with any two strides (so it may be transposed at no cost).
 *
 * A micro-kernel keeps a block of rows and vectors of C in registers; for each step of k it loads the vectors of B and
 * multiplies them by broadcast elements of A. The fewer vectors a row has, the more rows: it takes about ten
 * independent sums to keep the multipliers busy. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_TILE_H
#define CM3_CORE_KERNELS_CPU_SIMD_TILE_H

#include "core/kernels/cpu/simd/vec.h"

#include <stdbool.h>
#include <stdint.h>

enum { CM3_LANES = CM3_VEC_LANES };

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

/* MOST_N: the most rows of a kernel of N vectors; it has one for every number of them. */
#define CM3_TO_6(X, N) X(1, N) X(2, N) X(3, N) X(4, N) X(5, N) X(6, N)
#define CM3_TO_8(X, N) CM3_TO_6(X, N) X(7, N) X(8, N)
#define CM3_TO_12(X, N) CM3_TO_8(X, N) X(9, N) X(10, N) X(11, N) X(12, N)
#define CM3_TO_16(X, N) CM3_TO_12(X, N) X(13, N) X(14, N) X(15, N) X(16, N)
#define CM3_MICRO_NAME(M, N) micro_##M##_##N,
typedef void cm3__micro(const cm3_tile *, int64_t, bool);
#define CM3_MICRO_TABLE(TO, N)                                                                                         \
    TO(CM3_MICRO_KERNEL, N)                                                                                            \
    static cm3__micro *const micro_of_##N[] = {TO(CM3_MICRO_NAME, N)};

#if defined(__AVX512F__) /* 32 registers */
CM3_MICRO_TABLE(CM3_TO_16, 1)
CM3_MICRO_TABLE(CM3_TO_12, 2)
CM3_MICRO_TABLE(CM3_TO_8, 3)
CM3_MICRO_TABLE(CM3_TO_6, 4)
enum { CM3_VECTORS = 4 };
static cm3__micro *const *const cm3__micros[] = {micro_of_1, micro_of_2, micro_of_3, micro_of_4};
static const int64_t cm3__most_rows[] = {16, 12, 8, 6};
#else /* 16 */
CM3_MICRO_TABLE(CM3_TO_8, 1)
CM3_MICRO_TABLE(CM3_TO_6, 2)
enum { CM3_VECTORS = 2 };
static cm3__micro *const *const cm3__micros[] = {micro_of_1, micro_of_2};
static const int64_t cm3__most_rows[] = {8, 6};
#endif

static inline void cm3__tile_product(cm3_tile t, int64_t m, int64_t n, int64_t k, bool accumulate) {
    const float *a = t.a;
    float *c = t.c;
    for (int64_t j = 0; j < n;) {
        const int64_t left = (n - j) / CM3_LANES, vectors = left < CM3_VECTORS ? left : CM3_VECTORS,
                      most = cm3__most_rows[vectors - 1];
        for (int64_t i = 0, rows, parts = (m + most - 1) / most; i < m; i += rows, parts--) {
            rows = (m - i + parts - 1) / parts; /* of one height as far as can be */
            t.a = a + i * t.a_row;
            t.c = c + i * t.c_row + j;
            cm3__micros[vectors - 1][rows - 1](&t, k, accumulate);
        }
        t.b += vectors * CM3_LANES;
        j += vectors * CM3_LANES;
    }
}

/* --- transposing and summing CM3_LANES vectors in registers ------------------------------------------------------ */

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

/* In halves: no lane waits for the one before it. */
#define CM3_ACROSS(i, h) ((i) ^ (h))
static inline float cm3__sum_of_lanes(cm3_vec v) {
#if defined(__AVX512F__)
    v += __builtin_shufflevector(v, v, CM3_OF_LANES(CM3_ACROSS, 8));
#endif
#if defined(__AVX2__)
    v += __builtin_shufflevector(v, v, CM3_OF_LANES(CM3_ACROSS, 4));
#endif
    v += __builtin_shufflevector(v, v, CM3_OF_LANES(CM3_ACROSS, 2));
    v += __builtin_shufflevector(v, v, CM3_OF_LANES(CM3_ACROSS, 1));
    return v[0];
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
