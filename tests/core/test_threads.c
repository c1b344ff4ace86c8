/* The pool of threads. Labels: threads */
#include "core/threads.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { MOST = 5000 };

typedef struct counting {
    int64_t count, grain;
    int times[MOST]; /* that an item was met; written without atomics: by one thread */
    int pieces_of_thread[8], wrong;
} counting;

static void count_items(const void *context, int64_t first, int64_t last) {
    counting *c = *(counting *const *)context;
    if (first % c->grain || last - first > c->grain || (last < c->count && last - first < c->grain)) c->wrong = 1;
    c->pieces_of_thread[cm3_thread_index()]++; /* two threads of one index would race here */
    for (int64_t i = first; i < last; i++) c->times[i]++;
}

static void every_item_is_met_once_in_pieces_of_the_grain(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 7, 64, 1000, MOST}, grains[] = {1, 3, 64, MOST};
    counting *c = calloc(1, sizeof *c);
    for (int threads = 1; threads <= 8; threads *= 2) {
        cm3_threads_set(threads);
        assert_int_equal(cm3_threads_count(), threads);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
                *c = (counting){.count = counts[i], .grain = grains[g]};
                cm3_parallel_for(c->count, c->grain, count_items, &c);
                int64_t pieces = 0;
                for (int t = 0; t < threads; t++) pieces += c->pieces_of_thread[t];
                assert_int_equal(pieces, (c->count + c->grain - 1) / c->grain);
                assert_int_equal(c->wrong, 0);
                for (int64_t k = 0; k < MOST; k++) assert_int_equal(c->times[k], k < c->count);
            }
    }
    free(c);
}

static void add_up(const void *context, int64_t first, int64_t last) {
    float *sums = *(float *const *)context, sum = 0;
    for (int64_t i = first; i < last; i++) sum += 1.0f / (float)(i + 1);
    sums[first / 7] = sum;
}

/* Loops of another length each follow one another as fast as they can: late workers of a loop meet the next ones. */
static void sums_by_piece_have_the_same_bits_however_often_and_on_however_many_threads(void **state) {
    (void)state;
    float expected[MOST / 7 + 1], sums[MOST / 7 + 1], *to = expected;
    cm3_threads_set(1);
    cm3_parallel_for(MOST, 7, add_up, &to);
    to = sums;
    for (int threads = 2; threads <= 5; threads++) {
        cm3_threads_set(threads);
        for (int64_t count = 1; count <= MOST; count += 1 + count % 5) {
            memset(sums, 0, sizeof sums);
            cm3_parallel_for(count, 7, add_up, &to);
            assert_memory_equal(sums, expected, (size_t)(count / 7) * sizeof *sums);
        }
    }
}

static void nest(const void *context, int64_t first, int64_t last) {
    float *const *sums = context;
    for (int64_t i = first; i < last; i++) {
        const float *to = sums[i];
        cm3_parallel_for(70, 7, add_up, &to);
    }
}

static void a_loop_within_a_loop_runs_on_its_own_thread(void **state) {
    (void)state;
    float values[12][10], *sums[12];
    for (int i = 0; i < 12; i++) sums[i] = values[i];
    cm3_threads_set(4);
    cm3_parallel_for(12, 1, nest, sums);
    for (int i = 1; i < 12; i++) assert_memory_equal(values[i], values[0], sizeof *values);
}

static void *run_loops(void *sums) {
    for (int i = 0; i < 300; i++) cm3_parallel_for(MOST, 7, add_up, &sums);
    return NULL;
}

static void two_threads_may_run_loops_at_once(void **state) {
    (void)state;
    static float a[MOST / 7 + 1], b[MOST / 7 + 1];
    pthread_t other;
    cm3_threads_set(3);
    assert_int_equal(pthread_create(&other, NULL, run_loops, a), 0);
    run_loops(b);
    pthread_join(other, NULL);
    assert_memory_equal(a, b, sizeof a);
}

/* A worker that sleeps while the loop begins finds nothing when it comes. */
static void loops_end_whether_workers_sleep_or_not(void **state) {
    (void)state;
    static float sums[MOST / 7 + 1];
    float *to = sums;
    cm3_threads_set(3);
    for (int i = 0; i < 50; i++) {
        usleep(i % 2 ? 300 : 20);
        cm3_parallel_for(i < 25 ? 14 : MOST, 7, add_up, &to);
    }
}

static void a_child_has_a_pool_of_its_own(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    return; /* it allows a child of several threads no threads */
#endif
    static float sums[MOST / 7 + 1];
    float *to = sums;
    cm3_threads_set(2);
    cm3_parallel_for(MOST, 7, add_up, &to);
    const pid_t child = fork();
    if (child == 0) {
        float *again = calloc(MOST / 7 + 1, sizeof *again);
        cm3_parallel_for(MOST, 7, add_up, &again);
        const int same = again && memcmp(again, sums, sizeof sums) == 0;
        free(again);
        _exit(same ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_met_once_in_pieces_of_the_grain),
        cmocka_unit_test(sums_by_piece_have_the_same_bits_however_often_and_on_however_many_threads),
        cmocka_unit_test(a_loop_within_a_loop_runs_on_its_own_thread),
        cmocka_unit_test(two_threads_may_run_loops_at_once),
        cmocka_unit_test(loops_end_whether_workers_sleep_or_not),
        cmocka_unit_test(a_child_has_a_pool_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
