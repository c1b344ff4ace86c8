#include "core/tensor/op.h"
#include "dist/comm_impl.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cm3_comm_close(cm3_comm *comm) {
    if (comm == NULL) return;
    if (comm->devices != NULL) comm->collective->close(comm->devices);
    comm->ops->close(comm);
}

void cm3_comm_abort(cm3_comm *comm, int exit_code) {
    if (comm != NULL) comm->world->ops->abort(comm->world, exit_code);
}

cm3_status cm3_comm_split(cm3_comm *comm, int color, int key, cm3_comm **group) {
    *group = NULL;
    const cm3_status status = cm3_comm_agree_status(comm, comm->ops->split(comm, color, key, group));
    if (*group != NULL) (*group)->world = comm->world;
    if (status == CM3_OK) return CM3_OK;
    cm3_comm_close(*group);
    *group = NULL;
    return status;
}

int cm3_comm_rank(const cm3_comm *comm) {
    return comm->rank;
}

int cm3_comm_size(const cm3_comm *comm) {
    return comm->size;
}

int cm3_comm_local_rank(const cm3_comm *comm) {
    return comm->local_rank;
}

const char *cm3_comm_kind(const cm3_comm *comm) {
    return comm->ops->kind;
}

cm3_status cm3_comm_barrier(cm3_comm *comm) {
    return comm->ops->barrier(comm);
}

static cm3_status check_bytes(int64_t bytes) {
    if (bytes < 0) return cm3_fail(CM3_ERR_INTERNAL, "a message of %lld bytes", (long long)bytes);
    return CM3_OK;
}

static cm3_status check_root(const cm3_comm *comm, int root) {
    if (root < 0 || root >= comm->size) return cm3_fail(CM3_ERR_INTERNAL, "root %d of %d ranks", root, comm->size);
    return CM3_OK;
}

cm3_status cm3_comm_broadcast(cm3_comm *comm, void *data, int64_t bytes, int root) {
    CM3_TRY(check_bytes(bytes));
    CM3_TRY(check_root(comm, root));
    return comm->ops->broadcast(comm, data, bytes, root);
}

cm3_status cm3_comm_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root) {
    CM3_TRY(check_bytes(bytes));
    CM3_TRY(check_root(comm, root));
    return comm->ops->gather(comm, mine, bytes, all, root);
}

cm3_status cm3_comm_all_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all) {
    CM3_TRY(check_bytes(bytes));
    return comm->ops->gather(comm, mine, bytes, all, -1);
}

/* Every rank fetches the values of all ranks and combines them in rank order, `REDUCE_PIECE` of them at a time: no
 * library's choice of an algorithm can change a bit. `combine(a, b)` is what is done with the result so far and the
 * next rank's value. */
enum { REDUCE_PIECE = 8192 };

