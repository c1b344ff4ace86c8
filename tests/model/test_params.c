#include "model/weights_source.h"

#include "core/threads.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static cm3_shape shape(int rank, int64_t a, int64_t b) {
    return (cm3_shape){rank, {a, b}};
}

/* Three buckets, the second without parameters. */
static cm3_params *small_table(int64_t shard_unit) {
    cm3_params *params;
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    assert_int_equal(cm3_params_add(params, shape(2, 3, 7), cm3_init_normal(0.5), CM3_DECAY, "table"), 0);
    assert_int_equal(cm3_params_add(params, shape(1, 5, 0), cm3_init_ones(), CM3_NO_DECAY, "gain"), 1);
    cm3_params_bucket(params, 2);
    assert_int_equal(cm3_params_add(params, shape(1, 200000, 0), cm3_init_normal(0.02), CM3_DECAY, "layers.%d.up", 4),
                     2);
    assert_int_equal(cm3_params_add(params, shape(1, 9, 0), cm3_init_uniform(0.25), CM3_NO_DECAY, "layers.%d.bias", 4),
                     3);
    assert_int_equal(cm3_params_layout(params, shard_unit), CM3_OK);
    return params;
}

static void buckets_cover_the_buffer_in_order(void **state) {
    (void)state;
    cm3_params *params = small_table(1000);
    assert_int_equal(cm3_params_elements(params), 21 + 5 + 200000 + 9);
    assert_int_equal(cm3_params_group(params, 0)->size % 1000, 0);
    assert_int_equal(cm3_params_bucket_count(params), 3);
    int64_t end = 0;
    for (int s = 0; s < 3; s++) {
        const cm3_param_range range = cm3_param_group_bucket(cm3_params_group(params, 0), s);
        assert_int_equal(range.offset, end);
        end += range.count;
    }
    assert_int_equal(end, cm3_params_group(params, 0)->size);
    assert_int_equal(cm3_param_group_bucket(cm3_params_group(params, 0), 1).count, 0);
    for (int i = 0; i < cm3_params_count(params); i++) {
        const cm3_param *param = cm3_params_get(params, i);
        const cm3_param_range range = cm3_param_group_bucket(cm3_params_group(params, 0), param->bucket);
        assert_int_equal(param->offset % CM3_PARAM_ALIGN, 0);
        assert_true(param->offset >= range.offset && param->offset + param->count <= range.offset + range.count);
    }
    cm3_params_free(params);
}

static void parameters_are_found_by_name(void **state) {
    (void)state;
    cm3_params *params = small_table(1);
    assert_int_equal(cm3_params_find(params, "layers.4.up"), 2);
    assert_int_equal(cm3_params_find(params, "layers.5.up"), -1);
    assert_null(cm3_params_value(params, 2)); /* planned, not allocated */
    assert_null(cm3_params_get(params, 4));
    cm3_params_free(params);
}

static void the_first_failure_is_reported_by_the_layout(void **state) {
    (void)state;
    cm3_params *params;
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    cm3_params_add(params, shape(1, 5, 0), cm3_init_ones(), CM3_NO_DECAY, "gain");
    assert_int_equal(cm3_params_add(params, shape(1, 5, 0), cm3_init_ones(), CM3_NO_DECAY, "gain"), -1);
    assert_int_equal(cm3_params_add(params, shape(1, -5, 0), cm3_init_ones(), CM3_NO_DECAY, "other"), -1);
    cm3_fail(CM3_ERR_IO, "something else");
    assert_int_equal(cm3_params_layout(params, 1), CM3_ERR_INTERNAL);
    assert_non_null(strstr(cm3_message(), "gain"));
    cm3_params_free(params);
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    cm3_params *params;
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    assert_int_equal(cm3_params_add(params, shape(2, INT64_MAX / 2, 3), cm3_init_ones(), CM3_DECAY, "huge"), -1);
    assert_int_equal(cm3_params_layout(params, 1), CM3_ERR_SHAPE);
    cm3_params_free(params);
}

