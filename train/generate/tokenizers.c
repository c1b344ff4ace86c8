#include "train/generate/tokenizers.h"

#include "core/file.h"
#include "train/run_folder.h"

#include <stdlib.h>

/* Images that the codec takes at once. */
enum { CODEC_BATCH = 16 };

static cm3_status open_text(const cm3_recipe *recipe, cm3_tokenizers *t) {
    char *path = cm3_stage_path(recipe, "text-tokenizer", "tokenizer.json");
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    cm3_status status = cm3_path_exists(path)
                            ? cm3_bpe_load(path, &t->bpe)
                            : cm3_fail(CM3_ERR_NOT_FOUND, "%s: is not there; run `cm3leon text-tokenizer` first", path);
    if (status == CM3_OK) status = cm3_bpe_encoder_create(t->bpe, &t->encoder);
    free(path);
    return status;
}

static cm3_status load_vqgan(const cm3_recipe *recipe, cm3_tokenizers *t, cm3_hash *digest) {
    char *folder = cm3_stage_path(recipe, "image-tokenizer", NULL), *checkpoint = NULL;
    if (!folder) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    cm3_checkpoint_table table = {0};
    cm3_status status = cm3_checkpoint_latest(folder, &checkpoint);
    if (status == CM3_ERR_NOT_FOUND)
        status = cm3_fail(status, "%s: has no checkpoint; run `cm3leon image-tokenizer` first", folder);
    if (status == CM3_OK) status = cm3_checkpoint_table_of(t->params, &table);
    if (status == CM3_OK) {
        const cm3_checkpoint_buffer values = {.name = "parameters", .data = cm3_params_values(t->params)};
        const cm3_checkpoint_parts parts = {.table = table, .buffers = &values, .buffer_count = 1};
        status = cm3_checkpoint_load(checkpoint, &parts, NULL);
        if (status == CM3_OK) *digest = cm3_checkpoint_digest_values(&table, values.data);
    }
    cm3_checkpoint_table_free(&table);
    free(checkpoint);
    free(folder);
    return status;
}

cm3_status cm3_tokenizers_open(const cm3_recipe *recipe, const cm3_backend *backend, cm3_tokenizers *t) {
    *t = (cm3_tokenizers){0};
    cm3_hash image = {0};
    cm3_status status = open_text(recipe, t);
    if (status == CM3_OK) status = cm3_params_create(&t->params);
    if (status == CM3_OK) status = cm3_vqgan_declare(&recipe->image_tokenizer.network, t->params, &t->vqgan);
    if (status == CM3_OK) status = cm3_params_layout(t->params, CM3_SHARD_UNIT);
    if (status == CM3_OK) status = cm3_params_allocate(t->params, false);
    if (status == CM3_OK) status = cm3_params_place(t->params, backend, CM3_F32);
    if (status == CM3_OK) status = load_vqgan(recipe, t, &image);
    if (status == CM3_OK) status = cm3_params_upload(t->params);
    if (status == CM3_OK) status = cm3_image_codec_create(t->vqgan, CODEC_BATCH, &t->codec);
    if (status == CM3_OK) {
        const uint64_t text = cm3_bpe_fingerprint(t->bpe);
        cm3_vocab_sizes sizes = cm3_recipe_vocab_sizes(recipe);
        sizes.text = (int64_t)cm3_bpe_size(t->bpe);
        sizes.text_tokenizer = cm3_hash_bytes(&text, sizeof text);
        sizes.image_tokenizer = image;
        status = cm3_vocab_build(&sizes, &t->vocab);
    }
    if (status != CM3_OK) cm3_tokenizers_close(t);
    return status;
}

void cm3_tokenizers_close(cm3_tokenizers *t) {
    cm3_image_codec_free(t->codec);
    cm3_vqgan_free(t->vqgan);
    cm3_params_free(t->params);
    cm3_bpe_encoder_free(t->encoder);
    cm3_bpe_free(t->bpe);
    *t = (cm3_tokenizers){0};
}

cm3_status cm3_tokenizers_decode_text(void *context, const int32_t *numbers, size_t count, char **text,
                                      size_t *length) {
    const cm3_tokenizers *t = context;
    CM3_TRY(cm3_bpe_decode(t->bpe, numbers, count, NULL, 0, length));
    *text = malloc(*length + 1);
    if (!*text) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a text");
    (*text)[*length] = 0;
    return cm3_bpe_decode(t->bpe, numbers, count, *text, *length, length);
}
