/* The cases of the operations: one table that says for each operation at which attributes, shapes and values it is
 * tried, and how near to the exact result it must come. Whoever has kernels runs the cases through them:
 *
 *   test      the kernel against a naive reference in double precision           (tests/core/ops)
 *   gradient  its backward pass against central differences of that reference    (tests/core/ops)
 *   bench     its speed, at the sizes of real models                             (`cm3leon bench ops`)
 *
 * A case names its modes. Shapes of outputs, the backward pass's reads, FLOPs and bytes are not repeated here: they
 * follow from the operation's definition (core/tensor/op.h). */
#ifndef CM3_CORE_TENSOR_OP_CASE_H
#define CM3_CORE_TENSOR_OP_CASE_H

#include "core/tensor/op.h"

typedef enum cm3_op_mode { CM3_MODE_TEST = 1, CM3_MODE_GRADIENT = 2, CM3_MODE_BENCH = 4 } cm3_op_mode;

/* How an input is filled. Up to CM3_FILL_VALUE it is f32, from CM3_FILL_INDEX on i32. */
typedef enum cm3_op_fill {
    CM3_FILL_ABSENT,
    CM3_FILL_NORMAL,   /* standard normal times `a` */
    CM3_FILL_POSITIVE, /* 1 + 0.2 times a normal: gains */
    CM3_FILL_UNIFORM,  /* [-1, 1) times `a`: quick to draw */
    CM3_FILL_VALUE,    /* `a` everywhere */
    CM3_FILL_INDEX,    /* uniform in [0, a) */
    CM3_FILL_TARGET,   /* uniform in [0, a), one in five -1; all -1 if a is 0 */
    CM3_FILL_COUNT     /* 0 1 2 ... a-1 0 1 ...: positions */
} cm3_op_fill;

typedef struct cm3_op_input {
    cm3_shape shape;
    cm3_op_fill fill;
    double a;
} cm3_op_input;

typedef struct cm3_op_case {
    unsigned modes;
    double sum;       /* test, gradient: terms of the longest sum behind a value; sets the tolerance */
    double magnitude; /* and how much larger what is summed may be than the result */
    const char *name;
    cm3_op op;
    cm3_op_attr attr;
    cm3_op_input in[CM3_OP_INPUTS];
} cm3_op_case;

const cm3_op_case *cm3_op_cases(size_t *count);

/* Type and shape of an input as the definition wants them, without data; a rank of 0 if it is absent. */
cm3_tensor cm3_op_input_tensor(const cm3_op_input *input);
/* Input i of a case as an operation wants it that computes in `real`: bf16 in the place of f32, but for what is always
 * f32. And whether an operation can. */
cm3_tensor cm3_op_case_tensor(const cm3_op_case *of, int i, cm3_dtype real);
bool cm3_op_case_has_bf16(const cm3_op_case *of);
/* RELU's mask: of its bits those behind a row's end mean nothing, and near zero arithmetic decides. What it does to
 * gradients is compared instead. */
bool cm3_op_is_mask(cm3_op op, const cm3_tensor *output);
/* Whether gradient i may be added to one: masking clears what is there already. */
bool cm3_op_case_accumulates(const cm3_op_case *of, int i);
/* Whether input i is a parameter where networks use the operation: its gradient is f32. */
bool cm3_op_is_parameter(cm3_op op, int i);
/* Fills `data`, of that type and shape; the same `stream` gives the same values. */
void cm3_op_input_fill(const cm3_op_input *input, uint64_t stream, void *data);

#endif
