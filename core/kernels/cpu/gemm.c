#include "core/kernels/cpu/gemm.h"

#include "core/kernels/cpu/dispatch.h"
#include "core/pages.h"
#include "core/threads.h"

#include <cblas.h>
#undef I /* complex.h, which cblas.h includes */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t row_of(int64_t given, int64_t dense) {
    return given ? given : dense;
}

/* --- ours: packed ------------------------------------------------------------------------------------------------ */

/* Scratch memory of the products that this thread leads: a slice's B, and a piece's A for each thread. Kept until the
 * thread ends. NULL without memory. */
static float *scratch_of(int threads) {
    static _Thread_local float *scratch;
    static _Thread_local int room;
    const size_t most = CM3__GEMM_B + (size_t)threads * CM3__GEMM_A;
    if (room < threads) {
        if (scratch) cm3_pages_free(scratch, (CM3__GEMM_B + (size_t)room * CM3__GEMM_A) * sizeof *scratch);
        scratch = cm3_pages_alloc(most * sizeof *scratch);
        room = scratch ? threads : 0;
    }
    return scratch;
}

/* Packing pays where each packed element is used often; where there is little to compute, OpenBLAS knows better. */
static bool pays_to_pack(const cm3_gemm *p) {
    enum { FEWEST_ROWS = 112, FEWEST_COLUMNS = 64, SHALLOWEST = 32, SMALLEST = 1 << 21 };
    return p->m >= FEWEST_ROWS && p->n >= FEWEST_COLUMNS && p->k >= SHALLOWEST && p->m * p->n >= SMALLEST / p->k;
}

static cm3__gemm_block block_of(const cm3_gemm *p) {
    const int64_t a_row = row_of(p->a_row, p->a_transposed ? p->m : p->k),
                  b_row = row_of(p->b_row, p->b_transposed ? p->k : p->n);
    return (cm3__gemm_block){.m = p->m,
                             .n = p->n,
                             .k = p->k,
                             .a = p->a,
                             .a_row = p->a_transposed ? 1 : a_row,
                             .a_column = p->a_transposed ? a_row : 1,
                             .b = p->b,
                             .b_row = p->b_transposed ? 1 : b_row,
                             .b_column = p->b_transposed ? b_row : 1,
                             .c = p->c,
                             .c_row = row_of(p->c_row, p->n),
                             .accumulate = p->accumulate};
}

/* One slice of a product. A thread's share of the rows is cut into pieces that get lower towards its end: a fast thread
 * can help a slow one to the end. */
typedef struct slice {
    const cm3_gemm *p;
    const cm3__gemm_block *g;
    cm3__gemm_slice s;
    float *b, *a; /* packed; a: (threads, CM3__GEMM_A) */
    int threads;
    int64_t fewest, pieces; /* rows of a piece; pieces of a share */
} slice;

static void pack_columns(const void *context, int64_t first, int64_t last) {
    const slice *l = context;
    cm3__simd()->gemm_pack(l->g, &l->s, first, last, l->b);
}

/* Rows of the next piece: half of what is left. */
static int64_t height_of(int64_t left, int64_t fewest) {
    const int64_t half = (left / 2 + CM3__GEMM_TILE - 1) / CM3__GEMM_TILE * CM3__GEMM_TILE;
    return left <= fewest ? left : least(CM3__GEMM_HEIGHT, half > fewest ? half : fewest);
}

static void multiply_rows(const void *context, int64_t piece, int64_t end) {
    const slice *l = context;
    const cm3_gemm *p = l->p;
    float *a = l->a + (l->threads > 1 ? cm3_thread_index() : 0) * (int64_t)CM3__GEMM_A;
    for (; piece < end; piece++) {
        int64_t row, last;
        cm3__share(p->m, CM3__GEMM_TILE, piece / l->pieces, l->threads, &row, &last);
        for (int64_t i = 0; i < piece % l->pieces; i++) row += height_of(last - row, l->fewest);
        const int64_t rows = height_of(last - row, l->fewest);
        if (rows <= 0) continue;
        cm3__simd()->gemm_rows(l->g, &l->s, row, rows, l->b, a);
        if (p->epilogue && l->s.p + l->s.deep == p->k) p->epilogue(p->context, row, rows, l->s.j, l->s.wide);
    }
}

static void multiply_slice(slice *l) {
    /* Floats of B that stay in the second level of cache; what is farther is paid for by higher pieces. */
    enum { NEAR_B = 3 << 16 };
    const int64_t columns = (l->s.wide - 1) / (4 * l->threads) + 1;
    cm3_parallel_for(l->s.wide, (columns + CM3__GEMM_UNIT - 1) / CM3__GEMM_UNIT * CM3__GEMM_UNIT, pack_columns, l);
    l->fewest = (l->s.wide * l->s.deep <= NEAR_B ? 1 : 3) * CM3__GEMM_TILE;
    l->pieces = 0;
    const int64_t tiles = (l->p->m + CM3__GEMM_TILE - 1) / CM3__GEMM_TILE;
    for (int64_t left = ((tiles - 1) / l->threads + 1) * CM3__GEMM_TILE; left > 0; l->pieces++)
        left -= height_of(left, l->fewest);
    cm3_parallel_for(l->threads * l->pieces, 1, multiply_rows, l);
}

/* False, and nothing done, where OpenBLAS is to do it. */
static bool multiply_packed(const cm3_gemm *p, int threads) {
    if (p->library || !cm3__simd()->fast_gemm || !pays_to_pack(p)) return false;
    const cm3__gemm_block g = block_of(p);
    slice l = {.p = p, .g = &g, .b = scratch_of(threads), .threads = threads};
    if (!l.b) return false;
    l.a = l.b + CM3__GEMM_B;
    while (cm3__gemm_next(&g, &l.s)) multiply_slice(&l);
    return true;
}

