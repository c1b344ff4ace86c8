/* Images -> VQ network: fills the loop (train/trainer.h) with batches of images and cares for the codebook. */
#include "train/stages/stage.h"

#include "core/log.h"
#include "core/tensor/staged_buffer.h"
#include "data/image_batches.h"
#include "model/vqgan.h"
#include "model/vqgan_codebook.h"
#include "train/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* sums[] of a step */
enum { LOSS, PIXEL_LOSS, CODE_LOSS, SQUARED_ERROR, VALUES };

typedef struct image_learner {
    const cm3_stage_context *stage;
    cm3_source *source;
    cm3_images *images;
    cm3_network *network;
    const cm3_vqgan *model; /* its */
    cm3_codebook *book;
    cm3_tape *tape;
    cm3_vqgan_step step;
    cm3_batch_share share;
    float *pixels;            /* (side, side, 3), of one image */
    float *batch;             /* (local, ...), folded: of a step, in host memory */
    cm3_staged_buffer folded; /* (micro, ...): what the tape reads */
    cm3_staged_buffer scales; /* (2): of pixels, of codes */
    /* Of the whole step, for the codebook: */
    float *z;       /* (local N, D), in the backend's memory */
    int32_t *codes; /* (local N), on the host */
    struct {
        double sums[CM3_SUMS_MAX];
        cm3_codebook_report codes;
    } records[CM3_STEPS_QUEUED];       /* of the last steps */
    const cm3_codebook_report *logged; /* of the step that is logged */
} image_learner;

static int64_t codes_of(const image_learner *l, int64_t images) {
    return images * cm3_vqgan_codes_per_image(cm3_vqgan_get_config(l->model));
}

static const cm3_memory *memory_of(const image_learner *l) {
    return l->stage->device->backend->memory;
}

static int64_t values_of(const image_learner *l, int64_t images) {
    const int64_t side = cm3_vqgan_get_config(l->model)->image_size;
    return images * side * side * 3;
}

static size_t z_bytes(const image_learner *l, int64_t images) {
    return (size_t)(codes_of(l, images) * cm3_vqgan_get_config(l->model)->code_width) * sizeof(float);
}

/* --- what the loop asks for -------------------------------------------------------------------------------------- */

/* Folded images, one behind another. */
static cm3_status load_images(image_learner *l, const int64_t *indices, int64_t count, float *folded) {
    for (int64_t i = 0; i < count; i++) {
        CM3_TRY(cm3_images_get(l->images, indices[i], l->pixels));
        cm3_vqgan_fold(cm3_vqgan_get_config(l->model), l->pixels, 1, folded + i * values_of(l, 1));
    }
    return CM3_OK;
}

static cm3_status load_batch(void *context, int64_t step, double *weight) {
    image_learner *l = context;
    const cm3_images_config *config = &l->stage->recipe->image_tokenizer.data;
    const int64_t first = step * config->batch + cm3_comm_rank(l->stage->comm) * l->share.local;
    for (int64_t i = 0; i < l->share.local; i++) {
        const int64_t index = cm3_images_order(l->images, config->seed, first + i);
        CM3_TRY(load_images(l, &index, 1, l->batch + i * values_of(l, 1)));
    }
    memset(&l->records[step % CM3_STEPS_QUEUED], 0, sizeof *l->records);
    *weight = (double)l->share.local;
    return CM3_OK;
}

static cm3_status queue_inputs(void *context, int network, int64_t step, int64_t micro, double weight) {
    image_learner *l = context;
    const int64_t values = values_of(l, l->share.micro);
    (void)network, (void)weight; /* equal in every step: cm3_vqgan_scales() */
    memcpy(l->folded.host, l->batch + micro * values, (size_t)values * sizeof *l->batch);
    CM3_TRY(cm3_staged_buffer_upload(&l->folded));
    if (step > 0 || micro > 0) return CM3_OK;
    /* Before the first step the codebook is filled with what the new encoder makes of the first images. */
    CM3_TRY(cm3_tape_run(l->tape, NULL));
    return cm3_codebook_start(l->book, l->stage->comm, cm3_var_tensor(l->step.z)->data, codes_of(l, l->share.micro));
}

