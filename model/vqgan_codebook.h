/* Care for a codebook in training: codes that no vector chooses get no gradient and never come back by themselves.
 * Vectors z and the codebook are in the memory where the network's parameters are placed, all else is the host's.
 *
 * As in Jukebox (Dhariwal et al., 2020) such dead codes are started again at random outputs of the encoder. Everything
 * is decided by the recipe's seed and by sums over all ranks, so that all ranks hold the same codebook, and the same
 * images on another number of ranks give the same one, as long as ranks hold the batch in order. */
#ifndef CM3_MODEL_VQGAN_CODEBOOK_H
#define CM3_MODEL_VQGAN_CODEBOOK_H

#include "dist/comm.h"
#include "model/vqgan.h"

typedef struct cm3_codebook cm3_codebook;

cm3_status cm3_codebook_create(const cm3_vqgan *model, uint64_t seed, cm3_codebook **book);
void cm3_codebook_free(cm3_codebook *book);

/* (K) the step at which each code was last used or started: what a checkpoint must hold beside the parameters. */
int32_t *cm3_codebook_last_used(cm3_codebook *book);

/* Before the first step: every code becomes an encoder output. Collective; `rows` is the same on all ranks.  z (rows,
 * D). */
cm3_status cm3_codebook_start(cm3_codebook *book, cm3_comm *comm, const float *z, int64_t rows);

typedef struct cm3_codebook_report {
    int64_t used;      /* codes that the vectors of this step chose, on all ranks */
    double perplexity; /* 2^entropy of their distribution: K if all codes are used alike */
    int64_t restarted;
    const int32_t
        *restarted_codes; /* (restarted) rows of the codebook whose moments in the optimizer should become 0 */
} cm3_codebook_report;

/* After the update of a step: notes which codes were used; with `restart`, starts again those that were not for
 * config.dead_steps steps. Collective.  z (rows, D), codes (rows). */
cm3_status cm3_codebook_update(cm3_codebook *book, cm3_comm *comm, int64_t step, const float *z, const int32_t *codes,
                               int64_t rows, bool restart, cm3_codebook_report *report);

#endif
