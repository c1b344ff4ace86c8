/* UTF-8, strictly: no longer forms than needed, no halves of surrogate pairs, nothing above U+10FFFF. */
#ifndef CM3_CORE_UTF8_H
#define CM3_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at `text` (1 to 4) and its code point; 0 if it is not valid or cut short. */
int cm3_utf8_decode(const char *text, size_t length, uint32_t *code);

/* The same for text that may not be UTF-8: a byte at which no character starts counts as one of its own, with the value
 * CM3_UTF8_INVALID, so that a scan always advances and never loses a byte. `length` is above 0; returns 1 to 4. */
#define CM3_UTF8_INVALID UINT32_MAX
static inline size_t cm3_utf8_next(const char *text, size_t length, uint32_t *code) {
    const int bytes = cm3_utf8_decode(text, length, code);
    if (bytes > 0) return (size_t)bytes;
    *code = CM3_UTF8_INVALID;
    return 1;
}

/* Writes the UTF-8 form of a code point up to U+10FFFF; returns its bytes, 1 to 4. */
size_t cm3_utf8_write(uint32_t code, char bytes[4]);

/* Whether all of `text` is valid; otherwise *bad (may be NULL) is the offset of the first byte that is not. */
bool cm3_utf8_is_valid(const char *text, size_t length, size_t *bad);

#endif
