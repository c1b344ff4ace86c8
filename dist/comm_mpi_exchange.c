/* Collectives on long ranges, while the computation goes on.
 *
 * A chunk is one piece of every rank's shard. In its first phase every rank sends each piece to the rank that owns it;
 * the owner adds what arrived in the order of ranks. In its second phase owners send their pieces to all.
 * reduce_scatter is the first phase, all_gather_shards the second, all_reduce both, which moves 2 (N-1)/N of the data
 * through each rank, as a ring does, but in two hops, and the order of additions is ours. A few chunks are in flight at
 * a time, so staging memory is bounded and one chunk's transfer hides another's sum. */
#include "dist/comm_mpi_impl.h"

#include "core/clock.h"
#include "core/threads.h"
#include "dist/shard.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

cm3_status cm3__mpi_check(int code, const char *what) {
    if (code == MPI_SUCCESS) return CM3_OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return cm3_fail(CM3_ERR_COMM, "%s: %s", what, text);
}

enum {
    SLOTS = 4,                 /* chunks in flight */
    CHUNK_BYTES = 1 << 22,     /* 4 MiB: 16 MiB of staging */
    PIECE_MIN_BYTES = 1 << 16, /* but with many ranks a piece stays long enough to be worth a message */
    SUM_BLOCK = 2048,          /* floats added at a time: they stay in the first-level cache */
    TAG_CYCLE = 8192           /* chunks that have tags of their own; any number above SLOTS would do */
};

typedef struct request {
    cm3_comm_request base;
    cm3_comm_exchange what;
    int64_t shard;  /* elements of the longest shard, rank 0's */
    int64_t issued; /* elements of every shard in chunks that were started */
    int unfinished; /* chunks that were started and are not done */
    struct request *next;
} request;

typedef enum phase { IDLE, COLLECT, SPREAD } phase;

struct chunk {
    phase phase;
    int64_t sequence; /* the chunk's number since the engine was made: the same on all ranks */
    request *owner;
    int64_t begin, end;    /* elements of every shard */
    float *staging;        /* (size - 1, piece) */
    MPI_Request *requests; /* (2 * (size - 1)) */
    int posted;
};

struct cm3_mpi_engine {
    MPI_Comm comm;
    int rank, size;
    int64_t piece_bytes; /* most of a chunk that one rank owns */
    int64_t sequence;
    request *head, *tail; /* not yet cut into chunks to the end, in order */
    struct chunk slots[SLOTS];
};

cm3_status cm3__mpi_engine_new(cm3_comm_mpi *comm, cm3_mpi_engine **result) {
    cm3_mpi_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a communicator");
    *result = engine;
    engine->comm = comm->exchange;
    engine->rank = comm->base.rank;
    engine->size = comm->base.size;
    engine->piece_bytes = CHUNK_BYTES / engine->size / CM3_SHARD_UNIT * CM3_SHARD_UNIT;
    if (engine->piece_bytes < PIECE_MIN_BYTES) engine->piece_bytes = PIECE_MIN_BYTES;
    const size_t others = (size_t)engine->size - 1;
    for (int i = 0; i < SLOTS && others > 0; i++) {
        engine->slots[i].staging = malloc(others * (size_t)engine->piece_bytes);
        engine->slots[i].requests = malloc(2 * others * sizeof(MPI_Request));
        if (engine->slots[i].staging == NULL || engine->slots[i].requests == NULL)
            return cm3_fail(CM3_ERR_MEMORY, "out of memory for the staging of sums over %d ranks", engine->size);
    }
    return CM3_OK;
}

void cm3__mpi_engine_free(cm3_mpi_engine *engine) {
    if (engine == NULL) return;
    for (int i = 0; i < SLOTS; i++) {
        free(engine->slots[i].staging);
        free(engine->slots[i].requests);
    }
    free(engine);
}

/* The chunk's elements of the shard of `rank`. */
static cm3_range piece_of(const cm3_mpi_engine *engine, const struct chunk *chunk, int rank) {
    const cm3_range shard = cm3_shard_range(chunk->owner->what.count, CM3_SHARD_UNIT, engine->size, rank);
    return cm3_range_intersect(shard, (cm3_range){shard.begin + chunk->begin, shard.begin + chunk->end});
}

