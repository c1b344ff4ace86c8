#include "model/decode/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { IDS = 6, DRAWS = 20000 };
static const cm3_id_range all[1] = {{0, IDS}};

static void draw_often(const cm3_decode_config *config, const cm3_mix *mix, const float *const logits[],
                       const cm3_id_range *allowed, int ranges, double share[IDS]) {
    cm3_batched_sampler sampler;
    float rows[CM3_STREAMS_MAX][IDS];
    const cm3_tensor tensor = {.type = CM3_F32, .shape = cm3_shape_of(CM3_STREAMS_MAX, IDS), .data = rows};
    for (int s = 0; s < mix->streams; s++) memcpy(rows[s], logits[s], sizeof rows[s]);
    assert_int_equal(cm3_batched_sampler_open(cm3_backend_cpu(), IDS, DRAWS, &sampler), CM3_OK);
    for (int i = 0; i < IDS; i++) share[i] = 0;
    for (uint64_t d = 0; d < DRAWS; d++)
        sampler.requests[d] =
            cm3_decode_request(config, mix, allowed, ranges, cm3_rng_stream(1, CM3_RNG_DECODE, d, 0));
    assert_int_equal(cm3_batched_sampler_run(&sampler, &tensor, DRAWS), CM3_OK);
    for (int d = 0; d < DRAWS; d++) {
        assert_in_range(sampler.ids[d], 0, IDS - 1);
        share[sampler.ids[d]] += 1.0 / DRAWS;
    }
    cm3_batched_sampler_close(&sampler);
}

static void near(double found, double expected) {
    assert_true(fabs(found - expected) <
                5 * sqrt(expected * (1 - expected) / DRAWS) + 1e-9); /* five standard deviations */
}

static void draws_follow_softmax_within_the_allowed_ids(void **state) {
    (void)state;
    const float logits[IDS] = {0, 1, 2, 3, 100, -1};
    const cm3_id_range allowed[2] = {{0, 2}, {3, 1}};
    const cm3_decode_config config = {.temperature = 2, .top_p = 1};
    const cm3_mix mix = cm3_mix_none();
    double share[IDS], sum = exp(0) + exp(0.5) + exp(1.5);
    draw_often(&config, &mix, (const float *const[]){logits}, allowed, 2, share);
    near(share[0], exp(0) / sum);
    near(share[1], exp(0.5) / sum);
    near(share[3], exp(1.5) / sum);
    assert_true(share[2] == 0 && share[4] == 0 && share[5] == 0);
}

static void top_p_keeps_the_fewest_likeliest_that_reach_it(void **state) {
    (void)state;
    const float logits[IDS] = {logf(0.4f), logf(0.05f), logf(0.3f), logf(0.15f), logf(0.06f), logf(0.04f)};
    const cm3_decode_config config = {.temperature = 1, .top_p = 0.75};
    const cm3_mix mix = cm3_mix_none();
    double share[IDS];
    draw_often(&config, &mix, (const float *const[]){logits}, all, 1, share);
    near(share[0], 0.4 / 0.85);
    near(share[2], 0.3 / 0.85);
    near(share[3], 0.15 / 0.85);
    assert_true(share[1] == 0 && share[4] == 0 && share[5] == 0);
}

static void guidance_moves_away_from_the_unconditional_stream(void **state) {
    (void)state;
    const float conditional[IDS] = {1, 0, 0, -50, -50, -50}, nothing[IDS] = {0, 1, 0, -50, -50, -50};
    const cm3_decode_config config = {.temperature = 1, .top_p = 1};
    const cm3_mix mix = cm3_mix_guidance(3);
    /* l = l_u + 3 (l_c - l_u): 3, -2, 0 */
    const double sum = exp(3) + exp(-2) + exp(0);
    double share[IDS];
    draw_often(&config, &mix, (const float *const[]){conditional, nothing}, all, 1, share);
    near(share[0], exp(3) / sum);
    near(share[1], exp(-2) / sum);
    near(share[2], exp(0) / sum);
}

static void two_guidances_are_the_sum_of_the_papers_formula(void **state) {
    (void)state;
    const cm3_mix mix = cm3_mix_two_guidances(1.5, 7.5);
    const double full = 0.3, image = -0.2, nothing = 0.7;
    const double expected = nothing + 1.5 * (image - nothing) + 7.5 * (full - image);
    assert_true(fabs(mix.weight[0] * full + mix.weight[1] * image + mix.weight[2] * nothing - expected) < 1e-12);
}

static void cd_k_scores_the_contrast_above_its_threshold(void **state) {
    (void)state;
    const float conditional[IDS] = {logf(0.4f), logf(0.3f), logf(0.2f), logf(0.06f), logf(0.03f), logf(0.01f)};
    const float nothing[IDS] = {logf(0.6f), logf(0.1f), logf(0.1f), logf(0.01f), logf(0.09f), logf(0.1f)};
    /* k = 2: threshold 0.5 x 0.3 = 0.15 keeps the first three; 0.4/0.6, 0.3/0.1, 0.2/0.1 */
    const cm3_decode_config config = {
        .method = CM3_DECODE_CD_K, .temperature = 1, .top_p = 1, .cdk_k = 2, .cdk_alpha = 0.5};
    const cm3_mix mix = cm3_mix_guidance(1);
    const double sum = 0.4 / 0.6 + 3 + 2;
    double share[IDS];
    draw_often(&config, &mix, (const float *const[]){conditional, nothing}, all, 1, share);
    near(share[0], 0.4 / 0.6 / sum);
    near(share[1], 3 / sum);
    near(share[2], 2 / sum);
    assert_true(share[3] == 0 && share[4] == 0 && share[5] == 0);
}

static void temperature_zero_takes_the_likeliest_and_nan_is_an_error(void **state) {
    (void)state;
    float logits[IDS] = {0, 4, 1, 4, 2, 3};
    const cm3_decode_config config = {.temperature = 0, .top_p = 1};
    const cm3_mix mix = cm3_mix_none();
    double share[IDS];
    draw_often(&config, &mix, (const float *const[]){logits}, all, 1, share);
    assert_true(share[1] > 0.999);
    logits[2] = NAN;
    cm3_batched_sampler sampler;
    const cm3_tensor tensor = {.type = CM3_F32, .shape = cm3_shape_of(1, IDS), .data = logits};
    assert_int_equal(cm3_batched_sampler_open(cm3_backend_cpu(), IDS, 1, &sampler), CM3_OK);
    sampler.requests[0] = cm3_decode_request(&config, &mix, all, 1, cm3_rng_stream(1, CM3_RNG_DECODE, 0, 0));
    assert_int_equal(cm3_batched_sampler_run(&sampler, &tensor, 1), CM3_ERR_NUMERIC);
    cm3_batched_sampler_close(&sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_softmax_within_the_allowed_ids),
        cmocka_unit_test(top_p_keeps_the_fewest_likeliest_that_reach_it),
        cmocka_unit_test(guidance_moves_away_from_the_unconditional_stream),
        cmocka_unit_test(two_guidances_are_the_sum_of_the_papers_formula),
        cmocka_unit_test(cd_k_scores_the_contrast_above_its_threshold),
        cmocka_unit_test(temperature_zero_takes_the_likeliest_and_nan_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
