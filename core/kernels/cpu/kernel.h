/* Small things that kernels of every family use. */
#ifndef CM3_CORE_KERNELS_CPU_KERNEL_H
#define CM3_CORE_KERNELS_CPU_KERNEL_H

#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/dispatch.h"
#include "core/kernels/cpu/gemm.h"

#include <omp.h>

static inline int64_t cm3__dim(const cm3_tensor *tensor, int i) {
    return tensor->shape.dim[i];
}

static inline bool cm3__has(const cm3_tensor *tensor) { /* is this optional input there? true while planning, too */
    return tensor->shape.rank > 0;
}

/* Threads of a loop over `items` of `cost` floats each: one when there is too little for two. */
static inline int cm3__threads(int64_t items, int64_t cost) {
    enum { SMALLEST = 1 << 14 };
    const int most = omp_get_max_threads();
    if (items < 2 || items * cost < SMALLEST) return 1;
    return items < most ? (int)items : most;
}

/* The share of the calling thread of a parallel region. */
static inline void cm3__my_share(int64_t count, int64_t unit, int64_t *first, int64_t *last) {
    cm3__share(count, unit, omp_get_thread_num(), omp_get_num_threads(), first, last);
}

#endif
