#include "train/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* The one thing a handler may share with the program. */
static volatile sig_atomic_t pending;

static void note(int number) {
    pending = number;
}

static cm3_status handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL) != 0)
        return cm3_fail(CM3_ERR_INTERNAL, "cannot install a handler for signal %d: %s", number, strerror(errno));
    return CM3_OK;
}

cm3_status cm3_signals_install(void) {
    CM3_TRY(handle(SIGUSR1, note, SA_RESTART));
    CM3_TRY(handle(SIGTERM, note, SA_RESTART | (int)SA_RESETHAND)); /* the second one kills */
    CM3_TRY(handle(SIGINT, note, SA_RESTART | (int)SA_RESETHAND));
    CM3_TRY(handle(SIGPIPE, SIG_IGN, 0));
    return handle(SIGXFSZ, SIG_IGN, 0);
}

int cm3_signals_pending(void) {
    return pending;
}
