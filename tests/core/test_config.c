#include "tests/core/recipe_schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static cm3_status parse_with(const char *text, const char *const *overrides, int count, test_recipe *recipe) {
    return cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", text, strlen(text)}, overrides, count, recipe);
}

static void expect_message(const char *text, const char *message) {
    test_recipe recipe;
    assert_int_equal(parse_with(text, NULL, 0, &recipe), CM3_ERR_RECIPE);
    assert_string_equal(cm3_message(), message);
}

static void expect_override_message(const char *override, const char *message) {
    test_recipe recipe;
    assert_int_equal(parse_with("train: {steps: 1}", &override, 1, &recipe), CM3_ERR_RECIPE);
    assert_string_equal(cm3_message(), message);
}

static void every_kind_of_value_is_read(void **state) {
    (void)state;
    test_recipe r;
    assert_int_equal(parse_with("seed: 7\n"
                                "out: \"a b\"\n"
                                "train:\n"
                                "  steps: 2k   # comment\n"
                                "  lr: 1.5e-3\n"
                                "  schedule: linear\n"
                                "  resume: no\n"
                                "  note: 'yes'\n"
                                "model:\n"
                                "  width: 1Ki\n"
                                "  channels: [3, 4]\n"
                                "  tags: [x, \"y, z\"]\n", NULL, 0, &r), CM3_OK);
    assert_int_equal(r.top.seed, 7);
    assert_string_equal(r.top.out, "a b");
    assert_int_equal(r.train.steps, 2000);
    assert_true(r.train.lr == 1.5e-3);
    assert_int_equal(r.train.schedule, 1);
    assert_false(r.train.resume);
    assert_string_equal(r.train.note, "yes");
    assert_int_equal(r.model.width, 1024);
    assert_int_equal(r.model.channels.count, 2);
    assert_int_equal(r.model.channels.values[1], 4);
    assert_int_equal(r.model.tags.count, 2);
    assert_string_equal(r.model.tags.values[1], "y, z");
    cm3_config_free(&test_schema, &r);
}

static void what_is_left_out_has_its_default(void **state) {
    (void)state;
    test_recipe r;
    assert_int_equal(parse_with("train: {steps: 5}\nmodel:\ntune: {train: ~, network: null}\n", NULL, 0, &r), CM3_OK);
    assert_string_equal(r.top.out, "out/test");
    assert_string_equal(r.train.note, "");
    assert_true(r.train.lr == 6e-4);
    assert_int_equal(r.train.schedule, 2);
    assert_int_equal(r.model.channels.count, 4);
    assert_int_equal(r.model.channels.values[3], 4);
    cm3_config_free(&test_schema, &r);
}

static void all_faults_are_reported_together_with_line_and_field(void **state) {
    (void)state;
    expect_message(
        "train:\n"
        "  stpes: 10\n"
        "  lr: fast\n"
        "  schedule: cosin\n"
        "modl:\n"
        "  width: 8\n"
        "model:\n"
        "  heads: \"4\"\n"
        "  width: 0\n"
        "  lr: 3\n"
        "  channels: [1, x]\n",
        "9 errors in the recipe:\n"
        "  r.yaml:2: train: no field \"stpes\"; did you mean train.steps?\n"
        "  r.yaml:3: train.lr: found \"fast\", expected a number from 0 to 1\n"
        "  r.yaml:4: train.schedule: found \"cosin\", expected one of constant, linear, cosine\n"
        "  r.yaml:5: no section or field \"modl\"; did you mean model?\n"
        "  r.yaml:8: model.heads: found \"4\" (in quotes, so it is text), expected an integer from 1 to 1024\n"
        "  r.yaml:9: model.width: found \"0\", expected an integer from 1 to 65536 (channels)\n"
        "  r.yaml:10: model: no field \"lr\"; did you mean train.lr?\n"
        "  r.yaml:11: model.channels: found \"x\" as element 2, expected a list [..] of at most 64 integers from 1 to "
        "64\n"
        "  r.yaml: train.steps: missing, expected an integer from 1 to 1000000 (steps)");
}

