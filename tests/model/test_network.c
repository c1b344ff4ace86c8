#include "model/network.h"
#include "model/transformer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const cm3_transformer_config config = {
    .layers = 2, .width = 16, .heads = 2, .context = 12, .init_std = 0.5, .position_std = 0.5, .norm_epsilon = 1e-5};

static void an_unknown_network_is_named_beside_those_that_are_there(void **state) {
    (void)state;
    cm3_network *network;
    const cm3_network_options options = {.kind = "transfomer", .config = &config, .vocabulary = 40};
    assert_int_equal(cm3_network_open(&options, &network), CM3_ERR_RECIPE);
    assert_null(network);
    assert_string_equal(cm3_message(), "there is no network \"transfomer\"; there are: transformer, image-tokenizer");
}

static void every_row_is_complete_and_found_by_its_name(void **state) {
    (void)state;
    for (const cm3_network_kind *const *row = cm3_network_kinds; *row; row++) {
        const cm3_network_kind *found;
        assert_int_equal(cm3_network_find((*row)->name, &found), CM3_OK);
        assert_ptr_equal(found, *row);
        assert_true(found->section && found->item && found->fields && found->config_size && found->check &&
                    found->declare && found->free && found->flops_per_item);
    }
}

/* Another source: every element is its own number. */
static cm3_status count_up(cm3_weights_source *source, const cm3_param *param, cm3_param_range range, float *values) {
    (void)source;
    for (int64_t i = 0; i < range.count; i++) values[i] = (float)(param->index * 1000 + range.offset + i);
    return CM3_OK;
}

static void values_come_from_the_source(void **state) {
    (void)state;
    cm3_network *network;
    cm3_weights_source source = {.read = count_up};
    const cm3_network_options options = {
        .kind = "transformer", .config = &config, .vocabulary = 40, .use = CM3_USE_INFER, .source = &source};
    assert_int_equal(cm3_network_open(&options, &network), CM3_OK);
    assert_true(cm3_params_value(network->params, 3)[7] == 3007);
    assert_int_equal(cm3_params_init(network->params, 5), CM3_OK);
    float whole[40], part[8];
    cm3_weights_source initial = cm3_weights_initial(5);
    const cm3_param *table = cm3_params_get(network->params, 0);
    assert_int_equal(initial.read(&initial, table, (cm3_param_range){0, 40}, whole), CM3_OK);
    assert_int_equal(initial.read(&initial, table, (cm3_param_range){13, 8}, part), CM3_OK);
    assert_memory_equal(whole, cm3_params_value(network->params, 0), sizeof whole);
    assert_memory_equal(part, whole + 13, sizeof part); /* any range of it is the same */
    cm3_network_close(network);
}

static void groups_are_those_of_the_options(void **state) {
    (void)state;
    cm3_network *network;
    const cm3_group_options groups[] = {{.name = "attention", .match = "layers/*/attention/*"},
                                        {.name = "rest", .match = "*", .frozen = true}};
    const cm3_network_options options = {.kind = "transformer",
                                         .config = &config,
                                         .vocabulary = 40,
                                         .groups = groups,
                                         .group_count = 2,
                                         .use = CM3_USE_TRAIN};
    assert_int_equal(cm3_network_open(&options, &network), CM3_OK);
    const cm3_param_group *attention = cm3_params_group(network->params, 0),
                          *rest = cm3_params_group(network->params, 1);
    assert_int_equal(attention->elements, 2 * (3 * 16 * 16 + 16 * 16));
    assert_true(attention->host.gradients && attention->host.m && !rest->host.gradients && !rest->host.m);
    assert_int_equal(cm3_param_group_bucket(attention, 0).count, 0); /* the embeddings' bucket */
    cm3_network_close(network);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_network_is_named_beside_those_that_are_there),
        cmocka_unit_test(every_row_is_complete_and_found_by_its_name),
        cmocka_unit_test(values_come_from_the_source),
        cmocka_unit_test(groups_are_those_of_the_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
