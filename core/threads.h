/* The threads that this process computes with: one pool for the whole program. OpenBLAS runs each call on the thread
 * that made it, so that its threads and ours do not multiply.
 *
 * A loop is cut into pieces of `grain` items each. The pieces depend on `count` and `grain` alone, never on the number
 * of threads or on timing: sums that are kept apart by piece, and then added in the order of pieces, have the same bits
 * in every run. A thread starts with its own share of the pieces, front to back, so that neighbouring loops find their
 * data in its cache; once done, it takes the last pieces of other shares. The loop ends when every piece that some
 * thread has started is finished: a thread that the system has not scheduled does not hold up the others. Whoever waits
 * spins for some tens of microseconds and then sleeps: on a busy machine, a waiting thread leaves its core to others.
 */
#ifndef CM3_CORE_THREADS_H
#define CM3_CORE_THREADS_H

#include <stdint.h>

/* The number that setup chooses, always at least 1: OMP_NUM_THREADS if it is set; else the cores this process may run
 * on, shared with the ranks on the same host when mpirun started them without binding each to its own cores. */
int cm3_threads_choose(void);

/* Chooses that number, and one thread for OpenBLAS. Called once, before any work. */
void cm3_threads_setup(void);

/* Threads of a loop, at least 1, and the limit on it; a new number ends the pool's threads. Not within a loop. */
int cm3_threads_count(void);
void cm3_threads_set(int count);

/* Of the calling thread within a loop, 0 to cm3_threads_count() - 1: for scratch memory, never for results. */
int cm3_thread_index(void);

/* Calls function(context, first, last) for each piece [first, last) of [0, count), `last` - `first` at most `grain`, on
 * all threads, and returns when all are done. Runs on the calling thread alone, in order, within another loop and while
 * another thread's loop runs. The pool starts with the first loop of more than one piece and ends with the process; a
 * child of fork() has its own. */
typedef void (*cm3_piece_function)(const void *context, int64_t first, int64_t last);
void cm3_parallel_for(int64_t count, int64_t grain, cm3_piece_function function, const void *context);

#endif
