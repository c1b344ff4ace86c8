#include "train/plan.h"

#include "core/auto.h"
#include "train/run_folder.h"
#include "train/token_tapes.h"

/* Rows of the embedding table. */
static cm3_status vocabulary_size(const cm3_recipe *recipe, int64_t *size) {
    cm3_vocab vocab;
    const cm3_path path = cm3_stage_path(recipe, "tokenize", "vocab.json");
    const cm3_vocab_sizes sizes = cm3_recipe_vocab_sizes(recipe);
    CM3_TRY(cm3_path_exists(path.text) ? cm3_vocab_load(path.text, &vocab) : cm3_vocab_build(&sizes, &vocab));
    *size = vocab.size;
    return CM3_OK;
}

static void fill(const cm3_recipe *recipe, const cm3_params *params, const cm3_tape *tape, size_t step_bytes,
                 int64_t steps, int ranks, cm3_stage_plan *plan) {
    const cm3_params_bytes bytes = cm3_params_count_bytes(params, cm3_tape_get_options(tape)->compute, CM3_USE_TRAIN);
    const cm3_tape_stats *stats = cm3_tape_get_stats(tape);
    plan->parameters = cm3_params_elements(params);
    plan->gradient_bytes = bytes.gradients;
    plan->parameter_bytes = bytes.values;
    plan->optimizer_bytes = bytes.moments;
    plan->step_bytes = (double)step_bytes;
    plan->exchanged_bytes = (double)stats->exchanged_bytes;
    plan->peak_bytes =
        plan->parameter_bytes + plan->gradient_bytes + plan->optimizer_bytes + plan->step_bytes - plan->exchanged_bytes;
    plan->recompute_flops =
        stats->recompute_flops / (stats->forward_flops + stats->backward_flops) * plan->flops_per_step;
    /* Every rank sends its share of each other's piece, then its own summed piece to all: 2 (N - 1) / N of the
     * gradient. */
    plan->reduced_bytes_per_step = 2 * bytes.gradients * (ranks - 1) / ranks;
    const cm3_cluster_config *cluster = &recipe->cluster;
    const double seconds =
        (plan->flops_per_step + plan->recompute_flops) * (double)steps / (cluster->gpu_tflops * 1e12 * cluster->mfu);
    plan->gpu_hours = seconds / 3600;
    plan->days = seconds / (double)cluster->gpus / 86400;
}

CM3_AUTO_CLOSE(cm3_network_close, cm3_network)
CM3_AUTO_CLOSE(cm3_tape_free, cm3_tape)

cm3_status cm3_plan_pretrain(const cm3_recipe *recipe, const cm3_backend *backend, int ranks, cm3_stage_plan *plan) {
    const cm3_pretrain_config *config = &recipe->pretrain;
    *plan = (cm3_stage_plan){.items_per_step = config->data.batch * config->data.context};
    CM3_AUTO(cm3_network_close_auto) cm3_network *network = NULL;
    CM3_AUTO(cm3_token_tapes_close) cm3_token_tapes tapes = {0};
    cm3_batch_share share;
    CM3_TRY(cm3_recipe_share("pretrain", config->data.batch, &config->train, ranks, &share));
    cm3_network_options of = cm3_recipe_network(recipe, "transformer");
    CM3_TRY(vocabulary_size(recipe, &of.vocabulary));
    CM3_TRY(cm3_network_open(&of, &network));
    const cm3_tape_options options = {.backend = backend,
                                      .compute = cm3_recipe_compute(recipe, backend),
                                      .recompute = (cm3_recompute)recipe->model.recompute,
                                      .share_pages_from = cm3_batch_share_pages_from(&share)};
    const cm3_sequence_batch batch = {.batch = share.micro, .sequence = config->data.context};
    CM3_TRY(cm3_token_tapes_open(network->model, &batch, &options, &tapes));
    plan->flops_per_step =
        network->kind->flops_per_item(network->model, config->data.context) * (double)plan->items_per_step;
    fill(recipe, network->params, tapes.step, cm3_token_tapes_peak(&tapes), config->train.steps, ranks, plan);
    return CM3_OK;
}

cm3_status cm3_plan_image_tokenizer(const cm3_recipe *recipe, const cm3_backend *backend, int ranks,
                                    cm3_stage_plan *plan) {
    const cm3_image_tokenizer_config *config = &recipe->image_tokenizer;
    *plan = (cm3_stage_plan){.items_per_step = config->data.batch};
    CM3_AUTO(cm3_network_close_auto) cm3_network *network = NULL;
    CM3_AUTO(cm3_tape_free_auto) cm3_tape *tape = NULL;
    cm3_batch_share share;
    CM3_TRY(cm3_recipe_share("image_tokenizer", config->data.batch, &config->train, ranks, &share));
    const cm3_network_options of = cm3_recipe_network(recipe, "image-tokenizer");
    CM3_TRY(cm3_network_open(&of, &network));
    const cm3_tape_options options = {.backend = backend,
                                      .recompute = (cm3_recompute)config->network.recompute,
                                      .share_pages_from = cm3_batch_share_pages_from(&share)};
    CM3_TRY(cm3_tape_create(&options, &tape));
    const cm3_vqgan_batch batch = {.images = share.micro};
    cm3_vqgan_train(network->model, tape, &batch);
    CM3_TRY(cm3_tape_plan(tape));
    plan->flops_per_step = network->kind->flops_per_item(network->model, 0) * (double)plan->items_per_step;
    fill(recipe, network->params, tape, cm3_tape_get_stats(tape)->peak_bytes, config->train.steps, ranks, plan);
    return CM3_OK;
}