/* Waits for a micro-batch: what it measured, and its codes. */
static cm3_status read_back(image_learner *l, int64_t micro, double sums[CM3_SUMS_MAX]) {
    const int64_t rows = codes_of(l, l->share.micro), width = cm3_vqgan_get_config(l->model)->code_width;
    const double pixels = (double)cm3_var_scalar(l->step.pixel_loss), codes = (double)cm3_var_scalar(l->step.code_loss);
    sums[PIXEL_LOSS] += pixels;
    sums[CODE_LOSS] += codes;
    sums[LOSS] += pixels + codes;
    sums[SQUARED_ERROR] += (double)cm3_var_scalar(l->step.squared_error) / (double)*(const float *)l->scales.host;
    sums[VALUES] += (double)values_of(l, l->share.micro);
    CM3_TRY(
        memory_of(l)->copy(l->z + micro * rows * width, cm3_var_tensor(l->step.z)->data, z_bytes(l, l->share.micro)));
    return memory_of(l)->download(l->codes + micro * rows, cm3_var_tensor(l->step.codes)->data,
                                  (size_t)rows * sizeof *l->codes);
}

static cm3_status queue_readback(void *context, int network, int64_t step, int64_t micro) {
    image_learner *l = context;
    (void)network;
    return read_back(l, micro, l->records[step % CM3_STEPS_QUEUED].sums);
}

static cm3_status collect(void *context, int64_t step, double sums[CM3_SUMS_MAX]) {
    image_learner *l = context;
    l->logged = &l->records[step % CM3_STEPS_QUEUED].codes;
    memcpy(sums, l->records[step % CM3_STEPS_QUEUED].sums, sizeof l->records->sums);
    return CM3_OK;
}

/* Peak signal to noise ratio: values lie in [-1, 1], so the peak is 2. */
static double psnr(double squared_error, double values) {
    return 10 * log10(4.0 / fmax(squared_error / values, 1e-12));
}

static void report(void *context, const double sums[CM3_SUMS_MAX], cm3_metrics *metrics, char *text, size_t size) {
    const image_learner *l = context;
    const double db = psnr(sums[SQUARED_ERROR], sums[VALUES]);
    cm3_metrics_put(metrics, "loss", sums[LOSS]);
    cm3_metrics_put(metrics, "loss_pixels", sums[PIXEL_LOSS]);
    cm3_metrics_put(metrics, "loss_codes", sums[CODE_LOSS]);
    cm3_metrics_put(metrics, "psnr", db);
    cm3_metrics_put_int(metrics, "codes_used", l->logged->used);
    cm3_metrics_put(metrics, "codes_perplexity", l->logged->perplexity);
    cm3_metrics_put_int(metrics, "codes_restarted", l->logged->restarted);
    snprintf(text, size, "loss %.4f  psnr %.2f dB  codes %lld used", sums[LOSS], db, (long long)l->logged->used);
}

/* Starts dead codes again, without moments. */
static cm3_status updated(void *context, cm3_comm *comm, int64_t step) {
    image_learner *l = context;
    const cm3_vqgan_config *config = cm3_vqgan_get_config(l->model);
    const bool restart = (double)step < config->restart_until * (double)l->stage->recipe->image_tokenizer.train.steps;
    cm3_codebook_report *report = &l->records[step % CM3_STEPS_QUEUED].codes;
    CM3_TRY(cm3_codebook_update(l->book, comm, step, l->z, l->codes, codes_of(l, l->share.local), restart, report));
    const cm3_param *codebook = cm3_params_get(l->network->params, CM3_VQGAN_CODEBOOK);
    const cm3_group_memory *at = &cm3_params_group(l->network->params, codebook->group)->there;
    for (int64_t i = 0; i < report->restarted; i++) {
        const int64_t row = codebook->offset + (int64_t)report->restarted_codes[i] * config->code_width;
        CM3_TRY(memory_of(l)->clear(at->m + row, (size_t)config->code_width * sizeof *at->m));
        CM3_TRY(memory_of(l)->clear(at->v + row, (size_t)config->code_width * sizeof *at->v));
    }
    return CM3_OK;
}

