/* Evaluation: how well the model of a run generates images for captions and captions for images.
 *
 * Every evaluated pair (an image and its caption) is measured in four ways:
 *
 *   text_to_image_top1      one image is generated for the caption, with the settings of the recipe's section
 *                           `generate`. Right if, of ALL images of the source, seen and validation, the one nearest to
 *                           it is that of the caption. Distance: squared differences of the pixels' bytes, at the
 *                           model's resolution. Images that are equal byte for byte count as the same image; any other
 *                           tie goes to the image that comes first in the source.
 *   caption_exact           a caption is generated for the image (from its codes, greedily). Right if it is the true
 *                           one, byte for byte.
 *   vq_psnr                 10 log10(255^2 / mean squared error) of the images decoded from their own codes, in dB. One
 *                           mean over all pixels of all images.
 *   loss_text, loss_image   cross-entropy in nats a token of the whole sample `<eos> TEXT <break> IMAGE <eos>` read
 *                           from left to right, nothing masked: the mean over text tokens, and over image codes.
 *
 * They are reported for pairs that training saw, and for validation pairs. A pair that is longer than the model's
 * context is left out. */
#ifndef CM3_TRAIN_EVALUATE_EVALUATE_H
#define CM3_TRAIN_EVALUATE_EVALUATE_H

#include "train/evaluate/scoring.h"
#include "train/stages/stage.h"

#include <stdbool.h>

/* The results of one pair. */
typedef struct cm3_judgement {
    int64_t index;                      /* in the source and in the store */
    int64_t nearest;                    /* the image of the source that is nearest to the generated one */
    int64_t image_right, caption_right; /* 0 or 1 */
    int64_t squared_error;              /* of the image decoded from its codes, over all its bytes */
    int64_t bytes;                      /* of the image: width x height x 3 */
    cm3_sample_score tokens;
} cm3_judgement;

/* The figures of a set of pairs. NaN where there is nothing to divide by. */
typedef struct cm3_score {
    int64_t pairs, images_right, captions_right, text_tokens, image_tokens;
    double text_to_image_top1, caption_exact, vq_psnr, loss_text, loss_image;
} cm3_score;

cm3_score cm3_score_of(const cm3_judgement *judgements, int64_t count);

typedef struct cm3_evaluation {
    int64_t step; /* of the checkpoint */
    int64_t parameters, image_parameters;
    int64_t images;                        /* of the source: what a generated image is compared with */
    int64_t left_out;                      /* pairs longer than the context */
    double seconds;                        /* of the whole evaluation */
    double image_seconds, caption_seconds; /* parts of that: generating images, generating captions */
    cm3_score seen, validation;            /* validation.pairs is 0 where the source has no validation split */
} cm3_evaluation;

typedef struct cm3_evaluate_options {
    const char *checkpoint; /* NULL: the newest of OUT/pretrain */
    int64_t prompts;        /* pairs of each split that are evaluated, spread evenly; 0: all */
    bool album;             /* keep images and captions for the report in OUT/evaluation (train/evaluate/album.h) */
} cm3_evaluate_options;

/* Collective: the ranks share the pairs. The result is that of all, on rank 0. */
cm3_status cm3_evaluate(const cm3_stage_context *stage, const cm3_evaluate_options *options,
                        cm3_evaluation *evaluation);

/* One JSON object: the figures of the seen pairs at the top level, those of the validation pairs under "heldout" (null
 * if there are none), counts, step, seconds, and the settings of sampling. */
void cm3_evaluation_print(const cm3_evaluation *evaluation, const cm3_decode_config *decode, FILE *file);
/* The same as OUT/evaluation.json. */
cm3_status cm3_evaluation_write(const cm3_evaluation *evaluation, const cm3_recipe *recipe);

/* Collective. Every whole checkpoint of OUT/pretrain, oldest first, into OUT/evaluation-curve.json: {"points":[...]},
 * each point like evaluation.json. The last is left in *evaluation. `done`, when not NULL, is called after each on
 * rank 0. */
cm3_status cm3_evaluate_curve(const cm3_stage_context *stage, const cm3_evaluate_options *options,
                              cm3_evaluation *evaluation, void (*done)(const cm3_evaluation *point));

#endif