static void initial_values_do_not_depend_on_threads_or_padding(void **state) {
    (void)state;
    cm3_params *one = small_table(1), *other = small_table(4096);
    assert_int_equal(cm3_params_allocate(one, cm3_backend_cpu(), CM3_F32, CM3_USE_INFER), CM3_OK);
    assert_int_equal(cm3_params_allocate(other, cm3_backend_cpu(), CM3_F32, CM3_USE_GRADIENTS), CM3_OK);
    const int threads = cm3_threads_count();
    cm3_threads_set(1);
    cm3_params_init(one, 11);
    cm3_threads_set(3);
    cm3_params_init(other, 11);
    cm3_threads_set(threads);
    for (int i = 0; i < cm3_params_count(one); i++)
        assert_memory_equal(cm3_params_value(one, i), cm3_params_value(other, i),
                            (size_t)cm3_params_get(one, i)->count * sizeof(float));
    assert_null(cm3_params_group(one, 0)->host.gradients);
    assert_non_null(cm3_params_group(other, 0)->host.gradients);
    cm3_params_init(one, 12);
    assert_memory_not_equal(cm3_params_value(one, 2), cm3_params_value(other, 2), 200000 * sizeof(float));
    cm3_params_free(one);
    cm3_params_free(other);
}

static void normal_values_have_the_moments_of_a_cut_normal(void **state) {
    (void)state;
    cm3_params *params = small_table(1);
    assert_int_equal(cm3_params_allocate(params, cm3_backend_cpu(), CM3_F32, CM3_USE_INFER), CM3_OK);
    cm3_params_init(params, 3);
    const float *up = cm3_params_value(params, 2), *bias = cm3_params_value(params, 3),
                *gain = cm3_params_value(params, 1);
    double sum = 0, squares = 0;
    for (int i = 0; i < 200000; i++) {
        assert_true(fabsf(up[i]) <= 0.06f + 1e-6f);
        sum += up[i];
        squares += (double)up[i] * up[i];
    }
    /* A normal cut at 3 deviations keeps 0.9866 of its deviation; 5 standard errors of 200,000 draws. */
    assert_true(fabs(sum / 200000) < 5 * 0.02 / sqrt(200000));
    assert_true(fabs(sqrt(squares / 200000) / 0.02 - 0.98658) < 5 / sqrt(2 * 200000.0));
    for (int i = 0; i < 9; i++) assert_true(bias[i] >= -0.25f && bias[i] < 0.25f);
    for (int i = 0; i < 5; i++) assert_true(gain[i] == 1.0f);
    for (int i = 5; i < 16; i++) assert_true(gain[i] == 0.0f); /* padding */
    cm3_params_free(params);
}

static void a_leaf_points_into_the_flat_buffers(void **state) {
    (void)state;
    cm3_params *params = small_table(1);
    assert_int_equal(cm3_params_allocate(params, cm3_backend_cpu(), CM3_F32, CM3_USE_GRADIENTS), CM3_OK);
    cm3_tape *tape;
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu()}, &tape), CM3_OK);
    const cm3_var *var = cm3_params_var(params, tape, 3);
    assert_ptr_equal(cm3_var_tensor(var)->data, cm3_params_value(params, 3));
    assert_ptr_equal(cm3_var_grad(var)->data,
                     cm3_params_group(params, 0)->host.gradients + cm3_params_get(params, 3)->offset);
    cm3_tape_free(tape);
    cm3_params_free(params);
}

/* --- groups ------------------------------------------------------------------------------------------------------ */

static const cm3_group_options adapters = {.name = "adapters", .match = "*/adapter"},
                               base = {.name = "base", .match = "*", .frozen = true};

