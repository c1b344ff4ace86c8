/* What a recipe costs, without running it: parameters, FLOPs, memory, communication, hours. The same model code is
 * recorded on a tape that is planned and never run (core/tensor/tape.h), so memory is that of the real step, byte for
 * byte. */
#ifndef CM3_TRAIN_PLAN_H
#define CM3_TRAIN_PLAN_H

#include "train/recipe.h"

typedef struct cm3_stage_plan {
    int64_t parameters;
    int64_t items_per_step; /* tokens, or images for the image tokenizer, over all ranks */
    double flops_per_step;  /* over all ranks: model FLOPs, recomputation not counted */
    double recompute_flops; /* what recomputation adds to that */
    /* Of one rank, in bytes. */
    double parameter_bytes; /* with their bf16 copy, if they have one */
    double gradient_bytes, optimizer_bytes, step_bytes;
    double exchanged_bytes;        /* pages that gradients and step share (cm3_tape_stats) */
    double peak_bytes;             /* all four less that */
    double reduced_bytes_per_step; /* gradients that a rank sends in all-reduces; 0 with one rank */
    /* On the cluster of the recipe: bf16 GPUs, every rank one GPU. */
    double gpu_hours, days;
} cm3_stage_plan;

/* The transformer's training on `ranks` ranks of a backend that plans only (core/kernels/device.h). The vocabulary is
 * that of OUT/tokenize if it is there, else what the recipe sets. */
cm3_status cm3_plan_pretrain(const cm3_recipe *recipe, const cm3_backend *backend, int ranks, cm3_stage_plan *plan);
/* The same for the image tokenizer, which computes in f32. */
cm3_status cm3_plan_image_tokenizer(const cm3_recipe *recipe, const cm3_backend *backend, int ranks,
                                    cm3_stage_plan *plan);

#endif
