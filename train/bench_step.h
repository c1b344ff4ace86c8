/* How fast a training step is, beside what the machine's matrix product reaches in the same run: what `cm3leon bench
 * step` prints. */
#ifndef CM3_TRAIN_BENCH_STEP_H
#define CM3_TRAIN_BENCH_STEP_H

#include "train/recipe.h"

typedef struct cm3_bench_step_result {
    double tokens_per_second;      /* of the fastest step: forward, backward, norm, AdamW */
    double flops_per_second;       /* of all steps; model FLOPs: no recomputation, no masked-out attention */
    double sgemm_flops_per_second; /* of large products on the same processor: all of those between the steps */
    double ratio;                  /* of the two */
    double peak_flops_per_second;  /* of its multipliers: measured of a CPU; 0: unknown */
    double share_of_peak;          /* flops_per_second over it; 0: unknown */
    double peak_bytes;             /* what the process's memory grew by at most in a step; 0 on a device */
    double planned_bytes;          /* what the plan says: parameters, gradients, optimizer, step */
    double seconds_gradients, seconds_update; /* of the fastest step */
    double mean_seconds;                      /* of all steps: larger where other work shares the machine */
    int64_t tokens, steps;
} cm3_bench_step_result;

/* One rank's micro-batch (pretrain.train.micro_batch sequences, or pretrain.data.batch) of random tokens, for about
 * `seconds` and at least two steps after one that warms up. */
cm3_status cm3_bench_step(const cm3_recipe *recipe, const cm3_backend *backend, double seconds,
                          cm3_bench_step_result *result);

#endif
