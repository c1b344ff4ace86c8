/* Sequence slots: the batch as a function.
 *
 * The global batch has B slots, one sequence each. The training samples of all epochs form one endless list
 * (endless_list.h), of which slot l reads numbers l, l + B, l + 2B, ...: every sample is seen once an epoch, whatever B
 * is. It renders them one after another and cuts blocks; block b of slot l draws its masks from the stream (seed,
 * spans, l, b). So the state of a slot is three numbers, its cursor, which do not depend on ranks, threads or
 * micro-batches: resuming is exact, and any block of any step can be made again.
 *
 * A block is filled to its last token, and the next goes on behind it: samples are cut wherever a block ends. With
 * pretrain.data.keep_documents_whole a block takes only samples that fit whole and is padded to the end; a sample
 * longer than a block is cut all the same. That is how small sets learn fastest: a block then looks like a prompt.
 *
 * The lengths of a sample's segments tell where the boundaries of the rendered document are (document.h), so a cursor
 * moves through blocks without reading tokens (cm3_slot_skip), in less than a microsecond a sample. */
#ifndef CM3_DATA_SLOTS_H
#define CM3_DATA_SLOTS_H

#include "data/mask.h"
#include "data/data_config.h"
#include "data/store.h"
#include "data/vocab.h"

/* Where a slot goes on. */
typedef struct cm3_cursor {
    int64_t sample; /* number g in the endless list */
    int64_t offset; /* tokens of it that are used already */
    int64_t block;  /* blocks made so far: the step */
} cm3_cursor;

/* Part of a sample in a block, never empty. */
typedef struct cm3_piece {
    int64_t sample;     /* number in the endless list */
    int64_t index;      /* in the store */
    cm3_range tokens;   /* of the rendered sample */
    cm3_range segments; /* that the tokens lie in */
} cm3_piece;

/* One block, for training and for people. */
typedef struct cm3_block {
    int64_t slot, number;
    int64_t length; /* tokens in ids */
    int32_t *ids;   /* (context + 1) */
    cm3_mask_spans masks;
    CM3_LIST(cm3_piece) pieces; /* in order; together masks.source tokens */
} cm3_block;

/* What makes blocks: settings, store, vocabulary, and scratch memory; one thread at a time uses it. */
typedef struct cm3_packer cm3_packer;
/* CM3_ERR_FORMAT if the vocabulary cannot hold the store's token ids or there is no training sample. Config, store and
 * vocabulary must outlive the packer. */
cm3_status cm3_packer_new(const cm3_data_config *config, const cm3_vocab *vocab, cm3_store *store, cm3_packer **packer);
void cm3_packer_free(cm3_packer *packer); /* NULL is allowed */

cm3_status cm3_block_init(cm3_block *block, const cm3_data_config *config);
void cm3_block_free(cm3_block *block);

/* Where slot l begins. */
cm3_cursor cm3_slot_start(int64_t slot);
/* Makes the next block and moves the cursor behind it. On failure the cursor stays. */
cm3_status cm3_slot_next(cm3_packer *packer, int64_t slot, cm3_cursor *cursor, cm3_block *block);
/* Moves the cursor over `blocks` blocks without making them. */
cm3_status cm3_slot_skip(cm3_packer *packer, int64_t slot, cm3_cursor *cursor, int64_t blocks);

/* Validation samples in the order of the store, rendered one after another, in plain causal order. Block i holds tokens
 * [i * context, i * context + context + 1): blocks share one token, so every token but the first is a target once; the
 * last may be shorter. With keep_documents_whole a block ends where the next document would not fit, and only parts of
 * a cut document share a token. 0 blocks without a validation split. The first call reads the lengths of all validation
 * samples. */
cm3_status cm3_validation_blocks(cm3_packer *packer, int64_t *blocks);
cm3_status cm3_validation_block(cm3_packer *packer, int64_t number, cm3_block *block);

/* All B cursors and what they belong to, as JSON text for checkpoints; `*text` is the caller's to free. */
cm3_status cm3_cursors_save(const cm3_data_config *config, const cm3_store *store, const cm3_cursor *cursors,
                            char **text);
/* CM3_ERR_FORMAT, naming the difference, if the state belongs to another seed, number of slots or set of samples.
 * `name` stands for the file in messages; `cursors` has room for config->batch. */
cm3_status cm3_cursors_load(const cm3_data_config *config, const cm3_store *store, const char *name, const char *text,
                            cm3_cursor *cursors);
/* The fingerprint of the vocabulary that they were saved with: a model's own. */
cm3_status cm3_cursors_vocabulary(const char *name, const char *text, cm3_hash *fingerprint);

/* What one row adds to the sums of its batch. */
typedef struct cm3_batch_row {
    int64_t targets, counts[CM3_TOKEN_RESERVED + 1];
} cm3_batch_row;

/* A micro-batch of `rows` blocks, S = context. */
typedef struct cm3_batch {
    int64_t rows, context;
    int32_t *inputs;    /* (rows, S); <pad> where a block is shorter */
    int32_t *targets;   /* (rows, S): the token after each input, -1 where there is none */
    float *weights;     /* (rows, S): of each target in the loss; 0 where there is none */
    uint8_t *classes;   /* (rows, S): cm3_token_class of each target; RESERVED where there is none */
    int32_t *positions; /* (rows, S): 0 .. S-1 in each row */
    cm3_batch_row *row; /* (rows) */
    int64_t counts[CM3_TOKEN_RESERVED + 1]; /* targets of each class */
    double weight;                          /* sum of `weights`: what the loss is divided by, summed over all ranks */
} cm3_batch;

cm3_status cm3_batch_init(cm3_batch *batch, int64_t rows, int64_t context);
void cm3_batch_free(cm3_batch *batch);
/* Row `row` from a block; NULL makes it padding. Keeps `counts` and `weight` right. */
void cm3_batch_set(cm3_batch *batch, const cm3_vocab *vocab, int64_t row, const cm3_block *block);

#endif
