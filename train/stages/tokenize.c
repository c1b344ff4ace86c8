/* Source and tokenizers -> the token store: every pair as text tokens and image codes, encoded by all ranks, written
 * by the first. */
#include "train/stages/stage.h"

#include "core/log.h"
#include "core/progress.h"
#include "data/image_batches.h"
#include "train/generate/tokenizers.h"
#include "train/token_store.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 }; /* pairs that a rank encodes between two gatherings */

typedef struct tokenizing {
    const cm3_stage_context *stage;
    cm3_tokenizers tokenizers;
    cm3_source *source;
    cm3_images *images;
    cm3_store_writer *writer; /* rank 0 */
    float *pixels;            /* (CHUNK, side, side, 3) */
    int32_t *codes;           /* (CHUNK, C) */
    int32_t *all;             /* (ranks, CHUNK, C) on rank 0, NULL on others */
    cm3_tokens text;          /* of one caption */
    cm3_document document;
} tokenizing;

static cm3_status encode_chunk(tokenizing *t, int64_t first, int64_t count) {
    const int64_t side = t->stage->recipe->image_tokenizer.network.image_size;
    for (int64_t i = 0; i < count; i++) CM3_TRY(cm3_images_get(t->images, first + i, t->pixels + i * side * side * 3));
    return count > 0 ? cm3_image_codec_encode(t->tokenizers.codec, t->pixels, count, t->codes) : CM3_OK;
}

static cm3_status make_document(tokenizing *t, const cm3_pair *pair, const int32_t *codes) {
    const int32_t side = (int32_t)cm3_vqgan_code_side(&t->stage->recipe->image_tokenizer.network);
    size_t count;
    t->text.count = 0;
    CM3_TRY(CM3_LIST_RESERVE(&t->text, pair->text_length));
    CM3_TRY(
        cm3_bpe_encode(t->tokenizers.encoder, pair->text, pair->text_length, t->text.items, t->text.capacity, &count));
    cm3_document_clear(&t->document);
    CM3_TRY(cm3_document_add_text(&t->document, t->text.items, count));
    return cm3_document_add_image(&t->document, codes, side, side);
}

static cm3_status add_sample(tokenizing *t, int64_t index, const int32_t *codes) {
    cm3_pair pair;
    CM3_TRY(cm3_source_label(t->source, index, &pair));
    cm3_status status = make_document(t, &pair, codes);
    const cm3_store_sample sample = {.document = &t->document,
                                     .strings = {pair.name, pair.text, pair.origin},
                                     .validation = pair.split == CM3_SPLIT_VALIDATION};
    if (status == CM3_OK) status = cm3_store_add(t->writer, &sample);
    cm3_pair_free(&pair);
    return status;
}

static cm3_status write_round(tokenizing *t, int64_t base, int64_t per_image) {
    for (int rank = 0; rank < cm3_comm_size(t->stage->comm); rank++)
        for (int64_t i = 0; i < CHUNK; i++) {
            const int64_t index = base + rank * CHUNK + i;
            if (index < cm3_source_count(t->source))
                CM3_TRY(add_sample(t, index, t->all + (rank * CHUNK + i) * per_image));
        }
    return CM3_OK;
}

static cm3_status tokenize_all(tokenizing *t) {
    cm3_comm *comm = t->stage->comm;
    const int64_t total = cm3_source_count(t->source),
                  per_image = cm3_vqgan_codes_per_image(&t->stage->recipe->image_tokenizer.network);
    const int64_t stride = (int64_t)CHUNK * cm3_comm_size(comm);
    cm3_progress progress = cm3_progress_start("tokenize", "pairs", (uint64_t)total);
    for (int64_t base = 0; base < total; base += stride) {
        const int64_t first = base + (int64_t)CHUNK * cm3_comm_rank(comm);
        const int64_t left = total - first, count = left < 0 ? 0 : left < CHUNK ? left : CHUNK;
        CM3_TRY(cm3_comm_agree_status(comm, encode_chunk(t, first, count)));
        CM3_TRY(cm3_comm_gather(comm, t->codes, CHUNK * per_image * (int64_t)sizeof(int32_t), t->all, 0));
        CM3_TRY(cm3_comm_agree_status(comm, cm3_stage_is_first(t->stage) ? write_round(t, base, per_image) : CM3_OK));
        if (cm3_stage_is_first(t->stage))
            cm3_progress_update(&progress, (uint64_t)(base + stride < total ? base + stride : total));
    }
    if (cm3_stage_is_first(t->stage)) cm3_progress_end(&progress);
    return CM3_OK;
}

