/* `bench ops`: every operation at the shapes that matter, beside the least time that the processor's measured rates of
 * products and copies allow. On a GPU in bf16 where an operation has it. */
#ifndef CM3_TOOLS_BENCH_OPS_H
#define CM3_TOOLS_BENCH_OPS_H

#include "core/tensor/op.h"

#include <stdbool.h>

/* Spends about `seconds` on each operation. `json`: one object, else a table for people. `only`: operations whose name
 * contains this; NULL: all. */
cm3_status cm3_bench_ops(const cm3_backend *backend, double seconds, bool json, const char *only);

#endif
