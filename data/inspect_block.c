#include "data/inspect_block.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

cm3_status cm3_block_rebuild(cm3_packer *packer, const cm3_data_config *config, int64_t slot, int64_t step,
                             cm3_block *block) {
    if (slot < 0 || slot >= config->batch)
        return cm3_fail(CM3_ERR_USAGE, "slot %" PRId64 ", expected 0..%" PRId64, slot, config->batch - 1);
    if (step < 0) return cm3_fail(CM3_ERR_USAGE, "step %" PRId64 ", expected 0 or more", step);
    cm3_cursor cursor = cm3_slot_start(slot);
    CM3_TRY(cm3_slot_skip(packer, slot, &cursor, step));
    return cm3_slot_next(packer, slot, &cursor, block);
}

static cm3_status print_string(FILE *file, cm3_store *store, int64_t index, cm3_store_string which) {
    char *text;
    CM3_TRY(cm3_store_read_string(store, index, which, &text));
    if (*text) {
        fputs(", ", file);
        cm3_text_print(file, text, strlen(text));
    }
    free(text);
    return CM3_OK;
}

static cm3_status print_piece(FILE *file, const cm3_piece *piece, int64_t at, cm3_store *store) {
    const cm3_store_info *info = cm3_store_get_info(store);
    cm3_document document = {0};
    CM3_TRY(cm3_store_lengths(store, piece->index, &document));
    const int64_t size = cm3_document_size(&document);
    cm3_document_free(&document);
    fprintf(file, "  %6" PRId64 "  sample %" PRId64 " of epoch %" PRId64, at, piece->index,
            piece->sample / (info->samples - info->validation));
    CM3_TRY(print_string(file, store, piece->index, CM3_STORE_NAME));
    CM3_TRY(print_string(file, store, piece->index, CM3_STORE_CAPTION));
    if (cm3_range_length(piece->tokens) < size)
        fprintf(file, ": its tokens %" PRId64 "..%" PRId64 " of %" PRId64, piece->tokens.begin, piece->tokens.end - 1,
                size);
    fputc('\n', file);
    return CM3_OK;
}

cm3_status cm3_block_print(FILE *file, const cm3_block *block, const cm3_data_config *config, const cm3_vocab *vocab,
                           cm3_store *store, const cm3_text_decoder *decoder) {
    const cm3_mask_spans *masks = &block->masks;
    fprintf(file,
            "step %" PRId64 ", slot %" PRId64 " of %" PRId64 ": %" PRId64 " tokens, %" PRId64
            " masked span%s%s\n\nsamples, by their first position before masking\n",
            block->number, block->slot, config->batch, block->length, masks->count, masks->count == 1 ? "" : "s",
            masks->count && masks->whole ? " (whole segments)" : "");
    int64_t at = 0;
    for (size_t i = 0; i < block->pieces.count; i++) {
        CM3_TRY(print_piece(file, &block->pieces.items[i], at, store));
        at += cm3_range_length(block->pieces.items[i].tokens);
    }
    if (masks->count) fprintf(file, "\nmasked, by position before masking\n");
    for (int64_t i = 0; i < masks->count; i++)
        fprintf(file, "  <sentinel:%" PRId64 ">  %" PRId64 "..%" PRId64 ", %" PRId64 " token%s\n", i,
                masks->spans[i].begin, masks->spans[i].end - 1, masks->spans[i].end - masks->spans[i].begin,
                masks->spans[i].end - masks->spans[i].begin == 1 ? "" : "s");
    fprintf(file, "\ntokens\n");
    return cm3_tokens_print(file, vocab, block->ids, (size_t)block->length, decoder);
}