static void one_fault_is_one_line(void **state) {
    (void)state;
    expect_message("train: {steps: 1}\nsede: 4\n", "r.yaml:2: no section or field \"sede\"; did you mean seed?");
    expect_message("train: {steps: 1, qqqqqq: 4}", "r.yaml:1: train: no field \"qqqqqq\"");
    expect_message("", "r.yaml: train.steps: missing, expected an integer from 1 to 1000000 (steps)");
}

static void combinations_are_checked_at_the_line_of_their_field(void **state) {
    (void)state;
    expect_message("train: {steps: 1}\nmodel:\n  heads: 7\n",
                   "r.yaml:3: model.heads: 7 heads do not divide a width of 64");
    expect_override_message("model.heads=7", "command line: model.heads: 7 heads do not divide a width of 64");
    const char *override = "model.width=63";
    test_recipe r;
    assert_int_equal(parse_with("train: {steps: 1}", &override, 1, &r), CM3_ERR_RECIPE);
    assert_string_equal(cm3_message(), "r.yaml: model.heads: 4 heads do not divide a width of 63");
}

static void overrides_win_over_the_file(void **state) {
    (void)state;
    const char *const overrides[] = {"train.steps=3k", "out=a: b #c",       "model.channels=[8]", "train.note=",
                                     "train.steps=9",  "model.tags=[p, q]", "train.resume=false"};
    test_recipe r;
    assert_int_equal(parse_with("train: {steps: 1, note: n}", overrides, 7, &r), CM3_OK);
    assert_int_equal(r.train.steps, 9);
    assert_string_equal(r.top.out, "a: b #c");
    assert_string_equal(r.train.note, "");
    assert_int_equal(r.model.channels.count, 1);
    assert_string_equal(r.model.tags.values[1], "q");
    assert_false(r.train.resume);
    cm3_config_free(&test_schema, &r);
}

static void wrong_overrides_are_faults(void **state) {
    (void)state;
    expect_override_message("train.lr=2", "command line: train.lr: found \"2\", expected a number from 0 to 1");
    expect_override_message("train.stepz=2", "command line: train: no field \"stepz\"; did you mean train.steps?");
    expect_override_message("trian.steps=2", "command line: no section or field \"trian\"; did you mean train?");
    expect_override_message("steps=2", "command line: no section or field \"steps\"; did you mean train.steps?");
    expect_override_message("train.steps", "command line: found \"train.steps\", expected section.key=value");
    expect_override_message("=2", "command line: found \"=2\", expected section.key=value");
    expect_override_message("model.channels=4",
                            "command line: model.channels: found \"4\", expected a list [..] of at most 64 "
                            "integers from 1 to 64");
    expect_override_message("out=a\xff",
                            "command line: out: found \"a\\xff\" (not UTF-8, or with a zero byte), expected text");
    expect_override_message("model.tags=[a",
                            "command line: model.tags: found \"[a\", expected a list [..] of at most 64 texts");
}

static void sections_nest(void **state) {
    (void)state;
    const char *const overrides[] = {"tune.train.note=n", "tune.network.heads=2"};
    test_recipe r;
    assert_int_equal(parse_with("train: {steps: 1}\n"
                                "tune:\n"
                                "  train:\n"
                                "    steps: 8\n"
                                "  network: {width: 32}\n",
                                overrides, 2, &r),
                     CM3_OK);
    assert_int_equal(r.tune.train.steps, 8);
    assert_string_equal(r.tune.train.note, "n");
    assert_int_equal(r.tune.network.width, 32);
    assert_int_equal(r.tune.network.heads, 2);
    assert_int_equal(r.tune.train.schedule, 2);
    assert_int_equal(r.model.width, 64);
    cm3_config_free(&test_schema, &r);
}

