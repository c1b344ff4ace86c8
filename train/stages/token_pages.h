/* The way of a micro-batch of tokens to the device, and of its losses back.
 *
 * Each micro-batch of a step has a page: pinned memory that copies read and write while the host prepares the next one.
 * There are pages for CM3_STEPS_QUEUED steps, so that a step is filled while the one before still runs; by then the
 * loop has logged the one before that, and nothing of its pages is on its way any more. Where kernels work in the
 * host's memory all copies are made at once. */
#ifndef CM3_TRAIN_STAGES_TOKEN_PAGES_H
#define CM3_TRAIN_STAGES_TOKEN_PAGES_H

#include "core/tensor/tape.h"
#include "data/slots.h"

typedef struct cm3_token_page {
    int32_t *tokens;  /* (3, N): ids, targets, positions; pinned, like what follows */
    float *weights;   /* (N + 1): of the targets, and the scale of the loss */
    double weight;    /* sum of the weights */
    float *losses;    /* (1 + N): of the micro-batch, of each token */
    uint8_t *classes; /* (N), and their counts: cm3_batch's */
    int64_t counts[CM3_TOKEN_RESERVED + 1];
} cm3_token_page;

typedef struct cm3_token_pages {
    const cm3_memory *memory;
    int64_t tokens, micro_batches;      /* N, and of a step */
    int32_t *ids, *targets, *positions; /* (N) each, in the backend's memory: what the tape reads */
    float *weights, *scale;             /* (N), (1); likewise */
    void *pinned;
    uint8_t *classes;
    cm3_token_page *pages;
} cm3_token_pages;

/* For micro-batches of `tokens`. Close them after a failure, too. */
cm3_status cm3_token_pages_open(const cm3_memory *memory, int64_t tokens, int64_t micro_batches,
                                cm3_token_pages *pages);
/* When nothing is on its way. */
void cm3_token_pages_close(cm3_token_pages *pages);

cm3_token_page *cm3_token_pages_get(const cm3_token_pages *pages, int64_t step, int64_t micro);
/* Fills a page. */
void cm3_token_pages_fill(const cm3_token_pages *pages, cm3_token_page *page, const cm3_batch *batch);
/* Queues its copy to where the tape reads it, with this scale of the loss. */
cm3_status cm3_token_pages_send(const cm3_token_pages *pages, cm3_token_page *page, float scale);
/* Queues the copy of what a run made of it: the loss (1), or NULL, and the tokens' losses (N). */
cm3_status cm3_token_pages_fetch(const cm3_token_pages *pages, cm3_token_page *page, const cm3_var *loss,
                                 const cm3_var *per_token);

#endif
