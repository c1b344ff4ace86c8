#include "train/generate/pipeline.h"

#include "core/auto.h"
#include "data/image/sheet.h"
#include "data/slots.h"
#include "train/run_folder.h"
#include "train/token_store.h"

#include <stdlib.h>
#include <string.h>

enum {
    SAMPLES = 16, /* captions of a training run's sample sheet */
    DECODE_BATCH = 64,
};

/* --- opening ----------------------------------------------------------------------------------------------------- */

static cm3_status open_around(const cm3_recipe *recipe, const cm3_transformer *model, cm3_pipeline *p) {
    *p = (cm3_pipeline){.recipe = recipe, .model = model};
    CM3_TRY(
        cm3_tokenizers_open(recipe, cm3_params_tape_options(cm3_transformer_params(model)).backend, &p->tokenizers));
    return cm3_generator_create(model, recipe->evaluate.rows, &p->generator);
}

/* A model knows the token ids of the vocabulary that it was trained with, and no others. `path` says that it was. */
static cm3_status check_vocabulary(const cm3_pipeline *p, const char *path, cm3_hash trained) {
    char found[CM3_HASH_HEX], expected[CM3_HASH_HEX];
    if (cm3_hash_equal(trained, p->tokenizers.vocab.fingerprint)) return CM3_OK;
    cm3_hash_to_hex(trained, found);
    cm3_hash_to_hex(p->tokenizers.vocab.fingerprint, expected);
    return cm3_fail(CM3_ERR_FORMAT,
                    "%s: vocabulary: found %s, expected that of the run's tokenizers, %s; run `cm3leon tokenize` and "
                    "`cm3leon pretrain` again",
                    path, found, expected);
}

static cm3_status load_model(cm3_pipeline *p, const cm3_backend *backend, const char *checkpoint) {
    cm3_network_options of = cm3_recipe_network(p->recipe, "transformer");
    CM3_AUTO(cm3_checkpoint_state_free) cm3_checkpoint_state state = {0};
    of.vocabulary = p->tokenizers.vocab.size;
    of.use = CM3_USE_INFER;
    of.backend = backend;
    of.compute = cm3_recipe_compute(p->recipe, backend);
    CM3_TRY(cm3_weights_open(checkpoint, of.kind, &state, &of.source));
    cm3_hash trained;
    cm3_status status = cm3_cursors_vocabulary(checkpoint, state.data, &trained);
    if (status == CM3_OK) status = check_vocabulary(p, checkpoint, trained);
    if (status == CM3_OK) status = cm3_network_open(&of, &p->network);
    cm3_weights_close(of.source);
    CM3_TRY(status);
    p->model = p->network->model;
    p->step = state.step;
    return CM3_OK;
}

static cm3_status open_checkpoint(cm3_pipeline *p, const cm3_backend *backend, const char *checkpoint) {
    cm3_path found;
    CM3_TRY(cm3_tokenizers_open(p->recipe, backend, &p->tokenizers));
    if (!checkpoint)
        CM3_TRY(cm3_stage_checkpoint(p->recipe, "pretrain", &found));
    else if (strcmp(checkpoint, "best") == 0)
        CM3_TRY(cm3_checkpoint_best(cm3_stage_path(p->recipe, "pretrain", NULL).text, &found));
    else
        found = cm3_path_format("%s", checkpoint);
    CM3_TRY(load_model(p, backend, found.text));
    return cm3_generator_create(p->model, p->recipe->evaluate.rows, &p->generator);
}

cm3_status cm3_pipeline_open(const cm3_recipe *recipe, const cm3_backend *backend, const char *checkpoint,
                             cm3_pipeline *p) {
    *p = (cm3_pipeline){.recipe = recipe};
    const cm3_status status = open_checkpoint(p, backend, checkpoint);
    if (status != CM3_OK) cm3_pipeline_close(p);
    return status;
}

