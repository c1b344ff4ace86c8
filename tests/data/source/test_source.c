#include "core/file.h"
#include "data/source/source.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ROOT CM3_BINARY_DIR "/test_source"
#define LINES ROOT "/pairs.jsonl"

static void write_text(const char *path, const char *text) {
    if (cm3_file_write(path, text, strlen(text)) != CM3_OK) fail_msg("%s", cm3_message());
}

/* An image of one colour, 40 x 30 pixels. */
static void write_image(const char *path, uint8_t red) {
    cm3_image image;
    assert_int_equal(cm3_image_create(40, 30, 3, &image), CM3_OK);
    cm3_image_fill(&image, (cm3_colour){red, 0, 0});
    assert_int_equal(cm3_image_write_png(&image, path), CM3_OK);
    cm3_image_free(&image);
}

static int setup(void **state) {
    (void)state;
    assert_int_equal(cm3_folder_remove(ROOT), CM3_OK);
    assert_int_equal(cm3_folder_make(ROOT "/sub/deep"), CM3_OK);
    write_image(ROOT "/a.png", 10);
    write_image(ROOT "/b.PNG", 20);
    write_image(ROOT "/sub/deep/c.png", 30);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return cm3_folder_remove(ROOT) != CM3_OK;
}

static cm3_source *open_with(cm3_source_config config) {
    cm3_source *source;
    if (cm3_source_open(&config, &source) != CM3_OK) fail_msg("%s", cm3_message());
    return source;
}

static void check_pair(const cm3_source *source, int64_t index, const char *text, const char *name, uint8_t red) {
    cm3_pair pair;
    if (cm3_source_read(source, index, &pair) != CM3_OK) fail_msg("%s", cm3_message());
    assert_string_equal(pair.text, text);
    assert_int_equal(pair.text_length, strlen(text));
    assert_string_equal(pair.name, name);
    assert_int_equal(pair.image.pixels[0], red);
    cm3_pair_free(&pair);
}

/* Opening fails with one line that holds both words. */
static void check_refused(cm3_source_config config, cm3_status expected, const char *first, const char *second) {
    cm3_source *source;
    const cm3_status status = cm3_source_open(&config, &source);
    if (status != expected)
        fail_msg("%s, not %s: %s", cm3_status_text(status), cm3_status_text(expected), cm3_message());
    assert_null(source);
    if (!strstr(cm3_message(), first) || !strstr(cm3_message(), second) || strchr(cm3_message(), '\n'))
        fail_msg("\"%s\" does not name \"%s\" and \"%s\"", cm3_message(), first, second);
}

static const cm3_source_config folder = {.kind = CM3_SOURCE_FOLDER, .path = ROOT};
static const cm3_source_config jsonl = {.kind = CM3_SOURCE_JSONL, .path = LINES};

static void a_folder_gives_images_with_the_captions_beside_them(void **state) {
    (void)state;
    write_text(ROOT "/a.txt", "  first \n");
    write_text(ROOT "/b.txt", "second\r\n");
    write_text(ROOT "/sub/deep/c.txt", "un caf\xc3\xa9");
    write_text(ROOT "/notes.txt", "belongs to no image");
    cm3_source *source = open_with(folder);
    assert_int_equal(cm3_source_count(source), 3);
    check_pair(source, 0, "first", "a.png", 10);
    check_pair(source, 1, "second", "b.PNG", 20);
    check_pair(source, 2, "un caf\xc3\xa9", "sub/deep/c.png", 30);
    cm3_source_close(source);
}

static void a_folder_may_hold_one_list_of_captions(void **state) {
    (void)state;
    write_text(ROOT "/metadata.jsonl", "{\"file_name\": \"sub/deep/c.png\", \"text\": \"third\"}\n"
                                       "\n"
                                       "{\"text\": \"first\", \"more\": [1], \"file_name\": \"a.png\"}");
    cm3_source *source = open_with(folder);
    assert_int_equal(cm3_source_count(source), 2);
    check_pair(source, 0, "third", ROOT "/metadata.jsonl:1", 30);
    check_pair(source, 1, "first", ROOT "/metadata.jsonl:3", 10);
    cm3_source_close(source);
}

