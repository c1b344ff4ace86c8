/* Token store -> transformer: fills the loop (train/trainer.h) with blocks of the CM3 objective. */
#include "train/stages/stage.h"

#include "core/log.h"
#include "data/loader.h"
#include "train/generate/pipeline.h"
#include "train/stages/token_pages.h"
#include "train/token_tapes.h"
#include "train/state.h"
#include "train/token_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* sums[] of a step: LOSS is the objective, z-loss included; the others are cross-entropies in nats and their counts.
 * ALL is by the weights of targets, as in training. */
enum { LOSS, TEXT, TEXT_COUNT, IMAGE, IMAGE_COUNT, ALL, ALL_COUNT };

typedef struct token_learner {
    const cm3_stage_context *stage;
    cm3_vocab vocab;
    cm3_store *store;
    cm3_packer *packer;  /* validation */
    cm3_loader *loader;  /* opened when the cursors are known */
    cm3_cursor *cursors; /* of all sequence slots */
    cm3_network *network;
    cm3_token_tapes tapes;
    cm3_token_pages pages;
    cm3_batch_share share;
    int64_t first;                          /* sequence slot of this rank */
    double waits[CM3_STEPS_QUEUED], waited; /* seconds for data until a step, and until the one that is logged */
} token_learner;

/* --- what the loop asks for -------------------------------------------------------------------------------------- */

static cm3_status load_batch(void *context, int64_t step, double *weight) {
    token_learner *l = context;
    if (!l->loader)
        CM3_TRY(cm3_loader_open(&(cm3_loader_options){.data = &l->stage->recipe->pretrain.data,
                                                      .vocab = &l->vocab,
                                                      .store = l->store,
                                                      .slots = {l->first, l->first + l->share.local},
                                                      .rows = l->share.micro,
                                                      .cursors = l->cursors + l->first},
                                &l->loader));
    for (int64_t micro = 0; micro < l->pages.micro_batches; micro++) {
        cm3_token_page *page = cm3_token_pages_get(&l->pages, step, micro);
        const cm3_batch *batch;
        CM3_TRY(cm3_loader_next(l->loader, &batch));
        cm3_token_pages_fill(&l->pages, page, batch);
        *weight += page->weight;
    }
    l->waits[step % CM3_STEPS_QUEUED] = cm3_loader_waited(l->loader);
    return CM3_OK;
}

/* The gradient is a mean over the targets of all ranks and micro-batches. */
static cm3_status queue_inputs(void *context, int network, int64_t step, int64_t micro, double weight) {
    const token_learner *l = context;
    (void)network;
    return cm3_token_pages_send(&l->pages, cm3_token_pages_get(&l->pages, step, micro),
                                weight > 0 ? 1.0f / (float)weight : 0);
}

static cm3_status queue_readback(void *context, int network, int64_t step, int64_t micro) {
    const token_learner *l = context;
    (void)network;
    return cm3_token_pages_fetch(&l->pages, cm3_token_pages_get(&l->pages, step, micro), l->tapes.loss,
                                 l->tapes.per_token);
}

static void add_losses(const token_learner *l, const cm3_token_page *page, double sums[CM3_SUMS_MAX]) {
    const float *losses = page->losses + 1;
    double of_class[CM3_TOKEN_RESERVED + 1] = {0};
    for (int64_t i = 0; i < l->pages.tokens; i++) {
        of_class[page->classes[i]] += (double)losses[i];
        sums[ALL] += (double)page->weights[i] * (double)losses[i];
    }
    sums[ALL_COUNT] += page->weight;
    sums[TEXT] += of_class[CM3_TOKEN_TEXT];
    sums[TEXT_COUNT] += (double)page->counts[CM3_TOKEN_TEXT];
    sums[IMAGE] += of_class[CM3_TOKEN_IMAGE];
    sums[IMAGE_COUNT] += (double)page->counts[CM3_TOKEN_IMAGE];
}

