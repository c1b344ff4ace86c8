/* Two sections of a recipe: `vocab`, and `pretrain.data`, how a token store becomes batches. */
#ifndef CM3_DATA_DATA_CONFIG_H
#define CM3_DATA_DATA_CONFIG_H

#include "core/config.h"
#include "data/mask.h"

typedef struct cm3_vocab_config {
    int layout; /* cm3_vocab_layout */
    int64_t sentinels, multiple;
} cm3_vocab_config;

typedef struct cm3_data_config {
    int64_t context; /* tokens the model reads at once; a block has one more */
    int64_t batch;   /* sequences of the global batch */
    int64_t seed;    /* of shuffling and masks */
    double mask_mean;
    int64_t mask_min, mask_max;
    double mask_whole;
    bool keep_images_whole, keep_documents_whole;
    int64_t prefetch; /* micro-batches prepared ahead; 0: none, all in the caller's thread */
    int64_t memory;   /* MiB up to which a store is kept in memory */
} cm3_data_config;

extern const cm3_field cm3_vocab_fields[], cm3_data_fields[];
/* Reports combinations that cannot be, as faults of the recipe's section `section`. */
void cm3_data_check(const cm3_data_config *config, const cm3_vocab_config *vocab, const char *section,
                    cm3_faults *faults);
/* `max` is what the recipe says; masking stops at the vocabulary's sentinels in any case. */
cm3_mask_config cm3_data_masks(const cm3_data_config *config);

#endif
