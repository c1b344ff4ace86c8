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

#define CM3_SPLIT_MAX 64

/* Gives the sizes in bytes of the first pieces of `text`, at least one, and returns their number; 0 only if length is
 * 0. Go on with the text behind them: a cut never depends on what is before it. */
size_t cm3_split(const char *text, size_t length, size_t sizes[CM3_SPLIT_MAX]);

#endif
