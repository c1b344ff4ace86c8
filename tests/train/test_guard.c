#include "train/guard.h"

#include "core/log.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const double bad[][2] = {{NAN, 1}, {1, NAN}, {INFINITY, 1}, {1, -INFINITY}, {NAN, NAN}};
enum { BAD = sizeof bad / sizeof *bad };

static void stop_names_the_step(void **state) {
    (void)state;
    const cm3_guard_config config = {.on_nonfinite = CM3_NONFINITE_STOP, .max_skips = 3};
    for (int i = 0; i < BAD; i++) {
        cm3_guard guard = cm3_guard_new(&config);
        assert_int_equal(cm3_guard_judge(&guard, 1234, bad[i][0], bad[i][1]), CM3_ERR_NUMERIC);
        assert_non_null(strstr(cm3_message(), "step 1234"));
    }
}

static void skip_counts_and_stops_after_too_many_in_a_row(void **state) {
    (void)state;
    const cm3_guard_config config = {.on_nonfinite = CM3_NONFINITE_SKIP, .max_skips = 3};
    cm3_guard guard = cm3_guard_new(&config);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cm3_guard_judge(&guard, i, bad[i][0], bad[i][1]), CM3_OK);
    }
    assert_int_equal(cm3_guard_judge(&guard, 3, 2.5, 0.7), CM3_OK); /* one good step forgives */
    for (int i = 0; i < 3; i++) assert_int_equal(cm3_guard_judge(&guard, 4 + i, NAN, 1), CM3_OK);
    assert_int_equal(guard.skips, 6);
    assert_int_equal(cm3_guard_judge(&guard, 7, NAN, 1), CM3_ERR_NUMERIC);
}

int main(void) {
    cm3_log_set_level(CM3_LOG_QUIET);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_names_the_step),
        cmocka_unit_test(skip_counts_and_stops_after_too_many_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
