#include "train/tb_events.h"

#include "core/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const double wall_time = 1700000000.25;

static void records_are_byte_for_byte_those_of_tensorboards_own_writer(void **state) {
    (void)state;
    const char *path = "tb-events-test.tfevents";
    cm3_tb_events *events;
    assert_int_equal(cm3_tb_events_create(path, wall_time, 8, &events), CM3_OK);
    cm3_tb_events_scalar(events, wall_time, 8, "train/loss", 3.25f);
    cm3_tb_events_scalar(events, wall_time, 300, "train/loss", NAN);
    cm3_tb_events_scalar(events, wall_time, (int64_t)1 << 40, "train/loss", -1e-30f);
    unsigned char png[200];
    for (int i = 0; i < 200; i++) png[i] = (unsigned char)i;
    cm3_tb_events_image(events, wall_time, 9, "samples/heart", png, sizeof png, 300, 64);
    assert_int_equal(cm3_tb_events_close(events), CM3_OK);
    char *written, *golden;
    size_t written_length, golden_length;
    assert_int_equal(cm3_file_read(path, 1 << 20, &written, &written_length), CM3_OK);
    assert_int_equal(
        cm3_file_read(CM3_SOURCE_DIR "/tests/train/golden/events.tfevents", 1 << 20, &golden, &golden_length), CM3_OK);
    assert_int_equal(written_length, golden_length);
    assert_memory_equal(written, golden, golden_length);
    free(written);
    free(golden);
    unlink(path);
}

static void a_write_that_fails_is_reported(void **state) {
    (void)state;
    cm3_tb_events *events;
    assert_int_equal(cm3_tb_events_create("no/such/folder/file", 0, 0, &events), CM3_ERR_IO);
    assert_int_equal(cm3_tb_events_create("/dev/full", wall_time, 0, &events), CM3_OK);
    cm3_tb_events_scalar(events, wall_time, 1, "a", 1);
    assert_int_equal(cm3_tb_events_flush(events), CM3_ERR_IO);
    assert_non_null(strstr(cm3_message(), "/dev/full"));
    assert_int_equal(cm3_tb_events_close(events), CM3_ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_byte_for_byte_those_of_tensorboards_own_writer),
        cmocka_unit_test(a_write_that_fails_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