/* How well validation images come back; there may be none. */
static cm3_status validate(void *context, cm3_comm *comm, int64_t step, cm3_metrics *metrics, double *score) {
    image_learner *l = context;
    (void)step;
    const int64_t count = cm3_images_count(l->images, CM3_SPLIT_VALIDATION);
    double sums[CM3_SUMS_MAX] = {0};
    int64_t *indices = calloc((size_t)l->share.micro, sizeof *indices);
    cm3_status status = indices ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for a batch");
    const int64_t stride = l->share.micro * cm3_comm_size(comm);
    /* Whole micro-batches only: the last one repeats its last images, which all ranks agree on. */
    for (int64_t base = 0; base < count && status == CM3_OK; base += stride) {
        const int64_t first = base + cm3_comm_rank(comm) * l->share.micro;
        if (first >= count) continue;
        for (int64_t i = 0; i < l->share.micro; i++)
            indices[i] = cm3_images_index(l->images, CM3_SPLIT_VALIDATION, first + i < count ? first + i : count - 1);
        status = load_images(l, indices, l->share.micro, l->folded.host);
        if (status == CM3_OK) status = cm3_staged_buffer_upload(&l->folded);
        if (status == CM3_OK) status = cm3_tape_run(l->tape, NULL);
        if (status == CM3_OK) status = read_back(l, 0, sums);
    }
    free(indices);
    CM3_TRY(cm3_comm_agree_status(comm, status));
    CM3_TRY(cm3_comm_reduce_f64(comm, sums, CM3_SUMS_MAX, CM3_REDUCE_SUM));
    if (sums[VALUES] <= 0) return CM3_OK;
    *score = sums[SQUARED_ERROR] / sums[VALUES];
    cm3_metrics_put(metrics, "psnr", psnr(sums[SQUARED_ERROR], sums[VALUES]));
    if (cm3_comm_rank(comm) == 0)
        cm3_log_info("validation images: psnr %.2f dB", psnr(sums[SQUARED_ERROR], sums[VALUES]));
    return CM3_OK;
}

static cm3_status save(void *context, cm3_comm *comm, char **text) {
    (void)context;
    (void)comm;
    *text = strdup("{}"); /* which images come next follows from the step */
    return *text ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for a checkpoint");
}

static cm3_status restore(void *context, const char *name, const char *text, int64_t step) {
    (void)context;
    (void)name;
    (void)text;
    (void)step;
    return CM3_OK;
}

/* --- setting up -------------------------------------------------------------------------------------------------- */

static cm3_status set_up(image_learner *l) {
    const cm3_recipe *recipe = l->stage->recipe;
    CM3_TRY(cm3_recipe_share("image_tokenizer", recipe->image_tokenizer.data.batch, &recipe->image_tokenizer.train,
                             cm3_comm_size(l->stage->comm), &l->share));
    CM3_TRY(cm3_source_open(&recipe->source, &l->source));
    CM3_TRY(cm3_images_open(l->source, recipe->image_tokenizer.network.image_size, recipe->image_tokenizer.data.memory,
                            &l->images));
    if (cm3_images_count(l->images, CM3_SPLIT_TRAIN) < 1)
        return cm3_fail(CM3_ERR_RECIPE, "source.validation: no image is left to train on");
    cm3_network_options of = cm3_recipe_network(recipe, "image-tokenizer");
    of.use = CM3_USE_TRAIN;
    of.backend = l->stage->device->backend;
    CM3_TRY(cm3_network_open(&of, &l->network));
    l->model = l->network->model;
    CM3_TRY(cm3_codebook_create(l->model, (uint64_t)recipe->run.seed, &l->book));

    CM3_TRY(cm3_staged_buffer_alloc(memory_of(l), (size_t)values_of(l, l->share.micro) * sizeof(float),
                                    "a batch of images", &l->folded));
    CM3_TRY(cm3_staged_buffer_alloc(memory_of(l), 2 * sizeof(float), "a batch of images", &l->scales));
    l->pixels = calloc((size_t)values_of(l, 1), sizeof(float));
    l->batch = calloc((size_t)values_of(l, l->share.local), sizeof(float));
    l->z = memory_of(l)->alloc(z_bytes(l, l->share.local));
    l->codes = calloc((size_t)codes_of(l, l->share.local), sizeof(int32_t));
    if (!l->pixels || !l->batch || !l->z || !l->codes)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for a batch of images");
    float *scales = l->scales.host, *there = l->scales.there;
    cm3_vqgan_scales(&recipe->image_tokenizer.network, recipe->image_tokenizer.data.batch, &scales[0], &scales[1]);
    CM3_TRY(cm3_staged_buffer_upload(&l->scales));

    cm3_tape_options options = cm3_params_tape_options(l->network->params);
    options.recompute = (cm3_recompute)recipe->image_tokenizer.network.recompute;
    options.share_pages_from = cm3_batch_share_pages_from(&l->share);
    CM3_TRY(cm3_tape_create(&options, &l->tape));
    const cm3_vqgan_batch batch = {
        .images = l->share.micro, .pixels = l->folded.there, .pixel_scale = &there[0], .code_scale = &there[1]};
    l->step = cm3_vqgan_train(l->model, l->tape, &batch);
    return cm3_tape_plan(l->tape);
}

