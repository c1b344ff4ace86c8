#include "train/recipe.h"

#include <stdlib.h>
#include <string.h>

static const char *const devices[] = {"auto", "cpu", "cuda", NULL}, *const types[] = {"auto", "f32", "bf16", NULL};

static const cm3_field run_fields[] = {
    CM3_FIELD_STRING(cm3_run_config, out, NULL, "folder of the run; every stage gets a folder inside",
                     .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_INT(cm3_run_config, seed, "1", 0, 1e15, "", "of initial parameters"),
    CM3_FIELD_CHOICE(cm3_run_config, device, "auto", devices,
                     "where networks are trained and run; auto: a GPU if there is one, else the CPU",
                     .effect = CM3_CHANGES_SPEED),
    CM3_FIELD_CHOICE(cm3_run_config, compute, "auto", types,
                     "data type that the transformer computes in; auto: bf16 on a GPU, f32 on a CPU",
                     .effect = CM3_CHANGES_SPEED),
    CM3_FIELD_END};

static const cm3_field text_tokenizer_fields[] = {
    CM3_FIELD_INT(cm3_text_tokenizer_config, vocabulary, "56320", 256, 1 << 20, "tokens", "size of the byte-level BPE"),
    CM3_FIELD_INT(cm3_text_tokenizer_config, min_frequency, "2", 1, 1e12, "", "least count of a pair that is merged"),
    CM3_FIELD_END};

static const cm3_field evaluate_fields[] = {
    CM3_FIELD_INT(cm3_evaluate_config, prompts, "0", 0, 1e9, "",
                  "training pairs that are evaluated, spread evenly; 0: all"),
    CM3_FIELD_INT(cm3_evaluate_config, rows, "128", 1, 65536, "", "sequences generated at once",
                  .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_INT(cm3_evaluate_config, caption_tokens, "32", 1, 4096, "tokens", "the longest caption that is written"),
    CM3_FIELD_END};

static const cm3_field cluster_fields[] = {
    CM3_FIELD_CHOICE(cm3_cluster_config, device, "auto", devices,
                     "what `plan` counts for where `device` is auto: a GPU need not be there",
                     .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_INT(cm3_cluster_config, gpus, "1", 1, 1e6, "", "GPUs of the cluster that `plan` computes for",
                  .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_FLOAT(cm3_cluster_config, gpu_memory_gib, "80", 0.1, 1e6, "GiB", "memory of one",
                    .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_FLOAT(cm3_cluster_config, gpu_tflops, "312", 0.001, 1e6, "TFLOP/s",
                    "peak of one in dense bf16 (A100: 312, H100: 989)", .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_FLOAT(cm3_cluster_config, mfu, "0.4", 0.001, 1, "", "share of the peak that training reaches",
                    .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_END};

static const cm3_field no_fields[] = {CM3_FIELD_END};

/* `path` is both the name in the file and the member of the struct. */
#define SECTION(path, table, text)                                                                                     \
    { #path, table, offsetof(cm3_recipe, path), text }
#define SECTIONS(path, text)                                                                                           \
    { #path, no_fields, 0, text }
static const cm3_section sections[] = {
    {"", run_fields, offsetof(cm3_recipe, run), "the run"},
    SECTION(source, cm3_source_fields, "where image-text pairs come from"),
    SECTION(vocab, cm3_vocab_fields, "the ids of the model"),
    SECTION(text_tokenizer, text_tokenizer_fields, "byte-level BPE (stage text-tokenizer)"),
    SECTIONS(image_tokenizer, "the network that turns images into codes (stage image-tokenizer)"),
    SECTION(image_tokenizer.network, cm3_vqgan_fields, "VQGAN"),
    SECTION(image_tokenizer.data, cm3_images_fields, "how images become batches"),
    SECTION(image_tokenizer.train, cm3_train_fields, "the loop; its batch is image_tokenizer.data.batch images"),
    SECTION(image_tokenizer.optimizer, cm3_adamw_fields, "AdamW"),
    SECTION(image_tokenizer.schedule, cm3_schedule_fields, "the learning rate over the run"),
    SECTION(model, cm3_transformer_fields, "the transformer"),
    SECTIONS(pretrain, "how the transformer is trained (stage pretrain)"),
    SECTION(pretrain.data, cm3_data_fields, "blocks of tokens, and the CM3 objective"),
    SECTION(pretrain.train, cm3_train_fields,
            "the loop; its batch is pretrain.data.batch sequences of pretrain.data.context tokens"),
    SECTION(pretrain.optimizer, cm3_adamw_fields, "AdamW"),
    SECTION(pretrain.schedule, cm3_schedule_fields, "the learning rate over the run"),
    SECTION(checkpoint, cm3_checkpoint_fields, "checkpoints of both networks"),
    SECTION(guard, cm3_guard_fields, "what happens when a loss or a gradient is not finite"),
    SECTION(generate, cm3_decode_fields, "how tokens are sampled"),
    SECTION(evaluate, evaluate_fields, "what `evaluate` measures"),
    SECTION(cluster, cluster_fields, "the cluster that `plan` computes for"),
    {NULL, NULL, 0, NULL}};

/* Names of earlier versions: a field before the section that it was in. */
static const cm3_rename renames[] = {{"source.heldout", "source.validation"},
                                     {"image_tokenizer.picture", "image_tokenizer.network.image_size"},
                                     {"image_tokenizer.image", "image_tokenizer.network.image_size"},
                                     {"image_tokenizer", "image_tokenizer.network"},
                                     {"image_tokenizer.network.recompute=segments", "layers"},
                                     {"pictures", "image_tokenizer.data"},
                                     {"images", "image_tokenizer.data"},
                                     {"image_train", "image_tokenizer.train"},
                                     {"image_optimizer", "image_tokenizer.optimizer"},
                                     {"image_schedule", "image_tokenizer.schedule"},
                                     {"data.vocab_layout", "vocab.layout"},
                                     {"data.sentinels", "vocab.sentinels"},
                                     {"data.vocab_multiple", "vocab.multiple"},
                                     {"data.lanes", "pretrain.data.batch"},
                                     {"data", "pretrain.data"},
                                     {"model.recompute=segments", "layers"},
                                     {"train", "pretrain.train"},
                                     {"optimizer", "pretrain.optimizer"},
                                     {"schedule", "pretrain.schedule"},
                                     {NULL, NULL}};

/* A micro-batch of so many items: all of them, unless the recipe has less. */
static int64_t micro_batch(const cm3_train_config *train, int64_t items) {
    return train->micro_batch && train->micro_batch < items ? train->micro_batch : items;
}

static void check_micro_batch(const cm3_train_config *train, int64_t batch, const char *section, const char *name,
                              cm3_faults *faults) {
    if (batch % micro_batch(train, batch))
        cm3_faults_add(faults, section, "micro_batch", "the global batch (%s = %lld) is not divisible by %lld", name,
                       (long long)batch, (long long)train->micro_batch);
}

/* A network's section of a recipe. */
static const void *config_of(const cm3_recipe *recipe, const cm3_network_kind *kind) {
    const cm3_section *section = sections;
    while (section->name && strcmp(section->name, kind->section) != 0) section++;
    return section->name ? (const char *)recipe + section->offset : NULL;
}

static void check(const void *data, cm3_faults *faults) {
    const cm3_recipe *r = data;
    if (r->run.device == CM3_DEVICE_CPU && r->run.compute == CM3_COMPUTE_BF16)
        cm3_faults_add(faults, "", "compute", "bf16 needs a GPU, but device is cpu");
    cm3_source_check(&r->source, "source", faults);
    cm3_data_check(&r->pretrain.data, &r->vocab, "pretrain.data", faults);
    for (const cm3_network_kind *const *row = cm3_network_kinds; *row; row++)
        (*row)->check(config_of(r, *row), (*row)->section, faults);
    if (r->model.context < r->pretrain.data.context)
        cm3_faults_add(faults, "model", "context", "%lld is less than pretrain.data.context, which is %lld",
                       (long long)r->model.context, (long long)r->pretrain.data.context);
    if (r->source.image_size != r->image_tokenizer.network.image_size)
        cm3_faults_add(faults, "source", "image_size", "%lld pixels, but image_tokenizer.network.image_size is %lld",
                       (long long)r->source.image_size, (long long)r->image_tokenizer.network.image_size);
    check_micro_batch(&r->image_tokenizer.train, r->image_tokenizer.data.batch, "image_tokenizer.train",
                      "image_tokenizer.data.batch", faults);
    check_micro_batch(&r->pretrain.train, r->pretrain.data.batch, "pretrain.train", "pretrain.data.batch", faults);
}

const cm3_schema cm3_recipe_schema = {
    .sections = sections, .renames = renames, .size = sizeof(cm3_recipe), .check = check};

cm3_status cm3_recipe_text(const cm3_recipe *recipe, char **text) {
    size_t length = 0;
    *text = NULL;
    FILE *file = open_memstream(text, &length);
    if (!file) return cm3_fail(CM3_ERR_MEMORY, "out of memory for the text of a recipe");
    const cm3_status status = cm3_config_print(&cm3_recipe_schema, recipe, file);
    if (fclose(file) != 0 && status == CM3_OK)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for the text of a recipe");
    return status;
}

cm3_network_options cm3_recipe_network(const cm3_recipe *recipe, const char *kind) {
    cm3_network_options options = {.kind = kind, .seed = (uint64_t)recipe->run.seed};
    const cm3_network_kind *row;
    if (cm3_network_find(kind, &row) == CM3_OK)
        options.config = config_of(recipe, row); /* opening says that it fails */
    return options;
}

cm3_dtype cm3_recipe_compute(const cm3_recipe *r, const cm3_backend *backend) {
    if (r->run.compute == CM3_COMPUTE_AUTO) return backend->has_bf16 && !backend->memory->host ? CM3_BF16 : CM3_F32;
    return r->run.compute == CM3_COMPUTE_BF16 ? CM3_BF16 : CM3_F32;
}

cm3_status cm3_recipe_check_compute(const cm3_recipe *recipe, const cm3_device *device) {
    const cm3_backend *backend = device->backend;
    if (recipe->run.compute != CM3_COMPUTE_BF16 || (backend->has_bf16 && !backend->memory->host)) return CM3_OK;
    return cm3_fail(CM3_ERR_RECIPE, "compute: bf16 needs a GPU, but this runs on the %s", device->text);
}

cm3_status cm3_recipe_share(const char *section, int64_t batch, const cm3_train_config *train, int ranks,
                            cm3_batch_share *share) {
    if (batch % ranks)
        return cm3_fail(CM3_ERR_RECIPE, "the global batch (%s.data.batch = %lld) is not divisible by %d ranks", section,
                        (long long)batch, ranks);
    share->local = batch / ranks;
    share->micro = micro_batch(train, share->local);
    if (share->local % share->micro)
        return cm3_fail(
            CM3_ERR_RECIPE,
            "a rank's part of the global batch (%s.data.batch = %lld over %d ranks: %lld) is not divisible by "
            "%s.train.micro_batch (%lld)",
            section, (long long)batch, ranks, (long long)share->local, section, (long long)share->micro);
    return CM3_OK;
}

cm3_vocab_sizes cm3_recipe_vocab_sizes(const cm3_recipe *r) {
    return (cm3_vocab_sizes){.layout = r->vocab.layout,
                             .text = r->text_tokenizer.vocabulary,
                             .image = r->image_tokenizer.network.codes,
                             .sentinels = r->vocab.sentinels,
                             .multiple = r->vocab.multiple};
}