static cm3_status open_source(tokenizing *t) {
    const cm3_recipe *recipe = t->stage->recipe;
    const int64_t side = recipe->image_tokenizer.network.image_size,
                  per_image = cm3_vqgan_codes_per_image(&recipe->image_tokenizer.network);
    CM3_TRY(cm3_source_open(&recipe->source, &t->source));
    CM3_TRY(cm3_images_open(t->source, side, 0, &t->images));
    t->pixels = malloc((size_t)(CHUNK * side * side * 3) * sizeof(float));
    t->codes = calloc((size_t)(CHUNK * per_image), sizeof(int32_t));
    const bool first = cm3_stage_is_first(t->stage);
    if (first) t->all = calloc((size_t)(cm3_comm_size(t->stage->comm) * CHUNK * per_image), sizeof(int32_t));
    if (!t->pixels || !t->codes || (first && !t->all))
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for %d images", CHUNK);
    return CM3_OK;
}

static cm3_status create_store(tokenizing *t, const char *store_path) {
    const cm3_recipe *recipe = t->stage->recipe;
    const cm3_store_info info = {.inputs = cm3_token_store_inputs(recipe, &t->tokenizers.vocab),
                                 .vocabulary = t->tokenizers.vocab.fingerprint,
                                 .image_codebook = recipe->image_tokenizer.network.codes,
                                 .text_vocabulary = (int64_t)cm3_bpe_size(t->tokenizers.bpe)};
    return cm3_store_create(store_path, &info, &t->writer);
}

static cm3_status work(tokenizing *t, const char *store_path, const char *vocab_path) {
    cm3_comm *comm = t->stage->comm;
    CM3_TRY(cm3_comm_agree_status(comm, open_source(t)));
    CM3_TRY(cm3_stage_begin(t->stage));
    CM3_TRY(cm3_comm_agree_status(comm, cm3_stage_is_first(t->stage) ? create_store(t, store_path) : CM3_OK));
    CM3_TRY(tokenize_all(t));
    cm3_status status = CM3_OK;
    if (cm3_stage_is_first(t->stage)) {
        status = cm3_store_commit(t->writer);
        t->writer = NULL;
        if (status == CM3_OK) status = cm3_vocab_save(&t->tokenizers.vocab, vocab_path);
    }
    return cm3_comm_agree_status(comm, status);
}

cm3_status cm3_stage_tokenize(const cm3_stage_context *stage) {
    tokenizing t = {.stage = stage};
    const cm3_path store_path = cm3_stage_path(stage->recipe, "tokenize", "store.h5"),
                   vocab_path = cm3_stage_path(stage->recipe, "tokenize", "vocab.json");
    cm3_status status = cm3_tokenizers_open(stage->recipe, stage->device->backend, &t.tokenizers);
    status = cm3_comm_agree_status(stage->comm, status);
    if (status == CM3_OK) status = work(&t, store_path.text, vocab_path.text);
    cm3_store_discard(t.writer);
    cm3_images_close(t.images);
    cm3_source_close(t.source);
    cm3_tokenizers_close(&t.tokenizers);
    free(t.pixels);
    free(t.codes);
    free(t.all);
    CM3_LIST_FREE(&t.text);
    cm3_document_free(&t.document);
    return status;
}
