#include "core/kernels/cpu/simd/gemm.h"

#include "core/kernels/cpu/simd/prototypes.h"
#include "core/kernels/cpu/simd/tile.h"

#include <string.h>

/* A tile of C in registers: 28 sums, 2 vectors of B and an element of A of 32, or 12, 2 and 1 of 16. A vector covers
 * all rows, so that packing writes no line beyond its own. */
enum { ROWS = CM3_LANES == 16 ? 14 : CM3_LANES == 8 ? 6 : 4, VECTORS = 2, COLUMNS = VECTORS * CM3_LANES };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* `count` cut into equal parts of at most `most`, which are multiples of `unit`. */
static int64_t part_of(int64_t count, int64_t most, int64_t unit) {
    const int64_t parts = (count + most - 1) / most, part = (count + parts - 1) / parts;
    return least((part + unit - 1) / unit * unit, most / unit * unit);
}

/* --- packing: a panel is (depth, wide), wide being ROWS of A or COLUMNS of B; lanes beyond `valid` hold anything -- */

/* Lines of neighbours that lie side by side. */
static void pack_lines(float *restrict to, int64_t wide, const float *restrict from, int64_t line, int64_t valid,
                       int64_t depth) {
    enum { AHEAD = 12 }; /* lines lie pages apart, where the processor does not look ahead */
    if (valid >= wide) {
        for (int64_t p = 0; p < depth; p++) {
            __builtin_prefetch(from + (p + AHEAD) * line);
            __builtin_prefetch(from + (p + AHEAD) * line + wide - 1);
            memcpy(to + p * wide, from + p * line, (size_t)wide * sizeof *to);
        }
        return;
    }
    memset(to, 0, (size_t)(wide * depth) * sizeof *to);
    for (int64_t p = 0; p < depth; p++) memcpy(to + p * wide, from + p * line, (size_t)valid * sizeof *to);
}

/* The same of a transposed matrix: neighbour i of line p is from[i neighbour + p]. Whole vectors are written, line
 * after line: what reaches beyond a line is overwritten by the next one, or by the next panel. */
static void pack_transposed(float *restrict to, int64_t wide, const float *restrict from, int64_t neighbour,
                            int64_t valid, int64_t depth) {
    enum { AHEAD = 32 };
    for (int64_t i = 0; i < least(wide, valid); i += CM3_LANES) {
        const float *corner = from + i * neighbour;
        const int64_t lanes = least(CM3_LANES, wide - i), rows = least(CM3_LANES, valid - i);
        int64_t p = 0;
        for (; p + CM3_LANES <= depth; p += CM3_LANES) {
            for (int64_t l = 0; l < rows; l++) __builtin_prefetch(corner + l * neighbour + p + AHEAD);
            if (rows == CM3_LANES)
                cm3__transpose(to + p * wide + i, wide, corner + p, neighbour);
            else
                cm3__transpose_rows(to + p * wide + i, wide, corner + p, neighbour, rows);
        }
        for (; p < depth; p++)
            for (int64_t l = 0; l < lanes; l++) to[p * wide + i + l] = corner[least(l, rows - 1) * neighbour + p];
    }
}

static void pack_panels(float *to, int64_t wide, const float *from, int64_t neighbour, int64_t line, int64_t count,
                        int64_t depth) {
    for (int64_t i = 0; i < count; i += wide, to += wide * depth, from += wide * neighbour) {
        if (neighbour == 1)
            pack_lines(to, wide, from, line, count - i, depth);
        else
            pack_transposed(to, wide, from, neighbour, count - i, depth);
    }
}

/* --- a tile of C ------------------------------------------------------------------------------------------------- */

