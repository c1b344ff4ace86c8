#include "model/params.h"

#include <math.h>
#include <omp.h>
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
    assert_int_equal(cm3_params_size(params) % 1000, 0);
    assert_int_equal(cm3_params_bucket_count(params), 3);
    int64_t end = 0;
    for (int s = 0; s < 3; s++) {
        const cm3_param_range range = cm3_params_bucket_range(params, s);
        assert_int_equal(range.offset, end);
        end += range.count;
    }
    assert_int_equal(end, cm3_params_size(params));
    assert_int_equal(cm3_params_bucket_range(params, 1).count, 0);
    for (int i = 0; i < cm3_params_count(params); i++) {
        const cm3_param *param = cm3_params_get(params, i);
        const cm3_param_range range = cm3_params_bucket_range(params, param->bucket);
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
    assert_int_equal(cm3_params_allocate(one, false), CM3_OK);
    assert_int_equal(cm3_params_allocate(other, true), CM3_OK);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    cm3_params_init(one, 11);
    omp_set_num_threads(3);
    cm3_params_init(other, 11);
    omp_set_num_threads(threads);
    for (int i = 0; i < cm3_params_count(one); i++)
        assert_memory_equal(cm3_params_value(one, i), cm3_params_value(other, i),
                            (size_t)cm3_params_get(one, i)->count * sizeof(float));
    assert_null(cm3_params_gradients(one));
    assert_non_null(cm3_params_gradients(other));
    cm3_params_init(one, 12);
    assert_memory_not_equal(cm3_params_value(one, 2), cm3_params_value(other, 2), 200000 * sizeof(float));
    cm3_params_free(one);
    cm3_params_free(other);
}

static void normal_values_have_the_moments_of_a_cut_normal(void **state) {
    (void)state;
    cm3_params *params = small_table(1);
    assert_int_equal(cm3_params_allocate(params, false), CM3_OK);
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
    assert_int_equal(cm3_params_allocate(params, true), CM3_OK);
    cm3_tape *tape;
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu()}, &tape), CM3_OK);
    const cm3_var *var = cm3_params_var(params, tape, 3);
    assert_ptr_equal(cm3_var_tensor(var)->data, cm3_params_value(params, 3));
    assert_ptr_equal(cm3_var_grad(var)->data, cm3_params_gradients(params) + cm3_params_get(params, 3)->offset);
    cm3_tape_free(tape);
    cm3_params_free(params);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
