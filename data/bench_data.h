/* Throughput of the data pipeline on one core: what `cm3leon bench data` prints. */
#ifndef CM3_DATA_BENCH_DATA_H
#define CM3_DATA_BENCH_DATA_H

#include "core/status.h"

#include <stdint.h>

typedef struct cm3_bench_data_config {
    const char *folder; /* where the synthetic store is written, and removed again; NULL: /tmp */
    int64_t samples;    /* pairs in it, about 9 text tokens and `codes` image codes each */
    int64_t codes;
    int64_t context;
    double seconds; /* measured for each figure */
} cm3_bench_data_config;

/* 4,096 samples of 1,024 codes, blocks of 4,097 tokens, 2 seconds. */
cm3_bench_data_config cm3_bench_data_default(void);

typedef struct cm3_bench_data_result {
    double add_seconds;              /* adding a sample to a store */
    double random_tokens_per_second; /* reading samples in random order, 256 MiB of the store in memory */
    double tokens_per_second;        /* reading the store from its file, packing, masking: all of it */
    double memory_tokens_per_second; /* the same with the store in memory */
    double mask_tokens_per_second;   /* drawing and applying masks alone */
    double skip_blocks_per_second;   /* following a slot without reading */
    double store_bytes_per_token;    /* on the disk */
} cm3_bench_data_result;

cm3_status cm3_bench_data(const cm3_bench_data_config *config, cm3_bench_data_result *result);

#endif
