/* The two tapes of a transformer in training: the step, and the scoring of validation blocks. They use the same memory,
 * since they take turns. The stage runs them, train/plan.c only counts them. */
#ifndef CM3_TRAIN_TOKEN_TAPES_H
#define CM3_TRAIN_TOKEN_TAPES_H

#include "model/transformer.h"

typedef struct cm3_token_tapes {
    cm3_tape *step, *scoring;
    cm3_var *loss, *per_token; /* of `step` */
    cm3_var *scored;           /* of `scoring`: the cross-entropy of each token, like per_token */
} cm3_token_tapes;

/* Records and plans both for one micro-batch. Free them after a failure, too. */
cm3_status cm3_token_tapes_open(const cm3_transformer *model, const cm3_sequence_batch *batch,
                                const cm3_tape_options *options, cm3_token_tapes *tapes);
void cm3_token_tapes_close(cm3_token_tapes *tapes);
/* Of the memory that both use. */
size_t cm3_token_tapes_peak(const cm3_token_tapes *tapes);

#endif
