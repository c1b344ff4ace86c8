#include "train/evaluate/evaluate.h"

#include "core/auto.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/progress.h"
#include "train/evaluate/album.h"
#include "train/evaluate/match.h"
#include "train/evaluate/scoring.h"
#include "train/generate/pipeline.h"
#include "train/run_folder.h"
#include "train/token_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    DECODE_BATCH = 64,      /* images that are decoded, or read from the source, together */
    ALBUM_PAIRS = 128,      /* of a split, at most */
    ALBUM_PIXELS = 1 << 24, /* of a split's images, at most */
    ALBUM_ROWS = 4,
    ROW_SAMPLES = 8,
};

/* One evaluation. What is (mine) belongs to this rank's share of the pairs; what is (all) is complete on rank 0. */
typedef struct evaluator {
    const cm3_stage_context *stage;
    const cm3_evaluate_options *options;
    cm3_pipeline pipeline;
    cm3_source *source;
    cm3_store *store;
    int64_t per_image, side, bytes; /* codes, pixels, bytes of an image */
    int64_t *pairs;                 /* indices of all evaluated pairs: seen ones, then validation ones */
    int64_t seen, validation, left_out;
    int64_t share, first, count; /* pairs of a rank at most; where mine begin; how many are mine */
    char **captions, **written;  /* (mine) true captions; the model's */
    int32_t *codes, *generated;  /* (mine, C) of the true images; of the generated ones */
    cm3_hash *hashes;            /* of all images of the source */
    cm3_judgement *mine, *all;
    int32_t *all_generated; /* (all, C) */
    char *all_written;      /* (all, written_size) */
    int64_t written_size;
    double image_seconds, caption_seconds;
} evaluator;

static bool is_first(const evaluator *e) {
    return cm3_comm_rank(e->stage->comm) == 0;
}

/* --- which pairs ------------------------------------------------------------------------------------------------- */

/* The last token of a sample is never an input. */
static cm3_status fits(evaluator *e, int64_t index, bool *fit) {
    CM3_AUTO(cm3_document_free) cm3_document document = {0};
    CM3_TRY(cm3_store_lengths(e->store, index, &document));
    *fit = cm3_document_size(&document) - 1 <= e->stage->recipe->model.context;
    return CM3_OK;
}

static cm3_status choose_split(evaluator *e, bool validation, int64_t *chosen) {
    const cm3_store_info *info = cm3_store_get_info(e->store);
    const int64_t total = validation ? info->validation : info->samples - info->validation,
                  prompts = e->options->prompts;
    const int64_t wanted = prompts && prompts < total ? prompts : total;
    *chosen = 0;
    for (int64_t i = 0; i < wanted; i++) {
        const int64_t k = (int64_t)((double)i * (double)total / (double)wanted);
        const int64_t index = validation ? cm3_store_validation(e->store, k) : cm3_store_training(e->store, k);
        bool fit;
        CM3_TRY(fits(e, index, &fit));
        if (fit)
            e->pairs[e->seen + (*chosen)++] = index;
        else
            e->left_out++;
    }
    return CM3_OK;
}

static cm3_status choose(evaluator *e) {
    const cm3_store_info *info = cm3_store_get_info(e->store);
    if (info->samples != cm3_source_count(e->source))
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: %lld samples, but the source has %lld pairs now; run `cm3leon tokenize` again",
                        cm3_store_path(e->store), (long long)info->samples, (long long)cm3_source_count(e->source));
    e->pairs = calloc((size_t)info->samples + 1, sizeof *e->pairs);
    if (!e->pairs) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a list of %lld pairs", (long long)info->samples);
    int64_t seen;
    CM3_TRY(choose_split(e, false, &seen));
    e->seen = seen;
    CM3_TRY(choose_split(e, true, &e->validation));
    if (e->seen + e->validation == 0)
        return cm3_fail(CM3_ERR_RECIPE, "model.context: no pair fits into %lld tokens",
                        (long long)e->stage->recipe->model.context);
    const int64_t all = e->seen + e->validation, ranks = cm3_comm_size(e->stage->comm);
    e->share = (all + ranks - 1) / ranks;
    e->first = e->share * cm3_comm_rank(e->stage->comm);
    e->count = all - e->first < 0 ? 0 : all - e->first < e->share ? all - e->first : e->share;
    return CM3_OK;
}

