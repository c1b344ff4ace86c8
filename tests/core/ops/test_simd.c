#include "core/kernels/cpu/dispatch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const LEVELS[] = {"base", "avx2", "avx512"};

/* Distance in units of the last place of the exact value. */
static double ulps(float got, double exact) {
    const double unit = (double)nextafterf((float)exact, INFINITY) - (double)(float)exact;
    return fabs((double)got - exact) / unit;
}

static void exp_is_within_two_ulp_over_its_whole_range(void **state) {
    (void)state;
    enum { CHUNK = 4096 };
    static float x[CHUNK], y[CHUNK];
    for (size_t level = 0; level < 3; level++) {
        setenv("CM3_SIMD", LEVELS[level], 1);
        double worst = 0;
        for (int64_t chunk = 0; chunk < 256; chunk++) {
            const double span = (88.37 + 87.33) / 256;
            for (int i = 0; i < CHUNK; i++) x[i] = (float)(-87.33 + span * ((double)chunk + (double)i / CHUNK));
            cm3__simd()->exp(y, x, CHUNK);
            for (int i = 0; i < CHUNK; i++) {
                const double error = ulps(y[i], exp((double)x[i]));
                worst = error > worst ? error : worst;
            }
        }
        if (worst > 2) fail_msg("%s: %g ulp", cm3__simd()->level, worst);
    }
    unsetenv("CM3_SIMD");
}

static void exp_keeps_zero_infinity_and_nan(void **state) {
    (void)state;
    const float x[] = {0, -0.0f, -INFINITY, -1000, -88, 89, 1000, INFINITY, NAN, 1e-30f, -1e-30f, 1, 88, 0, 0, 0, 0};
    float y[sizeof x / sizeof *x];
    for (size_t level = 0; level < 3; level++) {
        setenv("CM3_SIMD", LEVELS[level], 1);
        cm3__simd()->exp(y, x, sizeof x / sizeof *x);
        assert_true(y[0] == 1 && y[1] == 1 && y[9] == 1 && y[10] == 1);
        assert_true(y[2] == 0 && y[3] == 0 && y[4] == 0);
        assert_true(isinf(y[5]) && isinf(y[6]) && isinf(y[7]));
        assert_true(isnan(y[8]));
        assert_true(ulps(y[12], exp(88.0)) <= 2);
    }
    unsetenv("CM3_SIMD");
}

static void the_environment_chooses_a_lower_level(void **state) {
    (void)state;
    setenv("CM3_SIMD", "base", 1);
    assert_string_equal(cm3__simd()->level, "base");
    unsetenv("CM3_SIMD");
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) assert_string_not_equal(cm3__simd()->level, "base");
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_two_ulp_over_its_whole_range),
        cmocka_unit_test(exp_keeps_zero_infinity_and_nan),
        cmocka_unit_test(the_environment_chooses_a_lower_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
