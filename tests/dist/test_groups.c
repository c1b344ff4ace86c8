/* Groups of ranks, and collectives on long ranges. Runs by itself (self) and, from test_comm_ranks.sh and
 * test_two_hosts.sh, under mpirun with several ranks. */
#include "dist/comm.h"

#include "core/rng.h"
#include "dist/shard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

/* Of a rank of the world; of magnitudes so different that another order of additions gives other bits. */
static float value_of(int rank, uint64_t which, int64_t at) {
    const uint64_t bits = ((uint64_t)at * 31 + (uint64_t)rank * 7 + which * 1013 + 1) * 0x9E3779B97F4A7C15u;
    return ldexpf((float)(bits >> 40) / 0x1p24f - 0.5f, (int)(bits >> 16 & 31) - 15);
}

typedef struct members {
    cm3_comm *comm; /* NULL: this rank is not in the group */
    int ranks[8];   /* of the world, in the group's order */
    const char *name;
} members;

/* A group and the ranks of the world in it, as they themselves say. */
static members split(cm3_comm *world, int color, int key, const char *name) {
    members group = {.name = name};
    assert_int_equal(cm3_comm_split(world, color, key, &group.comm), CM3_OK);
    assert_int_equal(group.comm == NULL, color < 0);
    const int me = cm3_comm_rank(world);
    if (group.comm != NULL) assert_int_equal(cm3_comm_all_gather(group.comm, &me, sizeof me, group.ranks), CM3_OK);
    return group;
}

enum { GROUPS = 7 };
static members groups[GROUPS];

static void make_groups(cm3_comm *world) {
    const int rank = cm3_comm_rank(world), size = cm3_comm_size(world);
    groups[0] = split(world, 0, 0, "all");
    groups[1] = split(world, 0, -rank, "all, the other way round");
    groups[2] = split(world, rank / 2, 0, "pairs side by side");
    groups[3] = split(world, rank % 2, 0, "strided");
    groups[4] = split(world, rank, 0, "groups of one");
    groups[5] = split(world, rank == 0 || rank == size - 1 ? 3 : -1, 0, "the first and the last");
    groups[6] = split(world, rank > 0 ? 0 : -1, 0, "all but the first");
}

static float *filled(const cm3_comm *world, int64_t count, uint64_t which) {
    float *data = malloc((size_t)count * sizeof *data + 1);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++) data[i] = value_of(cm3_comm_rank(world), which, i);
    return data;
}

static void check_sums(const members *group, const float *data, cm3_range range, uint64_t which) {
    for (int64_t i = range.begin; i < range.end; i++) {
        float sum = value_of(group->ranks[0], which, i);
        for (int r = 1; r < cm3_comm_size(group->comm); r++) sum += value_of(group->ranks[r], which, i);
        if (memcmp(&sum, &data[i], sizeof sum) != 0)
            fail_msg("%s: element %lld is %g, not %g", group->name, (long long)i, (double)data[i], (double)sum);
    }
}

static cm3_range shard_of(const cm3_comm *comm, int64_t count) {
    return cm3_shard_range(count, CM3_SHARD_UNIT, cm3_comm_size(comm), cm3_comm_rank(comm));
}

static void groups_hold_the_ranks_of_one_color_in_the_order_of_keys(void **state) {
    const cm3_comm *world = *state;
    const int rank = cm3_comm_rank(world), size = cm3_comm_size(world);
    for (int g = 0; g < GROUPS; g++) {
        const cm3_comm *comm = groups[g].comm;
        if (comm == NULL) continue;
        assert_int_equal(groups[g].ranks[cm3_comm_rank(comm)], rank);
        assert_true(cm3_comm_local_rank(comm) <= cm3_comm_rank(comm));
        assert_string_equal(cm3_comm_kind(comm), cm3_comm_size(comm) == 1 ? "self" : "mpi");
    }
    assert_int_equal(cm3_comm_rank(groups[1].comm), size - 1 - rank);
    assert_int_equal(cm3_comm_size(groups[3].comm), (size + 1 - rank % 2) / 2);
    assert_int_equal(cm3_comm_size(groups[4].comm), 1);
}

