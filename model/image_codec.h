/* A trained image tokenizer as its users see it: images to codes, codes to images. */
#ifndef CM3_MODEL_IMAGE_CODEC_H
#define CM3_MODEL_IMAGE_CODEC_H

#include "model/vqgan.h"

typedef struct cm3_image_codec cm3_image_codec;

/* `model` has its parameters allocated and filled; both must outlive the codec. Works where the parameters are, on
 * `batch` images at a time; the memory of each direction is allocated at its first use. */
cm3_status cm3_image_codec_create(const cm3_vqgan *model, int64_t batch, cm3_image_codec **codec);
void cm3_image_codec_free(cm3_image_codec *codec);

/* images (count, H, W, 3) in [-1, 1] -> codes (count, side, side), row by row. Any count. */
cm3_status cm3_image_codec_encode(cm3_image_codec *codec, const float *images, int64_t count, int32_t *codes);
/* codes (count, side, side) -> images (count, H, W, 3), clamped to [-1, 1]. A code outside of the codebook is
 * CM3_ERR_SHAPE. */
cm3_status cm3_image_codec_decode(cm3_image_codec *codec, const int32_t *codes, int64_t count, float *images);

#endif
