#include "train/generate/pipeline.h"

#include "core/file.h"
#include "core/log.h"
#include "data/image/sheet.h"
#include "data/slots.h"
#include "train/run_folder.h"
#include "train/token_store.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 16 }; /* images of a training run's sample sheet */

/* --- opening ----------------------------------------------------------------------------------------------------- */

/* `wanted`: "best", or NULL for the newest. */
static cm3_status find_checkpoint(const cm3_recipe *recipe, const char *wanted, char **path) {
    char *folder = cm3_stage_path(recipe, "pretrain", NULL);
    if (!folder) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    cm3_status status = wanted ? cm3_checkpoint_best(folder, path) : cm3_checkpoint_latest(folder, path);
    if (status == CM3_ERR_NOT_FOUND && !wanted)
        status = cm3_fail(status, "%s: has no checkpoint; run `cm3leon pretrain` first", folder);
    free(folder);
    return status;
}

/* A model knows the token ids of the vocabulary that it was trained with, and no others. `path` says that it was. */
static cm3_status check_vocabulary(const cm3_pipeline *a, const char *path, cm3_hash trained) {
    char found[CM3_HASH_HEX], expected[CM3_HASH_HEX];
    if (cm3_hash_equal(trained, a->tokenizers.vocab.fingerprint)) return CM3_OK;
    cm3_hash_to_hex(trained, found);
    cm3_hash_to_hex(a->tokenizers.vocab.fingerprint, expected);
    return cm3_fail(CM3_ERR_FORMAT,
                    "%s: vocabulary: found %s, expected that of the run's tokenizers, %s; run `cm3leon tokenize` and "
                    "`cm3leon pretrain` again",
                    path, found, expected);
}

cm3_status cm3_pipeline_around(const cm3_recipe *recipe, const cm3_transformer *model, cm3_pipeline *a) {
    *a = (cm3_pipeline){.recipe = recipe, .model = model};
    const cm3_backend *backend = cm3_params_tape_options(cm3_transformer_params(model)).backend;
    cm3_status status = cm3_tokenizers_open(recipe, backend, &a->tokenizers);
    if (status == CM3_OK) status = cm3_generator_create(model, recipe->evaluate.rows, &a->generator);
    if (status != CM3_OK) cm3_pipeline_close(a);
    return status;
}

static cm3_status load_model(cm3_pipeline *a, const cm3_backend *backend, const char *checkpoint) {
    cm3_network_options of = cm3_recipe_network(a->recipe, "transformer");
    cm3_checkpoint_state state = {0};
    of.vocabulary = a->tokenizers.vocab.size;
    of.use = CM3_USE_INFER;
    of.backend = backend;
    of.compute = cm3_recipe_compute(a->recipe, backend);
    cm3_hash trained;
    cm3_status status = cm3_weights_open(checkpoint, of.kind, &state, &of.source);
    if (status == CM3_OK) status = cm3_cursors_vocabulary(checkpoint, state.data, &trained);
    if (status == CM3_OK) status = check_vocabulary(a, checkpoint, trained);
    if (status == CM3_OK) status = cm3_network_open(&of, &a->network);
    if (status == CM3_OK) a->model = a->network->model;
    a->step = state.step;
    cm3_weights_close(of.source);
    cm3_checkpoint_state_free(&state);
    return status;
}

cm3_status cm3_pipeline_open(const cm3_recipe *recipe, const cm3_backend *backend, const char *checkpoint,
                             cm3_pipeline *a) {
    *a = (cm3_pipeline){.recipe = recipe};
    char *found = NULL;
    cm3_status status = cm3_tokenizers_open(recipe, backend, &a->tokenizers);
    if (status == CM3_OK && (!checkpoint || strcmp(checkpoint, "best") == 0)) {
        status = find_checkpoint(recipe, checkpoint, &found);
        checkpoint = found;
    }
    if (status == CM3_OK) status = load_model(a, backend, checkpoint);
    if (status == CM3_OK) status = cm3_generator_create(a->model, recipe->evaluate.rows, &a->generator);
    free(found);
    if (status != CM3_OK) cm3_pipeline_close(a);
    return status;
}

void cm3_pipeline_close(cm3_pipeline *a) {
    cm3_generator_free(a->generator);
    cm3_network_close(a->network);
    cm3_tokenizers_close(&a->tokenizers);
    *a = (cm3_pipeline){0};
}

/* --- prompts ----------------------------------------------------------------------------------------------------- */

static cm3_status encode_text(const cm3_pipeline *a, const char *text, int32_t **token_ids, size_t *count) {
    const size_t length = strlen(text);
    *token_ids = malloc((length + 1) * sizeof **token_ids);
    if (!*token_ids) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a caption");
    return cm3_bpe_encode(a->tokenizers.encoder, text, length, *token_ids, length + 1, count);
}

