/* Sums of long ranges over all ranks while the computation goes on.
 *
 * A range is cut into chunks, a chunk into one piece a rank. In the first phase every rank sends each piece to the rank
 * that owns it; the owner adds what arrived in the order of ranks. In the second phase owners send their sums to all.
 * That moves 2 (N-1)/N of the data through each rank, as a ring does, but in two hops, and the order of additions is
 * ours. A few chunks are on their way at a time, so staging memory is bounded and one chunk's transfer hides another's
 * sum. */
#include "dist/comm_mpi_impl.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 4,                  /* chunks on their way */
    CHUNK_FLOATS = 1 << 20,     /* 4 MiB: 16 MiB of staging */
    PIECE_MIN_FLOATS = 1 << 14, /* but with many ranks a piece stays long enough to be worth a message */
    SUM_BLOCK = 2048,           /* floats added at a time: they stay in the first-level cache */
    TAG_CYCLE = 8192            /* chunks that have tags of their own; any number above SLOTS would do */
};

typedef struct reduction {
    cm3_reduction base;
    float *data;
    int64_t count;
    int64_t issued;   /* elements in chunks that were started */
    int64_t finished; /* elements in chunks that are done */
    struct reduction *next;
} reduction;

typedef enum phase { IDLE, COLLECT, SPREAD } phase;

struct chunk {
    phase phase;
    int64_t sequence; /* the chunk's number since the engine was made: the same on all ranks */
    reduction *owner;
    float *data; /* the chunk's first element */
    int64_t count;
    float *staging;        /* (size - 1, piece) */
    MPI_Request *requests; /* (2 * (size - 1)) */
};

struct cm3_mpi_engine {
    MPI_Comm comm;
    int rank, size;
    int64_t piece; /* most elements of a chunk that one rank owns */
    int64_t sequence;
    reduction *head, *tail; /* not yet cut into chunks to the end, in order */
    struct chunk slots[SLOTS];
};

