/* What training changes - parameters, their gradients, AdamW's moments - in the memory of the backend that computes.
 *
 * Checkpoints read and write the host's side. A device has buffers of its own: they are uploaded once, and downloaded
 * for a checkpoint or sample images. */
#ifndef CM3_TRAIN_STATE_H
#define CM3_TRAIN_STATE_H

#include "core/tensor/op.h"
#include "core/tensor/staged_buffer.h"
#include "dist/comm.h"
#include "model/params.h"
#include "optim/adamw.h"

enum { CM3_STEPS_QUEUED = 2 }; /* that a device may have: one runs, one is queued behind it */

typedef struct cm3_train_state {
    const cm3_backend *backend;
    cm3_params *params; /* placed on the backend */
    cm3_flat_span *spans;
    int64_t span_count;
    cm3_staged_buffer m, v;        /* AdamW's moments, f32 like the parameters */
    void *collective;              /* the devices' group, or NULL: gradients go through host memory */
    cm3_comm_request **reductions; /* one a bucket, of what goes through host memory */
    cm3_status reduced;            /* first failure of the reductions */
    float *loss;                /* (1) of the present step, in the backend's memory */
    bool watches;               /* it is given */
    cm3_flat_verdict *verdicts; /* (CM3_STEPS_QUEUED), pinned */
    void *marks[CM3_STEPS_QUEUED];
} cm3_train_state;

/* Collective over `comm` (NULL: alone). Moments of zeros. Close it after a failure, too. */
cm3_status cm3_train_state_open(const cm3_backend *backend, cm3_params *params, cm3_comm *comm, cm3_train_state *state);
void cm3_train_state_close(cm3_train_state *state);

/* Host to device and back: values and moments. Nothing happens where they are the same memory. */
cm3_status cm3_train_state_upload(const cm3_train_state *state);
cm3_status cm3_train_state_download(const cm3_train_state *state);

/* Starts to sum a bucket's gradients over the ranks, which is as they are when the call is made; waits for all of
 * them. */
cm3_status cm3_train_state_reduce(cm3_train_state *state, cm3_comm *comm, int bucket);
cm3_status cm3_train_state_reduced(cm3_train_state *state);

/* Global norm of the gradients. */
cm3_status cm3_train_state_norm(const cm3_train_state *state, double *norm);
/* Norm, clipping by it, and update number `step` (1 is the first); a norm that is not finite updates nothing. */
cm3_status cm3_train_state_update(const cm3_train_state *state, const cm3_adamw_config *config, int64_t step,
                                  double learning_rate, double *norm);

/* --- updates that the host does not wait for: on a device, unless gradients go through host memory --------------- */

/* Adds the loss (1) of a micro-batch that was just queued to its step's, which the device judges before the update:
 * it is summed over the ranks with the gradients. */
cm3_status cm3_train_state_watch(cm3_train_state *state, const cm3_tensor *loss, bool first_of_step);
/* The update behind all that was queued: a norm or a loss that is not finite updates nothing. */
cm3_status cm3_train_state_queue(cm3_train_state *state, const cm3_adamw_config *config, int64_t step,
                                 double learning_rate);
/* Waits until update `step` is done, one of the last CM3_STEPS_QUEUED, and says what it was judged by. */
cm3_status cm3_train_state_reach(const cm3_train_state *state, int64_t step, cm3_flat_verdict *verdict);

#endif
