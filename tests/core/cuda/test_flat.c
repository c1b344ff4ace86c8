/* The optimizer's passes on the device (core/kernels/cuda/flat.h) beside those of the host. The device is the host's
 * own memory here: what it holds can be compared directly. */
#include "core/kernels/cuda/flat.h"
#include "core/rng.h"
#include "core/tensor/op.h"
#include "optim/adamw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static float *normals(int64_t count, uint64_t stream, float scale) {
    float *x = aligned_alloc(64, ((size_t)count * sizeof *x + 63) / 64 * 64 + 64);
    cm3_rng rng = cm3_rng_stream(7, CM3_RNG_TEST, stream, 0);
    for (int64_t i = 0; i < count; i++) x[i] = scale * (float)cm3_rng_normal(&rng);
    return x;
}

static float *copy_of(const float *from, int64_t count) {
    float *x = aligned_alloc(64, ((size_t)count * sizeof *x + 63) / 64 * 64 + 64);
    memcpy(x, from, (size_t)count * sizeof *x);
    return x;
}

static double host_sum_of_squares(const float *values, int64_t count) {
    const cm3_flat_adamw update = {.size = count, .grad = values};
    cm3_flat_verdict verdict;
    assert_int_equal(cm3_backend_cpu()->flat->clipped_adamw(&update, 0, NULL, &verdict), CM3_OK);
    return verdict.norm * verdict.norm;
}

static uint16_t rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* --- the norm ---------------------------------------------------------------------------------------------------- */

static void the_sum_of_squares_is_the_hosts(void **state) {
    (void)state;
    const int64_t counts[] = {0, 1, 3, 4, 1023, 5000, 70001, 3000002};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const int64_t count = counts[i];
        float *x = normals(count + 1, i, 3);
        for (int shift = 0; shift < 2; shift++) { /* aligned, and not */
            double work[CM3__FLAT_WORK], sum = -1, again = -1;
            assert_int_equal(cm3__flat_squares(x + shift, count, false, work, &sum), CM3_OK);
            assert_int_equal(cm3__flat_squares(x + shift, count, false, work, &again), CM3_OK);
            const double want = host_sum_of_squares(x + shift, count);
            assert_true(fabs(sum - want) <= 1e-13 * want);
            assert_memory_equal(&sum, &again, sizeof sum);
        }
        free(x);
    }
}

static void sums_of_several_ranges_add_up(void **state) {
    (void)state;
    double work[CM3__FLAT_WORK], sum;
    float *x = normals(9001, 1, 1);
    assert_int_equal(cm3__flat_squares(x, 4000, false, work, &sum), CM3_OK);
    assert_int_equal(cm3__flat_squares(x + 4000, 5001, true, work, &sum), CM3_OK);
    assert_true(fabs(sum - host_sum_of_squares(x, 9001)) <= 1e-12 * sum);
    free(x);
}

static void the_clip_factor_is_the_hosts(void **state) {
    (void)state;
    const float norms[] = {0, 0.5, 1, 3, 1e9};
    const double limits[] = {0, 1, 2.5};
    for (size_t n = 0; n < sizeof norms / sizeof *norms; n++)
        for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
            const double sum = (double)norms[n] * (double)norms[n];
            const cm3_flat_adamw nothing = {.size = 1, .grad = &norms[n]};
            cm3_flat_verdict verdict, host;
            assert_int_equal(cm3__flat_judge(&sum, limits[l], NULL, &verdict), CM3_OK);
            assert_int_equal(cm3_backend_cpu()->flat->clipped_adamw(&nothing, limits[l], NULL, &host), CM3_OK);
            assert_true(verdict.finite == 1 && verdict.norm == norms[n]);
            assert_true(verdict.factor == host.factor && verdict.norm == host.norm && host.finite == 1);
        }
}

/* --- AdamW ------------------------------------------------------------------------------------------------------- */

typedef struct buffers {
    int64_t count, span_count;
    cm3_flat_span *spans;
    float *grad, *value, *m, *v;
} buffers;

