/* What the model sees at a step, for a person: `cm3leon inspect RECIPE --step S --slot N`. */
#ifndef CM3_DATA_INSPECT_BLOCK_H
#define CM3_DATA_INSPECT_BLOCK_H

#include "data/document.h"
#include "data/slots.h"

/* Makes the block of slot `slot` at step `step` (the first step is 0), following the slot by lengths alone. */
cm3_status cm3_block_rebuild(cm3_packer *packer, const cm3_data_config *config, int64_t slot, int64_t step,
                             cm3_block *block);

/* Prints which samples are in it, which spans were masked, and the tokens as text. */
cm3_status cm3_block_print(FILE *file, const cm3_block *block, const cm3_data_config *config, const cm3_vocab *vocab,
                           cm3_store *store, const cm3_text_decoder *decoder);

#endif
