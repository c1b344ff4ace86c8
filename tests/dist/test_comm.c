/* Runs by itself (self) and, from test_comm_ranks.sh and test_two_hosts.sh, under mpirun with several ranks. */
#include "dist/comm.h"

#include "core/clock.h"
#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static cm3_comm *world(void **state) {
    return *state;
}

/* Values of magnitudes so different that another order of additions gives other bits. */
static float value_of(cm3_rng *rng) {
    return ldexpf(cm3_rng_float(rng) - 0.5f, (int)cm3_rng_below(rng, 30));
}

static void fill(float *data, int64_t count, int rank, uint64_t which) {
    cm3_rng rng = cm3_rng_stream(11, CM3_RNG_TEST, (uint64_t)rank, which);
    for (int64_t i = 0; i < count; i++) data[i] = value_of(&rng);
}

/* What the sum must be: ranks 0, 1, ... in this order, all made here. */
static float *expected_sum(int ranks, int64_t count, uint64_t which) {
    float *sum = malloc((size_t)count * sizeof *sum), *next = malloc((size_t)count * sizeof *next);
    assert_non_null(sum);
    assert_non_null(next);
    fill(sum, count, 0, which);
    for (int rank = 1; rank < ranks; rank++) {
        fill(next, count, rank, which);
        for (int64_t i = 0; i < count; i++) sum[i] += next[i];
    }
    free(next);
    return sum;
}

static void gradient_sums_are_made_in_rank_order_whatever_the_timing(void **state) {
    cm3_comm *comm = world(state);
    const int64_t counts[] = {1, 3, 1000, 70001, 1300003, 0, 64};
    enum { SUMS = sizeof counts / sizeof *counts };
    for (int round = 0; round < 2; round++) {
        float *data[SUMS];
        cm3_comm_request *sums[SUMS];
        cm3_rng timing =
            cm3_rng_stream(5, CM3_RNG_TEST, (uint64_t)cm3_comm_rank(comm), (uint64_t)round); /* ranks differ */
        for (int i = 0; i < SUMS; i++) {
            data[i] = malloc((size_t)counts[i] * sizeof(float) + 1);
            fill(data[i], counts[i], cm3_comm_rank(comm), (uint64_t)i);
            assert_int_equal(cm3_comm_all_reduce_start(comm, data[i], counts[i], &sums[i]), CM3_OK);
            if (cm3_rng_below(&timing, 2)) usleep((useconds_t)cm3_rng_below(&timing, 3000));
            for (uint64_t n = cm3_rng_below(&timing, 5); n > 0; n--) assert_int_equal(cm3_comm_progress(comm), CM3_OK);
        }
        for (int i = 0; i < SUMS; i++) { /* round 1 waits in reverse, and that is fine too */
            const int which = round == 1 ? SUMS - 1 - i : i;
            assert_int_equal(cm3_comm_wait(sums[which]), CM3_OK);
            float *expected = expected_sum(cm3_comm_size(comm), counts[which], (uint64_t)which);
            assert_int_equal(memcmp(data[which], expected, (size_t)counts[which] * sizeof(float)), 0);
            free(expected);
            free(data[which]);
        }
    }
}

static void small_reductions_keep_rank_order_and_nan(void **state) {
    cm3_comm *comm = world(state);
    const int rank = cm3_comm_rank(comm), size = cm3_comm_size(comm);
    enum { COUNT = 20000 }; /* more than one piece */
    float *data = malloc(COUNT * sizeof *data), *expected = expected_sum(size, COUNT, 77);
    fill(data, COUNT, rank, 77);
    assert_int_equal(cm3_comm_reduce_f32(comm, data, COUNT, CM3_REDUCE_SUM), CM3_OK);
    assert_int_equal(memcmp(data, expected, COUNT * sizeof *data), 0);
    free(data);
    free(expected);

    double f64[3] = {rank, -rank, rank == size / 2 ? NAN : 1};
    assert_int_equal(cm3_comm_reduce_f64(comm, f64, 3, CM3_REDUCE_MAX), CM3_OK);
    assert_true(f64[0] == size - 1 && f64[1] == 0 && isnan(f64[2]));
    double low[2] = {rank, rank == size / 2 ? NAN : 1};
    assert_int_equal(cm3_comm_reduce_f64(comm, low, 2, CM3_REDUCE_MIN), CM3_OK);
    assert_true(low[0] == 0 && isnan(low[1]));
    int64_t i64[2] = {rank, (int64_t)1 << 40};
    assert_int_equal(cm3_comm_reduce_i64(comm, i64, 2, CM3_REDUCE_SUM), CM3_OK);
    assert_true(i64[0] == (int64_t)size * (size - 1) / 2 && i64[1] == ((int64_t)1 << 40) * size);
    int agreed = -1;
    assert_int_equal(cm3_comm_agree(comm, rank == size - 1 ? 15 : 0, &agreed), CM3_OK);
    assert_int_equal(agreed, 15);
}

