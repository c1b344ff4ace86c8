/* UTF-8, strictly: no longer forms than needed, no halves of surrogate pairs, nothing above U+10FFFF. */
#ifndef CM3_CORE_UTF8_H
#define CM3_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at `text` (1 to 4) and its code point; 0 if it is not valid or cut short. */
int cm3_utf8_decode(const char *text, size_t length, uint32_t *code);

bool cm3_utf8_is_valid(const char *text, size_t length);

#endif
