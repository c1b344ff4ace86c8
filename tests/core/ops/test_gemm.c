#include "core/kernels/cpu/dispatch.h"
#include "core/kernels/cpu/gemm.h"
#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const LEVELS[] = {"base", "avx2", "avx512"};

static float *random_matrix(int64_t count, uint64_t number) {
    float *matrix = malloc((size_t)count * sizeof *matrix);
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, number, 0);
    for (int64_t i = 0; i < count; i++) matrix[i] = (float)cm3_rng_normal(&rng);
    return matrix;
}

/* The product on one thread without packing, in pieces of 10 columns. */
static void multiply_few(const cm3__gemm_block *g) {
    enum { COLUMNS = 10 };
    for (int64_t j = 0; j < g->n; j += COLUMNS) cm3__simd()->gemm_skinny(g, j, g->n - j < COLUMNS ? g->n : j + COLUMNS);
}

/* The same packed, in pieces of 28 rows. */
static void multiply(const cm3__gemm_block *g, float *scratch) {
    enum { PIECE = 28 };
    for (cm3__gemm_slice s = {0}; cm3__gemm_next(g, &s);) {
        cm3__simd()->gemm_pack(g, &s, 0, s.wide, scratch);
        for (int64_t row = 0; row < g->m; row += PIECE)
            cm3__simd()->gemm_rows(g, &s, row, g->m - row < PIECE ? g->m - row : PIECE, scratch, scratch + CM3__GEMM_B);
    }
}

/* Sums in double; the bound is that of k additions in float. */
static void expect_product(const cm3__gemm_block *g, const float *before, const char *level) {
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            double sum = g->accumulate ? before[i * g->c_row + j] : 0, size = fabs(sum);
            for (int64_t p = 0; p < g->k; p++) {
                const double term = (double)g->a[i * g->a_row + p * g->a_column] * g->b[p * g->b_row + j * g->b_column];
                sum += term;
                size += fabs(term);
            }
            const double got = g->c[i * g->c_row + j];
            if (!(fabs(got - sum) <= size * 1e-7 * (4 + sqrt((double)g->k))))
                fail_msg("%s, (%lld,%lld,%lld): row %lld, column %lld is %g, expected %g", level, (long long)g->m,
                         (long long)g->n, (long long)g->k, (long long)i, (long long)j, got, sum);
        }
}

/* Matrices end where their memory ends, so that the address sanitizer sees a read too far. */
static void check(int64_t m, int64_t n, int64_t k, int form) {
    const bool a_transposed = form & 1, b_transposed = form & 2, accumulate = form & 4;
    const int64_t c_row = n + 3, size = (m - 1) * c_row + n;
    float *a = random_matrix(m * k, 1), *b = random_matrix(k * n, 2), *before = random_matrix(size, 3);
    float *c = malloc((size_t)size * sizeof *c), *scratch = malloc((CM3__GEMM_B + CM3__GEMM_A) * sizeof *scratch);
    const cm3__gemm_block block = {.m = m,
                                   .n = n,
                                   .k = k,
                                   .a = a,
                                   .a_row = a_transposed ? 1 : k,
                                   .a_column = a_transposed ? m : 1,
                                   .b = b,
                                   .b_row = b_transposed ? 1 : n,
                                   .b_column = b_transposed ? k : 1,
                                   .c = c,
                                   .c_row = c_row,
                                   .accumulate = accumulate};
    for (size_t way = 0; way < 6; way++) {
        const bool few = way >= 3;
        if (few && (m > CM3__GEMM_SKINNY || a_transposed || !b_transposed)) continue;
        setenv("CM3_SIMD", LEVELS[way % 3], 1);
        memcpy(c, before, (size_t)size * sizeof *c);
        if (few)
            multiply_few(&block);
        else
            multiply(&block, scratch);
        expect_product(&block, before, cm3__simd()->level);
        for (int64_t i = 0; i + 1 < m; i++) /* what lies between the rows is nobody's */
            assert_memory_equal(c + i * c_row + n, before + i * c_row + n, 3 * sizeof *c);
    }
    unsetenv("CM3_SIMD");
    free(a);
    free(b);
    free(before);
    free(c);
    free(scratch);
}

static void products_of_any_shape_and_layout_are_right(void **state) {
    (void)state;
    /* one element; less than a tile; whole tiles; one more and one less; several blocks along each dimension */
    const int64_t shapes[][3] = {{1, 1, 1},    {3, 5, 7},     {14, 32, 16},  {28, 64, 32},   {29, 65, 33},
                                 {27, 63, 31}, {200, 40, 20}, {30, 1030, 8}, {20, 36, 1000}, {197, 33, 385}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int form = 0; form < 8; form++) check(shapes[s][0], shapes[s][1], shapes[s][2], form);
}

static void an_element_is_the_same_bits_however_the_product_is_cut(void **state) {
    (void)state;
    enum { M = 300, N = 96, K = 500 };
    float *a = random_matrix(M * K, 1), *b = random_matrix(K * N, 2),
          *scratch = malloc((CM3__GEMM_B + CM3__GEMM_A) * sizeof(float));
    float *whole = calloc(M * N, sizeof *whole), *parts = calloc(M * N, sizeof *parts);
    cm3__gemm_block g = {
        .m = M, .n = N, .k = K, .a = a, .a_row = K, .a_column = 1, .b = b, .b_row = N, .b_column = 1, .c_row = N};
    g.c = whole;
    multiply(&g, scratch);
    for (int64_t i = 0; i < M; i += 75) {
        cm3__gemm_block part = g;
        part.m = 75;
        part.a = a + i * K;
        part.c = parts + i * N;
        multiply(&part, scratch);
    }
    assert_memory_equal(whole, parts, M * N * sizeof *whole);
    free(a);
    free(b);
    free(scratch);
    free(whole);
    free(parts);
}

static void ours_and_the_library_agree_on_large_products(void **state) {
    (void)state;
    enum { M = 500, N = 300, K = 200 };
    float *a = random_matrix(M * K, 1), *b = random_matrix(K * N, 2);
    float *ours = calloc(M * N, sizeof *ours), *library = calloc(M * N, sizeof *library);
    cm3_gemm g = {.m = M, .n = N, .k = K, .a = a, .b = b, .c = ours};
    cm3__gemm(&g);
    g.c = library;
    g.library = true;
    cm3__gemm(&g);
    for (int64_t i = 0; i < M * N; i++) assert_true(fabsf(ours[i] - library[i]) < 1e-4f);
    free(a);
    free(b);
    free(ours);
    free(library);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_any_shape_and_layout_are_right),
        cmocka_unit_test(an_element_is_the_same_bits_however_the_product_is_cut),
        cmocka_unit_test(ours_and_the_library_agree_on_large_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