/* y = x W^T + adapter: W is frozen, or trained like the adapter. */
static cm3_params *adapted(bool frozen) {
    cm3_params *params;
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    if (frozen) {
        cm3_params_add_group(params, &adapters);
        cm3_params_add_group(params, &base);
    }
    cm3_params_add(params, shape(2, 6, 4), cm3_init_normal(1), CM3_DECAY, "layer/weight");
    cm3_params_add(params, shape(1, 6, 0), cm3_init_normal(1), CM3_NO_DECAY, "layer/adapter");
    assert_int_equal(cm3_params_layout(params, 64), CM3_OK);
    return params;
}

static void parameters_join_the_first_group_whose_pattern_matches(void **state) {
    (void)state;
    cm3_params *params = adapted(true);
    assert_int_equal(cm3_params_group_count(params), 2);
    const cm3_param *weight = cm3_params_get(params, 0), *adapter = cm3_params_get(params, 1);
    assert_string_equal(cm3_params_group(params, weight->group)->name, "base");
    assert_string_equal(cm3_params_group(params, adapter->group)->name, "adapters");
    assert_int_equal(weight->offset, 0);
    assert_int_equal(adapter->offset, 0);
    assert_int_equal(cm3_params_group(params, 0)->elements, 6);
    assert_int_equal(cm3_params_group(params, 1)->size, 64);
    assert_int_equal(cm3_params_elements(params), 30);
    cm3_params_free(params);
}

static void a_group_that_no_parameter_joins_is_one_clear_error(void **state) {
    (void)state;
    cm3_params *params;
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    cm3_params_add_group(params, &adapters);
    cm3_params_add_group(params, &base);
    cm3_params_add(params, shape(1, 5, 0), cm3_init_ones(), CM3_NO_DECAY, "gain");
    assert_int_equal(cm3_params_layout(params, 1), CM3_ERR_RECIPE);
    assert_string_equal(cm3_message(),
                        "parameter group adapters is empty: none of the 1 parameters is named like */adapter");
    cm3_params_free(params);
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    cm3_params_add_group(params, &adapters);
    cm3_params_add(params, shape(1, 5, 0), cm3_init_ones(), CM3_NO_DECAY, "gain");
    assert_int_equal(cm3_params_layout(params, 1), CM3_ERR_RECIPE);
    assert_non_null(strstr(cm3_message(), "parameter gain joins none"));
    cm3_params_free(params);
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    cm3_params_add_group(params, &adapters);
    cm3_params_add_group(params, &adapters);
    assert_int_equal(cm3_params_layout(params, 1), CM3_ERR_INTERNAL);
    assert_string_equal(cm3_message(), "parameter group \"adapters\": expected a name of its own");
    cm3_params_free(params);
}

static void a_frozen_group_has_no_gradients_and_no_moments(void **state) {
    (void)state;
    cm3_params *params = adapted(true);
    const cm3_params_bytes f32 = cm3_params_count_bytes(params, CM3_F32, CM3_USE_TRAIN),
                           bf16 = cm3_params_count_bytes(params, CM3_BF16, CM3_USE_TRAIN);
    assert_true(f32.values == 4 * (64 + 64) && f32.gradients == 4 * 64 && f32.moments == 2 * 4 * 64);
    assert_true(bf16.values == 6 * 64 + 2 * 64 && bf16.gradients == 4 * 64 && bf16.moments == 2 * 4 * 64);
    assert_int_equal(cm3_params_allocate(params, cm3_backend_cpu(), CM3_F32, CM3_USE_TRAIN), CM3_OK);
    const cm3_group_memory *trained = &cm3_params_group(params, 0)->there,
                           *frozen = &cm3_params_group(params, 1)->there;
    assert_true(trained->values && trained->gradients && trained->m && trained->v);
    assert_true(frozen->values && !frozen->gradients && !frozen->m && !frozen->v);
    cm3_params_free(params);
}

