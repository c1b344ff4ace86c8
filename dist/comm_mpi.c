#include "dist/comm_mpi_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum {
    MESSAGE_BYTES = 1 << 30, /* MPI counts are ints: longer messages go in pieces */
    STAGING_BYTES = 1 << 22  /* of a gather in pieces */
};

static MPI_Comm ranks_of(const cm3_comm *comm) {
    return ((const cm3_comm_mpi *)comm)->ranks;
}

static cm3_status mpi_barrier(cm3_comm *comm) {
    MPI_Request request;
    const int code = MPI_Ibarrier(ranks_of(comm), &request);
    return cm3__mpi_finish(comm, code, &request, "MPI_Ibarrier");
}

static cm3_status mpi_broadcast(cm3_comm *comm, void *data, int64_t bytes, int root) {
    for (int64_t at = 0; at < bytes; at += MESSAGE_BYTES) {
        const int64_t n = bytes - at < MESSAGE_BYTES ? bytes - at : MESSAGE_BYTES;
        MPI_Request request;
        const int code = MPI_Ibcast((char *)data + at, (int)n, MPI_BYTE, root, ranks_of(comm), &request);
        CM3_TRY(cm3__mpi_finish(comm, code, &request, "MPI_Ibcast"));
    }
    return CM3_OK;
}

static cm3_status gather_piece(cm3_comm *comm, const void *mine, int n, void *to, int root) {
    MPI_Request request;
    const int code = root < 0 ? MPI_Iallgather(mine, n, MPI_BYTE, to, n, MPI_BYTE, ranks_of(comm), &request)
                              : MPI_Igather(mine, n, MPI_BYTE, to, n, MPI_BYTE, root, ranks_of(comm), &request);
    return cm3__mpi_finish(comm, code, &request, root < 0 ? "MPI_Iallgather" : "MPI_Igather");
}

/* At once, or in pieces by way of staging (size, piece), from where each rank's bytes are copied to their place in
 * (size, bytes). */
static cm3_status mpi_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root) {
    const int64_t piece = STAGING_BYTES / comm->size + 1;
    if (bytes <= piece) return gather_piece(comm, mine, (int)bytes, all, root);
    const bool receives = root < 0 || root == comm->rank;
    char *staging = receives ? malloc((size_t)piece * (size_t)comm->size) : NULL;
    cm3_status status = receives && !staging ? cm3_fail(CM3_ERR_MEMORY, "out of memory to gather") : CM3_OK;
    status = cm3_comm_agree_status(comm, status);
    for (int64_t at = 0; at < bytes && status == CM3_OK; at += piece) {
        const int n = (int)(bytes - at < piece ? bytes - at : piece);
        status = gather_piece(comm, (const char *)mine + at, n, staging, root);
        if (status != CM3_OK || !receives) continue;
        for (int rank = 0; rank < comm->size; rank++)
            memcpy((char *)all + rank * bytes + at, staging + (int64_t)rank * n, (size_t)n);
    }
    if (status != CM3_ERR_COMM) free(staging); /* MPI may still fill it */
    return status;
}

