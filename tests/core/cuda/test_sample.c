/* Draws on the device beside those of the sampler of the host, from the same logits and the same random numbers. */
#include "core/tensor/sample.h"
#include "model/decode/sampler.h"
#include "tests/support/gpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { VOCABULARY = 3000, STREAMS = 3, DRAWS = 64 };

static const cm3_backend *device;

/* Multiples of 1/8, which bf16 has too: many are equal, and sums of their products with weights are exact. */
static void make_logits(uint64_t seed, float *logits) {
    cm3_rng rng = cm3_rng_stream(seed, CM3_RNG_TEST, 1, 0);
    for (int i = 0; i < STREAMS * VOCABULARY; i++) logits[i] = (float)floor(16 * cm3_rng_normal(&rng)) / 8;
}

static cm3_draw draw_of(const cm3_decode_config *config, const cm3_mix *mix, const cm3_id_range *allowed, int ranges,
                        uint64_t sample) {
    cm3_draw draw = {.streams = mix->streams,
                     .ranges = ranges,
                     .contrast = config->method == CM3_DECODE_CD_K && mix->streams > 1,
                     .temperature = config->temperature,
                     .top_p = config->top_p,
                     .cdk_k = config->cdk_k,
                     .cdk_alpha = config->cdk_alpha,
                     .rng = cm3_rng_stream(5, CM3_RNG_DECODE, sample, 0)};
    for (int s = 0; s < mix->streams; s++) {
        draw.row[s] = s;
        draw.weight[s] = mix->weight[s];
    }
    for (int r = 0; r < ranges; r++) {
        draw.range[r].first = allowed[r].first;
        draw.range[r].count = allowed[r].count;
    }
    return draw;
}

static void *uploaded(const void *from, size_t bytes) {
    void *block = device->memory->alloc(bytes);
    assert_non_null(block);
    assert_int_equal(device->memory->upload(block, from, bytes), CM3_OK);
    return block;
}

static void draw_on_device(const float *logits, cm3_dtype type, const cm3_draw *draws, int count, int32_t *ids) {
    const size_t values = STREAMS * VOCABULARY, size = type == CM3_BF16 ? 2 : 4;
    uint16_t *rounded = malloc(values * sizeof *rounded);
    for (size_t i = 0; i < values; i++) { /* exact */
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        rounded[i] = (uint16_t)(bits >> 16);
    }
    void *on_device = uploaded(type == CM3_BF16 ? (const void *)rounded : logits, values * size);
    cm3_draw *draws_there = uploaded(draws, (size_t)count * sizeof *draws);
    const size_t workspace = (size_t)count * VOCABULARY * sizeof(float), ids_bytes = (size_t)count * sizeof *ids;
    const cm3_sampling sampling = {.logits = on_device,
                                   .type = type,
                                   .vocabulary = VOCABULARY,
                                   .draws = draws_there,
                                   .count = count,
                                   .ids = device->memory->alloc(ids_bytes),
                                   .workspace = device->memory->alloc(workspace)};
    assert_non_null(sampling.ids);
    assert_non_null(sampling.workspace);
    assert_int_equal(device->sample(&sampling), CM3_OK);
    assert_int_equal(device->memory->download(ids, sampling.ids, ids_bytes), CM3_OK);
    device->memory->free(on_device, values * size);
    device->memory->free(draws_there, (size_t)count * sizeof *draws);
    device->memory->free(sampling.ids, ids_bytes);
    device->memory->free(sampling.workspace, workspace);
    free(rounded);
}

