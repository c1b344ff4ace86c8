#include "core/rng.h"
#include "data/text/bpe_internal.h"
#include "data/text/split.h"
#include "tests/data/text/helpers.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct fixture {
    cm3_bpe *bpe;
    cm3_bpe_encoder *encoder;
} fixture;

static int start(void **state) {
    static fixture f;
    f.bpe = golden_trained(600, 2);
    assert_int_equal(cm3_bpe_encoder_create(f.bpe, &f.encoder), CM3_OK);
    *state = &f;
    return 0;
}

static int end(void **state) {
    fixture *f = *state;
    cm3_bpe_encoder_free(f->encoder);
    cm3_bpe_free(f->bpe);
    return 0;
}

/* --- the definition, word for word ------------------------------------------------------------------------------- */

static size_t plain_piece(const cm3_bpe *bpe, const char *piece, size_t length, int32_t *ids) {
    size_t count = length;
    for (size_t i = 0; i < length; i++) ids[i] = bpe->byte_ids[(unsigned char)piece[i]];
    for (size_t rank = 0; rank < bpe->merges.count; rank++) { /* lowest rank first, each from the left */
        const cm3__merge merge = bpe->merges.items[rank];
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            const bool join = i + 1 < count && ids[i] == merge.left && ids[i + 1] == merge.right;
            ids[kept++] = join ? merge.result : ids[i];
            i += join;
        }
        count = kept;
    }
    return count;
}

static void compare_with_plain(const fixture *f, const char *text, size_t length) {
    int32_t *expected = malloc(length * sizeof *expected + 1), *ids = malloc(length * sizeof *ids + 1);
    size_t wanted = 0, count, sizes[CM3_SPLIT_MAX];
    for (size_t pieces, at = 0; (pieces = cm3_split(text + at, length - at, sizes)) > 0;)
        for (size_t i = 0; i < pieces; at += sizes[i++])
            wanted += plain_piece(f->bpe, text + at, sizes[i], expected + wanted);
    for (int round = 0; round < 2; round++) { /* the second time from the table of pieces */
        assert_int_equal(cm3_bpe_encode(f->encoder, text, length, ids, length, &count), CM3_OK);
        assert_int_equal(count, wanted);
        assert_memory_equal(ids, expected, count * sizeof *ids);
    }
    free(ids);
    free(expected);
}

static size_t random_text(cm3_rng *rng, char *text, size_t capacity) {
    static const char *const parts[] = {"the",          " the",    " cat", "a",    "e",  "r",        " ",
                                        "ing",          "bicycle", "'s",   "=",    "==", "\xd0\xba", "\xd0\xbe",
                                        "\xe7\x8c\xab", "\xff",    "\n",   "2024", "un", "believ"};
    const size_t wanted = cm3_rng_below(rng, capacity);
    size_t size = 0;
    while (size < wanted) {
        const char *part = parts[cm3_rng_below(rng, sizeof parts / sizeof *parts)];
        const size_t length = strlen(part);
        if (size + length > capacity) break;
        memcpy(text + size, part, length);
        size += length;
    }
    return size;
}

static void ids_are_those_of_merging_rank_by_rank(void **state) {
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, 0, 0);
    char text[400];
    for (int i = 0; i < 1000; i++) compare_with_plain(*state, text, random_text(&rng, text, i % 10 ? 60 : sizeof text));
}

static void long_pieces_merge_like_short_ones(void **state) {
    cm3_rng rng = cm3_rng_stream(2, CM3_RNG_TEST, 0, 0);
    char text[3000];
    for (int i = 0; i < 60; i++) { /* letters only: one piece; lengths around the change of algorithm, and well above */
        const size_t length = i < 40 ? 45 + (size_t)i : cm3_rng_below(&rng, sizeof text) + 1;
        for (size_t k = 0; k < length; k++) text[k] = "theracingo"[cm3_rng_below(&rng, i % 3 == 0 ? 2 : 10)];
        compare_with_plain(*state, text, length);
    }
    memset(text, '=', sizeof text);
    compare_with_plain(*state, text, sizeof text);
}

/* --- promises ---------------------------------------------------------------------------------------------------- */

