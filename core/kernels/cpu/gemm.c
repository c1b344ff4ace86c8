#include "core/kernels/cpu/gemm.h"

#include "core/kernels/cpu/dispatch.h"
#include "core/pages.h"

#include <cblas.h>
#include <omp.h>
#include <stdatomic.h>
#undef I /* complex.h, which cblas.h includes */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t row_of(int64_t given, int64_t dense) {
    return given ? given : dense;
}

/* --- ours: packed ------------------------------------------------------------------------------------------------ */

enum { SCRATCH_A = CM3__GEMM_B, SCRATCH = CM3__GEMM_B + CM3__GEMM_A };

/* The calling thread's scratch memory, kept until the thread ends: B if it leads a product, and A. NULL without
 * memory. */
static float *scratch_of_thread(void) {
    static _Thread_local float *scratch;
    if (!scratch) scratch = cm3_pages_alloc(SCRATCH * sizeof *scratch);
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

/* A thread's own rows of C: the first that nobody has taken, and their end. */
typedef struct own_rows {
    _Alignas(64) _Atomic int64_t next; /* a line of cache each */
    int64_t end;
} own_rows;

/* The next piece of these rows: half of what is left, so that a fast thread can help a slow one to the end, but not
 * fewer than `fewest`. */
static bool take_piece(own_rows *of, int64_t fewest, int64_t *row, int64_t *rows) {
    int64_t next = atomic_load_explicit(&of->next, memory_order_relaxed);
    do {
        const int64_t left = of->end - next, half = (left / 2 + CM3__GEMM_TILE - 1) / CM3__GEMM_TILE * CM3__GEMM_TILE;
        if (left <= 0) return false;
        *row = next;
        *rows = left <= fewest ? left : least(CM3__GEMM_HEIGHT, half > fewest ? half : fewest);
    } while (!atomic_compare_exchange_weak_explicit(&of->next, &next, next + *rows, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* A slice, by all threads of the team: B together, then each its own rows of C and, these done, other threads': they
 * are not equally fast on a machine that others use, too. */
static void multiply_slice(const cm3_gemm *p, const cm3__gemm_block *g, const cm3__gemm_slice *s, own_rows *team,
                           float *b) {
    /* Floats of B that stay in the second level of cache; what is farther is paid for by higher pieces. */
    enum { NEAR_B = 3 << 16 };
    const int64_t fewest = (s->wide * s->deep <= NEAR_B ? 1 : 3) * CM3__GEMM_TILE;
    const cm3_simd *simd = cm3__simd();
    const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    int64_t first, last, row, rows;
    cm3__share(s->wide, CM3__GEMM_UNIT, thread, threads, &first, &last);
    if (first < last) simd->gemm_pack(g, s, first, last, b);
    cm3__share(p->m, CM3__GEMM_TILE, thread, threads, &first, &last);
    team[thread].end = last;
    atomic_store_explicit(&team[thread].next, first, memory_order_relaxed);
#pragma omp barrier
    for (int i = 0; i < threads; i++)
        while (take_piece(&team[(thread + i) % threads], fewest, &row, &rows)) {
            simd->gemm_rows(g, s, row, rows, b, scratch_of_thread() + SCRATCH_A);
            if (p->epilogue && s->p + s->deep == p->k) p->epilogue(p->context, row, rows, s->j, s->wide);
        }
#pragma omp barrier
}

/* False, and nothing done, where OpenBLAS is to do it. */
static bool multiply_packed(const cm3_gemm *p, int threads) {
    enum { MOST_THREADS = 256 };
    if (p->library || !cm3__simd()->fast_gemm || !pays_to_pack(p)) return false;
    float *b = scratch_of_thread();
    const cm3__gemm_block g = block_of(p);
    own_rows team[MOST_THREADS];
    bool all = b != NULL;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        if (!scratch_of_thread()) {
#pragma omp atomic write
            all = false;
        }
#pragma omp barrier
        for (cm3__gemm_slice s = {0}; all && cm3__gemm_next(&g, &s);) multiply_slice(p, &g, &s, team, b);
    }
    return all;
}

/* --- ours: few rows ---------------------------------------------------------------------------------------------- */

/* False, and nothing done, where there are more, or where B is so small that packing it costs OpenBLAS little. A thread
 * has its own columns, and so its own rows of B. */
static bool multiply_few(const cm3_gemm *p, int threads) {
    enum { UNIT = CM3__GEMM_WORD, SMALLEST_B = 1 << 19 };
    if (p->library || p->m > CM3__GEMM_FEW || p->a_transposed || !p->b_transposed) return false;
    if (p->n * p->k < SMALLEST_B) return false;
    const cm3__gemm_block g = block_of(p);
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        int64_t first, last;
        cm3__share(p->n, UNIT, t, threads, &first, &last);
        if (first == last) continue;
        cm3__simd()->gemm_few(&g, first, last);
        if (p->epilogue) p->epilogue(p->context, 0, p->m, first, last - first);
    }
    return true;
}

/* --- OpenBLAS's: one rectangle of C a thread --------------------------------------------------------------------- */

/* One piece of C on the calling thread. */
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

/* The rectangle of one thread. With an epilogue, in pieces that the last level of cache still holds when it comes. */
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

void cm3__gemm(const cm3_gemm *p) {
    enum {
        UNIT = CM3__GEMM_WORD,
        SMALLEST = 1 << 17
    }; /* a thread's multiply-adds below which waking it costs more than it gains */
    if (p->m <= 0 || p->n <= 0) return;
    const double work = (double)p->m * (double)p->n * (double)p->k;
    const int most = omp_in_parallel() ? 1 : omp_get_max_threads();
    const int threads = work < (double)SMALLEST * most ? 1 : most;
    if (multiply_few(p, threads) || multiply_packed(p, threads)) return;
    const int high = cuts_of_rows(p, threads), wide = threads / high;
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        int64_t row, row_end, column, column_end;
        cm3__share(p->m, UNIT, t / wide, high, &row, &row_end);
        cm3__share(p->n, UNIT, t % wide, wide, &column, &column_end);
        if (row < row_end && column < column_end) multiply_rectangle(p, row, row_end, column, column_end);
    }
}
