/* What the page is made from (report.c), and how it is written (report_page.c, report_images.c, report.css). */
#ifndef CM3_TRAIN_EVALUATE_REPORT_INTERNAL_H
#define CM3_TRAIN_EVALUATE_REPORT_INTERNAL_H

#include "core/json.h"
#include "train/evaluate/album.h"
#include "train/evaluate/series.h"
#include "train/recipe.h"

/* A stage that trains. */
typedef struct cm3__report_stage {
    bool trained;
    int64_t parameters, items;                           /* of the network; tokens or images seen */
    double steps, seconds, items_per_second, mfu, flops; /* items_per_second, mfu: medians of the steps */
} cm3__report_stage;

enum cm3__curve {
    /* image tokenizer */
    CM3__PSNR,
    CM3__VALIDATION_PSNR,
    /* losses of the transformer */
    CM3__TEXT_LOSS,
    CM3__IMAGE_LOSS,
    CM3__VALIDATION_TEXT_LOSS,
    CM3__VALIDATION_IMAGE_LOSS,
    /* over the checkpoints, if `evaluate --all-checkpoints` was run */
    CM3__TOP1,
    CM3__CAPTIONS,
    CM3__VALIDATION_TOP1,
    CM3__VALIDATION_CAPTIONS,
    CM3__CURVES
};

typedef struct cm3__report {
    const cm3_recipe *recipe;
    const char *config_text;
    cm3__report_stage image, model;
    cm3_series curves[CM3__CURVES];
    json_t *evaluation; /* NULL: not evaluated */
    cm3_album album;    /* without pairs: none */
} cm3__report;

extern const char cm3__report_style[]; /* report.css */

/* The whole page. Write faults stay in the stream; only memory can fail. */
cm3_status cm3__report_page(FILE *file, const cm3__report *report);
/* Its sections made of images. */
cm3_status cm3__report_generated(FILE *file, const cm3__report *report);
cm3_status cm3__report_samples(FILE *file, const cm3__report *report);
cm3_status cm3__report_captions(FILE *file, const cm3__report *report);
cm3_status cm3__report_reconstructions(FILE *file, const cm3__report *report);

#endif