static cm3_status allocate(evaluator *e) {
    const size_t share = (size_t)e->share, ranks = (size_t)cm3_comm_size(e->stage->comm), codes = (size_t)e->per_image;
    e->captions = calloc(share, sizeof *e->captions);
    e->written = calloc(share, sizeof *e->written);
    e->codes = calloc(share * codes, sizeof *e->codes);
    e->generated = calloc(share * codes, sizeof *e->generated);
    e->hashes = calloc((size_t)cm3_source_count(e->source), sizeof *e->hashes);
    e->mine = calloc(share, sizeof *e->mine);
    e->all = calloc(share * ranks, sizeof *e->all);
    e->all_generated = calloc(share * ranks * codes, sizeof *e->all_generated);
    if (e->captions && e->written && e->codes && e->generated && e->hashes && e->mine && e->all && e->all_generated)
        return CM3_OK;
    return cm3_fail(CM3_ERR_MEMORY, "out of memory to evaluate %lld pairs", (long long)e->share);
}

static cm3_status set_up(evaluator *e) {
    const cm3_recipe *recipe = e->stage->recipe;
    CM3_TRY(cm3_pipeline_open(recipe, e->stage->device->backend, e->options->checkpoint, &e->pipeline));
    e->per_image = cm3_vqgan_codes_per_image(&recipe->image_tokenizer.network);
    e->side = recipe->image_tokenizer.network.image_size;
    e->bytes = e->side * e->side * 3;
    CM3_TRY(cm3_source_open(&recipe->source, &e->source));
    CM3_TRY(cm3_token_store_open(recipe, &e->pipeline.tokenizers.vocab, &e->store));
    CM3_TRY(choose(e));
    CM3_TRY(allocate(e));
    for (int64_t i = 0; i < e->count; i++) {
        const int64_t index = e->mine[i].index = e->pairs[e->first + i];
        CM3_TRY(cm3_store_read_string(e->store, index, CM3_STORE_CAPTION, &e->captions[i]));
        CM3_TRY(cm3_token_store_pair_codes(e->store, index, e->per_image, e->codes + i * e->per_image));
    }
    return CM3_OK;
}

static void tear_down(evaluator *e) {
    for (int64_t i = 0; i < e->count; i++) {
        if (e->captions) free(e->captions[i]);
        if (e->written) free(e->written[i]);
    }
    cm3_store_close(e->store);
    cm3_source_close(e->source);
    cm3_pipeline_close(&e->pipeline);
    free(e->pairs);
    free(e->captions);
    free(e->written);
    free(e->codes);
    free(e->generated);
    free(e->hashes);
    free(e->mine);
    free(e->all);
    free(e->all_generated);
    free(e->all_written);
}

/* --- what the model generates ------------------------------------------------------------------------------------ */

static void advanced(void *context, int64_t done) {
    if (context) cm3_progress_update(context, (uint64_t)done);
}

static cm3_status generate_images(evaluator *e) {
    cm3_progress progress = cm3_progress_start("evaluate: generate images", "images", (uint64_t)e->count);
    const double begin = cm3_clock_seconds();
    const cm3_status status = cm3_pipeline_generate_codes(
        &e->pipeline, &e->stage->recipe->generate, (const char *const *)e->captions, e->count, (uint64_t)e->first,
        e->generated, advanced, is_first(e) ? &progress : NULL);
    e->image_seconds = cm3_clock_seconds() - begin;
    if (is_first(e)) cm3_progress_end(&progress);
    return status;
}

