/* The page of a run: one HTML file that needs no network, no other file and no script.
 *
 * It shows what the run folder holds - recipe, training curves, and, after `evaluate`, images generated for captions,
 * captions generated for images, reconstructions and the table of figures - and names the command for what is missing.
 * Pairs are spread evenly over those that were evaluated. The model is not run. */
#ifndef CM3_TRAIN_EVALUATE_REPORT_H
#define CM3_TRAIN_EVALUATE_REPORT_H

#include "train/recipe.h"

/* Writes OUT/report.html. `config_text`: the resolved recipe. A damaged file is a failure, a missing one
 * is not. */
cm3_status cm3_report_write(const cm3_recipe *recipe, const char *config_text);

#endif