/* Spans of odd sizes, with and without decay, some with gaps between them. */
static buffers buffers_of(int64_t span_count, int64_t largest) {
    buffers b = {.span_count = span_count, .spans = calloc((size_t)span_count, sizeof *b.spans)};
    cm3_rng rng = cm3_rng_stream(9, CM3_RNG_TEST, (uint64_t)span_count, 0);
    for (int64_t s = 0; s < span_count; s++) {
        b.count += (int64_t)cm3_rng_below(&rng, 3) * (int64_t)cm3_rng_below(&rng, 7);
        b.spans[s].offset = b.count;
        b.spans[s].count = 1 + (int64_t)cm3_rng_below(&rng, (uint64_t)largest);
        b.spans[s].decay = cm3_rng_below(&rng, 2);
        b.count += b.spans[s].count;
    }
    b.count += 5;
    b.grad = normals(b.count, 20, 0.01f);
    b.value = normals(b.count, 21, 1);
    b.m = normals(b.count, 22, 0.01f);
    b.v = normals(b.count, 23, 0.01f);
    for (int64_t i = 0; i < b.count; i++) b.v[i] *= b.v[i];
    return b;
}

static void free_buffers(buffers *b) {
    free(b->spans);
    free(b->grad);
    free(b->value);
    free(b->m);
    free(b->v);
}

static const cm3_adamw_config config = {
    .learning_rate = 1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 0.5};

static cm3_flat_adamw update_of(const buffers *b, int step, float *value, float *m, float *v, void *copy) {
    cm3_flat_adamw flat = cm3_adamw_update(&config, step, 0.01);
    flat.spans = b->spans;
    flat.span_count = b->span_count;
    flat.size = b->count;
    flat.grad = b->grad;
    flat.value = value;
    flat.m = m;
    flat.v = v;
    flat.bf16_weights = copy;
    return flat;
}

static void compare_update(int64_t span_count, int64_t largest) {
    buffers b = buffers_of(span_count, largest);
    float *value = copy_of(b.value, b.count), *m = copy_of(b.m, b.count), *v = copy_of(b.v, b.count);
    uint16_t *copy = aligned_alloc(64, ((size_t)b.count * sizeof *copy + 63) / 64 * 64);
    uint16_t *host_copy = aligned_alloc(64, ((size_t)b.count * sizeof *copy + 63) / 64 * 64);
    memset(copy, 0xAB, (size_t)b.count * sizeof *copy);
    memset(host_copy, 0xAB, (size_t)b.count * sizeof *copy);
    double work[CM3__FLAT_WORK], sum;
    cm3_flat_verdict verdict;
    assert_int_equal(cm3__flat_squares(b.grad, b.count, false, work, &sum), CM3_OK);
    assert_int_equal(cm3__flat_judge(&sum, config.clip, NULL, &verdict), CM3_OK);
    for (int step = 1; step <= 3; step++) {
        const cm3_flat_adamw flat = update_of(&b, step, value, m, v, copy);
        assert_int_equal(cm3__flat_adamw(&flat, &verdict), CM3_OK);
        const cm3_flat_adamw host = update_of(&b, step, b.value, b.m, b.v, host_copy);
        cm3_flat_verdict host_verdict;
        assert_int_equal(cm3_backend_cpu()->flat->clipped_adamw(&host, config.clip, NULL, &host_verdict), CM3_OK);
        assert_true(host_verdict.finite && host_verdict.factor == verdict.factor);
    }
    assert_memory_equal(value, b.value, (size_t)b.count * sizeof *value);
    assert_memory_equal(m, b.m, (size_t)b.count * sizeof *m);
    assert_memory_equal(v, b.v, (size_t)b.count * sizeof *v);
    assert_memory_equal(copy, host_copy, (size_t)b.count * sizeof *copy);
    int64_t at = 0;
    for (int64_t s = 0; s < b.span_count; s++) {
        for (; at < b.spans[s].offset; at++) assert_int_equal(copy[at], 0xABAB);
        for (; at < b.spans[s].offset + b.spans[s].count; at++) assert_int_equal(copy[at], rounded(value[at]));
    }
    free(value);
    free(m);
    free(v);
    free(copy);
    free(host_copy);
    free_buffers(&b);
}

