#include "data/document.h"
#include "tests/support/documents.h"
#include "tests/support/small_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static cm3_vocab vocab;

static int setup(void **state) {
    (void)state;
    small_vocab(&vocab);
    return 0;
}

static void add(cm3_document *document, cm3_modality modality, int32_t token_id, int32_t count) {
    int32_t ids[64] = {0};
    for (int32_t i = 0; i < count; i++) ids[i] = token_id + i;
    assert_int_equal(modality == CM3_MODALITY_IMAGE ? cm3_document_add_image(document, ids, 1, count)
                                                    : cm3_document_add_text(document, ids, (size_t)count),
                     CM3_OK);
}

/* The names of all ids, one blank between them. */
static const char *names(const cm3_tokens *tokens, char text[1024]) {
    text[0] = 0;
    for (size_t i = 0; i < tokens->count; i++) {
        char name[32];
        if (i) strcat(text, " ");
        strcat(text, cm3_vocab_name(&vocab, tokens->items[i], name));
    }
    return text;
}

static void a_pair_is_rendered_between_ends_with_a_break(void **state) {
    (void)state;
    cm3_document d = {0};
    cm3_tokens t = {0};
    char text[1024];
    add(&d, CM3_MODALITY_TEXT, 7, 2);
    add(&d, CM3_MODALITY_IMAGE, 1, 2);
    assert_int_equal(cm3_document_render(&d, &vocab, &t), CM3_OK);
    assert_string_equal(names(&t, text), "<eos> <text:7> <text:8> <break> <image:1> <image:2> <eos>");
    CM3_LIST_FREE(&t);
    cm3_document_free(&d);
}

static void expect_prompt(const cm3_document *d, const char *expected) {
    cm3_tokens t = {0};
    char text[1024];
    assert_int_equal(cm3_document_prompt(d, &vocab, &t), CM3_OK);
    assert_string_equal(names(&t, text), expected);
    CM3_LIST_FREE(&t);
}

static void blanks_make_every_prompt_of_the_paper(void **state) {
    (void)state;
    cm3_document d = {0};
    add(&d, CM3_MODALITY_TEXT, 7, 2);
    add(&d, CM3_MODALITY_IMAGE, 0, 0);
    expect_prompt(&d, "<eos> <text:7> <text:8> <break>");
    cm3_document_free(&d);

    add(&d, CM3_MODALITY_TEXT, 0, 0);
    add(&d, CM3_MODALITY_IMAGE, 0, 0);
    expect_prompt(&d, "<eos> <sentinel:0> <break>");
    cm3_document_free(&d);

    add(&d, CM3_MODALITY_TEXT, 1, 1);
    add(&d, CM3_MODALITY_IMAGE, 2, 1);
    add(&d, CM3_MODALITY_IMAGE, 0, 0);
    expect_prompt(&d, "<eos> <text:1> <break> <image:2> <break>");
    cm3_document_free(&d);

    add(&d, CM3_MODALITY_TEXT, 0, 0);
    add(&d, CM3_MODALITY_IMAGE, 2, 2);
    expect_prompt(&d, "<eos> <sentinel:0> <break> <image:2> <image:3> <eos> <sentinel:0>");
    cm3_document_free(&d);

    cm3_tokens t = {0};
    add(&d, CM3_MODALITY_TEXT, 1, 1);
    assert_int_equal(cm3_document_prompt(&d, &vocab, &t), CM3_ERR_USAGE);
    assert_int_equal(t.count, 0);
    cm3_document_free(&d);
    CM3_LIST_FREE(&t);
}

static void parsing_gives_back_what_was_rendered(void **state) {
    (void)state;
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, 0, 0);
    for (int i = 0; i < 2000; i++) {
        cm3_document d = {0}, back = {0};
        cm3_tokens t = {0};
        assert_int_equal(random_document(&rng, &vocab, &d), CM3_OK);
        assert_int_equal(cm3_document_render(&d, &vocab, &t), CM3_OK);
        assert_int_equal(document_of_ids(&vocab, t.items, t.count, &back), CM3_OK);
        assert_true(documents_equal(&d, &back));
        cm3_document_free(&back);
        cm3_document_free(&d);
        CM3_LIST_FREE(&t);
    }
}

