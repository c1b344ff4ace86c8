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
                         .positions = malloc(count * sizeof *batch->positions),
                         .row = calloc((size_t)rows, sizeof *batch->row)};
    if (!batch->inputs || !batch->targets || !batch->weights || !batch->classes || !batch->positions || !batch->row) {
        cm3_batch_free(batch);
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for a micro-batch of %" PRId64 " x %" PRId64 " tokens", rows,
                        context);
    }
    memset(batch->targets, 0xff, count * sizeof *batch->targets); /* -1: nothing to learn yet */
    memset(batch->classes, CM3_TOKEN_RESERVED, count);
    batch->counts[CM3_TOKEN_RESERVED] = (int64_t)count;
    for (int64_t r = 0; r < rows; r++) batch->row[r].counts[CM3_TOKEN_RESERVED] = context;
    for (size_t i = 0; i < count; i++) batch->positions[i] = (int32_t)(i % (size_t)context);
    return CM3_OK;
}

void cm3_batch_free(cm3_batch *batch) {
    free(batch->inputs);
    free(batch->targets);
    free(batch->weights);
    free(batch->classes);
    free(batch->positions);
    free(batch->row);
    *batch = (cm3_batch){0};
}

/* Writes the class of each id, and how many there are of each. All but a few ids are image codes or text: the loop over
 * those has no branches, so that it is vectorised. */
static void classify(const cm3_vocab *vocab, const int32_t *ids, int64_t count, uint8_t *classes, int64_t *counts) {
    int32_t images = 0, texts = 0;
    for (int64_t i = 0; i < count; i++) {
        const int32_t image = cm3_vocab_is(vocab, CM3_REGION_IMAGE, ids[i]),
                      text = cm3_vocab_is(vocab, CM3_REGION_TEXT, ids[i]);
        images += image;
        texts += text;
        classes[i] = (uint8_t)(text ? CM3_TOKEN_TEXT : image ? CM3_TOKEN_IMAGE : CM3_TOKEN_RESERVED);
    }
    counts[CM3_TOKEN_IMAGE] += images;
    counts[CM3_TOKEN_TEXT] += texts;
    const uint8_t *end = classes + count;
    for (uint8_t *c = classes; (c = memchr(c, CM3_TOKEN_RESERVED, (size_t)(end - c))) != NULL; c++) {
        *c = (uint8_t)cm3_vocab_class(vocab, ids[c - classes]);
        counts[*c]++;
    }
}

/* Fills values [from, to) of a row. */
static void fill(int32_t *row, int64_t from, int64_t to, int32_t value) {
    for (int64_t i = from; i < to; i++) row[i] = value;
}

void cm3_batch_set(cm3_batch *batch, const cm3_vocab *vocab, int64_t row, const cm3_block *block) {
    const int64_t context = batch->context, length = block ? block->length : 0;
    const int64_t inputs = length < context ? length : context, targets = length > 0 ? length - 1 : 0;
    int32_t *input = batch->inputs + row * context, *target = batch->targets + row * context;
    float *weights = batch->weights + row * context;
    uint8_t *classes = batch->classes + row * context;
    cm3_batch_row *sums = &batch->row[row];
    for (int c = 0; c <= CM3_TOKEN_RESERVED; c++) batch->counts[c] -= sums->counts[c];
    if (block) {
        memcpy(input, block->ids, (size_t)inputs * sizeof *input);
        memcpy(target, block->ids + 1, (size_t)targets * sizeof *target);
    }
    fill(input, inputs, context, cm3_vocab_id(vocab, CM3_REGION_PAD, 0));
    fill(target, targets, context, -1);
    memset(classes + targets, CM3_TOKEN_RESERVED, (size_t)(context - targets));
    if (targets != sums->targets) /* every target weighs 1: nothing changes while their number stays */
        for (int64_t i = 0; i < context; i++) weights[i] = i < targets;
    batch->weight += (double)(targets - sums->targets);
    *sums = (cm3_batch_row){.targets = targets, .counts = {[CM3_TOKEN_RESERVED] = context - targets}};
    classify(vocab, target, targets, classes, sums->counts);
    for (int c = 0; c <= CM3_TOKEN_RESERVED; c++) batch->counts[c] += sums->counts[c];
}