static void multiply_tile(const float *restrict a, const float *restrict b, int64_t depth, float *restrict c,
                          int64_t c_row, bool accumulate) {
    enum { AHEAD = 16, AHEAD_B = 8, LINE = 16 };
#pragma GCC unroll 1
    for (int64_t i = 0; i < ROWS; i++) {
        __builtin_prefetch(c + i * c_row, 1);
        __builtin_prefetch(c + i * c_row + CM3_LANES, 1);
    }
    cm3_vec sum[ROWS][VECTORS];
    CM3_UNROLL for (int i = 0; i < ROWS; i++) CM3_UNROLL for (int j = 0; j < VECTORS; j++) sum[i][j] = (cm3_vec){0};
    for (int64_t p = 0; p < depth; p++, a += ROWS, b += COLUMNS) {
        cm3_vec line[VECTORS];
        __builtin_prefetch(a + AHEAD * ROWS);
        for (int j = 0; j < COLUMNS; j += LINE) __builtin_prefetch(b + AHEAD_B * COLUMNS + j);
        CM3_UNROLL for (int j = 0; j < VECTORS; j++) line[j] = *(const cm3_vec *)(b + j * CM3_LANES);
        CM3_UNROLL for (int i = 0; i < ROWS; i++) {
            const float factor = a[i];
            CM3_UNROLL for (int j = 0; j < VECTORS; j++) sum[i][j] += factor * line[j];
        }
    }
    CM3_UNROLL for (int i = 0; i < ROWS; i++) CM3_UNROLL for (int j = 0; j < VECTORS; j++) {
        cm3_vec *to = (cm3_vec *)(c + i * c_row + j * CM3_LANES);
        if (accumulate) sum[i][j] += *to;
        *to = sum[i][j];
    }
}

/* A tile at the edge of C goes by way of a whole one. */
static void multiply_edge(const float *a, const float *b, int64_t depth, float *c, int64_t c_row, int64_t rows,
                          int64_t columns, bool accumulate) {
    float whole[ROWS * COLUMNS];
    multiply_tile(a, b, depth, whole, COLUMNS, false);
    for (int64_t i = 0; i < rows; i++, c += c_row)
        for (int64_t j = 0; j < columns; j++) c[j] = (accumulate ? c[j] : 0) + whole[i * COLUMNS + j];
}

static void multiply_panels(const float *a, const float *b, int64_t depth, float *c, int64_t c_row, int64_t m,
                            int64_t n, bool accumulate) {
    for (int64_t j = 0; j < n; j += COLUMNS, b += COLUMNS * depth) {
        const int64_t columns = least(COLUMNS, n - j);
        for (int64_t i = 0; i < m; i += ROWS) {
            const int64_t rows = least(ROWS, m - i);
            float *tile = c + i * c_row + j;
            if (rows == ROWS && columns == COLUMNS)
                multiply_tile(a + i * depth, b, depth, tile, c_row, accumulate);
            else
                multiply_edge(a + i * depth, b, depth, tile, c_row, rows, columns, accumulate);
        }
    }
}

void CM3_SIMD(cm3__gemm_block)(const cm3__gemm_block *g, float *scratch) {
    const int64_t depth = part_of(g->k, CM3__GEMM_DEPTH, 1), height = part_of(g->m, CM3__GEMM_HEIGHT, ROWS),
                  width = part_of(g->n, CM3__GEMM_WIDTH, COLUMNS);
    float *b = scratch, *a = b + depth * (width + COLUMNS) + CM3__GEMM_SPARE;
    for (int64_t p = 0; p < g->k; p += depth) {
        const int64_t deep = least(depth, g->k - p);
        const bool accumulate = g->accumulate || p > 0;
        for (int64_t j = 0; j < g->n; j += width) {
            const int64_t wide = least(width, g->n - j);
            pack_panels(b, COLUMNS, g->b + p * g->b_row + j * g->b_column, g->b_column, g->b_row, wide, deep);
            for (int64_t i = 0; i < g->m; i += height) {
                const int64_t high = least(height, g->m - i);
                pack_panels(a, ROWS, g->a + i * g->a_row + p * g->a_column, g->a_row, g->a_column, high, deep);
                multiply_panels(a, b, deep, g->c + i * g->c_row + j, g->c_row, high, wide, accumulate);
            }
        }
    }
}
