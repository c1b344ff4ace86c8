/* Small things that kernels of every family use. A kernel's loop is a function of its call and a range of items. */
#ifndef CM3_CORE_KERNELS_CPU_KERNEL_H
#define CM3_CORE_KERNELS_CPU_KERNEL_H

#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/dispatch.h"
#include "core/kernels/cpu/gemm.h"
#include "core/threads.h"

static inline int64_t cm3__dim(const cm3_tensor *tensor, int i) {
    return tensor->shape.dim[i];
}

static inline bool cm3__has(const cm3_tensor *tensor) { /* is this optional input there? true while planning, too */
    return tensor->shape.rank > 0;
}

/* Items of `cost` floats each in a piece: handing out a piece should cost little beside it. */
static inline int64_t cm3__grain(int64_t cost) {
    enum { FLOATS = 1 << 13 };
    return cost < FLOATS ? FLOATS / (cost > 0 ? cost : 1) : 1;
}

/* to = [to +] from; nothing where `to` is NULL or `from` itself. */
void cm3__add_to(float *to, const float *from, int64_t count, bool accumulate);

#endif
