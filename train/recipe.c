#include "train/recipe.h"

#include <stdlib.h>

static const char *const devices[] = {"auto", "cpu", "cuda", NULL}, *const types[] = {"auto", "f32", "bf16", NULL};

static const cm3_field run_fields[] = {
    CM3_FIELD_STRING(cm3_run_config, out, NULL, "folder of the run; every stage gets a folder inside"),
    CM3_FIELD_INT(cm3_run_config, seed, "1", 0, 1e15, "", "of initial parameters"),
    CM3_FIELD_CHOICE(cm3_run_config, device, "auto", devices,
                     "where both networks are trained and run; auto: on a GPU if there is one"),
    CM3_FIELD_CHOICE(cm3_run_config, compute, "auto", types,
                     "what the transformer computes in; auto: bf16 on a GPU, f32 on a CPU"),
    CM3_FIELD_END};

static const cm3_field text_tokenizer_fields[] = {
    CM3_FIELD_INT(cm3_text_tokenizer_config, vocabulary, "56320", 256, 1 << 20, "tokens", "size of the byte-level BPE"),
    CM3_FIELD_INT(cm3_text_tokenizer_config, min_frequency, "2", 1, 1e12, "", "a pair that is rarer is not merged"),
    CM3_FIELD_END};

static const cm3_field evaluate_fields[] = {
    CM3_FIELD_INT(cm3_evaluate_config, prompts, "0", 0, 1e9, "", "seen pairs that are judged, spread evenly; 0: all"),
    CM3_FIELD_INT(cm3_evaluate_config, rows, "128", 1, 65536, "", "streams generated at once (memory)"),
    CM3_FIELD_INT(cm3_evaluate_config, caption_tokens, "32", 1, 4096, "tokens", "the longest caption that is written"),
    CM3_FIELD_END};

static const cm3_field cluster_fields[] = {
    CM3_FIELD_INT(cm3_cluster_config, gpus, "1", 1, 1e6, "", "GPUs of the cluster that `plan` is asked about"),
    CM3_FIELD_FLOAT(cm3_cluster_config, gpu_memory_gib, "80", 0.1, 1e6, "GiB", "memory of one"),
    CM3_FIELD_FLOAT(cm3_cluster_config, gpu_tflops, "312", 0.001, 1e6, "TFLOP/s",
                    "peak of one in dense bf16 (A100: 312, H100: 989)"),
    CM3_FIELD_FLOAT(cm3_cluster_config, mfu, "0.4", 0.001, 1, "", "share of the peak that training reaches"),
    CM3_FIELD_END};

#define SECTION(member, table, text)                                                                                   \
    { #member, table, offsetof(cm3_recipe, member), text }
static const cm3_section sections[] = {
    {"", run_fields, offsetof(cm3_recipe, run), "the run"},
    SECTION(source, cm3_source_fields, "where image-text pairs come from"),
    SECTION(text_tokenizer, text_tokenizer_fields, "byte-level BPE (stage text-tokenizer)"),
    SECTION(image_tokenizer, cm3_vqgan_fields, "the VQ network that turns images into codes (stage image-tokenizer)"),
    SECTION(images, cm3_images_fields, "how images become batches for it"),
    SECTION(image_train, cm3_train_fields, "its training; the batch is images.batch"),
    SECTION(image_optimizer, cm3_adamw_fields, "its AdamW"),
    SECTION(image_schedule, cm3_schedule_fields, "its learning rate over the run"),
    SECTION(data, cm3_data_fields, "blocks of tokens, and the CM3 objective"),
    SECTION(model, cm3_transformer_fields, "the transformer"),
    SECTION(train, cm3_train_fields,
            "its training (stage pretrain); the batch is data.lanes sequences of data.context tokens"),
    SECTION(optimizer, cm3_adamw_fields, "its AdamW"),
    SECTION(schedule, cm3_schedule_fields, "its learning rate over the run"),
    SECTION(checkpoint, cm3_checkpoint_fields, "checkpoints of both networks"),
    SECTION(guard, cm3_guard_fields, "what happens when a loss or a gradient is not finite"),
    SECTION(generate, cm3_decode_fields, "how tokens are drawn"),
    SECTION(evaluate, evaluate_fields, "what `evaluate` measures"),
    SECTION(cluster, cluster_fields, "the machines that `plan` is asked about"),
    {NULL, NULL, 0, NULL}};

static void check_micro_batch(const cm3_train_config *train, int64_t batch, const char *section, const char *what,
                              cm3_faults *faults) {
    if (train->micro_batch && batch % train->micro_batch)
        cm3_faults_add(faults, section, "micro_batch", "%lld does not divide %s, which is %lld",
                       (long long)train->micro_batch, what, (long long)batch);
}

static void check(const void *data, cm3_faults *faults) {
    const cm3_recipe *r = data;
    if (r->run.device == CM3_DEVICE_CPU && r->run.compute == CM3_COMPUTE_BF16)
        cm3_faults_add(faults, "", "compute", "bf16 needs a GPU, but device is cpu");
    cm3_source_check(&r->source, "source", faults);
    cm3_vqgan_check(&r->image_tokenizer, "image_tokenizer", faults);
    cm3_data_check(&r->data, "data", faults);
    cm3_transformer_check(&r->model, "model", faults);
    if (r->model.context < r->data.context)
        cm3_faults_add(faults, "model", "context", "%lld is less than data.context, which is %lld",
                       (long long)r->model.context, (long long)r->data.context);
    if (r->source.image_size != r->image_tokenizer.image)
        cm3_faults_add(faults, "source", "image_size", "%lld pixels, but image_tokenizer.image is %lld",
                       (long long)r->source.image_size, (long long)r->image_tokenizer.image);
    check_micro_batch(&r->image_train, r->images.batch, "image_train", "images.batch", faults);
    check_micro_batch(&r->train, r->data.lanes, "train", "data.lanes", faults);
}

const cm3_schema cm3_recipe_schema = {.sections = sections, .size = sizeof(cm3_recipe), .check = check};

cm3_status cm3_recipe_text(const cm3_recipe *recipe, char **text) {
    size_t length = 0;
    *text = NULL;
    FILE *file = open_memstream(text, &length);
    if (!file) return cm3_fail(CM3_ERR_MEMORY, "no memory to print a recipe");
    const cm3_status status = cm3_config_print(&cm3_recipe_schema, recipe, file);
    if (fclose(file) != 0 && status == CM3_OK) return cm3_fail(CM3_ERR_MEMORY, "no memory to print a recipe");
    return status;
}

cm3_dtype cm3_recipe_compute(const cm3_recipe *r, const cm3_backend *backend) {
    if (r->run.compute == CM3_COMPUTE_AUTO) return backend->has_bf16 && !backend->memory->host ? CM3_BF16 : CM3_F32;
    return r->run.compute == CM3_COMPUTE_BF16 ? CM3_BF16 : CM3_F32;
}

cm3_vocab_sizes cm3_recipe_vocab_sizes(const cm3_recipe *r) {
    return (cm3_vocab_sizes){.layout = r->data.vocab_layout,
                             .text = r->text_tokenizer.vocabulary,
                             .image = r->image_tokenizer.codes,
                             .sentinels = r->data.sentinels,
                             .multiple = r->data.vocab_multiple};
}
