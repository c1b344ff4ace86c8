/* The hand-written scanner against PCRE2 running the pattern itself. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/rng.h"
#include "data/text/split.h"
#include "core/utf8.h"

#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <cmocka.h>

/* White_Space spelt out: PCRE2's \s also takes U+180E, which Unicode 6.3 made a format character. */
#define SPACES "\\t-\\r\\x{85}\\p{Z}"
static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES "\\p{L}\\p{N}]+|[" SPACES
                              "]+(?![^" SPACES "])|[" SPACES "]+";

typedef struct oracle {
    pcre2_code *code;     /* the pattern */
    pcre2_code *assigned; /* a character that PCRE2's Unicode version has */
    pcre2_match_data *match;
} oracle;

static pcre2_code *compile(const char *text) {
    int error;
    PCRE2_SIZE offset;
    return pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, NULL);
}

static int start(void **state) {
    static oracle o;
    o.code = compile(pattern);
    o.assigned = compile("\\P{Cn}");
    if (!o.code || !o.assigned) return -1;
    o.match = pcre2_match_data_create_from_pattern(o.code, NULL);
    *state = &o;
    return 0;
}

static int end(void **state) {
    oracle *o = *state;
    pcre2_match_data_free(o->match);
    pcre2_code_free(o->assigned);
    pcre2_code_free(o->code);
    return 0;
}

/* PCRE2 takes no invalid bytes: the oracle sees U+FFFD, an other character too, in the place of each, and source[]
 * tells where every byte of its text came from. */
static void compare(const oracle *o, const char *text, size_t length) {
    char *clean = malloc(3 * length + 1);
    size_t *source = malloc((3 * length + 1) * sizeof *source);
    size_t size = 0;
    for (size_t i = 0; i < length;) {
        uint32_t code_point;
        const size_t bytes = cm3_utf8_next(text + i, length - i, &code_point);
        const size_t wide = cm3_utf8_write(code_point == CM3_UTF8_INVALID ? 0xfffd : code_point, clean + size);
        for (size_t k = 0; k < wide; k++) source[size + k] = i;
        size += wide;
        i += bytes;
    }
    source[size] = length;

    char *exact = malloc(length ? length : 1); /* the address sanitizer sees a read past it */
    memcpy(exact, text, length);
    size_t sizes[CM3_SPLIT_MAX], pieces = 0, taken = 0, at = 0;
    for (size_t oracle_at = 0; oracle_at < size;) {
        const int rc = pcre2_match(o->code, (PCRE2_SPTR)clean, size, oracle_at, PCRE2_NO_UTF_CHECK, o->match, NULL);
        assert_true(rc > 0);
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(o->match);
        assert_int_equal(found[0], oracle_at);
        oracle_at = found[1];
        if (taken == pieces) {
            pieces = cm3_split(exact + at, length - at, sizes);
            taken = 0;
            assert_in_range(pieces, 1, CM3_SPLIT_MAX);
        }
        at += sizes[taken++];
        if (at != source[oracle_at]) fail_msg("'%.*s': cut at %zu, not %zu", (int)length, text, at, source[oracle_at]);
    }
    assert_int_equal(at, length);
    assert_int_equal(taken, pieces);
    assert_int_equal(cm3_split(exact + at, 0, sizes), 0);
    free(exact);
    free(source);
    free(clean);
}

