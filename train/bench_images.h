/* How fast the image tokenizer encodes, decodes and learns: what `cm3leon bench image-tokenizer` prints. */
#ifndef CM3_TRAIN_BENCH_IMAGES_H
#define CM3_TRAIN_BENCH_IMAGES_H

#include "train/recipe.h"

typedef struct cm3_bench_images_result {
    int64_t batch; /* images at a time: image_tokenizer.train.micro_batch, or image_tokenizer.data.batch */
    double encoded_per_second, decoded_per_second; /* images, from and to the host's memory */
    double trained_per_second;                     /* forward, backward, norm, AdamW */
    double flops_per_second;                       /* model FLOPs of training */
    double product_flops_per_second, ratio;        /* of large f32 matrix products in the same run; of the two */
} cm3_bench_images_result;

/* Random images and parameters; about `seconds` for each of the three. */
cm3_status cm3_bench_images(const cm3_recipe *recipe, const cm3_backend *backend, double seconds,
                            cm3_bench_images_result *result);

#endif
