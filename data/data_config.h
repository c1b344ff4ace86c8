/* The `data` section of a recipe: how a token store becomes batches. */
#ifndef CM3_DATA_DATA_CONFIG_H
#define CM3_DATA_DATA_CONFIG_H

#include "core/config.h"
#include "data/cm3.h"

typedef struct cm3_data_config {
    int64_t context; /* tokens the model reads at once; a block has one more */
    int64_t lanes;   /* sequences of the global batch */
    int64_t seed;    /* of shuffling and masks */
    double mask_mean;
    int64_t mask_min, mask_max;
    double mask_whole;
    bool keep_images_whole, keep_documents_whole;
    int64_t prefetch; /* micro-batches prepared ahead; 0: none, all in the caller's thread */
    int64_t memory;   /* MiB up to which a store is kept in memory */
    int vocab_layout; /* cm3_vocab_layout */
    int64_t sentinels;
    int64_t vocab_multiple;
} cm3_data_config;

extern const cm3_field cm3_data_fields[];
/* Reports combinations that cannot be, as faults of the recipe's section `section`. */
void cm3_data_check(const cm3_data_config *config, const char *section, cm3_faults *faults);
cm3_mask_config cm3_data_masks(const cm3_data_config *config);

#endif
