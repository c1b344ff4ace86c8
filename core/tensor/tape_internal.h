/* What recording (tape.c), planning (plan.c) and running (run.c) share. */
#ifndef CM3_CORE_TENSOR_TAPE_INTERNAL_H
#define CM3_CORE_TENSOR_TAPE_INTERNAL_H

#include "core/tensor/arena.h"
#include "core/tensor/tape.h"

enum { CM3__NONE = -1, CM3__GUARD_BYTES = 64 };

typedef enum cm3__var_kind { CM3__INPUT, CM3__PARAMETER, CM3__VALUE } cm3__var_kind;

struct cm3_var {
    cm3_tape *tape;
    cm3__var_kind kind;
    cm3_tensor tensor, grad;
    int id;
    int owner;        /* variable whose memory this one shares: itself, or what a VIEW looks at */
    int node, output; /* what made it; CM3__NONE for leaves */
    int bucket;
    bool kept, is_loss, is_seeded, wants_gradient;
    void *seed; /* its gradient from outside */
    /* Written by the plan. */
    bool has_gradient; /* a parameter or wanted input stands upstream of it */
    bool dropped;      /* not kept for the backward pass but computed again */
    bool needed;       /* its value is read by the backward pass */
    bool again;        /* `buffer` holds the recomputed value already */
    bool grad_started;
    int buffer, grad_buffer;
    int last_consumer; /* last node that reads its memory in the forward pass */
};

typedef struct cm3__node {
    cm3_op op;
    const cm3_op_def *def;
    cm3_op_attr attr;
    int in[CM3_OP_INPUTS], out[CM3_OP_OUTPUTS];
    int outputs, bucket;
    bool active; /* takes part in the backward pass */
} cm3__node;

/* LINEAR with RELU: its second output is a mask, its consumers' last input. */
static inline bool cm3__is_relu(const cm3__node *node) {
    return node->op == CM3_OP_LINEAR && node->attr.activation == CM3_ACT_RELU;
}

/* A piece of memory of the step. It lives from its first to its last instruction. */
typedef struct cm3__buffer {
    size_t bytes, offset;
    int first, last;
    void *external; /* the caller's memory: not placed */
    bool is_external;
} cm3__buffer;

typedef enum cm3__action {
    CM3__FORWARD,
    CM3__RECOMPUTE,
    CM3__BACKWARD,
    CM3__SEED,     /* grad_out = 1 */
    CM3__ADD_INTO, /* grad_in[0] += grad_out, or a copy */
    CM3__ZERO,     /* grad_in[0] = 0 */
    CM3__READY     /* tells that a bucket's gradients are whole */
} cm3__action;

typedef struct cm3__instruction {
    cm3__action action;
    int node, bucket;
    cm3_call call;
    int in[CM3_OP_INPUTS], out[CM3_OP_OUTPUTS], grad_in[CM3_OP_INPUTS], grad_out, workspace; /* buffers of the call */
    bool first_of_run[CM3_OP_INPUTS]; /* first gradient of a parameter in a run: accumulates if the run does */
    int pages_released;               /* by page sharing, before this instruction starts */
} cm3__instruction;

/* See page_sharing.c. */
typedef struct cm3__page {
    int number; /* of the arena's pages */
    int last;   /* the last instruction that uses it */
} cm3__page;

typedef struct cm3__range {
    char *begin;
    size_t bytes;
} cm3__range;

typedef struct cm3__page_sharing {
    cm3__page *pages; /* by `last`; NULL: no pages are shared */
    int first;        /* gradients that start at this instruction or later give their memory back before a run */
    cm3__range *gradients;
    int gradient_count;
} cm3__page_sharing;

/* A run of the backend's replay. */
typedef struct cm3__graph {
    bool ran, cannot; /* run once; graph capture failed: kernels are launched one by one */
    void *graph;
} cm3__graph;

struct cm3_tape {
    cm3_tape_options options;
    cm3_status status; /* sticky */
    char message[CM3_MESSAGE_MAX];
    int bucket;
    cm3_var **vars;
    int var_count, var_capacity;
    cm3__node *nodes;
    int node_count, node_capacity;
    cm3__buffer *buffers;
    int buffer_count, buffer_capacity;
    cm3__instruction *instructions;
    int instruction_count, instruction_capacity;
    cm3_arena *arena;
    cm3__page_sharing page_sharing;
    cm3_tape_stats stats;
    bool planned, bound;
    cm3__graph graphs[2][2]; /* overwriting gradients or adding to them, without callbacks or with them */
};

/* Records a failure with the present message; the first one stays. */
cm3_status cm3__tape_fail(cm3_tape *tape, cm3_status status);
/* Makes room for one more element; on failure the tape fails. */
bool cm3__tape_grow(cm3_tape *tape, void **array, int *capacity, int count, size_t size);

/* page_sharing.c: after the places of buffers are known; after addresses are known; at the start of a run that
 * overwrites gradients; before an instruction of such a run (`released` counts pages, from 0); at the end. */
cm3_status cm3__page_sharing_plan(cm3_tape *tape);
cm3_status cm3__page_sharing_bind(cm3_tape *tape);
void cm3__page_sharing_discard_gradients(const cm3_tape *tape);
void cm3__page_sharing_discard_activations(const cm3_tape *tape, char *base, const cm3__instruction *next,
                                           int *released);
void cm3__page_sharing_free(cm3__page_sharing *sharing);

#endif
