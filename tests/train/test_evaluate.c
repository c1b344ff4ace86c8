#include "tests/support/small_network.h"
#include "tests/support/temporary_folder.h"
#include "train/evaluate/evaluate.h"

#include "core/file.h"
#include "core/json.h"
#include "train/evaluate/album.h"
#include "train/evaluate/match.h"
#include "train/evaluate/scoring.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* --- figures ----------------------------------------------------------------------------------------------------- */

static const cm3_judgement judgements[] = {
    {.image_right = 1,
     .caption_right = 1,
     .squared_error = 6000,
     .bytes = 12,
     .tokens = {.text_tokens = 2, .image_tokens = 4, .text_nats = 3, .image_nats = 4}},
    {.image_right = 1,
     .caption_right = 0,
     .squared_error = 1803,
     .bytes = 12,
     .tokens = {.text_tokens = 6, .image_tokens = 4, .text_nats = 1, .image_nats = 1}},
    {.image_right = 0,
     .caption_right = 0,
     .squared_error = 0,
     .bytes = 12,
     .tokens = {.text_tokens = 2, .image_tokens = 4, .text_nats = 1, .image_nats = 1}},
    {.image_right = 0,
     .caption_right = 0,
     .squared_error = 0,
     .bytes = 12,
     .tokens = {.text_tokens = 0, .image_tokens = 4, .text_nats = 0, .image_nats = 2}},
};

static void figures_are_means_over_pairs_tokens_and_pixels(void **state) {
    (void)state;
    const cm3_score score = cm3_score_of(judgements, 4);
    assert_int_equal(score.pairs, 4);
    assert_true(score.text_to_image_top1 == 0.5);
    assert_true(score.caption_exact == 0.25);
    assert_true(score.loss_text == 0.5);  /* 5 nats over 10 tokens, not the mean of the pairs' means */
    assert_true(score.loss_image == 0.5); /* 8 over 16 */
    assert_true(fabs(score.vq_psnr - 10 * log10(65025 * 48.0 / 7803)) < 1e-12);
}

static void images_that_come_back_without_error_have_a_finite_ratio(void **state) {
    (void)state;
    assert_true(cm3_score_of(judgements + 2, 2).vq_psnr == 100);
}

static json_t *written(const char *folder, const cm3_evaluation *evaluation) {
    cm3_recipe recipe = {.run.out = (char *)folder, .generate = {.temperature = 0.5, .top_p = 0.9, .guidance = 3}};
    assert_int_equal(cm3_evaluation_write(evaluation, &recipe), CM3_OK);
    json_t *root;
    assert_int_equal(cm3_json_load(cm3_path_join(folder, "evaluation.json").text, 1 << 20, &root), CM3_OK);
    return root;
}

static void evaluation_json_has_the_same_keys_for_seen_and_held_out_pairs(void **state) {
    static const char *const keys[] = {"text_to_image_top1", "caption_exact", "vq_psnr",
                                       "loss_text",          "loss_image",    "pairs"};
    const cm3_evaluation evaluation = {
        .step = 7, .images = 9, .seen = cm3_score_of(judgements, 4), .validation = cm3_score_of(judgements, 1)};
    json_t *root = written(*state, &evaluation);
    const json_t *validation = json_object_get(root, "heldout");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        assert_true(json_is_number(json_object_get(root, keys[i])));
        assert_true(json_is_number(json_object_get(validation, keys[i])));
    }
    assert_int_equal(json_integer_value(json_object_get(root, "step")), 7);
    assert_true(json_number_value(json_object_get(validation, "caption_exact")) == 1);
    assert_true(json_number_value(json_object_get(json_object_get(root, "decode"), "guidance")) == 3);
    json_decref(root);
}

static void validation_is_null_when_nothing_is_held_out(void **state) {
    const cm3_evaluation evaluation = {.seen = cm3_score_of(judgements, 4), .validation = cm3_score_of(judgements, 0)};
    json_t *root = written(*state, &evaluation);
    assert_true(json_is_null(json_object_get(root, "heldout")));
    json_decref(root);
}

/* --- nearest images ---------------------------------------------------------------------------------------------- */

enum { IMAGES = 37, BYTES = 3000, DRAWN = 5 };

