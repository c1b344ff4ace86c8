/* Seconds of a clock that never goes back, for measuring durations. Its zero is arbitrary. */
#ifndef CM3_CORE_CLOCK_H
#define CM3_CORE_CLOCK_H

#include <time.h>

static inline double cm3_clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
