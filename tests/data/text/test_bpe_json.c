/* tokenizer.json in and out. The golden files come from Hugging Face tokenizers (golden/make.py). */
#include "tests/data/text/helpers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define GOLDEN CM3_SOURCE_DIR "/tests/data/text/golden/"

static cm3_bpe *loaded(const char *path) {
    cm3_bpe *bpe;
    if (cm3_bpe_load(path, &bpe) != CM3_OK) fail_msg("%s", cm3_message());
    return bpe;
}

static size_t unescape(char *text, size_t length) {
    size_t size = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '\\') {
            c = text[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        text[size++] = c;
    }
    return size;
}

/* Every line of cases.txt gives the ids of the same line of expected.txt. */
static void assert_golden_ids(const cm3_bpe *bpe) {
    cm3_bpe_encoder *encoder;
    assert_int_equal(cm3_bpe_encoder_create(bpe, &encoder), CM3_OK);
    lines cases = golden_lines("cases.txt"), expected = golden_lines("expected.txt");
    size_t tested = 0;
    for (;; tested++) {
        const char *text, *numbers;
        size_t length, unused, count;
        next_line(&cases, &text, &length);
        next_line(&expected, &numbers, &unused);
        if (!text) break;
        assert_non_null(numbers);
        length = unescape((char *)text, length);
        int32_t ids[2048];
        assert_int_equal(cm3_bpe_encode(encoder, text, length, ids, 2048, &count), CM3_OK);
        char *at = (char *)numbers;
        for (size_t i = 0; i < count; i++) {
            if (*at == '\n' || strtol(at, &at, 10) != ids[i])
                fail_msg("'%.*s': id %zu is %d", (int)length, text, i, ids[i]);
        }
        assert_int_equal(*at, '\n');
        assert_round_trip(bpe, encoder, text, length);
    }
    assert_true(tested > 70);
    lines_free(&cases);
    lines_free(&expected);
    cm3_bpe_encoder_free(encoder);
}

static void ids_equal_those_of_hugging_face(void **state) {
    (void)state;
    cm3_bpe *bpe = loaded(GOLDEN "tokenizer.json");
    assert_int_equal(cm3_bpe_size(bpe), 600);
    assert_golden_ids(bpe);
    cm3_bpe_free(bpe);
}

static void the_older_spelling_loads_too_with_special_tokens_after_a_gap(void **state) {
    (void)state;
    cm3_bpe *bpe = loaded(GOLDEN "legacy.json");
    assert_golden_ids(bpe);
    assert_int_equal(cm3_bpe_size(bpe), 702);
    size_t length;
    char text[32];
    const int32_t ids[] = {700, 64, 701}, gap = 650;
    assert_int_equal(cm3_bpe_decode(bpe, ids, 3, text, sizeof text, &length), CM3_OK);
    assert_memory_equal(text, "</s>a<mask>", 11);
    assert_int_equal(cm3_bpe_decode(bpe, &gap, 1, text, sizeof text, &length), CM3_ERR_FORMAT);
    cm3_bpe_free(bpe);
}

static void our_training_learns_what_hugging_face_learns(void **state) {
    (void)state;
    cm3_bpe *theirs = loaded(GOLDEN "tokenizer.json"), *ours = golden_trained(600, 2);
    assert_true(cm3_bpe_fingerprint(ours) == cm3_bpe_fingerprint(theirs));
    cm3_bpe_free(ours);
    cm3_bpe_free(theirs);
}

static void a_saved_tokenizer_loads_as_the_same(void **state) {
    (void)state;
    static const char *const sources[] = {GOLDEN "tokenizer.json", GOLDEN "legacy.json"};
    const char *path = CM3_BINARY_DIR "/test_bpe_saved.json";
    for (size_t i = 0; i < 2; i++) {
        cm3_bpe *bpe = loaded(sources[i]);
        if (cm3_bpe_save(bpe, path) != CM3_OK) fail_msg("%s", cm3_message());
        cm3_bpe *again = loaded(path);
        assert_true(cm3_bpe_fingerprint(again) == cm3_bpe_fingerprint(bpe));
        assert_golden_ids(again);
        cm3_bpe_free(again);
        cm3_bpe_free(bpe);
        unlink(path);
    }
}

static void saving_where_nothing_can_be_written_fails_with_the_path(void **state) {
    (void)state;
    cm3_bpe *bpe = loaded(GOLDEN "tokenizer.json");
    assert_int_equal(cm3_bpe_save(bpe, CM3_BINARY_DIR "/no-such-folder/tokenizer.json"), CM3_ERR_IO);
    assert_non_null(strstr(cm3_message(), "no-such-folder"));
    cm3_bpe_free(bpe);
}

/* --- hostile and foreign files ----------------------------------------------------------------------------------- */

/* legacy.json with the first `from` replaced. */
static char *altered(const char *from, const char *to, size_t *length) {
    lines file = golden_lines("legacy.json");
    const char *at = strstr(file.text, from);
    assert_non_null(at);
    const size_t before = (size_t)(at - file.text);
    char *result = malloc(file.length + strlen(to) + 1);
    *length = (size_t)sprintf(result, "%.*s%s%s", (int)before, file.text, to, at + strlen(from));
    lines_free(&file);
    return result;
}