static cm3_status generate_captions(evaluator *e) {
    cm3_decode_config greedy = e->stage->recipe->generate;
    greedy.temperature = 0;
    cm3_progress progress = cm3_progress_start("evaluate: generate captions", "images", (uint64_t)e->count);
    const double begin = cm3_clock_seconds();
    const cm3_status status = cm3_pipeline_caption(&e->pipeline, &greedy, e->codes, e->count, (uint64_t)e->first,
                                                   e->written, advanced, is_first(e) ? &progress : NULL);
    e->caption_seconds = cm3_clock_seconds() - begin;
    if (is_first(e)) cm3_progress_end(&progress);
    CM3_TRY(status);
    for (int64_t i = 0; i < e->count; i++) e->mine[i].caption_right = strcmp(e->written[i], e->captions[i]) == 0;
    return CM3_OK;
}

/* Codes (count, C) to bytes (count, side, side, 3): what a person would see. */
static cm3_status decode_bytes(evaluator *e, const int32_t *codes, int64_t count, uint8_t *bytes) {
    for (int64_t first = 0; first < count; first += DECODE_BATCH) {
        const int64_t n = count - first < DECODE_BATCH ? count - first : DECODE_BATCH;
        cm3_image images[DECODE_BATCH];
        CM3_TRY(cm3_pipeline_decode_images(&e->pipeline, codes + first * e->per_image, n, images));
        for (int64_t i = 0; i < n; i++) {
            memcpy(bytes + (first + i) * e->bytes, images[i].pixels, (size_t)e->bytes);
            cm3_image_free(&images[i]);
        }
    }
    return CM3_OK;
}

static cm3_status read_truth(const evaluator *e, int64_t index, cm3_image *image) {
    cm3_pair pair;
    CM3_TRY(cm3_source_read(e->source, index, &pair));
    cm3_status status = CM3_OK;
    if (cm3_image_size(&pair.image) != (size_t)e->bytes)
        status = cm3_fail(CM3_ERR_INTERNAL, "%s: is not %lld pixels square", pair.name, (long long)e->side);
    else
        *image = pair.image;
    if (status == CM3_OK) pair.image = (cm3_image){0};
    cm3_pair_free(&pair);
    return status;
}

/* --- scores ------------------------------------------------------------------------------------------------------ */

/* The nearest image of the whole source to each of my generated images. */
static cm3_status search(evaluator *e) {
    const int64_t total = cm3_source_count(e->source);
    CM3_AUTO_FREE uint8_t *generated = malloc((size_t)(e->share * e->bytes));
    CM3_AUTO_FREE uint8_t *truth = malloc((size_t)(DECODE_BATCH * e->bytes));
    CM3_AUTO_FREE cm3_match *best = malloc((size_t)e->share * sizeof *best);
    if (!generated || !truth || !best)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld images", (long long)(e->share + DECODE_BATCH));
    CM3_TRY(decode_bytes(e, e->generated, e->count, generated));
    for (int64_t i = 0; i < e->count; i++) best[i] = CM3_MATCH_NONE;
    for (int64_t first = 0; first < total; first += DECODE_BATCH) {
        const int64_t n = total - first < DECODE_BATCH ? total - first : DECODE_BATCH;
        for (int64_t i = 0; i < n; i++) {
            CM3_AUTO(cm3_image_free) cm3_image image = {0};
            CM3_TRY(read_truth(e, first + i, &image));
            memcpy(truth + i * e->bytes, image.pixels, (size_t)e->bytes);
            e->hashes[first + i] = cm3_hash_bytes(image.pixels, (size_t)e->bytes);
        }
        cm3_match_offer(generated, e->count, truth, first, n, e->bytes, best);
    }
    for (int64_t i = 0; i < e->count; i++) {
        e->mine[i].nearest = best[i].index;
        e->mine[i].image_right = cm3_hash_equal(e->hashes[best[i].index], e->hashes[e->mine[i].index]);
    }
    return CM3_OK;
}

