/* Sampling on the device beside the host's, from the same logits and the same random numbers. */
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

/* Multiples of 1/8: many are equal, and sums of their products with weights are exact. */
static void make_logits(uint64_t seed, float *logits) {
    cm3_rng rng = cm3_rng_stream(seed, CM3_RNG_TEST, 1, 0);
    for (int i = 0; i < STREAMS * VOCABULARY; i++) logits[i] = (float)floor(16 * cm3_rng_normal(&rng)) / 8;
}

static cm3_sampling_request request_of(const cm3_decode_config *config, const cm3_mix *mix, const cm3_id_range *allowed,
                                       int ranges, uint64_t sample) {
    return cm3_decode_request(config, mix, allowed, ranges, cm3_rng_stream(5, CM3_RNG_DECODE, sample, 0));
}

static void draw_on(const cm3_backend *backend, const float *logits, const cm3_sampling_request *requests, int count,
                    int32_t *ids) {
    const size_t bytes = STREAMS * VOCABULARY * sizeof *logits;
    cm3_batched_sampler sampler;
    cm3_staged_buffer staged;
    assert_int_equal(cm3_staged_buffer_alloc(backend->memory, bytes, "logits", &staged), CM3_OK);
    memcpy(staged.host, logits, bytes);
    assert_int_equal(cm3_staged_buffer_upload(&staged), CM3_OK);
    assert_int_equal(cm3_batched_sampler_open(backend, VOCABULARY, count, &sampler), CM3_OK);
    memcpy(sampler.requests, requests, (size_t)count * sizeof *requests);
    const cm3_tensor tensor = {.type = CM3_F32, .shape = cm3_shape_of(STREAMS, VOCABULARY), .data = staged.there};
    cm3_batched_sampler_run(&sampler, &tensor, count); /* fails where an id is -1 */
    memcpy(ids, sampler.ids, (size_t)count * sizeof *ids);
    cm3_batched_sampler_close(&sampler);
    cm3_staged_buffer_free(&staged);
}

/* Returns how many different ids were drawn. */
static int expect_same(const cm3_decode_config *config, const cm3_mix *mix, const cm3_id_range *allowed, int ranges) {
    static float logits[STREAMS * VOCABULARY];
    static bool seen[VOCABULARY];
    cm3_sampling_request requests[DRAWS];
    int32_t ids[DRAWS], want[DRAWS];
    int different = 0;
    make_logits(3, logits);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < DRAWS; i++) requests[i] = request_of(config, mix, allowed, ranges, (uint64_t)i);
    draw_on(device, logits, requests, DRAWS, ids);
    draw_on(cm3_backend_cpu(), logits, requests, DRAWS, want);
    for (int i = 0; i < DRAWS; i++) {
        assert_int_equal(ids[i], want[i]);
        assert_in_range(ids[i], 0, VOCABULARY - 1);
        different += !seen[want[i]];
        seen[want[i]] = true;
    }
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
        different += expect_same(&config, &one, everything, 1);
        different += expect_same(&config, &one, some, 3);
        expect_same(&config, &guided, everything, 1);
        expect_same(&config, &twice, some, 3);
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
        expect_same(&config, &guided, everything, 1);
        expect_same(&config, &guided, some, 3);
        expect_same(&config, &one, some, 3); /* one stream: plain */
    }
}

static void without_temperature_it_is_the_likeliest_of_the_lowest_id(void **state) {
    (void)state;
    const cm3_mix one = cm3_mix_none();
    const cm3_decode_config config = {.temperature = 0, .top_p = 0.9};
    assert_int_equal(expect_same(&config, &one, everything, 1), 1);
    assert_int_equal(expect_same(&config, &one, some, 3), 1);
    assert_int_equal(expect_same(&config, &one, &some[1], 1), 1); /* one id */
}

static void logits_that_are_not_finite_draw_nothing(void **state) {
    (void)state;
    static float logits[STREAMS * VOCABULARY];
    const cm3_mix guided = cm3_mix_guidance(3);
    const cm3_decode_config config = {.temperature = 1, .top_p = 0.9};
    const cm3_id_range others = {1000, 100};
    const cm3_sampling_request requests[2] = {request_of(&config, &guided, some, 3, 0),
                                              request_of(&config, &guided, &others, 1, 0)};
    const cm3_backend *const backends[] = {device, cm3_backend_cpu()};
    int32_t ids[2];
    make_logits(3, logits);
    logits[VOCABULARY + 20] = NAN;
    for (int b = 0; b < 2; b++) {
        draw_on(backends[b], logits, requests, 2, ids);
        assert_int_equal(ids[0], -1);
        assert_in_range(ids[1], 1000, 1099); /* where it is not allowed it does not matter */
    }
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
