/* For each operation one naive reference in double precision, which every kernel is compared with at every case of
 * core/tensor/op_case.h. */
#ifndef CM3_TESTS_CORE_OPS_REFERENCE_H
#define CM3_TESTS_CORE_OPS_REFERENCE_H

#include "core/tensor/op_case.h"

/* The values of a case. Integers are given as doubles, too. */
typedef struct op_values {
    const cm3_op_case *of;
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
    /* Mask of inputs that the forward kernel changes by definition (caches); compared with in[] after. */
    unsigned changes;
} op_reference;

/* One entry an operation; `forward` is NULL in the table of the other family. */
extern const op_reference op_references_transformer[CM3_OP_COUNT];
extern const op_reference op_references_convolution[CM3_OP_COUNT];

#endif
