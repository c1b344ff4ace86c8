#include "core/file.h"
#include "tests/support/temporary_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Every test works in an empty folder of its own. */
static int enter_folder(void **state) {
    return temporary_folder_open(state) == 0 && chdir(*state) == 0 ? 0 : -1;
}

static int leave_folder(void **state) {
    return chdir("/") == 0 ? temporary_folder_close(state) : -1;
}

static void expect_content(const char *path, const char *content) {
    char *data;
    size_t length;
    assert_int_equal(cm3_file_read(path, 1000, &data, &length), CM3_OK);
    assert_int_equal(length, strlen(content));
    assert_string_equal(data, content);
    free(data);
}

static void expect_names(const char *path, const char *const *expected, size_t count) {
    cm3_names names;
    assert_int_equal(cm3_folder_list(path, &names), CM3_OK);
    assert_int_equal(names.count, count);
    for (size_t i = 0; i < count; i++) assert_string_equal(names.names[i], expected[i]);
    cm3_names_free(&names);
}

static void a_written_file_reads_back_and_replaces_the_old_one(void **state) {
    (void)state;
    assert_int_equal(cm3_file_write("a", "one", 3), CM3_OK);
    assert_int_equal(cm3_file_write("a", "second", 6), CM3_OK);
    expect_content("a", "second");
    assert_int_equal(cm3_file_write("a", NULL, 0), CM3_OK);
    expect_content("a", "");
    expect_names(".", (const char *const[]){"a"}, 1);
}

static void reading_has_a_limit_and_clear_faults(void **state) {
    (void)state;
    char *data;
    size_t length;
    assert_int_equal(cm3_file_write("a", "12345", 5), CM3_OK);
    assert_int_equal(cm3_file_read("a", 5, &data, &length), CM3_OK);
    free(data);
    assert_int_equal(cm3_file_read("a", 4, &data, &length), CM3_ERR_FORMAT);
    assert_string_equal(cm3_message(), "a: longer than the 4 bytes that such a file may have");
    assert_int_equal(cm3_file_read("/dev/zero", 100000, &data, &length), CM3_ERR_FORMAT);
    assert_int_equal(cm3_file_read("none", 4, &data, &length), CM3_ERR_NOT_FOUND);
    assert_string_equal(cm3_message(), "none: cannot be opened: No such file or directory");
    assert_int_equal(cm3_file_read(".", 4, &data, &length), CM3_ERR_IO);
    assert_string_equal(cm3_message(), ".: is a folder, not a file");
    assert_null(data);
}

static void a_discarded_output_leaves_nothing(void **state) {
    (void)state;
    cm3_output *output;
    assert_int_equal(cm3_output_open("a", &output), CM3_OK);
    fputs("half", cm3_output_stream(output));
    cm3_output_discard(output);
    expect_names(".", NULL, 0);
    assert_int_equal(cm3_output_open("no/such/folder", &output), CM3_ERR_IO);
    assert_null(output);
}

/* A limit on the size of files stands for a full disk: the system refuses the write the same way, after a short one. */
static void a_disk_that_is_full_is_one_clear_fault_and_keeps_the_old_file(void **state) {
    (void)state;
    assert_int_equal(cm3_file_write("a", "old", 3), CM3_OK);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 10000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    cm3_output *output;
    assert_int_equal(cm3_output_open("a", &output), CM3_OK);
    for (int i = 0; i < 10000; i++) fprintf(cm3_output_stream(output), "%08d\n", i);
    const cm3_status status = cm3_output_commit(output);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, CM3_ERR_IO);
    assert_string_equal(cm3_message(), "a: cannot be written: File too large");
    expect_content("a", "old");
    expect_names(".", (const char *const[]){"a"}, 1);
}

static void a_writer_killed_in_the_middle_leaves_the_old_file(void **state) {
    (void)state;
    assert_int_equal(cm3_file_write("a", "old", 3), CM3_OK);
    const pid_t child = fork();
    if (child == 0) {
        cm3_output *output;
        if (cm3_output_open("a", &output) == CM3_OK) {
            fputs("new", cm3_output_stream(output));
            fflush(cm3_output_stream(output));
        }
        kill(getpid(), SIGKILL);
    }
    int how;
    waitpid(child, &how, 0);
    assert_true(WIFSIGNALED(how));
    expect_content("a", "old");
}