#define REDUCE_FUNCTION(suffix, type, sum, largest, smallest)                                                          \
    static void combine_##suffix(type *result, const type *next, int64_t count, cm3_reduce how) {                      \
        for (int64_t i = 0; i < count; i++) {                                                                          \
            const type a = result[i], b = next[i];                                                                     \
            result[i] = how == CM3_REDUCE_SUM ? (sum) : how == CM3_REDUCE_MAX ? (largest) : (smallest);                \
        }                                                                                                              \
    }                                                                                                                  \
    cm3_status cm3_comm_reduce_##suffix(cm3_comm *comm, type *values, int64_t count, cm3_reduce how) {                 \
        CM3_TRY(check_bytes(count));                                                                                   \
        if (comm->size == 1 || count == 0) return CM3_OK;                                                              \
        const int64_t piece = count < REDUCE_PIECE ? count : REDUCE_PIECE;                                             \
        type *all = malloc((size_t)comm->size * (size_t)piece * sizeof(type));                                         \
        if (all == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a reduction over %d ranks", comm->size);   \
        cm3_status status = CM3_OK;                                                                                    \
        for (int64_t at = 0; at < count && status == CM3_OK; at += piece) {                                            \
            const int64_t n = count - at < piece ? count - at : piece;                                                 \
            status = comm->ops->gather(comm, values + at, n * (int64_t)sizeof(type), all, -1);                         \
            if (status != CM3_OK) break;                                                                               \
            for (int rank = 1; rank < comm->size; rank++) combine_##suffix(all, all + rank * n, n, how);               \
            memcpy(values + at, all, (size_t)n * sizeof(type));                                                        \
        }                                                                                                              \
        if (status != CM3_ERR_COMM) free(all); /* MPI may still fill it */                                             \
        return status;                                                                                                 \
    }

/* Written so that a NaN on either side wins. Sums of integers wrap: they are counters, and unsigned arithmetic is
 * defined. */
#define LARGEST (a >= b || isnan(a) ? a : b)
#define SMALLEST (a <= b || isnan(a) ? a : b)
REDUCE_FUNCTION(f64, double, a + b, LARGEST, SMALLEST)
REDUCE_FUNCTION(f32, float, a + b, LARGEST, SMALLEST)
REDUCE_FUNCTION(i64, int64_t, (int64_t)((uint64_t)a + (uint64_t)b), a >= b ? a : b, a <= b ? a : b)

cm3_status cm3_comm_agree(cm3_comm *comm, int flag, int *agreed) {
    int64_t largest = flag;
    CM3_TRY(cm3_comm_reduce_i64(comm, &largest, 1, CM3_REDUCE_MAX));
    *agreed = (int)largest;
    return CM3_OK;
}

cm3_status cm3_comm_agree_status(cm3_comm *comm, cm3_status mine) {
    const bool whole = comm->size == comm->world->size;
    if (comm->size == 1) {
        comm->world->failed_together |= whole && mine != CM3_OK;
        return mine;
    }
    /* The lowest rank that failed, and its status, as one number whose minimum is looked for. */
    const int64_t nobody = INT64_MAX;
    int64_t first = mine == CM3_OK ? nobody : (int64_t)comm->rank * 256 + (int64_t)mine;
    CM3_TRY(cm3_comm_reduce_i64(comm, &first, 1, CM3_REDUCE_MIN));
    if (first == nobody) return CM3_OK;
    char message[CM3_MESSAGE_MAX];
    if (strncmp(cm3_message(), "rank ", 5) == 0) /* agreed on before */
        snprintf(message, sizeof message, "%s", cm3_message());
    else
        snprintf(message, sizeof message, "rank %d: %s", comm->world->rank, cm3_message());
    CM3_TRY(comm->ops->broadcast(comm, message, sizeof message, (int)(first / 256)));
    comm->world->failed_together |= whole;
    return cm3_fail((cm3_status)(first % 256), "%s", message);
}

bool cm3_comm_failed_together(const cm3_comm *comm) {
    return comm->world->failed_together;
}

static cm3_status start(cm3_comm *comm, cm3_comm_exchange exchange, cm3_comm_request **request) {
    *request = NULL;
    CM3_TRY(check_bytes(exchange.count));
    if (comm->size == 1 || exchange.count == 0) return CM3_OK;
    return comm->ops->start(comm, &exchange, request);
}

cm3_status cm3_comm_all_reduce_start(cm3_comm *comm, float *data, int64_t count, cm3_comm_request **request) {
    return start(comm, (cm3_comm_exchange){data, count, sizeof *data, .reduces = true, .gathers = true}, request);
}

cm3_status cm3_comm_reduce_scatter_start(cm3_comm *comm, float *data, int64_t count, cm3_comm_request **request) {
    return start(comm, (cm3_comm_exchange){data, count, sizeof *data, .reduces = true}, request);
}

cm3_status cm3_comm_all_gather_shards_start(cm3_comm *comm, void *data, int64_t count, cm3_dtype type,
                                            cm3_comm_request **request) {
    const int64_t width = (int64_t)cm3_dtype_size(type);
    return start(comm, (cm3_comm_exchange){data, count, width, .gathers = true}, request);
}

cm3_status cm3_comm_all_reduce(cm3_comm *comm, float *data, int64_t count) {
    cm3_comm_request *request;
    CM3_TRY(cm3_comm_all_reduce_start(comm, data, count, &request));
    return cm3_comm_wait(request);
}

cm3_status cm3_comm_reduce_scatter(cm3_comm *comm, float *data, int64_t count) {
    cm3_comm_request *request;
    CM3_TRY(cm3_comm_reduce_scatter_start(comm, data, count, &request));
    return cm3_comm_wait(request);
}

cm3_status cm3_comm_all_gather_shards(cm3_comm *comm, void *data, int64_t count, cm3_dtype type) {
    cm3_comm_request *request;
    CM3_TRY(cm3_comm_all_gather_shards_start(comm, data, count, type, &request));
    return cm3_comm_wait(request);
}

cm3_status cm3_comm_progress(cm3_comm *comm) {
    return comm->world->ops->progress(comm->world);
}

cm3_status cm3_comm_wait(cm3_comm_request *request) {
    return request == NULL ? CM3_OK : request->comm->ops->wait(request);
}
