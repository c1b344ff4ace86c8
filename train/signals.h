/* SIGTERM, SIGINT and SIGUSR1 as a polite request: finish the step, save, leave.
 *
 * A handler only notes the request; the loop asks at step boundaries, where all ranks agree, so that every rank stops
 * after the same step even when only one of them was asked to. A second SIGINT or SIGTERM kills as usual. Under mpirun
 * send SIGUSR1 to mpirun itself, which forwards it to the ranks and lets them finish. */
#ifndef CM3_TRAIN_SIGNALS_H
#define CM3_TRAIN_SIGNALS_H

#include "core/status.h"

/* Installs the handlers for the life of the process. Also ignores SIGPIPE and SIGXFSZ: a write that fails is a status.
 */
cm3_status cm3_signals_install(void);

/* The signal that this process was sent, or 0. */
int cm3_signals_pending(void);

#endif
