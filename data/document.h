/* Documents: an ordered list of segments, each text or image. Everything the model reads or writes is one: a training
 * pair, a retrieved neighbour, an editing example, a prompt and its answer.
 *
 *     sample := <eos> segment <break> segment <break> ... segment <eos>
 *
 * A pair is [text, image]; several pairs in one document are joined by <break> like any other segments. Rendered, n
 * segments have the tokens of all of them and n + 1 boundaries: one before each segment, one at the end.
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
 * Segments hold token ids of the tokenizers (a text token or an image code, each from 0), rendered documents hold ids
 * of the model's vocabulary: see vocab.h. */
#ifndef CM3_DATA_DOCUMENT_H
#define CM3_DATA_DOCUMENT_H

#include "core/list.h"
#include "core/range.h"
#include "data/vocab.h"

#include <stdio.h>

typedef enum cm3_modality { CM3_MODALITY_TEXT, CM3_MODALITY_IMAGE } cm3_modality;

/* Ids of either kind. */
typedef CM3_LIST(int32_t) cm3_tokens;

typedef struct cm3_segment {
    cm3_modality modality;
    int32_t rows, columns; /* grid of an image's codes; 0 of text, and of an image whose grid is not known */
    size_t count;          /* token ids; 0: a blank */
    size_t begin;          /* of them in the document's token_ids; CM3_SEGMENT_ABSENT: only their number is known */
} cm3_segment;

#define CM3_SEGMENT_ABSENT SIZE_MAX

/* A zeroed struct is an empty document. */
typedef struct cm3_document {
    CM3_LIST(cm3_segment) segments;
    cm3_tokens token_ids; /* of all segments */
} cm3_document;

/* Append a copy; `count` 0 appends a blank. */
cm3_status cm3_document_add_text(cm3_document *document, const int32_t *token_ids, size_t count);
/* `rows` x `columns` codes. */
cm3_status cm3_document_add_image(cm3_document *document, const int32_t *codes, int32_t rows, int32_t columns);
void cm3_document_clear(cm3_document *document); /* leaves an empty document that keeps its memory */
void cm3_document_free(cm3_document *document);  /* leaves an empty document */

static inline const int32_t *cm3_segment_ids(const cm3_document *document, const cm3_segment *segment) {
    return document->token_ids.items + segment->begin;
}

/* --- rendering --------------------------------------------------------------------------------------------------- */

/* Tokens of the rendered document. */
int64_t cm3_document_size(const cm3_document *document);

/* Writes the tokens [begin, end) of the rendered document, by number of ids. Segments that lie outside may be absent;
 * a blank becomes the sentinel of its rank among the blanks. CM3_ERR_FORMAT for a token id outside the vocabulary or
 * more blanks than sentinels. */
cm3_status cm3_document_render_range(const cm3_document *document, const cm3_vocab *vocab, cm3_range range,
                                     int32_t *ids);
/* Appends all of it, <eos> to <eos>. */
cm3_status cm3_document_render(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *ids);
/* Appends the document as a prompt, by the rule above. CM3_ERR_USAGE if it holds no blank. */
cm3_status cm3_document_prompt(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *ids);

/* --- printing ---------------------------------------------------------------------------------------------------- */

/* Turns text tokens into UTF-8. `*text` is malloc'ed, `*length` bytes, and freed by the caller. */
typedef struct cm3_text_decoder {
    cm3_status (*decode)(void *context, const int32_t *token_ids, size_t count, char **text, size_t *length);
    void *context;
} cm3_text_decoder;

/* Prints text in quotes on one line, whatever it holds. */
void cm3_text_print(FILE *file, const char *text, size_t length);

/* Prints ids for a person: text as text, images as [image 64 codes], everything else by name, one line a document or
 * infill. Without a decoder (NULL) text is printed as [text 9 tokens]. */
cm3_status cm3_tokens_print(FILE *file, const cm3_vocab *vocab, const int32_t *ids, size_t count,
                            const cm3_text_decoder *decoder);

#endif
