/* A backend's collectives against those of the hosts. Runs by itself (one rank: no group) and, from
 * test_devices_ranks.sh, under mpirun with several ranks: on GPUs by NCCL, or on the host in their place. */
#include "dist/comm.h"

#include "core/tensor/op.h"
#include "tests/support/gpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { PIECE = 64 * 700 }; /* more than the host's stand-in moves at a time */

static const cm3_backend *backend;

/* Small integers: their sums are exact in any order, which is the library's to choose. */
static float value_of(int rank, int64_t at) {
    return (float)((at * 7 + rank * 13) % 101);
}

static void upload(float *device, float *host, const cm3_comm *world, int64_t count) {
    for (int64_t i = 0; i < count; i++) host[i] = value_of(cm3_comm_rank(world), i);
    assert_int_equal(backend->memory->upload(device, host, (size_t)count * sizeof *host), CM3_OK);
}

static void check(float *host, const float *device, const float *expected, int64_t first, int64_t end) {
    assert_int_equal(backend->memory->download(host, device + first, (size_t)(end - first) * sizeof *host), CM3_OK);
    for (int64_t i = first; i < end; i++)
        if (host[i - first] != expected[i]) fail_msg("element %lld", (long long)i);
}

static void compare(cm3_comm *world, cm3_comm *comm) {
    const cm3_collective *collective = backend->collective;
    const int rank = cm3_comm_rank(comm), size = cm3_comm_size(comm);
    const int64_t count = (int64_t)size * PIECE, odd = count - 17, first = (int64_t)rank * PIECE;
    void *group;
    assert_int_equal(cm3_comm_devices(comm, collective, &group), CM3_OK);
    assert_int_equal(group == NULL, size == 1 || getenv("CM3_TEST_OWN_DEVICES") == NULL);
    if (group == NULL) return;
    void *again;
    assert_int_equal(cm3_comm_devices(comm, collective, &again), CM3_OK);
    assert_ptr_equal(group, again);

    const size_t bytes = (size_t)count * sizeof(float);
    float *device = backend->memory->alloc(bytes), *host = malloc(bytes), *expected = malloc(bytes);
    assert_true(device && host && expected);
    for (int64_t i = 0; i < count; i++) expected[i] = value_of(cm3_comm_rank(world), i);
    assert_int_equal(cm3_comm_all_reduce(comm, expected, count), CM3_OK);

    upload(device, host, world, count);
    assert_int_equal(collective->all_reduce(group, device, odd), CM3_OK);
    assert_int_equal(collective->join(), CM3_OK);
    check(host, device, expected, 0, odd);

    upload(device, host, world, count);
    assert_int_equal(collective->reduce_scatter(group, device, PIECE), CM3_OK);
    assert_int_equal(collective->all_gather(group, device, PIECE * (int64_t)sizeof *device), CM3_OK);
    assert_int_equal(collective->join(), CM3_OK);
    check(host, device, expected, 0, count);

    upload(device, host, world, count);
    assert_int_equal(collective->reduce_scatter(group, device, PIECE), CM3_OK);
    assert_int_equal(collective->join(), CM3_OK);
    check(host, device, expected, first, first + PIECE);
    backend->memory->free(device, bytes);
    free(host);
    free(expected);
}

static void devices_reduce_scatter_and_gather_as_hosts_do(void **state) {
    cm3_comm *world = *state;
    const int rank = cm3_comm_rank(world);
    cm3_comm *pair, *strided;
    assert_int_equal(cm3_comm_split(world, rank / 2, 0, &pair), CM3_OK);
    assert_int_equal(cm3_comm_split(world, rank % 2, -rank, &strided), CM3_OK);
    compare(world, world);
    compare(world, pair);
    compare(world, strided);
    compare(world, world); /* groups in turns */
    cm3_comm_close(pair);
    cm3_comm_close(strided);
}

int main(void) {
    cm3_comm *world = NULL;
    backend = gpu_open();
    if (backend == NULL || cm3_comm_open(&world) != CM3_OK) {
        fprintf(stderr, "%s\n", cm3_message());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(devices_reduce_scatter_and_gather_as_hosts_do, world),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed > 0) cm3_comm_abort(world, 1);
    cm3_comm_close(world);
    return failed;
}