static cm3_status collect(void *context, int64_t step, double sums[CM3_SUMS_MAX]) {
    token_learner *l = context;
    for (int64_t micro = 0; micro < l->pages.micro_batches; micro++) {
        const cm3_token_page *page = cm3_token_pages_get(&l->pages, step, micro);
        sums[LOSS] += (double)page->losses[0];
        add_losses(l, page, sums);
    }
    l->waited = l->waits[step % CM3_STEPS_QUEUED];
    return CM3_OK;
}

static double mean(const double sums[CM3_SUMS_MAX], int of) {
    return sums[of + 1] > 0 ? sums[of] / sums[of + 1] : 0;
}

/* A step may have no token of a class. */
static void put_losses(const double sums[CM3_SUMS_MAX], cm3_metrics *metrics) {
    if (sums[ALL_COUNT] > 0) cm3_metrics_put(metrics, "loss", mean(sums, ALL));
    if (sums[TEXT_COUNT] > 0) cm3_metrics_put(metrics, "loss_text", mean(sums, TEXT));
    if (sums[IMAGE_COUNT] > 0) cm3_metrics_put(metrics, "loss_image", mean(sums, IMAGE));
}

static void describe_losses(const double sums[CM3_SUMS_MAX], char *text, size_t size) {
    char of_text[32] = "no text", of_image[32] = "no image";
    if (sums[TEXT_COUNT] > 0) snprintf(of_text, sizeof of_text, "text %.3f", mean(sums, TEXT));
    if (sums[IMAGE_COUNT] > 0) snprintf(of_image, sizeof of_image, "image %.3f", mean(sums, IMAGE));
    snprintf(text, size, "loss %.4f (%s, %s)", mean(sums, ALL), of_text, of_image);
}

static void report(void *context, const double sums[CM3_SUMS_MAX], cm3_metrics *metrics, char *text, size_t size) {
    const token_learner *l = context;
    put_losses(sums, metrics);
    cm3_metrics_put(metrics, "data_wait_seconds", l->waited);
    describe_losses(sums, text, size);
}

/* Every page is free: pending step records have been flushed. */
static cm3_status score(token_learner *l, const cm3_batch *batch, double sums[CM3_SUMS_MAX]) {
    cm3_token_page *page = cm3_token_pages_get(&l->pages, 0, 0);
    cm3_token_pages_fill(&l->pages, page, batch);
    CM3_TRY(cm3_token_pages_send(&l->pages, page, 1));
    CM3_TRY(cm3_tape_run(l->tapes.scoring, NULL));
    CM3_TRY(cm3_token_pages_fetch(&l->pages, page, NULL, l->tapes.scored));
    CM3_TRY(l->pages.memory->sync());
    add_losses(l, page, sums);
    return CM3_OK;
}

static cm3_status score_validation(token_learner *l, cm3_comm *comm, double sums[CM3_SUMS_MAX]) {
    const int64_t stride = l->share.micro * cm3_comm_size(comm),
                  limit = l->stage->recipe->pretrain.train.validate_batches;
    int64_t blocks;
    CM3_TRY(cm3_validation_blocks(l->packer, &blocks));
    cm3_block block = {0};
    cm3_batch batch = {0};
    cm3_status status = cm3_block_init(&block, &l->stage->recipe->pretrain.data);
    if (status == CM3_OK) status = cm3_batch_init(&batch, l->share.micro, l->stage->recipe->pretrain.data.context);
    int64_t done = 0;
    for (int64_t base = 0; base < blocks && status == CM3_OK && (!limit || done < limit); base += stride, done++) {
        const int64_t first = base + cm3_comm_rank(comm) * l->share.micro;
        if (first >= blocks) continue;
        for (int64_t row = 0; row < l->share.micro && status == CM3_OK; row++) {
            const bool there = first + row < blocks;
            if (there) status = cm3_validation_block(l->packer, first + row, &block);
            if (status == CM3_OK) cm3_batch_set(&batch, &l->vocab, row, there ? &block : NULL);
        }
        if (status == CM3_OK) status = score(l, &batch, sums);
    }
    cm3_block_free(&block);
    cm3_batch_free(&batch);
    return status;
}

