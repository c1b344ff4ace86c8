#include "core/rng.h"
#include "core/threads.h"
#include "model/vqgan_codebook.h"
#include "optim/adamw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SIDE = 16, CODES = 32, WIDTH = 8, BATCH = 8, ROWS = BATCH * 16, VALUES = BATCH * SIDE * SIDE * 3 };

typedef struct fixture {
    cm3_network *network;
    cm3_params *params;
    cm3_vqgan *model;
    cm3_codebook *book;
    cm3_comm *comm;
} fixture;

static fixture open_fixture(void) {
    const cm3_vqgan_config config = {.image_size = SIDE,
                                     .patch = 2,
                                     .channels = 16,
                                     .multipliers = {{1, 2}, 2},
                                     .encoder_blocks = 1,
                                     .decoder_blocks = 1,
                                     .middle_blocks = 1,
                                     .code_width = WIDTH,
                                     .codes = CODES,
                                     .l1 = 1,
                                     .l2 = 1,
                                     .codebook_loss = 1,
                                     .commitment = 0.25,
                                     .dead_steps = 10,
                                     .restart_until = 1};
    fixture f;
    assert_int_equal(cm3_comm_open_self(&f.comm), CM3_OK);
    const cm3_network_options options = {
        .kind = "image-tokenizer", .config = &config, .use = CM3_USE_GRADIENTS, .seed = 1};
    assert_int_equal(cm3_network_open(&options, &f.network), CM3_OK);
    f.params = f.network->params;
    f.model = f.network->model;
    assert_int_equal(cm3_codebook_create(f.model, 77, &f.book), CM3_OK);
    return f;
}

static void close_fixture(fixture *f) {
    cm3_codebook_free(f->book);
    cm3_network_close(f->network);
    cm3_comm_close(f->comm);
}

static float *codebook_of(const fixture *f) {
    return cm3_params_value(f->params, CM3_VQGAN_CODEBOOK);
}

static void fill(float *values, int64_t count, uint64_t stream) {
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, stream, 0);
    for (int64_t i = 0; i < count; i++) values[i] = (float)cm3_rng_normal(&rng);
}

/* Row of z that is this code, or -1. */
static int row_of(const float *z, const float *code) {
    for (int i = 0; i < ROWS; i++)
        if (memcmp(z + i * WIDTH, code, WIDTH * sizeof *z) == 0) return i;
    return -1;
}

static void a_new_codebook_holds_different_encoder_outputs(void **state) {
    (void)state;
    fixture f = open_fixture();
    float z[ROWS * WIDTH];
    bool taken[ROWS] = {false};
    fill(z, ROWS * WIDTH, 1);
    assert_int_equal(cm3_codebook_start(f.book, f.comm, z, ROWS), CM3_OK);
    for (int k = 0; k < CODES; k++) {
        const int row = row_of(z, codebook_of(&f) + k * WIDTH);
        assert_true(row >= 0 && !taken[row]);
        taken[row] = true;
    }
    close_fixture(&f);
}

static void only_codes_unused_for_long_are_started_again(void **state) {
    (void)state;
    fixture f = open_fixture();
    float z[ROWS * WIDTH], before[CODES * WIDTH];
    int32_t codes[ROWS];
    cm3_codebook_report report;
    fill(z, ROWS * WIDTH, 2);
    assert_int_equal(cm3_codebook_start(f.book, f.comm, z, ROWS), CM3_OK);
    memcpy(before, codebook_of(&f), sizeof before);
    for (int i = 0; i < ROWS; i++) codes[i] = i % 4; /* four codes used alike, the rest never */
    for (int step = 1; step <= 10; step++) {
        assert_int_equal(cm3_codebook_update(f.book, f.comm, step, z, codes, ROWS, true, &report), CM3_OK);
        assert_int_equal(report.used, 4);
        assert_true(fabs(report.perplexity - 4) < 1e-9);
        assert_int_equal(report.restarted, 0);
    }
    assert_memory_equal(before, codebook_of(&f), sizeof before);
    fill(z, ROWS * WIDTH, 3);
    assert_int_equal(cm3_codebook_update(f.book, f.comm, 11, z, codes, ROWS, false, &report), CM3_OK);
    assert_int_equal(report.restarted, 0); /* not asked for */
    assert_int_equal(cm3_codebook_update(f.book, f.comm, 11, z, codes, ROWS, true, &report), CM3_OK);
    assert_int_equal(report.restarted, CODES - 4);
    assert_memory_equal(before, codebook_of(&f), 4 * WIDTH * sizeof *before);
    for (int k = 4; k < CODES; k++) {
        assert_int_equal(report.restarted_codes[k - 4], k);
        assert_true(row_of(z, codebook_of(&f) + k * WIDTH) >= 0);
        assert_int_equal(cm3_codebook_last_used(f.book)[k], 11);
    }
    close_fixture(&f);
}