static void mpi_abort(cm3_comm *comm, int exit_code) {
    if (comm->size > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

static void mpi_close(cm3_comm *comm) {
    cm3_comm_mpi *mpi = (cm3_comm_mpi *)comm, *other = (cm3_comm_mpi *)comm->world;
    while (other->next != NULL && other->next != mpi) other = other->next;
    if (other->next == mpi) other->next = mpi->next;
    cm3__mpi_engine_free(mpi->engine);
    if (mpi->exchange != MPI_COMM_NULL) MPI_Comm_free(&mpi->exchange);
    if (mpi->ranks != MPI_COMM_NULL) MPI_Comm_free(&mpi->ranks);
    if (comm->world == comm) MPI_Finalize();
    free(mpi);
}

/* What follows from mpi->ranks. */
static cm3_status join(cm3_comm_mpi *mpi) {
    CM3_TRY(cm3__mpi_check(MPI_Comm_dup(mpi->ranks, &mpi->exchange), "MPI_Comm_dup")); /* keeps the error handler */
    CM3_TRY(cm3__mpi_check(MPI_Comm_rank(mpi->ranks, &mpi->base.rank), "MPI_Comm_rank"));
    CM3_TRY(cm3__mpi_check(MPI_Comm_size(mpi->ranks, &mpi->base.size), "MPI_Comm_size"));
    MPI_Comm host = MPI_COMM_NULL;
    CM3_TRY(cm3__mpi_check(MPI_Comm_split_type(mpi->ranks, MPI_COMM_TYPE_SHARED, mpi->base.rank, MPI_INFO_NULL, &host),
                           "MPI_Comm_split_type"));
    MPI_Comm_rank(host, &mpi->base.local_rank);
    MPI_Comm_free(&host);
    return cm3__mpi_engine_new(mpi, &mpi->engine);
}

static cm3_status mpi_split(cm3_comm *comm, int color, int key, cm3_comm **group);

static const cm3_comm_ops mpi_ops = {
    .kind = "mpi",
    .close = mpi_close,
    .abort = mpi_abort,
    .split = mpi_split,
    .barrier = mpi_barrier,
    .broadcast = mpi_broadcast,
    .gather = mpi_gather,
    .start = cm3__mpi_start,
    .progress = cm3__mpi_progress,
    .wait = cm3__mpi_wait,
};

static cm3_comm_mpi *new_comm(void) {
    cm3_comm_mpi *mpi = malloc(sizeof *mpi);
    if (mpi == NULL) cm3_fail(CM3_ERR_MEMORY, "out of memory for a communicator");
    if (mpi != NULL) *mpi = (cm3_comm_mpi){.base.ops = &mpi_ops, .ranks = MPI_COMM_NULL, .exchange = MPI_COMM_NULL};
    return mpi;
}

/* A rank that is out of memory says so before MPI's own collectives begin. */
static cm3_status mpi_split(cm3_comm *comm, int color, int key, cm3_comm **group) {
    cm3_comm_mpi *world = (cm3_comm_mpi *)comm->world, *mpi = new_comm();
    cm3_status status = cm3_comm_agree_status(comm, mpi != NULL ? CM3_OK : CM3_ERR_MEMORY);
    int size = 0;
    if (status == CM3_OK)
        status = cm3__mpi_check(MPI_Comm_split(ranks_of(comm), color < 0 ? MPI_UNDEFINED : color, key, &mpi->ranks),
                                "MPI_Comm_split");
    if (status == CM3_OK && mpi->ranks != MPI_COMM_NULL) MPI_Comm_size(mpi->ranks, &size);
    if (size < 2) {
        if (size == 1) MPI_Comm_free(&mpi->ranks);
        free(mpi);
        return status == CM3_OK && size == 1 ? cm3_comm_open_self(group) : status;
    }
    mpi->base.world = comm->world;
    mpi->next = world->next;
    world->next = mpi;
    *group = &mpi->base;
    return join(mpi);
}

static cm3_status start_mpi(void) {
    int started = 0, level = 0;
    MPI_Initialized(&started);
    if (started) return cm3_fail(CM3_ERR_INTERNAL, "a process opens one MPI communicator, this is the second");
    CM3_TRY(cm3__mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread"));
    if (level < MPI_THREAD_FUNNELED)
        return cm3_fail(CM3_ERR_UNSUPPORTED,
                        "this MPI library does not allow threads beside the one that communicates");
    prctl(PR_SET_TIMERSLACK, 1000); /* ns: a waiting rank sleeps for as long as it asks, not 50 us longer */
    return cm3__mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

cm3_status cm3__comm_open_mpi(cm3_comm **comm) {
    CM3_TRY(start_mpi());
    cm3_comm_mpi *mpi = new_comm();
    if (mpi == NULL) return CM3_ERR_MEMORY;
    mpi->base.world = &mpi->base;
    cm3_status status = cm3__mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &mpi->ranks), "MPI_Comm_dup");
    if (status == CM3_OK) status = join(mpi);
    if (status != CM3_OK) {
        mpi_close(&mpi->base);
        return status;
    }
    *comm = &mpi->base;
    return CM3_OK;
}
