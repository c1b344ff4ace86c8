#include "optim/adamw.h"

#include "core/clock.h"
#include "core/rng.h"
#include "core/tensor/op.h"
#include "core/threads.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const cm3_adamw_config config = {
    .learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 1};

static const double CLIP = 0.5;

static void fill(float *data, int64_t count, uint64_t which) {
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, which, 0);
    for (int64_t i = 0; i < count; i++) data[i] = (float)cm3_rng_normal(&rng);
}

/* One update without clipping, by the host's kernels. */
static void apply(const cm3_flat_adamw *numbers, const cm3_flat_span *spans, int64_t span_count, float *buffer[4]) {
    const cm3_flat_span *last = &spans[span_count - 1];
    cm3_flat_adamw update = *numbers;
    update.spans = spans;
    update.span_count = span_count;
    update.size = last->offset + last->count;
    update.value = buffer[0];
    update.grad = buffer[1];
    update.m = buffer[2];
    update.v = buffer[3];
    cm3_flat_verdict verdict;
    assert_int_equal(cm3_backend_cpu()->flat->clipped_adamw(&update, 0, NULL, &verdict), CM3_OK);
}

/* The paper's algorithm 2 as it is written, in double. */
static void reference(int step, double rate, bool decay, int64_t count, double *value, const float *grad, double *m,
                      double *v) {
    for (int64_t i = 0; i < count; i++) {
        const double g = CLIP * grad[i];
        m[i] = config.beta1 * m[i] + (1 - config.beta1) * g;
        v[i] = config.beta2 * v[i] + (1 - config.beta2) * g * g;
        const double mean = m[i] / (1 - pow(config.beta1, step));
        const double square = v[i] / (1 - pow(config.beta2, step));
        value[i] -= rate * (mean / (sqrt(square) + config.epsilon) + (decay ? config.weight_decay * value[i] : 0));
    }
}

static void updates_follow_the_paper_with_and_without_decay(void **state) {
    (void)state;
    enum { COUNT = 1000, STEPS = 30 };
    const cm3_flat_span spans[] = {{0, 600, true}, {600, COUNT - 600, false}};
    float value[COUNT], grad[COUNT], m[COUNT] = {0}, v[COUNT] = {0};
    double value_d[COUNT], m_d[COUNT] = {0}, v_d[COUNT] = {0};
    fill(value, COUNT, 1);
    for (int i = 0; i < COUNT; i++) value_d[i] = value[i];
    for (int step = 1; step <= STEPS; step++) {
        fill(grad, COUNT, 100 + (uint64_t)step);
        const double rate = 1e-2 * step / STEPS;
        cm3_flat_adamw update = cm3_adamw_update(&config, step, rate);
        update.clip = (float)CLIP;
        apply(&update, spans, 2, (float *[]){value, grad, m, v});
        reference(step, rate, true, 600, value_d, grad, m_d, v_d);
        reference(step, rate, false, COUNT - 600, value_d + 600, grad + 600, m_d + 600, v_d + 600);
    }
    /* Each step rounds the value once (half an ulp of at most 4) and the step by a few ulps of at most lr * 3. */
    const double tolerance = STEPS * (4 * 0x1p-24 + 8 * 0x1p-24 * 1e-2 * 3);
    for (int i = 0; i < COUNT; i++) assert_true(fabs(value[i] - value_d[i]) < tolerance);
}

static void bits_do_not_depend_on_threads_and_padding_is_left_alone(void **state) {
    (void)state;
    enum { COUNT = 200000 };
    const cm3_flat_span spans[] = {{16, 5, true}, {32, 70000, true}, {70064, 3, false}, {70080, 100000, false}};
    float *first[4], *second[4];
    for (int b = 0; b < 4; b++) {
        first[b] = calloc(COUNT, sizeof(float));
        second[b] = calloc(COUNT, sizeof(float));
        if (b < 2) fill(first[b], COUNT, (uint64_t)b);
        memcpy(second[b], first[b], COUNT * sizeof(float));
    }
    float before[16];
    memcpy(before, first[0], sizeof before);
    const int threads = cm3_threads_count();
    for (int step = 1; step <= 3; step++) {
        const cm3_flat_adamw update = cm3_adamw_update(&config, step, 1e-3);
        cm3_threads_set(1);
        apply(&update, spans, 4, first);
        cm3_threads_set(3);
        apply(&update, spans, 4, second);
    }
    cm3_threads_set(threads);
    for (int b = 0; b < 4; b++) assert_memory_equal(first[b], second[b], COUNT * sizeof(float));
    assert_memory_equal(first[0], before, sizeof before);
    int64_t untouched = 0;
    for (int64_t i = 0; i < COUNT; i++) untouched += first[3][i] == 0;
    assert_int_equal(untouched, COUNT - 5 - 70000 - 3 - 100000);
    for (int b = 0; b < 4; b++) {
        free(first[b]);
        free(second[b]);
    }
}

static void a_zero_gradient_moves_only_what_decays(void **state) {
    (void)state;
    float value[2] = {1, 1}, grad[2] = {0, 0}, m[2] = {0}, v[2] = {0};
    const cm3_flat_span spans[] = {{0, 1, true}, {1, 1, false}};
    const cm3_flat_adamw update = cm3_adamw_update(&config, 1, 1e-2);
    apply(&update, spans, 2, (float *[]){value, grad, m, v});
    assert_true(fabsf(value[0] - (1 - 1e-3f)) < 1e-7f);
    assert_true(value[1] == 1);
}

static void copy_range(const void *context, int64_t first, int64_t last) {
    float *const *buffer = context;
    memcpy(buffer[2] + first, buffer[1] + first, (size_t)(last - first) * sizeof(float));
}

/* Not a test: the update's speed beside a copy that moves as many bytes. CM3_TEST_BENCH=MILLIONS of parameters. */
static void bench(int64_t count) {
    float *buffer[4];
    for (int b = 0; b < 4; b++) {
        buffer[b] = aligned_alloc(64, (size_t)count * sizeof(float));
        if (buffer[b] == NULL) return;
        fill(buffer[b], count, (uint64_t)b);
        for (int64_t i = 0; b == 3 && i < count; i++) buffer[b][i] = fabsf(buffer[b][i]);
    }
    const cm3_flat_span span = {0, count, true};
    double best = 1e9, best_copy = 1e9;
    for (int step = 1; step <= 10; step++) {
        const cm3_flat_adamw update = cm3_adamw_update(&config, step, 1e-6);
        const double start = cm3_clock_seconds();
        apply(&update, &span, 1, buffer);
        const double middle = cm3_clock_seconds();
        cm3_parallel_for(count, 4096, copy_range, buffer);
        const double end = cm3_clock_seconds();
        best = fmin(best, middle - start);
        best_copy = fmin(best_copy, end - middle);
    }
    printf("%d threads: norm and adamw %.2f GB/s (32 bytes a parameter), copy %.2f GB/s\n", cm3_threads_count(),
           32e-9 * (double)count / best, 8e-9 * (double)count / best_copy);
    for (int b = 0; b < 4; b++) free(buffer[b]);
}

int main(void) {
    if (getenv("CM3_TEST_BENCH") != NULL) {
        bench(atoll(getenv("CM3_TEST_BENCH")) * 1000000);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_follow_the_paper_with_and_without_decay),
        cmocka_unit_test(bits_do_not_depend_on_threads_and_padding_is_left_alone),
        cmocka_unit_test(a_zero_gradient_moves_only_what_decays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
