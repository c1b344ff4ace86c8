/* `bench ops`: every operation at the shapes that matter, beside the least time that this machine's measured sgemm and
 * copy rates allow. */
#ifndef CM3_TOOLS_BENCH_OPS_H
#define CM3_TOOLS_BENCH_OPS_H

#include "core/status.h"

#include <stdbool.h>

/* Spends about `seconds` on each operation. `json`: one object, else a table for people. `only`: operations whose name
 * contains this; NULL: all. */
cm3_status cm3_bench_ops(double seconds, bool json, const char *only);

#endif
