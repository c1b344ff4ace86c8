/* The loader: micro-batches of this rank's slots, prepared ahead by one background thread.
 *
 * A rank owns a range of slots. Each step gives (slots / rows) micro-batches: the first `rows` slots, then the next.
 * What is given depends only on settings, store and cursors, never on timing. The loader's state is that of
 * the consumer: cm3_loader_cursors tells where the slots stand after the batches taken so far, whatever is prepared
 * already. */
#ifndef CM3_DATA_LOADER_H
#define CM3_DATA_LOADER_H

#include "data/slots.h"

typedef struct cm3_loader cm3_loader;

/* What a loader is made of; data, vocab and store must outlive it. */
typedef struct cm3_loader_options {
    const cm3_data_config *data; /* with prefetch 0 there is no thread */
    const cm3_vocab *vocab;
    cm3_store *store;
    cm3_range slots;           /* of this rank */
    int64_t rows;              /* sequences of a micro-batch; must divide the number of slots */
    const cm3_cursor *cursors; /* of `slots`, copied; NULL starts at the beginning */
} cm3_loader_options;

/* CM3_ERR_SHAPE if the slots are not divisible into micro-batches. */
cm3_status cm3_loader_open(const cm3_loader_options *options, cm3_loader **loader);
/* Stops the thread and frees everything; NULL is allowed. */
void cm3_loader_close(cm3_loader *loader);

/* The next micro-batch, valid until the next call. A fault of the background thread is returned here, with its message,
 * when the batches before it have been taken, and again by every later call. */
cm3_status cm3_loader_next(cm3_loader *loader, const cm3_batch **batch);

/* The cursors of the slots behind the micro-batches taken so far. Take them between steps. Valid until the next
 * cm3_loader_next. */
const cm3_cursor *cm3_loader_cursors(const cm3_loader *loader);

/* Seconds that the consumer has waited for data so far. */
double cm3_loader_waited(const cm3_loader *loader);

#endif