void cm3_pipeline_close(cm3_pipeline *p) {
    cm3_generator_free(p->generator);
    cm3_network_close(p->network);
    cm3_tokenizers_close(&p->tokenizers);
    *p = (cm3_pipeline){0};
}

/* --- prompts ----------------------------------------------------------------------------------------------------- */

static cm3_status encode_text(const cm3_pipeline *p, const char *text, int32_t **token_ids, size_t *count) {
    const size_t length = strlen(text);
    *token_ids = malloc((length + 1) * sizeof **token_ids);
    if (!*token_ids) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a caption");
    return cm3_bpe_encode(p->tokenizers.encoder, text, length, *token_ids, length + 1, count);
}

/* [text or blank, image or blank] as a prompt. A NULL is a blank. */
static cm3_status make_prompt(const cm3_pipeline *p, const int32_t *text, size_t text_count, const int32_t *codes,
                              cm3_tokens *prompt) {
    CM3_AUTO(cm3_document_free) cm3_document document = {0};
    const int32_t side = codes ? (int32_t)cm3_vqgan_code_side(&p->recipe->image_tokenizer.network) : 0;
    CM3_TRY(cm3_document_add_text(&document, text, text_count));
    CM3_TRY(cm3_document_add_image(&document, codes, side, side));
    return cm3_document_prompt(&document, &p->tokenizers.vocab, prompt);
}

static cm3_id_range region(const cm3_pipeline *p, cm3_region_role role) {
    const cm3_region r = p->tokenizers.vocab.region[role];
    return (cm3_id_range){.first = r.first, .count = r.count};
}

static int64_t codes_per_image(const cm3_pipeline *p) {
    return cm3_vqgan_codes_per_image(&p->recipe->image_tokenizer.network);
}

/* Requests with the tokens that their prompts and outputs lie in. */
typedef struct request_list {
    cm3_request *requests;
    cm3_tokens *prompts;
    cm3_tokens unconditional;
    int32_t *out;
    int64_t count;
} request_list;

static cm3_status list_create(int64_t count, int64_t tokens, request_list *list) {
    *list = (request_list){.count = count};
    list->requests = calloc((size_t)count, sizeof *list->requests);
    list->prompts = calloc((size_t)count, sizeof *list->prompts);
    list->out = calloc((size_t)(count * tokens), sizeof *list->out);
    if (!list->requests || !list->prompts || !list->out)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld prompts", (long long)count);
    for (int64_t i = 0; i < count; i++) list->requests[i].out = list->out + i * tokens;
    return CM3_OK;
}

static void list_free(request_list *list) {
    for (int64_t i = 0; list->prompts && i < list->count; i++) CM3_LIST_FREE(&list->prompts[i]);
    CM3_LIST_FREE(&list->unconditional);
    free(list->requests);
    free(list->prompts);
    free(list->out);
}

static cm3_status prepare_images(cm3_pipeline *p, const cm3_decode_config *config, const char *const *captions,
                                 uint64_t first_sample, request_list *list) {
    const bool guided = config->guidance != 1 || config->method == CM3_DECODE_CD_K;
    const cm3_phase image = {.allowed = {region(p, CM3_REGION_IMAGE)}, .ranges = 1, .tokens = codes_per_image(p)};
    CM3_TRY(make_prompt(p, NULL, 0, NULL, &list->unconditional));
    for (int64_t i = 0; i < list->count; i++) {
        cm3_request *r = &list->requests[i];
        CM3_AUTO_FREE int32_t *token_ids = NULL;
        size_t count = 0;
        CM3_TRY(encode_text(p, captions[i], &token_ids, &count));
        CM3_TRY(make_prompt(p, token_ids, count, NULL, &list->prompts[i]));
        r->mix = guided ? cm3_mix_guidance(config->guidance) : cm3_mix_none();
        r->prompts[0] = list->prompts[i].items;
        r->prompt_tokens[0] = (int64_t)list->prompts[i].count;
        r->prompts[1] = list->unconditional.items;
        r->prompt_tokens[1] = (int64_t)list->unconditional.count;
        r->phases[0] = image;
        r->phase_count = 1;
        r->sample = first_sample + (uint64_t)i;
    }
    return CM3_OK;
}

