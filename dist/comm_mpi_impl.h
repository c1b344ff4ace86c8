/* The MPI communicator, shared between its collectives (comm_mpi.c) and its sums on their way (comm_mpi_reduce.c). */
#ifndef CM3_DIST_COMM_MPI_IMPL_H
#define CM3_DIST_COMM_MPI_IMPL_H

#include "dist/comm_impl.h"

#include <mpi.h>

typedef struct cm3_mpi_engine cm3_mpi_engine;

typedef struct cm3_comm_mpi {
    cm3_comm base;
    MPI_Comm world; /* a duplicate of MPI_COMM_WORLD that returns errors */
    MPI_Comm sums;  /* another for the engine, so that its messages never meet those of collectives */
    cm3_mpi_engine *engine;
} cm3_comm_mpi;

/* CM3_OK for MPI_SUCCESS; else CM3_ERR_COMM with the library's own words. */
cm3_status cm3__mpi_check(int code, const char *what);

cm3_status cm3__mpi_engine_new(cm3_comm_mpi *comm, cm3_mpi_engine **engine);
void cm3__mpi_engine_free(cm3_mpi_engine *engine);
cm3_status cm3__mpi_reduce_start(cm3_comm *comm, float *data, int64_t count, cm3_reduction **reduction);
cm3_status cm3__mpi_progress(cm3_comm *comm);
cm3_status cm3__mpi_reduce_wait(cm3_reduction *reduction);

#endif