/* [text or blank, image or blank] as a prompt. A NULL is a blank. */
static cm3_status make_prompt(const cm3_pipeline *a, const int32_t *text, size_t text_count, const int32_t *codes,
                              cm3_tokens *prompt) {
    cm3_document document = {0};
    const int32_t side = codes ? (int32_t)cm3_vqgan_code_side(&a->recipe->image_tokenizer.network) : 0;
    cm3_status status = cm3_document_add_text(&document, text, text_count);
    if (status == CM3_OK) status = cm3_document_add_image(&document, codes, side, side);
    if (status == CM3_OK) status = cm3_document_prompt(&document, &a->tokenizers.vocab, prompt);
    cm3_document_free(&document);
    return status;
}

static cm3_id_range region(const cm3_pipeline *a, cm3_region_role role) {
    const cm3_region r = a->tokenizers.vocab.region[role];
    return (cm3_id_range){.first = r.first, .count = r.count};
}

static int64_t codes_per_image(const cm3_pipeline *a) {
    return cm3_vqgan_codes_per_image(&a->recipe->image_tokenizer.network);
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

static cm3_status prepare_drawing(cm3_pipeline *a, const cm3_decode_config *config, const char *const *captions,
                                  uint64_t first_sample, request_list *list) {
    const bool guided = config->guidance != 1 || config->method == CM3_DECODE_CD_K;
    const cm3_phase image = {.allowed = {region(a, CM3_REGION_IMAGE)}, .ranges = 1, .tokens = codes_per_image(a)};
    CM3_TRY(make_prompt(a, NULL, 0, NULL, &list->unconditional));
    for (int64_t i = 0; i < list->count; i++) {
        cm3_request *r = &list->requests[i];
        int32_t *token_ids = NULL;
        size_t count = 0;
        cm3_status status = encode_text(a, captions[i], &token_ids, &count);
        if (status == CM3_OK) status = make_prompt(a, token_ids, count, NULL, &list->prompts[i]);
        free(token_ids);
        CM3_TRY(status);
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

cm3_status cm3_pipeline_generate_codes(cm3_pipeline *a, const cm3_decode_config *config, const char *const *captions,
                                       int64_t count, uint64_t first_sample, int32_t *codes,
                                       void (*advanced)(void *context, int64_t done), void *context) {
    const int64_t per_image = codes_per_image(a);
    request_list list;
    cm3_status status = list_create(count, per_image, &list);
    if (status == CM3_OK) status = prepare_drawing(a, config, captions, first_sample, &list);
    if (status == CM3_OK) status = cm3_generate(a->generator, config, list.requests, count, advanced, context);
    for (int64_t i = 0; status == CM3_OK && i < count * per_image; i++)
        codes[i] = cm3_vocab_token_id(&a->tokenizers.vocab, CM3_REGION_IMAGE, list.out[i]);
    list_free(&list);
    return status;
}

cm3_status cm3_pipeline_decode_images(cm3_pipeline *a, const int32_t *codes, int64_t count, float *pixels) {
    return cm3_image_codec_decode(a->tokenizers.codec, codes, count, pixels);
}

static cm3_status prepare_describing(cm3_pipeline *a, const int32_t *codes, uint64_t first_sample, request_list *list) {
    const int64_t per_image = codes_per_image(a);
    const cm3_phase text = {.allowed = {region(a, CM3_REGION_TEXT), region(a, CM3_REGION_EOSS)},
                            .ranges = 2,
                            .stop = region(a, CM3_REGION_EOSS),
                            .tokens = a->recipe->evaluate.caption_tokens};
    for (int64_t i = 0; i < list->count; i++) {
        cm3_request *r = &list->requests[i];
        CM3_TRY(make_prompt(a, NULL, 0, codes + i * per_image, &list->prompts[i]));
        r->mix = cm3_mix_none();
        r->prompts[0] = list->prompts[i].items;
        r->prompt_tokens[0] = (int64_t)list->prompts[i].count;
        r->phases[0] = text;
        r->phase_count = 1;
        r->sample = first_sample + (uint64_t)i;
    }
    return CM3_OK;
}

cm3_status cm3_pipeline_caption(cm3_pipeline *a, const cm3_decode_config *config, const int32_t *codes, int64_t count,
                                uint64_t first_sample, char **captions, void (*advanced)(void *context, int64_t done),
                                void *context) {
    request_list list;
    cm3_status status = list_create(count, a->recipe->evaluate.caption_tokens, &list);
    if (status == CM3_OK) status = prepare_describing(a, codes, first_sample, &list);
    if (status == CM3_OK) status = cm3_generate(a->generator, config, list.requests, count, advanced, context);
    for (int64_t i = 0; i < count; i++) captions[i] = NULL;
    for (int64_t i = 0; status == CM3_OK && i < count; i++) {
        cm3_request *r = &list.requests[i];
        size_t words = 0, length;
        for (int64_t t = 0; t < r->count; t++)
            if (cm3_vocab_is(&a->tokenizers.vocab, CM3_REGION_TEXT, r->out[t]))
                r->out[words++] = cm3_vocab_token_id(&a->tokenizers.vocab, CM3_REGION_TEXT, r->out[t]);
        status = cm3_tokenizers_decode_text(&a->tokenizers, r->out, words, &captions[i], &length);
    }
    list_free(&list);
    return status;
}

/* --- samples of a training run ----------------------------------------------------------------------------------- */

static cm3_status write_sheet(const cm3_recipe *recipe, const cm3_image *images, int count, int64_t step,
                              cm3_metrics *metrics) {
    char name[64];
    snprintf(name, sizeof name, "samples/step-%lld.png", (long long)step);
    char *folder = cm3_stage_path(recipe, "pretrain", "samples"), *path = cm3_stage_path(recipe, "pretrain", name);
    cm3_image sheet = {0};
    uint8_t *png = NULL;
    size_t length = 0;
    cm3_status status = folder && path ? cm3_folder_make(folder) : cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    if (status == CM3_OK) status = cm3_image_sheet(images, count, 8, 4, (cm3_colour){255, 255, 255}, &sheet);
    if (status == CM3_OK) status = cm3_image_write_png(&sheet, path);
    if (status == CM3_OK) status = cm3_image_encode_png(&sheet, &png, &length);
    if (status == CM3_OK)
        status =
            cm3_metrics_image(metrics, "samples/true_beside_generated", step, png, length, sheet.width, sheet.height);
    free(png);
    cm3_image_free(&sheet);
    free(folder);
    free(path);
    return status;
}

static cm3_status draw_sheet(cm3_pipeline *a, cm3_store *store, int64_t step, cm3_metrics *metrics) {
    const int64_t per_image = codes_per_image(a), side = a->recipe->image_tokenizer.network.image_size,
                  values = side * side * 3;
    const cm3_store_info *info = cm3_store_get_info(store);
    const int64_t training = info->samples - info->validation, count = training < SAMPLES ? training : SAMPLES;
    char *captions[SAMPLES] = {0};
    cm3_image images[2 * SAMPLES] = {0};
    int32_t *codes = calloc((size_t)(2 * SAMPLES * per_image), sizeof *codes);
    float *pixels = calloc((size_t)(2 * SAMPLES * values), sizeof *pixels);
    cm3_status status = codes && pixels ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for sample images");
    for (int64_t i = 0; i < count && status == CM3_OK; i++) { /* true codes behind the generated ones */
        const int64_t index = cm3_store_training(store, i * training / count);
        status = cm3_token_store_pair_codes(store, index, per_image, codes + (count + i) * per_image);
        if (status == CM3_OK) status = cm3_store_read_string(store, index, CM3_STORE_CAPTION, &captions[i]);
    }
    if (status == CM3_OK)
        status = cm3_pipeline_generate_codes(a, &a->recipe->generate, (const char *const *)captions, count, 0, codes,
                                             NULL, NULL);
    if (status == CM3_OK) status = cm3_pipeline_decode_images(a, codes, 2 * count, pixels);
    for (int64_t i = 0; i < 2 * count && status == CM3_OK; i++) /* true, generated, true, generated ... */
        status = cm3_image_from_float(pixels + (i % 2 ? i / 2 : count + i / 2) * values, (int)side, (int)side, 3,
                                      &images[i]);
    if (status == CM3_OK) status = write_sheet(a->recipe, images, (int)(2 * count), step, metrics);
    for (int i = 0; i < 2 * SAMPLES; i++) cm3_image_free(&images[i]);
    for (int i = 0; i < SAMPLES; i++) free(captions[i]);
    free(codes);
    free(pixels);
    return status;
}

cm3_status cm3_pipeline_write_samples(const cm3_recipe *recipe, const cm3_transformer *model, cm3_store *store,
                                      int64_t step, cm3_metrics *metrics) {
    cm3_pipeline pipeline;
    CM3_TRY(cm3_pipeline_around(recipe, model, &pipeline));
    cm3_status status = check_vocabulary(&pipeline, cm3_store_path(store), cm3_store_get_info(store)->vocabulary);
    if (status == CM3_OK) status = draw_sheet(&pipeline, store, step, metrics);
    cm3_pipeline_close(&pipeline);
    return status;
}