/* The error of images that are decoded from their own codes. */
static cm3_status reconstruct(evaluator *e) {
    CM3_AUTO_FREE uint8_t *decoded = malloc((size_t)(e->share * e->bytes));
    if (!decoded) return cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld images", (long long)e->share);
    CM3_TRY(decode_bytes(e, e->codes, e->count, decoded));
    for (int64_t i = 0; i < e->count; i++) {
        CM3_AUTO(cm3_image_free) cm3_image truth = {0};
        CM3_TRY(read_truth(e, e->mine[i].index, &truth));
        e->mine[i].bytes = e->bytes;
        e->mine[i].squared_error =
            (int64_t)cm3_image_distance(truth.pixels, decoded + i * e->bytes, e->bytes, UINT64_MAX);
    }
    return CM3_OK;
}

static cm3_status render(evaluator *e, int64_t i, cm3_tokens *sample) {
    CM3_AUTO(cm3_document_free) cm3_document document = {0};
    CM3_TRY(cm3_store_read(e->store, e->mine[i].index, (cm3_range){0, INT64_MAX}, &document));
    return cm3_document_render(&document, &e->pipeline.tokenizers.vocab, sample);
}

static cm3_status score(evaluator *e) {
    CM3_AUTO_FREE cm3_tokens *samples = calloc((size_t)e->share, sizeof *samples);
    CM3_AUTO_FREE cm3_sample_score *scores = calloc((size_t)e->share, sizeof *scores);
    if (!samples || !scores)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory to score %lld samples", (long long)e->share);
    cm3_status status = CM3_OK;
    for (int64_t i = 0; i < e->count && status == CM3_OK; i++) status = render(e, i, &samples[i]);
    if (status == CM3_OK && e->count)
        status = cm3_score_samples(e->pipeline.model, &e->pipeline.tokenizers.vocab, samples, e->count,
                                   e->stage->recipe->evaluate.rows, scores);
    for (int64_t i = 0; i < e->count; i++) {
        e->mine[i].tokens = scores[i];
        CM3_LIST_FREE(&samples[i]);
    }
    return status;
}

/* --- together ---------------------------------------------------------------------------------------------------- */

