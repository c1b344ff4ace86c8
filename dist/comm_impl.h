/* What a kind of communicator implements. The typed sums, maxima and agreements of comm.h are built on these in comm.c.
 */
#ifndef CM3_DIST_COMM_IMPL_H
#define CM3_DIST_COMM_IMPL_H

#include "dist/comm.h"

/* A collective on a flat buffer: reduce_scatter, all_gather_shards, or both, which is all_reduce. */
typedef struct cm3_comm_exchange {
    void *data;
    int64_t count;
    int64_t width; /* bytes of an element; 4 (f32) where it reduces */
    bool reduces, gathers;
} cm3_comm_exchange;

typedef struct cm3_comm_ops {
    const char *kind;
    void (*close)(cm3_comm *comm);
    void (*abort)(cm3_comm *comm, int exit_code);
    cm3_status (*split)(cm3_comm *comm, int color, int key, cm3_comm **group);
    cm3_status (*barrier)(cm3_comm *comm);
    cm3_status (*broadcast)(cm3_comm *comm, void *data, int64_t bytes, int root);
    cm3_status (*gather)(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root); /* root < 0: all */
    /* *request stays NULL if it is done on return. */
    cm3_status (*start)(cm3_comm *comm, const cm3_comm_exchange *exchange, cm3_comm_request **request);
    cm3_status (*progress)(cm3_comm *comm);
    cm3_status (*wait)(cm3_comm_request *request); /* frees it */
} cm3_comm_ops;

/* The first member of every implementation's own struct. */
struct cm3_comm {
    const cm3_comm_ops *ops;
    cm3_comm *world; /* itself for a world */
    int rank, size, local_rank;
    bool failed_together;                    /* of a world */
    const struct cm3_collective *collective; /* that was asked for `devices`; NULL: none yet */
    void *devices;                           /* its group, or NULL */
};

struct cm3_comm_request {
    cm3_comm *comm;
};

cm3_status cm3__comm_open_mpi(cm3_comm **comm);

#endif
