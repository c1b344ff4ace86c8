#include "data/mask.h"
#include "core/hash.h"
#include "data/document.h"
#include "tests/support/documents.h"
#include "tests/support/small_store.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static cm3_vocab vocab;
enum { LENGTH = 120 };

static int setup(void **state) {
    (void)state;
    small_vocab(&vocab);
    return 0;
}

static bool is_boundary(int32_t id) {
    return id == cm3_vocab_id(&vocab, CM3_REGION_EOS, 0) || id == cm3_vocab_id(&vocab, CM3_REGION_BREAK, 0);
}

/* Text and image tokens with boundaries among them: from none at all to nothing else. */
static void random_source(cm3_rng *rng, int64_t count, int32_t *source) {
    const double share = cm3_rng_below(rng, 4) ? 0.2 * cm3_rng_double(rng) : cm3_rng_double(rng) * 1.2 - 0.1;
    for (int64_t i = 0; i < count; i++) {
        if (cm3_rng_double(rng) < share)
            source[i] = cm3_vocab_id(&vocab, cm3_rng_below(rng, 2) ? CM3_REGION_EOS : CM3_REGION_BREAK, 0);
        else if (cm3_rng_below(rng, 2))
            source[i] = cm3_vocab_id(&vocab, CM3_REGION_TEXT, (int32_t)cm3_rng_below(rng, SMALL_TEXT));
        else
            source[i] = cm3_vocab_id(&vocab, CM3_REGION_IMAGE, (int32_t)cm3_rng_below(rng, SMALL_IMAGE));
    }
}

typedef struct trial {
    int32_t source[LENGTH], out[LENGTH];
    int64_t available, count;
    cm3_mask_spans spans;
    cm3_mask_config masks;
} trial;

static void run_trial(uint64_t i, trial *t) {
    cm3_rng rng = cm3_rng_stream(21, CM3_RNG_TEST, 0, i);
    t->masks = (cm3_mask_config){.mean = 4 * cm3_rng_double(&rng), .max = 511, .whole = cm3_rng_double(&rng)};
    if (cm3_rng_below(&rng, 4) == 0) t->masks.min = 1 + (int64_t)cm3_rng_below(&rng, 40);
    t->available = cm3_rng_below(&rng, 8) ? LENGTH : (int64_t)cm3_rng_below(&rng, LENGTH + 1);
    random_source(&rng, t->available, t->source);
    cm3_mask_block block = {LENGTH, t->source, t->available, t->out, 0};
    assert_int_equal(cm3_mask_tokens(&t->masks, &vocab, &rng, &block, &t->spans), CM3_OK);
    t->count = block.count;
}

/* All property tests look at the same many random blocks. */
enum { TRIALS = 20000 };
#define FOR_EACH_TRIAL(t)                                                                                              \
    trial *t = malloc(sizeof *t);                                                                                      \
    for (uint64_t trial_index = 0; trial_index < TRIALS; trial_index++)                                                \
        if (run_trial(trial_index, t), true)

static void the_output_is_exactly_as_long_as_the_block(void **state) {
    (void)state;
    FOR_EACH_TRIAL(t) {
        assert_int_equal(t->count, cm3_mask_spans_output(&t->spans));
        if (t->available == LENGTH) assert_int_equal(t->count, LENGTH);
        assert_true(t->count <= LENGTH);
        assert_true(t->spans.source <= t->available);
        if (t->count < LENGTH)
            assert_int_equal(t->spans.source, t->available); /* shorter only when the source is at its end */
    }
    free(t);
}

static void spans_are_never_empty_never_overlap_and_come_in_order(void **state) {
    (void)state;
    FOR_EACH_TRIAL(t) {
        assert_true(t->spans.count <= t->spans.drawn);
        for (int64_t i = 0; i < t->spans.count; i++) {
            const cm3_range s = t->spans.spans[i];
            assert_true(s.begin < s.end);
            assert_true(s.begin >= (i ? t->spans.spans[i - 1].end : 0));
            assert_true(s.end <= t->spans.source);
        }
    }
    free(t);
}

