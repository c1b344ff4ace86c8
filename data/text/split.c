#include "data/text/split.h"
#include "data/text/utf8.h"

#include <endian.h>
#include <string.h>
#include <utf8proc.h>

typedef enum char_class { OTHER, LETTER, NUMBER, SPACE, NOT_ASCII } char_class;

/* clang-format off */
static const uint8_t ascii_class[256] = {
    ['\t' ... '\r'] = SPACE, [' '] = SPACE, ['0' ... '9'] = NUMBER,
    ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER, [0x80 ... 0xff] = NOT_ASCII,
};
/* clang-format on */

static char_class unicode_class(uint32_t code_point) {
    if (code_point == CM3_UTF8_INVALID) return OTHER;
    switch (utf8proc_category((utf8proc_int32_t)code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return SPACE;
    default:
        return code_point == 0x85 ? SPACE : OTHER; /* the one space of category Cc beyond ASCII */
    }
}

/* The class of the character at `text` (length > 0) and its size. */
static char_class class_at(const char *text, size_t length, size_t *bytes) {
    const char_class class = ascii_class[(unsigned char)*text];
    *bytes = 1;
    if (class != NOT_ASCII) return class;
    uint32_t code_point;
    *bytes = cm3_utf8_next(text, length, &code_point);
    return unicode_class(code_point);
}

/* How many of the next bytes are ASCII letters, eight at a time: words are short, and a loop over bytes would end in a
 * mispredicted branch for nearly every one of them. */
static size_t ascii_letters(const char *text, size_t length) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x80 * ones;
    size_t i = 0;
    for (; length - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, 8);
        word = le64toh(word);
        const uint64_t folded = (word | 0x20 * ones) & ~tops;     /* upper case becomes lower case */
        const uint64_t from_a = folded + (0x80 - 'a') * ones;     /* top bit: >= 'a' */
        const uint64_t past_z = folded + (0x80 - 'z' - 1) * ones; /* top bit: > 'z' */
        const uint64_t others = (~(from_a & ~past_z) | word) & tops;
        if (others) return i + (size_t)__builtin_ctzll(others) / 8;
    }
    while (i < length && ascii_class[(unsigned char)text[i]] == LETTER) i++;
    return i;
}

/* The end of the run of characters of `class` that is known to reach to `from`. */
static size_t run_end(const char *text, size_t length, size_t from, char_class class) {
    while (from < length) {
        if (class == LETTER) from += ascii_letters(text + from, length - from);
        size_t bytes;
        if (from == length || class_at(text + from, length - from, &bytes) != class) break;
        from += bytes;
    }
    return from;
}

/* White space: all of it at the end of the text, otherwise all but its last character, but at least one. */
static size_t space_run(const char *text, size_t length) {
    size_t end = 0, last = 0, bytes;
    while (end < length && class_at(text + end, length - end, &bytes) == SPACE) {
        last = end;
        end += bytes;
    }
    return end == length || last == 0 ? end : last;
}

/* The bytes of an English ending ('s 't 're 've 'm 'll 'd) at the apostrophe that starts `text`, or 0. */
static size_t ending(const char *text, size_t length) {
    if (length < 2) return 0;
    switch (text[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return 2;
    case 'r':
    case 'v':
        return length > 2 && text[2] == 'e' ? 3 : 0;
    case 'l':
        return length > 2 && text[2] == 'l' ? 3 : 0;
    default:
        return 0;
    }
}

size_t cm3_split_next(const char *text, size_t length) {
    if (length == 0) return 0;
    if (*text == '\'') {
        const size_t bytes = ending(text, length);
        if (bytes) return bytes;
    }
    const size_t before = *text == ' ' && length > 1;
    size_t bytes;
    const char_class class = class_at(text + before, length - before, &bytes);
    if (class == SPACE) return space_run(text, length);
    return run_end(text, length, before + bytes, class);
}
