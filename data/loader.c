#include "data/loader.h"

#include "core/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* A micro-batch and where its slots stand behind it. */
typedef struct prepared {
    cm3_batch batch;
    cm3_cursor *cursors; /* (rows) */
} prepared;

struct cm3_loader {
    cm3_loader_options options;
    int64_t count; /* slots */
    double waited; /* seconds */

    /* The producer's: the thread's, or the caller's if there is none. */
    cm3_packer *packer;
    cm3_block block;
    cm3_cursor *ahead; /* (count) behind what was prepared */
    int64_t produced;  /* micro-batches */

    /* The consumer's. */
    cm3_cursor *taken; /* (count) behind what was taken */
    int64_t consumed;

    /* Entry i % ring_size holds micro-batch i. The one taken last stays the consumer's until its next call. */
    prepared *ring;
    int64_t ring_size;

    pthread_t thread;
    bool threaded;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t filled, freed;
    int64_t ready;    /* micro-batches that are complete */
    int64_t released; /* micro-batches that the consumer has done with */
    bool stop;
    cm3_status status; /* of the producer; it has ended unless OK */
    char message[CM3_MESSAGE_MAX];
};

/* The first of the slots that a micro-batch holds: slots in turn, `rows` at a time. */
static int64_t row_base(const cm3_loader *loader, int64_t micro_batch) {
    const int64_t rows = loader->options.rows;
    return micro_batch % (loader->count / rows) * rows;
}

/* Makes the next micro-batch. */
static cm3_status produce(cm3_loader *loader) {
    prepared *s = &loader->ring[loader->produced % loader->ring_size];
    const int64_t base = row_base(loader, loader->produced);
    for (int64_t row = 0; row < loader->options.rows; row++) {
        cm3_cursor *cursor = &loader->ahead[base + row];
        CM3_TRY(cm3_slot_next(loader->packer, loader->options.slots.begin + base + row, cursor, &loader->block));
        cm3_batch_set(&s->batch, loader->options.vocab, row, &loader->block);
        s->cursors[row] = *cursor;
    }
    loader->produced++;
    return CM3_OK;
}

static void *produce_all(void *argument) {
    cm3_loader *loader = argument;
    pthread_mutex_lock(&loader->mutex);
    while (!loader->stop && loader->status == CM3_OK) {
        if (loader->ready - loader->released == loader->ring_size) {
            pthread_cond_wait(&loader->freed, &loader->mutex);
            continue;
        }
        pthread_mutex_unlock(&loader->mutex); /* the entry is the producer's until `ready` says otherwise */
        const cm3_status status = produce(loader);
        pthread_mutex_lock(&loader->mutex);
        if (status == CM3_OK)
            loader->ready++;
        else
            strncpy(loader->message, cm3_message(), sizeof loader->message - 1); /* messages belong to a thread */
        loader->status = status;
        pthread_cond_signal(&loader->filled);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

static cm3_status allocate(cm3_loader *loader) {
    const cm3_cursor *cursors = loader->options.cursors;
    const size_t count = (size_t)loader->count;
    loader->ahead = malloc(count * sizeof *loader->ahead);
    loader->taken = malloc(count * sizeof *loader->taken);
    loader->ring = calloc((size_t)loader->ring_size, sizeof *loader->ring);
    if (!loader->ahead || !loader->taken || !loader->ring)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for the loader");
    for (int64_t i = 0; i < loader->count; i++)
        loader->ahead[i] = loader->taken[i] = cursors ? cursors[i] : cm3_slot_start(loader->options.slots.begin + i);
    for (int64_t i = 0; i < loader->ring_size; i++) {
        prepared *s = &loader->ring[i];
        CM3_TRY(cm3_batch_init(&s->batch, loader->options.rows, loader->options.data->context));
        s->cursors = malloc((size_t)loader->options.rows * sizeof *s->cursors);
        if (!s->cursors) return cm3_fail(CM3_ERR_MEMORY, "out of memory for the loader");
    }
    return cm3_block_init(&loader->block, loader->options.data);
}

/* Signals are for the threads that look at them. */
static cm3_status start_thread(cm3_loader *loader) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&loader->thread, NULL, produce_all, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) return cm3_fail(CM3_ERR_MEMORY, "cannot start the loader's thread: %s", strerror(error));
    loader->threaded = true;
    return CM3_OK;
}

