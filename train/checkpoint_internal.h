/* The parts of a checkpoint, between the files that write and read them:
 * checkpoint_folder.c (names and which ones are kept), checkpoint_manifest.c (manifest.json), checkpoint_shard.c (a
 * rank's numbers), checkpoint_model.c (model.h5), checkpoint_save.c and checkpoint_load.c (the public functions). */
#ifndef CM3_TRAIN_CHECKPOINT_INTERNAL_H
#define CM3_TRAIN_CHECKPOINT_INTERNAL_H

#include "train/checkpoint.h"

#include <hdf5.h>

#define CM3__MANIFEST "manifest.json"
#define CM3__MODEL "model.h5"

enum { CM3__DATASETS_MAX = 32, CM3__SHARDS_MAX = 100000, CM3__NAME_MAX = 64, CM3__VERSION = 2 };

/* --- manifest.json: what must be on the disk, to the byte -------------------------------------------------------- */

/* A buffer of a group: /BUFFER/GROUP in the shards, which share its elements. */
typedef struct cm3__dataset {
    char buffer[CM3__NAME_MAX], group[CM3__NAME_MAX];
    int64_t total;
} cm3__dataset;

/* A shard's piece of a dataset: where HDF5 put its numbers in the file, and their checksum. */
typedef struct cm3__region {
    cm3_range range; /* of the flat buffer */
    int64_t offset, bytes;
    cm3_hash hash;
} cm3__region;

typedef struct cm3__shard_entry {
    int64_t bytes;      /* of the file */
    cm3_hash structure; /* of all that is not a dataset's numbers */
    cm3__region regions[CM3__DATASETS_MAX];
} cm3__shard_entry;

typedef struct cm3__manifest {
    int64_t step;
    cm3__dataset datasets[CM3__DATASETS_MAX];
    int dataset_count;
    int64_t model_bytes;
    cm3_hash model_hash;
    cm3__shard_entry *shards;
    int shard_count;
} cm3__manifest;

/* Index of the dataset, or -1. */
int cm3__manifest_find(const cm3__manifest *manifest, const char *buffer, const char *group);
void cm3__shard_name(int shard, int shards, char name[CM3__NAME_MAX]);
cm3_status cm3__manifest_write(const char *folder, const cm3__manifest *manifest);
/* Everything in it is checked: what the rest of the program gets is consistent. */
cm3_status cm3__manifest_read(const char *folder, cm3__manifest *manifest);
cm3_status cm3__manifest_parse(const char *name, const char *text, size_t length, cm3__manifest *manifest);
void cm3__manifest_free(cm3__manifest *manifest);
/* Indices of a shard's regions that hold anything, in order of their offsets in the file, which is not that of the
 * datasets: HDF5 puts small ones into gaps before those that it aligns. Gives their number. */
int cm3__regions_in_file(const cm3__shard_entry *entry, int regions, int order[CM3__DATASETS_MAX]);

/* --- a shard ----------------------------------------------------------------------------------------------------- */

/* Writes this rank's piece of every buffer of `datasets` and fills the entry. The file is on the disk when this
 * returns. `data` are the whole buffers. */
cm3_status cm3__shard_write(const char *folder, int shard, int shards, const cm3__manifest *datasets,
                            const float *const *data, cm3__shard_entry *entry);
/* Checks that the file is there, has its size, and that all but its numbers is as it was written. */
cm3_status cm3__shard_check(const char *folder, const cm3__manifest *manifest, int shard);
/* Reads a shard's whole piece of a dataset and compares the checksum; reads elements of it. */
cm3_status cm3__shard_verify(const char *folder, const cm3__manifest *manifest, int shard, int dataset);
cm3_status cm3__shard_read(const char *folder, const cm3__manifest *manifest, int shard, int dataset, cm3_range range,
                           float *values);

/* --- model.h5 ---------------------------------------------------------------------------------------------------- */

cm3_status cm3__model_write(const char *folder, const cm3_checkpoint_parts *parts, const cm3_checkpoint_state *state,
                            cm3__manifest *manifest);

typedef struct cm3__model {
    hid_t file;
    void *image;
    char path[4096];                /* for messages */
    cm3_checkpoint_tensor *tensors; /* by group, ascending offsets; names owned; `group`: dataset of their values */
    int64_t tensor_count;
} cm3__model;

cm3_status cm3__model_open(const char *folder, const cm3__manifest *manifest, cm3__model *model);
cm3_status cm3__model_read_state(const cm3__model *model, cm3_checkpoint_state *state);
/* Compares the fingerprint of a frozen group with the one that was saved. */
cm3_status cm3__model_check_frozen(const cm3__model *model, const cm3_checkpoint_group *group);
cm3_status cm3__model_read_array(const cm3__model *model, const cm3_checkpoint_array *array);
void cm3__model_close(cm3__model *model);

/* Records "PATH: WHAT: reason", the reason in HDF5's words. */
cm3_status cm3__checkpoint_hdf5_fail(const char *path, const char *what);
/* HDF5 prints its errors by itself unless told not to; once a thread. */
void cm3__hdf5_quiet(void);

/* --- folders ----------------------------------------------------------------------------------------------------- */

/* RUN/checkpoints/step-N + suffix; the caller's to free. */
cm3_path cm3__checkpoint_path(const char *run, int64_t step, const char *suffix);
/* Removes what runs that died left half-written. */
cm3_status cm3__checkpoint_clean(const char *run);
/* Removes all but the newest `keep` and the best. */
cm3_status cm3__checkpoint_prune(const char *run, int64_t keep);

#endif