static void any_bytes_come_back(void **state) {
    const fixture *f = *state;
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, 0, 0);
    char text[300];
    assert_round_trip(f->bpe, f->encoder, text, 0);
    for (int i = 0; i < 5000; i++) {
        const size_t length = cm3_rng_below(&rng, sizeof text + 1);
        for (size_t k = 0; k < length; k++) text[k] = (char)cm3_rng_below(&rng, 256);
        assert_round_trip(f->bpe, f->encoder, text, length);
    }
    for (int i = 0; i < 65536; i++) {
        const char two[2] = {(char)(i >> 8), (char)i}; /* zero bytes too: "a" and "a\0" are different pieces */
        assert_round_trip(f->bpe, f->encoder, two, 2);
    }
}

static void a_megabyte_without_a_space_takes_no_quadratic_time(void **state) {
    const fixture *f = *state;
    const size_t length = 1 << 20;
    char *text = malloc(length);
    cm3_rng rng = cm3_rng_stream(4, CM3_RNG_TEST, 0, 0);
    for (size_t i = 0; i < length; i++) text[i] = "theracingo"[cm3_rng_below(&rng, 10)];
    assert_round_trip(f->bpe, f->encoder, text, length);
    free(text);
}

static void too_little_room_is_refused_and_nothing_is_written_past_it(void **state) {
    const fixture *f = *state;
    const char *text = "The cat watches the unbelievable bicycle, they're near.";
    int32_t all[64], some[64];
    size_t needed, count;
    assert_int_equal(cm3_bpe_encode(f->encoder, text, strlen(text), all, 64, &needed), CM3_OK);
    for (size_t capacity = 0; capacity <= needed; capacity++) {
        memset(some, 0x55, sizeof some);
        const cm3_status status = cm3_bpe_encode(f->encoder, text, strlen(text), some, capacity, &count);
        assert_int_equal(status, capacity < needed ? CM3_ERR_SHAPE : CM3_OK);
        for (size_t i = capacity; i < 64; i++) assert_int_equal(some[i], 0x55555555);
    }
    char back[128];
    size_t size;
    assert_int_equal(cm3_bpe_decode(f->bpe, all, needed, NULL, 0, &size), CM3_OK);
    assert_int_equal(size, strlen(text));
    memset(back, 'x', sizeof back);
    assert_int_equal(cm3_bpe_decode(f->bpe, all, needed, back, size - 1, &size), CM3_ERR_SHAPE);
    assert_int_equal(back[size - 1], 'x');
}

static void ids_that_stand_for_nothing_are_refused(void **state) {
    const fixture *f = *state;
    size_t size;
    char back[16];
    const int32_t bad[] = {-1, (int32_t)cm3_bpe_size(f->bpe), INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(cm3_bpe_decode(f->bpe, &bad[i], 1, back, sizeof back, &size), CM3_ERR_FORMAT);
    }
}

static void *encode_many(void *argument) {
    const cm3_bpe *bpe = argument;
    cm3_bpe_encoder *encoder;
    if (cm3_bpe_encoder_create(bpe, &encoder) != CM3_OK) return NULL;
    lines corpus = golden_lines("corpus.txt");
    int32_t ids[4096];
    uint64_t sum = 1;
    for (;;) {
        const char *text;
        size_t length, count;
        next_line(&corpus, &text, &length);
        if (!text || cm3_bpe_encode(encoder, text, length, ids, 4096, &count) != CM3_OK) break;
        for (size_t i = 0; i < count; i++) sum = sum * 31 + (uint64_t)ids[i];
    }
    lines_free(&corpus);
    cm3_bpe_encoder_free(encoder);
    uint64_t *result = malloc(sizeof *result);
    *result = sum;
    return result;
}

static void threads_share_a_tokenizer(void **state) {
    const fixture *f = *state;
    pthread_t threads[4];
    uint64_t *sums[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_many, f->bpe), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], (void **)&sums[i]);
    for (int i = 0; i < 4; i++) {
        assert_non_null(sums[i]);
        assert_true(*sums[i] == *sums[0]);
    }
    for (int i = 0; i < 4; i++) free(sums[i]);
}

