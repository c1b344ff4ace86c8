#include "core/kernels/cpu/gemm.h"

#include "core/kernels/cpu/dispatch.h"
#include "core/pages.h"

#include <cblas.h>
#include <omp.h>
#undef I /* complex.h, which cblas.h includes */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t row_of(int64_t given, int64_t dense) {
    return given ? given : dense;
}

/* The calling thread's scratch memory for packed products, kept until the thread ends; NULL without memory. */
static float *scratch_of_thread(void) {
    static _Thread_local float *scratch;
    if (!scratch) scratch = cm3_pages_take(CM3__GEMM_SCRATCH * sizeof *scratch);
    return scratch;
}

/* Packing pays where each packed element is used often; where there is little to compute, OpenBLAS knows better. */
static bool pays_to_pack(int64_t rows, int64_t columns, int64_t depth) {
    enum { FEWEST_ROWS = 112, FEWEST_COLUMNS = 64, SHALLOWEST = 32, SMALLEST = 1 << 21 };
    return rows >= FEWEST_ROWS && columns >= FEWEST_COLUMNS && depth >= SHALLOWEST &&
           rows * columns >= SMALLEST / depth;
}

/* One piece of C on the calling thread. */
static void multiply(const cm3_gemm *p, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const int64_t a_row = row_of(p->a_row, p->a_transposed ? p->m : p->k),
                  b_row = row_of(p->b_row, p->b_transposed ? p->k : p->n);
    const int64_t c_row = row_of(p->c_row, p->n);
    const float *a = p->a + (p->a_transposed ? row : row * a_row),
                *b = p->b + (p->b_transposed ? column * b_row : column);
    const cm3_simd *simd = cm3__simd();
    const bool ours = !p->library && simd->fast_gemm && pays_to_pack(rows, columns, p->k);
    float *scratch = ours ? scratch_of_thread() : NULL;
    if (scratch) {
        const cm3__gemm_block block = {.m = rows,
                                       .n = columns,
                                       .k = p->k,
                                       .a = a,
                                       .a_row = p->a_transposed ? 1 : a_row,
                                       .a_column = p->a_transposed ? a_row : 1,
                                       .b = b,
                                       .b_row = p->b_transposed ? 1 : b_row,
                                       .b_column = p->b_transposed ? b_row : 1,
                                       .c = p->c + row * c_row + column,
                                       .c_row = c_row,
                                       .accumulate = p->accumulate};
        simd->gemm_block(&block, scratch);
        return;
    }
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
        UNIT = 16,
        SMALLEST = 1 << 17
    }; /* a thread's multiply-adds below which waking it costs more than it gains */
    if (p->m <= 0 || p->n <= 0) return;
    const double work = (double)p->m * (double)p->n * (double)p->k;
    const int most = omp_in_parallel() ? 1 : omp_get_max_threads();
    const int threads = work < (double)SMALLEST * most ? 1 : most;
    const int high = cuts_of_rows(p, threads), wide = threads / high;
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        int64_t row, row_end, column, column_end;
        cm3__share(p->m, UNIT, t / wide, high, &row, &row_end);
        cm3__share(p->n, UNIT, t % wide, wide, &column, &column_end);
        if (row < row_end && column < column_end) multiply_rectangle(p, row, row_end, column, column_end);
    }
}