static cm3_status gather_written(evaluator *e) {
    int64_t longest = 1;
    for (int64_t i = 0; i < e->count; i++)
        if ((int64_t)strlen(e->written[i]) + 1 > longest) longest = (int64_t)strlen(e->written[i]) + 1;
    CM3_TRY(cm3_comm_reduce_i64(e->stage->comm, &longest, 1, CM3_REDUCE_MAX));
    e->written_size = longest;
    CM3_AUTO_FREE char *mine = calloc((size_t)e->share, (size_t)longest);
    e->all_written = calloc((size_t)(e->share * cm3_comm_size(e->stage->comm)), (size_t)longest);
    const bool fits = mine && e->all_written;
    CM3_TRY(
        cm3_comm_agree_status(e->stage->comm, fits ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for captions")));
    for (int64_t i = 0; i < e->count; i++) strcpy(mine + i * longest, e->written[i]);
    return cm3_comm_gather(e->stage->comm, mine, e->share * longest, e->all_written, 0);
}

static cm3_status gather(evaluator *e) {
    CM3_TRY(cm3_comm_gather(e->stage->comm, e->mine, e->share * (int64_t)sizeof *e->mine, e->all, 0));
    CM3_TRY(cm3_comm_gather(e->stage->comm, e->generated, e->share * e->per_image * (int64_t)sizeof *e->generated,
                            e->all_generated, 0));
    return gather_written(e);
}

cm3_score cm3_score_of(const cm3_judgement *judgements, int64_t count) {
    cm3_score s = {.pairs = count};
    double text_nats = 0, image_nats = 0, squared_error = 0, bytes = 0;
    for (int64_t i = 0; i < count; i++) {
        const cm3_judgement *j = &judgements[i];
        s.images_right += j->image_right;
        s.captions_right += j->caption_right;
        s.text_tokens += j->tokens.text_tokens;
        s.image_tokens += j->tokens.image_tokens;
        text_nats += j->tokens.text_nats;
        image_nats += j->tokens.image_nats;
        squared_error += (double)j->squared_error;
        bytes += (double)j->bytes;
    }
    s.text_to_image_top1 = (double)s.images_right / (double)count;
    s.caption_exact = (double)s.captions_right / (double)count;
    s.loss_text = text_nats / (double)s.text_tokens;
    s.loss_image = image_nats / (double)s.image_tokens;
    /* The ratio of images without any error is infinite; 100 dB is far above what 8 bits can tell apart. */
    s.vq_psnr = fmin(10 * log10(255.0 * 255.0 * bytes / squared_error), 100);
    return s;
}

/* --- the album --------------------------------------------------------------------------------------------------- */

static cm3_status fill_pair(const evaluator *e, const cm3_judgement *j, const char *written, cm3_album_pair *p,
                            cm3_image *truth) {
    size_t length;
    p->image_right = j->image_right;
    p->caption_right = j->caption_right;
    p->model_caption = strdup(written);
    if (!p->model_caption) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a caption");
    CM3_TRY(cm3_source_text(e->source, j->index, &p->caption, &length));
    CM3_TRY(cm3_source_text(e->source, j->nearest, &p->nearest_caption, &length));
    return read_truth(e, j->index, truth);
}

/* Pairs spread evenly over the evaluated ones of their split. */
static cm3_status fill_pairs(evaluator *e, cm3_album *album, int64_t seen) {
    const int64_t count = album->count, validation = count - seen, per_image = e->per_image;
    CM3_AUTO_FREE int32_t *codes = malloc((size_t)(2 * count * per_image) * sizeof *codes); /* true, generated, ... */
    CM3_AUTO_FREE cm3_image *images = calloc((size_t)(2 * count), sizeof *images);
    if (!codes || !images)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for an album of %lld pairs", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = i < seen ? i * e->seen / seen : e->seen + (i - seen) * e->validation / validation;
        int32_t *both = codes + 2 * i * per_image;
        album->pairs[i].validation = i >= seen;
        CM3_TRY(fill_pair(e, &e->all[at], e->all_written + at * e->written_size, &album->pairs[i],
                          &album->images[i * CM3_ALBUM_OF_PAIR + CM3_ALBUM_TRUE]));
        CM3_TRY(cm3_token_store_pair_codes(e->store, e->all[at].index, per_image, both));
        memcpy(both + per_image, e->all_generated + at * per_image, (size_t)per_image * sizeof *codes);
    }
    CM3_TRY(cm3_pipeline_decode_images(&e->pipeline, codes, 2 * count, images));
    for (int64_t i = 0; i < count; i++) {
        album->images[i * CM3_ALBUM_OF_PAIR + CM3_ALBUM_DECODED] = images[2 * i];
        album->images[i * CM3_ALBUM_OF_PAIR + CM3_ALBUM_GENERATED] = images[2 * i + 1];
    }
    return CM3_OK;
}

/* Which pair gives row r its caption: the first half of the rows are of seen pairs, the rest of validation ones; if
 * there are both. */
static int64_t pair_of_row(const evaluator *e, int64_t r, int64_t rows) {
    const int64_t of_validation = !e->validation ? 0 : !e->seen ? rows : rows / 2, of_seen = rows - of_validation;
    return r < of_seen ? (2 * r + 1) * e->seen / (2 * of_seen)
                       : e->seen + (2 * (r - of_seen) + 1) * e->validation / (2 * of_validation);
}

/* Several images for each of a few captions. At temperature 0 they would be equal: a recipe that says so gets samples
 * at temperature 1. */
static cm3_status fill_rows(evaluator *e, cm3_album *album) {
    const int64_t rows = album->row_count, count = rows * ROW_SAMPLES;
    cm3_decode_config config = e->stage->recipe->generate;
    if (config.temperature <= 0) config.temperature = 1;
    album->temperature = config.temperature;
    CM3_AUTO_FREE int32_t *codes = calloc((size_t)(count * e->per_image), sizeof *codes);
    const char *captions[ALBUM_ROWS * ROW_SAMPLES];
    if (!codes) return cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld images", (long long)count);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = pair_of_row(e, r, rows);
        size_t length;
        album->rows[r].validation = at >= e->seen;
        CM3_TRY(cm3_source_text(e->source, e->pairs[at], &album->rows[r].caption, &length));
        for (int s = 0; s < ROW_SAMPLES; s++) captions[r * ROW_SAMPLES + s] = album->rows[r].caption;
    }
    const uint64_t first = UINT64_C(1) << 40; /* random streams that no evaluated pair has */
    CM3_TRY(cm3_pipeline_generate_codes(&e->pipeline, &config, captions, count, first, codes, NULL, NULL));
    return cm3_pipeline_decode_images(&e->pipeline, codes, count, album->row_images);
}

