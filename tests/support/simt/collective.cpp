/* Collectives between the devices of several processes on one host, in the place of NCCL: a window of shared memory, a
 * row a rank, through which data goes a piece at a time. Sums are made in the order of ranks.
 *
 * Nothing is done before join(), as late as the contract allows: who forgets it, or writes over operands before, gets
 * wrong numbers. Ranks share one GPU, as on most machines of one, unless CM3_SIMT_DEVICES is set: then each has its
 * own. */
#include "core/kernels/cuda/launch.h"

extern "C" {
#include "core/kernels/cuda/device.h"
}

#include <atomic>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

static const int64_t ROW = 1 << 16; /* bytes */

struct window {
    std::atomic<int> arrived, turn; /* zero in a new file */
    alignas(64) char rows[];
};

struct group {
    window *shared;
    int rank, size;
    size_t bytes;
};

static std::vector<std::function<void()>> pending;

static void barrier(const group *g) {
    const int turn = g->shared->turn;
    if (++g->shared->arrived == g->size) {
        g->shared->arrived = 0;
        g->shared->turn++;
    }
    while (g->shared->turn == turn) sched_yield();
}

static cm3_status name_gpu(char name[CM3_DEVICE_NAME]) {
    snprintf(name, CM3_DEVICE_NAME, "host %d", getenv("CM3_SIMT_DEVICES") ? (int)getpid() : 0);
    return CM3_OK;
}

static cm3_status make_id(unsigned char id[CM3_COLLECTIVE_ID]) {
    static int made;
    snprintf((char *)id, CM3_COLLECTIVE_ID, "/cm3-simt-%d-%d", (int)getpid(), made++);
    return CM3_OK;
}

static cm3_status open_group(const unsigned char id[CM3_COLLECTIVE_ID], int rank, int size, void **opened) {
    const char *name = (const char *)id;
    const size_t bytes = sizeof(window) + (size_t)(size * ROW);
    const int file = shm_open(name, O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, (off_t)bytes)) return cm3_fail(CM3_ERR_COMM, "no shared memory %s", name);
    void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared == MAP_FAILED) return cm3_fail(CM3_ERR_COMM, "shared memory %s cannot be mapped", name);
    group *g = new group{(window *)shared, rank, size, bytes};
    barrier(g);
    if (rank == 0) shm_unlink(name);
    *opened = g;
    return CM3_OK;
}

static void close_group(void *of) {
    group *g = (group *)of;
    munmap(g->shared, g->bytes);
    delete g;
}

/* Of `bytes` at `data`, a row at a time: every rank shows its own and, if it `sums`, puts there what all show. */
static void sum_bytes(const group *g, char *data, int64_t bytes, bool sums) {
    for (int64_t at = 0; at < bytes; at += ROW) {
        const int64_t n = bytes - at < ROW ? bytes - at : ROW;
        memcpy(g->shared->rows + g->rank * ROW, data + at, (size_t)n);
        barrier(g);
        for (int64_t i = 0; sums && i < n / 4; i++) {
            float sum = ((const float *)g->shared->rows)[i];
            for (int rank = 1; rank < g->size; rank++) sum += ((const float *)(g->shared->rows + rank * ROW))[i];
            ((float *)(data + at))[i] = sum;
        }
        barrier(g);
    }
}

static void gather_bytes(const group *g, char *data, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += ROW) {
        const int64_t n = bytes - at < ROW ? bytes - at : ROW;
        memcpy(g->shared->rows + g->rank * ROW, data + g->rank * bytes + at, (size_t)n);
        barrier(g);
        for (int rank = 0; rank < g->size; rank++)
            memcpy(data + rank * bytes + at, g->shared->rows + rank * ROW, (size_t)n);
        barrier(g);
    }
}

static cm3_status all_reduce(void *of, float *data, int64_t count) {
    pending.push_back([=] { sum_bytes((const group *)of, (char *)data, 4 * count, true); });
    return CM3_OK;
}

static cm3_status reduce_scatter(void *of, float *data, int64_t piece) {
    const group *g = (const group *)of;
    for (int rank = 0; rank < g->size; rank++)
        pending.push_back([=] { sum_bytes(g, (char *)(data + rank * piece), 4 * piece, rank == g->rank); });
    return CM3_OK;
}

static cm3_status all_gather(void *of, void *data, int64_t bytes) {
    pending.push_back([=] { gather_bytes((const group *)of, (char *)data, bytes); });
    return CM3_OK;
}

static cm3_status join(void) {
    for (const std::function<void()> &one : pending) simt_queue(one);
    pending.clear();
    return CM3_OK;
}

extern "C" const cm3_collective cm3__device_collective = {name_gpu,   make_id,        open_group, close_group,
                                                          all_reduce, reduce_scatter, all_gather, join};