static void the_nearest_image_is_that_of_a_plain_search_however_the_set_is_cut(void **state) {
    (void)state;
    static uint8_t truth[IMAGES * BYTES], drawn[DRAWN * BYTES];
    cm3_rng rng = cm3_rng_stream(5, CM3_RNG_TEST, 0, 0);
    for (int i = 0; i < IMAGES * BYTES; i++) truth[i] = (uint8_t)cm3_rng_below(&rng, 256);
    for (int i = 0; i < DRAWN * BYTES; i++) drawn[i] = (uint8_t)cm3_rng_below(&rng, 256);
    for (int cut = 1; cut <= IMAGES; cut += 6) {
        cm3_match best[DRAWN];
        for (int d = 0; d < DRAWN; d++) best[d] = CM3_MATCH_NONE;
        for (int first = 0; first < IMAGES; first += cut)
            cm3_match_offer(drawn, DRAWN, truth + first * BYTES, first, first + cut < IMAGES ? cut : IMAGES - first,
                            BYTES, best);
        for (int d = 0; d < DRAWN; d++) {
            uint64_t least = UINT64_MAX;
            int64_t index = -1;
            for (int p = 0; p < IMAGES; p++) {
                uint64_t sum = 0;
                for (int i = 0; i < BYTES; i++) {
                    const int difference = drawn[d * BYTES + i] - truth[p * BYTES + i];
                    sum += (uint64_t)(difference * difference);
                }
                if (sum < least) index = p;
                if (sum < least) least = sum;
            }
            assert_int_equal(best[d].index, index);
            assert_true(best[d].distance == least);
        }
    }
}

static void of_equally_near_images_the_first_is_taken_in_any_order(void **state) {
    (void)state;
    const uint8_t truth[] = {9, 9, 3, 3, 3, 3}, drawn[] = {3, 4};
    cm3_match best = CM3_MATCH_NONE;
    cm3_match_offer(drawn, 1, truth + 4, 2, 1, 2, &best);
    assert_int_equal(best.index, 2);
    cm3_match_offer(drawn, 1, truth, 0, 2, 2, &best);
    assert_int_equal(best.index, 1);
    assert_true(best.distance == 1);
}

static void the_distance_of_the_most_different_images_is_exact(void **state) {
    (void)state;
    enum { MANY = 196608 };
    uint8_t *black = calloc(MANY, 1), *white = malloc(MANY);
    memset(white, 255, MANY);
    assert_true(cm3_image_distance(black, white, MANY, UINT64_MAX) == UINT64_C(65025) * MANY);
    assert_true(cm3_image_distance(black, white, MANY, 1000) > 1000);
    free(black);
    free(white);
}

/* --- losses ------------------------------------------------------------------------------------------------------ */

static void scores_do_not_depend_on_what_is_read_together(void **state) {
    (void)state;
    const cm3_transformer_config config = {.layers = 2,
                                           .width = 16,
                                           .heads = 2,
                                           .context = 12,
                                           .init_std = 0.5,
                                           .position_std = 0.5,
                                           .norm_epsilon = 1e-5,
                                           .rotary_theta = 100};
    cm3_vocab vocab;
    assert_int_equal(
        cm3_vocab_build(&(cm3_vocab_sizes){.text = 256, .image = 8, .sentinels = 2, .multiple = 1}, &vocab), CM3_OK);
    small_network n = small_network_open(&config, vocab.size);
    memset(cm3_params_group(n.params, 0)->host.values, 0, (size_t)cm3_params_group(n.params, 0)->size * sizeof(float));
    int32_t ids[3][12];
    cm3_tokens samples[3];
    for (int s = 0; s < 3; s++) {
        const int text = 2 + s, length = text + 7; /* <eos> TEXT <break> 4 codes <eos> */
        for (int i = 0; i < length; i++) ids[s][i] = cm3_vocab_id(&vocab, CM3_REGION_EOS, 0);
        for (int i = 0; i < text; i++) ids[s][1 + i] = cm3_vocab_id(&vocab, CM3_REGION_TEXT, 40 * s + 7 * i);
        ids[s][1 + text] = cm3_vocab_id(&vocab, CM3_REGION_BREAK, 0);
        for (int i = 0; i < 4; i++) ids[s][2 + text + i] = cm3_vocab_id(&vocab, CM3_REGION_IMAGE, (s + i) % 8);
        samples[s] = (cm3_tokens){.items = ids[s], .count = (size_t)length};
    }
    cm3_sample_score zero[3], one[3], all[3];
    /* A model of zeros finds every id equally likely. */
    assert_int_equal(cm3_score_samples(n.model, &vocab, samples, 3, 3, zero), CM3_OK);
    cm3_params_init(n.params, 3);
    assert_int_equal(cm3_score_samples(n.model, &vocab, samples, 3, 1, one), CM3_OK);
    assert_int_equal(cm3_score_samples(n.model, &vocab, samples, 3, 2, all), CM3_OK);
    for (int s = 0; s < 3; s++) {
        assert_int_equal(zero[s].text_tokens, 2 + s);
        assert_int_equal(zero[s].image_tokens, 4);
        assert_true(fabs(zero[s].text_nats - (2 + s) * log(vocab.size)) < 1e-4);
        assert_true(fabs(zero[s].image_nats - 4 * log(vocab.size)) < 1e-4);
        assert_true(fabs(one[s].text_nats - all[s].text_nats) < 1e-4 &&
                    fabs(one[s].image_nats - all[s].image_nats) < 1e-4);
        assert_true(fabs(one[s].image_nats - zero[s].image_nats) > 1e-3);
    }
    samples[0] = (cm3_tokens){.items = (int32_t[14]){0}, .count = 14};
    assert_int_equal(cm3_score_samples(n.model, &vocab, samples, 3, 3, all), CM3_ERR_USAGE);
    small_network_close(&n);
}