/* Returns how many different ids were drawn. */
static int expect_same(const cm3_decode_config *config, const cm3_mix *mix, const cm3_id_range *allowed, int ranges,
                       cm3_dtype type) {
    static float logits[STREAMS * VOCABULARY];
    static bool seen[VOCABULARY];
    cm3_draw draws[DRAWS];
    int32_t ids[DRAWS], want;
    const float *rows[STREAMS] = {logits, logits + VOCABULARY, logits + 2 * VOCABULARY};
    int different = 0;
    cm3_sampler *sampler;
    make_logits(3, logits);
    memset(seen, 0, sizeof seen);
    assert_int_equal(cm3_sampler_create(VOCABULARY, &sampler), CM3_OK);
    for (int i = 0; i < DRAWS; i++) draws[i] = draw_of(config, mix, allowed, ranges, (uint64_t)i);
    draw_on_device(logits, type, draws, DRAWS, ids);
    for (int i = 0; i < DRAWS; i++) {
        cm3_rng rng = draws[i].rng;
        assert_int_equal(cm3_sampler_draw(sampler, config, mix, rows, allowed, ranges, &rng, &want), CM3_OK);
        assert_int_equal(ids[i], want);
        different += !seen[want];
        seen[want] = true;
    }
    cm3_sampler_free(sampler);
    return different;
}

static const cm3_id_range everything[] = {{0, VOCABULARY}}, some[] = {{5, 40}, {700, 1}, {900, 1500}};

static void the_device_draws_what_the_host_draws(void **state) {
    (void)state;
    const cm3_mix one = cm3_mix_none(), guided = cm3_mix_guidance(3), twice = cm3_mix_two_guidances(1.5, 7);
    int different = 0;
    const double temperatures[] = {0.5, 1, 2}, shares[] = {0.3, 0.9, 1};
    for (int t = 0; t < 3; t++) {
        const cm3_decode_config config = {.temperature = temperatures[t], .top_p = shares[t]};
        different += expect_same(&config, &one, everything, 1, CM3_F32);
        different += expect_same(&config, &one, some, 3, CM3_BF16);
        expect_same(&config, &guided, everything, 1, CM3_BF16);
        expect_same(&config, &twice, some, 3, CM3_F32);
    }
    assert_true(different > 100); /* they were draws */
}

static void contrastive_draws_agree(void **state) {
    (void)state;
    const cm3_mix guided = cm3_mix_guidance(3), one = cm3_mix_none();
    const int64_t ks[] = {1, 16, 65536};
    for (int k = 0; k < 3; k++) {
        const cm3_decode_config config = {
            .method = CM3_DECODE_CD_K, .temperature = 1, .top_p = 0.9, .cdk_k = ks[k], .cdk_alpha = 0.1};
        expect_same(&config, &guided, everything, 1, CM3_F32);
        expect_same(&config, &guided, some, 3, CM3_BF16);
        expect_same(&config, &one, some, 3, CM3_F32); /* one stream: plain */
    }
}

static void without_temperature_it_is_the_likeliest_of_the_lowest_id(void **state) {
    (void)state;
    const cm3_mix one = cm3_mix_none();
    const cm3_decode_config config = {.temperature = 0, .top_p = 0.9};
    assert_int_equal(expect_same(&config, &one, everything, 1, CM3_F32), 1);
    assert_int_equal(expect_same(&config, &one, some, 3, CM3_BF16), 1);
    assert_int_equal(expect_same(&config, &one, &some[1], 1, CM3_F32), 1); /* one id */
}

static void logits_that_are_not_finite_draw_nothing(void **state) {
    (void)state;
    static float logits[STREAMS * VOCABULARY];
    const cm3_mix guided = cm3_mix_guidance(3);
    const cm3_decode_config config = {.temperature = 1, .top_p = 0.9};
    const cm3_id_range others = {1000, 100};
    const cm3_draw draws[2] = {draw_of(&config, &guided, some, 3, 0), draw_of(&config, &guided, &others, 1, 0)};
    int32_t ids[2];
    make_logits(3, logits);
    logits[VOCABULARY + 20] = NAN;
    draw_on_device(logits, CM3_F32, draws, 2, ids);
    assert_int_equal(ids[0], -1);
    assert_in_range(ids[1], 1000, 1099); /* where it is not allowed it does not matter */
}

int main(void) {
    device = gpu_open();
    if (!device) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_draws_what_the_host_draws),
        cmocka_unit_test(contrastive_draws_agree),
        cmocka_unit_test(without_temperature_it_is_the_likeliest_of_the_lowest_id),
        cmocka_unit_test(logits_that_are_not_finite_draw_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