/* --- training ---------------------------------------------------------------------------------------------------- */

typedef struct list {
    const char *const *texts;
    size_t count, at;
} list;

static cm3_status next_of_list(void *context, const char **text, size_t *length) {
    list *l = context;
    *text = l->at < l->count ? l->texts[l->at++] : NULL;
    if (*text) *length = strlen(*text);
    return CM3_OK;
}

static cm3_bpe *trained_on(const char *const *texts, size_t count, size_t vocab_size, uint64_t min_frequency) {
    list l = {texts, count, 0};
    cm3_bpe *bpe;
    assert_int_equal(cm3_bpe_train(next_of_list, &l, vocab_size, min_frequency, &bpe), CM3_OK);
    return bpe;
}

static void assert_token(const cm3_bpe *bpe, int32_t id, const char *expected) {
    size_t length;
    char bytes[64];
    assert_int_equal(cm3_bpe_decode(bpe, &id, 1, bytes, sizeof bytes, &length), CM3_OK);
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(bytes, expected, length);
}

static void the_most_frequent_pair_comes_first_and_ties_go_to_the_smaller_ids(void **state) {
    (void)state;
    /* ab 5, cd 4, ef 4 (equal: c < e), then nothing twice */
    const char *const texts[] = {"ab", "ab", "ab", "ab", "ab", "cd", "ef", "ef", "cd", "cd", "ef", "ef", "cd", "xy"};
    cm3_bpe *bpe = trained_on(texts, sizeof texts / sizeof *texts, 1000, 2);
    assert_int_equal(cm3_bpe_size(bpe), 259);
    assert_token(bpe, 256, "ab");
    assert_token(bpe, 257, "cd");
    assert_token(bpe, 258, "ef");
    assert_token(bpe, 0, "!");
    assert_token(bpe, 220, " "); /* GPT-2's place */
    cm3_bpe_free(bpe);
}

static void repeated_letters_are_counted_exactly(void **state) {
    (void)state;
    /* aaaaa: aa 4 times; merged from the left: aa aa a; then (aa, aa) and (aa, a) once each, the smaller right id first
     */
    const char *const texts[] = {"aaaaa"};
    cm3_bpe *bpe = trained_on(texts, 1, 1000, 1);
    assert_token(bpe, 256, "aa");
    assert_token(bpe, 257, "aaa");
    assert_token(bpe, 258, "aaaaa");
    assert_int_equal(cm3_bpe_size(bpe), 259);
    cm3_bpe_free(bpe);
}

/* Counts all pairs anew at every step. */
static void training_equals_counting_anew_at_every_step(void **state) {
    (void)state;
    cm3_rng rng = cm3_rng_stream(5, CM3_RNG_TEST, 0, 0);
    for (int round = 0; round < 60; round++) {
        enum { WORDS = 30, LETTERS = 24 };
        char texts[WORDS][LETTERS + 1];
        const char *pointers[WORDS];
        int32_t ids[WORDS][LETTERS];
        size_t lengths[WORDS];
        for (int w = 0; w < WORDS; w++) {
            lengths[w] = cm3_rng_below(&rng, LETTERS) + 1;
            for (size_t k = 0; k < lengths[w]; k++) texts[w][k] = "abcd"[cm3_rng_below(&rng, 2 + (uint64_t)round % 3)];
            texts[w][lengths[w]] = 0;
            pointers[w] = texts[w];
        }
        const uint64_t min_frequency = 1 + (uint64_t)round % 4;
        cm3_bpe *bpe = trained_on(pointers, WORDS, 400, min_frequency);
        for (int w = 0; w < WORDS; w++)
            for (size_t k = 0; k < lengths[w]; k++) ids[w][k] = bpe->byte_ids[(unsigned char)texts[w][k]];

        static uint64_t counts[400][400];
        for (size_t rank = 0;; rank++) {
            memset(counts, 0, sizeof counts);
            for (int w = 0; w < WORDS; w++)
                for (size_t k = 0; k + 1 < lengths[w]; k++) counts[ids[w][k]][ids[w][k + 1]]++;
            int32_t left = 0, right = 0;
            for (int32_t a = 0; a < 400; a++)
                for (int32_t b = 0; b < 400; b++)
                    if (counts[a][b] > counts[left][right]) left = a, right = b;
            if (rank == bpe->merges.count) {
                assert_true(cm3_bpe_size(bpe) == 400 || counts[left][right] < min_frequency);
                break;
            }
            const cm3__merge merge = bpe->merges.items[rank];
            assert_int_equal(merge.left, left);
            assert_int_equal(merge.right, right);
            for (int w = 0; w < WORDS; w++) {
                size_t kept = 0;
                for (size_t k = 0; k < lengths[w]; k++) {
                    const bool join = k + 1 < lengths[w] && ids[w][k] == left && ids[w][k + 1] == right;
                    ids[w][kept++] = join ? merge.result : ids[w][k];
                    k += join;
                }
                lengths[w] = kept;
            }
        }
        cm3_bpe_free(bpe);
    }
}