static void an_update_gives_the_hosts_bits(void **state) {
    (void)state;
    compare_update(1, 1);
    compare_update(1, 50000);
    compare_update(7, 20000);
}

static void more_spans_than_travel_with_a_launch_are_all_updated(void **state) {
    (void)state;
    compare_update(400, 60);
}

static void addresses_that_are_not_aligned_give_the_same_bits(void **state) {
    (void)state;
    buffers b = buffers_of(5, 700);
    float *value = copy_of(b.value, b.count), *m = copy_of(b.m, b.count), *v = copy_of(b.v, b.count);
    float *shifted = aligned_alloc(64, ((size_t)(b.count + 1) * sizeof *shifted + 63) / 64 * 64);
    memcpy(shifted + 1, b.value, (size_t)b.count * sizeof *shifted);
    cm3_flat_adamw flat = update_of(&b, 4, shifted + 1, m, v, NULL);
    flat.clip = 0.5f;
    assert_int_equal(cm3__flat_adamw(&flat, NULL), CM3_OK);
    cm3_flat_adamw host = update_of(&b, 4, value, b.m, b.v, NULL);
    cm3_flat_verdict verdict;
    host.clip = 0.5f;
    assert_int_equal(cm3_backend_cpu()->flat->clipped_adamw(&host, 0, NULL, &verdict), CM3_OK);
    assert_memory_equal(shifted + 1, value, (size_t)b.count * sizeof *value);
    free(shifted);
    free(value);
    free(m);
    free(v);
    free_buffers(&b);
}

static void a_gradient_that_is_not_finite_changes_nothing(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        buffers b = buffers_of(3, 9000);
        float *value = copy_of(b.value, b.count), *m = copy_of(b.m, b.count), *v = copy_of(b.v, b.count);
        uint16_t *copy = calloc((size_t)b.count, sizeof *copy);
        double work[CM3__FLAT_WORK], sum;
        cm3_flat_verdict verdict;
        b.grad[b.count - 1 - i] = bad[i];
        assert_int_equal(cm3__flat_squares(b.grad, b.count, false, work, &sum), CM3_OK);
        assert_int_equal(cm3__flat_judge(&sum, config.clip, NULL, &verdict), CM3_OK);
        assert_true(!verdict.finite && !isfinite(verdict.norm));
        const cm3_flat_adamw flat = update_of(&b, 1, value, m, v, copy);
        assert_int_equal(cm3__flat_adamw(&flat, &verdict), CM3_OK);
        assert_memory_equal(value, b.value, (size_t)b.count * sizeof *value);
        assert_memory_equal(m, b.m, (size_t)b.count * sizeof *m);
        assert_memory_equal(v, b.v, (size_t)b.count * sizeof *v);
        for (int64_t j = 0; j < b.count; j++) assert_int_equal(copy[j], 0);
        free(value);
        free(m);
        free(v);
        free(copy);
        free_buffers(&b);
    }
}

static void a_loss_that_is_not_finite_stands_against_the_update(void **state) {
    (void)state;
    const float losses[] = {3, NAN, INFINITY, -INFINITY};
    const double sum = 4;
    for (int i = 0; i < 4; i++) {
        cm3_flat_verdict verdict;
        assert_int_equal(cm3__flat_judge(&sum, 1, &losses[i], &verdict), CM3_OK);
        assert_int_equal(verdict.finite, i == 0);
        assert_memory_equal(&verdict.loss, &losses[i], sizeof verdict.loss);
        assert_true(verdict.norm == 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_of_squares_is_the_hosts),
        cmocka_unit_test(sums_of_several_ranges_add_up),
        cmocka_unit_test(the_clip_factor_is_the_hosts),
        cmocka_unit_test(a_loss_that_is_not_finite_stands_against_the_update),
        cmocka_unit_test(an_update_gives_the_hosts_bits),
        cmocka_unit_test(more_spans_than_travel_with_a_launch_are_all_updated),
        cmocka_unit_test(addresses_that_are_not_aligned_give_the_same_bits),
        cmocka_unit_test(a_gradient_that_is_not_finite_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
