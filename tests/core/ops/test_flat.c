/* Norm and clipping of the host's flat passes (core/tensor/flat.h); tests/optim has AdamW. */
#include "core/rng.h"
#include "core/tensor/op.h"
#include "core/threads.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* Of a gradient with this norm, if nothing is updated. */
static cm3_flat_verdict judge(const float *grad, int64_t count, double limit, const float *loss) {
    const cm3_flat_adamw update = {.size = count, .grad = grad};
    cm3_flat_verdict verdict;
    assert_int_equal(cm3_backend_cpu()->flat->clipped_adamw(&update, limit, loss, &verdict), CM3_OK);
    return verdict;
}

static void the_norm_is_right_at_any_length(void **state) {
    (void)state;
    const int64_t counts[] = {0, 1, 15, 16, 17, 255, 256, 4097, 300001};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        float *values = malloc((size_t)counts[c] * sizeof *values + 1);
        cm3_rng rng = cm3_rng_stream(9, CM3_RNG_TEST, c, 0);
        long double sum = 0;
        for (int64_t i = 0; i < counts[c]; i++) {
            values[i] = (float)cm3_rng_normal(&rng) * 1e20f; /* squares that overflow a float */
            sum += (long double)values[i] * values[i];
        }
        const double norm = judge(values, counts[c], 0, NULL).norm;
        assert_true(fabsl(norm - sqrtl(sum)) <= 1e-13L * sqrtl(sum));
        free(values);
    }
}

static void its_bits_do_not_depend_on_threads(void **state) {
    (void)state;
    enum { COUNT = 1000003 };
    float *values = malloc(COUNT * sizeof *values);
    cm3_rng rng = cm3_rng_stream(9, CM3_RNG_TEST, 0, 1);
    for (int i = 0; i < COUNT; i++) values[i] = (float)cm3_rng_normal(&rng);
    const int threads = cm3_threads_count();
    double sums[4];
    for (int t = 0; t < 4; t++) {
        cm3_threads_set(t + 1);
        sums[t] = judge(values, COUNT, 0, NULL).norm;
        assert_true(sums[t] == sums[0]);
    }
    cm3_threads_set(threads);
    free(values);
}

static void a_value_that_is_not_finite_is_never_hidden(void **state) {
    (void)state;
    float values[100] = {0};
    values[57] = NAN;
    cm3_flat_verdict verdict = judge(values, 100, 1, NULL);
    assert_true(isnan(verdict.norm) && !verdict.finite);
    assert_false(judge(values, 100, 0, NULL).finite);
    values[57] = -INFINITY;
    verdict = judge(values, 100, 1, NULL);
    assert_true(isinf(verdict.norm) && !verdict.finite);
    values[57] = 2;
    const float losses[] = {3, NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        verdict = judge(values, 100, 1, &losses[i]);
        assert_true(verdict.finite == (i == 0) && verdict.norm == 2);
        assert_memory_equal(&verdict.loss, &losses[i], sizeof verdict.loss);
    }
}

static void clipping_only_ever_shortens(void **state) {
    (void)state;
    const struct {
        float norm;
        double limit;
        float factor;
    } cases[] = {{0.5f, 1, 1}, {4, 1, 0.25f}, {4, 0, 1}, {0, 1, 1}};
    for (int i = 0; i < 4; i++) assert_true(judge(&cases[i].norm, 1, cases[i].limit, NULL).factor == cases[i].factor);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_norm_is_right_at_any_length),
        cmocka_unit_test(its_bits_do_not_depend_on_threads),
        cmocka_unit_test(a_value_that_is_not_finite_is_never_hidden),
        cmocka_unit_test(clipping_only_ever_shortens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