static cm3_status validate(void *context, cm3_comm *comm, int64_t step, cm3_metrics *metrics, double *score) {
    token_learner *l = context;
    (void)step;
    double sums[CM3_SUMS_MAX] = {0};
    CM3_TRY(cm3_comm_agree_status(comm, score_validation(l, comm, sums)));
    CM3_TRY(cm3_comm_reduce_f64(comm, sums, CM3_SUMS_MAX, CM3_REDUCE_SUM));
    if (sums[ALL_COUNT] <= 0) return CM3_OK; /* no validation split */
    put_losses(sums, metrics);
    /* Perplexity in base 2, as the lineage reports it: 2^(loss in bits), which is e^(loss in nats). */
    if (sums[TEXT_COUNT] > 0) cm3_metrics_put(metrics, "perplexity_text", exp2(mean(sums, TEXT) / M_LN2));
    if (sums[IMAGE_COUNT] > 0) cm3_metrics_put(metrics, "perplexity_image", exp2(mean(sums, IMAGE) / M_LN2));
    *score = mean(sums, ALL);
    char text[128];
    describe_losses(sums, text, sizeof text);
    if (cm3_comm_rank(comm) == 0) cm3_log_info("validation %s", text);
    return CM3_OK;
}

static cm3_status sample(void *context, int64_t step, cm3_metrics *metrics) {
    const token_learner *l = context;
    return cm3_pipeline_write_samples(l->stage->recipe, l->network->model, l->store, step, metrics);
}

