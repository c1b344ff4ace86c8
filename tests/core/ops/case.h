/* One declarative table of operation cases. A case is an operation, its attributes and the shapes of its inputs; output
 * shapes come from the operation's own definition. For each operation there is one naive reference in double precision.
 * test_ops.c runs every case of every table:
 *   test      the kernel against the reference, at every instruction set, with several numbers of threads, in place
 * where the definition allows it, two runs bit for bit, and guard zones around every buffer gradient  the kernel's
 * backward pass against central differences of the reference An operation family adds its own table of cases and
 * references to the two lists at the end of this file. */
#ifndef CM3_TESTS_CORE_OPS_CASE_H
#define CM3_TESTS_CORE_OPS_CASE_H

#include "core/tensor/op.h"

/* How an input is filled. */
typedef enum op_fill {
    FILL_ABSENT,
    FILL_NORMAL,   /* standard normal times `a` (0: 1) */
    FILL_POSITIVE, /* 1 + 0.2 times a normal: gains */
    FILL_VALUE,    /* `a` everywhere */
    FILL_INDEX,    /* i32, uniform in [0, a) */
    FILL_TARGET,   /* i32, uniform in [0, a), one in five -1 */
    FILL_COUNT     /* i32, 0 1 2 ... a-1 0 1 ...: positions */
} op_fill;

typedef struct op_input {
    cm3_shape shape;
    op_fill fill;
    double a;
} op_input;

typedef struct op_case {
    const char *name;
    cm3_op op;
    cm3_op_attr attr;
    op_input in[CM3_OP_INPUTS];
    double sum;       /* how many terms the longest sum behind a value has: sets the tolerance */
    double magnitude; /* typical size of what is summed beyond that of the result, 0: 1 */
} op_case;

/* The values of a case. Integers are given as doubles, too. */
typedef struct op_values {
    const op_case *of;
    cm3_shape in_shape[CM3_OP_INPUTS], out_shape[CM3_OP_OUTPUTS]; /* rank 0: absent */
    double *in[CM3_OP_INPUTS], *out[CM3_OP_OUTPUTS];
    double *grad_out;               /* only for `gradient` */
    double *grad_in[CM3_OP_INPUTS]; /* only for `gradient` */
} op_values;

typedef struct op_reference {
    void (*forward)(const op_values *values);
    /* Fills grad_in[] from grad_out where the gradient is by definition not the derivative of `forward`
     * (straight-through); NULL: central differences of `forward`. */
    void (*gradient)(const op_values *values);
    unsigned
        changes; /* mask of inputs that the forward kernel changes by definition (caches); compared with in[] after */
} op_reference;

typedef struct op_family {
    const char *name;
    const op_case *cases;
    size_t count;
    const op_reference *references; /* CM3_OP_COUNT of them */
} op_family;

/* Shorthands for tables. */
#define SHAPE(...)                                                                                                     \
    {                                                                                                                  \
        sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {                                                          \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define NORMAL(...)                                                                                                    \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1 }
#define SCALED(factor, ...)                                                                                            \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, factor }
#define GAIN(...)                                                                                                      \
    { SHAPE(__VA_ARGS__), FILL_POSITIVE, 1 }
#define VALUE(value, ...)                                                                                              \
    { SHAPE(__VA_ARGS__), FILL_VALUE, value }
#define INDEX(bound, ...)                                                                                              \
    { SHAPE(__VA_ARGS__), FILL_INDEX, bound }
#define TARGET(bound, ...)                                                                                             \
    { SHAPE(__VA_ARGS__), FILL_TARGET, bound }
#define COUNT(bound, ...)                                                                                              \
    { SHAPE(__VA_ARGS__), FILL_COUNT, bound }
#define ABSENT                                                                                                         \
    { {0}, FILL_ABSENT, 0 }

extern const op_family op_family_transformer;
extern const op_family op_family_convolution __attribute__((weak)); /* weak while it is being written */

#endif