cm3_status cm3_pipeline_generate_codes(cm3_pipeline *p, const cm3_decode_config *config, const char *const *captions,
                                       int64_t count, uint64_t first_sample, int32_t *codes,
                                       void (*advanced)(void *context, int64_t done), void *context) {
    const int64_t per_image = codes_per_image(p);
    CM3_AUTO(list_free) request_list list = {0};
    CM3_TRY(list_create(count, per_image, &list));
    CM3_TRY(prepare_images(p, config, captions, first_sample, &list));
    CM3_TRY(cm3_generate(p->generator, config, list.requests, count, advanced, context));
    for (int64_t i = 0; i < count * per_image; i++)
        codes[i] = cm3_vocab_token_id(&p->tokenizers.vocab, CM3_REGION_IMAGE, list.out[i]);
    return CM3_OK;
}

cm3_status cm3_pipeline_decode_images(cm3_pipeline *p, const int32_t *codes, int64_t count, cm3_image *images) {
    const int64_t side = p->recipe->image_tokenizer.network.image_size, values = side * side * 3;
    CM3_AUTO_FREE float *pixels = malloc((size_t)(DECODE_BATCH * values) * sizeof *pixels);
    cm3_status status = pixels ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory to decode %d images", DECODE_BATCH);
    memset(images, 0, (size_t)count * sizeof *images);
    for (int64_t i = 0; i < count && status == CM3_OK; i++) {
        const int64_t left = count - i, at = i % DECODE_BATCH;
        if (at == 0)
            status = cm3_image_codec_decode(p->tokenizers.codec, codes + i * codes_per_image(p),
                                            left < DECODE_BATCH ? left : DECODE_BATCH, pixels);
        if (status == CM3_OK) status = cm3_image_from_float(pixels + at * values, (int)side, (int)side, 3, &images[i]);
    }
    for (int64_t i = 0; i < count && status != CM3_OK; i++) cm3_image_free(&images[i]);
    return status;
}

static cm3_status prepare_captions(cm3_pipeline *p, const int32_t *codes, uint64_t first_sample, request_list *list) {
    const int64_t per_image = codes_per_image(p);
    const cm3_phase text = {.allowed = {region(p, CM3_REGION_TEXT), region(p, CM3_REGION_EOSS)},
                            .ranges = 2,
                            .stop = region(p, CM3_REGION_EOSS),
                            .tokens = p->recipe->evaluate.caption_tokens};
    for (int64_t i = 0; i < list->count; i++) {
        cm3_request *r = &list->requests[i];
        CM3_TRY(make_prompt(p, NULL, 0, codes + i * per_image, &list->prompts[i]));
        r->mix = cm3_mix_none();
        r->prompts[0] = list->prompts[i].items;
        r->prompt_tokens[0] = (int64_t)list->prompts[i].count;
        r->phases[0] = text;
        r->phase_count = 1;
        r->sample = first_sample + (uint64_t)i;
    }
    return CM3_OK;
}

cm3_status cm3_pipeline_caption(cm3_pipeline *p, const cm3_decode_config *config, const int32_t *codes, int64_t count,
                                uint64_t first_sample, char **captions, void (*advanced)(void *context, int64_t done),
                                void *context) {
    CM3_AUTO(list_free) request_list list = {0};
    for (int64_t i = 0; i < count; i++) captions[i] = NULL;
    CM3_TRY(list_create(count, p->recipe->evaluate.caption_tokens, &list));
    CM3_TRY(prepare_captions(p, codes, first_sample, &list));
    CM3_TRY(cm3_generate(p->generator, config, list.requests, count, advanced, context));
    for (int64_t i = 0; i < count; i++) {
        cm3_request *r = &list.requests[i];
        size_t words = 0, length;
        for (int64_t t = 0; t < r->count; t++)
            if (cm3_vocab_is(&p->tokenizers.vocab, CM3_REGION_TEXT, r->out[t]))
                r->out[words++] = cm3_vocab_token_id(&p->tokenizers.vocab, CM3_REGION_TEXT, r->out[t]);
        CM3_TRY(cm3_tokenizers_decode_text(&p->tokenizers, r->out, words, &captions[i], &length));
    }
    return CM3_OK;
}