/* Staging has no row for this rank itself. */
static float *staging_row(const cm3_mpi_engine *engine, const struct chunk *chunk, int rank) {
    return chunk->staging + (rank < engine->rank ? rank : rank - 1) * (engine->piece_bytes / (int64_t)sizeof(float));
}

/* Posts the message that sends `piece` to `peer`, or receives it from there at `to`. */
static cm3_status post_one(cm3_mpi_engine *engine, struct chunk *chunk, int peer, cm3_range piece, void *to) {
    const int64_t width = chunk->owner->what.width;
    const int bytes = (int)(cm3_range_length(piece) * width);
    const int tag = 2 * (int)(chunk->sequence % TAG_CYCLE) + (chunk->phase == SPREAD);
    const void *from = (const char *)chunk->owner->what.data + piece.begin * width;
    if (bytes == 0) return CM3_OK;
    MPI_Request *posted = &chunk->requests[chunk->posted++];
    *posted = MPI_REQUEST_NULL; /* if it cannot be posted */
    if (to == NULL)
        return cm3__mpi_check(MPI_Isend(from, bytes, MPI_BYTE, peer, tag, engine->comm, posted), "MPI_Isend");
    return cm3__mpi_check(MPI_Irecv(to, bytes, MPI_BYTE, peer, tag, engine->comm, posted), "MPI_Irecv");
}

/* Posts the messages of the chunk's phase. Rank r starts with its neighbour r + 1, so that not all send to rank 0
 * first. */
static cm3_status post(cm3_mpi_engine *engine, struct chunk *chunk) {
    const int size = engine->size, me = engine->rank;
    const bool collects = chunk->phase == COLLECT;
    const cm3_range own = piece_of(engine, chunk, me);
    char *data = chunk->owner->what.data;
    chunk->posted = 0;
    for (int i = 1; i < size; i++) {
        const int from = (me + size - i) % size;
        const cm3_range theirs = piece_of(engine, chunk, from);
        void *to = collects ? (char *)staging_row(engine, chunk, from) : data + theirs.begin * chunk->owner->what.width;
        CM3_TRY(post_one(engine, chunk, from, collects ? own : theirs, to));
    }
    for (int i = 1; i < size; i++) {
        const int to = (me + i) % size;
        CM3_TRY(post_one(engine, chunk, to, collects ? piece_of(engine, chunk, to) : own, NULL));
    }
    return CM3_OK;
}

typedef struct summing {
    const cm3_mpi_engine *engine;
    const struct chunk *chunk;
    float *own; /* this rank's piece */
} summing;

/* Adds block [begin, end) of the piece: rank 0's values first, this rank's own in its turn. */
static void sum_block(const void *context, int64_t begin, int64_t end) {
    const summing *s = context;
    float sum[SUM_BLOCK];
    for (int rank = 0; rank < s->engine->size; rank++) {
        const float *next = (rank == s->engine->rank ? s->own : staging_row(s->engine, s->chunk, rank)) + begin;
        if (rank == 0)
            memcpy(sum, next, (size_t)(end - begin) * sizeof(float));
        else
            for (int64_t i = 0; i < end - begin; i++) sum[i] += next[i];
    }
    memcpy(s->own + begin, sum, (size_t)(end - begin) * sizeof(float));
}

static void sum_piece(const cm3_mpi_engine *engine, const struct chunk *chunk) {
    const cm3_range piece = piece_of(engine, chunk, engine->rank);
    const summing job = {engine, chunk, (float *)chunk->owner->what.data + piece.begin};
    cm3_parallel_for(cm3_range_length(piece), SUM_BLOCK, sum_block, &job);
}

/* All messages of the phase are there: on to the next. */
static cm3_status advance(cm3_mpi_engine *engine, struct chunk *chunk) {
    if (chunk->phase == COLLECT) {
        sum_piece(engine, chunk);
        if (chunk->owner->what.gathers) {
            chunk->phase = SPREAD;
            return post(engine, chunk);
        }
    }
    chunk->owner->unfinished--;
    chunk->phase = IDLE;
    return CM3_OK;
}