static void known_texts_are_cut_as_the_pattern_says(void **state) {
    static const char *const texts[] = {
        "Hello world",
        "it's we're they've I'm he'll she'd don't 'Tis 'S",
        "a's b't''s'",
        " 's",
        "x  y",
        "x \n y",
        " \n\n  y ",
        "  ",
        "a ",
        "tab\there",
        "3.14 and 42nd",
        "caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd",
        "\xc2\xa0x",
        " \xc2\xa0x",
        "\xc2\x85\xe2\x80\xa8z",
        "'l",
        "'r",
        "'",
        "'re",
        "'ver",
        "'lla",
        "!!'s",
        "foo_bar(baz);",
        "\xe1\xa0\x8e x",
        "ab\xff\xfe cd \xff",
        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80 ok",
        "averyverylongwordthatneedsseveralstepsofeight x",
        "sevenle eightlet",
        "eightletX\xc3\xa9"
        "eightlet1",
        "\xc2\xb2\xe2\x85\xa7 \xd9\xa1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) compare(*state, texts[i], strlen(texts[i]));
}

/* A character that only the newer of two Unicode versions has is judged differently for good reason. */
static bool both_know(const oracle *o, uint32_t code_point) {
    char bytes[4];
    const size_t count = cm3_utf8_write(code_point, bytes);
    return utf8proc_category((utf8proc_int32_t)code_point) != UTF8PROC_CATEGORY_CN &&
           pcre2_match(o->assigned, (PCRE2_SPTR)bytes, count, 0, PCRE2_NO_UTF_CHECK, o->match, NULL) > 0;
}

static void every_code_point_is_of_the_class_of_the_pattern(void **state) {
    for (uint32_t code_point = 0; code_point <= 0x10ffff; code_point++) {
        if (code_point >= 0xd800 && code_point <= 0xdfff) continue;
        if (!both_know(*state, code_point)) continue;
        char text[16];
        size_t size = 0;
        text[size++] = 'a'; /* a letter, a digit, a dash and a space around it tell the four classes apart */
        size += cm3_utf8_write(code_point, text + size);
        text[size++] = '1';
        size += cm3_utf8_write(code_point, text + size);
        text[size++] = '-';
        text[size++] = ' ';
        size += cm3_utf8_write(code_point, text + size);
        compare(*state, text, size);
    }
}

static void random_texts_are_cut_as_the_pattern_says(void **state) {
    static const char *const parts[] = {
        "a",
        "word",
        "Z",
        "7",
        "2024",
        " ",
        "  ",
        "\n",
        "\t",
        "'",
        "'s",
        "'ll",
        "'re",
        "'d",
        ".",
        "--",
        "_",
        "\xc3\xa9",
        "\xd0\x96",
        "\xe4\xb8\xad",
        "\xf0\x9f\x98\x80",
        "\xc2\xa0",
        "\xe3\x80\x80",
        "\xc2\x85",
        "\xe2\x80\xa9",
        "\xcc\x81",
        "\xe0\xa5\xa7",
        "\xff",
        "\x80",
        "\xe4\xb8",
        "\xf0\x9f",
        "\xc0\xaf",
        "\xed\xa0\x80",
        "abcdefgh",
        "abcdefghabcdefg",
    };
    cm3_rng rng = cm3_rng_stream(7, CM3_RNG_TEST, 0, 0);
    for (int round = 0; round < 20000; round++) {
        char text[1024];
        size_t size = 0;
        const size_t wanted = cm3_rng_below(&rng, round % 4 ? 24 : 60);
        for (size_t k = 0; k < wanted; k++) {
            if (cm3_rng_below(&rng, 8) == 0) {
                size += cm3_utf8_write(cm3_rng_below(&rng, 2) ? 0x80 + (uint32_t)cm3_rng_below(&rng, 0xc00)
                                                              : 0x3000 + (uint32_t)cm3_rng_below(&rng, 0x6000),
                                       text + size);
                continue;
            }
            const char *part = parts[cm3_rng_below(&rng, sizeof parts / sizeof *parts)];
            memcpy(text + size, part, strlen(part));
            size += strlen(part);
        }
        compare(*state, text, size);
    }
}

static void random_bytes_are_cut_as_the_pattern_says(void **state) {
    cm3_rng rng = cm3_rng_stream(8, CM3_RNG_TEST, 0, 0);
    for (int round = 0; round < 20000; round++) {
        char text[64];
        const size_t size = cm3_rng_below(&rng, sizeof text + 1);
        for (size_t k = 0; k < size; k++) text[k] = (char)cm3_rng_below(&rng, 256);
        compare(*state, text, size);
    }
}

/* Texts of exactly the sizes around which the scanner looks at 64 characters at once, in all ways that three characters
 * of each kind can end them. */
static void the_edges_of_a_window_are_cut_as_the_pattern_says(void **state) {
    static const char kinds[] = "a7. \n's";
    enum { KINDS = sizeof kinds - 1 };
    char text[80];
    for (size_t size = 60; size <= 70; size++)
        for (int ending = 0; ending < KINDS * KINDS * KINDS * KINDS; ending++) {
            memset(text, "a ."[ending % 3], sizeof text);
            for (size_t k = 0, left = (size_t)ending; k < 4; k++, left /= KINDS)
                text[size - 1 - k] = kinds[left % KINDS];
            compare(*state, text, size);
            compare(*state, text, 70); /* the same with more behind */
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts_are_cut_as_the_pattern_says),
        cmocka_unit_test(every_code_point_is_of_the_class_of_the_pattern),
        cmocka_unit_test(random_texts_are_cut_as_the_pattern_says),
        cmocka_unit_test(the_edges_of_a_window_are_cut_as_the_pattern_says),
        cmocka_unit_test(random_bytes_are_cut_as_the_pattern_says),
    };
    return cmocka_run_group_tests(tests, start, end);
}
