#include "train/plan.h"

#include "train/token_tapes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void load(cm3_recipe *recipe, const char *recompute) {
    const char *const overrides[] = {recompute};
    if (cm3_config_load(&cm3_recipe_schema, CM3_SOURCE_DIR "/tests/functional/tiny.yaml", overrides, 1, recipe) !=
        CM3_OK)
        fail_msg("%s", cm3_message());
}

/* The same model on the backend that runs, as the stage makes it. */
static size_t memory_of_the_run(const cm3_recipe *recipe, size_t *step_alone) {
    cm3_vocab vocab;
    cm3_network *network;
    cm3_token_tapes tapes;
    const cm3_vocab_sizes sizes = cm3_recipe_vocab_sizes(recipe);
    assert_int_equal(cm3_vocab_build(&sizes, &vocab), CM3_OK);
    cm3_network_options of = cm3_recipe_network(recipe, "transformer");
    of.vocabulary = vocab.size;
    assert_int_equal(cm3_network_open(&of, &network), CM3_OK);
    const cm3_sequence_batch batch = {.batch = recipe->pretrain.data.batch / 2,
                                      .sequence = recipe->pretrain.data.context};
    const cm3_tape_options options = {.backend = cm3_backend_cpu(),
                                      .recompute = (cm3_recompute)recipe->model.recompute};
    assert_int_equal(cm3_token_tapes_open(network->model, &batch, &options, &tapes), CM3_OK);
    const size_t bytes = cm3_token_tapes_peak(&tapes);
    *step_alone = cm3_tape_get_stats(tapes.step)->peak_bytes;
    cm3_token_tapes_close(&tapes);
    cm3_network_close(network);
    return bytes;
}

static void the_plan_counts_the_memory_of_step_and_validation_to_the_byte(void **state) {
    (void)state;
    const char *const overrides[] = {"model.recompute=none", "model.recompute=layers"};
    for (int i = 0; i < 2; i++) {
        cm3_recipe recipe;
        cm3_stage_plan plan;
        load(&recipe, overrides[i]);
        assert_int_equal(cm3_plan_pretrain(&recipe, cm3_backend_meta(), 2, &plan), CM3_OK);
        size_t step_alone;
        const size_t bytes = memory_of_the_run(&recipe, &step_alone);
        assert_true(plan.step_bytes == (double)bytes);
        assert_true(plan.peak_bytes == plan.parameter_bytes + plan.gradient_bytes + plan.optimizer_bytes +
                                           plan.step_bytes - plan.exchanged_bytes);
        if (i == 0) assert_int_equal(bytes, step_alone); /* validation fits into what the step holds */
        cm3_config_free(&cm3_recipe_schema, &recipe);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_counts_the_memory_of_step_and_validation_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
