/* Runs that the backend keeps, as a CUDA graph, and what callbacks queue in them. */
#include "core/rng.h"
#include "core/tensor/tape.h"
#include "tests/support/gpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 6, WIDTH = 8, VOCABULARY = 5, WEIGHTS = VOCABULARY * WIDTH, RUNS = 5 };

static const cm3_backend *device;

/* A step, and what its callbacks do in the place of a sum over ranks: the gradient is copied. */
typedef struct step {
    cm3_tape *tape;
    float *x, *weight, *gradient, *copied; /* the device's */
    int32_t *targets;
    float *scale;
    int calls, joins;
} step;

static void *block(size_t bytes) {
    void *taken = device->memory->alloc(bytes);
    assert_non_null(taken);
    return taken;
}

static void upload(void *to, size_t count, uint64_t stream) {
    float values[ROWS * WIDTH];
    cm3_rng rng = cm3_rng_stream(7, CM3_RNG_TEST, stream, 0);
    assert_true(count <= ROWS * WIDTH);
    for (size_t i = 0; i < count; i++) values[i] = (float)cm3_rng_normal(&rng);
    assert_int_equal(device->memory->upload(to, values, count * sizeof *values), CM3_OK);
}

static void open_step(step *s) {
    const int32_t targets[ROWS] = {0, 1, 2, 3, 4, 0};
    const cm3_tape_options options = {.backend = device};
    *s = (step){.x = block(ROWS * WIDTH * sizeof(float)),
                .weight = block(WEIGHTS * sizeof(float)),
                .gradient = block(WEIGHTS * sizeof(float)),
                .copied = block(WEIGHTS * sizeof(float)),
                .targets = block(sizeof targets),
                .scale = block(sizeof(float))};
    upload(s->weight, WEIGHTS, 1);
    assert_int_equal(device->memory->upload(s->targets, targets, sizeof targets), CM3_OK);
    assert_int_equal(device->memory->set(s->scale, 1), CM3_OK);
    assert_int_equal(cm3_tape_create(&options, &s->tape), CM3_OK);
    cm3_var *x = cm3_tape_input(s->tape, CM3_F32, cm3_shape_of(ROWS, WIDTH), s->x);
    cm3_var *weight = cm3_tape_parameter(s->tape, cm3_shape_of(VOCABULARY, WIDTH), s->weight, s->gradient, 0);
    cm3_var *targets_of = cm3_tape_input(s->tape, CM3_I32, cm3_shape_of(ROWS), s->targets);
    cm3_var *scale = cm3_tape_input(s->tape, CM3_F32, cm3_shape_of(1), s->scale);
    cm3_tape_loss(s->tape, cm3_linear_cross_entropy(s->tape, x, weight, targets_of, scale, NULL, 0, NULL));
}

static void close_step(step *s) {
    cm3_tape_free(s->tape);
    device->memory->free(s->x, ROWS * WIDTH * sizeof(float));
    device->memory->free(s->weight, WEIGHTS * sizeof(float));
    device->memory->free(s->gradient, WEIGHTS * sizeof(float));
    device->memory->free(s->copied, WEIGHTS * sizeof(float));
    device->memory->free(s->targets, ROWS * sizeof(int32_t));
    device->memory->free(s->scale, sizeof(float));
}

static cm3_status copy_gradient(void *context, int bucket) {
    step *s = context;
    assert_int_equal(bucket, 0);
    s->calls++;
    return device->memory->copy(s->copied, s->gradient, WEIGHTS * sizeof(float));
}

static cm3_status join(void *context) {
    step *s = context;
    s->joins++;
    return CM3_OK;
}

static void run(step *s, uint64_t stream, const cm3_tape_run_options *options) {
    float made[WEIGHTS], copied[WEIGHTS];
    upload(s->x, ROWS * WIDTH, stream);
    assert_int_equal(device->memory->clear(s->copied, sizeof copied), CM3_OK);
    if (cm3_tape_run(s->tape, options) != CM3_OK) fail_msg("%s", cm3_message());
    assert_int_equal(device->memory->download(made, s->gradient, sizeof made), CM3_OK);
    assert_int_equal(device->memory->download(copied, s->copied, sizeof copied), CM3_OK);
    assert_true(made[0] != 0);
    if (options->bucket_ready) assert_memory_equal(made, copied, sizeof made);
}

static void what_callbacks_queue_is_done_again_by_the_kept_run(void **state) {
    (void)state;
    step s;
    open_step(&s);
    const cm3_tape_run_options options = {
        .bucket_ready = copy_gradient, .all_ready = join, .queues = true, .context = &s};
    for (int i = 0; i < RUNS; i++) run(&s, 10 + (uint64_t)i, &options);
    assert_int_equal(s.calls, 2); /* the first run, and the one that was kept */
    assert_int_equal(s.joins, 2);
    close_step(&s);
}

static void callbacks_that_do_more_are_called_in_every_run(void **state) {
    (void)state;
    step s;
    open_step(&s);
    const cm3_tape_run_options options = {.bucket_ready = copy_gradient, .context = &s};
    for (int i = 0; i < RUNS; i++) run(&s, 10 + (uint64_t)i, &options);
    assert_int_equal(s.calls, RUNS);
    close_step(&s);
}

static void kept_runs_with_and_without_callbacks_are_two(void **state) {
    (void)state;
    step s;
    open_step(&s);
    const cm3_tape_run_options plain = {0}, calls = {.bucket_ready = copy_gradient, .queues = true, .context = &s};
    for (int i = 0; i < RUNS; i++) {
        run(&s, 20 + (uint64_t)i, &plain);
        run(&s, 30 + (uint64_t)i, &calls);
    }
    assert_int_equal(s.calls, 2);
    close_step(&s);
}

/* Waits for the device, which no kept run can. */
static cm3_status fetch(void *context) {
    step *s = context;
    float made[WEIGHTS];
    s->joins++;
    return device->memory->download(made, s->gradient, sizeof made);
}

static void a_run_that_cannot_be_kept_is_queued_anew_each_time(void **state) {
    (void)state;
    step s;
    open_step(&s);
    const cm3_tape_run_options options = {
        .bucket_ready = copy_gradient, .all_ready = fetch, .queues = true, .context = &s};
    for (int i = 0; i < RUNS; i++) run(&s, 40 + (uint64_t)i, &options);
    assert_int_equal(s.joins, RUNS + 1); /* and the attempt to keep the second run */
    close_step(&s);
}

int main(void) {
    device = gpu_open();
    if (!device) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_callbacks_queue_is_done_again_by_the_kept_run),
        cmocka_unit_test(callbacks_that_do_more_are_called_in_every_run),
        cmocka_unit_test(kept_runs_with_and_without_callbacks_are_two),
        cmocka_unit_test(a_run_that_cannot_be_kept_is_queued_anew_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
