/* The MPI communicator, shared between its small collectives (comm_mpi.c) and those on long ranges
 * (comm_mpi_exchange.c).
 */
#ifndef CM3_DIST_COMM_MPI_IMPL_H
#define CM3_DIST_COMM_MPI_IMPL_H

#include "dist/comm_impl.h"

#include <mpi.h>

typedef struct cm3_mpi_engine cm3_mpi_engine;

typedef struct cm3_comm_mpi {
    cm3_comm base;
    MPI_Comm ranks;    /* returns errors, as all duplicates do */
    MPI_Comm exchange; /* a duplicate for the engine, so that its messages never meet those of collectives */
    cm3_mpi_engine *engine;
    struct cm3_comm_mpi *next; /* from the world on: all that are open in this process */
} cm3_comm_mpi;

/* CM3_OK for MPI_SUCCESS; else CM3_ERR_COMM with the library's own words. */
cm3_status cm3__mpi_check(int code, const char *what);

cm3_status cm3__mpi_engine_new(cm3_comm_mpi *comm, cm3_mpi_engine **engine);
void cm3__mpi_engine_free(cm3_mpi_engine *engine);
cm3_status cm3__mpi_start(cm3_comm *comm, const cm3_comm_exchange *exchange, cm3_comm_request **request);
cm3_status cm3__mpi_progress(cm3_comm *comm);
cm3_status cm3__mpi_wait(cm3_comm_request *request);
/* Waits for an operation of MPI's own that returned `code` when it was started, and moves all engines along meanwhile.
 */
cm3_status cm3__mpi_finish(cm3_comm *comm, int code, MPI_Request *request, const char *what);

#endif