cm3_status cm3__mpi_engine_new(cm3_comm_mpi *comm, cm3_mpi_engine **result) {
    cm3_mpi_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a communicator");
    *result = engine;
    engine->comm = comm->sums;
    engine->rank = comm->base.rank;
    engine->size = comm->base.size;
    engine->piece = CHUNK_FLOATS / engine->size;
    if (engine->piece < PIECE_MIN_FLOATS) engine->piece = PIECE_MIN_FLOATS;
    const size_t others = (size_t)engine->size - 1;
    for (int i = 0; i < SLOTS && others > 0; i++) {
        engine->slots[i].staging = malloc(others * (size_t)engine->piece * sizeof(float));
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

/* Where in a chunk of `count` elements the piece of `rank` begins; that of rank `size` is the end. */
static int64_t piece_begin(const cm3_mpi_engine *engine, int64_t count, int rank) {
    const int64_t length = (count + engine->size - 1) / engine->size;
    const int64_t begin = length * rank;
    return begin < count ? begin : count;
}

static int piece_length(const cm3_mpi_engine *engine, int64_t count, int rank) {
    return (int)(piece_begin(engine, count, rank + 1) - piece_begin(engine, count, rank));
}

/* Staging has no row for this rank itself. */
static float *staging_row(const cm3_mpi_engine *engine, const struct chunk *chunk, int rank) {
    return chunk->staging + (rank < engine->rank ? rank : rank - 1) * engine->piece;
}

static int tag_of(const struct chunk *chunk) {
    return 2 * (int)(chunk->sequence % TAG_CYCLE) + (chunk->phase == SPREAD);
}

/* Posts the messages of the chunk's phase. Rank r starts with its neighbour r + 1, so that not all send to rank 0
 * first. */
static cm3_status post(cm3_mpi_engine *engine, struct chunk *chunk) {
    const int tag = tag_of(chunk), size = engine->size, me = engine->rank;
    const int mine = piece_length(engine, chunk->count, me);
    float *own = chunk->data + piece_begin(engine, chunk->count, me);
    int posted = 0;
    for (int i = 1; i < size; i++) {
        const int from = (me + size - i) % size;
        const int theirs = piece_length(engine, chunk->count, from);
        float *piece = chunk->data + piece_begin(engine, chunk->count, from);
        float *to = chunk->phase == COLLECT ? staging_row(engine, chunk, from) : piece;
        const int length = chunk->phase == COLLECT ? mine : theirs;
        CM3_TRY(cm3__mpi_check(MPI_Irecv(to, length, MPI_FLOAT, from, tag, engine->comm, &chunk->requests[posted++]),
                               "MPI_Irecv"));
    }
    for (int i = 1; i < size; i++) {
        const int to = (me + i) % size;
        const int theirs = piece_length(engine, chunk->count, to);
        const float *piece = chunk->data + piece_begin(engine, chunk->count, to);
        const float *from = chunk->phase == COLLECT ? piece : own;
        const int length = chunk->phase == COLLECT ? theirs : mine;
        CM3_TRY(cm3__mpi_check(MPI_Isend(from, length, MPI_FLOAT, to, tag, engine->comm, &chunk->requests[posted++]),
                               "MPI_Isend"));
    }
    return CM3_OK;
}

/* Adds block [begin, end) of this rank's piece: rank 0's values first, this rank's own in its turn. */
static void sum_block(const cm3_mpi_engine *engine, const struct chunk *chunk, float *own, int64_t begin, int64_t end) {
    float sum[SUM_BLOCK];
    for (int rank = 0; rank < engine->size; rank++) {
        const float *next = (rank == engine->rank ? own : staging_row(engine, chunk, rank)) + begin;
        if (rank == 0)
            memcpy(sum, next, (size_t)(end - begin) * sizeof(float));
        else
            for (int64_t i = 0; i < end - begin; i++) sum[i] += next[i];
    }
    memcpy(own + begin, sum, (size_t)(end - begin) * sizeof(float));
}

static void sum_piece(const cm3_mpi_engine *engine, const struct chunk *chunk) {
    float *own = chunk->data + piece_begin(engine, chunk->count, engine->rank);
    const int64_t length = piece_length(engine, chunk->count, engine->rank);
#pragma omp parallel for schedule(static) if (length > 16 * SUM_BLOCK)
    for (int64_t at = 0; at < length; at += SUM_BLOCK)
        sum_block(engine, chunk, own, at, at + SUM_BLOCK < length ? at + SUM_BLOCK : length);
}

/* All messages of the phase are there: on to the next. */
static cm3_status advance(cm3_mpi_engine *engine, struct chunk *chunk) {
    if (chunk->phase == COLLECT) {
        sum_piece(engine, chunk);
        chunk->phase = SPREAD;
        return post(engine, chunk);
    }
    chunk->owner->finished += chunk->count;
    chunk->phase = IDLE;
    return CM3_OK;
}

/* Starts chunks while there are idle slots and something left to cut. */
static cm3_status issue(cm3_mpi_engine *engine) {
    for (int i = 0; i < SLOTS && engine->head != NULL; i++) {
        struct chunk *chunk = &engine->slots[i];
        if (chunk->phase != IDLE) continue;
        reduction *first = engine->head;
        const int64_t left = first->count - first->issued, most = engine->piece * engine->size;
        chunk->phase = COLLECT;
        chunk->sequence = engine->sequence++;
        chunk->owner = first;
        chunk->data = first->data + first->issued;
        chunk->count = left < most ? left : most;
        first->issued += chunk->count;
        if (first->issued == first->count) engine->head = first->next;
        if (engine->head == NULL) engine->tail = NULL;
        CM3_TRY(post(engine, chunk));
    }
    return CM3_OK;
}

cm3_status cm3__mpi_progress(cm3_comm *comm) {
    cm3_mpi_engine *engine = ((cm3_comm_mpi *)comm)->engine;
    for (int i = 0; i < SLOTS; i++) {
        struct chunk *chunk = &engine->slots[i];
        if (chunk->phase == IDLE) continue;
        int done = 0;
        const int messages = 2 * (engine->size - 1);
        CM3_TRY(cm3__mpi_check(MPI_Testall(messages, chunk->requests, &done, MPI_STATUSES_IGNORE), "a sum over ranks"));
        if (done) CM3_TRY(advance(engine, chunk));
    }
    return issue(engine);
}

cm3_status cm3__mpi_reduce_start(cm3_comm *comm, float *data, int64_t count, cm3_reduction **result) {
    cm3_mpi_engine *engine = ((cm3_comm_mpi *)comm)->engine;
    if (engine->size == 1 || count == 0) return CM3_OK; /* the sum is there: *result stays NULL */
    reduction *sum = malloc(sizeof *sum);
    if (sum == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a sum over ranks");
    *sum = (reduction){.base = {.comm = comm}, .data = data, .count = count};
    if (engine->tail != NULL)
        engine->tail->next = sum;
    else
        engine->head = sum;
    engine->tail = sum;
    *result = &sum->base;
    return cm3__mpi_progress(comm);
}

/* Waits for the messages of the oldest chunk: it depends on no later one, so ranks that wait for different sums cannot
 * lock. */
static cm3_status wait_for_oldest(cm3_mpi_engine *engine) {
    struct chunk *oldest = NULL;
    for (int i = 0; i < SLOTS; i++) {
        struct chunk *chunk = &engine->slots[i];
        if (chunk->phase != IDLE && (oldest == NULL || chunk->sequence < oldest->sequence)) oldest = chunk;
    }
    if (oldest == NULL) return cm3_fail(CM3_ERR_INTERNAL, "a sum over ranks that was never started");
    const int messages = 2 * (engine->size - 1);
    CM3_TRY(cm3__mpi_check(MPI_Waitall(messages, oldest->requests, MPI_STATUSES_IGNORE), "a sum over ranks"));
    return advance(engine, oldest);
}

cm3_status cm3__mpi_reduce_wait(cm3_reduction *base) {
    reduction *sum = (reduction *)base;
    cm3_mpi_engine *engine = ((cm3_comm_mpi *)base->comm)->engine;
    while (sum->finished < sum->count) {
        CM3_TRY(wait_for_oldest(engine));
        CM3_TRY(cm3__mpi_progress(base->comm));
    }
    free(sum);
    return CM3_OK;
}
