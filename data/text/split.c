#include "data/text/split.h"
#include "core/utf8.h"

#include <endian.h>
#include <stdbool.h>
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

/* The end of the run of characters of `class` that is known to reach to `from`. */
static size_t run_end(const char *text, size_t length, size_t from, char_class class) {
    size_t bytes;
    while (from < length && class_at(text + from, length - from, &bytes) == class) from += bytes;
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

static size_t first_piece(const char *text, size_t length) {
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

/* --- many pieces at once: ASCII text, 64 characters at a time, one bit for each ---------------------------------- */

#define EACH(byte) ((byte)*0x0101010101010101u)

/* Which bytes of a 64-byte window are of which kind; bit i is byte i. */
typedef struct window {
    uint64_t letters, numbers, spaces, blanks, quotes, foreign; /* blanks: U+0020 alone; foreign: not ASCII */
} window;

/* The top bits of the eight bytes of a word as one byte. */
static inline uint64_t gather(uint64_t tops) {
    return (tops & EACH(0x80)) * 0x0002040810204081u >> 56;
}

/* A top bit for each byte of `low` (all below 0x80) in first .. last. */
static inline uint64_t in_range(uint64_t low, uint64_t first, uint64_t last) {
    return (low + EACH(0x80 - first)) & ~(low + EACH(0x7f - last));
}

static window look(const char *text) {
    window w = {0};
    for (int i = 0; i < 64; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, 8);
        word = le64toh(word);
        const uint64_t low = word & EACH(0x7f), ascii = ~word;
        const uint64_t blank = in_range(low, ' ', ' ') & ascii;
        w.letters |= gather(in_range(low | EACH(0x20), 'a', 'z') & ascii) << i;
        w.numbers |= gather(in_range(low, '0', '9') & ascii) << i;
        w.spaces |= gather((in_range(low, '\t', '\r') & ascii) | blank) << i;
        w.blanks |= gather(blank) << i;
        w.quotes |= gather(in_range(low, '\'', '\'') & ascii) << i;
        w.foreign |= gather(word) << i;
    }
    return w;
}

/* The bits where a piece starts, if bit 0 is one and no ending ('s ...) is among them. A character starts a piece where
 * its class differs from that of the one before, but a blank stays with what follows, so that a word after a blank
 * starts one earlier, at the last character of its white space. */
static inline uint64_t starts_of(const window *w) {
    const uint64_t others = ~(w->letters | w->numbers | w->spaces);
    const uint64_t changes =
        (w->letters & ~(w->letters << 1)) | (w->numbers & ~(w->numbers << 1)) | (others & ~(others << 1));
    const uint64_t next_is_space = w->spaces >> 1 | (uint64_t)1 << 63; /* nothing after the window starts a word */
    return (changes & ~(w->blanks << 1)) | (w->spaces & ~(w->spaces << 1)) | (w->spaces & ~next_is_space);
}

static inline uint64_t below(size_t bit) {
    return bit < 64 ? ((uint64_t)1 << bit) - 1 : UINT64_MAX;
}

/* Puts the endings into `starts`; *sure is lowered to an apostrophe whose ending may be out of sight. */
static uint64_t with_endings(const char *text, const window *w, uint64_t starts, size_t seen, bool at_end,
                             size_t *sure) {
    for (size_t next = 0;;) {
        const uint64_t quotes = w->quotes & starts & ~below(next);
        const size_t i = quotes ? (size_t)__builtin_ctzll(quotes) : 64;
        if (i >= *sure) return starts;
        if (!at_end && i + 3 > seen) {
            *sure = i;
            return starts;
        }
        next = i + 1;
        const size_t bytes = ending(text + i, seen - i);
        if (bytes == 0) continue;
        starts &= ~(below(i + bytes) & ~below(next));
        if (i + bytes < 64) starts |= (uint64_t)1 << (i + bytes);
    }
}

static size_t one_piece(const char *text, size_t length, size_t *sizes) {
    *sizes = first_piece(text, length);
    return 1;
}

size_t cm3_split(const char *text, size_t length, size_t sizes[CM3_SPLIT_MAX]) {
    if (length == 0) return 0;
    /* A word of another script: no use to look further. (A character in front of it may be its space.) */
    if (ascii_class[(unsigned char)text[length > 1]] == NOT_ASCII) return one_piece(text, length, sizes);

    /* Behind the end of the text is as if there were more white space: the last white space is one piece. */
    char tail[64];
    if (length < sizeof tail) {
        memset(tail, ' ', sizeof tail);
        memcpy(tail, text, length);
    }
    const window w = look(length < sizeof tail ? tail : text);
    const size_t ascii = w.foreign ? (size_t)__builtin_ctzll(w.foreign) : 64;
    const bool at_end = length <= ascii;
    const size_t seen = at_end ? length : ascii; /* characters of known class */
    if (seen == 0) return one_piece(text, length, sizes);

    size_t sure = at_end ? seen : seen - 1; /* starts below are known; that at a space depends on what follows it */
    uint64_t starts = starts_of(&w);
    if (w.quotes) starts = with_endings(text, &w, starts, seen, at_end, &sure);
    starts &= below(sure) & ~(uint64_t)1;

    size_t count = 0, from = 0;
    for (; starts; starts &= starts - 1) {
        const size_t start = (size_t)__builtin_ctzll(starts);
        sizes[count++] = start - from;
        from = start;
    }
    if (at_end) sizes[count++] = length - from;
    return count ? count : one_piece(text, length, sizes);
}