static void names_of_nested_sections_are_checked(void **state) {
    (void)state;
    expect_message("train: {steps: 1}\ntune:\n  trian: {steps: 2}\n",
                   "r.yaml:3: tune: no section or field \"trian\"; did you mean tune.train?");
    expect_message("train: {steps: 1}\ntune:\n  train: {stesp: 2}\n",
                   "r.yaml:3: tune.train: no field \"stesp\"; did you mean tune.train.steps?");
    expect_message("train: {steps: 1}\ntune: {steps: 2}\n",
                   "r.yaml:2: tune: no section or field \"steps\"; did you mean tune.train.steps?");
    expect_message("train: {steps: 1}\ntune: {train: 2}\n",
                   "r.yaml:2: tune.train: found a single value, expected fields as key: value");
    expect_message("train: {steps: 1}\ntune: {train: {}, network: {}, train: {}}\n",
                   "r.yaml:2: tune.train: given again; it is already on line 2");
    expect_message("train: {steps: 1}\ntune:\n  train:\n    steps: 0\n",
                   "r.yaml:4: tune.train.steps: found \"0\", expected an integer from 1 to 1000000 (steps)");
    expect_message("train: {steps: 1}\ntune.train: {steps: 2}\n", "r.yaml:2: tune.train: dots are of the command "
                                                                  "line; write it nested: `tune:` / `train:`");
    expect_message("train.steps: 1\n", "2 errors in the recipe:\n"
                                       "  r.yaml:1: train.steps: dots are of the command line; write it nested: "
                                       "`train:` / `steps:`\n"
                                       "  r.yaml: train.steps: missing, expected an integer from 1 to 1000000 (steps)");
    expect_message("train: {steps: 1}\ntune:\n  train.steps: 2\n",
                   "r.yaml:3: tune.train.steps: dots are of the command line; write it nested: `tune:` / `train:` / "
                   "`steps:`");
    expect_message("train: {steps: 1}\nnetwrok: {heads: 2}\n",
                   "r.yaml:2: no section or field \"netwrok\"; did you mean tune.network?");
    expect_override_message("tune.train.stepz=2",
                            "command line: tune.train: no field \"stepz\"; did you mean tune.train.steps?");
    expect_override_message("tune.trian.steps=2",
                            "command line: tune: no section or field \"trian\"; did you mean tune.train?");
    expect_override_message("tune.train=2", "command line: tune.train: is a section, expected tune.train.key=value");
}

static void old_names_are_answered_with_the_new_ones(void **state) {
    (void)state;
    expect_message("train: {steps: 1}\nmodel: {size: 8}\n", "r.yaml:2: model.size: renamed to model.width");
    expect_message("train: {steps: 1}\ntuning:\n  note: x\n", "r.yaml:2: tuning: renamed to tune.train");
    expect_message("train: {steps: 1}\ntuning:\n  length: 3\n", "2 errors in the recipe:\n"
                                                                "  r.yaml:2: tuning: renamed to tune.train\n"
                                                                "  r.yaml:3: tuning.length: renamed to "
                                                                "tune.train.steps");
    expect_message("train: {steps: 1}\ntuning.length: 3\n", "r.yaml:2: tuning.length: renamed to tune.train.steps; "
                                                            "write it nested: `tune:` / `train:` / `steps:`");
    expect_override_message("tuning.length=3", "command line: tuning.length: renamed to tune.train.steps");
    expect_override_message("tuning.note=x", "command line: tuning.note: renamed to tune.train.note");
    expect_override_message("tuning.what=x", "command line: tuning: renamed to tune.train");
    expect_override_message("tune.train.schedule=flat",
                            "command line: tune.train.schedule: \"flat\" was renamed to constant");
    expect_message("train: {steps: 1}\ntune: {train: {schedule: flat}}\n",
                   "r.yaml:2: tune.train.schedule: \"flat\" was renamed to constant");
}

static void numbers_are_checked(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "1.5", "9223372036854775808", "9300000000000000k", "0x10", "", "k", "1 2", "1e3", "5kk", "yes", "[1]", "{a: 1}",
        "-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[64];
        test_recipe r;
        snprintf(text, sizeof text, "seed: %s\ntrain: {steps: 1}\n", wrong[i]);
        assert_int_equal(parse_with(text, NULL, 0, &r), CM3_ERR_RECIPE);
        assert_non_null(strstr(cm3_message(), "r.yaml:1: seed: found "));
    }
    static const char *const wrong_floats[] = {"nan", ".inf", "1e999", "0x1p-3", "e", "1e", "0.1.2", "1_0", "-0.1"};
    for (size_t i = 0; i < sizeof wrong_floats / sizeof *wrong_floats; i++) {
        char text[64];
        test_recipe r;
        snprintf(text, sizeof text, "train: {steps: 1, lr: %s}\n", wrong_floats[i]);
        assert_int_equal(parse_with(text, NULL, 0, &r), CM3_ERR_RECIPE);
        assert_non_null(strstr(cm3_message(), "r.yaml:1: train.lr: found "));
    }
}

