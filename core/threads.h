/* How many threads this process computes with. One rule for the whole program: our own OpenMP loops make the
 * parallelism, and OpenBLAS runs each call on the thread that made it, so that neither multiplies with the other. */
#ifndef CM3_CORE_THREADS_H
#define CM3_CORE_THREADS_H

/* The number that setup chooses, always at least 1: OMP_NUM_THREADS if it is set; else the cores this process may run
 * on, shared with the ranks on the same host when mpirun started them without binding each to its own cores. */
int cm3_threads_choose(void);

/* Gives that number to OpenMP, and one thread to OpenBLAS. Called once, before any work. */
void cm3_threads_setup(void);

#endif