static void any_part_of_a_document_renders_as_it_stands_in_the_whole(void **state) {
    (void)state;
    cm3_rng rng = cm3_rng_stream(4, CM3_RNG_TEST, 0, 0);
    for (int i = 0; i < 500; i++) {
        cm3_document d = {0};
        cm3_tokens whole = {0};
        int32_t part[512];
        assert_int_equal(random_document(&rng, &vocab, &d), CM3_OK);
        if (i % 3 == 0) assert_int_equal(cm3_document_add_text(&d, NULL, 0), CM3_OK); /* a blank */
        assert_int_equal(cm3_document_render(&d, &vocab, &whole), CM3_OK);
        assert_int_equal(cm3_document_size(&d), whole.count);
        for (int k = 0; k < 50; k++) {
            const int64_t a = (int64_t)cm3_rng_below(&rng, whole.count + 1),
                          b = (int64_t)cm3_rng_below(&rng, whole.count + 1);
            const cm3_range range = {a < b ? a : b, a < b ? b : a};
            part[cm3_range_length(range)] = -7;
            assert_int_equal(cm3_document_render_range(&d, &vocab, range, part), CM3_OK);
            assert_memory_equal(part, whole.items + range.begin, (size_t)cm3_range_length(range) * sizeof *part);
            assert_int_equal(part[cm3_range_length(range)], -7);
        }
        cm3_document_free(&d);
        CM3_LIST_FREE(&whole);
    }
}

static void several_documents_are_read_one_after_another_even_with_cut_ends(void **state) {
    (void)state;
    cm3_rng rng = cm3_rng_stream(2, CM3_RNG_TEST, 0, 0);
    cm3_document d[3] = {0}, back = {0};
    cm3_tokens t = {0};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(random_document(&rng, &vocab, &d[i]), CM3_OK);
        assert_int_equal(cm3_document_render(&d[i], &vocab, &t), CM3_OK);
    }
    size_t at = 0;
    for (int i = 0; i < 3; i++) { /* without the first <eos> and the last */
        assert_int_equal(cm3_document_next(&vocab, t.items + 1, t.count - 2, &at, &back), CM3_OK);
        assert_true(documents_equal(&d[i], &back));
        cm3_document_free(&back);
    }
    assert_int_equal(cm3_document_next(&vocab, t.items + 1, t.count - 2, &at, &back), CM3_OK);
    assert_int_equal(back.segments.count, 0);
    for (int i = 0; i < 3; i++) cm3_document_free(&d[i]);
    CM3_LIST_FREE(&t);
}

static void an_answer_is_put_into_its_blank(void **state) {
    (void)state;
    cm3_document d = {0}, full = {0}, back = {0};
    cm3_tokens t = {0};
    add(&d, CM3_MODALITY_TEXT, 0, 0);
    add(&d, CM3_MODALITY_IMAGE, 2, 4);
    add(&full, CM3_MODALITY_TEXT, 40, 3);
    add(&full, CM3_MODALITY_IMAGE, 2, 4);
    assert_int_equal(cm3_document_prompt(&d, &vocab, &t), CM3_OK);
    for (int32_t i = 40; i < 43; i++)
        assert_int_equal(CM3_LIST_PUSH(&t, (int32_t){cm3_vocab_id(&vocab, CM3_REGION_TEXT, i)}), CM3_OK);
    for (int with_end = 0; with_end < 2; with_end++) {
        assert_int_equal(document_of_ids(&vocab, t.items, t.count, &back), CM3_OK);
        assert_true(documents_equal(&back, &full));
        cm3_document_free(&back);
        assert_int_equal(CM3_LIST_PUSH(&t, (int32_t){cm3_vocab_id(&vocab, CM3_REGION_EOSS, 0)}), CM3_OK);
    }
    cm3_document_free(&d);
    cm3_document_free(&full);
    CM3_LIST_FREE(&t);
}

