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

/* --- packing: a panel is (depth, wide); wide: ROWS of A or COLUMNS of B; lanes beyond `valid` hold anything ------ */

/* Lines of neighbours that lie side by side. Each is read once, from end to end, for all panels. */
static inline __attribute__((always_inline)) void
pack_lines(float *restrict to, int64_t wide, const float *restrict from, int64_t line, int64_t count, int64_t depth) {
    enum { AHEAD = 4, LINE = 16 }; /* lines lie pages apart, where the processor does not look ahead */
    const int64_t whole = count / wide, rest = count % wide;
    for (int64_t p = 0; p < depth; p++, from += line, to += wide) {
        for (int64_t i = 0; i < count && p + AHEAD < depth; i += LINE) __builtin_prefetch(from + AHEAD * line + i);
        for (int64_t i = 0; i < whole; i++) memcpy(to + i * wide * depth, from + i * wide, (size_t)wide * sizeof *to);
        if (!rest) continue;
        float *last = to + whole * wide * depth;
        memcpy(last, from + whole * wide, (size_t)rest * sizeof *to);
        memset(last + rest, 0, (size_t)(wide - rest) * sizeof *to);
    }
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

static inline __attribute__((always_inline)) void
pack_panels(float *to, int64_t wide, const float *from, int64_t neighbour, int64_t line, int64_t count, int64_t depth) {
    if (neighbour == 1)
        pack_lines(to, wide, from, line, count, depth);
    else
        for (int64_t i = 0; i < count; i += wide, to += wide * depth, from += wide * neighbour)
            pack_transposed(to, wide, from, neighbour, count - i, depth);
}

/* --- a tile of C ------------------------------------------------------------------------------------------------- */

/* Packing makes rows contiguous, and they are read again and again. In place that costs nothing more, unless all ROWS
 * of them, a large power of two apart, fall into the same set of the first cache. */
static bool can_read_in_place(int64_t row) {
    enum { TWO_KILOBYTES = 512 };
    return row > 1 && row % TWO_KILOBYTES != 0;
}

/* `rows` rows of C, a constant. Element (i,p) of A is a[i row + p step]. */
static inline __attribute__((always_inline)) void multiply(int rows, const float *restrict a, int64_t row, int64_t step,
                                                           const float *restrict b, int64_t b_row, int64_t depth,
                                                           float *restrict c, int64_t c_row, bool accumulate) {
    enum { AHEAD = 16, AHEAD_B = 8, LINE = 16, GROUP = 3, GROUPS = (ROWS + GROUP - 1) / GROUP };
    cm3_vec sum[ROWS][VECTORS];
    CM3_UNROLL for (int i = 0; i < rows; i++) CM3_UNROLL for (int j = 0; j < VECTORS; j++) sum[i][j] = (cm3_vec){0};
    const float *group[GROUPS]; /* one register reaches three rows */
    CM3_UNROLL for (int g = 0; g * GROUP < rows; g++) group[g] = a + g * GROUP * row;
    /* C's tile may be far away. It is fetched some rows at a time while sums are made: all of it at once would make
     * the lines of A and B wait behind it. */
    const int64_t between = depth / (GROUPS + 1);
#pragma GCC unroll 1
    for (int64_t p = 0, fetched = 0, end = 0; p < depth;) {
        for (int64_t last = least(fetched + GROUP, rows); fetched < last; fetched++) {
            __builtin_prefetch(c + fetched * c_row, 1);
            __builtin_prefetch(c + fetched * c_row + CM3_LANES, 1);
        }
        end = fetched < rows ? end + between : depth;
        for (; p < end; p++, b += b_row) {
            cm3_vec line[VECTORS];
            if (step != 1) __builtin_prefetch(group[0] + AHEAD * step);
            for (int j = 0; j < COLUMNS; j += LINE) __builtin_prefetch(b + AHEAD_B * b_row + j);
            CM3_UNROLL for (int j = 0; j < VECTORS; j++) line[j] = *(const cm3_vec *)(b + j * CM3_LANES);
            CM3_UNROLL for (int i = 0; i < rows; i++) {
                const float factor = group[i / GROUP][i % GROUP * row];
                CM3_UNROLL for (int j = 0; j < VECTORS; j++) sum[i][j] += factor * line[j];
            }
            CM3_UNROLL for (int g = 0; g * GROUP < rows; g++) group[g] += step;
        }
    }
    CM3_UNROLL for (int i = 0; i < rows; i++) CM3_UNROLL for (int j = 0; j < VECTORS; j++) {
        cm3_vec *to = (cm3_vec *)(c + i * c_row + j * CM3_LANES);
        if (accumulate) sum[i][j] += *to;
        *to = sum[i][j];
    }
}

/* A kernel for every number of rows; row 0: A is packed. Rows of B are b_row apart, COLUMNS if it is. */
#define TILE(M)                                                                                                        \
    static void tile_##M(const float *a, int64_t row, const float *b, int64_t b_row, int64_t depth, float *c,          \
                         int64_t c_row, bool accumulate) {                                                             \
        enum { COUNT = (M) < ROWS ? (M) : ROWS };                                                                      \
        if (row)                                                                                                       \
            multiply(COUNT, a, row, 1, b, b_row, depth, c, c_row, accumulate);                                         \
        else                                                                                                           \
            multiply(COUNT, a, 1, ROWS, b, b_row, depth, c, c_row, accumulate);                                        \
    }