static void a_folder_that_is_not_whole_is_refused(void **state) {
    (void)state;
    cm3_source_config missing = folder;
    missing.path = ROOT "/nowhere";
    check_refused(missing, CM3_ERR_NOT_FOUND, "nowhere", "no such folder");
    check_refused(folder, CM3_ERR_NOT_FOUND, "a.png", "a.txt is missing");
    write_text(ROOT "/a.txt", "\xff\xfe");
    check_refused(folder, CM3_ERR_FORMAT, "a.txt", "not UTF-8");
    write_text(ROOT "/a.txt", " \n");
    check_refused(folder, CM3_ERR_FORMAT, "a.txt", "empty");
    cm3_source_config empty = folder;
    empty.path = ROOT "/none";
    assert_int_equal(cm3_folder_make(empty.path), CM3_OK);
    check_refused(empty, CM3_ERR_FORMAT, "none", "the data set is empty");
}

static void json_lines_may_name_their_fields_and_be_filtered(void **state) {
    (void)state;
    write_text(LINES, "{\"caption\": \"A red one\", \"image\": \"a.png\"}\n"
                      "{\"caption\": \"a dark red one\", \"image\": \"b.PNG\"}\n"
                      "{\"caption\": \"a blue one\", \"image\": \"" ROOT "/sub/deep/c.png\"}\n");
    cm3_source_config config = jsonl;
    config.text_field = "caption";
    config.image_field = "image";
    cm3_source *source = open_with(config);
    assert_int_equal(cm3_source_count(source), 3);
    check_pair(source, 2, "a blue one", LINES ":3", 30);
    cm3_source_close(source);
    config.filter = (cm3_string_list){.values = {"RED", "!dark"}, .count = 2};
    source = open_with(config);
    assert_int_equal(cm3_source_count(source), 1);
    check_pair(source, 0, "A red one", LINES ":1", 10);
    cm3_source_close(source);
    config.filter.count = 0;
    config.limit = 2;
    source = open_with(config);
    assert_int_equal(cm3_source_count(source), 2);
    cm3_source_close(source);
}

#define GOOD "{\"image\": \"a.png\", \"text\": \"first\"}\n"