static void numbers_outside_the_vocabulary_are_refused_and_leave_no_trace(void **state) {
    (void)state;
    const int32_t bad[] = {-1, SMALL_IMAGE, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 4; i++) {
        cm3_document d = {0};
        cm3_tokens t = {0};
        assert_int_equal(cm3_document_add_image(&d, &bad[i], 1, 1), CM3_OK);
        assert_int_equal(cm3_document_render(&d, &vocab, &t), CM3_ERR_FORMAT);
        assert_int_equal(t.count, 0);
        cm3_document_free(&d);
        CM3_LIST_FREE(&t);
    }
}

static void any_ids_can_be_unmasked_parsed_and_printed(void **state) {
    (void)state;
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, 0, 0);
    FILE *null = fopen("/dev/null", "w");
    for (int i = 0; i < 5000; i++) {
        int32_t ids[64];
        const size_t count = cm3_rng_below(&rng, 65);
        for (size_t j = 0; j < count; j++) /* mostly the ids with a meaning for the parser */
            ids[j] = cm3_rng_below(&rng, 4) ? (int32_t)cm3_rng_below(&rng, 24) : (int32_t)cm3_rng_u32(&rng);
        cm3_document d;
        assert_int_equal(document_of_ids(&vocab, ids, count, &d), CM3_OK);
        assert_int_equal(cm3_tokens_print(null, &vocab, ids, count, NULL), CM3_OK);
        cm3_document_free(&d);
    }
    fclose(null);
}

static cm3_status letters(void *context, const int32_t *token_ids, size_t count, char **text, size_t *length) {
    (void)context;
    *text = malloc(count + 1);
    *length = count;
    for (size_t i = 0; i < count; i++) (*text)[i] = (char)token_ids[i];
    return CM3_OK;
}

static void printed_tokens_can_be_read(void **state) {
    (void)state;
    const int32_t eos = cm3_vocab_id(&vocab, CM3_REGION_EOS, 0), brk = cm3_vocab_id(&vocab, CM3_REGION_BREAK, 0),
                  eoss = cm3_vocab_id(&vocab, CM3_REGION_EOSS, 0), mask = cm3_vocab_id(&vocab, CM3_REGION_SENTINEL, 0),
                  image = cm3_vocab_id(&vocab, CM3_REGION_IMAGE, 0), text = cm3_vocab_id(&vocab, CM3_REGION_TEXT, 0);
    const int32_t ids[] = {eos,  text + 'h', text + '"', brk, image, image,      eos,         eos,
                           mask, brk,        image,      eos, mask,  text + 'a', text + '\n', eoss};
    char *out;
    size_t length;
    FILE *file = open_memstream(&out, &length);
    assert_int_equal(cm3_tokens_print(file, &vocab, ids, sizeof ids / sizeof *ids, &(cm3_text_decoder){letters, NULL}),
                     CM3_OK);
    fclose(file);
    assert_string_equal(out, "<eos> \"h\\\"\" <break> [image 2 codes] <eos>\n"
                             "<eos> <sentinel:0> <break> [image 1 code] <eos>\n"
                             "<sentinel:0> \"a\\n\" <eoss>\n");
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_is_rendered_between_ends_with_a_break),
        cmocka_unit_test(blanks_make_every_prompt_of_the_paper),
        cmocka_unit_test(parsing_gives_back_what_was_rendered),
        cmocka_unit_test(any_part_of_a_document_renders_as_it_stands_in_the_whole),
        cmocka_unit_test(several_documents_are_read_one_after_another_even_with_cut_ends),
        cmocka_unit_test(an_answer_is_put_into_its_blank),
        cmocka_unit_test(numbers_outside_the_vocabulary_are_refused_and_leave_no_trace),
        cmocka_unit_test(any_ids_can_be_unmasked_parsed_and_printed),
        cmocka_unit_test(printed_tokens_can_be_read),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