#define EVERY_COUNT(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
EVERY_COUNT(TILE)
#define NAME(M) tile_##M,
static void (*const tile_of[])(const float *, int64_t, const float *, int64_t, int64_t, float *, int64_t,
                               bool) = {EVERY_COUNT(NAME)};

/* C (m,n) = or += A B for panels or, `row` or `b_row` given, A or B as they lie in memory. */
static void multiply_panels(const float *a, int64_t row, const float *b, int64_t b_row, int64_t depth, float *c,
                            int64_t c_row, int64_t m, int64_t n, bool accumulate) {
    const int64_t line = b_row ? b_row : COLUMNS, panel = b_row ? COLUMNS : COLUMNS * depth;
    for (int64_t j = 0; j < n; j += COLUMNS, b += panel) {
        const int64_t columns = least(COLUMNS, n - j);
        for (int64_t i = 0; i < m; i += ROWS) {
            const int64_t rows = least(ROWS, m - i);
            const float *lines = a + i * (row ? row : depth);
            float *tile = c + i * c_row + j;
            if (columns == COLUMNS) {
                tile_of[rows - 1](lines, row, b, line, depth, tile, c_row, accumulate);
                continue;
            }
            float whole[ROWS * COLUMNS]; /* at C's right edge */
            tile_of[rows - 1](lines, row, b, line, depth, whole, COLUMNS, false);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = 0; k < columns; k++)
                    tile[r * c_row + k] = (accumulate ? tile[r * c_row + k] : 0) + whole[r * COLUMNS + k];
        }
    }
}

/* B's own lines do as well as packed ones if they are whole vectors not far apart. */
static bool b_in_place(const cm3__gemm_block *g) {
    enum { FARTHEST = 256 };
    return g->b_column == 1 && g->b_row <= FARTHEST && g->b_row % CM3_LANES == 0 && g->n % COLUMNS == 0;
}

void CM3_SIMD(cm3__gemm_pack)(const cm3__gemm_block *g, const cm3__gemm_slice *s, int64_t first, int64_t last,
                              float *b) {
    const float *from = g->b + s->p * g->b_row + (s->j + first) * g->b_column;
    if (b_in_place(g)) return;
    pack_panels(b + first * s->deep, COLUMNS, from, g->b_column, g->b_row, last - first, s->deep);
}

void CM3_SIMD(cm3__gemm_rows)(const cm3__gemm_block *g, const cm3__gemm_slice *s, int64_t row, int64_t rows,
                              const float *b, float *a) {
    const bool in_place = g->a_column == 1 && can_read_in_place(g->a_row), b_too = b_in_place(g);
    const float *from = g->a + row * g->a_row + s->p * g->a_column;
    if (b_too) b = g->b + s->p * g->b_row + s->j;
    float *to = g->c + row * g->c_row + s->j;
    if (!in_place) pack_panels(a, ROWS, from, g->a_row, g->a_column, rows, s->deep);
    multiply_panels(in_place ? from : a, in_place ? g->a_row : 0, b, b_too ? g->b_row : 0, s->deep, to, g->c_row, rows,
                    s->wide, g->accumulate || s->p > 0);
}
