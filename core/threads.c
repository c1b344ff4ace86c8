#include "core/threads.h"

#include <cblas.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* A positive number of the environment, 0 if there is none. */
static int number_of(const char *name) {
    const char *text = getenv(name);
    if (!text) return 0;
    char *end;
    const long value = strtol(text, &end, 10);
    /* OMP_NUM_THREADS may be a list "4,2", one number for each level of nesting. */
    return end != text && (*end == '\0' || *end == ',') && value > 0 && value < 65536 ? (int)value : 0;
}

static int usable_cores(void) {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 0) return CPU_COUNT(&cores);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1024 cores do not fit the fixed set */
    return online > 0 ? (int)online : 1;
}

int cm3_threads_choose(void) {
    const int wanted = number_of("OMP_NUM_THREADS");
    if (wanted) return wanted;
    /* Ranks that Open MPI has bound see only their own cores; others all see the same ones, and share them. */
    const int bound = number_of("OMPI_MCA_orte_bound_at_launch");
    int ranks = number_of("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (bound || !ranks) ranks = 1;
    const int share = usable_cores() / ranks;
    return share > 0 ? share : 1;
}

void cm3_threads_setup(void) {
    openblas_set_num_threads(1); /* first: its OpenMP build changes OpenMP's own number too */
    omp_set_dynamic(0);          /* the same number in every region: sums of partial results then have a fixed order */
    omp_set_num_threads(cm3_threads_choose());
}