/* And the gradient of the adapter. */
static size_t backward_flops_of_a_step(bool frozen, float gradient[6]) {
    cm3_params *params = adapted(frozen);
    float x[12], goal[18] = {0}, scale = 1;
    for (int i = 0; i < 12; i++) x[i] = (float)i - 5;
    assert_int_equal(cm3_params_allocate(params, cm3_backend_cpu(), CM3_F32, CM3_USE_GRADIENTS), CM3_OK);
    assert_int_equal(cm3_params_init(params, 8), CM3_OK);
    cm3_tape *tape;
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu(), .guards = true}, &tape), CM3_OK);
    cm3_var *y = cm3_linear(tape, cm3_tape_input(tape, CM3_F32, cm3_shape_of(3, 4), x), cm3_params_var(params, tape, 0),
                            cm3_params_var(params, tape, 1), NULL, CM3_ACT_NONE);
    cm3_tape_loss(tape, cm3_pixel_loss(tape, y, cm3_tape_input(tape, CM3_F32, cm3_shape_of(3, 6), goal),
                                       cm3_tape_input(tape, CM3_F32, cm3_shape_of(1), &scale), 0, 1));
    assert_int_equal(cm3_tape_run(tape, NULL), CM3_OK);
    const cm3_param *adapter = cm3_params_get(params, 1);
    memcpy(gradient, cm3_params_group(params, adapter->group)->host.gradients + adapter->offset, 6 * sizeof(float));
    const size_t flops = (size_t)cm3_tape_get_stats(tape)->backward_flops;
    cm3_tape_free(tape);
    cm3_params_free(params);
    return flops;
}

static void what_is_trained_has_the_same_gradient_beside_what_is_frozen(void **state) {
    (void)state;
    float alone[6], beside[6];
    const size_t all = backward_flops_of_a_step(false, alone), some = backward_flops_of_a_step(true, beside);
    assert_memory_equal(alone, beside, sizeof alone);
    assert_true(some < all);
}

static void only_frozen_groups_are_kept_in_bf16_and_only_where_tapes_compute_in_it(void **state) {
    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        cm3_params *params;
        assert_int_equal(cm3_params_create(&params), CM3_OK);
        cm3_params_add_group(params,
                             &(cm3_group_options){.name = "base", .match = "*", .frozen = frozen, .type = CM3_BF16});
        cm3_params_add(params, shape(1, 5, 0), cm3_init_ones(), CM3_NO_DECAY, "gain");
        assert_int_equal(cm3_params_layout(params, 1), frozen ? CM3_OK : CM3_ERR_UNSUPPORTED);
        if (frozen) {
            assert_true(cm3_params_count_bytes(params, CM3_BF16, CM3_USE_TRAIN).values == 2 * 16);
            assert_int_equal(cm3_params_allocate(params, cm3_backend_cpu(), CM3_F32, CM3_USE_INFER),
                             CM3_ERR_UNSUPPORTED);
            assert_non_null(strstr(cm3_message(), "base is kept in bf16, but the network computes in f32"));
        }
        cm3_params_free(params);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_the_buffer_in_order),
        cmocka_unit_test(parameters_are_found_by_name),
        cmocka_unit_test(the_first_failure_is_reported_by_the_layout),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(initial_values_do_not_depend_on_threads_or_padding),
        cmocka_unit_test(normal_values_have_the_moments_of_a_cut_normal),
        cmocka_unit_test(a_leaf_points_into_the_flat_buffers),
        cmocka_unit_test(parameters_join_the_first_group_whose_pattern_matches),
        cmocka_unit_test(a_group_that_no_parameter_joins_is_one_clear_error),
        cmocka_unit_test(a_frozen_group_has_no_gradients_and_no_moments),
        cmocka_unit_test(what_is_trained_has_the_same_gradient_beside_what_is_frozen),
        cmocka_unit_test(only_frozen_groups_are_kept_in_bf16_and_only_where_tapes_compute_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