static void reduce_scatter_then_all_gather_is_all_reduce_bit_for_bit(void **state) {
    for (int g = 0; g < GROUPS; g++) {
        const members *group = &groups[g];
        const int64_t counts[] = {0, 1, 63, 64, 65, 129, 1000, 70001, g < 2 ? 2200003 : 200003};
        for (size_t c = 0; group->comm != NULL && c < sizeof counts / sizeof *counts; c++) {
            const int64_t count = counts[c];
            float *data = filled(*state, count, c), *both = filled(*state, count, c);
            assert_int_equal(cm3_comm_reduce_scatter(group->comm, data, count), CM3_OK);
            const cm3_range shard = shard_of(group->comm, count);
            check_sums(group, data, shard, c);
            for (int64_t i = 0; i < count; i++)
                if (i < shard.begin || i >= shard.end) data[i] = NAN; /* ignored */
            assert_int_equal(cm3_comm_all_gather_shards(group->comm, data, count, CM3_F32), CM3_OK);
            check_sums(group, data, (cm3_range){0, count}, c);
            assert_int_equal(cm3_comm_all_reduce(group->comm, both, count), CM3_OK);
            assert_memory_equal(data, both, (size_t)count * sizeof *data);
            free(data);
            free(both);
        }
    }
}

static void shards_of_any_type_are_gathered(void **state) {
    (void)state;
    const cm3_dtype types[] = {CM3_BF16, CM3_U8, CM3_I32};
    for (int g = 0; g < GROUPS; g++) {
        for (int64_t count = 1; groups[g].comm != NULL && count < 6000000; count = 13 * count + 1) {
            const cm3_dtype type = types[count % 3];
            const int64_t width = (int64_t)cm3_dtype_size(type);
            const cm3_range shard = shard_of(groups[g].comm, count);
            unsigned char *data = calloc((size_t)count, (size_t)width);
            assert_non_null(data);
            for (int64_t i = shard.begin * width; i < shard.end * width; i++)
                data[i] = (unsigned char)(i * 7 + i / 251);
            assert_int_equal(cm3_comm_all_gather_shards(groups[g].comm, data, count, type), CM3_OK);
            for (int64_t i = 0; i < count * width; i++)
                if (data[i] != (unsigned char)(i * 7 + i / 251))
                    fail_msg("byte %lld of %lld", (long long)i, (long long)count);
            free(data);
        }
    }
}

/* Ranks wait in the order of their groups' table, forwards or backwards: each for another group's operation first, all
 * of them longer than what is in flight at a time. */
static void groups_have_operations_in_flight_at_the_same_time(void **state) {
    cm3_comm *world = *state;
    const int rank = cm3_comm_rank(world);
    const int64_t lengths[] = {300003, 3, 5000017, 40000}; /* the third: of groups 1, 2 and 5 */
    enum { EACH = 2 };
    cm3_rng timing = cm3_rng_stream(5, CM3_RNG_TEST, (uint64_t)rank, 0);
    float *data[GROUPS][EACH];
    cm3_comm_request *requests[GROUPS][EACH];
    for (int e = 0; e < EACH; e++) {
        for (int g = 0; g < GROUPS; g++) {
            if (groups[g].comm == NULL) continue;
            data[g][e] = filled(world, lengths[(g + e) % 4], (uint64_t)(10 * g + e));
            assert_int_equal((e == 0 ? cm3_comm_all_reduce_start : cm3_comm_reduce_scatter_start)(
                                 groups[g].comm, data[g][e], lengths[(g + e) % 4], &requests[g][e]),
                             CM3_OK);
            if (cm3_rng_below(&timing, 2)) usleep((useconds_t)cm3_rng_below(&timing, 3000));
            assert_int_equal(cm3_comm_progress(groups[g].comm), CM3_OK);
        }
    }
    int agreed; /* a blocking collective between them */
    assert_int_equal(cm3_comm_agree(world, rank, &agreed), CM3_OK);
    for (int n = 0; n < GROUPS * EACH; n++) {
        const int at = rank % 2 ? n : GROUPS * EACH - 1 - n, g = at / EACH, e = at % EACH;
        if (groups[g].comm == NULL) continue;
        const int64_t count = lengths[(g + e) % 4];
        assert_int_equal(cm3_comm_wait(requests[g][e]), CM3_OK);
        check_sums(&groups[g], data[g][e], e == 0 ? (cm3_range){0, count} : shard_of(groups[g].comm, count),
                   (uint64_t)(10 * g + e));
        free(data[g][e]);
    }
}

