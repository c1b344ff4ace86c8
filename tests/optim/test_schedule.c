#include "optim/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void assert_near(double found, double expected) {
    assert_true(fabs(found - expected) < 1e-12);
}

static void warmup_reaches_the_peak_with_its_last_update(void **state) {
    (void)state;
    const cm3_schedule_config config = {.warmup_steps = 4, .decay = CM3_SCHEDULE_LINEAR, .final_fraction = 0.1};
    assert_near(cm3_schedule_factor(&config, 0, 100), 0.25);
    assert_near(cm3_schedule_factor(&config, 3, 100), 1);
}

static void decay_ends_at_the_final_fraction_with_the_last_update(void **state) {
    (void)state;
    const int kinds[] = {CM3_SCHEDULE_LINEAR, CM3_SCHEDULE_COSINE};
    for (int k = 0; k < 2; k++) {
        const cm3_schedule_config config = {.warmup_steps = 10, .decay = kinds[k], .final_fraction = 0.1};
        assert_near(cm3_schedule_factor(&config, 9, 110), 1);
        assert_near(cm3_schedule_factor(&config, 59, 110), 0.55);
        assert_near(cm3_schedule_factor(&config, 109, 110), 0.1);
        assert_near(cm3_schedule_factor(&config, 5000, 110), 0.1);
        for (int64_t step = 10; step < 110; step++)
            assert_true(cm3_schedule_factor(&config, step, 110) < cm3_schedule_factor(&config, step - 1, 110));
    }
}

static void edges_give_finite_factors(void **state) {
    (void)state;
    const cm3_schedule_config no_warmup = {.decay = CM3_SCHEDULE_LINEAR, .final_fraction = 0};
    assert_near(cm3_schedule_factor(&no_warmup, 0, 1), 0);
    const cm3_schedule_config only_warmup = {.warmup_steps = 100, .decay = CM3_SCHEDULE_COSINE, .final_fraction = 0.1};
    assert_near(cm3_schedule_factor(&only_warmup, 49, 50), 0.5);
    assert_near(cm3_schedule_factor(&only_warmup, 100, 100), 0.1);
    const cm3_schedule_config constant = {.warmup_steps = 2, .decay = CM3_SCHEDULE_CONSTANT, .final_fraction = 0.1};
    assert_near(cm3_schedule_factor(&constant, 1000, 10), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warmup_reaches_the_peak_with_its_last_update),
        cmocka_unit_test(decay_ends_at_the_final_fraction_with_the_last_update),
        cmocka_unit_test(edges_give_finite_factors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
