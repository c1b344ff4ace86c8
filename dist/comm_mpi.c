#include "dist/comm_mpi_impl.h"

#include <stdlib.h>
#include <string.h>

cm3_status cm3__mpi_check(int code, const char *what) {
    if (code == MPI_SUCCESS) return CM3_OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return cm3_fail(CM3_ERR_COMM, "%s: %s", what, text);
}

/* MPI counts are ints: longer messages go in pieces. */
static const int64_t piece_bytes = (int64_t)1 << 30;

static cm3_status mpi_barrier(cm3_comm *comm) {
    return cm3__mpi_check(MPI_Barrier(((cm3_comm_mpi *)comm)->world), "MPI_Barrier");
}

static cm3_status mpi_broadcast(cm3_comm *comm, void *data, int64_t bytes, int root) {
    for (int64_t at = 0; at < bytes; at += piece_bytes) {
        const int64_t n = bytes - at < piece_bytes ? bytes - at : piece_bytes;
        const MPI_Comm world = ((cm3_comm_mpi *)comm)->world;
        CM3_TRY(cm3__mpi_check(MPI_Bcast((char *)data + at, (int)n, MPI_BYTE, root, world), "MPI_Bcast"));
    }
    return CM3_OK;
}

/* In pieces into a buffer of (size, piece), from there to where each rank's bytes belong in (size, bytes). `root` < 0:
 * all. */
static cm3_status gather_pieces(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root) {
    const MPI_Comm world = ((cm3_comm_mpi *)comm)->world;
    const bool receives = root < 0 || root == comm->rank;
    const int64_t limit = piece_bytes / comm->size, piece = bytes < limit ? bytes : limit;
    const bool direct = piece == bytes;
    char *staging = NULL;
    if (receives && !direct) {
        staging = malloc((size_t)piece * (size_t)comm->size);
        if (staging == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory to gather from %d ranks", comm->size);
    }
    cm3_status status = CM3_OK;
    for (int64_t at = 0; at < bytes && status == CM3_OK; at += piece) {
        const int n = (int)(bytes - at < piece ? bytes - at : piece);
        const char *from = (const char *)mine + at;
        void *to = direct ? all : staging;
        status = root < 0 ? cm3__mpi_check(MPI_Allgather(from, n, MPI_BYTE, to, n, MPI_BYTE, world), "MPI_Allgather")
                          : cm3__mpi_check(MPI_Gather(from, n, MPI_BYTE, to, n, MPI_BYTE, root, world), "MPI_Gather");
        if (status != CM3_OK || direct || !receives) continue;
        for (int rank = 0; rank < comm->size; rank++)
            memcpy((char *)all + rank * bytes + at, staging + (int64_t)rank * n, (size_t)n);
    }
    free(staging);
    return status;
}

static cm3_status mpi_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root) {
    return gather_pieces(comm, mine, bytes, all, root);
}

static cm3_status mpi_all_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all) {
    return gather_pieces(comm, mine, bytes, all, -1);
}

static void mpi_abort(cm3_comm *comm, int exit_code) {
    if (comm->size > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

static void mpi_close(cm3_comm *comm) {
    cm3_comm_mpi *mpi = (cm3_comm_mpi *)comm;
    cm3__mpi_engine_free(mpi->engine);
    if (mpi->sums != MPI_COMM_NULL) MPI_Comm_free(&mpi->sums);
    if (mpi->world != MPI_COMM_NULL) MPI_Comm_free(&mpi->world);
    MPI_Finalize();
    free(mpi);
}

static const cm3_comm_ops mpi_ops = {
    .kind = "mpi",
    .close = mpi_close,
    .abort = mpi_abort,
    .barrier = mpi_barrier,
    .broadcast = mpi_broadcast,
    .gather = mpi_gather,
    .all_gather = mpi_all_gather,
    .reduce_start = cm3__mpi_reduce_start,
    .progress = cm3__mpi_progress,
    .reduce_wait = cm3__mpi_reduce_wait,
};

static cm3_status start_mpi(void) {
    int started = 0, level = 0;
    MPI_Initialized(&started);
    if (started) return cm3_fail(CM3_ERR_INTERNAL, "a process opens one MPI communicator, this is the second");
    CM3_TRY(cm3__mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread"));
    if (level < MPI_THREAD_FUNNELED)
        return cm3_fail(CM3_ERR_UNSUPPORTED,
                        "this MPI library does not allow threads beside the one that communicates");
    return CM3_OK;
}

static cm3_status join_world(cm3_comm_mpi *mpi) {
    CM3_TRY(cm3__mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
    CM3_TRY(cm3__mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &mpi->world), "MPI_Comm_dup")); /* keeps the error handler */
    CM3_TRY(cm3__mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &mpi->sums), "MPI_Comm_dup"));
    CM3_TRY(cm3__mpi_check(MPI_Comm_rank(mpi->world, &mpi->base.rank), "MPI_Comm_rank"));
    CM3_TRY(cm3__mpi_check(MPI_Comm_size(mpi->world, &mpi->base.size), "MPI_Comm_size"));
    MPI_Comm host = MPI_COMM_NULL;
    CM3_TRY(cm3__mpi_check(MPI_Comm_split_type(mpi->world, MPI_COMM_TYPE_SHARED, mpi->base.rank, MPI_INFO_NULL, &host),
                           "MPI_Comm_split_type"));
    MPI_Comm_rank(host, &mpi->base.local_rank);
    MPI_Comm_size(host, &mpi->base.local_size);
    MPI_Comm_free(&host);
    return cm3__mpi_engine_new(mpi, &mpi->engine);
}

cm3_status cm3__comm_open_mpi(cm3_comm **comm) {
    CM3_TRY(start_mpi());
    cm3_comm_mpi *mpi = malloc(sizeof *mpi);
    if (mpi == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a communicator");
    *mpi = (cm3_comm_mpi){.base = {.ops = &mpi_ops}, .world = MPI_COMM_NULL, .sums = MPI_COMM_NULL};
    const cm3_status status = join_world(mpi);
    if (status != CM3_OK) {
        mpi_close(&mpi->base);
        return status;
    }
    *comm = &mpi->base;
    return CM3_OK;
}