static void keys_given_twice_are_faults(void **state) {
    (void)state;
    expect_message("train:\n  steps: 1\n  lr: 0.1\n  steps: 2\n",
                   "r.yaml:4: train.steps: given again; it is already on line 2");
    expect_message("train: {steps: 1}\ntrain: {lr: 1}\n", "r.yaml:2: train: given again; it is already on line 1");
    expect_message("seed: 1\ntrain: {steps: 1}\nseed: 1\n", "r.yaml:3: seed: given again; it is already on line 1");
}

static void broken_yaml_is_one_fault_with_its_line(void **state) {
    (void)state;
    test_recipe r;
    #define BYTES(text) text, sizeof text - 1
    static const struct { const char *text; size_t length; const char *message;
    } cases[] = {
        {BYTES("train:\n  steps: [1, 2\n"), "r.yaml:3: not readable as YAML: "},
        {BYTES("train:\n\tsteps: 1\n"), "r.yaml:2: not readable as YAML: "},
        {BYTES("train:\n  steps: 1\n\0\n"),
         "r.yaml:3: not readable as YAML: control characters are not allowed at byte 18"},
        {BYTES("train:\n  note: \xff\xfe\n"), "r.yaml:2: not readable as YAML: "},
        {BYTES("train: {steps: 1}\nout: *x\n"), "r.yaml:2: an anchor (&) or alias (*) has no meaning"},
        {BYTES("train: {steps: 1, note: \"a\\0b\"}\n"),
         "r.yaml:1: train.note: found \"a\\x00b\" (not UTF-8, or with a zero byte)"},
        {BYTES("train: {steps: 1}\n---\nseed: 2\n"), "r.yaml:3: a second document begins"},
        {BYTES("train: {steps: 1, note: !t x}\n"), "r.yaml:1: a tag (!) has no meaning"},
        {BYTES("a: [[[[[[[[[[[[]]]]]]]]]]]]\n"), "r.yaml:1: lists and mappings are nested too deep"},
        {BYTES("- train\n"), "r.yaml:1: found a list, expected sections"},
        {BYTES("train\n"), "r.yaml:1: found a single value, expected sections"},
        {BYTES("train: 5\n"), "r.yaml:1: train: found a single value, expected fields"},
        {BYTES("? [a]\n: 5\n"), "r.yaml:1: found a list as a name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(
            cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", cases[i].text, cases[i].length}, NULL, 0, &r),
            CM3_ERR_RECIPE);
        if (!strstr(cm3_message(), cases[i].message)) fail_msg("case %zu says: %s", i, cm3_message());
    }
}

