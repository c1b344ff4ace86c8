/* Checkpoints: all that a run needs to go on with equal bits, on any number of ranks.
 *
 *     RUN/checkpoints/step-1200/
 *         model.h5                     every parameter and moment by name and shape, and the state of the run
 *         shard-0000-of-0004.h5 ...    the flat buffers of all groups, one piece of each a rank
 *         manifest.json                sizes and XXH3-128 checksums of all of it
 *
 * model.h5 holds no numbers of its own: its datasets are HDF5 *virtual datasets*, views into the shards, so that any
 * HDF5 tool opens it as one whole (/parameters/NETWORK/..., /optimizer/m/NETWORK/...), whoever wrote which piece.
 *
 * One checkpoint holds any number of groups of parameters, of one network or several; their names begin with the
 * network's. A frozen group is not stored but named by its fingerprint, and compared when the run is resumed: its
 * values lie in the checkpoint or file that it was loaded from, and adapters of megabytes do not drag gigabytes along.
 *
 * A checkpoint is written aside ("step-1200.tmp"), synced, and renamed when all ranks are done; a run that dies or a
 * disk that fills while saving leaves the last good one. All that is read is checked: a flipped byte, a missing shard,
 * a parameter of another shape each end in one line that names file and dataset. */
#ifndef CM3_TRAIN_CHECKPOINT_H
#define CM3_TRAIN_CHECKPOINT_H

#include "core/config.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/status.h"
#include "core/tensor/tensor.h"
#include "dist/comm.h"
#include "dist/shard.h"
#include "model/weights_source.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_checkpoint_config {
    int64_t every; /* steps between checkpoints; 0: only at the end */
    int64_t keep;  /* newest ones that are kept; the best is always kept too */
} cm3_checkpoint_config;

extern const cm3_field cm3_checkpoint_fields[];

/* The tensors that lie in a flat range of `total` elements, ascending and without overlap (gaps are padding). Names are
 * unique in the checkpoint; '/' in a name makes a group of the HDF5 file. */
typedef struct cm3_checkpoint_tensor {
    const char *name;
    cm3_shape shape;
    int64_t offset;
    int group; /* of a stored one */
} cm3_checkpoint_tensor;

typedef struct cm3_checkpoint_table {
    const cm3_checkpoint_tensor *tensors;
    int64_t count;
    int64_t total;
} cm3_checkpoint_table;

/* A flat f32 buffer laid out by the table, whole on every rank: "parameters", and others ("m", "v") that are named
 * freely and appear as /optimizer/NAME/... */
typedef struct cm3_checkpoint_buffer {
    const char *name;
    float *data; /* (total) */
} cm3_checkpoint_buffer;

enum { CM3_CHECKPOINT_BUFFERS = 3 };

/* A group of parameters (model/params.h). Without buffers: frozen, and named by its fingerprint alone. */
typedef struct cm3_checkpoint_group {
    char name[64]; /* unique: NETWORK/GROUP */
    cm3_checkpoint_table table;
    cm3_checkpoint_buffer buffers[CM3_CHECKPOINT_BUFFERS];
    int buffer_count;
    cm3_hash fingerprint; /* of a frozen one: names, shapes and values */
} cm3_checkpoint_group;

/* A network's group as it is on the host. Free it after a failure, too. */
cm3_status cm3_checkpoint_group_of(const char *network, const cm3_params *params, int group,
                                   cm3_checkpoint_group *checkpoint_group);
void cm3_checkpoint_group_free(cm3_checkpoint_group *group);

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
    char *kind;   /* of the network, or the first of several: a row of model/networks.c */
    char *config; /* the resolved recipe, YAML */
    char *data;   /* cursors of the data pipeline and whatever else the stage wants back, JSON */
} cm3_checkpoint_state;

void cm3_checkpoint_state_free(cm3_checkpoint_state *state);

typedef struct cm3_checkpoint_parts {
    const cm3_checkpoint_group *groups;
    int group_count;
    const cm3_checkpoint_array *arrays;
    int array_count;
} cm3_checkpoint_parts;

/* Collective. Writes RUN/checkpoints/step-N (N is state->step; one that exists is replaced), then removes old ones
 * beyond `keep` (0: keep all). All ranks return the same status. After a failure nothing of it is left on the disk. */
cm3_status cm3_checkpoint_save(cm3_comm *comm, const char *run, int64_t keep, const cm3_checkpoint_parts *parts,
                               const cm3_checkpoint_state *state);

/* Marks a step's checkpoint as the best so far: it is not removed when it grows old. On rank 0 only. */
cm3_status cm3_checkpoint_mark_best(const char *run, int64_t step);

/* The folder of the newest complete checkpoint of a run; CM3_ERR_NOT_FOUND if there is none.
 * cm3_checkpoint_find takes what a person typed: a run folder (newest), or a checkpoint's own folder. */
cm3_status cm3_checkpoint_latest(const char *run, cm3_path *path);
cm3_status cm3_checkpoint_best(const char *run, cm3_path *path);
cm3_status cm3_checkpoint_find(const char *path, cm3_path *checkpoint);

/* Fills every buffer and array of `parts` from a checkpoint written by any number of ranks, whatever its groups,
 * matched by name and shape; the buffers' padding is set to zero. `state` may be NULL. Not collective: each rank reads
 * for itself; agree with cm3_comm_agree_status(). After a failure the buffers hold anything. */
cm3_status cm3_checkpoint_load(const char *path, const cm3_checkpoint_parts *parts, cm3_checkpoint_state *state);

/* A checkpoint as a source of the values of one of its networks (model/network.h). `state` as above. */
cm3_status cm3_checkpoint_weights(const char *path, const char *network, cm3_checkpoint_state *state,
                                  cm3_weights_source **source);

/* What a person names as a source: a checkpoint, or safetensors, which cannot be read yet. */
cm3_status cm3_weights_open(const char *path, const char *network, cm3_checkpoint_state *state,
                            cm3_weights_source **source);

/* What a checkpoint holds, without reading the numbers. */
typedef struct cm3_checkpoint_info {
    cm3_checkpoint_state state;
    cm3_checkpoint_tensor *tensors; /* owned, like their names, by group; offsets are those of the writer */
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
 * equal for equal bits, however many ranks wrote them. What is read is checked. */
cm3_status cm3_checkpoint_digest(const char *path, const char *buffer, cm3_hash *digest);

#endif
