#include "tests/support/temporary_folder.h"
#include "train/metrics.h"

#include "core/file.h"
#include "core/json.h"
#include "train/signals.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void write_steps(const char *run, int64_t resumed, int64_t first, int64_t last) {
    cm3_metrics *metrics;
    assert_int_equal(cm3_metrics_open(run, resumed, &metrics), CM3_OK);
    for (int64_t step = first; step <= last; step++) {
        cm3_metrics_begin(metrics, "train", step);
        cm3_metrics_put(metrics, "loss", 10.0 / (double)step);
        cm3_metrics_put_int(metrics, "tokens", step << 40);
        assert_int_equal(cm3_metrics_end(metrics), CM3_OK);
    }
    assert_int_equal(cm3_metrics_close(metrics), CM3_OK);
}

static char *read_lines(const char *run) {
    char *text;
    size_t length;
    assert_int_equal(cm3_file_read(cm3_path_join(run, "metrics.jsonl").text, 1 << 20, &text, &length), CM3_OK);
    return text;
}

/* The steps of the lines, in order, as text "1 2 3 ". */
static void check_steps(const char *run, const char *expected) {
    char *text = read_lines(run), found[256] = "";
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *object;
        int64_t step;
        assert_int_equal(cm3_json_parse("metrics.jsonl", line, strlen(line), &object), CM3_OK);
        assert_int_equal(cm3_json_need_int(object, "metrics.jsonl", "step", 0, INT64_MAX, &step), CM3_OK);
        sprintf(found + strlen(found), "%lld ", (long long)step);
        json_decref(object);
    }
    assert_string_equal(found, expected);
    free(text);
}

static void every_line_is_one_json_object(void **state) {
    write_steps(*state, 0, 1, 2);
    char *text = read_lines(*state);
    assert_string_equal(text, "{\"kind\":\"train\",\"step\":1,\"loss\":10,\"tokens\":1099511627776}\n"
                              "{\"kind\":\"train\",\"step\":2,\"loss\":5,\"tokens\":2199023255552}\n");
    free(text);
}

static void a_resumed_run_has_every_step_once(void **state) {
    write_steps(*state, 0, 1, 7);
    write_steps(*state, 4, 5, 9);
    check_steps(*state, "1 2 3 4 5 6 7 8 9 ");
    write_steps(*state, 0, 1, 2); /* a new run starts anew */
    check_steps(*state, "1 2 ");
}

static void half_a_line_of_a_killed_run_is_dropped(void **state) {
    write_steps(*state, 0, 1, 3);
    FILE *file = fopen(cm3_path_join(*state, "metrics.jsonl").text, "a");
    fputs("{\"kind\":\"train\",\"step\":4,\"lo", file);
    fclose(file);
    write_steps(*state, 5, 6, 6);
    check_steps(*state, "1 2 3 6 ");
}

static void a_value_that_is_not_finite_is_null_in_json(void **state) {
    cm3_metrics *metrics;
    assert_int_equal(cm3_metrics_open(*state, 0, &metrics), CM3_OK);
    cm3_metrics_begin(metrics, "train", 1);
    cm3_metrics_put(metrics, "loss", NAN);
    assert_int_equal(cm3_metrics_end(metrics), CM3_OK);
    assert_int_equal(cm3_metrics_image(metrics, "samples/a", 1, "png", 3, 1, 1), CM3_OK);
    assert_int_equal(cm3_metrics_close(metrics), CM3_OK);
    char *text = read_lines(*state);
    assert_string_equal(text, "{\"kind\":\"train\",\"step\":1,\"loss\":null}\n");
    free(text);
}

static void other_ranks_hold_null_and_nothing_happens(void **state) {
    (void)state;
    cm3_metrics_begin(NULL, "train", 1);
    cm3_metrics_put(NULL, "loss", 1);
    cm3_metrics_put_int(NULL, "tokens", 1);
    assert_int_equal(cm3_metrics_end(NULL), CM3_OK);
    assert_int_equal(cm3_metrics_image(NULL, "a", 1, "", 0, 1, 1), CM3_OK);
    assert_int_equal(cm3_metrics_close(NULL), CM3_OK);
}

static int fill_up(const char *run) {
    cm3_metrics *metrics;
    const struct rlimit limit = {300, RLIM_INFINITY};
    if (cm3_signals_install() != CM3_OK || cm3_metrics_open(run, 0, &metrics) != CM3_OK ||
        setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 1;
    cm3_status status = CM3_OK;
    for (int64_t step = 1; step < 100 && status == CM3_OK; step++) {
        cm3_metrics_begin(metrics, "train", step);
        cm3_metrics_put(metrics, "loss", 1);
        status = cm3_metrics_end(metrics);
    }
    if (status != CM3_ERR_IO) return 2;
    return cm3_metrics_close(metrics) == CM3_ERR_IO && strstr(cm3_message(), run) != NULL ? 7 : 3;
}

static void a_full_disk_is_reported(void **state) {
    const pid_t child = fork();
    if (child == 0) _exit(fill_up(*state));
    int status = 0;
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 7);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, temporary_folder_open, temporary_folder_close)
    const struct CMUnitTest tests[] = {
        TEST(every_line_is_one_json_object),
        TEST(a_resumed_run_has_every_step_once),
        TEST(half_a_line_of_a_killed_run_is_dropped),
        TEST(a_value_that_is_not_finite_is_null_in_json),
        TEST(other_ranks_hold_null_and_nothing_happens),
        TEST(a_full_disk_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
