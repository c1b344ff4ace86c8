/* The image tokenizer: a convolutional encoder, a codebook, and a decoder.
 *
 * The network is that of VQGAN (Esser et al., "Taming transformers for high-resolution image synthesis", 2021,
 * arXiv 2012.09841), which Make-A-Scene and CM3Leon use under the name VQ-IMG. An image of 256 x 256 becomes 32 x 32
 * vectors, each replaced by the nearest of 8192 codes (van den Oord et al., 2017); the decoder draws the image again
 * from the codes:
 *
 *     z = encode(x);  codes = argmin_k |z - e_k|;  y = decode(e[codes])
 *     loss = l1 |x - y| + l2 |x - y|^2                               means over pixel values
 *          + codebook_loss (|sg z - e|^2 + commitment |z - sg e|^2)   mean over code values, sg: no gradient
 *
 * and the gradient of y passes straight through the codebook to z. There is no adversary: the loss is that of pixels.
 *
 * Images are f32, (B, H, W, 3), values in [-1, 1]. With `patch` p > 1 the network works on images folded from space
 * to depth, (B, H/p, W/p, 3 p p): the caller folds and unfolds (cm3_vqgan_fold). N = B x code side x code side, D: code
 * width. */
#ifndef CM3_MODEL_VQGAN_H
#define CM3_MODEL_VQGAN_H

#include "model/network.h"

typedef struct cm3_vqgan_config {
    int64_t image_size;       /* side, pixels */
    int64_t patch;            /* pixels along a side that are folded into channels */
    int64_t channels;         /* of the first level */
    cm3_int_list multipliers; /* channels of each level; the side is halved between levels */
    int64_t encoder_blocks, decoder_blocks,
        middle_blocks;         /* residual blocks of a level, and at the lowest resolution */
    bool attention;            /* one self-attention in the middle of encoder and decoder */
    int64_t code_width, codes; /* D, K */
    double l1, l2, codebook_loss, commitment;
    int64_t dead_steps;   /* unused for so long, a code is started again */
    double restart_until; /* share of the training during which codes are started again */
    int recompute;        /* cm3_recompute */
} cm3_vqgan_config;

extern const cm3_field cm3_vqgan_fields[];

/* Codes along a side, and of a whole image. */
int64_t cm3_vqgan_code_side(const cm3_vqgan_config *config);
int64_t cm3_vqgan_codes_per_image(const cm3_vqgan_config *config);

/* The kind "image-tokenizer"; a cm3_network of it has a cm3_vqgan as its model. CM3_ERR_SHAPE for a config that
 * a recipe refuses. */
extern const cm3_network_kind cm3_vqgan_kind;
typedef struct cm3_vqgan cm3_vqgan;

const cm3_vqgan_config *cm3_vqgan_get_config(const cm3_vqgan *model);
const cm3_params *cm3_vqgan_params(const cm3_vqgan *model);
/* Index of the codebook (K, D) in the table of parameters. */
enum { CM3_VQGAN_CODEBOOK = 0 };

/* --- the network on a tape --------------------------------------------------------------------------------------- */

/* Shape of the network's images: (B, H/p, W/p, 3 p p). */
cm3_shape cm3_vqgan_image_shape(const cm3_vqgan *model, int64_t batch);
/* The codebook as a leaf: one a tape. */
cm3_var *cm3_vqgan_codebook(const cm3_vqgan *model, cm3_tape *tape);
/* z (N, D) of folded images. */
cm3_var *cm3_vqgan_encode(const cm3_vqgan *model, cm3_tape *tape, int64_t batch, cm3_var *images);
/* Folded images of code vectors (N, D); values may lie somewhat outside of [-1, 1]. */
cm3_var *cm3_vqgan_decode(const cm3_vqgan *model, cm3_tape *tape, int64_t batch, cm3_var *vectors);

/* A step of training: the arrays are the caller's, in the memory of the tape's backend, read at every run. */
typedef struct cm3_vqgan_batch {
    int64_t images;
    float *pixels;      /* folded */
    float *pixel_scale; /* (1), see cm3_vqgan_scales */
    float *code_scale;  /* (1) */
} cm3_vqgan_batch;

/* All kept: readable after a run. The two losses are roots of the backward pass. */
typedef struct cm3_vqgan_step {
    cm3_var *pixel_loss, *code_loss; /* (1), scaled */
    cm3_var *squared_error;          /* (1), the sum over all values, scaled as the pixel loss is */
    cm3_var *z;                      /* (N, D) */
    cm3_var *codes;                  /* (N) i32 */
    cm3_var *output;                 /* folded images */
} cm3_vqgan_step;

cm3_vqgan_step cm3_vqgan_train(const cm3_vqgan *model, cm3_tape *tape, const cm3_vqgan_batch *batch);
/* The scales that make the losses means over `images` images: of all ranks and micro-batches, whose sums are added.
 */
void cm3_vqgan_scales(const cm3_vqgan_config *config, int64_t images, float *pixel_scale, float *code_scale);
/* FLOPs of training on one image: forward and backward. */
double cm3_vqgan_flops_per_image(const cm3_vqgan *model);

/* (count, H, W, 3) <-> (count, H/p, W/p, 3 p p); the channel of a folded pixel is (row in patch, column in patch,
 * colour). */
void cm3_vqgan_fold(const cm3_vqgan_config *config, const float *images, int64_t count, float *folded);
void cm3_vqgan_unfold(const cm3_vqgan_config *config, const float *folded, int64_t count, float *images);

#endif