static void spans_never_hold_a_boundary(void **state) {
    (void)state;
    FOR_EACH_TRIAL(t) {
        for (int64_t i = 0; i < t->spans.count; i++)
            for (int64_t p = t->spans.spans[i].begin; p < t->spans.spans[i].end; p++)
                assert_false(is_boundary(t->source[p]));
    }
    free(t);
}

static void whole_spans_reach_from_boundary_to_boundary(void **state) {
    (void)state;
    int64_t seen = 0;
    FOR_EACH_TRIAL(t) {
        for (int64_t i = 0; i < t->spans.count && t->spans.whole; i++, seen++) {
            const cm3_range s = t->spans.spans[i];
            assert_true(s.begin == 0 || is_boundary(t->source[s.begin - 1]));
            assert_true(s.end == t->spans.source || is_boundary(t->source[s.end]));
        }
    }
    assert_true(seen > TRIALS / 4);
    free(t);
}

static void as_many_whole_segments_are_masked_as_were_drawn_and_exist(void **state) {
    (void)state;
    FOR_EACH_TRIAL(t) {
        if (!t->spans.whole || t->spans.drawn == 0) continue;
        int64_t segments = 0,
                window = LENGTH - 3 * t->spans.drawn < t->available ? LENGTH - 3 * t->spans.drawn : t->available;
        for (int64_t p = 0; p < window; p++)
            segments += !is_boundary(t->source[p]) && (p == 0 || is_boundary(t->source[p - 1]));
        assert_int_equal(t->spans.count, segments < t->spans.drawn ? segments : t->spans.drawn);
    }
    free(t);
}

static void unmasking_gives_back_the_source_exactly(void **state) {
    (void)state;
    FOR_EACH_TRIAL(t) {
        cm3_tokens back = {0};
        assert_int_equal(cm3_tokens_unmask(&vocab, t->out, (size_t)t->count, &back), CM3_OK);
        assert_int_equal(back.count, t->spans.source);
        if (back.count) assert_memory_equal(back.items, t->source, back.count * sizeof *back.items);
        CM3_LIST_FREE(&back);
    }
    free(t);
}

static void sentinels_stand_once_in_place_and_once_before_their_span(void **state) {
    (void)state;
    FOR_EACH_TRIAL(t) {
        int64_t sentinels = 0, ends = 0;
        for (int64_t i = 0; i < t->count; i++) {
            if (t->out[i] == cm3_vocab_id(&vocab, CM3_REGION_EOSS, 0)) ends++;
            if (!cm3_vocab_is(&vocab, CM3_REGION_SENTINEL, t->out[i])) continue;
            assert_int_equal(cm3_vocab_token_id(&vocab, CM3_REGION_SENTINEL, t->out[i]), sentinels % t->spans.count);
            sentinels++;
        }
        assert_int_equal(sentinels, 2 * t->spans.count);
        assert_int_equal(ends, t->spans.count);
    }
    free(t);
}

static void the_number_of_spans_stays_within_its_clamp_and_the_sentinels(void **state) {
    (void)state;
    FOR_EACH_TRIAL(t) {
        assert_true(t->spans.drawn <= 16); /* the small vocabulary's sentinels */
        if (t->available == LENGTH && t->masks.min <= 16) assert_true(t->spans.drawn >= t->masks.min);
    }
    free(t);
}

/* --- the paper's geometry: 4,097 tokens, captions of about 9 tokens, images of 1,024 ----------------------------- */

enum { PAPER = 4097 };

static int64_t paper_boundaries(cm3_rng *rng, int64_t boundaries[PAPER]) {
    int64_t count = 0;
    for (int64_t at = -(int64_t)cm3_rng_below(rng, 1036); at < PAPER;) {
        const int64_t caption = 1 + (int64_t)cm3_rng_poisson(rng, 8),
                      parts[] = {at, at + 1 + caption, at + 2 + caption + 1024};
        for (int i = 0; i < 3; i++)
            if (parts[i] >= 0 && parts[i] < PAPER) boundaries[count++] = parts[i];
        at += caption + 1024 + 3;
    }
    return count;
}

