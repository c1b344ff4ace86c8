/* RELU inside of a product, whose mask the next product applies to its gradient, beside RELU as an operation of its
 * own: on the cpu and on the device. */
#include "core/rng.h"
#include "core/tensor/tape.h"
#include "tests/support/gpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 150, WIDTH = 36, INNER = 139, VOCABULARY = 19, TENSORS = 4, SIZE = ROWS * WIDTH };

typedef enum variant {
    WITHIN, /* masked by the product that reads it */
    APART,  /* an operation of its own */
    SHARED  /* within, but something else reads it, too */
} variant;

static const cm3_backend *device;

static void *filled(const cm3_backend *backend, const void *from, size_t bytes) {
    void *block = backend->memory->alloc(bytes);
    assert_non_null(block);
    assert_int_equal(backend->memory->upload(block, from, bytes), CM3_OK);
    return block;
}

static cm3_var *ffn(cm3_tape *t, cm3_var *x, cm3_var *up, cm3_var *down, variant how) {
    cm3_var *h = cm3_linear(t, x, up, NULL, NULL, how == APART ? CM3_ACT_NONE : CM3_ACT_RELU);
    if (how == APART) h = cm3_activate(t, h, CM3_ACT_RELU);
    cm3_var *y = cm3_linear(t, h, down, NULL, NULL, CM3_ACT_NONE);
    return how == SHARED ? cm3_linear(t, cm3_add(t, h, h), down, NULL, y, CM3_ACT_NONE) : y;
}

/* Gradients of x, up, down and the table, one behind the other, SIZE floats each. */
static size_t gradients(const cm3_backend *backend, variant how, cm3_recompute recompute, float *to) {
    const cm3_shape shapes[TENSORS] = {cm3_shape_of(ROWS, WIDTH), cm3_shape_of(INNER, WIDTH),
                                       cm3_shape_of(WIDTH, INNER), cm3_shape_of(VOCABULARY, WIDTH)};
    static float values[SIZE];
    int32_t targets[ROWS];
    const float scale = 0.25f;
    void *blocks[2 * TENSORS + 2];
    const cm3_tape_options options = {.backend = backend, .recompute = recompute, .guards = backend != device};
    cm3_tape *t;
    cm3_var *leaf[TENSORS];
    assert_int_equal(cm3_tape_create(&options, &t), CM3_OK);
    for (int i = 0; i < TENSORS; i++) {
        cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, (uint64_t)i, 0);
        const size_t bytes = (size_t)cm3_shape_count(shapes[i]) * sizeof(float);
        for (int j = 0; j < SIZE; j++) values[j] = 0.5f * (float)cm3_rng_normal(&rng);
        blocks[i] = filled(backend, values, bytes);
        blocks[TENSORS + i] = filled(backend, values, bytes);
        leaf[i] = cm3_tape_parameter(t, shapes[i], blocks[i], blocks[TENSORS + i], 0);
    }
    for (int i = 0; i < ROWS; i++) targets[i] = i % VOCABULARY;
    blocks[2 * TENSORS] = filled(backend, targets, sizeof targets);
    blocks[2 * TENSORS + 1] = filled(backend, &scale, sizeof scale);
    cm3_var *of = cm3_tape_input(t, CM3_I32, cm3_shape_of(ROWS), blocks[2 * TENSORS]);
    cm3_var *by = cm3_tape_input(t, CM3_F32, cm3_shape_of(1), blocks[2 * TENSORS + 1]);
    cm3_var *y = ffn(t, leaf[0], leaf[1], leaf[2], how);
    cm3_tape_loss(t, cm3_linear_cross_entropy(t, y, leaf[3], of, by, NULL, 0, NULL));
    if (cm3_tape_run(t, NULL) != CM3_OK) fail_msg("%s", cm3_message());
    for (int i = 0; i < TENSORS; i++) {
        const size_t bytes = (size_t)cm3_shape_count(shapes[i]) * sizeof(float);
        assert_int_equal(backend->memory->download(to + i * SIZE, blocks[TENSORS + i], bytes), CM3_OK);
    }
    const size_t peak = cm3_tape_get_stats(t)->peak_bytes;
    cm3_tape_free(t);
    for (int i = 0; i < TENSORS; i++) {
        const size_t bytes = (size_t)cm3_shape_count(shapes[i]) * sizeof(float);
        backend->memory->free(blocks[i], bytes);
        backend->memory->free(blocks[TENSORS + i], bytes);
    }
    backend->memory->free(blocks[2 * TENSORS], sizeof targets);
    backend->memory->free(blocks[2 * TENSORS + 1], sizeof scale);
    return peak;
}

