/* Documents: an ordered list of segments, each text or image. Everything the model reads or writes is one: a training
 * pair, a retrieved neighbour, an editing example, a prompt and its answer.
 *
 *     sample := <eos> segment <break> segment <break> ... segment <eos>
 *
 * A pair is [text, image]; several pairs in one document are joined by <break> like any other segments.
 *
 * A *blank* is a segment without tokens: what the model is to fill. It makes every prompt of the paper one rule:
 *
 *   [text, blank image]              <eos> TEXT <break>                              then the image's tokens
 *   [pairs ..., text, blank image]   <eos> pair <break> ... TEXT <break>             the same with retrieved pairs
 *   [blank text, blank image]        <eos> <sentinel:0> <break>                      guidance's unconditional stream
 *   [pairs ..., blank image]         <eos> pair <break> ... pair <break>             the same, documents kept
 *   [blank text, image]              <eos> <sentinel:0> <break> IMAGE <eos> <sentinel:0>   then a caption, until <eoss>
 *
 * A last segment that is blank is simply not there yet: the model goes on after its <break>. Any other blank is a
 * sentinel; if the last segment is not blank, the document is closed, and the first blank is asked for by naming its
 * sentinel again, as the CM3 objective writes it.
 *
 * Segments hold numbers of the tokenizers, not ids: see vocab.h. */
#ifndef CM3_DATA_DOCUMENT_H
#define CM3_DATA_DOCUMENT_H

#include "data/vocab.h"

#include <stddef.h>
#include <stdio.h>

typedef enum cm3_modality { CM3_MODALITY_TEXT, CM3_MODALITY_IMAGE } cm3_modality;

typedef struct cm3_segment {
    cm3_modality modality;
    int32_t *numbers; /* text tokens or image codes, each from 0; owned */
    size_t count;     /* 0: a blank */
} cm3_segment;

/* A zeroed struct is an empty document. */
typedef struct cm3_document {
    cm3_segment *segments;
    size_t count, capacity;
} cm3_document;

/* Appends a copy; `count` 0 appends a blank. */
cm3_status cm3_document_add(cm3_document *document, cm3_modality modality, const int32_t *numbers, size_t count);
bool cm3_document_equal(const cm3_document *a, const cm3_document *b);
void cm3_document_free(cm3_document *document); /* leaves an empty document */

/* A list of ids that grows. A zeroed struct is empty. */
typedef struct cm3_tokens {
    int32_t *ids;
    size_t count, capacity;
} cm3_tokens;

cm3_status cm3_tokens_add(cm3_tokens *tokens, const int32_t *ids, size_t count);
void cm3_tokens_free(cm3_tokens *tokens);

/* Appends the document as a sample, <eos> to <eos>. CM3_ERR_FORMAT for a number outside the vocabulary. A blank becomes
 * the sentinel of its rank among the blanks. */
cm3_status cm3_document_render(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *tokens);
/* Appends the document as a prompt, by the rule above. CM3_ERR_USAGE if it holds no blank. */
cm3_status cm3_document_prompt(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *tokens);

/* Appends the source of masked tokens: each infill `<sentinel:i> span <eoss>` goes back to where <sentinel:i> stands.
 * An infill without its <eoss>, cut by the end, is put back as far as it goes; a sentinel without infill stays; an
 * infill without a place is left out. Ids are not otherwise changed, so anything may be given. */
cm3_status cm3_tokens_unmask(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_tokens *source);

/* Reads the next document of `ids`, from *at on, and moves *at behind it; an empty document when there are no more.
 * Tolerant: a sample may lack its beginning or its end, a segment that holds text and image codes becomes two, a
 * sentinel becomes a blank text, ids that mean nothing are left out. Masked tokens are unmasked first with
 * cm3_tokens_unmask. */
cm3_status cm3_document_next(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t *at,
                             cm3_document *document);
/* Unmasks, and reads the first document: what a prompt and the model's answer to it say together. */
cm3_status cm3_document_parse(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_document *document);

/* Turns text tokens (numbers) into UTF-8. `*text` is malloc'ed, `*length` bytes, and freed by the caller. */
typedef cm3_status (*cm3_text_decoder)(void *context, const int32_t *numbers, size_t count, char **text,
                                       size_t *length);

/* Prints text in quotes on one line, whatever it holds. */
void cm3_text_print(FILE *file, const char *text, size_t length);

/* Prints ids for a person: text as text, images as [image 64 codes], everything else by name, one line a document or
 * infill. Without a decoder text is printed as [text 9 tokens]. */
cm3_status cm3_tokens_print(FILE *file, const cm3_vocab *vocab, const int32_t *ids, size_t count,
                            cm3_text_decoder decoder, void *context);

#endif
