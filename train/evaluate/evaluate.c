#include "train/evaluate/evaluate.h"

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
    PAINT_AT_ONCE = 64,    /* images that are decoded, or read from the source, together */
    KEPT_PAIRS = 128,      /* of a split, in the album */
    KEPT_PIXELS = 1 << 24, /* the same in pixels, for large images */
    SAMPLE_ROWS = 4,
    SAMPLES = 8,
};

/* One evaluation. What is (mine) belongs to this rank's share of the pairs; what is (all) is whole on rank 0. */
typedef struct evaluator {
    const cm3_stage_context *stage;
    const cm3_evaluate_options *options;
    cm3_pipeline pipeline;
    cm3_source *source;
    cm3_store *store;
    int64_t per_image, side, bytes; /* codes, pixels, bytes of a image */
    int64_t *pairs;                 /* indices of all judged pairs: seen ones, then validation ones */
    int64_t seen, validation, left_out;
    int64_t share, first, count; /* of a rank at most; where mine begin; how many are mine */
    char **captions, **written;  /* (mine) */
    int32_t *codes, *drawn;      /* (mine, C): of the true images; drawn ones */
    uint8_t *drawn_bytes;        /* (mine, bytes) */
    cm3_hash *hashes;            /* of all images of the source */
    cm3_judgement *mine, *all;
    int32_t *all_drawn; /* (all, C) */
    char *all_written;  /* (all, written_size) */
    int64_t written_size;
    double draw_seconds, describe_seconds;
} evaluator;

static bool is_first(const evaluator *e) {
    return cm3_comm_rank(e->stage->comm) == 0;
}

/* --- which pairs ------------------------------------------------------------------------------------------------- */