static void folders_are_made_listed_in_order_and_removed(void **state) {
    (void)state;
    assert_int_equal(cm3_folder_make("x/y//z/"), CM3_OK);
    assert_int_equal(cm3_folder_make("x/y/z"), CM3_OK);
    assert_true(cm3_path_is_folder("x/y/z"));
    assert_int_equal(cm3_file_write("x/b", "", 0), CM3_OK);
    assert_int_equal(cm3_file_write("x/B", "", 0), CM3_OK);
    assert_int_equal(cm3_file_write("x/a10", "", 0), CM3_OK);
    assert_int_equal(cm3_file_write("x/a9", "", 0), CM3_OK);
    expect_names("x", (const char *const[]){"B", "a10", "a9", "b", "y"}, 5);
    assert_int_equal(cm3_folder_make("x/b/c"), CM3_ERR_IO);
    assert_int_equal(cm3_folder_make(""), CM3_ERR_IO);
    assert_int_equal(cm3_file_write("outside", "keep", 4), CM3_OK);
    assert_int_equal(mkdir("other", 0777), 0);
    assert_int_equal(cm3_file_write("other/inside", "keep", 4), CM3_OK);
    assert_int_equal(symlink("../other", "x/link"), 0);
    assert_int_equal(symlink("../outside", "x/y/link"), 0);
    assert_int_equal(cm3_folder_remove("x"), CM3_OK);
    assert_false(cm3_path_exists("x"));
    expect_content("outside", "keep");
    expect_content("other/inside", "keep");
    assert_int_equal(cm3_folder_remove("x"), CM3_OK);
    cm3_names names;
    assert_int_equal(cm3_folder_list("x", &names), CM3_ERR_NOT_FOUND);
}

static void a_folder_is_committed_once_and_never_over_another(void **state) {
    (void)state;
    assert_int_equal(cm3_folder_make("step.tmp/sub"), CM3_OK);
    assert_int_equal(cm3_file_write("step.tmp/sub/f", "x", 1), CM3_OK);
    assert_int_equal(cm3_folder_commit("step.tmp", "step"), CM3_OK);
    expect_content("step/sub/f", "x");
    assert_false(cm3_path_exists("step.tmp"));
    assert_int_equal(cm3_folder_make("step.tmp"), CM3_OK);
    assert_int_equal(cm3_folder_commit("step.tmp", "step"), CM3_ERR_IO);
    assert_string_equal(cm3_message(), "step: cannot be given its name: File exists");
    expect_content("step/sub/f", "x");
}

static void paths_are_joined_with_one_slash(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}, {"a", "", "a"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cm3_path path = cm3_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(path.text, cases[i][2]);
    }
}

static void a_path_that_is_too_long_is_refused(void **state) {
    (void)state;
    char name[6000];
    memset(name, 'x', sizeof name - 1);
    for (size_t i = 99; i < sizeof name; i += 100) name[i] = '/';
    name[sizeof name - 1] = '\0';
    assert_int_equal(cm3_file_write(cm3_path_join(".", name).text, "", 0), CM3_ERR_IO);
}

static void a_locked_folder_is_busy_and_its_holder_is_named(void **state) {
    (void)state;
    cm3_lock *lock, *second;
    assert_int_equal(cm3_lock_acquire(".", &lock), CM3_OK);
    assert_int_equal(cm3_lock_acquire(".", &second), CM3_ERR_BUSY);
    assert_null(second);
    char holder[64];
    snprintf(holder, sizeof holder, ".: in use by another run (process %ld on ", (long)getpid());
    assert_memory_equal(cm3_message(), holder, strlen(holder));
    cm3_lock_release(lock);
    assert_int_equal(cm3_lock_acquire(".", &second), CM3_OK);
    cm3_lock_release(second);
    assert_int_equal(cm3_lock_acquire("none", &lock), CM3_ERR_IO);
}

static void a_lock_ends_with_its_process(void **state) {
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        cm3_lock *lock;
        if (cm3_lock_acquire(".", &lock) != CM3_OK) _exit(1);
        kill(getpid(), SIGKILL);
    }
    int how;
    waitpid(child, &how, 0);
    assert_true(WIFSIGNALED(how));
    cm3_lock *lock;
    assert_int_equal(cm3_lock_acquire(".", &lock), CM3_OK);
    cm3_lock_release(lock);
}

int main(void) {
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(a_written_file_reads_back_and_replaces_the_old_one),
        IN_A_FOLDER(reading_has_a_limit_and_clear_faults),
        IN_A_FOLDER(a_discarded_output_leaves_nothing),
        IN_A_FOLDER(a_disk_that_is_full_is_one_clear_fault_and_keeps_the_old_file),
        IN_A_FOLDER(a_writer_killed_in_the_middle_leaves_the_old_file),
        IN_A_FOLDER(folders_are_made_listed_in_order_and_removed),
        IN_A_FOLDER(a_folder_is_committed_once_and_never_over_another),
        IN_A_FOLDER(paths_are_joined_with_one_slash),
        IN_A_FOLDER(a_path_that_is_too_long_is_refused),
        IN_A_FOLDER(a_locked_folder_is_busy_and_its_holder_is_named),
        IN_A_FOLDER(a_lock_ends_with_its_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
