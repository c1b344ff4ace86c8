/* Inside of the token store: its datasets, and HDF5 kept quiet. */
#ifndef CM3_DATA_STORE_HDF5_H
#define CM3_DATA_STORE_HDF5_H

#include "data/store.h"

#include <hdf5.h>
#include <pthread.h>

#define CM3_STORE_FORMAT "cm3leon token store"
enum { CM3_STORE_VERSION = 2 };

/* The datasets. */
enum cm3__column {
    CM3__SAMPLE,
    CM3__SEGMENT,
    CM3__TEXT,
    CM3__CODE,
    CM3__SPLIT,
    CM3__STRING,
    CM3__NAME, /* and caption and origin, by cm3_store_string */
    CM3__CAPTION,
    CM3__ORIGIN,
    CM3__COLUMNS
};

/* A dataset of rows of `width` numbers. */
typedef struct cm3__layout {
    const char *name;
    size_t size;   /* bytes of a number; all are unsigned, least significant byte first */
    hsize_t width; /* 1: the dataset is one-dimensional */
    bool deflated;
} cm3__layout;

/* The attributes of /, each a member of cm3_store_info: a hash, text of a fixed size, or a number in a range. */
typedef enum cm3__attribute_kind { CM3__HASH, CM3__STRING_OF, CM3__INT } cm3__attribute_kind;
typedef struct cm3__attribute {
    const char *name;
    cm3__attribute_kind kind;
    size_t offset, size; /* of the member */
    int64_t min, max;    /* of a number; max 0: the bytes of the file */
} cm3__attribute;
extern const cm3__attribute cm3__store_attributes[]; /* ends with a NULL name */

/* Of a store with these sizes of vocabularies. */
cm3__layout cm3__store_layout(const cm3_store_info *info, enum cm3__column column);
/* Of a number of `size` bytes, in the file and in memory: the same on most machines, so that nothing is converted. */
hid_t cm3__file_type(size_t size);
hid_t cm3__memory_type(size_t size);

/* A dataset that is read. */
typedef struct cm3__column_in {
    cm3__layout layout;
    hid_t dataset, space;
    int64_t rows;
    void *all; /* all rows, or NULL: they stay in the file */
} cm3__column_in;

struct cm3_store {
    char *path;
    hid_t file, transfer;
    int64_t file_bytes;
    cm3_store_info info;
    cm3__column_in columns[CM3__COLUMNS];
    int64_t *validation;       /* (info.validation) indices, ascending */
    pthread_mutex_t mutex;     /* one read of the file at a time; of what follows, too */
    CM3_LIST(uint8_t) scratch; /* token ids as they are in the file */
};

/* Rows [first, first + count) of a dataset, which must exist, from memory or from the file. */
cm3_status cm3__store_rows(cm3_store *store, enum cm3__column which, int64_t first, int64_t count, void *rows);

/* HDF5 prints its errors unless told not to, a setting of each thread. Every public call is quiet between these two. */
typedef struct cm3__hdf5_quiet {
    H5E_auto2_t print;
    void *data;
} cm3__hdf5_quiet;
cm3__hdf5_quiet cm3__hdf5_quiet_begin(void);
void cm3__hdf5_quiet_end(cm3__hdf5_quiet saved);

/* Records "PATH: WHAT (HDF5: its own reason)". To be called before any other call of HDF5, which would clear the
 * reason. */
cm3_status cm3__hdf5_fail(cm3_status status, const char *path, const char *what);

#endif