static int64_t album_pairs(const evaluator *e, int64_t available) {
    int64_t most = ALBUM_PIXELS / (3 * e->side * e->side);
    if (most > ALBUM_PAIRS) most = ALBUM_PAIRS;
    if (most < 1) most = 1;
    return available < most ? available : most;
}

static cm3_status make_album(evaluator *e) {
    const int64_t seen = album_pairs(e, e->seen), validation = album_pairs(e, e->validation);
    const int64_t rows = e->seen + e->validation < ALBUM_ROWS ? 1 : ALBUM_ROWS;
    CM3_AUTO(cm3_album_free) cm3_album album = {0};
    CM3_TRY(cm3_album_create(e->side, seen + validation, rows, ROW_SAMPLES, &album));
    album.step = e->pipeline.step;
    CM3_TRY(fill_pairs(e, &album, seen));
    CM3_TRY(fill_rows(e, &album));
    return cm3_album_write(&album, cm3_stage_path(e->stage->recipe, "evaluation", NULL).text);
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static cm3_status judge(evaluator *e) {
    CM3_TRY(generate_images(e));
    CM3_TRY(generate_captions(e));
    CM3_TRY(search(e));
    CM3_TRY(reconstruct(e));
    return score(e);
}

cm3_status cm3_evaluate(const cm3_stage_context *stage, const cm3_evaluate_options *options,
                        cm3_evaluation *evaluation) {
    const double begin = cm3_clock_seconds();
    evaluator e = {.stage = stage, .options = options};
    *evaluation = (cm3_evaluation){0};
    cm3_status status = cm3_comm_agree_status(stage->comm, set_up(&e));
    if (status == CM3_OK && is_first(&e))
        cm3_log_info("evaluate: checkpoint of step %lld, on the %s", (long long)e.pipeline.step, stage->device->text);
    if (status == CM3_OK) status = cm3_comm_agree_status(stage->comm, judge(&e));
    if (status == CM3_OK) status = gather(&e);
    if (status == CM3_OK && options->album)
        status = cm3_comm_agree_status(stage->comm, is_first(&e) ? make_album(&e) : CM3_OK);
    if (status == CM3_OK)
        *evaluation = (cm3_evaluation){.step = e.pipeline.step,
                                       .parameters = cm3_params_elements(cm3_transformer_params(e.pipeline.model)),
                                       .image_parameters = cm3_params_elements(e.pipeline.tokenizers.vqgan->params),
                                       .images = cm3_source_count(e.source),
                                       .left_out = e.left_out,
                                       .seconds = cm3_clock_seconds() - begin,
                                       .image_seconds = e.image_seconds,
                                       .caption_seconds = e.caption_seconds,
                                       .seen = cm3_score_of(e.all, e.seen),
                                       .validation = cm3_score_of(e.all + e.seen, e.validation)};
    tear_down(&e);
    return status;
}
