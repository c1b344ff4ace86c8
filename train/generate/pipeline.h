/* The generation pipeline: captions to images and images to captions, by a trained model and its tokenizers. Used by
 * `generate`, `evaluate`, and for the sample images of a training run. */
#ifndef CM3_TRAIN_GENERATE_PIPELINE_H
#define CM3_TRAIN_GENERATE_PIPELINE_H

#include "data/document.h"
#include "data/image/image.h"
#include "data/store.h"
#include "model/decode/generate.h"
#include "train/generate/tokenizers.h"
#include "train/metrics.h"

/* A model with its tokenizers. */
typedef struct cm3_pipeline {
    const cm3_recipe *recipe;
    cm3_tokenizers tokenizers;
    cm3_network *network; /* NULL around a model in training */
    const cm3_transformer *model;
    cm3_generator *generator;
    int64_t step; /* updates of the checkpoint */
} cm3_pipeline;

/* Opens the newest checkpoint of OUT/pretrain, or `checkpoint` if it is not NULL, to run on this backend. */
cm3_status cm3_pipeline_open(const cm3_recipe *recipe, const cm3_backend *backend, const char *checkpoint,
                             cm3_pipeline *pipeline);
void cm3_pipeline_close(cm3_pipeline *pipeline); /* safe on a zeroed struct */

/* Samples images for captions: codes (count, C). `first_sample` is the random stream of the first caption, the next
 * ones follow: the same stream and caption give the same image. `advanced`, if not NULL, is called with the number of
 * images that are done. */
cm3_status cm3_pipeline_generate_codes(cm3_pipeline *pipeline, const cm3_decode_config *config,
                                       const char *const *captions, int64_t count, uint64_t first_sample,
                                       int32_t *codes, void (*advanced)(void *context, int64_t done), void *context);
/* Codes (count, C) to `count` images, the caller's to free; none after a failure. */
cm3_status cm3_pipeline_decode_images(cm3_pipeline *pipeline, const int32_t *codes, int64_t count, cm3_image *images);
/* Captions for images given as codes, by infilling: <eos> <sentinel:0> <break> IMAGE <eos> <sentinel:0>, text until
 * <eoss>. Each caption is malloc'ed. */
cm3_status cm3_pipeline_caption(cm3_pipeline *pipeline, const cm3_decode_config *config, const int32_t *codes,
                                int64_t count, uint64_t first_sample, char **captions,
                                void (*advanced)(void *context, int64_t done), void *context);

/* Generates images for some captions of the store and writes them, beside the true ones, to
 * OUT/pretrain/samples/step-N.png and TensorBoard, with a model in training. */
cm3_status cm3_pipeline_write_samples(const cm3_recipe *recipe, const cm3_transformer *model, cm3_store *store,
                                      int64_t step, cm3_metrics *metrics);

#endif