/* --- ours: few rows ---------------------------------------------------------------------------------------------- */

typedef struct skinny {
    const cm3_gemm *p;
    cm3__gemm_block g;
} skinny;

static void multiply_columns(const void *context, int64_t first, int64_t last) {
    const skinny *s = context;
    cm3__simd()->gemm_skinny(&s->g, first, last);
    if (s->p->epilogue) s->p->epilogue(s->p->context, 0, s->p->m, first, last - first);
}

/* False, and nothing done, where there are more, or where B is so small that packing it costs OpenBLAS little. A piece
 * has columns, and so rows of B, of its own. */
static bool multiply_skinny(const cm3_gemm *p, int threads) {
    enum { SMALLEST_B = 1 << 19, PIECES_PER_THREAD = 4 };
    if (p->library || p->m > CM3__GEMM_SKINNY || p->a_transposed || !p->b_transposed) return false;
    if (p->n * p->k < SMALLEST_B) return false;
    const int64_t columns = threads > 1 ? (p->n - 1) / (PIECES_PER_THREAD * threads) + 1 : p->n;
    cm3_parallel_for(p->n, (columns + CM3__GEMM_WORD - 1) / CM3__GEMM_WORD * CM3__GEMM_WORD, multiply_columns,
                     &(skinny){p, block_of(p)});
    return true;
}

/* --- OpenBLAS's: rectangles of C --------------------------------------------------------------------------------- */

/* One rectangle of C on the calling thread. */
static void multiply(const cm3_gemm *p, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const int64_t a_row = row_of(p->a_row, p->a_transposed ? p->m : p->k),
                  b_row = row_of(p->b_row, p->b_transposed ? p->k : p->n);
    const int64_t c_row = row_of(p->c_row, p->n);
    const float *a = p->a + (p->a_transposed ? row : row * a_row),
                *b = p->b + (p->b_transposed ? column * b_row : column);
    cblas_sgemm(CblasRowMajor, p->a_transposed ? CblasTrans : CblasNoTrans, p->b_transposed ? CblasTrans : CblasNoTrans,
                (int)rows, (int)columns, (int)p->k, 1, a, (int)a_row, b, (int)b_row, p->accumulate ? 1.0f : 0.0f,
                p->c + row * c_row + column, (int)c_row);
}

/* A piece. With an epilogue, in pieces that the last level of cache still holds when it comes. */
static void multiply_rectangle(const cm3_gemm *p, int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
    enum { PIECE = 1024 };
    const int64_t high = p->epilogue ? PIECE : row_end - row, wide = p->epilogue ? PIECE : column_end - column;
    for (int64_t j = column; j < column_end; j += wide)
        for (int64_t i = row; i < row_end; i += high) {
            const int64_t rows = least(high, row_end - i), columns = least(wide, column_end - j);
            multiply(p, i, rows, j, columns);
            if (p->epilogue) p->epilogue(p->context, i, rows, j, columns);
        }
}

/* How many rectangles along m, of `threads` in all: the cut that reads the least of A and B. */
static int cuts_of_rows(const cm3_gemm *p, int threads) {
    int best = 1;
    double least_read = 0;
    for (int cuts = 1; cuts <= threads; cuts++) {
        if (threads % cuts) continue;
        const double read = (double)p->m / cuts + (double)p->n / (threads / cuts);
        if (cuts == 1 || read < least_read) {
            best = cuts;
            least_read = read;
        }
    }
    return best;
}

/* A share is the rectangle of one thread, in a grid of `high` by `wide`; a share's rows are cut into `pieces`. */
typedef struct grid {
    const cm3_gemm *p;
    int high, wide, pieces;
} grid;

static void multiply_pieces(const void *context, int64_t piece, int64_t end) {
    const grid *g = context;
    const cm3_gemm *p = g->p;
    for (; piece < end; piece++) {
        const int64_t share = piece / g->pieces, part = piece % g->pieces;
        int64_t row, row_end, column, column_end;
        cm3__share(p->m, CM3__GEMM_WORD, share / g->wide * g->pieces + part, (int64_t)g->high * g->pieces, &row,
                   &row_end);
        cm3__share(p->n, CM3__GEMM_WORD, share % g->wide, g->wide, &column, &column_end);
        if (row < row_end && column < column_end) multiply_rectangle(p, row, row_end, column, column_end);
    }
}

void cm3__gemm(const cm3_gemm *p) {
    enum {
        SMALLEST = 1 << 17, /* a thread's multiply-adds below which waking it costs more than it gains */
        PIECE = 1 << 23,    /* multiply-adds of a piece */
        SHORTEST = 128,     /* rows of a piece */
        MOST_PIECES = 8     /* of a share */
    };
    if (p->m <= 0 || p->n <= 0) return;
    const double work = (double)p->m * (double)p->n * (double)p->k;
    const int most = cm3_threads_count(), threads = work < (double)SMALLEST * most ? 1 : most;
    if (multiply_skinny(p, threads) || multiply_packed(p, threads)) return;
    grid g = {.p = p, .high = cuts_of_rows(p, threads), .pieces = 1};
    g.wide = threads / g.high;
    while (threads > 1 && g.pieces < MOST_PIECES && work / threads / g.pieces > PIECE &&
           p->m / g.high / g.pieces > 2 * SHORTEST)
        g.pieces *= 2;
    cm3_parallel_for(threads * g.pieces, 1, multiply_pieces, &g);
}