cm3_status cm3_loader_open(const cm3_loader_options *options, cm3_loader **result) {
    *result = NULL;
    const cm3_range slots = options->slots;
    const int64_t count = cm3_range_length(slots), rows = options->rows, batch = options->data->batch;
    if (slots.begin < 0 || count < 1 || rows < 1 || count % rows || slots.end > batch)
        return cm3_fail(CM3_ERR_SHAPE,
                        "sequences %" PRId64 "..%" PRId64 " of a global batch of %" PRId64
                        " are not divisible into micro-batches of %" PRId64,
                        slots.begin, slots.end - 1, batch, rows);
    cm3_loader *loader = calloc(1, sizeof *loader);
    if (!loader) return cm3_fail(CM3_ERR_MEMORY, "out of memory for the loader");
    loader->options = *options;
    loader->count = count;
    loader->ring_size = options->data->prefetch + 1; /* one is with the consumer */
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->filled, NULL);
    pthread_cond_init(&loader->freed, NULL);
    cm3_status status = allocate(loader);
    if (status == CM3_OK) status = cm3_packer_new(options->data, options->vocab, options->store, &loader->packer);
    if (status == CM3_OK && options->data->prefetch > 0) status = start_thread(loader);
    if (status == CM3_OK)
        *result = loader;
    else
        cm3_loader_close(loader);
    return status;
}

void cm3_loader_close(cm3_loader *loader) {
    if (!loader) return;
    if (loader->threaded) {
        pthread_mutex_lock(&loader->mutex);
        loader->stop = true;
        pthread_cond_signal(&loader->freed);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
    for (int64_t i = 0; loader->ring && i < loader->ring_size; i++) {
        cm3_batch_free(&loader->ring[i].batch);
        free(loader->ring[i].cursors);
    }
    pthread_cond_destroy(&loader->freed);
    pthread_cond_destroy(&loader->filled);
    pthread_mutex_destroy(&loader->mutex);
    cm3_block_free(&loader->block);
    cm3_packer_free(loader->packer);
    free(loader->ring);
    free(loader->ahead);
    free(loader->taken);
    free(loader);
}

/* Gives back the entry that the consumer had and waits until the next is filled. */
static cm3_status wait_for_batch(cm3_loader *loader) {
    const double start = cm3_clock_seconds();
    pthread_mutex_lock(&loader->mutex);
    loader->released = loader->consumed;
    pthread_cond_signal(&loader->freed);
    while (loader->ready == loader->consumed && loader->status == CM3_OK)
        pthread_cond_wait(&loader->filled, &loader->mutex);
    const bool have = loader->ready > loader->consumed;
    pthread_mutex_unlock(&loader->mutex);
    loader->waited += cm3_clock_seconds() - start;
    return have ? CM3_OK : cm3_fail(loader->status, "%s", loader->message);
}

cm3_status cm3_loader_next(cm3_loader *loader, const cm3_batch **batch) {
    *batch = NULL;
    if (loader->threaded) {
        CM3_TRY(wait_for_batch(loader));
    } else {
        const double start = cm3_clock_seconds();
        CM3_TRY(produce(loader));
        loader->waited += cm3_clock_seconds() - start;
    }
    const prepared *s = &loader->ring[loader->consumed % loader->ring_size];
    const int64_t base = row_base(loader, loader->consumed);
    memcpy(loader->taken + base, s->cursors, (size_t)loader->options.rows * sizeof *s->cursors);
    loader->consumed++;
    *batch = &s->batch;
    return CM3_OK;
}

const cm3_cursor *cm3_loader_cursors(const cm3_loader *loader) {
    return loader->taken;
}

double cm3_loader_waited(const cm3_loader *loader) {
    return loader->waited;
}
