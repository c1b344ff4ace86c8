#include "data/slots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

cm3_status cm3_batch_init(cm3_batch *batch, int64_t rows, int64_t context) {
    const size_t count = (size_t)(rows * context);
    *batch = (cm3_batch){.rows = rows,
                         .context = context,
                         .inputs = calloc(count, sizeof *batch->inputs),
                         .targets = malloc(count * sizeof *batch->targets),
                         .weights = calloc(count, sizeof *batch->weights),
                         .classes = malloc(count),
                         .positions = malloc(count * sizeof *batch->positions)};
    if (!batch->inputs || !batch->targets || !batch->weights || !batch->classes || !batch->positions) {
        cm3_batch_free(batch);
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for a micro-batch of %" PRId64 " x %" PRId64 " tokens", rows,
                        context);
    }
    memset(batch->targets, 0xff, count * sizeof *batch->targets); /* -1: nothing to learn yet */
    memset(batch->classes, CM3_TOKEN_RESERVED, count);
    batch->counts[CM3_TOKEN_RESERVED] = (int64_t)count;
    for (size_t i = 0; i < count; i++) batch->positions[i] = (int32_t)(i % (size_t)context);
    return CM3_OK;
}

void cm3_batch_free(cm3_batch *batch) {
    free(batch->inputs);
    free(batch->targets);
    free(batch->weights);
    free(batch->classes);
    free(batch->positions);
    *batch = (cm3_batch){0};
}

/* Adds a row to the sums over the batch, or takes it out of them (sign -1). */
static void count_row(cm3_batch *batch, int64_t row, int sign) {
    const uint8_t *classes = batch->classes + row * batch->context;
    const float *weights = batch->weights + row * batch->context;
    int64_t counts[CM3_TOKEN_RESERVED + 1] = {0};
    double sums[8] = {0}, weight = 0; /* of every eighth: they do not wait for each other */
    for (int64_t i = 0; i < batch->context; i++) counts[classes[i]]++;
    for (int64_t i = 0; i + 8 <= batch->context; i += 8)
        for (int k = 0; k < 8; k++) sums[k] += (double)weights[i + k];
    for (int64_t i = batch->context / 8 * 8; i < batch->context; i++) weight += (double)weights[i];
    for (int k = 0; k < 8; k++) weight += sums[k];
    for (int c = 0; c <= CM3_TOKEN_RESERVED; c++) batch->counts[c] += sign * counts[c];
    batch->weight += sign * weight;
}

void cm3_batch_set(cm3_batch *batch, const cm3_vocab *vocab, int64_t row, const cm3_block *block) {
    const int64_t context = batch->context, length = block ? block->length : 0;
    const int64_t inputs = length < context ? length : context, targets = length > 0 ? length - 1 : 0;
    int32_t *input = batch->inputs + row * context, *target = batch->targets + row * context;
    float *weights = batch->weights + row * context;
    uint8_t *classes = batch->classes + row * context;
    count_row(batch, row, -1);
    if (block) {
        memcpy(input, block->ids, (size_t)inputs * sizeof *input);
        memcpy(target, block->ids + 1, (size_t)targets * sizeof *target);
    }
    for (int64_t i = 0; i < context; i++) weights[i] = i < targets;
    for (int64_t i = 0; i < targets; i++) classes[i] = (uint8_t)cm3_vocab_class(vocab, target[i]);
    for (int64_t i = inputs; i < context; i++) input[i] = cm3_vocab_id(vocab, CM3_REGION_PAD, 0);
    for (int64_t i = targets; i < context; i++) {
        target[i] = -1;
        classes[i] = CM3_TOKEN_RESERVED;
    }
    count_row(batch, row, 1);
}
