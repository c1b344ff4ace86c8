#include "core/file.h"
#include "data/vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static cm3_vocab build(cm3_vocab_sizes sizes) {
    cm3_vocab vocab;
    assert_int_equal(cm3_vocab_build(&sizes, &vocab), CM3_OK);
    return vocab;
}

static const cm3_vocab_sizes paper = {.text = 56320, .image = 8192, .sentinels = 512, .multiple = 512};

static void the_papers_sizes_give_65536_ids(void **state) {
    (void)state;
    assert_int_equal(build(paper).size, 65536);
}

static void chameleons_table_is_the_released_one(void **state) {
    (void)state;
    const cm3_vocab v = build((cm3_vocab_sizes){
        .layout = CM3_LAYOUT_CHAMELEON, .text = 49152, .image = 8192, .sentinels = 512, .multiple = 1});
    assert_int_equal(v.size, 65536);
    assert_int_equal(cm3_vocab_id(&v, CM3_REGION_IMAGE, 0), 4);
    assert_int_equal(cm3_vocab_id(&v, CM3_REGION_IMAGE, 8191), 8195);
    assert_int_equal(cm3_vocab_id(&v, CM3_REGION_EOSS, 0), 8196);
    assert_int_equal(cm3_vocab_id(&v, CM3_REGION_BREAK, 0), 8197);
    assert_int_equal(cm3_vocab_id(&v, CM3_REGION_SENTINEL, 511), 8709);
    assert_int_equal(cm3_vocab_class(&v, 8710), CM3_TOKEN_RESERVED);
    assert_int_equal(cm3_vocab_id(&v, CM3_REGION_TEXT, 0), 16384);
    assert_int_equal(cm3_vocab_class(&v, 65535), CM3_TOKEN_TEXT);
}

static void every_id_has_one_class_and_regions_are_as_large_as_asked(void **state) {
    (void)state;
    const cm3_vocab v = build((cm3_vocab_sizes){.text = 300, .image = 64, .sentinels = 16, .multiple = 128});
    int64_t counts[CM3_TOKEN_RESERVED + 1] = {0};
    for (int32_t id = 0; id < v.size; id++) counts[cm3_vocab_class(&v, id)]++;
    assert_int_equal(counts[CM3_TOKEN_TEXT], 300);
    assert_int_equal(counts[CM3_TOKEN_IMAGE], 64);
    assert_int_equal(counts[CM3_TOKEN_SENTINEL], 16);
    assert_int_equal(counts[CM3_TOKEN_SPECIAL], 6);
    assert_int_equal(v.size, 512);
    assert_int_equal(counts[CM3_TOKEN_RESERVED], 512 - 386);
    const int32_t outside[] = {-1, INT32_MIN, INT32_MAX, v.size};
    for (size_t i = 0; i < 4; i++) assert_int_equal(cm3_vocab_class(&v, outside[i]), CM3_TOKEN_RESERVED);
}

static void names_are_readable(void **state) {
    (void)state;
    const cm3_vocab v = build(paper);
    char text[32];
    assert_string_equal(cm3_vocab_name(&v, cm3_vocab_id(&v, CM3_REGION_BREAK, 0), text), "<break>");
    assert_string_equal(cm3_vocab_name(&v, cm3_vocab_id(&v, CM3_REGION_SENTINEL, 3), text), "<sentinel:3>");
    assert_string_equal(cm3_vocab_name(&v, cm3_vocab_id(&v, CM3_REGION_IMAGE, 17), text), "<image:17>");
    assert_string_equal(cm3_vocab_name(&v, INT32_MIN, text), "<reserved:-2147483648>");
}

static void the_fingerprint_tells_tables_and_tokenizers_apart(void **state) {
    (void)state;
    cm3_vocab_sizes other[4] = {paper, paper, paper, paper};
    other[0].text--;
    other[1].sentinels--;
    other[2].text_tokenizer.low = 1;
    other[3].image_tokenizer.high = 1;
    const cm3_vocab v = build(paper), same = build(paper);
    assert_true(cm3_hash_equal(v.fingerprint, same.fingerprint));
    for (int i = 0; i < 4; i++) {
        const cm3_vocab w = build(other[i]);
        assert_false(cm3_hash_equal(v.fingerprint, w.fingerprint));
    }
}

static void sizes_that_cannot_be_are_refused(void **state) {
    (void)state;
    cm3_vocab v;
    cm3_vocab_sizes bad[] = {paper, paper, paper, paper, paper};
    bad[0].text = 0;
    bad[1].image = (int64_t)1 << 40;
    bad[2].multiple = 0;
    bad[3].sentinels = -1;
    bad[4].layout = CM3_LAYOUT_CHAMELEON; /* 56,320 text tokens do not fit */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(cm3_vocab_build(&bad[i], &v), CM3_ERR_RECIPE);
}

static void path_of(char path[512]) {
    snprintf(path, 512, "%s/vocab-%ld.json", CM3_BINARY_DIR, (long)getpid());
}

static void a_saved_table_loads_as_it_was(void **state) {
    (void)state;
    char path[512];
    path_of(path);
    cm3_vocab_sizes sizes = paper;
    sizes.text_tokenizer = (cm3_hash){3, 4};
    const cm3_vocab v = build(sizes);
    cm3_vocab back;
    assert_int_equal(cm3_vocab_save(&v, path), CM3_OK);
    assert_int_equal(cm3_vocab_load(path, &back), CM3_OK);
    assert_memory_equal(&v, &back, sizeof v);
    unlink(path);
}

/* Replaces the first `from` of the saved file and expects the load to fail, naming `part`. */
static void load_changed(const char *from, const char *to, const char *part) {
    char path[512], *text;
    size_t length;
    path_of(path);
    const cm3_vocab v = build(paper);
    cm3_vocab back;
    assert_int_equal(cm3_vocab_save(&v, path), CM3_OK);
    assert_int_equal(cm3_file_read(path, 1 << 20, &text, &length), CM3_OK);
    char *at = strstr(text, from), *changed = malloc(length + strlen(to) + 1);
    assert_non_null(at);
    sprintf(changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(cm3_file_write(path, changed, strlen(changed)), CM3_OK);
    assert_int_equal(cm3_vocab_load(path, &back), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), part));
    free(changed);
    free(text);
    unlink(path);
}

static void a_changed_or_cut_file_is_refused(void **state) {
    (void)state;
    load_changed("\"count\":512", "\"count\":511", "fingerprint");
    load_changed("\"first\":6,", "\"first\":5,", "overlap");
    load_changed("\"image\"", "\"imag\"", "image");
    load_changed("\"size\":65536", "\"size\":60000", "count");
    load_changed("cm3leon vocabulary", "something", "format");
    load_changed("}", "", "JSON");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_papers_sizes_give_65536_ids),
        cmocka_unit_test(chameleons_table_is_the_released_one),
        cmocka_unit_test(every_id_has_one_class_and_regions_are_as_large_as_asked),
        cmocka_unit_test(names_are_readable),
        cmocka_unit_test(the_fingerprint_tells_tables_and_tokenizers_apart),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        cmocka_unit_test(a_saved_table_loads_as_it_was),
        cmocka_unit_test(a_changed_or_cut_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