static void a_broken_line_is_named(void **state) {
    (void)state;
    static const struct {
        const char *line, *word;
    } cases[] = {
        {"{\"image\": \"a.png\", \"te", "not a whole JSON object"},
        {"{\"image\": \"a.png\", \"text\": \"x\"} {}", "not a whole JSON object"},
        {"{\"image\": \"a.png\", \"text\": \"caf\xe9\"}", "not UTF-8: byte 32 of the line is 0xe9"},
        {"[\"a.png\", \"x\"]", "not a JSON object"},
        {"{\"image\": \"a.png\"}", "no \"text\""},
        {"{\"text\": \"x\"}", "no \"image\""},
        {"{\"image\": \"a.png\", \"text\": 3}", "\"text\" is not a string"},
        {"{\"image\": \"\", \"text\": \"x\"}", "\"image\" is empty"},
        {"{\"image\": \"a.png\", \"text\": \"\"}", "the caption is empty"},
        {"{\"image\": \"a.png\", \"text\": \"a\\u0000b\"}", "not a whole JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, GOOD "\n%s\n" GOOD, cases[i].line);
        write_text(LINES, text);
        check_refused(jsonl, CM3_ERR_FORMAT, "pairs.jsonl:3: ", cases[i].word);
    }
}

static void a_line_without_end_is_refused_and_not_read_into_memory(void **state) {
    (void)state;
    const size_t length = (2 << 20) + 1;
    char *text = malloc(length);
    memset(text, 'x', length);
    memcpy(text, GOOD, strlen(GOOD));
    assert_int_equal(cm3_file_write(LINES, text, length), CM3_OK);
    free(text);
    check_refused(jsonl, CM3_ERR_FORMAT, "pairs.jsonl:2", "more than 1048576 bytes");
}

static void a_file_without_pairs_is_an_empty_data_set(void **state) {
    (void)state;
    write_text(LINES, "");
    check_refused(jsonl, CM3_ERR_FORMAT, "pairs.jsonl", "the data set is empty");
    write_text(LINES, "\n  \n");
    check_refused(jsonl, CM3_ERR_FORMAT, "pairs.jsonl", "the data set is empty");
    write_text(LINES, GOOD);
    cm3_source_config config = jsonl;
    config.filter = (cm3_string_list){.values = {"nothing like it"}, .count = 1};
    check_refused(config, CM3_ERR_FORMAT, "pairs.jsonl", "no pair passes");
    config.path = ROOT "/none.jsonl";
    check_refused(config, CM3_ERR_NOT_FOUND, "none.jsonl", "No such file");
}

static void a_bad_image_is_named_with_its_line(void **state) {
    (void)state;
    write_text(ROOT "/cut.png", "\x89PNG\r\n\x1a\n");
    write_text(LINES, GOOD "{\"image\": \"gone.png\", \"text\": \"x\"}\n{\"image\": \"cut.png\", \"text\": \"x\"}\n");
    cm3_source *source = open_with(jsonl);
    cm3_pair pair;
    assert_int_equal(cm3_source_read(source, 1, &pair), CM3_ERR_NOT_FOUND);
    assert_null(pair.text);
    assert_non_null(strstr(cm3_message(), "pairs.jsonl:2: "));
    assert_non_null(strstr(cm3_message(), "gone.png"));
    assert_int_equal(cm3_source_read(source, 2, &pair), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "pairs.jsonl:3: "));
    assert_non_null(strstr(cm3_message(), "cut.png"));
    assert_int_equal(cm3_source_read(source, 3, &pair), CM3_ERR_INTERNAL);
    assert_int_equal(cm3_source_read(source, -1, &pair), CM3_ERR_INTERNAL);
    cm3_source_close(source);
}

static void a_changed_file_is_noticed(void **state) {
    (void)state;
    write_text(LINES, GOOD GOOD);
    cm3_source *source = open_with(jsonl);
    FILE *file = fopen(LINES, "r+b"); /* the same file, shorter */
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), 50), 0);
    fclose(file);
    cm3_pair pair;
    assert_int_equal(cm3_source_read(source, 1, &pair), CM3_ERR_IO);
    assert_non_null(strstr(cm3_message(), "did the file change"));
    cm3_source_close(source);
}

static void captions_of_one_image_are_held_out_together(void **state) {
    (void)state;
    FILE *file = fopen(LINES, "w");
    assert_non_null(file);
    for (int i = 0; i < 2000; i++) fprintf(file, "{\"image\": \"%d.png\", \"text\": \"caption %d\"}\n", i / 2, i);
    fclose(file);
    cm3_source_config config = jsonl;
    config.validation = 0.25;
    cm3_source *source = open_with(config);
    int validation = 0;
    for (int i = 0; i < 2000; i += 2) {
        assert_int_equal(cm3_source_split(source, i), cm3_source_split(source, i + 1));
        validation += cm3_source_split(source, i) == CM3_SPLIT_VALIDATION;
    }
    assert_in_range(validation, 195, 305); /* 250, four standard deviations */
    cm3_source_close(source);
}

typedef struct job {
    const cm3_source *source;
    uint64_t sum;
    int failed;
} job;

static void *read_all(void *opaque) {
    job *j = opaque;
    for (int64_t i = 0; i < cm3_source_count(j->source); i++) {
        cm3_pair pair;
        if (cm3_source_read(j->source, i, &pair) != CM3_OK) {
            j->failed++;
            continue;
        }
        for (size_t k = 0; k < cm3_image_size(&pair.image); k++) j->sum = j->sum * 31 + pair.image.pixels[k];
        for (size_t k = 0; k < pair.text_length; k++) j->sum = j->sum * 31 + (uint8_t)pair.text[k];
        cm3_pair_free(&pair);
    }
    return NULL;
}