static void every_cut_of_a_recipe_ends_in_a_result(void **state) {
    (void)state;
    static const char text[] =
        "seed: 7\nout: \"a\\u00e9b\"\ntrain:\n  steps: 2k\n  note: |\n    two\n    lines\nmodel:\n"
        "  channels: [3, 4]\n  tags: [x, \"y, z\"]\n";
    for (size_t length = 0; length < sizeof text; length++) {
        char *exact = malloc(length ? length : 1); /* so that the address sanitizer sees a read beyond */
        memcpy(exact, text, length);
        test_recipe r;
        if (cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", exact, length}, NULL, 0, &r) == CM3_OK)
            cm3_config_free(&test_schema, &r);
        free(exact);
    }
}

static void hostile_recipes_end_soon(void **state) {
    (void)state;
    test_recipe r;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE + 1);
    memset(text, '[', SIZE);
    assert_int_equal(cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", text, SIZE}, NULL, 0, &r),
                     CM3_ERR_RECIPE);
    for (size_t i = 0; i < SIZE; i++) text[i] = "{[&a "[i % 5];
    assert_int_equal(cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", text, SIZE}, NULL, 0, &r),
                     CM3_ERR_RECIPE);
    for (size_t i = 0; i < SIZE; i++) text[i] = "q: \n"[i % 4]; /* a quarter of a million unknown names */
    assert_int_equal(cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", text, SIZE}, NULL, 0, &r),
                     CM3_ERR_RECIPE);
    assert_non_null(strstr(cm3_message(), "more"));
    memset(text, 'x', SIZE);
    memcpy(text, "out: ", 5);
    assert_int_equal(cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", text, SIZE}, NULL, 0, &r),
                     CM3_ERR_RECIPE);
    assert_int_equal(cm3_config_parse(&test_schema, &(cm3_config_text){"r.yaml", text, SIZE + 1}, NULL, 0, &r),
                     CM3_ERR_RECIPE);
    assert_non_null(strstr(cm3_message(), "too long"));
    free(text);
}

static void print_reread_and_compare(const test_recipe *r) {
    char *text, *again;
    size_t length, again_length;
    FILE *file = open_memstream(&text, &length);
    assert_int_equal(cm3_config_print(&test_schema, r, file), CM3_OK);
    fclose(file);
    test_recipe copy;
    if (cm3_config_parse(&test_schema, &(cm3_config_text){"printed", text, length}, NULL, 0, &copy) != CM3_OK)
        fail_msg("%s\n%s", cm3_message(), text);
    file = open_memstream(&again, &again_length);
    cm3_config_print(&test_schema, &copy, file);
    fclose(file);
    assert_string_equal(text, again);
    assert_string_equal(r->train.note, copy.train.note);
    assert_true(r->train.lr == copy.train.lr);
    free(text);
    free(again);
    cm3_config_free(&test_schema, &copy);
}

static void a_printed_recipe_loads_to_the_same_values(void **state) {
    (void)state;
    static const char *const notes[] = {"",
                                        "yes",
                                        "- a",
                                        "it's \"so\"",
                                        "#",
                                        "a: b",
                                        "\\n",
                                        "tab\tline\nend",
                                        " lead",
                                        "null",
                                        "~/x",
                                        "gr\xc3\xbc\xc3\x9f",
                                        "\xe2\x80\xa8 \xef\xbb\xbf \xc2\x85 \xef\xbf\xbf \xf0\x9f\x98\x80 \x7f",
                                        "...",
                                        "[x]",
                                        "%",
                                        "*a",
                                        "!t"};
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        char override[64];
        snprintf(override, sizeof override, "train.note=%s", notes[i]);
        const char *const overrides[] = {override, "train.lr=0.1000000000000000055", "model.tags=[\"a, b\", '', c]"};
        test_recipe r;
        assert_int_equal(parse_with("train: {steps: 12}", overrides, 3, &r), CM3_OK);
        assert_string_equal(r.train.note, notes[i]);
        print_reread_and_compare(&r);
        cm3_config_free(&test_schema, &r);
    }
}

static void parse_or_fail(const char *override, test_recipe *recipe) {
    assert_int_equal(parse_with("train: {steps: 1}", &override, override != NULL, recipe), CM3_OK);
}

/* Whether an override changes the hash of a section. */
static bool changes(const char *override, const char *section) {
    const char *const sections[] = {section, NULL};
    test_recipe a, b;
    char text[64] = "";
    parse_or_fail(NULL, &a);
    parse_or_fail(override, &b);
    const bool equal =
        cm3_hash_equal(cm3_config_hash(&test_schema, &a, sections), cm3_config_hash(&test_schema, &b, sections));
    assert_true(equal == !cm3_config_difference(&test_schema, &a, &b, sections, text, sizeof text));
    if (!equal) assert_non_null(strstr(text, " was "));
    cm3_config_free(&test_schema, &a);
    cm3_config_free(&test_schema, &b);
    return !equal;
}

