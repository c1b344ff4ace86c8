#include "train/token_tapes.h"

cm3_status cm3_token_tapes_open(const cm3_transformer *model, const cm3_sequence_batch *batch,
                                const cm3_tape_options *options, cm3_token_tapes *tapes) {
    *tapes = (cm3_token_tapes){0};
    CM3_TRY(cm3_tape_create(options, &tapes->step));
    tapes->loss = cm3_transformer_loss(model, tapes->step, batch, &tapes->per_token);
    cm3_tape_loss(tapes->step, tapes->loss);
    CM3_TRY(cm3_tape_plan(tapes->step));
    cm3_tape_options scoring = *options;
    scoring.shares = tapes->step;
    scoring.share_pages_from = 0;
    CM3_TRY(cm3_tape_create(&scoring, &tapes->scoring));
    cm3_tape_keep(tapes->scoring, cm3_transformer_loss(model, tapes->scoring, batch, &tapes->scored));
    return cm3_tape_plan(tapes->scoring);
}

void cm3_token_tapes_close(cm3_token_tapes *tapes) {
    cm3_tape_free(tapes->scoring);
    cm3_tape_free(tapes->step);
    *tapes = (cm3_token_tapes){0};
}

size_t cm3_token_tapes_peak(const cm3_token_tapes *tapes) {
    return cm3_tape_get_stats(tapes->scoring)->peak_bytes;
}
