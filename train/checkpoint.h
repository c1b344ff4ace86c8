/* Checkpoints: all that a run needs to go on with equal bits, on any number of ranks.
 *
 *     RUN/checkpoints/step-1200/
 *         model.h5                     every parameter and moment by name and shape, and the state of the run
 *         shard-0000-of-0004.h5 ...    the flat buffers, one piece a rank
 *         manifest.json                sizes and XXH3-128 checksums of all of it
 *
 * model.h5 holds no numbers of its own: its datasets are HDF5 *virtual datasets*, views into the shards, so that any
 * HDF5 tool opens it as one whole (/parameters/..., /optimizer/m/..., /optimizer/v/...), whoever wrote which piece.
 *
 * A checkpoint is written aside ("step-1200.tmp"), synced, and renamed when all ranks are done; a run that dies or a
 * disk that fills while saving leaves the last good one. All that is read is checked: a flipped byte, a missing shard,
 * a parameter of another shape each end in one line that names file and dataset. */
#ifndef CM3_TRAIN_CHECKPOINT_H
#define CM3_TRAIN_CHECKPOINT_H

#include "core/config.h"
#include "core/hash.h"
#include "core/status.h"
#include "core/tensor/tensor.h"
#include "dist/comm.h"
#include "dist/shard.h"
#include "model/params.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_checkpoint_config {
    int64_t every; /* steps between checkpoints; 0: only at the end */
    int64_t keep;  /* newest ones that are kept; the best is always kept too */
} cm3_checkpoint_config;

extern const cm3_field cm3_checkpoint_fields[];

/* The tensors that lie in a flat range of `total` elements, ascending and without overlap (gaps are padding). Names are
 * unique; '/' in a name makes a group of the HDF5 file. */
typedef struct cm3_checkpoint_tensor {
    const char *name;
    cm3_shape shape;
    int64_t offset;
} cm3_checkpoint_tensor;

typedef struct cm3_checkpoint_table {
    const cm3_checkpoint_tensor *tensors;
    int64_t count;
    int64_t total;
} cm3_checkpoint_table;

/* The table of a network's parameters. Names are borrowed from `params`; table->tensors is the caller's to free with
 * cm3_checkpoint_table_free(). */
cm3_status cm3_checkpoint_table_of(const cm3_params *params, cm3_checkpoint_table *table);
void cm3_checkpoint_table_free(cm3_checkpoint_table *table);

/* A flat f32 buffer laid out by the table, whole on every rank. "parameters" there must be; others ("m", "v") are named
 * freely and appear as /optimizer/NAME/... */
typedef struct cm3_checkpoint_buffer {
    const char *name;
    float *data; /* (total) */
} cm3_checkpoint_buffer;

/* A small array beside them, the same on all ranks: /extra/NAME. */
typedef struct cm3_checkpoint_array {
    const char *name;
    cm3_dtype type; /* CM3_F32, CM3_I32 or CM3_U8 */
    cm3_shape shape;
    void *data;
} cm3_checkpoint_array;

/* Where the run stands. After loading, the texts are the caller's: cm3_checkpoint_state_free(). */
typedef struct cm3_checkpoint_state {
    int64_t step;   /* updates done */
    int64_t tokens; /* seen by the model */
    uint64_t seed;
    double best;  /* the lowest validation score so far, exactly; INFINITY before there is one */
    char *kind;   /* what is stored: "transformer", "image-tokenizer" */
    char *config; /* the resolved recipe, YAML */
    char *data;   /* cursors of the data pipeline and whatever else the stage wants back, JSON */
} cm3_checkpoint_state;

void cm3_checkpoint_state_free(cm3_checkpoint_state *state);

typedef struct cm3_checkpoint_parts {
    cm3_checkpoint_table table;
    const cm3_checkpoint_buffer *buffers;
    int buffer_count;
    const cm3_checkpoint_array *arrays;
    int array_count;
} cm3_checkpoint_parts;

/* Collective. Writes RUN/checkpoints/step-N (N is state->step; one that exists is replaced), then removes old ones
 * beyond `keep` (0: keep all). All ranks return the same status. After a failure nothing of it is left on the disk. */
cm3_status cm3_checkpoint_save(cm3_comm *comm, const char *run, int64_t keep, const cm3_checkpoint_parts *parts,
                               const cm3_checkpoint_state *state);

/* Marks a step's checkpoint as the best so far: it is not removed when it grows old. On rank 0 only. */
cm3_status cm3_checkpoint_mark_best(const char *run, int64_t step);

/* The folder of the newest complete checkpoint of a run, the caller's to free; CM3_ERR_NOT_FOUND if there is none.
 * cm3_checkpoint_find takes what a person typed: a run folder (newest), or a checkpoint's own folder. */
cm3_status cm3_checkpoint_latest(const char *run, char **path);
cm3_status cm3_checkpoint_best(const char *run, char **path);
cm3_status cm3_checkpoint_find(const char *path, char **checkpoint);

/* Fills every buffer and array of `parts` from a checkpoint written by any number of ranks, matched by name and shape;
 * the buffers' padding is set to zero. Ask for "parameters" alone to generate or evaluate. `state` may be NULL. Not
 * collective: each rank reads for itself; agree with cm3_comm_agree_status(). After a failure the buffers hold
 * anything. */
cm3_status cm3_checkpoint_load(const char *path, const cm3_checkpoint_parts *parts, cm3_checkpoint_state *state);

/* What a checkpoint holds, without reading the numbers. */
typedef struct cm3_checkpoint_info {
    cm3_checkpoint_state state;
    cm3_checkpoint_tensor *tensors; /* owned, like their names; offsets are those of the writer */
    int64_t tensor_count;
    int64_t parameters; /* elements of all tensors */
    int64_t total;      /* the same with padding */
    char **buffers;     /* names: "parameters", "m", "v" */
    int buffer_count;
    int shards;
    int64_t bytes; /* of all its files */
} cm3_checkpoint_info;

cm3_status cm3_checkpoint_read_info(const char *path, cm3_checkpoint_info *info);
void cm3_checkpoint_info_free(cm3_checkpoint_info *info);

/* One hash of names, shapes and values of all tensors of one buffer ("parameters", "m", "v"), in the table's order:
 * equal for equal bits, however many ranks wrote them. The first reads a checkpoint and checks it on the way, the
 * second takes what is in memory. */
cm3_status cm3_checkpoint_digest(const char *path, const char *buffer, cm3_hash *digest);
cm3_hash cm3_checkpoint_digest_values(const cm3_checkpoint_table *table, const float *values);

#endif
