/* What an optimizer does with the trained group of a network: all-reduces its gradients, finds their norm, updates its
 * values. All of it is asynchronous, on every backend: queued behind the kernels of a step, and read back later. */
#ifndef CM3_TRAIN_STATE_H
#define CM3_TRAIN_STATE_H

#include "core/tensor/op.h"
#include "core/tensor/staged_buffer.h"
#include "dist/comm.h"
#include "model/params.h"
#include "optim/adamw.h"

enum { CM3_STEPS_QUEUED = 2 }; /* at most: one runs, one is queued behind it */

typedef struct cm3_train_state {
    const cm3_backend *backend;
    cm3_params *params;           /* allocated for training on the backend */
    const cm3_param_group *group; /* that is trained */
    cm3_flat_span *spans;
    int64_t span_count;
    cm3_comm *comm;              /* NULL: alone */
    void *collective;            /* the devices' group, or NULL: gradients go through host memory */
    cm3_comm_request **requests; /* through host memory: one a bucket, and one of the loss */
    cm3_staged_buffer loss;      /* (1) of the present step */
    bool watches;                /* a loss was given */
    cm3_flat_verdict *verdicts;  /* (CM3_STEPS_QUEUED), pinned */
    void *events[CM3_STEPS_QUEUED];
} cm3_train_state;

/* Collective over `comm` (NULL: alone). Close it after a failure, too. */
cm3_status cm3_train_state_open(cm3_params *params, cm3_comm *comm, cm3_train_state *state);
void cm3_train_state_close(cm3_train_state *state);

/* Adds a loss (1) of a micro-batch that was just queued to its step's, which decides with the norm whether an update is
 * made. */
cm3_status cm3_train_state_watch(cm3_train_state *state, const cm3_tensor *loss, bool first_of_step);

/* Starts to all-reduce a bucket's gradients, which are as they are when the call is made. */
cm3_status cm3_train_state_reduce(cm3_train_state *state, int bucket);
/* Completes all of them, and the loss: what is queued from here on finds the sums. */
cm3_status cm3_train_state_reduced(cm3_train_state *state);

/* Queues norm, clipping by it, and update number `update` (1 is the first); a norm or a loss that is not finite updates
 * nothing. */
cm3_status cm3_train_state_queue(cm3_train_state *state, const cm3_adamw_config *config, int64_t update,
                                 double learning_rate);
/* Waits until an update is done, one of the last CM3_STEPS_QUEUED, and gives what it was decided by. */
cm3_status cm3_train_state_reach(const cm3_train_state *state, int64_t update, cm3_flat_verdict *verdict);

#endif
