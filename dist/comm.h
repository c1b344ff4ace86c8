/* Process groups: the ranks of a run, subsets of them, and the collectives that training needs.
 *
 * A cm3_comm is a group of N ranks, numbered 0 to N-1. Under mpirun the first one, the world, holds all ranks and its
 * kind is "mpi"; without mpirun the world is one rank, its kind is "self", and MPI is never initialised.
 * cm3_comm_split() makes groups of a part of the ranks, on which everything below works as on the world.
 *
 * Unless it says otherwise, a function is a collective: all ranks of the group call it, in the same order, with the
 * same arguments but for the data. Groups are independent: a rank may wait in one group while others of its groups
 * have started operations; whoever waits moves all of them along. A waiting rank polls for a moment, then sleeps
 * between polls: it leaves its core to ranks that compute. Failures of the transport are CM3_ERR_COMM: what it was
 * given may still be in its hands (memory of its own is left to it), and groups are in no state to go on. End the job.
 *
 * Sums are made in the order of ranks 0, 1, ... N-1, whatever arrives first: the result has the same bits on every rank
 * and in every run of N ranks. */
#ifndef CM3_DIST_COMM_H
#define CM3_DIST_COMM_H

#include "core/status.h"
#include "core/tensor/tensor.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_comm cm3_comm;
struct cm3_collective;

/* The world: joins the ranks that mpirun started, or makes a world of one. A process opens one world for its life. Call
 * from the main thread: all later calls come from the same thread. */
cm3_status cm3_comm_open(cm3_comm **comm);
/* Always a world of one. */
cm3_status cm3_comm_open_self(cm3_comm **comm);
/* Splits a group as MPI_Comm_split does: ranks of the same `color` make a group of their own, in the order of `key`,
 * equal keys in the order of their ranks in `comm`. A rank with a negative color is in no group: *group is NULL. With
 * T ranks of tensor parallelism on each host, rank r of the world is in the group of color r / T (side by side on a
 * host) and in that of color r % T (strided across hosts, for data parallelism). A group of one rank has the kind
 * "self". Collective over `comm`; it fails on all ranks or on none. */
cm3_status cm3_comm_split(cm3_comm *comm, int color, int key, cm3_comm **group);
/* Waits for the other ranks and frees the group; groups before the world. NULL is allowed. */
void cm3_comm_close(cm3_comm *comm);
/* Ends the whole job at once with this exit code, not only the group: for a rank that failed while others wait for it.
 * In a world of one rank it does nothing. Not collective. */
void cm3_comm_abort(cm3_comm *comm, int exit_code);

/* Not collective. Local: among the ranks of the group that are on the same host. */
int cm3_comm_rank(const cm3_comm *comm);
int cm3_comm_size(const cm3_comm *comm);
int cm3_comm_local_rank(const cm3_comm *comm);
const char *cm3_comm_kind(const cm3_comm *comm); /* "self" or "mpi" */

/* --- small, blocking --------------------------------------------------------------------------------------------- */

typedef enum cm3_reduce { CM3_REDUCE_SUM, CM3_REDUCE_MAX, CM3_REDUCE_MIN } cm3_reduce;

cm3_status cm3_comm_barrier(cm3_comm *comm);
cm3_status cm3_comm_broadcast(cm3_comm *comm, void *data, int64_t bytes, int root);
/* `bytes` of every rank, in order of ranks, into `all` (size * bytes). cm3_comm_gather fills it on `root` only;
 * elsewhere `all` may be NULL. */
