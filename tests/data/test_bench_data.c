#include "data/bench_data.h"
#include "data/data_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void every_figure_is_measured(void **state) {
    (void)state;
    cm3_bench_data_config config = cm3_bench_data_default();
    config.folder = CM3_BINARY_DIR;
    config.samples = 256;
    config.seconds = 0.1;
    cm3_bench_data_result r;
    assert_int_equal(cm3_bench_data(&config, &r), CM3_OK);
    print_message(
        "tokens/s: %.3g from the file, %.3g from memory, %.3g masks alone; %.3g blocks/s skipped; %.2f bytes a token\n",
        r.tokens_per_second, r.memory_tokens_per_second, r.mask_tokens_per_second, r.skip_blocks_per_second,
        r.store_bytes_per_token);
    assert_true(r.tokens_per_second > 1e4); /* far below any machine: only that it works */
    assert_true(r.memory_tokens_per_second > 1e4);
    assert_true(r.random_tokens_per_second > 1e4);
    assert_true(r.add_seconds > 0 && r.add_seconds < 1e-2);
    assert_true(r.mask_tokens_per_second > 1e4);
    assert_true(r.skip_blocks_per_second > 1e2);
    assert_true(r.store_bytes_per_token > 1.5 && r.store_bytes_per_token < 2.5);
}

static void settings_that_cannot_be_are_refused(void **state) {
    (void)state;
    cm3_bench_data_config config = cm3_bench_data_default();
    cm3_bench_data_result r;
    config.samples = 0;
    assert_int_equal(cm3_bench_data(&config, &r), CM3_ERR_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_figure_is_measured),
                                       cmocka_unit_test(settings_that_cannot_be_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
