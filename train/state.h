/* What training changes - parameters, their gradients, AdamW's moments - in the memory of the backend that computes.
 *
 * On the host these are the buffers that checkpoints read and write. A device has its own: they are uploaded once, and
 * fetched when somebody looks (a checkpoint, sample pictures). */
#ifndef CM3_TRAIN_STATE_H
#define CM3_TRAIN_STATE_H

#include "core/tensor/op.h"
#include "dist/comm.h"
#include "model/params.h"
#include "optim/adamw.h"

typedef struct cm3_train_state {
    const cm3_backend *backend;
    cm3_params *params; /* placed on the backend */
    cm3_adamw_span *spans;
    int64_t span_count;
    float *m, *v;               /* the host's */
    float *device_m, *device_v; /* the same as m and v where the backend works in the host's memory */
    bool collective;            /* gradients are summed by the backend itself */
    cm3_reduction **reductions; /* one a segment, of what goes by way of the host */
    cm3_status reduced;         /* first failure of the reductions */
} cm3_train_state;

/* Collective over `comm` (NULL: alone). Moments of zeros. Close it after a failure, too. */
cm3_status cm3_train_state_open(const cm3_backend *backend, cm3_params *params, cm3_comm *comm, cm3_train_state *state);
void cm3_train_state_close(cm3_train_state *state);

/* Host to device and back: values and moments. Nothing happens where they are the same memory. */
cm3_status cm3_train_state_upload(const cm3_train_state *state);
cm3_status cm3_train_state_download(const cm3_train_state *state);

/* Starts to sum a segment's gradients over the ranks, which is as they are when the call is made; waits for all of
 * them. */
cm3_status cm3_train_state_reduce(cm3_train_state *state, cm3_comm *comm, int segment);
cm3_status cm3_train_state_reduced(cm3_train_state *state);

/* Global norm of the gradients. */
cm3_status cm3_train_state_norm(const cm3_train_state *state, double *norm);
/* Norm, clipping by it, and update number `step` (1 is the first); a norm that is not finite updates nothing. */
cm3_status cm3_train_state_update(const cm3_train_state *state, const cm3_adamw_config *config, int64_t step,
                                  double learning_rate, double *norm);

#endif