/* A caption that lies whole in the block, and is masked from end to end. */
static bool masks_a_caption(const cm3_mask_spans *masks, const int64_t *boundaries, int64_t count) {
    for (int64_t i = 0; i < masks->count; i++)
        for (int64_t b = 1; b < count; b++)
            if (masks->spans[i].begin == boundaries[b - 1] + 1 && masks->spans[i].end == boundaries[b] &&
                boundaries[b] - boundaries[b - 1] < 100)
                return true;
    return false;
}

static double share_of_masked_captions(double whole, int64_t *numbers, int blocks) {
    int64_t *boundaries = malloc(PAPER * sizeof *boundaries), masked = 0;
    cm3_mask_spans *spans = malloc(sizeof *spans);
    const cm3_mask_config masks = {.mean = 1, .max = 511, .whole = whole};
    for (int i = 0; i < blocks; i++) {
        cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, 1, (uint64_t)i);
        const int64_t count = paper_boundaries(&rng, boundaries);
        const cm3_mask_window window = {PAPER, PAPER, boundaries, count};
        cm3_mask_spans_draw(&masks, &rng, &window, spans);
        masked += masks_a_caption(spans, boundaries, count);
        if (numbers && spans->drawn < 8) numbers[spans->drawn]++;
    }
    free(spans);
    free(boundaries);
    return (double)masked / blocks;
}

static void the_number_of_spans_is_poisson_distributed(void **state) {
    (void)state;
    enum { BLOCKS = 200000 };
    int64_t numbers[8] = {0};
    share_of_masked_captions(0.5, numbers, BLOCKS);
    double expected = exp(-1);
    for (int n = 0; n < 6; n++, expected /= n) {
        const double sigma = sqrt(expected * (1 - expected) / BLOCKS);
        assert_true(fabs((double)numbers[n] / BLOCKS - expected) < 5 * sigma);
    }
}

static void captions_are_fully_masked_as_often_as_the_papers_geometry_gives(void **state) {
    (void)state;
    const double none = share_of_masked_captions(0, NULL, 100000), half = share_of_masked_captions(0.5, NULL, 100000),
                 all = share_of_masked_captions(1, NULL, 100000);
    print_message("share of blocks with a fully masked caption: %.4f, %.4f, %.4f at whole = 0, 0.5, 1\n", none, half,
                  all);
    assert_true(none < 0.002);
    assert_true(half > 0.15 && half < 0.20);
    assert_true(fabs(all - 2 * half) < 0.02);
}

static void a_block_is_the_same_bits_for_ever(void **state) {
    (void)state;
    enum { BLOCK = 4097 };
    int32_t *source = malloc(BLOCK * sizeof *source), *out = malloc(BLOCK * sizeof *out);
    cm3_mask_spans *spans = malloc(sizeof *spans);
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, 2, 0);
    random_source(&rng, BLOCK, source);
    const cm3_mask_config masks = {.mean = 1, .min = 3, .max = 511, .whole = 0.5};
    cm3_mask_block block = {BLOCK, source, BLOCK, out, 0};
    rng = cm3_rng_stream(1, CM3_RNG_SPANS, 3, 4);
    assert_int_equal(cm3_mask_tokens(&masks, &vocab, &rng, &block, spans), CM3_OK);
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(cm3_hash_bytes(out, BLOCK * sizeof *out), hex);
    assert_string_equal(hex, "3cac8366c8602b00698462f3705e04bc");
    free(spans);
    free(out);
    free(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_output_is_exactly_as_long_as_the_block),
        cmocka_unit_test(spans_are_never_empty_never_overlap_and_come_in_order),
        cmocka_unit_test(spans_never_hold_a_boundary),
        cmocka_unit_test(whole_spans_reach_from_boundary_to_boundary),
        cmocka_unit_test(as_many_whole_segments_are_masked_as_were_drawn_and_exist),
        cmocka_unit_test(unmasking_gives_back_the_source_exactly),
        cmocka_unit_test(sentinels_stand_once_in_place_and_once_before_their_span),
        cmocka_unit_test(the_number_of_spans_stays_within_its_clamp_and_the_sentinels),
        cmocka_unit_test(the_number_of_spans_is_poisson_distributed),
        cmocka_unit_test(captions_are_fully_masked_as_often_as_the_papers_geometry_gives),
        cmocka_unit_test(a_block_is_the_same_bits_for_ever),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