static void check_threads(cm3_source_config config) {
    enum { THREADS = 4 };
    cm3_source *source = open_with(config);
    job jobs[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){.source = source};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(jobs[i].failed, 0);
        assert_true(jobs[i].sum == jobs[0].sum);
    }
    cm3_source_close(source);
}

static void threads_read_the_same_pairs_at_once(void **state) {
    (void)state;
    write_text(LINES, GOOD GOOD "{\"image\": \"b.PNG\", \"text\": \"second\"}\n");
    check_threads(jsonl);
    check_threads((cm3_source_config){.limit = 50, .image_size = 24, .fit = CM3_FIT_PAD});
}

static const cm3_section sections[] = {{"source", cm3_source_fields, 0, "pairs"}, {NULL, NULL, 0, NULL}};

static void check_settings(const void *recipe, cm3_faults *faults) {
    cm3_source_check(recipe, "source", faults);
}

static const cm3_schema schema = {.sections = sections, .size = sizeof(cm3_source_config), .check = check_settings};

static void a_recipe_binds_to_a_source(void **state) {
    (void)state;
    static const char text[] = "source:\n  image_size: 16\n  fit: pad\n  groups: [animal-mammal]\n";
    cm3_source_config config;
    if (cm3_config_parse(&schema, &(cm3_config_text){"r.yaml", text, strlen(text)}, NULL, 0, &config) != CM3_OK)
        fail_msg("%s", cm3_message());
    assert_int_equal(config.kind, CM3_SOURCE_EMOJI);
    assert_int_equal(config.fit, CM3_FIT_PAD);
    assert_string_equal(config.background, "white");
    cm3_source *source = open_with(config);
    assert_in_range(cm3_source_count(source), 60, 80);
    cm3_source_close(source);
    cm3_config_free(&schema, &config);
}

static void all_faults_of_a_recipe_are_reported_together(void **state) {
    (void)state;
    static const char text[] = "source:\n  kind: folder\n  background: pink\n  groups: [Flags]\n";
    cm3_source_config config;
    assert_int_equal(cm3_config_parse(&schema, &(cm3_config_text){"r.yaml", text, strlen(text)}, NULL, 0, &config),
                     CM3_ERR_RECIPE);
    assert_non_null(strstr(cm3_message(), "needs a path"));
    assert_non_null(strstr(cm3_message(), "pink"));
    assert_non_null(strstr(cm3_message(), "only emoji have groups"));
}

static void settings_that_cannot_be_are_refused(void **state) {
    (void)state;
    check_refused((cm3_source_config){.kind = CM3_SOURCE_JSONL}, CM3_ERR_RECIPE, "path", "needed");
    check_refused((cm3_source_config){.background = "whitish"}, CM3_ERR_RECIPE, "background", "whitish");
}

int main(void) {
#define SOURCE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SOURCE_TEST(a_folder_gives_images_with_the_captions_beside_them),
        SOURCE_TEST(a_folder_may_hold_one_list_of_captions),
        SOURCE_TEST(a_folder_that_is_not_whole_is_refused),
        SOURCE_TEST(json_lines_may_name_their_fields_and_be_filtered),
        SOURCE_TEST(a_broken_line_is_named),
        SOURCE_TEST(a_line_without_end_is_refused_and_not_read_into_memory),
        SOURCE_TEST(a_file_without_pairs_is_an_empty_data_set),
        SOURCE_TEST(a_bad_image_is_named_with_its_line),
        SOURCE_TEST(a_changed_file_is_noticed),
        SOURCE_TEST(captions_of_one_image_are_held_out_together),
        SOURCE_TEST(threads_read_the_same_pairs_at_once),
        SOURCE_TEST(a_recipe_binds_to_a_source),
        SOURCE_TEST(all_faults_of_a_recipe_are_reported_together),
        SOURCE_TEST(settings_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
