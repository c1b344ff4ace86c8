/* Text to images and images to text, by a trained model: what generate, evaluate, report and the samples of a
 * training run stand on. */
#ifndef CM3_TRAIN_EVALUATE_DRAW_H
#define CM3_TRAIN_EVALUATE_DRAW_H

#include "data/document.h"
#include "data/image/image.h"
#include "data/store.h"
#include "model/decode/generate.h"
#include "train/evaluate/tokenizers.h"
#include "train/metrics.h"

/* A model with its tokenizers. */
typedef struct cm3_artist {
    const cm3_recipe *recipe;
    cm3_tokenizers tokenizers;
    cm3_params *params; /* NULL when the model is somebody else's */
    const cm3_transformer *model;
    cm3_transformer *owned;
    cm3_generator *generator;
    int64_t step; /* updates of the checkpoint */
} cm3_artist;

/* Opens the newest checkpoint of OUT/pretrain, or `checkpoint` if it is not NULL, to run on this backend. */
cm3_status cm3_artist_open(const cm3_recipe *recipe, const cm3_backend *backend, const char *checkpoint,
                           cm3_artist *artist);
/* The same around a model in training, where that is. */
cm3_status cm3_artist_around(const cm3_recipe *recipe, const cm3_transformer *model, cm3_artist *artist);
void cm3_artist_close(cm3_artist *artist); /* safe on a zeroed struct */

/* Images for captions: codes (count, C). `first_sample` numbers the draws: the same number and caption draw the
 * same image. */
cm3_status cm3_artist_draw_codes(cm3_artist *artist, const cm3_decode_config *config, const char *const *captions,
                                 int64_t count, uint64_t first_sample, int32_t *codes,
                                 void (*advanced)(void *context, int64_t done), void *context);
/* Codes to images (count, side, side, 3) in [-1, 1]. */
cm3_status cm3_artist_paint(cm3_artist *artist, const int32_t *codes, int64_t count, float *pixels);
/* Captions for images given as codes, by infilling: <eos> <sentinel:0> <break> IMAGE <eos> <sentinel:0>, text until
 * <eoss>. Each caption is malloc'ed. */
cm3_status cm3_artist_describe(cm3_artist *artist, const cm3_decode_config *config, const int32_t *codes, int64_t count,
                               uint64_t first_sample, char **captions, void (*advanced)(void *context, int64_t done),
                               void *context);

/* Some images of the store's captions, beside their true ones, into OUT/pretrain/samples/step-N.png and
 * TensorBoard. */
cm3_status cm3_draw_samples(const cm3_recipe *recipe, const cm3_transformer *model, cm3_store *store, int64_t step,
                            cm3_metrics *metrics);

#endif
