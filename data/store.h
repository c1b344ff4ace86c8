/* The token store: documents as token ids of the tokenizers, in one HDF5 file that any HDF5 tool reads.
 *
 *     /sample        (N+1, 3) u64   where sample i begins: in /segment, in /text, in /code; row N is the end of all
 *     /segment       (M, 2)   u32   of an image: rows, columns of its grid of codes; of a text: 0, its tokens
 *     /text          (T)      u8, u16 or u32      tokens of all texts, one after another
 *     /code          (C)      u8, u16 or u32      codes of all images, each in raster order, one after another
 *     /split         (N)      u8    0 training, 1 validation
 *     /string        (N+1, 3) u64   where sample i's bytes begin: in /name, in /caption, in /origin
 *     /name, /caption, /origin      u8, UTF-8, one after another: a name unique in the source, the caption that was
 *                                   tokenized, where the sample comes from
 *     attributes of /: format, version, content (hash of all token ids and splits), vocabulary, samples, validation,
 *     images, text_vocabulary, image_codebook, and one for each member of cm3_store_inputs
 *
 * Reserved for later, absent today; a reader ignores datasets and attributes that it does not know, so adding them
 * leaves the version as it is:
 *
 *     /embedding_text, /embedding_image, /embedding_mean   (N, E) f16   normalised; E and what made them are the
 *                                                          attributes embedding_width, embedding_encoder
 *     /neighbour (N, K) u64, /neighbour_score (N, K) f32   samples found for sample i, best first, and their inner
 *                                                          products; bank they are of: attribute neighbour_bank
 *
 * Chunks carry checksums (Fletcher-32) and so does all metadata: a flipped bit is an error and not a wrong token.
 * Strings are deflated; codes are not: those of a large codebook shrink by a tenth and would take ten times as long to
 * read. The file is written aside and renamed when it is whole.
 *
 * Reading keeps in memory what fits into a limit, in this order: where everything lies (24 bytes a sample, 8 a
 * segment), texts, codes. What does not fit is read from the file, sample by sample. */
#ifndef CM3_DATA_STORE_H
#define CM3_DATA_STORE_H

#include "core/hash.h"
#include "data/document.h"

/* What token ids depend on. Whoever uses a store compares them with its own. */
typedef struct cm3_store_inputs {
    cm3_hash text_tokenizer, image_tokenizer; /* fingerprints: cm3_vocab's */
    int64_t image_size;                       /* pixels: side of the square that images were fitted to */
    char fit[16], background[16], resize[16]; /* how: "crop", "#ffffff", "bicubic" */
} cm3_store_inputs;

typedef struct cm3_store_info {
    cm3_store_inputs inputs;
    cm3_hash vocabulary;                          /* of the run that made it; token ids do not depend on it */
    int64_t image_codebook;                       /* every code is below this */
    int64_t text_vocabulary;                      /* every text token is below this */
    cm3_hash content;                             /* filled in by the store: of all token ids and splits */
    int64_t samples, validation;                  /* filled in by the store: all; those that are validation */
    int64_t segments, images, text_tokens, codes; /* filled in by the store: of all samples together */
} cm3_store_info;

typedef enum cm3_store_string {
    CM3_STORE_NAME,
    CM3_STORE_CAPTION,
    CM3_STORE_ORIGIN,
    CM3_STORE_STRINGS
} cm3_store_string;

enum {
    CM3_STORE_SEGMENTS_MAX = 4096,
    CM3_STORE_TOKENS_MAX = 1 << 24,
    CM3_STORE_GRID_MAX = 4096,
    CM3_STORE_STRING_MAX = 1 << 20
};

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* Create, add each sample in order, then commit; discard drops everything. */
typedef struct cm3_store_writer cm3_store_writer;

typedef struct cm3_store_sample {
    const cm3_document *document;           /* no blanks, at least one segment */
    const char *strings[CM3_STORE_STRINGS]; /* by cm3_store_string; NULL is empty */
    bool validation;
} cm3_store_sample;

cm3_status cm3_store_create(const char *path, const cm3_store_info *info, cm3_store_writer **writer);
/* CM3_ERR_FORMAT for a token id outside its vocabulary, a blank, a sample too large; nothing of it is kept then. */
cm3_status cm3_store_add(cm3_store_writer *writer, const cm3_store_sample *sample);
/* Ends the file and gives it its name; frees the writer in any case. CM3_ERR_FORMAT if no sample was added. */
cm3_status cm3_store_commit(cm3_store_writer *writer);
void cm3_store_discard(cm3_store_writer *writer); /* NULL is allowed */

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* A store may be read from several threads; they take turns. */
typedef struct cm3_store cm3_store;

/* `memory_limit`: bytes of it that are kept in memory. CM3_ERR_NOT_FOUND, CM3_ERR_FORMAT (not a store, of another
 * version, cut short, damaged, empty). */
cm3_status cm3_store_open(const char *path, int64_t memory_limit, cm3_store **store);
void cm3_store_close(cm3_store *store); /* NULL is allowed */
const cm3_store_info *cm3_store_get_info(const cm3_store *store);
const char *cm3_store_path(const cm3_store *store);
/* CM3_ERR_FORMAT unless the store was made with these inputs: names file, field, found and expected. */
cm3_status cm3_store_check_inputs(const cm3_store *store, const cm3_store_inputs *expected);

/* The index of the k-th training (or validation) sample. k must be below their number. */
int64_t cm3_store_training(const cm3_store *store, int64_t k);
int64_t cm3_store_validation(const cm3_store *store, int64_t k);

/* Sample `index` in place of what the document held: all of its segments, the token ids of segments [begin, end);
 * those of the others are absent. An empty range reads no tokens: lengths alone. */
cm3_status cm3_store_read(cm3_store *store, int64_t index, cm3_range segments, cm3_document *document);
static inline cm3_status cm3_store_lengths(cm3_store *store, int64_t index, cm3_document *document) {
    return cm3_store_read(store, index, (cm3_range){0, 0}, document);
}
/* One of a sample's strings; the caller frees it. */
cm3_status cm3_store_read_string(cm3_store *store, int64_t index, cm3_store_string which, char **text);

#endif