cm3_status cm3_comm_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all, int root);
cm3_status cm3_comm_all_gather(cm3_comm *comm, const void *mine, int64_t bytes, void *all);
/* All-reduce, in place. A NaN of any rank makes the result NaN, for maxima and minima too. */
cm3_status cm3_comm_reduce_f64(cm3_comm *comm, double *values, int64_t count, cm3_reduce how);
cm3_status cm3_comm_reduce_f32(cm3_comm *comm, float *values, int64_t count, cm3_reduce how);
cm3_status cm3_comm_reduce_i64(cm3_comm *comm, int64_t *values, int64_t count, cm3_reduce how);
/* The largest flag of all ranks. */
cm3_status cm3_comm_agree(cm3_comm *comm, int flag, int *agreed);
/* Every rank brings its own status; all return the same one: CM3_OK if all are, else that of the lowest rank that
 * failed, with its message ("rank 2: ...", its rank in the world). So that a failure of one rank ends the work of all
 * of them in order. */
cm3_status cm3_comm_agree_status(cm3_comm *comm, cm3_status mine);
/* Not collective. Whether all ranks of the world know of a failure by cm3_comm_agree_status(): then they can all leave
 * in order, and one of them is enough to report it. What only a part of them agreed on does not count. */
bool cm3_comm_failed_together(const cm3_comm *comm);

/* --- long ranges ------------------------------------------------------------------------------------------------- */

/* Three collectives on a flat buffer of `count` elements, in place. Rank r owns the shard
 * cm3_shard_range(count, CM3_SHARD_UNIT, N, r): shards are equally long but for the last ones, which may be short or
 * empty.
 *
 *                       before, on rank r                   after, on rank r
 *   all_reduce          its addends, (count)                the sums, (count)
 *   reduce_scatter      its addends, (count)                the sums of its shard; the rest is undefined
 *   all_gather_shards   its shard; the rest is ignored      all shards, (count)
 *
 * So reduce_scatter, then all_gather_shards, is all_reduce, bit for bit. Sums are of f32; any type is gathered. Staging
 * memory does not grow with `count`, which may pass 2^31 bytes. */
cm3_status cm3_comm_all_reduce(cm3_comm *comm, float *data, int64_t count);
cm3_status cm3_comm_reduce_scatter(cm3_comm *comm, float *data, int64_t count);
cm3_status cm3_comm_all_gather_shards(cm3_comm *comm, void *data, int64_t count, cm3_dtype type);

/* The same, started: the transfer goes on while the caller computes and now and then calls cm3_comm_progress(). All
 * ranks of a group start the same operations in the same order; any number may be in flight, and ranks may wait for
 * them in any order. `data` belongs to the communicator until cm3_comm_wait(). *request is NULL where there is nothing
 * to wait for. */
typedef struct cm3_comm_request cm3_comm_request;
cm3_status cm3_comm_all_reduce_start(cm3_comm *comm, float *data, int64_t count, cm3_comm_request **request);
cm3_status cm3_comm_reduce_scatter_start(cm3_comm *comm, float *data, int64_t count, cm3_comm_request **request);
cm3_status cm3_comm_all_gather_shards_start(cm3_comm *comm, void *data, int64_t count, cm3_dtype type,
                                            cm3_comm_request **request);
/* Moves all requests of this process along, of whatever group, without waiting. Cheap when there is nothing to do. Not
 * collective. */
cm3_status cm3_comm_progress(cm3_comm *comm);
/* Waits until the operation is done on this rank, and frees the request; not after a failure, when the transport may
 * still have it. NULL is allowed. Not collective. */
cm3_status cm3_comm_wait(cm3_comm_request *request);

/* --- devices ----------------------------------------------------------------------------------------------------- */

/* What `collective`, a backend's (core/tensor/op.h), calls the group of these ranks' devices: opened by the first call,
 * closed with the communicator. NULL where devices cannot talk to each other, which rank 0 logs: one rank, no NCCL, two
 * ranks on one GPU. Then data goes through host memory and the functions above.
 * Its reduce_scatter and all_gather take N equal pieces. Whoever shards a range by them pads it, and each bucket that
 * is reduced alone, to a multiple of CM3_SHARD_UNIT * N elements: then cm3_shard_range() gives such pieces, which the
 * host's functions do not need. all_reduce takes any count. */
cm3_status cm3_comm_devices(cm3_comm *comm, const struct cm3_collective *collective, void **group);

#endif
