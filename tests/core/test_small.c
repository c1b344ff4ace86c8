/* The smallest parts: names, UTF-8, progress, threads. */
#include "core/log.h"
#include "core/names.h"
#include "core/progress.h"
#include "core/threads.h"
#include "core/utf8.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static unsigned distance(const char *a, const char *b) {
    return cm3_edit_distance(a, strlen(a), b, strlen(b));
}

static void edit_distance_counts_the_fewest_edits(void **state) {
    (void)state;
    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("", "abc"), 3);
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(distance("steps", "stpes"), 1);
    assert_int_equal(distance("abcd", "badc"), 2);
    char longest[64], longer[65];
    memset(longest, 'a', 63);
    longest[63] = '\0';
    memset(longer, 'a', 64);
    longer[64] = '\0';
    assert_int_equal(distance(longest, longest), 0);
    assert_int_equal(distance(longest, longer), UINT_MAX);
}

static const char *nearest_of(const char *name) {
    cm3_nearest nearest = cm3_nearest_to(name, strlen(name));
    static const char *const names[] = {"pretrain", "plan", "run", "report", "lr"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) cm3_nearest_offer(&nearest, names[i]);
    return nearest.best;
}

static void the_nearest_name_is_near_or_there_is_none(void **state) {
    (void)state;
    assert_string_equal(nearest_of("pretain"), "pretrain");
    assert_string_equal(nearest_of("plann"), "plan");
    assert_string_equal(nearest_of("ru"), "run");
    assert_string_equal(nearest_of("Lr"), "lr");
    assert_null(nearest_of("xyz"));
    assert_null(nearest_of(""));
    assert_null(nearest_of("zz"));
}

static void utf8_is_strict(void **state) {
    (void)state;
    uint32_t code;
    assert_int_equal(cm3_utf8_decode("\xf0\x9f\x98\x80", 4, &code), 4);
    assert_int_equal(code, 0x1F600);
    assert_int_equal(cm3_utf8_decode("\xf0\x9f\x98\x80", 3, &code), 0);
    static const char *const wrong[] = {"\x80",
                                        "\xc0\x80",
                                        "\xc1\xbf",
                                        "\xe0\x9f\xbf",
                                        "\xed\xa0\x80",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xf4\x90\x80\x80",
                                        "\xf5\x80\x80\x80",
                                        "\xff",
                                        "a\xc3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(cm3_utf8_is_valid(wrong[i], strlen(wrong[i]), NULL));
    static const char *const right[] = {
        "", "\x7f", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_true(cm3_utf8_is_valid(right[i], strlen(right[i]), NULL));
}

static void expect_seconds(double seconds, const char *expected) {
    char text[32];
    cm3_progress_format_seconds(seconds, text, sizeof text);
    assert_string_equal(text, expected);
}

static void durations_read_well(void **state) {
    (void)state;
    expect_seconds(1.25, "1.2 s");
    expect_seconds(59.97, "1 min 00 s");
    expect_seconds(185, "3 min 05 s");
    expect_seconds(7440, "2 h 04 min");
    expect_seconds(-1, "?");
    expect_seconds(1e300, "?");
}

/* What `work` prints to stderr. */
static void capture_stderr(void (*work)(void), char *text, size_t size) {
    FILE *file = tmpfile();
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    work();
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void work_quickly(void) {
    cm3_progress progress = cm3_progress_start("tokenize", "samples", 100);
    for (uint64_t i = 1; i <= 100; i++) cm3_progress_update(&progress, i);
    cm3_progress_end(&progress);
}

static void work_slowly(void) {
    cm3_progress progress = cm3_progress_start("tokenize", "samples", 100);
    progress.started -= 20;
    progress.drawn -= 20;
    cm3_progress_update(&progress, 50);
    cm3_progress_update(&progress, 51);
}

/* What follows the time that a line of the log begins with, "[   12.3s] ". */
static const char *behind_time(const char *line) {
    double seconds = -1;
    int length = 0;
    if (sscanf(line, "[%lfs] %n", &seconds, &length) != 1 || length != 11) fail_msg("no time: %s", line);
    assert_true(seconds >= 0 && seconds < 120);
    return line + length;
}

static void progress_is_a_plain_line_in_a_log_and_silent_when_quiet(void **state) {
    (void)state;
    char text[1000];
    capture_stderr(work_quickly, text, sizeof text);
    assert_memory_equal(behind_time(text), "tokenize  100 samples in 0.0 s (", 32);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    capture_stderr(work_slowly, text, sizeof text);
    assert_string_equal(behind_time(text), "tokenize  50/100 samples  50.0 %  2.5 samples/s  20.0 s left\n");
    cm3_log_set_level(CM3_LOG_WARN);
    capture_stderr(work_quickly, text, sizeof text);
    assert_string_equal(text, "");
    capture_stderr(work_slowly, text, sizeof text);
    assert_string_equal(text, "");
    cm3_log_set_level(CM3_LOG_INFO);
}

static void threads_follow_the_environment_and_share_a_host(void **state) {
    (void)state;
    unsetenv("OMP_NUM_THREADS");
    unsetenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    unsetenv("OMPI_MCA_orte_bound_at_launch");
    const int cores = cm3_threads_choose();
    assert_true(cores >= 1);
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2", 1);
    assert_int_equal(cm3_threads_choose(), cores > 1 ? cores / 2 : 1);
    setenv("OMPI_MCA_orte_bound_at_launch", "1", 1);
    assert_int_equal(cm3_threads_choose(), cores);
    unsetenv("OMPI_MCA_orte_bound_at_launch");
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "10000", 1);
    assert_int_equal(cm3_threads_choose(), 1);
    setenv("OMP_NUM_THREADS", "3", 1);
    assert_int_equal(cm3_threads_choose(), 3);
    cm3_threads_setup();
    assert_int_equal(cm3_threads_count(), 3);
    setenv("OMP_NUM_THREADS", "5,2", 1);
    assert_int_equal(cm3_threads_choose(), 5);
    setenv("OMP_NUM_THREADS", "many", 1);
    assert_int_equal(cm3_threads_choose(), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edit_distance_counts_the_fewest_edits),
        cmocka_unit_test(the_nearest_name_is_near_or_there_is_none),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(durations_read_well),
        cmocka_unit_test(progress_is_a_plain_line_in_a_log_and_silent_when_quiet),
        cmocka_unit_test(threads_follow_the_environment_and_share_a_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
