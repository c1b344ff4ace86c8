/* What the page is made from (report.c), and how it is written (report_page.c, report_images.c, report_style.c). */
#ifndef CM3_TRAIN_EVALUATE_REPORT_INTERNAL_H
#define CM3_TRAIN_EVALUATE_REPORT_INTERNAL_H

#include "core/json.h"
#include "train/evaluate/album.h"
#include "train/evaluate/series.h"
#include "train/recipe.h"

/* A stage that trains. */
typedef struct cm3__report_stage {
    bool there;
    int64_t parameters, items;                           /* of the network; tokens or images learned from */
    double steps, seconds, items_per_second, mfu, flops; /* items_per_second, mfu: medians of the steps */
} cm3__report_stage;

typedef struct cm3__report {
    const cm3_recipe *recipe;
    const char *config_text;
    cm3__report_stage image, model;
    cm3_series psnr, validation_psnr;                               /* image tokenizer */
    cm3_series text, image_loss, validation_text, validation_image; /* losses of the transformer */
    cm3_series top1, caption, validation_top1,
        validation_caption; /* over the checkpoints, if `evaluate --all-checkpoints` was run */
    json_t *evaluation;     /* NULL: not evaluated */
    cm3_album album;        /* without pairs: none */
} cm3__report;

extern const char cm3__report_style[];

/* The whole page. Write faults stay in the stream; only memory can fail. */
cm3_status cm3__report_page(FILE *file, const cm3__report *report);
/* Its sections made of images. */
cm3_status cm3__report_drawings(FILE *file, const cm3__report *report);
cm3_status cm3__report_samples(FILE *file, const cm3__report *report);
cm3_status cm3__report_captions(FILE *file, const cm3__report *report);
cm3_status cm3__report_reconstructions(FILE *file, const cm3__report *report);

#endif
