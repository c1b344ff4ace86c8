/* What a kind of communicator implements. The typed sums, maxima and agreements of comm.h are built on these in comm.c.
 */
#ifndef CM3_DIST_COMM_IMPL_H
#define CM3_DIST_COMM_IMPL_H

#include "dist/comm.h"

typedef struct cm3_comm_ops {
    const char *kind;
    void (*close)(cm3_comm *comm);
    void (*abort)(cm3_comm *comm, int exit_code);
    cm3_status (*barrier)(cm3_comm *comm);
    cm3_status (*broadcast)(cm3_comm *comm, void *data, int64_t bytes, int root);
    cm3_status (*gather)(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root);
    cm3_status (*all_gather)(cm3_comm *comm, const void *mine, int64_t bytes, void *all);
    cm3_status (*reduce_start)(cm3_comm *comm, float *data, int64_t count, cm3_reduction **reduction);
    cm3_status (*progress)(cm3_comm *comm);
    cm3_status (*reduce_wait)(cm3_reduction *reduction); /* frees it */
} cm3_comm_ops;

/* The first member of every implementation's own struct. */
struct cm3_comm {
    const cm3_comm_ops *ops;
    int rank, size, local_rank, local_size;
    bool failed_together;
};

struct cm3_reduction {
    cm3_comm *comm;
};

cm3_status cm3__comm_open_mpi(cm3_comm **comm);

#endif
