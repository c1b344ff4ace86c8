/* The loss of a step is divided by the sum of its targets' weights: padding and the cut into micro-batches change
 * nothing. */
#include "tests/support/small_network.h"
#include "train/stages/token_pages.h"
#include "train/token_tapes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { VOCABULARY = 40, LONG = 16, SHORT = 5, PADDED = 24 };

static const cm3_transformer_config config = {.architecture = CM3_ARCHITECTURE_CHAMELEON,
                                              .layers = 2,
                                              .width = 16,
                                              .heads = 2,
                                              .context = PADDED,
                                              .init_std = 0.3,
                                              .norm_epsilon = 1e-5,
                                              .rotary_theta = 100,
                                              .z_loss = 1e-2};

/* One document a row, padded to `length`; `documents` are 0 (LONG targets), 1 (SHORT), or both. */
static void fill(cm3_batch *batch, const int *documents, int64_t rows, int64_t length) {
    assert_int_equal(cm3_batch_init(batch, rows, length), CM3_OK);
    for (int64_t row = 0; row < rows; row++) {
        const int document = documents[row], targets = document ? SHORT : LONG;
        for (int64_t i = 0; i < targets; i++) {
            batch->inputs[row * length + i] = (int32_t)((7 * i + 3 + 5 * document) % VOCABULARY);
            batch->targets[row * length + i] = (int32_t)((7 * (i + 1) + 3 + 5 * document) % VOCABULARY);
            batch->weights[row * length + i] = 1;
            batch->weight++;
        }
    }
}

/* A step: loss, and gradients of all parameters. */
typedef struct result {
    double loss, weight;
    float *gradients;
    int64_t size;
} result;

/* Its micro-batches have `rows` of the documents each. */
static result run(const int *documents, int64_t count, int64_t rows, int64_t length) {
    small_network n = small_network_open(&config, VOCABULARY);
    const cm3_backend *backend = cm3_backend_cpu();
    cm3_token_pages pages;
    cm3_token_tapes tapes;
    const int64_t micros = count / rows;
    assert_int_equal(cm3_token_pages_open(backend->memory, rows * length, micros, &pages), CM3_OK);
    const cm3_sequence_batch inputs = {.batch = rows,
                                       .sequence = length,
                                       .ids = pages.ids,
                                       .targets = pages.targets,
                                       .positions = pages.positions,
                                       .weights = pages.weights,
                                       .scale = pages.scale};
    assert_int_equal(cm3_token_tapes_open(n.model, &inputs, &(cm3_tape_options){.backend = backend}, &tapes), CM3_OK);
    result r = {0};
    for (int64_t micro = 0; micro < micros; micro++) {
        cm3_batch batch;
        fill(&batch, documents + micro * rows, rows, length);
        cm3_token_pages_fill(&pages, cm3_token_pages_get(&pages, 0, micro), &batch);
        r.weight += cm3_token_pages_get(&pages, 0, micro)->weight;
        cm3_batch_free(&batch);
    }
    for (int64_t micro = 0; micro < micros; micro++) {
        cm3_token_page *page = cm3_token_pages_get(&pages, 0, micro);
        assert_int_equal(cm3_token_pages_send(&pages, page, 1.0f / (float)r.weight), CM3_OK);
        assert_int_equal(cm3_tape_run(tapes.step, &(cm3_tape_run_options){.accumulate = micro > 0}), CM3_OK);
        r.loss += (double)cm3_var_scalar(tapes.loss);
    }
    const cm3_param_group *group = cm3_params_group(n.params, 0);
    r.size = group->size;
    r.gradients = malloc((size_t)r.size * sizeof *r.gradients);
    memcpy(r.gradients, group->host.gradients, (size_t)r.size * sizeof *r.gradients);
    cm3_token_tapes_close(&tapes);
    cm3_token_pages_close(&pages);
    small_network_close(&n);
    return r;
}

static void assert_same(result a, result b) {
    double largest = 0, off = 0;
    assert_true(a.weight == b.weight);
    for (int64_t i = 0; i < a.size; i++) {
        largest = fmax(largest, fabs((double)a.gradients[i]));
        off = fmax(off, fabs((double)a.gradients[i] - (double)b.gradients[i]));
    }
    /* f32 sums over at most a few dozen rows, in another order. */
    assert_true(largest > 0 && off < 1e-5 * largest);
    assert_true(fabs(a.loss - b.loss) < 1e-5 * fabs(a.loss));
    free(a.gradients);
    free(b.gradients);
}

static void loss_and_gradient_do_not_depend_on_padding(void **state) {
    (void)state;
    const int documents[] = {0, 0, 0, 0};
    const result packed = run(documents, 4, 4, LONG), padded = run(documents, 4, 4, PADDED);
    assert_true(packed.weight == 4 * LONG);
    assert_same(packed, padded);
}

static void loss_and_gradient_do_not_depend_on_how_a_step_is_cut(void **state) {
    (void)state;
    const int documents[] = {0, 1, 1, 0};
    const result whole = run(documents, 4, 4, LONG), cut = run(documents, 4, 1, PADDED);
    assert_true(whole.weight == 2 * LONG + 2 * SHORT);
    assert_same(whole, cut);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_and_gradient_do_not_depend_on_padding),
        cmocka_unit_test(loss_and_gradient_do_not_depend_on_how_a_step_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