/* The last token of a sample is never an input. */
static cm3_status fits(evaluator *e, int64_t index, bool *fit) {
    cm3_document document = {0};
    const cm3_status status = cm3_store_lengths(e->store, index, &document);
    *fit = cm3_document_size(&document) - 1 <= e->stage->recipe->model.context;
    cm3_document_free(&document);
    return status;
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
    if (!e->pairs) return cm3_fail(CM3_ERR_MEMORY, "no memory for a list of %lld pairs", (long long)info->samples);
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

static cm3_status take_memory(evaluator *e) {
    const size_t share = (size_t)e->share, ranks = (size_t)cm3_comm_size(e->stage->comm), codes = (size_t)e->per_image;
    e->captions = calloc(share, sizeof *e->captions);
    e->written = calloc(share, sizeof *e->written);
    e->codes = calloc(share * codes, sizeof *e->codes);
    e->drawn = calloc(share * codes, sizeof *e->drawn);
    e->drawn_bytes = malloc(share * (size_t)e->bytes);
    e->hashes = calloc((size_t)cm3_source_count(e->source), sizeof *e->hashes);
    e->mine = calloc(share, sizeof *e->mine);
    e->all = calloc(share * ranks, sizeof *e->all);
    e->all_drawn = calloc(share * ranks * codes, sizeof *e->all_drawn);
    const bool whole = e->captions && e->written && e->codes && e->drawn && e->drawn_bytes && e->hashes && e->mine &&
                       e->all && e->all_drawn;
    return whole ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory to judge %lld pairs", (long long)e->share);
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
    CM3_TRY(take_memory(e));
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
    free(e->drawn);
    free(e->drawn_bytes);
    free(e->hashes);
    free(e->mine);
    free(e->all);
    free(e->all_drawn);
    free(e->all_written);
}

/* --- what the model makes ---------------------------------------------------------------------------------------- */

static void advanced(void *context, int64_t done) {
    if (context) cm3_progress_update(context, (uint64_t)done);
}

static cm3_status draw(evaluator *e) {
    cm3_progress progress = cm3_progress_start("evaluate: draw", "images", (uint64_t)e->count);
    const double begin = cm3_clock_seconds();
    const cm3_status status =
        cm3_pipeline_generate_codes(&e->pipeline, &e->stage->recipe->generate, (const char *const *)e->captions,
                                    e->count, (uint64_t)e->first, e->drawn, advanced, is_first(e) ? &progress : NULL);
    e->draw_seconds = cm3_clock_seconds() - begin;
    if (is_first(e)) cm3_progress_end(&progress);
    return status;
}

static cm3_status describe(evaluator *e) {
    cm3_decode_config greedy = e->stage->recipe->generate;
    greedy.temperature = 0;
    cm3_progress progress = cm3_progress_start("evaluate: describe", "images", (uint64_t)e->count);
    const double begin = cm3_clock_seconds();
    const cm3_status status = cm3_pipeline_caption(&e->pipeline, &greedy, e->codes, e->count, (uint64_t)e->first,
                                                   e->written, advanced, is_first(e) ? &progress : NULL);
    e->describe_seconds = cm3_clock_seconds() - begin;
    if (is_first(e)) cm3_progress_end(&progress);
    CM3_TRY(status);
    for (int64_t i = 0; i < e->count; i++) e->mine[i].caption_right = strcmp(e->written[i], e->captions[i]) == 0;
    return CM3_OK;
}

/* Codes to images of bytes: what a person would see. */
static cm3_status paint(evaluator *e, const int32_t *codes, int64_t count, uint8_t *bytes) {
    float *pixels = malloc((size_t)(PAINT_AT_ONCE * e->bytes) * sizeof *pixels);
    if (!pixels) return cm3_fail(CM3_ERR_MEMORY, "no memory for %d images", PAINT_AT_ONCE);
    cm3_status status = CM3_OK;
    for (int64_t first = 0; first < count && status == CM3_OK; first += PAINT_AT_ONCE) {
        const int64_t n = count - first < PAINT_AT_ONCE ? count - first : PAINT_AT_ONCE;
        status = cm3_pipeline_decode_images(&e->pipeline, codes + first * e->per_image, n, pixels);
        for (int64_t i = 0; i < n && status == CM3_OK; i++) {
            cm3_image image;
            status = cm3_image_from_float(pixels + i * e->bytes, (int)e->side, (int)e->side, 3, &image);
            if (status != CM3_OK) break;
            memcpy(bytes + (first + i) * e->bytes, image.pixels, (size_t)e->bytes);
            cm3_image_free(&image);
        }
    }
    free(pixels);
    return status;
}

static cm3_status read_truth(const evaluator *e, int64_t index, uint8_t *bytes) {
    cm3_pair pair;
    CM3_TRY(cm3_source_read(e->source, index, &pair));
    cm3_status status = CM3_OK;
    if (cm3_image_size(&pair.image) == (size_t)e->bytes)
        memcpy(bytes, pair.image.pixels, (size_t)e->bytes);
    else
        status = cm3_fail(CM3_ERR_INTERNAL, "%s: is not %lld pixels square", pair.name, (long long)e->side);
    cm3_pair_free(&pair);
    return status;
}

/* --- judging ----------------------------------------------------------------------------------------------------- */

/* The nearest image of the whole source to each of my requests. */
static cm3_status search(evaluator *e) {
    const int64_t total = cm3_source_count(e->source);
    uint8_t *truth = malloc((size_t)(PAINT_AT_ONCE * e->bytes));
    cm3_match *best = malloc((size_t)e->share * sizeof *best);
    cm3_status status = truth && best ? paint(e, e->drawn, e->count, e->drawn_bytes)
                                      : cm3_fail(CM3_ERR_MEMORY, "no memory for %d images", PAINT_AT_ONCE);
    for (int64_t i = 0; i < e->count && status == CM3_OK; i++) best[i] = CM3_MATCH_NONE;
    for (int64_t first = 0; first < total && status == CM3_OK; first += PAINT_AT_ONCE) {
        const int64_t n = total - first < PAINT_AT_ONCE ? total - first : PAINT_AT_ONCE;
        for (int64_t i = 0; i < n && status == CM3_OK; i++) {
            status = read_truth(e, first + i, truth + i * e->bytes);
            e->hashes[first + i] = cm3_hash_bytes(truth + i * e->bytes, (size_t)e->bytes);
        }
        if (status == CM3_OK) cm3_match_offer(e->drawn_bytes, e->count, truth, first, n, e->bytes, best);
    }
    for (int64_t i = 0; i < e->count && status == CM3_OK; i++) {
        e->mine[i].nearest = best[i].index;
        e->mine[i].drawn_right = cm3_hash_equal(e->hashes[best[i].index], e->hashes[e->mine[i].index]);
    }
    free(truth);
    free(best);
    return status;
}

/* How well images come back from their codes. */
static cm3_status reconstruct(evaluator *e) {
    uint8_t *truth = malloc((size_t)e->bytes), *back = malloc((size_t)(PAINT_AT_ONCE * e->bytes));
    cm3_status status = truth && back ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for %d images", PAINT_AT_ONCE);
    for (int64_t first = 0; first < e->count && status == CM3_OK; first += PAINT_AT_ONCE) {
        const int64_t n = e->count - first < PAINT_AT_ONCE ? e->count - first : PAINT_AT_ONCE;
        status = paint(e, e->codes + first * e->per_image, n, back);
        for (int64_t i = 0; i < n && status == CM3_OK; i++) {
            cm3_judgement *j = &e->mine[first + i];
            status = read_truth(e, j->index, truth);
            j->bytes = e->bytes;
            j->squared_error = (int64_t)cm3_image_distance(truth, back + i * e->bytes, e->bytes, UINT64_MAX);
        }
    }
    free(truth);
    free(back);
    return status;
}

static cm3_status render(evaluator *e, int64_t i, cm3_tokens *sample) {
    cm3_document document = {0};
    cm3_status status = cm3_store_read(e->store, e->mine[i].index, (cm3_range){0, INT64_MAX}, &document);
    if (status == CM3_OK) status = cm3_document_render(&document, &e->pipeline.tokenizers.vocab, sample);
    cm3_document_free(&document);
    return status;
}

static cm3_status score(evaluator *e) {
    cm3_tokens *samples = calloc((size_t)e->share, sizeof *samples);
    cm3_sample_score *scores = calloc((size_t)e->share, sizeof *scores);
    cm3_status status =
        samples && scores ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory to score %lld samples", (long long)e->share);
    for (int64_t i = 0; i < e->count && status == CM3_OK; i++) status = render(e, i, &samples[i]);
    if (status == CM3_OK && e->count)
        status = cm3_score_samples(e->pipeline.model, &e->pipeline.tokenizers.vocab, samples, e->count,
                                   e->stage->recipe->evaluate.rows, scores);
    for (int64_t i = 0; i < e->count && status == CM3_OK; i++) {
        e->mine[i].text_tokens = scores[i].text_tokens;
        e->mine[i].image_tokens = scores[i].image_tokens;
        e->mine[i].text_nats = scores[i].text_nats;
        e->mine[i].image_nats = scores[i].image_nats;
    }
    for (int64_t i = 0; samples && i < e->count; i++) CM3_LIST_FREE(&samples[i]);
    free(samples);
    free(scores);
    return status;
}

/* --- together ---------------------------------------------------------------------------------------------------- */

static cm3_status gather_written(evaluator *e) {
    int64_t longest = 1;
    for (int64_t i = 0; i < e->count; i++)
        if ((int64_t)strlen(e->written[i]) + 1 > longest) longest = (int64_t)strlen(e->written[i]) + 1;
    CM3_TRY(cm3_comm_reduce_i64(e->stage->comm, &longest, 1, CM3_REDUCE_MAX));
    e->written_size = longest;
    char *mine = calloc((size_t)e->share, (size_t)longest);
    e->all_written = calloc((size_t)(e->share * cm3_comm_size(e->stage->comm)), (size_t)longest);
    cm3_status status = mine && e->all_written ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for captions");
    status = cm3_comm_agree_status(e->stage->comm, status);
    for (int64_t i = 0; i < e->count && status == CM3_OK; i++) strcpy(mine + i * longest, e->written[i]);
    if (status == CM3_OK) status = cm3_comm_gather(e->stage->comm, mine, e->share * longest, e->all_written, 0);
    free(mine);
    return status;
}

static cm3_status gather(evaluator *e) {
    CM3_TRY(cm3_comm_gather(e->stage->comm, e->mine, e->share * (int64_t)sizeof *e->mine, e->all, 0));
    CM3_TRY(cm3_comm_gather(e->stage->comm, e->drawn, e->share * e->per_image * (int64_t)sizeof *e->drawn, e->all_drawn,
                            0));
    return gather_written(e);
}

cm3_score cm3_score_of(const cm3_judgement *judgements, int64_t count) {
    cm3_score s = {.pairs = count};
    double text_nats = 0, image_nats = 0, squared_error = 0, bytes = 0;
    for (int64_t i = 0; i < count; i++) {
        const cm3_judgement *j = &judgements[i];
        s.drawn_right += j->drawn_right;
        s.captions_right += j->caption_right;
        s.text_tokens += j->text_tokens;
        s.image_tokens += j->image_tokens;
        text_nats += j->text_nats;
        image_nats += j->image_nats;
        squared_error += (double)j->squared_error;
        bytes += (double)j->bytes;
    }
    s.text_to_image_top1 = (double)s.drawn_right / (double)count;
    s.caption_exact = (double)s.captions_right / (double)count;
    s.loss_text = text_nats / (double)s.text_tokens;
    s.loss_image = image_nats / (double)s.image_tokens;
    /* Images that come back without any error have no finite ratio; 100 dB is far above what 8 bits can tell apart.
     */
    s.vq_psnr = fmin(10 * log10(255.0 * 255.0 * bytes / squared_error), 100);
    return s;
}

/* --- the album --------------------------------------------------------------------------------------------------- */

static cm3_status image_of(const evaluator *e, const uint8_t *bytes, cm3_image *image) {
    CM3_TRY(cm3_image_create((int)e->side, (int)e->side, 3, image));
    memcpy(image->pixels, bytes, (size_t)e->bytes);
    return CM3_OK;
}

static cm3_status fill_pair(const evaluator *e, int64_t at, const uint8_t *decoded, const uint8_t *drawn,
                            uint8_t *truth, cm3_album_pair *p) {
    const cm3_judgement *j = &e->all[at];
    size_t length;
    p->drawn_right = j->drawn_right;
    p->caption_right = j->caption_right;
    p->written = strdup(e->all_written + at * e->written_size);
    if (!p->written) return cm3_fail(CM3_ERR_MEMORY, "no memory for a caption");
    CM3_TRY(cm3_source_text(e->source, j->index, &p->caption, &length));
    CM3_TRY(cm3_source_text(e->source, j->nearest, &p->nearest, &length));
    CM3_TRY(read_truth(e, j->index, truth));
    CM3_TRY(image_of(e, truth, &p->truth));
    CM3_TRY(image_of(e, decoded, &p->decoded));
    return image_of(e, drawn, &p->drawn);
}

/* Pairs spread evenly over the judged ones of their split. */
static cm3_status fill_pairs(evaluator *e, cm3_album *album, int64_t seen) {
    const int64_t count = album->count, validation = count - seen;
    int32_t *codes = malloc((size_t)(2 * count * e->per_image) * sizeof *codes); /* true ones, then drawn ones */
    uint8_t *bytes = malloc((size_t)((2 * count + 1) * e->bytes));
    int64_t *at = malloc((size_t)count * sizeof *at);
    cm3_status status = codes && bytes && at
                            ? CM3_OK
                            : cm3_fail(CM3_ERR_MEMORY, "no memory for an album of %lld pairs", (long long)count);
    for (int64_t i = 0; i < count && status == CM3_OK; i++) {
        album->pairs[i].validation = i >= seen;
        at[i] = i < seen ? i * e->seen / seen : e->seen + (i - seen) * e->validation / validation;
        status = cm3_token_store_pair_codes(e->store, e->all[at[i]].index, e->per_image, codes + i * e->per_image);
        memcpy(codes + (count + i) * e->per_image, e->all_drawn + at[i] * e->per_image,
               (size_t)e->per_image * sizeof *codes);
    }
    if (status == CM3_OK) status = paint(e, codes, 2 * count, bytes);
    for (int64_t i = 0; i < count && status == CM3_OK; i++)
        status = fill_pair(e, at[i], bytes + i * e->bytes, bytes + (count + i) * e->bytes, bytes + 2 * count * e->bytes,
                           &album->pairs[i]);
    free(codes);
    free(bytes);
    free(at);
    return status;
}

/* Which pair gives row r its caption: the first half of the rows are of seen pairs, the rest of validation ones; if
 * there are both. */
static int64_t pair_of_row(const evaluator *e, int64_t r, int64_t rows) {
    const int64_t of_validation = !e->validation ? 0 : !e->seen ? rows : rows / 2, of_seen = rows - of_validation;
    return r < of_seen ? (2 * r + 1) * e->seen / (2 * of_seen)
                       : e->seen + (2 * (r - of_seen) + 1) * e->validation / (2 * of_validation);
}

/* Several requests of a few captions. The likeliest drawing is always the same one: a recipe that asks for it
 * (temperature 0) gets its samples at temperature 1. */
static cm3_status fill_rows(evaluator *e, cm3_album *album) {
    const int64_t rows = album->row_count, count = rows * SAMPLES;
    cm3_decode_config config = e->stage->recipe->generate;
    if (config.temperature <= 0) config.temperature = 1;
    album->temperature = config.temperature;
    int32_t *codes = calloc((size_t)(count * e->per_image), sizeof *codes);
    uint8_t *bytes = malloc((size_t)(count * e->bytes));
    const char **captions = calloc((size_t)count, sizeof *captions);
    cm3_status status =
        codes && bytes && captions ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for %lld images", (long long)count);
    for (int64_t r = 0; r < rows && status == CM3_OK; r++) {
        const int64_t at = pair_of_row(e, r, rows);
        size_t length;
        album->rows[r].validation = at >= e->seen;
        status = cm3_source_text(e->source, e->pairs[at], &album->rows[r].caption, &length);
        for (int s = 0; s < SAMPLES; s++) captions[r * SAMPLES + s] = album->rows[r].caption;
    }
    const uint64_t first = UINT64_C(1) << 40; /* numbers that no judged pair has */
    if (status == CM3_OK)
        status = cm3_pipeline_generate_codes(&e->pipeline, &config, captions, count, first, codes, NULL, NULL);
    if (status == CM3_OK) status = paint(e, codes, count, bytes);
    for (int64_t i = 0; i < count && status == CM3_OK; i++)
        status = image_of(e, bytes + i * e->bytes, &album->rows[i / SAMPLES].drawn[i % SAMPLES]);
    free(codes);
    free(bytes);
    free(captions);
    return status;
}

static int64_t kept(const evaluator *e, int64_t pairs) {
    int64_t most = KEPT_PIXELS / (3 * e->side * e->side);
    if (most > KEPT_PAIRS) most = KEPT_PAIRS;
    if (most < 1) most = 1;
    return pairs < most ? pairs : most;
}

static cm3_status make_album(evaluator *e) {
    const int64_t seen = kept(e, e->seen), validation = kept(e, e->validation);
    const int64_t rows = e->seen + e->validation < SAMPLE_ROWS ? 1 : SAMPLE_ROWS;
    cm3_album album;
    CM3_TRY(cm3_album_create(e->side, seen + validation, rows, SAMPLES, &album));
    album.step = e->pipeline.step;
    cm3_status status = fill_pairs(e, &album, seen);
    if (status == CM3_OK) status = fill_rows(e, &album);
    char *folder = cm3_stage_path(e->stage->recipe, "evaluation", NULL);
    if (status == CM3_OK)
        status = folder ? cm3_album_write(&album, folder) : cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    free(folder);
    cm3_album_free(&album);
    return status;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static cm3_status judge(evaluator *e) {
    CM3_TRY(draw(e));
    CM3_TRY(describe(e));
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
        cm3_log_info("evaluate: the model of step %lld, on the %s", (long long)e.pipeline.step, stage->device->text);
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
                                       .draw_seconds = e.draw_seconds,
                                       .describe_seconds = e.describe_seconds,
                                       .seen = cm3_score_of(e.all, e.seen),
                                       .validation = cm3_score_of(e.all + e.seen, e.validation)};
    tear_down(&e);
    return status;
}