static void tear_down(image_learner *l) {
    cm3_tape_free(l->tape);
    if (l->z) memory_of(l)->free(l->z, z_bytes(l, l->share.local));
    cm3_staged_buffer_free(&l->folded);
    cm3_staged_buffer_free(&l->scales);
    cm3_codebook_free(l->book);
    cm3_network_close(l->network);
    cm3_images_close(l->images);
    cm3_source_close(l->source);
    free(l->pixels);
    free(l->batch);
    free(l->codes);
}

static cm3_status learn(image_learner *l, const char *folder) {
    const cm3_recipe *recipe = l->stage->recipe;
    const cm3_image_tokenizer_config *config = &recipe->image_tokenizer;
    const cm3_learner learner = {.networks = {{.name = l->network->kind->name,
                                               .params = l->network->params,
                                               .tape = l->tape,
                                               .losses = {l->step.pixel_loss, l->step.code_loss},
                                               .adamw = &config->optimizer,
                                               .schedule = &config->schedule}},
                                 .network_count = 1,
                                 .item = l->network->kind->item,
                                 .items_per_step = config->data.batch,
                                 .flops_per_step = cm3_vqgan_flops_per_image(l->model) * (double)config->data.batch,
                                 .micro_batches = l->share.local / l->share.micro,
                                 .context = l,
                                 .load_batch = load_batch,
                                 .queue_inputs = queue_inputs,
                                 .queue_readback = queue_readback,
                                 .updated = updated,
                                 .collect = collect,
                                 .report = report,
                                 .validate = validate,
                                 .save = save,
                                 .restore = restore,
                                 .arrays = {{.name = "codes_last_used",
                                             .type = CM3_I32,
                                             .shape = cm3_shape_of(config->network.codes),
                                             .data = cm3_codebook_last_used(l->book)}},
                                 .array_count = 1};
    const cm3_trainer_config loop = {.run = folder,
                                     .config_text = l->stage->config_text,
                                     .seed = (uint64_t)recipe->run.seed,
                                     .peak_flops = cm3_stage_peak_flops(l->stage, CM3_F32),
                                     .train = &config->train,
                                     .checkpoint = &recipe->checkpoint,
                                     .guard = &recipe->guard};
    if (cm3_stage_is_first(l->stage))
        cm3_log_info("image-tokenizer: %lld parameters, %lld images (%lld validation), %lld codes each, %.2f GFLOP a "
                     "image, step memory %.1f MiB",
                     (long long)cm3_params_elements(l->network->params), (long long)cm3_source_count(l->source),
                     (long long)cm3_images_count(l->images, CM3_SPLIT_VALIDATION), (long long)codes_of(l, 1),
                     cm3_vqgan_flops_per_image(l->model) / 1e9,
                     (double)cm3_tape_get_stats(l->tape)->peak_bytes / 0x1p20);
    return cm3_train(&loop, &learner, l->stage->comm);
}

cm3_status cm3_stage_image_tokenizer(const cm3_stage_context *stage) {
    image_learner learner = {.stage = stage};
    cm3_status status = cm3_comm_agree_status(stage->comm, set_up(&learner));
    if (status == CM3_OK) status = cm3_stage_begin(stage);
    if (status == CM3_OK) status = learn(&learner, cm3_stage_path(stage->recipe, "image-tokenizer", NULL).text);
    tear_down(&learner);
    return status;
}
