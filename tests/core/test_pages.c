#include "core/kernels/cpu/machine.h"
#include "core/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { PAGES = 8 };

static void blocks_are_aligned_zero_and_as_long_as_asked(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 4097, CM3_HUGE_PAGE - 1, CM3_HUGE_PAGE, CM3_HUGE_PAGE + 1, 3 * CM3_HUGE_PAGE + 5000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *block = cm3_pages_alloc(sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % (sizes[i] < CM3_HUGE_PAGE ? 64 : CM3_HUGE_PAGE), 0);
        for (size_t at = 0; at < sizes[i]; at++) assert_int_equal(block[at], 0);
        if (sizes[i]) memset(block, 7, sizes[i]);
        cm3_pages_free(block, sizes[i]);
    }
    assert_null(cm3_pages_alloc(SIZE_MAX));
    assert_null(cm3_pages_alloc(SIZE_MAX / 2));
    cm3_pages_free(NULL, 5);
}

static void only_whole_huge_pages_of_the_range_are_forgotten(void **state) {
    (void)state;
    unsigned char *block = cm3_pages_alloc(4 * CM3_HUGE_PAGE);
    assert_non_null(block);
    memset(block, 7, 4 * CM3_HUGE_PAGE);
    cm3_pages_discard(block + 1, 0);
    cm3_pages_discard(block + 1, CM3_HUGE_PAGE);                 /* none is whole */
    cm3_pages_discard(block + CM3_HUGE_PAGE, CM3_HUGE_PAGE - 1); /* nor here */
    for (size_t at = 0; at < 4 * CM3_HUGE_PAGE; at += 511) assert_int_equal(block[at], 7);
    cm3_pages_discard(block + 5, 3 * CM3_HUGE_PAGE); /* the second and the third */
    for (size_t at = 0; at < 4 * CM3_HUGE_PAGE; at += 511)
        assert_int_equal(block[at], at < CM3_HUGE_PAGE || at >= 3 * CM3_HUGE_PAGE ? 7 : 0);
    cm3_pages_free(block, 4 * CM3_HUGE_PAGE);
}

static void the_peak_of_memory_is_seen_when_it_is_over(void **state) {
    (void)state;
    const size_t bytes = (size_t)PAGES * CM3_HUGE_PAGE;
    cm3_machine_watch_memory();
    const double before = cm3_machine_memory();
    if (before <= 0) skip();
    unsigned char *block = cm3_pages_alloc(bytes);
    assert_non_null(block);
    memset(block, 1, bytes);
    cm3_pages_discard(block, bytes);
    assert_true(cm3_machine_memory() < before + 0.5 * (double)bytes);
    assert_true(cm3_machine_peak_memory() > before + 0.9 * (double)bytes);
    cm3_pages_free(block, bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_zero_and_as_long_as_asked),
        cmocka_unit_test(only_whole_huge_pages_of_the_range_are_forgotten),
        cmocka_unit_test(the_peak_of_memory_is_seen_when_it_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
