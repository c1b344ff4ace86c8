#include "optim/clip.h"

#include "core/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

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
        double norm = -1;
        assert_int_equal(cm3_gradient_norm(values, counts[c], NULL, &norm), CM3_OK);
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
    const int threads = omp_get_max_threads();
    double sums[4];
    for (int t = 0; t < 4; t++) {
        omp_set_num_threads(t + 1);
        sums[t] = cm3_sum_of_squares(values, COUNT);
        assert_true(sums[t] == sums[0]);
    }
    omp_set_num_threads(threads);
    free(values);
}

static void a_value_that_is_not_finite_is_never_hidden(void **state) {
    (void)state;
    float values[100] = {0};
    double norm = 0;
    values[57] = NAN;
    assert_int_equal(cm3_gradient_norm(values, 100, NULL, &norm), CM3_OK);
    assert_true(isnan(norm) && isnan(cm3_clip_factor(norm, 1)) && isnan(cm3_clip_factor(norm, 0)));
    values[57] = -INFINITY;
    assert_int_equal(cm3_gradient_norm(values, 100, NULL, &norm), CM3_OK);
    assert_true(isinf(norm) && isnan(cm3_clip_factor(norm, 1)));
}

static void clipping_only_ever_shortens(void **state) {
    (void)state;
    assert_true(cm3_clip_factor(0.5, 1) == 1);
    assert_true(cm3_clip_factor(4, 1) == 0.25);
    assert_true(cm3_clip_factor(4, 0) == 1);
    assert_true(cm3_clip_factor(0, 1) == 1);
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