static void a_failure_within_a_group_is_agreed_on_by_the_group_alone(void **state) {
    cm3_comm *world = *state;
    const int rank = cm3_comm_rank(world), size = cm3_comm_size(world);
    const members *group = &groups[2];
    const int last = group->ranks[cm3_comm_size(group->comm) - 1];
    cm3_status mine = CM3_OK;
    if (rank == last && rank < 2) mine = cm3_fail(CM3_ERR_IO, "the disk is full");
    assert_int_equal(cm3_comm_agree_status(group->comm, mine), rank < 2 ? CM3_ERR_IO : CM3_OK);
    char expected[64];
    snprintf(expected, sizeof expected, size == 1 ? "the disk is full" : "rank %d: the disk is full", last);
    if (rank < 2) assert_string_equal(cm3_message(), expected);
    assert_int_equal(cm3_comm_failed_together(world), size <= 2 ? true : false);
    assert_int_equal(cm3_comm_all_reduce(world, NULL, -1), CM3_ERR_INTERNAL);
    assert_int_equal(cm3_comm_failed_together(group->comm), cm3_comm_failed_together(world));
}

static void long_gathers_go_in_pieces(void **state) {
    cm3_comm *world = *state;
    const int rank = cm3_comm_rank(world), size = cm3_comm_size(world);
    enum { BYTES = 5000011 };
    unsigned char *mine = malloc(BYTES), *all = malloc((size_t)size * BYTES);
    for (int i = 0; i < BYTES; i++) mine[i] = (unsigned char)(i / 100 + rank);
    for (int root = -1; root < size; root++) {
        memset(all, 0, (size_t)size * BYTES);
        assert_int_equal(root < 0 ? cm3_comm_all_gather(world, mine, BYTES, all)
                                  : cm3_comm_gather(world, mine, BYTES, rank == root ? all : NULL, root),
                         CM3_OK);
        for (int r = 0; (root < 0 || root == rank) && r < size; r++)
            for (int i = 0; i < BYTES; i++)
                if (all[(int64_t)r * BYTES + i] != (unsigned char)(i / 100 + r)) fail_msg("byte %d of rank %d", i, r);
    }
    free(mine);
    free(all);
}

/* The range is the same few pages over and over, but for its first and last ones: it takes no memory. */
static void ranges_may_pass_two_gigabytes(void **state) {
    const members *group = &groups[2];
    const int64_t window = (int64_t)64 << 20, bytes = 33 * window, edge = 1 << 20;
    if (cm3_comm_size(group->comm) < 2 || cm3_comm_rank(*state) >= 2) return;
    const int file = memfd_create("range", 0);
    assert_int_equal(ftruncate(file, window), 0);
    char *data = mmap(NULL, (size_t)bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(data != MAP_FAILED);
    for (int64_t at = 0; at < bytes; at += window)
        assert_true(mmap(data + at, (size_t)window, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
                    data + at);
    for (int64_t at = 0; at < bytes; at += bytes - edge)
        assert_true(mmap(data + at, (size_t)edge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                         0) == data + at);
    if (cm3_comm_rank(group->comm) == 0)
        memset(data, 1, (size_t)edge);
    else
        memset(data + bytes - edge, 2, (size_t)edge);
    assert_int_equal(cm3_comm_all_gather_shards(group->comm, data, bytes, CM3_U8), CM3_OK);
    for (int64_t i = 0; i < edge; i++) assert_true(data[i] == 1 && data[bytes - edge + i] == 2);
    munmap(data, (size_t)bytes);
    close(file);
}

int main(void) {
    cm3_comm *world = NULL;
    if (cm3_comm_open(&world) != CM3_OK) {
        fprintf(stderr, "%s\n", cm3_message());
        return 1;
    }
    make_groups(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(groups_hold_the_ranks_of_one_color_in_the_order_of_keys, world),
        cmocka_unit_test_prestate(reduce_scatter_then_all_gather_is_all_reduce_bit_for_bit, world),
        cmocka_unit_test_prestate(shards_of_any_type_are_gathered, world),
        cmocka_unit_test_prestate(groups_have_operations_in_flight_at_the_same_time, world),
        cmocka_unit_test_prestate(long_gathers_go_in_pieces, world),
        cmocka_unit_test_prestate(ranges_may_pass_two_gigabytes, world),
        cmocka_unit_test_prestate(a_failure_within_a_group_is_agreed_on_by_the_group_alone, world),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed > 0) cm3_comm_abort(groups[4].comm, 1); /* ends all ranks, not this one alone */
    for (int g = 0; g < GROUPS; g++) cm3_comm_close(groups[g].comm);
    cm3_comm_close(world);
    return failed;
}
