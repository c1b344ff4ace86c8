#include "tools/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const cm3_option options[] = {CM3_OPTION_JSON,
                                     {"steps", "N", "how many"},
                                     {"prompt", "TEXT", "what to draw"},
                                     {"top-p", "P", "share"},
                                     CM3_OPTION_END};
static const cm3_usage usage = {"RECIPE [section.key=value ...]", 1, 2, true, options, "Teaches."};

static cm3_status parse(cm3_command_line *line, int argc, const char *const *argv) {
    return cm3_command_line_parse("test", &usage, argc, argv, line);
}
#define PARSE(line, ...) \
    parse(line, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *const[]){__VA_ARGS__})

static void arguments_options_and_overrides_may_be_mixed(void **state) {
    (void)state;
    cm3_command_line line;
    assert_int_equal(PARSE(&line, "--steps", "5", "a=b.yaml", "train.lr=1", "--json", "--prompt=x=y", "other",
                           "--steps=-7", "seed=2"),
                     CM3_OK);
    assert_int_equal(line.argument_count, 2);
    assert_string_equal(line.arguments[0], "a=b.yaml");
    assert_string_equal(line.arguments[1], "other");
    assert_int_equal(line.override_count, 2);
    assert_string_equal(line.overrides[0], "train.lr=1");
    assert_string_equal(line.overrides[1], "seed=2");
    assert_true(cm3_option_given(&line, "json"));
    assert_false(cm3_option_given(&line, "quiet"));
    assert_string_equal(cm3_option_string(&line, "prompt", NULL), "x=y");
    assert_string_equal(cm3_option_string(&line, "top-p", "none"), "none");
    int64_t steps = 0;
    assert_int_equal(cm3_option_int(&line, "steps", -10, 10, &steps), CM3_OK);
    assert_int_equal(steps, -7); /* the last one counts */
    assert_string_equal(cm3_option_nth(&line, "steps", 0), "5");
    assert_string_equal(cm3_option_nth(&line, "steps", 1), "-7");
    assert_null(cm3_option_nth(&line, "steps", 2));
}

static void two_dashes_alone_end_the_options(void **state) {
    (void)state;
    cm3_command_line line;
    assert_int_equal(PARSE(&line, "-", "--", "--json"), CM3_OK);
    assert_int_equal(line.argument_count, 2);
    assert_string_equal(line.arguments[0], "-");
    assert_string_equal(line.arguments[1], "--json");
    assert_false(cm3_option_given(&line, "json"));
}

static void wrong_usage_is_one_clear_line(void **state) {
    (void)state;
    cm3_command_line line;
#define WRONG(message, ...)                                                                                           \
    do {                                                                                                              \
        assert_int_equal(PARSE(&line, __VA_ARGS__), CM3_ERR_USAGE);                                                   \
        assert_string_equal(cm3_message(), message);                                                                  \
    } while (0)
    WRONG("test: there is no option --setps; did you mean --steps?", "r", "--setps", "5");
    WRONG("test: there is no option --qiet; did you mean --quiet?", "r", "--qiet");
    WRONG("test: there is no option --xxxxxxxxx; see cm3leon test --help", "r", "--xxxxxxxxx=4");
    WRONG("test: there is no option -x; options begin with two dashes", "r", "-x");
    WRONG("test: --steps needs a value, as in --steps N", "r", "--steps");
    WRONG("test: --steps needs a value, as in --steps N", "r", "--steps", "--json");
    WRONG("test: --json takes no value, found \"1\"", "r", "--json=1");
    WRONG("test: too few arguments; usage: cm3leon test RECIPE [section.key=value ...]", "--json");
    WRONG("test: unexpected argument \"c\"; usage: cm3leon test RECIPE [section.key=value ...]", "a", "b", "c");
}

static void numbers_are_checked(void **state) {
    (void)state;
    cm3_command_line line;
    static const char *const wrong[] = {"", "x", "5x", "11", "-11", "99999999999999999999", "1.5"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *const argv[] = {"r", "--steps", wrong[i]};
        int64_t steps = 3;
        assert_int_equal(parse(&line, 3, argv), CM3_OK);
        assert_int_equal(cm3_option_int(&line, "steps", -10, 10, &steps), CM3_ERR_USAGE);
        assert_int_equal(steps, 3);
    }
    assert_int_equal(PARSE(&line, "r", "--top-p", "0.9"), CM3_OK);
    double share = 0;
    assert_int_equal(cm3_option_double(&line, "top-p", 0, 1, &share), CM3_OK);
    assert_true(share == 0.9);
    assert_int_equal(PARSE(&line, "r", "--top-p", "nan"), CM3_OK);
    assert_int_equal(cm3_option_double(&line, "top-p", 0, 1, &share), CM3_ERR_USAGE);
    assert_string_equal(cm3_message(), "test: --top-p: found \"nan\", expected a number from 0 to 1");
}

static void too_many_arguments_are_refused(void **state) {
    (void)state;
    const char *argv[CM3_ARGUMENTS_MAX + 2];
    for (size_t i = 0; i < sizeof argv / sizeof *argv; i++) argv[i] = i ? "a.b=c" : "r";
    cm3_command_line line;
    assert_int_equal(parse(&line, CM3_ARGUMENTS_MAX + 2, argv), CM3_ERR_USAGE);
    for (size_t i = 0; i < sizeof argv / sizeof *argv; i++) argv[i] = "--json";
    assert_int_equal(parse(&line, CM3_ARGUMENTS_MAX + 2, argv), CM3_ERR_USAGE);
}

static void help_names_every_option(void **state) {
    (void)state;
    cm3_command_line line;
    assert_int_equal(PARSE(&line, "--help"), CM3_OK);
    assert_true(line.help);
    char *text;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    cm3_usage_print("test", "does things", &usage, file);
    fclose(file);
    static const char *const parts[] = {"test: does things", "Teaches.", "--steps N", "--json",
                                        "--quiet",           "--help",   "RECIPE"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) assert_non_null(strstr(text, parts[i]));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_options_and_overrides_may_be_mixed),
        cmocka_unit_test(two_dashes_alone_end_the_options),
        cmocka_unit_test(wrong_usage_is_one_clear_line),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(too_many_arguments_are_refused),
        cmocka_unit_test(help_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