/* --- the album --------------------------------------------------------------------------------------------------- */

static void fill(cm3_image *image, int value) {
    assert_int_equal(cm3_image_create(5, 5, 3, image), CM3_OK);
    for (int i = 0; i < 75; i++) image->pixels[i] = (uint8_t)(value * 31 + i);
}

static void assert_filled(const cm3_image *image, int value) {
    assert_true(image->width == 5 && image->height == 5 && image->channels == 3);
    for (int i = 0; i < 75; i++) assert_int_equal(image->pixels[i], (uint8_t)(value * 31 + i));
}

static void write_album(const char *folder) {
    cm3_album album;
    assert_int_equal(cm3_album_create(5, 9, 2, 3, &album), CM3_OK);
    album.step = 12;
    album.temperature = 0.5;
    for (int i = 0; i < 9; i++) {
        char caption[32];
        snprintf(caption, sizeof caption, "<b>%d & \"\xc3\xa9\"", i);
        album.pairs[i] = (cm3_album_pair){.caption = strdup(caption),
                                          .model_caption = strdup(""),
                                          .nearest_caption = strdup("x"),
                                          .validation = i > 6,
                                          .image_right = i % 2,
                                          .caption_right = i % 3 == 0};
    }
    for (int i = 0; i < 27; i++) fill(&album.images[i], i);
    for (int r = 0; r < 2; r++) {
        album.rows[r].caption = strdup("row");
        album.rows[r].validation = r == 1;
    }
    for (int i = 0; i < 6; i++) fill(&album.row_images[i], 40 + i);
    assert_int_equal(cm3_album_write(&album, folder), CM3_OK);
    cm3_album_free(&album);
}

static void an_album_reads_back_as_it_was_written(void **state) {
    write_album(*state);
    cm3_album album;
    assert_int_equal(cm3_album_read(*state, &album), CM3_OK);
    assert_true(album.count == 9 && album.row_count == 2 && album.samples == 3 && album.side == 5 && album.step == 12 &&
                album.temperature == 0.5);
    for (int i = 0; i < 9; i++) {
        const cm3_album_pair *p = &album.pairs[i];
        char caption[32];
        snprintf(caption, sizeof caption, "<b>%d & \"\xc3\xa9\"", i);
        assert_string_equal(p->caption, caption);
        assert_true(p->validation == (i > 6) && p->image_right == i % 2 && p->caption_right == (i % 3 == 0));
    }
    for (int i = 0; i < 27; i++) assert_filled(&album.images[i], i);
    for (int i = 0; i < 6; i++) assert_filled(&album.row_images[i], 40 + i);
    cm3_album_free(&album);
}

static void an_album_whose_images_are_missing_or_too_few_is_refused(void **state) {
    write_album(*state);
    char seen[64], validation[64];
    snprintf(seen, sizeof seen, "%s/seen.png", (char *)*state);
    snprintf(validation, sizeof validation, "%s/validation.png", (char *)*state);
    cm3_album album;
    assert_int_equal(rename(validation, seen), 0);
    assert_int_equal(cm3_album_read(*state, &album), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "seen.png"));
    assert_int_equal(unlink(seen), 0);
    assert_int_equal(cm3_album_read(*state, &album), CM3_ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_means_over_pairs_tokens_and_pixels),
        cmocka_unit_test(images_that_come_back_without_error_have_a_finite_ratio),
        cmocka_unit_test_setup_teardown(evaluation_json_has_the_same_keys_for_seen_and_held_out_pairs,
                                        temporary_folder_open, temporary_folder_close),
        cmocka_unit_test_setup_teardown(validation_is_null_when_nothing_is_held_out, temporary_folder_open,
                                        temporary_folder_close),
        cmocka_unit_test(the_nearest_image_is_that_of_a_plain_search_however_the_set_is_cut),
        cmocka_unit_test(of_equally_near_images_the_first_is_taken_in_any_order),
        cmocka_unit_test(the_distance_of_the_most_different_images_is_exact),
        cmocka_unit_test(scores_do_not_depend_on_what_is_read_together),
        cmocka_unit_test_setup_teardown(an_album_reads_back_as_it_was_written, temporary_folder_open,
                                        temporary_folder_close),
        cmocka_unit_test_setup_teardown(an_album_whose_images_are_missing_or_too_few_is_refused, temporary_folder_open,
                                        temporary_folder_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
