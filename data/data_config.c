#include "data/data_config.h"

#include "data/vocab.h"

#include <inttypes.h>

const cm3_field cm3_vocab_fields[] = {
    CM3_FIELD_CHOICE(cm3_vocab_config, layout, "cm3leon", cm3_vocab_layouts, "which ids mean what"),
    CM3_FIELD_INT(cm3_vocab_config, sentinels, "512", 1, 1 << 16, "ids", "most masked spans that a block can have"),
    CM3_FIELD_INT(cm3_vocab_config, multiple, "512", 1, 1 << 20, "ids",
                  "the size is rounded up to a multiple of this with reserved ids"),
    CM3_FIELD_END};

const cm3_field cm3_data_fields[] = {
    CM3_FIELD_INT(cm3_data_config, context, "4096", 8, 1 << 24, "tokens", "tokens the model reads at once"),
    CM3_FIELD_INT(cm3_data_config, batch, "8", 1, 1 << 20, "sequences",
                  "sequences of the global batch, over all ranks"),
    CM3_FIELD_INT(cm3_data_config, seed, "1", 0, 9007199254740992.0, "", "of the order of samples and of the masks"),
    CM3_FIELD_FLOAT(cm3_data_config, mask_mean, "1", 0, 128, "spans",
                    "mean of the Poisson number of masked spans a block"),
    CM3_FIELD_INT(cm3_data_config, mask_min, "0", 0, CM3_SPANS_MAX, "spans", "fewest masked spans (the CM3 paper: 1)"),
    CM3_FIELD_INT(cm3_data_config, mask_max, "511", 0, CM3_SPANS_MAX, "spans",
                  "most masked spans (the CM3 paper: 16); never more than there are sentinels"),
    CM3_FIELD_FLOAT(cm3_data_config, mask_whole, "0.5", 0, 1, "",
                    "probability that a block's masked spans are whole segments: how captioning is learnt"),
    CM3_FIELD_BOOL(cm3_data_config, keep_images_whole, "false",
                   "skip the rest of an image that the block before has cut, and the separator after it"),
    CM3_FIELD_BOOL(cm3_data_config, keep_documents_whole, "false",
                   "a document that does not fit into the rest of a block begins the next one; padding takes the rest"),
    CM3_FIELD_INT(cm3_data_config, prefetch, "4", 0, 1024, "micro-batches",
                  "prepared ahead by a background thread; 0: none, without a thread", .effect = CM3_CHANGES_SPEED),
    CM3_FIELD_INT(cm3_data_config, memory, "256", 0, 1 << 24, "MiB", "a token store up to this size is kept in memory",
                  .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_END};

void cm3_data_check(const cm3_data_config *config, const cm3_vocab_config *vocab, const char *section,
                    cm3_faults *faults) {
    if (config->mask_min > config->mask_max)
        cm3_faults_add(faults, section, "mask_min", "found %" PRId64 ", expected at most mask_max (%" PRId64 ")",
                       config->mask_min, config->mask_max);
    if (config->mask_min > vocab->sentinels)
        cm3_faults_add(faults, section, "mask_min", "found %" PRId64 ", expected at most vocab.sentinels (%" PRId64 ")",
                       config->mask_min, vocab->sentinels);
    if (config->keep_documents_whole && config->keep_images_whole)
        cm3_faults_add(faults, section, "keep_images_whole", "means nothing beside keep_documents_whole; keep one");
    if (config->mask_min > (config->context + 1) / 4)
        cm3_faults_add(faults, section, "mask_min",
                       "found %" PRId64 ", expected at most a quarter of context (%" PRId64 ")", config->mask_min,
                       config->context);
}

cm3_mask_config cm3_data_masks(const cm3_data_config *config) {
    return (cm3_mask_config){
        .mean = config->mask_mean, .min = config->mask_min, .max = config->mask_max, .whole = config->mask_whole};
}
