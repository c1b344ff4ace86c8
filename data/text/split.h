/* Cutting a text into pieces, GPT-2's way: the first match, again and again, of
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * so a piece is an English ending, or letters, or numbers, or other characters, each with at most one space before it,
 * or white space; of white space before a word, the last character stays for the word. Every character is in one of
 * four classes: letter (general category L), number (N), space (White_Space) or other; they follow the Unicode version
 * of utf8proc. A byte that is not UTF-8 is an other character. The pieces put together are the text. */
#ifndef CM3_DATA_TEXT_SPLIT_H
#define CM3_DATA_TEXT_SPLIT_H

#include <stddef.h>

/* The number of bytes of the first piece of `text`; 0 only if length is 0. The rest may be cut by calling it again. */
size_t cm3_split_next(const char *text, size_t length);

#endif
