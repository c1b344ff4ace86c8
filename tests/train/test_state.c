#include "train/state.h"

#include "dist/shard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { COUNT = 1000 };

static const cm3_adamw_config config = {
    .learning_rate = 0.01, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 1};

/* One parameter with values of 1 and gradients of `slope`. */
static void open_state(cm3_params **params, float slope, cm3_train_state *s) {
    assert_int_equal(cm3_params_create(params), CM3_OK);
    cm3_params_add(*params, cm3_shape_of(COUNT), cm3_init_normal(1), CM3_DECAY, "w");
    assert_int_equal(cm3_params_layout(*params, CM3_SHARD_UNIT), CM3_OK);
    assert_int_equal(cm3_params_allocate(*params, cm3_backend_cpu(), CM3_F32, CM3_USE_TRAIN), CM3_OK);
    for (int i = 0; i < COUNT; i++)
        cm3_params_group(*params, 0)->host.values[i] = 1, cm3_params_group(*params, 0)->host.gradients[i] = slope;
    assert_int_equal(cm3_train_state_open(*params, NULL, s), CM3_OK);
}

static cm3_status update(cm3_train_state *s, double *norm) {
    cm3_flat_verdict verdict;
    CM3_TRY(cm3_train_state_queue(s, &config, 1, config.learning_rate));
    CM3_TRY(cm3_train_state_reach(s, 1, &verdict));
    *norm = verdict.norm;
    return CM3_OK;
}

static void an_update_clips_by_the_norm_that_it_tells(void **state) {
    (void)state;
    cm3_params *params;
    cm3_train_state s;
    double norm = 0;
    open_state(&params, 3, &s);
    assert_int_equal(update(&s, &norm), CM3_OK);
    assert_true(fabs(norm - 3 * sqrt(COUNT)) < 1e-9 * norm);
    const double clipped = 3 / norm;
    assert_true(fabs((double)s.group->host.m[0] - (1 - config.beta1) * clipped) < 1e-6 * clipped);
    /* The first step of AdamW is the learning rate, whatever the gradient, and the decay. */
    assert_true(fabs((double)cm3_params_group(params, 0)->host.values[0] - (1 - 0.01 - 0.01 * 0.1)) < 1e-5);
    cm3_train_state_close(&s);
    cm3_params_free(params);
}

static void a_gradient_that_is_not_finite_updates_nothing(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int b = 0; b < 3; b++) {
        cm3_params *params;
        cm3_train_state s;
        double norm = 0;
        open_state(&params, 3, &s);
        cm3_params_group(params, 0)->host.gradients[COUNT - 1] = bad[b];
        assert_int_equal(update(&s, &norm), CM3_OK);
        assert_false(isfinite(norm));
        for (int i = 0; i < COUNT; i++)
            assert_true(cm3_params_group(params, 0)->host.values[i] == 1 && s.group->host.m[i] == 0 &&
                        s.group->host.v[i] == 0);
        cm3_train_state_close(&s);
        cm3_params_free(params);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_clips_by_the_norm_that_it_tells),
        cmocka_unit_test(a_gradient_that_is_not_finite_updates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
