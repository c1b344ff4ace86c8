/* What this machine can do, measured: the limits that every figure of ours is held against. */
#ifndef CM3_CORE_KERNELS_CPU_MACHINE_H
#define CM3_CORE_KERNELS_CPU_MACHINE_H

/* The name of the processor whose kernels OpenBLAS has chosen. */
const char *cm3_machine_sgemm_kernel(void);

/* FLOP/s of large sgemm calls of OpenBLAS on the threads of this process, one call a thread: the best of the
 * calls within about `seconds`, and the rate of all of them together (NULL: not asked for). */
double cm3_machine_sgemm_rate(double seconds, double *mean);
/* FLOP/s of multiply-adds in registers on all threads: no product can be faster. The best within about
 * `seconds`. */
double cm3_machine_peak(double seconds);
/* Takes what matrix products keep as long as the program runs: threads, OpenBLAS's buffers and ours. */
void cm3_machine_warm_up(void);
/* Bytes per second (read and written) of copying memory that no cache holds, on the same threads. */
double cm3_machine_copy_rate(double seconds);

/* Resident memory of this process in bytes, now and at most since cm3_machine_watch_memory() (where the system cannot
 * start anew, since the process did); 0: the system does not tell. */
double cm3_machine_memory(void);
double cm3_machine_peak_memory(void);
void cm3_machine_watch_memory(void);

#endif