static void bytes_are_broadcast_and_gathered_in_rank_order(void **state) {
    cm3_comm *comm = world(state);
    const int rank = cm3_comm_rank(comm), size = cm3_comm_size(comm);
    for (int root = 0; root < size; root++) {
        char word[16] = "";
        if (rank == root) snprintf(word, sizeof word, "from %d", rank);
        assert_int_equal(cm3_comm_broadcast(comm, word, sizeof word, root), CM3_OK);
        char expected[16] = "";
        snprintf(expected, sizeof expected, "from %d", root);
        assert_string_equal(word, expected);

        const int64_t mine[2] = {rank, 100 + rank};
        int64_t *all = calloc((size_t)size, sizeof mine);
        assert_int_equal(cm3_comm_gather(comm, mine, sizeof mine, rank == root ? all : NULL, root), CM3_OK);
        for (int r = 0; rank == root && r < size; r++) assert_true(all[2 * r] == r && all[2 * r + 1] == 100 + r);
        memset(all, 0, (size_t)size * sizeof mine);
        assert_int_equal(cm3_comm_all_gather(comm, mine, sizeof mine, all), CM3_OK);
        for (int r = 0; r < size; r++) assert_true(all[2 * r] == r && all[2 * r + 1] == 100 + r);
        free(all);
    }
    assert_int_equal(cm3_comm_barrier(comm), CM3_OK);
}

static void a_fault_of_one_rank_is_the_status_and_message_of_all(void **state) {
    cm3_comm *comm = world(state);
    const int last = cm3_comm_size(comm) - 1;
    cm3_status mine = CM3_OK;
    assert_int_equal(cm3_comm_agree_status(comm, mine), CM3_OK);
    if (cm3_comm_rank(comm) == last) mine = cm3_fail(CM3_ERR_IO, "the disk is full");
    assert_int_equal(cm3_comm_agree_status(comm, mine), CM3_ERR_IO);
    assert_non_null(strstr(cm3_message(), "the disk is full"));
    char who[32];
    snprintf(who, sizeof who, "rank %d: ", last);
    if (last > 0) assert_non_null(strstr(cm3_message(), who));
}

static void ranks_know_their_place_on_their_host(void **state) {
    cm3_comm *comm = world(state);
    const char *expected = getenv("CM3_TEST_RANKS_PER_HOST"); /* hosts hold consecutive ranks */
    const int rank = cm3_comm_rank(comm), on_host = expected ? atoi(expected) : cm3_comm_size(comm);
    assert_int_equal(cm3_comm_local_rank(comm), rank % on_host);
    const char *ranks = getenv("CM3_TEST_RANKS");
    assert_int_equal(cm3_comm_size(comm), ranks == NULL ? 1 : atoi(ranks));
    assert_string_equal(cm3_comm_kind(comm), ranks == NULL ? "self" : "mpi");
    assert_int_equal(cm3_comm_reduce_f64(comm, NULL, -1, CM3_REDUCE_SUM), CM3_ERR_INTERNAL);
}

/* Not a test: how fast sums are, beside what a plain copy of as many bytes takes. CM3_TEST_BENCH=MEGABYTES. */
static void bench(cm3_comm *comm, int64_t bytes) {
    const int64_t count = bytes / 4;
    float *data = calloc((size_t)count, 4), *copy = calloc((size_t)count, 4);
    if (data == NULL || copy == NULL) return;
    double best = 1e9, best_copy = 1e9;
    for (int i = 0; i < 5; i++) {
        cm3_comm_barrier(comm);
        const double start = cm3_clock_seconds();
        cm3_comm_request *sum;
        if (cm3_comm_all_reduce_start(comm, data, count, &sum) != CM3_OK || cm3_comm_wait(sum) != CM3_OK) return;
        const double middle = cm3_clock_seconds();
        memcpy(copy, data, (size_t)bytes);
        const double end = cm3_clock_seconds();
        if (middle - start < best) best = middle - start;
        if (end - middle < best_copy) best_copy = end - middle;
    }
    if (cm3_comm_rank(comm) == 0)
        fprintf(stderr, "%d ranks, %.0f MB: sum %.4f s = %.2f GB/s, copy %.2f GB/s\n", cm3_comm_size(comm),
                1e-6 * (double)bytes, best, 1e-9 * (double)bytes / best, 1e-9 * (double)bytes / best_copy);
    free(data);
    free(copy);
}

int main(void) {
    cm3_comm *comm = NULL;
    if (cm3_comm_open(&comm) != CM3_OK) {
        fprintf(stderr, "%s\n", cm3_message());
        return 1;
    }
    if (getenv("CM3_TEST_KILL") != NULL && cm3_comm_rank(comm) == 1) raise(SIGKILL);
    if (getenv("CM3_TEST_BENCH") != NULL) {
        bench(comm, atoll(getenv("CM3_TEST_BENCH")) * 1000000);
        cm3_comm_close(comm);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(gradient_sums_are_made_in_rank_order_whatever_the_timing, comm),
        cmocka_unit_test_prestate(small_reductions_keep_rank_order_and_nan, comm),
        cmocka_unit_test_prestate(bytes_are_broadcast_and_gathered_in_rank_order, comm),
        cmocka_unit_test_prestate(a_fault_of_one_rank_is_the_status_and_message_of_all, comm),
        cmocka_unit_test_prestate(ranks_know_their_place_on_their_host, comm),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed > 0) cm3_comm_abort(comm, 1);
    cm3_comm_close(comm);
    return failed;
}
