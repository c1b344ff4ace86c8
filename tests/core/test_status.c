#include "core/hash.h"
#include "core/status.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static cm3_status fail_below(void) {
    return cm3_fail(CM3_ERR_IO, "%s: %s", "a.bin", "cut short");
}

static cm3_status forward(void) {
    CM3_TRY(fail_below());
    return CM3_OK;
}

static void a_failure_keeps_its_status_and_gains_context(void **state) {
    (void)state;
    assert_int_equal(forward(), CM3_ERR_IO);
    assert_string_equal(cm3_message(), "a.bin: cut short");
    assert_int_equal(cm3_fail_context(CM3_ERR_IO, "step %d", 7), CM3_ERR_IO);
    assert_string_equal(cm3_message(), "step 7: a.bin: cut short");
    cm3_fail(CM3_ERR_IO, "again: %s", cm3_message());
    assert_string_equal(cm3_message(), "again: step 7: a.bin: cut short");
}

static void a_message_that_is_too_long_is_cut(void **state) {
    (void)state;
    char text[2 * CM3_MESSAGE_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    cm3_fail(CM3_ERR_IO, "%s", text);
    assert_int_equal(strlen(cm3_message()), CM3_MESSAGE_MAX - 1);
    cm3_fail_context(CM3_ERR_IO, "%s", text);
    assert_int_equal(strlen(cm3_message()), CM3_MESSAGE_MAX - 1);
}

static void every_status_has_a_meaning(void **state) {
    (void)state;
#define X(name, value, text)                                                                                           \
    assert_int_equal(CM3_##name, value);                                                                               \
    assert_string_equal(cm3_status_text(CM3_##name), text);
    CM3_STATUS_LIST(X)
#undef X
    assert_string_equal(cm3_status_text((cm3_status)999), "unknown status");
}

static void *fail_often(void *number) {
    char expected[32];
    snprintf(expected, sizeof expected, "thread %d", *(int *)number);
    for (int i = 0; i < 1000; i++) {
        cm3_fail(CM3_ERR_IO, "thread %d", *(int *)number);
        if (strcmp(cm3_message(), expected) != 0) return NULL;
    }
    /* The first checksum of a process makes its tables: here several threads want them at once. */
    return cm3_crc32c(0, "123456789", 9) == 0xe3069283 ? number : NULL;
}

static void messages_belong_to_their_thread(void **state) {
    (void)state;
    cm3_fail(CM3_ERR_IO, "mine");
    pthread_t threads[4];
    int numbers[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, fail_often, &numbers[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
    assert_string_equal(cm3_message(), "mine");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_keeps_its_status_and_gains_context),
        cmocka_unit_test(a_message_that_is_too_long_is_cut),
        cmocka_unit_test(every_status_has_a_meaning),
        cmocka_unit_test(messages_belong_to_their_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
