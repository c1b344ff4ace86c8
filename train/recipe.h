/* A recipe: every setting of every stage, one YAML file, one section a struct. A stage has a section of its own, with
 * sections inside; what several stages read is shared (`source`, `vocab`, `model`). Each layer owns its own sections'
 * tables; here they are put together, with the checks that look across them. */
#ifndef CM3_TRAIN_RECIPE_H
#define CM3_TRAIN_RECIPE_H

#include "core/config.h"
#include "data/data_config.h"
#include "data/image_batches.h"
#include "data/source/source.h"
#include "core/kernels/device.h"
#include "model/decode/sampler.h"
#include "model/transformer.h"
#include "model/vqgan.h"
#include "train/trainer.h"

/* Keys at the top level of the file. */
typedef struct cm3_run_config {
    char *out;    /* folder of the run; each stage has its own inside */
    int64_t seed; /* of initial parameters and of everything that has no seed of its own */
    int device;   /* cm3_device_choice */
    int compute;  /* cm3_compute_choice */
} cm3_run_config;

/* What the transformer computes in: parameters and moments in training stay f32 in either case. */
typedef enum cm3_compute_choice { CM3_COMPUTE_AUTO, CM3_COMPUTE_F32, CM3_COMPUTE_BF16 } cm3_compute_choice;

typedef struct cm3_text_tokenizer_config {
    int64_t vocabulary, min_frequency;
} cm3_text_tokenizer_config;

typedef struct cm3_evaluate_config {
    int64_t prompts;        /* seen pairs that are judged; 0: all */
    int64_t rows;           /* streams generated at once */
    int64_t caption_tokens; /* the longest caption that is written */
} cm3_evaluate_config;

/* The cluster that `plan` computes for. */
typedef struct cm3_cluster_config {
    int device;   /* cm3_device_choice, where the run's is auto */
    int64_t gpus; /* or ranks */
    double gpu_memory_gib;
    double gpu_tflops; /* dense bf16 peak of one */
    double mfu;        /* share of it that training reaches */
} cm3_cluster_config;

typedef struct cm3_image_tokenizer_config {
    cm3_vqgan_config network;
    cm3_images_config data;
    cm3_train_config train;
    cm3_adamw_config optimizer;
    cm3_schedule_config schedule;
} cm3_image_tokenizer_config;

typedef struct cm3_pretrain_config {
    cm3_data_config data;
    cm3_train_config train;
    cm3_adamw_config optimizer;
    cm3_schedule_config schedule;
} cm3_pretrain_config;

/* Named as in the file: recipe->pretrain.train.steps is pretrain.train.steps. */
typedef struct cm3_recipe {
    cm3_run_config run;
    cm3_source_config source;
    cm3_vocab_config vocab;
    cm3_text_tokenizer_config text_tokenizer;
    cm3_image_tokenizer_config image_tokenizer;
    cm3_transformer_config model;
    cm3_pretrain_config pretrain;
    cm3_checkpoint_config checkpoint;
    cm3_guard_config guard;
    cm3_decode_config generate;
    cm3_evaluate_config evaluate;
    cm3_cluster_config cluster;
} cm3_recipe;

extern const cm3_schema cm3_recipe_schema;

/* The resolved recipe as YAML; the caller frees it. */
cm3_status cm3_recipe_text(const cm3_recipe *recipe, char **text);

/* A network of this kind (a row of model/networks.c) as the recipe describes it, planned alone: its section and seed.
 */
cm3_network_options cm3_recipe_network(const cm3_recipe *recipe, const char *kind);
/* The type that the transformer computes in on this backend. */
cm3_dtype cm3_recipe_compute(const cm3_recipe *recipe, const cm3_backend *backend);
/* CM3_ERR_RECIPE if the device, opened or counted, does not compute in what the recipe says. */
cm3_status cm3_recipe_check_compute(const cm3_recipe *recipe, const cm3_device *device);
/* What a rank has of a step: sequences or images. */
typedef struct cm3_batch_share {
    int64_t local, micro; /* all of its share, and one micro-batch of it */
} cm3_batch_share;
/* Of a tape: gradients share pages with activations only where one micro-batch is the whole step. */
static inline size_t cm3_batch_share_pages_from(const cm3_batch_share *share) {
    return share->micro == share->local ? CM3_SHARE_PAGES_FROM : 0;
}
/* CM3_ERR_RECIPE if the ranks or the micro-batches do not divide a global batch, which is SECTION.data.batch. */
cm3_status cm3_recipe_share(const char *section, int64_t batch, const cm3_train_config *train, int ranks,
                            cm3_batch_share *share);
/* Text codes and image codes of the vocabulary as the recipe promises them, before any tokenizer is there (plan). */
cm3_vocab_sizes cm3_recipe_vocab_sizes(const cm3_recipe *recipe);

#endif
