/* UTF-8, one character at a time, in text that may not be UTF-8.
 *
 * A byte at which no valid sequence starts (core/utf8.h) counts as a character of its own with the value
 * CM3_UTF8_INVALID, so that a scan always advances and never loses a byte. */
#ifndef CM3_DATA_TEXT_UTF8_H
#define CM3_DATA_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CM3_UTF8_INVALID UINT32_MAX

/* The character at the start of `text` (length > 0): returns its bytes, 1 to 4, and sets its value. */
size_t cm3_utf8_next(const char *text, size_t length, uint32_t *code_point);

/* Writes the UTF-8 form of a code point up to U+10FFFF; returns its bytes, 1 to 4. */
size_t cm3_utf8_write(uint32_t code_point, char bytes[4]);

/* True if all of `text` is well-formed UTF-8; otherwise *bad_offset (may be NULL) is the first byte that is not.
 * Sources use it to name the caption that a person has to repair. */
bool cm3_text_is_utf8(const char *text, size_t length, size_t *bad_offset);

#endif