static void the_order_of_texts_does_not_matter(void **state) {
    const fixture *f = *state;
    lines corpus = golden_lines("corpus.txt");
    const char *texts[1000];
    size_t count = 0;
    for (char *line = strtok(corpus.text, "\n"); line; line = strtok(NULL, "\n")) texts[count++] = line;
    for (size_t i = 0; i < count / 2; i++) {
        const char *other = texts[i];
        texts[i] = texts[count - 1 - i];
        texts[count - 1 - i] = other;
    }
    cm3_bpe *bpe = trained_on(texts, count, 600, 2);
    assert_true(cm3_bpe_fingerprint(bpe) == cm3_bpe_fingerprint(f->bpe));
    cm3_bpe_free(bpe);
    bpe = trained_on(texts, count - 1, 600, 2);
    assert_true(cm3_bpe_fingerprint(bpe) != cm3_bpe_fingerprint(f->bpe));
    cm3_bpe_free(bpe);
    lines_free(&corpus);
}

static void an_empty_corpus_gives_the_bytes_alone(void **state) {
    (void)state;
    cm3_bpe *bpe = trained_on(NULL, 0, 1000, 2);
    assert_int_equal(cm3_bpe_size(bpe), 256);
    cm3_bpe_encoder *encoder;
    assert_int_equal(cm3_bpe_encoder_create(bpe, &encoder), CM3_OK);
    assert_round_trip(bpe, encoder, "anything", 8);
    cm3_bpe_encoder_free(encoder);
    cm3_bpe_free(bpe);
}

static cm3_status fails(void *context, const char **text, size_t *length) {
    (void)context, (void)text, (void)length;
    return cm3_fail(CM3_ERR_IO, "captions.jsonl:3: not UTF-8");
}

static void a_failing_source_ends_the_training_with_its_own_message(void **state) {
    (void)state;
    cm3_bpe *bpe;
    assert_int_equal(cm3_bpe_train(fails, NULL, 1000, 2, &bpe), CM3_ERR_IO);
    assert_null(bpe);
    assert_string_equal(cm3_message(), "captions.jsonl:3: not UTF-8");
    list none = {0};
    assert_int_equal(cm3_bpe_train(next_of_list, &none, 255, 2, &bpe), CM3_ERR_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_merging_rank_by_rank),
        cmocka_unit_test(long_pieces_merge_like_short_ones),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(a_megabyte_without_a_space_takes_no_quadratic_time),
        cmocka_unit_test(too_little_room_is_refused_and_nothing_is_written_past_it),
        cmocka_unit_test(ids_that_stand_for_nothing_are_refused),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(the_most_frequent_pair_comes_first_and_ties_go_to_the_smaller_ids),
        cmocka_unit_test(repeated_letters_are_counted_exactly),
        cmocka_unit_test(training_equals_counting_anew_at_every_step),
        cmocka_unit_test(the_order_of_texts_does_not_matter),
        cmocka_unit_test(an_empty_corpus_gives_the_bytes_alone),
        cmocka_unit_test(a_failing_source_ends_the_training_with_its_own_message),
    };
    return cmocka_run_group_tests(tests, start, end);
}