/* Cursors of all sequence slots, of every rank. */
static cm3_status save(void *context, cm3_comm *comm, char **text) {
    token_learner *l = context;
    if (l->loader)
        memcpy(l->cursors + l->first, cm3_loader_cursors(l->loader), (size_t)l->share.local * sizeof *l->cursors);
    cm3_cursor *all = calloc((size_t)l->stage->recipe->pretrain.data.batch, sizeof *all);
    cm3_status status = cm3_comm_agree_status(
        comm, all ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for the cursors of all sequence slots"));
    if (status == CM3_OK)
        status = cm3_comm_all_gather(comm, l->cursors + l->first, l->share.local * (int64_t)sizeof *all, all);
    if (status == CM3_OK) status = cm3_cursors_save(&l->stage->recipe->pretrain.data, l->store, all, text);
    free(all);
    return status;
}

static cm3_status restore(void *context, const char *name, const char *text, int64_t step) {
    token_learner *l = context;
    (void)step;
    return cm3_cursors_load(&l->stage->recipe->pretrain.data, l->store, name, text, l->cursors);
}

/* --- setting up -------------------------------------------------------------------------------------------------- */

static cm3_status open_data(token_learner *l) {
    const cm3_recipe *recipe = l->stage->recipe;
    CM3_TRY(cm3_vocab_load(cm3_stage_path(recipe, "tokenize", "vocab.json").text, &l->vocab));
    CM3_TRY(cm3_token_store_open(recipe, &l->vocab, &l->store));
    return cm3_packer_new(&recipe->pretrain.data, &l->vocab, l->store, &l->packer);
}

static cm3_status build_model(token_learner *l) {
    const cm3_recipe *recipe = l->stage->recipe;
    cm3_network_options of = cm3_recipe_network(recipe, "transformer");
    of.vocabulary = l->vocab.size;
    of.use = CM3_USE_TRAIN;
    of.backend = l->stage->device->backend;
    of.compute = cm3_recipe_compute(recipe, of.backend);
    CM3_TRY(cm3_network_open(&of, &l->network));
    const cm3_sequence_batch batch = {.batch = l->share.micro,
                                      .sequence = recipe->pretrain.data.context,
                                      .ids = l->pages.ids,
                                      .targets = l->pages.targets,
                                      .positions = l->pages.positions,
                                      .weights = l->pages.weights,
                                      .scale = l->pages.scale};
    const cm3_tape_options options = {.backend = of.backend,
                                      .compute = of.compute,
                                      .recompute = (cm3_recompute)recipe->model.recompute,
                                      .share_pages_from = cm3_batch_share_pages_from(&l->share)};
    return cm3_token_tapes_open(l->network->model, &batch, &options, &l->tapes);
}

static cm3_status set_up(token_learner *l) {
    const cm3_recipe *recipe = l->stage->recipe;
    CM3_TRY(cm3_recipe_share("pretrain", recipe->pretrain.data.batch, &recipe->pretrain.train,
                             cm3_comm_size(l->stage->comm), &l->share));
    l->first = l->share.local * cm3_comm_rank(l->stage->comm);
    CM3_TRY(open_data(l));
    const cm3_memory *memory = l->stage->device->backend->memory;
    CM3_TRY(cm3_token_pages_open(memory, l->share.micro * recipe->pretrain.data.context,
                                 l->share.local / l->share.micro, &l->pages));
    l->cursors = calloc((size_t)recipe->pretrain.data.batch, sizeof *l->cursors);
    if (!l->cursors) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a batch of tokens");
    for (int64_t slot = 0; slot < recipe->pretrain.data.batch; slot++) l->cursors[slot] = cm3_slot_start(slot);
    return build_model(l);
}

static void tear_down(token_learner *l) {
    cm3_loader_close(l->loader);
    cm3_token_tapes_close(&l->tapes);
    cm3_network_close(l->network);
    cm3_packer_free(l->packer);
    cm3_store_close(l->store);
    cm3_token_pages_close(&l->pages);
    free(l->cursors);
}

static cm3_status learn(token_learner *l, const char *folder) {
    const cm3_recipe *recipe = l->stage->recipe;
    const int64_t tokens = recipe->pretrain.data.batch * recipe->pretrain.data.context;
    const cm3_learner learner = {
        .networks = {{.name = l->network->kind->name,
                      .params = l->network->params,
                      .tape = l->tapes.step,
                      .losses = {l->tapes.loss},
                      .adamw = &recipe->pretrain.optimizer,
                      .schedule = &recipe->pretrain.schedule}},
        .network_count = 1,
        .item = l->network->kind->item,
        .items_per_step = tokens,
        .flops_per_step =
            l->network->kind->flops_per_item(l->network->model, recipe->pretrain.data.context) * (double)tokens,
        .micro_batches = l->share.local / l->share.micro,
        .context = l,
        .load_batch = load_batch,
        .queue_inputs = queue_inputs,
        .queue_readback = queue_readback,
        .collect = collect,
        .report = report,
        .validate = validate,
        .sample = sample,
        .save = save,
        .restore = restore};
    const cm3_dtype compute = cm3_params_tape_options(l->network->params).compute;
    const cm3_trainer_config config = {.run = folder,
                                       .config_text = l->stage->config_text,
                                       .seed = (uint64_t)recipe->run.seed,
                                       .peak_flops = cm3_stage_peak_flops(l->stage, compute),
                                       .train = &recipe->pretrain.train,
                                       .checkpoint = &recipe->checkpoint,
                                       .guard = &recipe->guard};
    if (cm3_stage_is_first(l->stage))
        cm3_log_info("pretrain: %lld parameters, vocabulary %d, %lld samples, %lld tokens a step, %.2f GFLOP a step, "
                     "step memory %.1f MiB a rank",
                     (long long)cm3_params_elements(l->network->params), l->vocab.size,
                     (long long)cm3_store_get_info(l->store)->samples, (long long)tokens, learner.flops_per_step / 1e9,
                     (double)cm3_token_tapes_peak(&l->tapes) / 0x1p20);
    return cm3_train(&config, &learner, l->stage->comm);
}

cm3_status cm3_stage_pretrain(const cm3_stage_context *stage) {
    token_learner learner = {.stage = stage};
    cm3_status status = cm3_comm_agree_status(stage->comm, set_up(&learner));
    if (status == CM3_OK) status = cm3_stage_begin(stage);
    if (status == CM3_OK) status = learn(&learner, cm3_stage_path(stage->recipe, "pretrain", NULL).text);
    tear_down(&learner);
    return status;
}
