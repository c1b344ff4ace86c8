/* Few rows of A with rows of B, as generation asks for them a token at a time: each element of C is a dot product of
 * what lies in memory. Packing B, which is not used again before the next token, would take longer than the product. */
#include "core/kernels/cpu/simd/gemm.h"

#include "core/kernels/cpu/simd/prototypes.h"
#include "core/kernels/cpu/simd/tile.h"

/* A tile of C: its sums, a row of A and the rows of B fill the registers. */
enum { ROWS = CM3_VEC_REGISTERS == 32 ? 6 : 3, COLUMNS = 4 };

static inline float sum_of(cm3_vec v) {
    float half[CM3_LANES];
    *(cm3_vec *)half = v;
    for (int width = CM3_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) half[i] += half[i + width];
    return half[0];
}

/* An element is summed in the same order whatever tile it lies in. */
static inline __attribute__((always_inline)) void tile(int rows, int columns, const cm3__gemm_block *p, int64_t row,
                                                       int64_t column) {
    const float *a = p->a + row * p->a_row, *b = p->b + column * p->b_column;
    float *c = p->c + row * p->c_row + column;
    cm3_vec sum[ROWS][COLUMNS];
    CM3_UNROLL for (int i = 0; i < rows; i++) CM3_UNROLL for (int j = 0; j < columns; j++) sum[i][j] = (cm3_vec){0};
    int64_t at = 0;
    for (; at + CM3_LANES <= p->k; at += CM3_LANES) {
        cm3_vec of_b[COLUMNS];
        CM3_UNROLL for (int j = 0; j < columns; j++) of_b[j] = *(const cm3_vec *)(b + j * p->b_column + at);
        CM3_UNROLL for (int i = 0; i < rows; i++) {
            const cm3_vec of_a = *(const cm3_vec *)(a + i * p->a_row + at);
            CM3_UNROLL for (int j = 0; j < columns; j++) sum[i][j] += of_a * of_b[j];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            float total = sum_of(sum[i][j]);
            for (int64_t l = at; l < p->k; l++) total += a[i * p->a_row + l] * b[j * p->b_column + l];
            c[i * p->c_row + j] = p->accumulate ? c[i * p->c_row + j] + total : total;
        }
}

#define TILE(M)                                                                                                        \
    static void tile_##M(const cm3__gemm_block *p, int64_t row, int64_t column, int64_t columns) {                     \
        enum { COUNT = (M) < ROWS ? (M) : ROWS };                                                                      \
        if (columns == COLUMNS) {                                                                                      \
            tile(COUNT, COLUMNS, p, row, column);                                                                      \
            return;                                                                                                    \
        }                                                                                                              \
        for (int64_t j = 0; j < columns; j++) tile(COUNT, 1, p, row, column + j);                                      \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
static void (*const tile_of[])(const cm3__gemm_block *, int64_t, int64_t, int64_t) = {tile_1, tile_2, tile_3,
                                                                                      tile_4, tile_5, tile_6};

void CM3_SIMD(cm3__gemm_skinny)(const cm3__gemm_block *p, int64_t first, int64_t last) {
    for (int64_t j = first; j < last; j += COLUMNS) {
        const int64_t columns = last - j < COLUMNS ? last - j : COLUMNS;
        for (int64_t i = 0, rows, parts = (p->m + ROWS - 1) / ROWS; i < p->m; i += rows, parts--) {
            rows = (p->m - i + parts - 1) / parts;
            tile_of[rows - 1](p, i, j, columns);
        }
    }
}