static void the_hash_is_of_the_named_sections_and_all_below_them(void **state) {
    (void)state;
    assert_true(changes("train.lr=0.5", "train"));
    assert_false(changes("train.lr=0.5", "model"));
    assert_false(changes("train.lr=6e-4", "train")); /* the default, spelled out */
    assert_true(changes("seed=9", ""));
    assert_false(changes("train.lr=0.5", ""));
    assert_true(changes("tune.train.steps=4", "tune"));
    assert_true(changes("tune.train.steps=4", "tune.train"));
    assert_false(changes("tune.train.steps=4", "tune.network"));
    assert_false(changes("tune.train.steps=4", "train"));
}

static void the_hash_is_of_what_changes_results_only(void **state) {
    (void)state;
    assert_false(changes("train.note=other", "train")); /* of reports */
    assert_false(changes("out=elsewhere", ""));
}

static void a_difference_is_told_by_name_and_both_values(void **state) {
    (void)state;
    static const char *const sections[] = {"train", "model", NULL};
    const char *const overrides[] = {"model.heads=8", "model.width=32"};
    char text[128];
    test_recipe a, b;
    parse_or_fail(NULL, &a);
    assert_int_equal(parse_with("train: {steps: 1, note: x}", overrides, 2, &b), CM3_OK);
    assert_true(cm3_config_difference(&test_schema, &a, &b, sections, text, sizeof text));
    assert_string_equal(text, "model.width was 64, is 32");
    cm3_config_free(&test_schema, &a);
    cm3_config_free(&test_schema, &b);
}

static void files_are_read_and_missing_ones_named(void **state) {
    (void)state;
    test_recipe r;
    assert_int_equal(cm3_config_load(&test_schema, "/nowhere/r.yaml", NULL, 0, &r), CM3_ERR_IO);
    assert_string_equal(cm3_message(), "/nowhere/r.yaml: cannot be opened: No such file or directory");
    char path[] = "recipe-test-XXXXXX";
    const int descriptor = mkstemp(path);
    assert_int_equal(write(descriptor, "train: {steps: 4}\n", 18), 18);
    close(descriptor);
    assert_int_equal(cm3_config_load(&test_schema, path, NULL, 0, &r), CM3_OK);
    assert_int_equal(r.train.steps, 4);
    cm3_config_free(&test_schema, &r);
    unlink(path);
}

static void help_names_every_field_with_its_default(void **state) {
    (void)state;
    for (int markdown = 0; markdown < 2; markdown++) {
        char *text;
        size_t length;
        FILE *file = open_memstream(&text, &length);
        cm3_config_help(&test_schema, markdown, file);
        fclose(file);
        for (const cm3_section *section = test_sections; section->name; section++)
            for (const cm3_field *field = section->fields; field->name; field++)
                assert_non_null(strstr(text, field->help));
        assert_non_null(strstr(text, "must be given"));
        assert_non_null(strstr(text, "an integer from 1 to 65536 (channels)"));
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(all_faults_are_reported_together_with_line_and_field),
        cmocka_unit_test(one_fault_is_one_line),
        cmocka_unit_test(combinations_are_checked_at_the_line_of_their_field),
        cmocka_unit_test(overrides_win_over_the_file),
        cmocka_unit_test(wrong_overrides_are_faults),
        cmocka_unit_test(sections_nest),
        cmocka_unit_test(names_of_nested_sections_are_checked),
        cmocka_unit_test(old_names_are_answered_with_the_new_ones),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(keys_given_twice_are_faults),
        cmocka_unit_test(broken_yaml_is_one_fault_with_its_line),
        cmocka_unit_test(every_cut_of_a_recipe_ends_in_a_result),
        cmocka_unit_test(hostile_recipes_end_soon),
        cmocka_unit_test(a_printed_recipe_loads_to_the_same_values),
        cmocka_unit_test(the_hash_is_of_the_named_sections_and_all_below_them),
        cmocka_unit_test(the_hash_is_of_what_changes_results_only),
        cmocka_unit_test(a_difference_is_told_by_name_and_both_values),
        cmocka_unit_test(files_are_read_and_missing_ones_named),
        cmocka_unit_test(help_names_every_field_with_its_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
