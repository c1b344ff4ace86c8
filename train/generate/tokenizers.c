#include "train/generate/tokenizers.h"

#include "train/run_folder.h"

#include <stdlib.h>

/* Images that the codec takes at once. */
enum { CODEC_BATCH = 16 };

static cm3_status open_text(const cm3_recipe *recipe, cm3_tokenizers *t) {
    const cm3_path path = cm3_stage_path(recipe, "text-tokenizer", "tokenizer.json");
    if (!cm3_path_exists(path.text))
        return cm3_fail(CM3_ERR_NOT_FOUND, "%s: does not exist; run `cm3leon text-tokenizer` first", path.text);
    CM3_TRY(cm3_bpe_load(path.text, &t->bpe));
    return cm3_bpe_encoder_create(t->bpe, &t->encoder);
}

static cm3_status open_image(const cm3_recipe *recipe, const cm3_backend *backend, cm3_tokenizers *t,
                             cm3_hash *digest) {
    cm3_network_options of = cm3_recipe_network(recipe, "image-tokenizer");
    of.use = CM3_USE_INFER;
    of.backend = backend;
    cm3_path checkpoint;
    CM3_TRY(cm3_stage_checkpoint(recipe, "image-tokenizer", &checkpoint));
    CM3_TRY(cm3_checkpoint_weights(checkpoint.text, of.kind, NULL, &of.source));
    const cm3_status status = cm3_network_open(&of, &t->vqgan);
    cm3_weights_close(of.source);
    CM3_TRY(status);
    CM3_TRY(cm3_checkpoint_digest(checkpoint.text, "parameters", digest));
    return cm3_image_codec_create(t->vqgan->model, CODEC_BATCH, &t->codec);
}

static cm3_status open_all(const cm3_recipe *recipe, const cm3_backend *backend, cm3_tokenizers *t) {
    cm3_vocab_sizes sizes = cm3_recipe_vocab_sizes(recipe);
    CM3_TRY(open_text(recipe, t));
    CM3_TRY(open_image(recipe, backend, t, &sizes.image_tokenizer));
    const uint64_t text = cm3_bpe_fingerprint(t->bpe);
    sizes.text = (int64_t)cm3_bpe_size(t->bpe);
    sizes.text_tokenizer = cm3_hash_bytes(&text, sizeof text);
    return cm3_vocab_build(&sizes, &t->vocab);
}

cm3_status cm3_tokenizers_open(const cm3_recipe *recipe, const cm3_backend *backend, cm3_tokenizers *t) {
    *t = (cm3_tokenizers){0};
    const cm3_status status = open_all(recipe, backend, t);
    if (status != CM3_OK) cm3_tokenizers_close(t);
    return status;
}

void cm3_tokenizers_close(cm3_tokenizers *t) {
    cm3_image_codec_free(t->codec);
    cm3_network_close(t->vqgan);
    cm3_bpe_encoder_free(t->encoder);
    cm3_bpe_free(t->bpe);
    *t = (cm3_tokenizers){0};
}

cm3_status cm3_tokenizers_decode_text(void *context, const int32_t *token_ids, size_t count, char **text,
                                      size_t *length) {
    const cm3_tokenizers *t = context;
    CM3_TRY(cm3_bpe_decode(t->bpe, token_ids, count, NULL, 0, length));
    *text = malloc(*length + 1);
    if (!*text) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a text");
    (*text)[*length] = 0;
    return cm3_bpe_decode(t->bpe, token_ids, count, *text, *length, length);
}
