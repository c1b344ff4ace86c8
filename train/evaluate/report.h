/* The page of a run: one HTML file that needs no network, no other file and no script.
 *
 * It shows what is there - recipe, training curves, and, after `evaluate`, images drawn from captions, captions
 * written for images, reconstructions and the table of figures - and says of what is missing how it is made. Nothing
 * on it is chosen by hand: images are spread evenly over the pairs that were judged. It reads the run folder and
 * computes nothing with the model. */
#ifndef CM3_TRAIN_EVALUATE_REPORT_H
#define CM3_TRAIN_EVALUATE_REPORT_H

#include "train/recipe.h"

/* Writes OUT/report.html. `config_text`: the resolved recipe. Files that are there and broken are failures; missing
 * ones are not. */
cm3_status cm3_report_write(const cm3_recipe *recipe, const char *config_text);

#endif