/* Starts chunks while there are idle slots and something left to cut. */
static cm3_status issue(cm3_mpi_engine *engine) {
    for (int i = 0; i < SLOTS && engine->head != NULL; i++) {
        struct chunk *chunk = &engine->slots[i];
        if (chunk->phase != IDLE) continue;
        request *first = engine->head;
        chunk->phase = first->what.reduces ? COLLECT : SPREAD;
        chunk->sequence = engine->sequence++;
        chunk->owner = first;
        chunk->begin = first->issued;
        chunk->end = first->issued += engine->piece_bytes / first->what.width;
        first->unfinished++;
        if (first->issued >= first->shard) engine->head = first->next;
        if (engine->head == NULL) engine->tail = NULL;
        CM3_TRY(post(engine, chunk));
    }
    return CM3_OK;
}

/* Of all groups: a rank that waits in one may be what the ranks of another wait for. Returns how many phases ended,
 * too. */
static cm3_status move_all(const cm3_comm *world, int *moved) {
    for (const cm3_comm_mpi *mpi = (const cm3_comm_mpi *)world; mpi != NULL; mpi = mpi->next) {
        cm3_mpi_engine *engine = mpi->engine;
        for (int i = 0; i < SLOTS && engine != NULL; i++) {
            struct chunk *chunk = &engine->slots[i];
            if (chunk->phase == IDLE) continue;
            int done = 0;
            CM3_TRY(cm3__mpi_check(MPI_Testall(chunk->posted, chunk->requests, &done, MPI_STATUSES_IGNORE),
                                   "a transfer between ranks"));
            if (done) CM3_TRY(advance(engine, chunk));
            *moved += done;
        }
        if (engine != NULL) CM3_TRY(issue(engine));
    }
    return CM3_OK;
}

cm3_status cm3__mpi_progress(cm3_comm *comm) {
    int moved = 0;
    return move_all(comm->world, &moved);
}

cm3_status cm3__mpi_start(cm3_comm *comm, const cm3_comm_exchange *exchange, cm3_comm_request **result) {
    cm3_mpi_engine *engine = ((cm3_comm_mpi *)comm)->engine;
    request *new = malloc(sizeof *new);
    if (new == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a transfer between ranks");
    const int64_t shard = cm3_range_length(cm3_shard_range(exchange->count, CM3_SHARD_UNIT, engine->size, 0));
    *new = (request){.base = {.comm = comm}, .what = *exchange, .shard = shard};
    if (engine->tail != NULL)
        engine->tail->next = new;
    else
        engine->head = new;
    engine->tail = new;
    *result = &new->base;
    return cm3__mpi_progress(comm);
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

/* Between two polls: other ranks may need this core. Polls for `brief` seconds, giving way to whoever is ready to run;
 * then sleeps for a part of the time waited so far, which delays the end by no more than that part. */
static void relax(double since) {
    static const double brief = 300e-6, longest = 100e-6;
    const double waited = cm3_clock_seconds() - since, part = waited / 32;
    if (waited < brief)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * (part < longest ? part : longest))}, NULL);
}

cm3_status cm3__mpi_wait(cm3_comm_request *base) {
    request *wanted = (request *)base;
    double since = cm3_clock_seconds();
    while (wanted->unfinished > 0 || wanted->issued < wanted->shard) {
        int moved = 0;
        CM3_TRY(move_all(base->comm->world, &moved));
        if (moved > 0)
            since = cm3_clock_seconds();
        else
            relax(since);
    }
    free(wanted);
    return CM3_OK;
}

cm3_status cm3__mpi_finish(cm3_comm *comm, int code, MPI_Request *pending, const char *what) {
    CM3_TRY(cm3__mpi_check(code, what));
    for (const double since = cm3_clock_seconds();; relax(since)) {
        int done = 0, moved = 0;
        CM3_TRY(cm3__mpi_check(MPI_Test(pending, &done, MPI_STATUS_IGNORE), what));
        if (done) return CM3_OK;
        CM3_TRY(move_all(comm->world, &moved));
    }
}
