/* The token store: image-text pairs as numbers of the tokenizers, in one HDF5 file that any HDF5 tool reads.
 *
 *     /image         (N, C)  u16 or u32   codes of sample i in raster order; one chunk a sample
 *     /text          (T)     u16 or u32   text tokens of all samples, one after another
 *     /text_offset   (N+1)   u64          sample i has text[text_offset[i] .. text_offset[i+1])
 *     /name          (M)     u8           names of all samples, UTF-8, one after another
 *     /name_offset   (N+1)   u64
 *     /split         (N)     u8           0 training, 1 validation
 *     attributes of /: format, version, vocabulary (fingerprint), source (hash of what it was made from), samples,
 *     validation, text_tokens, validation_text_tokens, longest_text, image_rows, image_columns, image_codebook,
 *     text_vocabulary
 *
 * All is shuffled, deflated and checksummed (Fletcher-32), so that a flipped bit is an error and not a wrong token. The
 * file is written aside and renamed when it is whole. A small store (`memory_limit`) is read whole when it is opened;
 * of a larger one only the validation list stays in memory, and reading a sample costs three small chunks. */
#ifndef CM3_DATA_STORE_H
#define CM3_DATA_STORE_H

#include "core/hash.h"
#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_store_info {
    cm3_hash vocabulary;               /* cm3_vocab.fingerprint */
    cm3_hash source;                   /* of the settings and inputs it was made from */
    int64_t image_rows, image_columns; /* codes; rows * columns a sample */
    int64_t image_codebook;            /* every code is below this */
    int64_t text_vocabulary;           /* every text token is below this */
    int64_t samples, validation;       /* filled in by the store: all, and how many of them are validation */
    int64_t text_tokens;               /* filled in by the store: of all samples together */
    int64_t validation_text_tokens;    /* filled in by the store: of the validation ones */
    int64_t longest_text;              /* filled in by the store: of one sample */
} cm3_store_info;

/* Writing: begin, add each sample in order, then commit; discard drops everything. */
typedef struct cm3_store_writer cm3_store_writer;
cm3_status cm3_store_create(const char *path, const cm3_store_info *info, cm3_store_writer **writer);
/* `codes` holds rows * columns of them. Numbers outside their vocabularies are CM3_ERR_FORMAT. `name` may be NULL. */
cm3_status cm3_store_add(cm3_store_writer *writer, const int32_t *text, int64_t text_count, const int32_t *codes,
                         const char *name, bool validation);
/* Ends the file and gives it its name; frees the writer in any case. CM3_ERR_FORMAT if no sample was added. */
cm3_status cm3_store_commit(cm3_store_writer *writer);
void cm3_store_discard(cm3_store_writer *writer); /* NULL is allowed */

/* Reading. A store may be read from several threads; they take turns. */
typedef struct cm3_store cm3_store;
/* `vocabulary`: what it must have been made with, or NULL for any. CM3_ERR_NOT_FOUND, CM3_ERR_FORMAT (not a store, cut
 * short, damaged, another vocabulary, empty). `memory_limit`: bytes up to which the whole store is kept in memory. */
cm3_status cm3_store_open(const char *path, const cm3_hash *vocabulary, int64_t memory_limit, cm3_store **store);
void cm3_store_close(cm3_store *store); /* NULL is allowed */
const cm3_store_info *cm3_store_get_info(const cm3_store *store);
const char *cm3_store_path(const cm3_store *store);
bool cm3_store_in_memory(const cm3_store *store);

/* The index of the k-th training (or validation) sample. k must be below their number. */
int64_t cm3_store_training(const cm3_store *store, int64_t k);
int64_t cm3_store_validation(const cm3_store *store, int64_t k);
bool cm3_store_is_validation(const cm3_store *store, int64_t index);

/* The number of text tokens of a sample. */
cm3_status cm3_store_text_count(cm3_store *store, int64_t index, int64_t *count);
/* Text tokens [0, *count) into `text`, which has room for info->longest_text. */
cm3_status cm3_store_text(cm3_store *store, int64_t index, int32_t *text, int64_t *count);
/* All codes of a sample into `codes` (rows * columns). */
cm3_status cm3_store_image(cm3_store *store, int64_t index, int32_t *codes);
/* The name, for messages and pages; the caller frees it. */
cm3_status cm3_store_name(cm3_store *store, int64_t index, char **name);

#endif
