/* The device that the host plays: its memory is as far away as a GPU's. */
#include "core/kernels/device.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static const cm3_memory *memory;

static void the_host_that_follows_an_address_of_the_device_ends_there(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* blocks of exactly the bytes asked for, instead */
#endif
    float *there = memory->alloc(sizeof *there), here = 0;
    assert_non_null(there);
    assert_int_equal(memory->set(there, 3), CM3_OK);
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's would tell of it */
        _exit(*(volatile float *)there == 3 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_int_equal(memory->download(&here, there, sizeof here), CM3_OK);
    assert_true(here == 3);
    memory->free(there, sizeof *there);
}

static void what_is_taken_is_zero(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    static int32_t values[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = i + 1;
    for (int again = 0; again < 2; again++) {
        void *there = memory->alloc(sizeof values);
        if (again) assert_int_equal(memory->download(values, there, sizeof values), CM3_OK);
        for (int i = 0; i < COUNT; i++) assert_int_equal(values[i], again ? 0 : i + 1);
        if (!again) assert_int_equal(memory->upload(there, values, sizeof values), CM3_OK);
        memory->free(there, sizeof values);
    }
}

static void copies_that_nobody_waits_for_are_done_when_a_mark_behind_them_is_reached(void **state) {
    (void)state;
    float *pinned = memory->alloc_pinned(2 * sizeof *pinned), *there = memory->alloc(sizeof *there);
    void *marks[2] = {0};
    assert_true(pinned && there && pinned[0] == 0 && pinned[1] == 0);
    for (int i = 0; i < 2; i++) { /* there and back: 1, then 2 */
        assert_int_equal(memory->event_sync(marks[i]), CM3_OK);
        pinned[i] = (float)(i + 1);
        assert_int_equal(memory->upload_async(there, &pinned[i], sizeof *pinned), CM3_OK);
        assert_int_equal(memory->download_async(&pinned[1 - i], there, sizeof *pinned), CM3_OK);
        assert_int_equal(memory->event_record(&marks[i]), CM3_OK);
        if (i == 0) assert_int_equal(memory->event_sync(marks[0]), CM3_OK);
        if (i == 0) assert_true(pinned[1] == 1);
    }
    assert_int_equal(memory->event_sync(marks[0]), CM3_OK);
    float here = 0;
    assert_int_equal(memory->download(&here, there, sizeof here), CM3_OK);
    assert_true(here == 2 && pinned[0] == 2);
    for (int i = 0; i < 2; i++) memory->event_free(marks[i]);
    memory->event_free(NULL);
    memory->free(there, sizeof *there);
    memory->free_pinned(pinned, 2 * sizeof *pinned);
    memory->free_pinned(NULL, 0);
}

int main(void) {
    cm3_device opened;
    if (cm3_device_open(CM3_DEVICE_CUDA, 0, &opened) != CM3_OK) {
        fprintf(stderr, "%s\n", cm3_message());
        return 1;
    }
    memory = opened.backend->memory;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_that_follows_an_address_of_the_device_ends_there),
        cmocka_unit_test(what_is_taken_is_zero),
        cmocka_unit_test(copies_that_nobody_waits_for_are_done_when_a_mark_behind_them_is_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
