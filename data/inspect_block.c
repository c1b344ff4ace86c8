#include "data/inspect_block.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

cm3_status cm3_block_rebuild(cm3_packer *packer, const cm3_data_config *config, int64_t lane, int64_t step,
                             cm3_block *block) {
    if (lane < 0 || lane >= config->batch)
        return cm3_fail(CM3_ERR_USAGE, "lane %" PRId64 ", expected 0..%" PRId64, lane, config->batch - 1);
    if (step < 0) return cm3_fail(CM3_ERR_USAGE, "step %" PRId64 ", expected 0 or more", step);
    cm3_cursor cursor = cm3_lane_start(lane);
    CM3_TRY(cm3_lane_skip(packer, lane, &cursor, step));
    return cm3_lane_next(packer, lane, &cursor, block);
}

static cm3_status print_piece(FILE *file, const cm3_piece *piece, int64_t at, int64_t training, cm3_store *store) {
    int64_t text;
    char *name;
    const cm3_store_info *info = cm3_store_get_info(store);
    CM3_TRY(cm3_store_text_count(store, piece->index, &text));
    CM3_TRY(cm3_store_name(store, piece->index, &name));
    const int64_t size = text + info->image_rows * info->image_columns + 3;
    fprintf(file, "  %6" PRId64 "  sample %" PRId64 " of epoch %" PRId64, at, piece->index, piece->sample / training);
    if (*name) {
        fputs(", ", file);
        cm3_text_print(file, name, strlen(name));
    }
    if (piece->begin > 0 || piece->end < size)
        fprintf(file, ": its tokens %" PRId64 "..%" PRId64 " of %" PRId64, piece->begin, piece->end - 1, size);
    fputc('\n', file);
    free(name);
    return CM3_OK;
}

cm3_status cm3_block_print(FILE *file, const cm3_block *block, const cm3_data_config *config, const cm3_vocab *vocab,
                           cm3_store *store, cm3_text_decoder decoder, void *context) {
    const cm3_plan *plan = &block->plan;
    const cm3_store_info *info = cm3_store_get_info(store);
    fprintf(file,
            "step %" PRId64 ", lane %" PRId64 " of %" PRId64 ": %" PRId64 " tokens, %" PRId64
            " masked span%s%s\n\nsamples, by their first position before masking\n",
            block->number, block->lane, config->batch, block->length, plan->count, plan->count == 1 ? "" : "s",
            plan->count && plan->whole ? " (whole segments)" : "");
    int64_t at = 0;
    for (int64_t i = 0; i < block->piece_count; i++) {
        CM3_TRY(print_piece(file, &block->pieces[i], at, info->samples - info->validation, store));
        at += block->pieces[i].end - block->pieces[i].begin;
    }
    if (plan->count) fprintf(file, "\nmasked, by position before masking\n");
    for (int64_t i = 0; i < plan->count; i++)
        fprintf(file, "  <sentinel:%" PRId64 ">  %" PRId64 "..%" PRId64 ", %" PRId64 " token%s\n", i,
                plan->spans[i].begin, plan->spans[i].end - 1, plan->spans[i].end - plan->spans[i].begin,
                plan->spans[i].end - plan->spans[i].begin == 1 ? "" : "s");
    fprintf(file, "\ntokens\n");
    return cm3_tokens_print(file, vocab, block->ids, (size_t)block->length, decoder, context);
}
