#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void philox_gives_the_published_vectors(void **state) {
    (void)state;
    /* Random123's known-answer tests for philox4x32-10. */
    const uint32_t zero_counter[4] = {0}, zero_key[2] = {0};
    uint32_t out[4];
    cm3_rng_philox(zero_counter, zero_key, out);
    assert_int_equal(out[0], 0x6627e8d5);
    assert_int_equal(out[1], 0xe169c58d);
    assert_int_equal(out[2], 0xbc57ac4c);
    assert_int_equal(out[3], 0x9b00dbd8);
    const uint32_t pi_counter[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                   pi_key[2] = {0xa4093822, 0x299f31d0};
    cm3_rng_philox(pi_counter, pi_key, out);
    assert_int_equal(out[0], 0xd16cfe09);
    assert_int_equal(out[1], 0x94fdcceb);
    assert_int_equal(out[2], 0x5001e420);
    assert_int_equal(out[3], 0x24126ea1);
}

static void permute_is_a_bijection_of_any_size(void **state) {
    (void)state;
    const uint64_t sizes[] = {1, 2, 3, 5, 64, 1000, 4097};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        unsigned char *seen = calloc(sizes[s], 1);
        for (uint64_t i = 0; i < sizes[s]; i++) {
            const uint64_t p = cm3_rng_permute(7, CM3_RNG_SHUFFLE, 3, i, sizes[s]);
            assert_true(p < sizes[s]);
            assert_false(seen[p]);
            seen[p] = 1;
        }
        free(seen);
    }
    uint64_t fixed = 0;
    for (uint64_t i = 0; i < 1000; i++) fixed += cm3_rng_permute(7, CM3_RNG_SHUFFLE, 3, i, 1000) == i;
    assert_true(fixed < 10);
}

static void streams_of_different_keys_differ_and_of_the_same_agree(void **state) {
    (void)state;
    cm3_rng a = cm3_rng_stream(1, CM3_RNG_TEST, 2, 3), b = cm3_rng_stream(1, CM3_RNG_TEST, 2, 3);
    cm3_rng c = cm3_rng_stream(1, CM3_RNG_TEST, 3, 2);
    unsigned same = 0;
    for (int i = 0; i < 100; i++) {
        const uint32_t x = cm3_rng_u32(&a);
        assert_int_equal(x, cm3_rng_u32(&b));
        same += x == cm3_rng_u32(&c);
    }
    assert_int_equal(same, 0);
}

static void moments_are_those_of_the_distributions(void **state) {
    (void)state;
    enum { N = 200000 };
    cm3_rng rng = cm3_rng_stream(5, CM3_RNG_TEST, 0, 0);
    double sum = 0, square = 0, poisson = 0;
    for (int i = 0; i < N; i++) {
        const double x = cm3_rng_normal(&rng);
        sum += x;
        square += x * x;
        poisson += cm3_rng_poisson(&rng, 1.0);
    }
    const double five_sigma = 5 / sqrt(N);
    assert_true(fabs(sum / N) < five_sigma);
    assert_true(fabs(square / N - 1) < five_sigma * sqrt(2));
    assert_true(fabs(poisson / N - 1) < five_sigma);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(permute_is_a_bijection_of_any_size),
        cmocka_unit_test(streams_of_different_keys_differ_and_of_the_same_agree),
        cmocka_unit_test(moments_are_those_of_the_distributions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
