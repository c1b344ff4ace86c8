#include "data/loader.h"
#include "core/file.h"
#include "tests/support/small_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { SAMPLES = 60, SLOTS = 12, STEPS = 20, CONTEXT = 100 };
static cm3_vocab vocab;
static cm3_store *store;
static char path[512];
static cm3_data_config config;

static int setup(void **state) {
    (void)state;
    small_vocab(&vocab);
    small_store_write("loader", SAMPLES, &vocab, path);
    assert_int_equal(cm3_store_open(path, 0, &store), CM3_OK);
    config = small_config();
    config.batch = SLOTS;
    config.context = CONTEXT;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    cm3_store_close(store);
    unlink(path);
    return 0;
}

static const cm3_range all_slots = {0, SLOTS};

static cm3_status open_loader(cm3_store *from, cm3_range slots, int64_t rows, const cm3_cursor *cursors,
                              cm3_loader **loader) {
    const cm3_loader_options options = {&config, &vocab, from, slots, rows, cursors};
    return cm3_loader_open(&options, loader);
}

/* inputs[step][slot][position] of a run on `ranks` ranks with micro-batches of `rows`. */
typedef int32_t run_inputs[STEPS][SLOTS][CONTEXT];

static void run(int64_t ranks, int64_t rows, int64_t first_step, const cm3_cursor *cursors, cm3_cursor *after,
                run_inputs inputs) {
    const int64_t count = SLOTS / ranks;
    for (int64_t rank = 0; rank < ranks; rank++) {
        cm3_loader *loader;
        const cm3_range slots = {rank * count, (rank + 1) * count};
        assert_int_equal(open_loader(store, slots, rows, cursors ? cursors + rank * count : NULL, &loader), CM3_OK);
        for (int64_t step = first_step; step < STEPS; step++) {
            for (int64_t slot = 0; slot < count; slot += rows) {
                const cm3_batch *batch;
                assert_int_equal(cm3_loader_next(loader, &batch), CM3_OK);
                memcpy(inputs[step][rank * count + slot], batch->inputs, (size_t)(rows * CONTEXT) * sizeof(int32_t));
            }
            if (after && step == STEPS / 2 - 1)
                memcpy(after + rank * count, cm3_loader_cursors(loader), (size_t)count * sizeof *after);
        }
        cm3_loader_close(loader);
    }
}

static void batches_do_not_depend_on_ranks_micro_batches_or_prefetching(void **state) {
    (void)state;
    run_inputs *expected = malloc(sizeof *expected), *found = malloc(sizeof *found);
    const int64_t ranks[] = {1, 2, 4, 12, 1, 3}, rows[] = {12, 3, 1, 1, 4, 2}, prefetch[] = {0, 1, 4, 2, 7, 0};
    config.prefetch = 0;
    run(1, 1, 0, NULL, NULL, *expected);
    for (int i = 0; i < 6; i++) {
        config.prefetch = prefetch[i];
        run(ranks[i], rows[i], 0, NULL, NULL, *found);
        assert_memory_equal(*expected, *found, sizeof *found);
    }
    free(expected);
    free(found);
}

static void resuming_goes_on_with_the_very_next_batch_on_any_number_of_ranks(void **state) {
    (void)state;
    run_inputs *expected = malloc(sizeof *expected), *found = malloc(sizeof *found);
    cm3_cursor middle[SLOTS];
    config.prefetch = 5; /* batches prepared but not taken must be made again */
    run(2, 3, 0, NULL, middle, *expected);
    const int64_t ranks[] = {1, 2, 4};
    for (int i = 0; i < 3; i++) {
        memcpy(*found, *expected, sizeof *found);
        memset((*found)[STEPS / 2], 0, sizeof(int32_t) * SLOTS * CONTEXT * (STEPS / 2));
        run(ranks[i], 3, STEPS / 2, middle, NULL, *found);
        assert_memory_equal(*expected, *found, sizeof *found);
    }
    free(expected);
    free(found);
}

static void a_batch_stays_as_it_is_until_the_next_is_asked_for(void **state) {
    (void)state;
    cm3_loader *loader;
    const cm3_batch *batch;
    config.prefetch = 2;
    assert_int_equal(open_loader(store, all_slots, 4, NULL, &loader), CM3_OK);
    int32_t *copy = malloc(4 * CONTEXT * sizeof *copy);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(cm3_loader_next(loader, &batch), CM3_OK);
        memcpy(copy, batch->inputs, 4 * CONTEXT * sizeof *copy);
        usleep(2000); /* time enough for the thread to fill all that it may */
        assert_memory_equal(copy, batch->inputs, 4 * CONTEXT * sizeof *copy);
    }
    free(copy);
    cm3_loader_close(loader);
}

static void closing_at_any_moment_ends_cleanly(void **state) {
    (void)state;
    config.prefetch = 3;
    for (int taken = 0; taken < 8; taken++) {
        cm3_loader *loader;
        const cm3_batch *batch;
        assert_int_equal(open_loader(store, all_slots, 2, NULL, &loader), CM3_OK);
        for (int i = 0; i < taken; i++) assert_int_equal(cm3_loader_next(loader, &batch), CM3_OK);
        cm3_loader_close(loader);
    }
    cm3_loader_close(NULL);
}

/* A store whose images are damaged: a run of bytes in the middle of the file, where chunks lie. */
static void damage(const char *name) {
    char *data;
    size_t length;
    assert_int_equal(cm3_file_read(path, 1 << 24, &data, &length), CM3_OK);
    memset(data + length / 2, 0x55, length / 8);
    assert_int_equal(cm3_file_write(name, data, length), CM3_OK);
    free(data);
}

static void a_fault_of_the_thread_reaches_the_consumer_after_the_good_batches(void **state) {
    (void)state;
    for (int64_t prefetch = 0; prefetch < 4; prefetch += 3) {
        char broken[600];
        snprintf(broken, sizeof broken, "%s.broken", path);
        damage(broken);
        cm3_store *bad;
        cm3_loader *loader = NULL;
        const cm3_batch *batch;
        config.prefetch = prefetch;
        cm3_status status = cm3_store_open(broken, 0, &bad);
        if (status == CM3_OK) status = open_loader(bad, all_slots, 2, NULL, &loader);
        for (int i = 0; i < 100 && status == CM3_OK; i++) status = cm3_loader_next(loader, &batch);
        assert_int_equal(status, CM3_ERR_FORMAT);
        assert_non_null(strstr(cm3_message(), "damaged"));
        if (loader) assert_int_equal(cm3_loader_next(loader, &batch), CM3_ERR_FORMAT); /* and again */
        cm3_loader_close(loader);
        cm3_store_close(bad);
        unlink(broken);
    }
}

static void slots_that_do_not_divide_are_refused(void **state) {
    (void)state;
    cm3_loader *loader;
    assert_int_equal(open_loader(store, all_slots, 5, NULL, &loader), CM3_ERR_SHAPE);
    assert_int_equal(open_loader(store, (cm3_range){6, 6 + SLOTS}, 4, NULL, &loader), CM3_ERR_SHAPE);
    assert_null(loader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_do_not_depend_on_ranks_micro_batches_or_prefetching),
        cmocka_unit_test(resuming_goes_on_with_the_very_next_batch_on_any_number_of_ranks),
        cmocka_unit_test(a_batch_stays_as_it_is_until_the_next_is_asked_for),
        cmocka_unit_test(closing_at_any_moment_ends_cleanly),
        cmocka_unit_test(a_fault_of_the_thread_reaches_the_consumer_after_the_good_batches),
        cmocka_unit_test(slots_that_do_not_divide_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
