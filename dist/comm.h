/* Communicators: the ranks of a run, and the few collectives that training needs.
 *
 * Under mpirun a communicator is `mpi`; without it, it is `self`, one rank, and MPI is never initialised. Every
 * function but the first is a collective unless it says otherwise: all ranks call it, in the same order. Faults are
 * CM3_ERR_COMM.
 *
 * Sums are made in the order of ranks 0, 1, ... N-1, whatever arrives first: the result has the same bits on every rank
 * and in every run of N ranks. */
#ifndef CM3_DIST_COMM_H
#define CM3_DIST_COMM_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_comm cm3_comm;

/* Joins the ranks that mpirun started, or makes a world of one. A process opens one communicator for its life. Call
 * from the main thread: all later calls come from the same thread. */
cm3_status cm3_comm_open(cm3_comm **comm);
/* Always a world of one. */
cm3_status cm3_comm_open_self(cm3_comm **comm);
/* Leaves in good order; waits for the other ranks. NULL is allowed. */
void cm3_comm_close(cm3_comm *comm);
/* Ends the whole job at once with this exit code: for a rank that failed while others wait for it. With one rank it
 * does nothing. Not collective. */
void cm3_comm_abort(cm3_comm *comm, int exit_code);

/* Not collective. Local: among the ranks of the same host. */
int cm3_comm_rank(const cm3_comm *comm);
int cm3_comm_size(const cm3_comm *comm);
int cm3_comm_local_rank(const cm3_comm *comm);
int cm3_comm_local_size(const cm3_comm *comm);
const char *cm3_comm_kind(const cm3_comm *comm); /* "self" or "mpi" */

/* --- small, blocking --------------------------------------------------------------------------------------------- */

typedef enum cm3_reduce { CM3_REDUCE_SUM, CM3_REDUCE_MAX, CM3_REDUCE_MIN } cm3_reduce;

cm3_status cm3_comm_barrier(cm3_comm *comm);
cm3_status cm3_comm_broadcast(cm3_comm *comm, void *data, int64_t bytes, int root);
/* `bytes` of every rank, in order of ranks, into `all` (size * bytes). cm3_comm_gather fills it on `root` only;
 * elsewhere `all` may be NULL. */
cm3_status cm3_comm_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root);
cm3_status cm3_comm_all_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all);
/* In place, on every rank. A NaN of any rank makes the result NaN, for maxima and minima too. */
cm3_status cm3_comm_reduce_f64(cm3_comm *comm, double *values, int64_t count, cm3_reduce how);
cm3_status cm3_comm_reduce_f32(cm3_comm *comm, float *values, int64_t count, cm3_reduce how);
cm3_status cm3_comm_reduce_i64(cm3_comm *comm, int64_t *values, int64_t count, cm3_reduce how);
/* The largest flag of all ranks. */
cm3_status cm3_comm_agree(cm3_comm *comm, int flag, int *agreed);
/* Every rank brings its own status; all return the same one: CM3_OK if all are, else that of the lowest rank that
 * failed, with its message ("rank 2: ..."). So that a fault of one rank ends the work of all of them in order. */
cm3_status cm3_comm_agree_status(cm3_comm *comm, cm3_status mine);
/* Not collective. Whether all ranks know of a failure by cm3_comm_agree_status(): then they can all leave in order, and
 * one of them is enough to report it. */
bool cm3_comm_failed_together(const cm3_comm *comm);

/* --- gradients: sums of long ranges while the computation goes on ------------------------------------------------ */

/* A sum over ranks that is on its way. */
typedef struct cm3_reduction cm3_reduction;

/* Starts to sum `count` floats over all ranks, in place. All ranks start the same reductions in the same order; any
 * number may be on its way. `data` belongs to the communicator until cm3_reduction_wait(). Staging memory does not grow
 * with `count`. */
cm3_status cm3_comm_reduce_start(cm3_comm *comm, float *data, int64_t count, cm3_reduction **reduction);
/* Moves what is on its way along, without waiting. Cheap when there is nothing to do. Not collective. */
cm3_status cm3_comm_progress(cm3_comm *comm);
/* Waits until the sum is there, and frees the reduction. NULL is allowed. */
cm3_status cm3_reduction_wait(cm3_reduction *reduction);

#endif
