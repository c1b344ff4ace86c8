/* Byte-level BPE: text to token ids and back, as GPT-2 and RoBERTa do it, and training of such a tokenizer.
 *
 * Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) starts from small symbols and joins, again and again, the
 * neighbouring pair that training saw most often. Here the first symbols are the 256 bytes (Radford et al. 2019), so
 * every byte string has a token sequence, well-formed UTF-8 or not, and decode(encode(x)) == x for all of them.
 *
 * How it works. A text is first cut into pieces, roughly words with their leading space (data/text/split.h), and no
 * token crosses a cut. A piece starts as its bytes; while any neighbouring pair has a merge, the pair of lowest rank
 * (learnt first), leftmost among equals, becomes one token. Text repeats its words, so an encoder keeps a table of the
 * pieces it has met, two to a cache line: it cuts some 64 characters into pieces, fetches their lines ahead, and for a
 * piece that is there one comparison gives its ids. A missed piece that is itself a token is found in a table of the
 * whole vocabulary; only the rest is merged step by step. Nothing is allocated for a piece.
 *
 * A cm3_bpe never changes once made: any number of threads may share it. Each thread has its own cm3_bpe_encoder.
 *
 * Ids are the tokenizer's own, 0 .. size-1. data/vocab.h gives them their place among the ids of a model. */
#ifndef CM3_DATA_TEXT_BPE_H
#define CM3_DATA_TEXT_BPE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No tokenizer has more ids than this. */
#define CM3_BPE_MAX_SIZE (1 << 20)

typedef struct cm3_bpe cm3_bpe;
typedef struct cm3_bpe_encoder cm3_bpe_encoder;

/* --- training ---------------------------------------------------------------------------------------------------- */

/* Gives the next text of a corpus, or *text = NULL after the last. The bytes must stay valid until the next call. A
 * failure ends the training and is handed to its caller. */
typedef cm3_status (*cm3_text_next)(void *context, const char **text, size_t *length);

/* Learns a tokenizer of at most `vocab_size` tokens (>= 256: the bytes come first, in GPT-2's order). Each step joins
 * the pair that is seen most often, at least `min_frequency` times; of equally frequent pairs, the one whose left id,
 * then right id, is smallest. The result depends on nothing but the texts, not on their order. A corpus that runs out
 * of pairs gives fewer tokens: ask cm3_bpe_size. */
cm3_status cm3_bpe_train(cm3_text_next next, void *context, size_t vocab_size, uint64_t min_frequency, cm3_bpe **out);

/* --- files ------------------------------------------------------------------------------------------------------- */

/* Reads or writes a Hugging Face tokenizer.json: a BPE model under a ByteLevel pre-tokenizer with GPT-2's pattern and
 * no prefix space. Ids are those that `tokenizers` gives with add_special_tokens=False and encode_special_tokens=True:
 * special tokens keep their ids and their text, but encoding does not look for them, and a caption that spells "</s>"
 * is plain text. Any other kind of tokenizer is refused with CM3_ERR_UNSUPPORTED, a damaged file with CM3_ERR_FORMAT;
 * the message names the field. Truncation, padding, post-processor and decoder are not read: they belong to batches,
 * not to the tokenizer. Saving replaces the file as a whole or not at all. */
cm3_status cm3_bpe_load(const char *path, cm3_bpe **out);
cm3_status cm3_bpe_save(const cm3_bpe *bpe, const char *path);

/* The same from memory; `name` stands for the file in messages. */
cm3_status cm3_bpe_parse(const char *json, size_t length, const char *name, cm3_bpe **out);

/* --- the tokenizer ----------------------------------------------------------------------------------------------- */

void cm3_bpe_free(cm3_bpe *bpe);

/* Number of ids. A file may leave gaps: ids below the size that stand for nothing. */
size_t cm3_bpe_size(const cm3_bpe *bpe);

/* A hash of all tokens and merges: equal for tokenizers that encode alike, on every machine. */
uint64_t cm3_bpe_fingerprint(const cm3_bpe *bpe);

/* --- encoding and decoding --------------------------------------------------------------------------------------- */

/* An encoder borrows the tokenizer, which must outlive it, and holds about 4 MiB of remembered pieces. For one thread.
 */
cm3_status cm3_bpe_encoder_create(const cm3_bpe *bpe, cm3_bpe_encoder **out);
void cm3_bpe_encoder_free(cm3_bpe_encoder *encoder);

/* Writes the ids of `text` and their number. A capacity of `length` is always enough; if `capacity` is too small
 * nothing useful is written, and the call fails with CM3_ERR_SHAPE. */
cm3_status cm3_bpe_encode(cm3_bpe_encoder *encoder, const char *text, size_t length, int32_t *ids, size_t capacity,
                          size_t *count);

/* Writes the bytes of `ids`, special tokens as their text, without a terminator, and their number *length. With
 * capacity 0 (text may be NULL) it only counts. CM3_ERR_SHAPE if they do not fit, CM3_ERR_FORMAT for an id that stands
 * for nothing. */
cm3_status cm3_bpe_decode(const cm3_bpe *bpe, const int32_t *ids, size_t count, char *text, size_t capacity,
                          size_t *length);

#endif
