#include "dist/comm.h"
#include "train/signals.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
#include <cmocka.h>

/* Each case in a process of its own: handlers and their flag live as long as the process. */
static int in_child(int (*body)(void)) {
    const pid_t child = fork();
    if (child == 0) _exit(body());
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

/* As the loop asks: some rank was. */
static cm3_status agree(cm3_comm *comm, bool *stop) {
    int agreed = 0;
    CM3_TRY(cm3_comm_agree(comm, cm3_signals_pending(), &agreed));
    *stop = agreed != 0;
    return CM3_OK;
}

static bool stops(int number) {
    cm3_comm *comm = NULL;
    bool stop = true;
    if (cm3_signals_install() != CM3_OK || cm3_comm_open_self(&comm) != CM3_OK) return false;
    if (agree(comm, &stop) != CM3_OK || stop) return false;
    raise(number);
    if (agree(comm, &stop) != CM3_OK) return false;
    cm3_comm_close(comm);
    return stop && cm3_signals_pending() == number;
}

static int term_asks(void) {
    return stops(SIGTERM) ? 7 : 0;
}
static int int_asks(void) {
    return stops(SIGINT) ? 7 : 0;
}
static int second_term(void) {
    stops(SIGTERM);
    raise(SIGTERM);
    return 7;
}

static void each_signal_is_a_polite_request(void **state) {
    (void)state;
    assert_int_equal(WEXITSTATUS(in_child(term_asks)), 7);
    assert_int_equal(WEXITSTATUS(in_child(int_asks)), 7);
}

static void a_second_term_kills(void **state) {
    (void)state;
    const int status = in_child(second_term);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static int usr1_twice(void) {
    const bool asked = stops(SIGUSR1);
    raise(SIGUSR1);
    return asked ? 7 : 0;
}

static void a_repeated_usr1_does_not(void **state) {
    (void)state;
    assert_int_equal(WEXITSTATUS(in_child(usr1_twice)), 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_signal_is_a_polite_request),
        cmocka_unit_test(a_second_term_kills),
        cmocka_unit_test(a_repeated_usr1_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