/* Run by test_codebook_ranks.sh under mpirun, too: each rank holds its part of the batch, in order. */
static void the_codebook_is_the_same_on_any_number_of_ranks(void **state) {
    (void)state;
    fixture whole = open_fixture(), part = open_fixture();
    cm3_comm_close(part.comm);
    assert_int_equal(cm3_comm_open(&part.comm), CM3_OK);
    const char *ranks = getenv("CM3_TEST_RANKS");
    assert_int_equal(cm3_comm_size(part.comm), ranks ? atoi(ranks) : 1);
    const int64_t rows = ROWS / cm3_comm_size(part.comm), first = rows * cm3_comm_rank(part.comm);
    float z[ROWS * WIDTH];
    int32_t codes[ROWS];
    cm3_codebook_report one, other;
    int64_t restarted = 0;
    fill(z, ROWS * WIDTH, 4);
    assert_int_equal(cm3_codebook_start(whole.book, whole.comm, z, ROWS), CM3_OK);
    assert_int_equal(cm3_codebook_start(part.book, part.comm, z + first * WIDTH, rows), CM3_OK);
    for (int step = 1; step <= 40; step++) {
        fill(z, ROWS * WIDTH, 100 + (uint64_t)step);
        for (int i = 0; i < ROWS; i++) codes[i] = (int32_t)((i * i + step / 15) % CODES);
        assert_int_equal(cm3_codebook_update(whole.book, whole.comm, step, z, codes, ROWS, true, &one), CM3_OK);
        assert_int_equal(
            cm3_codebook_update(part.book, part.comm, step, z + first * WIDTH, codes + first, rows, true, &other),
            CM3_OK);
        assert_int_equal(one.used, other.used);
        assert_int_equal(one.restarted, other.restarted);
        restarted += one.restarted;
        assert_memory_equal(codebook_of(&whole), codebook_of(&part), CODES * WIDTH * sizeof *z);
    }
    assert_true(restarted > CODES / 2);
    close_fixture(&whole);
    close_fixture(&part);
}

/* --- a real training --------------------------------------------------------------------------------------------- */

/* A rectangle of one colour on another. */
static void draw(float *image, cm3_rng *rng) {
    float colour[2][3];
    for (int i = 0; i < 6; i++) colour[i / 3][i % 3] = cm3_rng_below(rng, 2) ? 0.8f : -0.8f;
    const int left = (int)cm3_rng_below(rng, 8), top = (int)cm3_rng_below(rng, 8),
              size = 4 + (int)cm3_rng_below(rng, 5);
    for (int i = 0; i < SIDE * SIDE; i++) {
        const bool inside = i % SIDE >= left && i % SIDE < left + size && i / SIDE >= top && i / SIDE < top + size;
        for (int c = 0; c < 3; c++) image[i * 3 + c] = colour[inside][c];
    }
}

static void draw_batch(const fixture *f, uint64_t step, float *folded) {
    static float images[VALUES];
    for (int i = 0; i < BATCH; i++) {
        cm3_rng rng = cm3_rng_stream(8, CM3_RNG_TEST, step, (uint64_t)i);
        draw(images + i * SIDE * SIDE * 3, &rng);
    }
    cm3_vqgan_fold(cm3_vqgan_get_config(f->model), images, BATCH, folded);
}

static void training_learns_to_draw_rectangles_and_uses_its_codes(void **state) {
    (void)state;
    fixture f = open_fixture();
    static float folded[VALUES];
    float pixel_scale, code_scale;
    cm3_vqgan_scales(cm3_vqgan_get_config(f.model), BATCH, &pixel_scale, &code_scale);
    cm3_tape *tape;
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu()}, &tape), CM3_OK);
    const cm3_vqgan_step step =
        cm3_vqgan_train(f.model, tape, &(cm3_vqgan_batch){BATCH, folded, &pixel_scale, &code_scale});
    if (cm3_tape_plan(tape) != CM3_OK) fail_msg("%s", cm3_message());

    const int64_t size = cm3_params_group(f.params, 0)->size;
    float *m = calloc((size_t)size, sizeof *m), *v = calloc((size_t)size, sizeof *v);
    const cm3_adamw_config adam = {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
    const cm3_flat_span whole = {0, size, false};
    cm3_codebook_report report;
    double first = 0, last = 0;
    for (int64_t i = 1; i <= 200; i++) {
        draw_batch(&f, (uint64_t)i, folded);
        if (i == 1) { /* the codes come from the data */
            assert_int_equal(cm3_tape_run(tape, NULL), CM3_OK);
            assert_int_equal(cm3_codebook_start(f.book, f.comm, cm3_var_tensor(step.z)->data, ROWS), CM3_OK);
        }
        assert_int_equal(cm3_tape_run(tape, NULL), CM3_OK);
        cm3_flat_adamw update = cm3_adamw_update(&adam, i, 1e-3);
        update.spans = &whole;
        update.span_count = 1;
        update.size = size;
        update.value = cm3_params_group(f.params, 0)->host.values;
        update.grad = cm3_params_group(f.params, 0)->host.gradients;
        update.m = m;
        update.v = v;
        cm3_flat_verdict verdict;
        assert_int_equal(cm3_backend_cpu()->flat->clipped_adamw(&update, 0, NULL, &verdict), CM3_OK);
        assert_int_equal(cm3_codebook_update(f.book, f.comm, i, cm3_var_tensor(step.z)->data,
                                             cm3_var_tensor(step.codes)->data, ROWS, true, &report),
                         CM3_OK);
        if (i <= 10) first += cm3_var_scalar(step.pixel_loss) / 10;
        if (i > 190) last += cm3_var_scalar(step.pixel_loss) / 10;
    }
    if (!(last < 0.35 * first)) fail_msg("the loss went from %g to %g only", first, last);
    assert_true(report.used > CODES / 3);
    free(m);
    free(v);
    cm3_tape_free(tape);
    close_fixture(&f);
}

int main(int argc, char **argv) {
    cm3_threads_set(1); /* 200 small steps: on a busy machine, waiting threads would cost more than they bring */
    const struct CMUnitTest on_ranks[] = {cmocka_unit_test(the_codebook_is_the_same_on_any_number_of_ranks)};
    if (argc > 1 && strcmp(argv[1], "ranks") == 0) return cmocka_run_group_tests(on_ranks, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_codebook_holds_different_encoder_outputs),
        cmocka_unit_test(only_codes_unused_for_long_are_started_again),
        cmocka_unit_test(the_codebook_is_the_same_on_any_number_of_ranks),
        cmocka_unit_test(training_learns_to_draw_rectangles_and_uses_its_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