static void other_kinds_are_refused_by_the_name_of_their_field(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
        cm3_status status;
        const char *message;
    } cases[] = {
        {"\"add_prefix_space\": false", "\"add_prefix_space\": true", CM3_ERR_UNSUPPORTED,
         "pre_tokenizer.add_prefix_space: found true"},
        {"\"use_regex\": true", "\"use_regex\": false", CM3_ERR_UNSUPPORTED, "pre_tokenizer.use_regex: found false"},
        {"\"type\": \"ByteLevel\"", "\"type\": \"Whitespace\"", CM3_ERR_UNSUPPORTED,
         "pre_tokenizer.type: found \"Whitespace\""},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", CM3_ERR_UNSUPPORTED,
         "normalizer: found {\"type\":\"NFC\"}"},
        {"\"dropout\": null", "\"dropout\": 0.1", CM3_ERR_UNSUPPORTED, "model.dropout: found 0.1"},
        {"\"dropout\": null", "\"type\": \"Unigram\"", CM3_ERR_UNSUPPORTED, "model.type: found \"Unigram\""},
        {"\"end_of_word_suffix\": \"\"", "\"end_of_word_suffix\": \"</w>\"", CM3_ERR_UNSUPPORTED,
         "model.end_of_word_suffix: found \"</w>\""},
        {"\"special\": true", "\"special\": false", CM3_ERR_UNSUPPORTED, "added_tokens[0].special: found false"},
        {"\"id\": 700", "\"id\": 12", CM3_ERR_FORMAT, "added_tokens[0]: \"</s>\" with id 12 does not agree"},
        {"\"id\": 700", "\"id\": -1", CM3_ERR_FORMAT, "added_tokens[0].id: not an id"},
        {"\"id\": 700", "\"id\": 99999999999", CM3_ERR_FORMAT, "added_tokens[0].id: not an id"},
        {"\"id\": 700", "\"id\": \"x\"", CM3_ERR_FORMAT, "added_tokens[0].id: not an id"},
        {"\"!\": 0", "\"!\": 1", CM3_ERR_FORMAT, "is that of another token"},
        {"\"$\": 3", "\"$$$$$$\": 3", CM3_ERR_FORMAT, "model.vocab: no token for byte 0x24"},
        {"\"!\": 0", "\"!\": null", CM3_ERR_FORMAT, "model.vocab \"!\": not an id"},
        {"\"$\": 3,", "", CM3_ERR_FORMAT, "no token for byte 0x24"},
        {"\"merges\": [", "\"merges\": [5,", CM3_ERR_FORMAT, "model.merges[0]: expected"},
        {"\"merges\": [", "\"merges\": [\"ab\",", CM3_ERR_FORMAT, "model.merges[0]: expected"},
        {"\"merges\": [", "\"merges\": [\"a b c\",", CM3_ERR_FORMAT, "model.merges[0]: expected"},
        {"\"merges\": [", "\"merges\": [[\"a\"],", CM3_ERR_FORMAT, "model.merges[0]: expected"},
        {"\"merges\": [", "\"merges\": [[\"\", \"a\"],", CM3_ERR_FORMAT, "model.merges[0]: \"\" is no token"},
        {"\"merges\": [", "\"merges\": [\"a zqzq\",", CM3_ERR_FORMAT, "model.merges[0]: \"zqzq\" is no token"},
        {"\"merges\": [", "\"merges\": [\"z q\",", CM3_ERR_FORMAT, "model.merges[0]: \"zq\" is no token"},
        {"\"merges\": [", "\"joints\": [", CM3_ERR_FORMAT, "merges"},
        {"\"vocab\": {", "\"vocab\": 5, \"v\": {", CM3_ERR_FORMAT, "vocab"},
        {"\"model\": {", "\"modell\": {", CM3_ERR_FORMAT, "model"},
        {"{", "[", CM3_ERR_FORMAT, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length;
        char *json = altered(cases[i].from, cases[i].to, &length);
        cm3_bpe *bpe;
        const cm3_status status = cm3_bpe_parse(json, length, "some.json", &bpe);
        if (status != cases[i].status || !strstr(cm3_message(), cases[i].message) ||
            !strstr(cm3_message(), "some.json"))
            fail_msg("%s -> %s: status %d, '%s'", cases[i].from, cases[i].to, status, cm3_message());
        assert_null(bpe);
        free(json);
    }
}

static void a_file_cut_anywhere_is_refused(void **state) {
    (void)state;
    lines file = golden_lines("legacy.json");
    for (size_t cut = 0; cut < file.length; cut += cut < 700 ? 1 : 97) {
        char *exact = malloc(cut + 1); /* for the address sanitizer */
        memcpy(exact, file.text, cut);
        cm3_bpe *bpe;
        assert_int_equal(cm3_bpe_parse(exact, cut, "cut.json", &bpe), CM3_ERR_FORMAT);
        free(exact);
    }
    lines_free(&file);
    cm3_bpe *bpe;
    assert_int_equal(cm3_bpe_load(GOLDEN "no-such.json", &bpe), CM3_ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_those_of_hugging_face),
        cmocka_unit_test(the_older_spelling_loads_too_with_special_tokens_after_a_gap),
        cmocka_unit_test(our_training_learns_what_hugging_face_learns),
        cmocka_unit_test(a_saved_tokenizer_loads_as_the_same),
        cmocka_unit_test(saving_where_nothing_can_be_written_fails_with_the_path),
        cmocka_unit_test(other_kinds_are_refused_by_the_name_of_their_field),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