/* --- samples of a training run ----------------------------------------------------------------------------------- */

static cm3_status write_sheet(const cm3_recipe *recipe, const cm3_image *images, int count, int64_t step,
                              cm3_metrics *metrics) {
    const cm3_path folder = cm3_stage_path(recipe, "pretrain", "samples"),
                   path = cm3_path_format("%s/step-%lld.png", folder.text, (long long)step);
    CM3_AUTO(cm3_image_free) cm3_image sheet = {0};
    CM3_AUTO_FREE uint8_t *png = NULL;
    size_t length = 0;
    CM3_TRY(cm3_folder_make(folder.text));
    CM3_TRY(cm3_image_sheet(images, count, 8, 4, (cm3_colour){255, 255, 255}, &sheet));
    CM3_TRY(cm3_image_encode_png(&sheet, &png, &length));
    CM3_TRY(cm3_file_write(path.text, png, length));
    return cm3_metrics_image(metrics, "samples/true_beside_generated", step, png, length, sheet.width, sheet.height);
}

/* Generated images of captions beside the true ones, in one row each. */
static cm3_status sample_images(cm3_pipeline *p, cm3_store *store, int64_t step, cm3_metrics *metrics) {
    const int64_t per_image = codes_per_image(p);
    const cm3_store_info *info = cm3_store_get_info(store);
    const int64_t training = info->samples - info->validation, count = training < SAMPLES ? training : SAMPLES;
    char *captions[SAMPLES] = {0};
    cm3_image images[2 * SAMPLES], pairs[2 * SAMPLES];
    CM3_AUTO_FREE int32_t *codes = calloc((size_t)(2 * SAMPLES * per_image), sizeof *codes);
    cm3_status status = codes ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for sample images");
    for (int64_t i = 0; i < count && status == CM3_OK; i++) { /* true codes behind the generated ones */
        const int64_t index = cm3_store_training(store, i * training / count);
        status = cm3_token_store_pair_codes(store, index, per_image, codes + (count + i) * per_image);
        if (status == CM3_OK) status = cm3_store_read_string(store, index, CM3_STORE_CAPTION, &captions[i]);
    }
    if (status == CM3_OK)
        status = cm3_pipeline_generate_codes(p, &p->recipe->generate, (const char *const *)captions, count, 0, codes,
                                             NULL, NULL);
    for (int i = 0; i < SAMPLES; i++) free(captions[i]);
    CM3_TRY(status);
    CM3_TRY(cm3_pipeline_decode_images(p, codes, 2 * count, images));
    for (int64_t i = 0; i < 2 * count; i++) pairs[i] = images[i % 2 ? i / 2 : count + i / 2]; /* true, generated, ... */
    status = write_sheet(p->recipe, pairs, (int)(2 * count), step, metrics);
    for (int i = 0; i < 2 * count; i++) cm3_image_free(&images[i]);
    return status;
}

cm3_status cm3_pipeline_write_samples(const cm3_recipe *recipe, const cm3_transformer *model, cm3_store *store,
                                      int64_t step, cm3_metrics *metrics) {
    CM3_AUTO(cm3_pipeline_close) cm3_pipeline pipeline = {0};
    CM3_TRY(open_around(recipe, model, &pipeline));
    CM3_TRY(check_vocabulary(&pipeline, cm3_store_path(store), cm3_store_get_info(store)->vocabulary));
    return sample_images(&pipeline, store, step, metrics);
}
