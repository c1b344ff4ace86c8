/* How fast tokens of images are generated, beside what the memory allows: what `cm3leon bench generate` prints. */
#ifndef CM3_TRAIN_BENCH_GENERATE_H
#define CM3_TRAIN_BENCH_GENERATE_H

#include "train/recipe.h"

typedef struct cm3_bench_generate_result {
    int64_t images; /* generated together; set by the caller */
    int64_t tokens; /* of each */
    double seconds; /* for all of it: prompts, steps, draws; of the fastest run */
    double tokens_per_second, seconds_per_image;
    double step_bytes;    /* that a step reads on average: parameters, keys and values */
    double floor_seconds; /* all steps, if nothing else took time, at the rate at which memory is copied */
    double ratio;         /* floor_seconds over seconds: 1 is the floor */
    double copy_bytes_per_second;
} cm3_bench_generate_result;

/* Random parameters of the recipe's shape, in the type that it computes in; for each of `count` results so many
 * images of `tokens` tokens, with guidance: two streams each. Each is drawn for about `seconds`, at least once. */
cm3_status cm3_bench_generate(const cm3_recipe *recipe, const cm3_backend *backend, int64_t tokens, double seconds,
                              cm3_bench_generate_result *results, int count);

#endif