static void compare(const cm3_backend *backend, variant one, variant other, cm3_recompute recompute) {
    float *a = calloc(2 * TENSORS * SIZE, sizeof *a), *b = a + TENSORS * SIZE;
    gradients(backend, one, recompute, a);
    gradients(backend, other, CM3_RECOMPUTE_NONE, b);
    int others = 0;
    float largest = 0;
    for (int i = 0; i < TENSORS * SIZE; i++) largest = fmaxf(largest, fabsf(b[i]));
    /* A GPU's library may add in another order where the epilogue is another. */
    const float within = backend == device ? 1e-5f * largest : 0;
    for (int i = 0; i < TENSORS * SIZE; i++) {
        if (!(fabsf(a[i] - b[i]) <= within))
            fail_msg("gradient %d [%d] is %.9g, %.9g expected", i / SIZE, i % SIZE, a[i], b[i]);
        others += a[i] != 0;
    }
    assert_true(others > TENSORS * WIDTH);
    free(a);
}

static void a_mask_gives_the_gradients_of_relu_as_an_operation_of_its_own(void **state) {
    (void)state;
    compare(cm3_backend_cpu(), WITHIN, APART, CM3_RECOMPUTE_NONE);
    compare(device, WITHIN, APART, CM3_RECOMPUTE_NONE);
}

static void a_mask_outlives_what_is_computed_again(void **state) {
    (void)state;
    compare(cm3_backend_cpu(), WITHIN, WITHIN, CM3_RECOMPUTE_ACTIVATIONS);
    compare(cm3_backend_cpu(), WITHIN, WITHIN, CM3_RECOMPUTE_LAYERS);
    compare(device, WITHIN, WITHIN, CM3_RECOMPUTE_ACTIVATIONS);
}

static void relu_masks_itself_where_other_operations_read_it(void **state) {
    (void)state;
    float *cpu = calloc(2 * TENSORS * SIZE, sizeof *cpu), *there = cpu + TENSORS * SIZE;
    gradients(cm3_backend_cpu(), SHARED, CM3_RECOMPUTE_NONE, cpu);
    gradients(device, SHARED, CM3_RECOMPUTE_NONE, there);
    float *apart = calloc(TENSORS * SIZE, sizeof *apart);
    gradients(cm3_backend_cpu(), APART, CM3_RECOMPUTE_NONE, apart);
    float largest = 0;
    for (int i = 0; i < TENSORS * SIZE; i++) largest = fmaxf(largest, fabsf(cpu[i]));
    int different = 0;
    for (int i = 0; i < TENSORS * SIZE; i++) {
        assert_true(fabsf(cpu[i] - there[i]) <= 1e-5f * largest);
        different += cpu[i] != apart[i]; /* three times the weight */
    }
    assert_true(different > 0);
    free(cpu);
    free(apart);
}

int main(void) {
    device = gpu_open();
    if (!device) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_gives_the_gradients_of_relu_as_an_operation_of_its_own),
        cmocka_unit_test(a_mask_outlives_what_is_computed_again),
        cmocka_unit_test(relu_masks_itself_where_other_operations_read_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
