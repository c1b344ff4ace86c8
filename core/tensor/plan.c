/* Planning: from the recorded nodes to a schedule of kernel calls, each buffer with its place in memory.
 *
 * 0. which gradients of RELU's outputs are masked by the products that make them
 * 1. which nodes take part in the backward pass, and which values it will read
 * 2. which values are dropped after the forward pass and computed again (recomputation is on demand: a dropped value is
 *    made again just before the first backward kernel that reads it, and its own inputs before it)
 * 3. the instructions, in order
 * 4. the life of every buffer, and from it its place
 * 5. the memory that gradients of parameters take over from activations (page_sharing.c) */
#include "core/tensor/tape_internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static cm3_var *var_of(const cm3_tape *tape, int id) {
    return tape->vars[id];
}

static cm3_var *owner_of(const cm3_tape *tape, int id) {
    return tape->vars[tape->vars[id]->owner];
}

/* Where the backward pass starts. */
static bool is_root(const cm3_var *var) {
    return var->is_loss || var->is_seeded;
}

static bool passes_gradient_to(const cm3__node *node, int input) {
    return !node->attr.detached && (node->def->differentiable >> input & 1);
}

/* --- 0: dReLU ---------------------------------------------------------------------------------------------------- */

enum { MASK_OUTPUT = 1, MASK_INPUT = 4 };

static cm3__node *maker_of(const cm3_tape *tape, int id) {
    return id == CM3__NONE || var_of(tape, id)->node == CM3__NONE ? NULL : &tape->nodes[var_of(tape, id)->node];
}

/* Where only products read what RELU made, each masks its gradient, and RELU's own pass over it is not needed. */
static void choose_masked(cm3_tape *tape) {
    bool trains = false;
    for (int i = 0; i < tape->var_count; i++) trains |= is_root(tape->vars[i]);
    for (int n = 0; n < tape->node_count; n++)
        tape->nodes[n].attr.masked =
            trains && cm3__is_relu(&tape->nodes[n]) && !is_root(var_of(tape, tape->nodes[n].out[0]));
    for (int n = 0; n < tape->node_count; n++)
        for (int i = 0; i < CM3_OP_INPUTS; i++) {
            const cm3__node *node = &tape->nodes[n];
            cm3__node *maker = maker_of(tape, node->in[i]);
            if (!maker || !maker->attr.masked || node->in[i] != maker->out[0]) continue;
            const bool masks = node->op == CM3_OP_LINEAR && i == 0 && node->in[MASK_INPUT] == maker->out[MASK_OUTPUT];
            if (!masks) maker->attr.masked = false;
        }
    for (int n = 0; n < tape->node_count; n++) {
        const cm3__node *maker = maker_of(tape, tape->nodes[n].in[MASK_INPUT]);
        if (tape->nodes[n].op == CM3_OP_LINEAR && maker && !maker->attr.masked)
            tape->nodes[n].in[MASK_INPUT] = CM3__NONE;
    }
}

/* --- 1 and 2: what the backward pass needs ----------------------------------------------------------------------- */

static void find_active_nodes(cm3_tape *tape) {
    for (int i = 0; i < tape->var_count; i++) {
        cm3_var *var = tape->vars[i];
        var->has_gradient = var->node == CM3__NONE && (var->kind == CM3__PARAMETER || var->wants_gradient);
    }
    for (int n = 0; n < tape->node_count; n++) {
        const cm3__node *node = &tape->nodes[n];
        for (int i = 0; i < CM3_OP_INPUTS; i++) {
            if (node->in[i] == CM3__NONE) continue;
            if (passes_gradient_to(node, i) && var_of(tape, node->in[i])->has_gradient)
                var_of(tape, node->out[0])->has_gradient = true;
            owner_of(tape, node->in[i])->last_consumer = n;
        }
    }
    /* Backwards from the losses: a node is active if a loss follows from its first output. */
    bool *wanted = calloc((size_t)tape->var_count + 1, sizeof *wanted);
    if (!wanted) {
        cm3__tape_fail(tape, cm3_fail(CM3_ERR_MEMORY, "out of memory to plan a tape"));
        return;
    }
    for (int i = 0; i < tape->var_count; i++) wanted[i] = is_root(tape->vars[i]);
    for (int n = tape->node_count - 1; n >= 0; n--) {
        cm3__node *node = &tape->nodes[n];
        node->active = wanted[node->out[0]] && var_of(tape, node->out[0])->has_gradient;
        for (int i = 0; node->active && i < CM3_OP_INPUTS; i++)
            if (node->in[i] != CM3__NONE && passes_gradient_to(node, i)) wanted[node->in[i]] = true;
    }
    free(wanted);
}

static void backward_reads(const cm3_tape *tape, const cm3__node *node, unsigned *inputs, unsigned *outputs) {
    cm3_tensor in[CM3_OP_INPUTS] = {0};
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (node->in[i] != CM3__NONE) in[i] = var_of(tape, node->in[i])->tensor;
    node->def->reads(&node->attr, in, inputs, outputs);
}

static bool is_wide_activation(const cm3__node *node) {
    switch (node->op) {
    case CM3_OP_LINEAR:
        return node->attr.activation != CM3_ACT_NONE;
    case CM3_OP_LAYER_NORM:
        return node->in[1] != CM3__NONE; /* the plain one reads its output, not its input */
    case CM3_OP_SWIGLU:
    case CM3_OP_ACTIVATE:
    case CM3_OP_RMS_NORM:
    case CM3_OP_GROUP_NORM:
        return true;
    default:
        return false;
    }
}

static void choose_dropped(cm3_tape *tape) {
    const cm3_recompute policy = tape->options.recompute;
    for (int n = 0; n < tape->node_count && policy != CM3_RECOMPUTE_NONE; n++) {
        const cm3__node *node = &tape->nodes[n];
        if (node->op == CM3_OP_VIEW || node->def->fused_forward_in_backward) continue;
        const bool whole = policy == CM3_RECOMPUTE_LAYERS;
        for (int i = 0; i < node->outputs; i++)
            var_of(tape, node->out[i])->dropped = whole || (i == 0 && is_wide_activation(node));
    }
    /* What is kept, or crosses into another bucket, stays. */
    for (int n = 0; n < tape->node_count; n++)
        for (int i = 0; i < CM3_OP_INPUTS; i++)
            if (tape->nodes[n].in[i] != CM3__NONE) {
                cm3_var *owner = owner_of(tape, tape->nodes[n].in[i]);
                if (policy == CM3_RECOMPUTE_LAYERS && owner->bucket != tape->nodes[n].bucket) owner->dropped = false;
            }
    for (int i = 0; i < tape->var_count; i++)
        if (tape->vars[i]->kept) tape->vars[tape->vars[i]->owner]->dropped = false;
}

static void need(cm3_tape *tape, int id) {
    cm3_var *var = owner_of(tape, id);
    if (var->needed) return;
    var->needed = true;
    if (!var->dropped || var->node == CM3__NONE) return;
    const cm3__node *node = &tape->nodes[var->node];
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (node->in[i] != CM3__NONE) need(tape, node->in[i]);
}

static void find_needed_values(cm3_tape *tape) {
    for (int n = 0; n < tape->node_count; n++) {
        const cm3__node *node = &tape->nodes[n];
        if (!node->active) continue;
        unsigned inputs, outputs;
        backward_reads(tape, node, &inputs, &outputs);
        for (int i = 0; i < CM3_OP_INPUTS; i++)
            if (node->in[i] != CM3__NONE && (inputs >> i & 1)) need(tape, node->in[i]);
        for (int i = 0; i < node->outputs; i++)
            if (outputs >> i & 1) need(tape, node->out[i]);
    }
}

/* --- 3: instructions --------------------------------------------------------------------------------------------- */

static int new_buffer(cm3_tape *tape, const cm3_tensor *tensor, size_t bytes, bool external) {
    if (!cm3__tape_grow(tape, (void **)&tape->buffers, &tape->buffer_capacity, tape->buffer_count,
                        sizeof *tape->buffers))
        return CM3__NONE;
    tape->buffers[tape->buffer_count] = (cm3__buffer){.bytes = tensor ? cm3_tensor_bytes(tensor) : bytes,
                                                      .first = INT_MAX,
                                                      .last = -1,
                                                      .external = external && tensor ? tensor->data : NULL,
                                                      .is_external = external};
    return tape->buffer_count++;
}

static cm3__instruction *new_instruction(cm3_tape *tape, cm3__action action, int node) {
    if (!cm3__tape_grow(tape, (void **)&tape->instructions, &tape->instruction_capacity, tape->instruction_count,
                        sizeof *tape->instructions))
        return NULL;
    cm3__instruction *made = &tape->instructions[tape->instruction_count++];
    memset(made, 0, sizeof *made);
    made->action = action;
    made->node = node;
    made->grad_out = made->workspace = CM3__NONE;
    for (int i = 0; i < CM3_OP_INPUTS; i++) made->in[i] = made->grad_in[i] = CM3__NONE;
    for (int i = 0; i < CM3_OP_OUTPUTS; i++) made->out[i] = CM3__NONE;
    return made;
}

/* Shapes of the call; addresses come when the tape is bound. */
static void fill_call(const cm3_tape *tape, const cm3__node *node, cm3_call *call) {
    call->attr = &node->attr;
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (node->in[i] != CM3__NONE) {
            call->in[i] = var_of(tape, node->in[i])->tensor;
            call->in[i].data = NULL;
        }
    for (int i = 0; i < node->outputs; i++) {
        call->out[i] = var_of(tape, node->out[i])->tensor;
        call->out[i].data = NULL;
    }
}

static void add_workspace(cm3_tape *tape, cm3__instruction *made, size_t (*bytes_of)(const cm3_call *call)) {
    const size_t bytes = bytes_of ? bytes_of(&made->call) : 0;
    if (bytes) made->workspace = new_buffer(tape, NULL, bytes, false);
}

static int value_buffer(cm3_tape *tape, int id) {
    return owner_of(tape, id)->buffer;
}

/* The input whose memory the first output may take: nobody reads it any more, in either direction. */
static int in_place_buffer(cm3_tape *tape, int n) {
    const cm3__node *node = &tape->nodes[n];
    const int k = node->def->in_place;
    if (k < 0 || node->in[k] == CM3__NONE) return CM3__NONE;
    const cm3_var *owner = owner_of(tape, node->in[k]);
    if (owner->kind != CM3__VALUE || owner->kept || owner->needed || owner->last_consumer != n) return CM3__NONE;
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (i != k && node->in[i] != CM3__NONE && owner_of(tape, node->in[i]) == owner) return CM3__NONE;
    for (int i = 0; i < tape->var_count; i++) /* a kept view of it */
        if (tape->vars[i]->kept && tape->vars[i]->owner == owner->id) return CM3__NONE;
    return owner->buffer;
}

static void emit_forward(cm3_tape *tape, int n) {
    const cm3__node *node = &tape->nodes[n];
    if (node->op == CM3_OP_VIEW) return;
    const bool left_to_backward = node->active && node->def->fused_forward_in_backward;
    if (left_to_backward) return;
    cm3__instruction *made = new_instruction(tape, CM3__FORWARD, n);
    if (!made) return;
    fill_call(tape, node, &made->call);
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (node->in[i] != CM3__NONE) made->in[i] = value_buffer(tape, node->in[i]);
    const int shared = in_place_buffer(tape, n);
    for (int i = 0; i < node->outputs; i++) {
        cm3_var *var = var_of(tape, node->out[i]);
        if ((node->def->optional >> i & 1) && !var->needed && !var->kept && var->last_consumer == CM3__NONE) continue;
        var->buffer = made->out[i] = i == 0 && shared != CM3__NONE ? shared : new_buffer(tape, &var->tensor, 0, false);
    }
    add_workspace(tape, made, tape->options.backend->kernels[node->op]->forward_workspace);
    tape->stats.forward_flops += node->def->flops(&made->call, false);
}

/* Makes sure that the value stands in memory at this point of the backward pass. */
static void materialise(cm3_tape *tape, int id) {
    cm3_var *var = owner_of(tape, id);
    if (!var->dropped || var->again || var->node == CM3__NONE) return;
    const int n = var->node;
    const cm3__node *node = &tape->nodes[n];
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (node->in[i] != CM3__NONE) materialise(tape, node->in[i]);
    cm3__instruction *made = new_instruction(tape, CM3__RECOMPUTE, n);
    if (!made) return;
    fill_call(tape, node, &made->call);
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (node->in[i] != CM3__NONE) made->in[i] = value_buffer(tape, node->in[i]);
    for (int i = 0; i < node->outputs; i++) {
        cm3_var *out = var_of(tape, node->out[i]);
        if (out->dropped && !out->again) {
            out->buffer = new_buffer(tape, &out->tensor, 0, false);
            out->again = true;
        }
        made->out[i] = out->buffer; /* statistics that were kept are written again, with the same values */
    }
    add_workspace(tape, made, tape->options.backend->kernels[node->op]->forward_workspace);
    tape->stats.recompute_flops += node->def->flops(&made->call, false);
}

/* Address-to-be of a gradient; starts it if this is its first contribution, and tells whether it was. */
static int gradient_buffer(cm3_tape *tape, cm3_var *var, int share, bool *first) {
    *first = !var->grad_started;
    if (!var->grad_started) {
        var->grad_started = true;
        const bool leaf = var->kind != CM3__VALUE;
        if (leaf && var->kind == CM3__PARAMETER)
            var->grad_buffer = new_buffer(tape, &var->grad, 0, true);
        else
            var->grad_buffer = !leaf && share != CM3__NONE ? share : new_buffer(tape, &var->grad, 0, false);
    }
    return var->grad_buffer;
}

static void emit_add_into(cm3_tape *tape, cm3_var *to, int from) {
    bool first;
    const int buffer = gradient_buffer(tape, to, CM3__NONE, &first);
    cm3__instruction *made = new_instruction(tape, CM3__ADD_INTO, CM3__NONE);
    if (!made) return;
    made->call.grad_in[0] = made->call.grad_out = to->grad;
    made->call.grad_in[0].data = made->call.grad_out.data = NULL;
    made->grad_in[0] = buffer;
    made->grad_out = from;
    made->call.accumulate[0] = !first;
    made->first_of_run[0] = first && to->kind == CM3__PARAMETER;
    made->bucket = to->kind == CM3__PARAMETER ? to->bucket : CM3__NONE;
}

/* The gradient of the output is also that of one input: hand over its memory, or add. */
static void pass_gradient(cm3_tape *tape, const cm3__node *node, int grad_out) {
    const int k = node->def->grad_is_identity_for;
    if (k < 0 || node->in[k] == CM3__NONE || !var_of(tape, node->in[k])->has_gradient) return;
    cm3_var *to = var_of(tape, node->in[k]);
    bool elsewhere =
        false; /* the same variable again: its other gradient must not run into grad_out while that is read */
    for (int i = 0; i < CM3_OP_INPUTS; i++) elsewhere |= i != k && node->in[i] == node->in[k];
    if (to->kind == CM3__VALUE && !to->grad_started && !elsewhere) {
        to->grad_started = true;
        to->grad_buffer = grad_out;
        return;
    }
    emit_add_into(tape, to, grad_out);
}

static void emit_backward(cm3_tape *tape, int n) {
    const cm3__node *node = &tape->nodes[n];
    cm3_var *out = var_of(tape, node->out[0]);
    if (!node->active) return;
    if (out->is_loss) {
        bool first = !out->grad_started; /* not if another root follows from it */
        const int one = first ? gradient_buffer(tape, out, CM3__NONE, &first) : new_buffer(tape, &out->grad, 0, false);
        cm3__instruction *seed = new_instruction(tape, CM3__SEED, CM3__NONE);
        if (!seed) return;
        seed->grad_out = one;
        seed->call.grad_out = out->grad;
        if (!first) emit_add_into(tape, out, one);
    }
    if (out->is_seeded) {
        const cm3_tensor seed = {.type = out->grad.type, .shape = out->grad.shape, .data = out->seed};
        emit_add_into(tape, out, new_buffer(tape, &seed, 0, true));
    }
    if (!out->grad_started) return;
    const int grad_out = out->grad_buffer;
    const bool passes = node->def->grad_is_identity_for >= 0 && node->in[node->def->grad_is_identity_for] != CM3__NONE;

    if (node->op != CM3_OP_VIEW) {
        unsigned inputs, outputs;
        backward_reads(tape, node, &inputs, &outputs);
        for (int i = 0; i < CM3_OP_INPUTS; i++)
            if (node->in[i] != CM3__NONE && (inputs >> i & 1)) materialise(tape, node->in[i]);
        for (int i = 0; i < node->outputs; i++)
            if (outputs >> i & 1) materialise(tape, node->out[i]);

        cm3__instruction made = {.action = CM3__BACKWARD, .node = n, .grad_out = grad_out, .workspace = CM3__NONE};
        fill_call(tape, node, &made.call);
        made.call.grad_out = out->grad;
        made.call.grad_out.data = NULL;
        bool any = false;
        for (int i = 0; i < CM3_OP_INPUTS; i++) {
            made.in[i] = node->in[i] != CM3__NONE && (inputs >> i & 1) ? value_buffer(tape, node->in[i]) : CM3__NONE;
            made.grad_in[i] = CM3__NONE;
            if (node->in[i] == CM3__NONE || !(node->def->differentiable >> i & 1) ||
                i == node->def->grad_is_identity_for)
                continue;
            cm3_var *in = var_of(tape, node->in[i]);
            if (!in->has_gradient) continue;
            bool first;
            made.grad_in[i] =
                gradient_buffer(tape, in, !passes && node->def->grad_in_place == i ? grad_out : CM3__NONE, &first);
            made.call.grad_in[i] = in->grad;
            made.call.grad_in[i].data = NULL;
            made.call.accumulate[i] = !first;
            made.first_of_run[i] = first && in->kind == CM3__PARAMETER;
            any = true;
        }
        for (int i = 0; i < CM3_OP_OUTPUTS; i++) {
            made.out[i] = CM3__NONE;
            if (i >= node->outputs) continue;
            cm3_var *value = var_of(tape, node->out[i]);
            if (node->def->fused_forward_in_backward && value->buffer == CM3__NONE)
                value->buffer = new_buffer(tape, &value->tensor, 0, false);
            if (outputs >> i & 1) made.out[i] = value->buffer;
        }
        if (any) {
            const cm3_kernel *kernel = tape->options.backend->kernels[node->op];
            if (!kernel->backward) {
                cm3__tape_fail(tape, cm3_fail(CM3_ERR_UNSUPPORTED, "%s has no backward pass on %s", node->def->name,
                                              tape->options.backend->name));
                return;
            }
            add_workspace(tape, &made, kernel->backward_workspace);
            cm3__instruction *slot = new_instruction(tape, CM3__BACKWARD, n);
            if (!slot) return;
            *slot = made;
            tape->stats.backward_flops += node->def->flops(&made.call, true);
            if (node->def->fused_forward_in_backward) tape->stats.forward_flops += node->def->flops(&made.call, false);
        }
    }
    pass_gradient(tape, node, grad_out);
}

/* Parameters that the losses do not reach have a gradient of zero. */
static void emit_zeros(cm3_tape *tape) {
    for (int i = 0; i < tape->var_count; i++) {
        cm3_var *var = tape->vars[i];
        if (var->kind != CM3__PARAMETER || var->grad_started) continue;
        bool first;
        const int buffer = gradient_buffer(tape, var, CM3__NONE, &first);
        cm3__instruction *made = new_instruction(tape, CM3__ZERO, CM3__NONE);
        if (!made) return;
        made->grad_in[0] = buffer;
        made->call.grad_in[0] = var->grad;
        made->bucket = var->bucket;
        made->first_of_run[0] = true;
    }
}

/* After the last instruction that touches a parameter of a bucket, that bucket is ready. */
static void emit_ready(cm3_tape *tape) {
    const int count = tape->instruction_count;
    for (int i = count - 1; i >= 0; i--) {
        int touched[CM3_OP_INPUTS], kinds = 0;
        const cm3__instruction *at = &tape->instructions[i];
        for (int k = 0; k < CM3_OP_INPUTS; k++) {
            if (at->grad_in[k] == CM3__NONE || !tape->buffers[at->grad_in[k]].is_external) continue;
            touched[kinds++] = at->node == CM3__NONE ? at->bucket : var_of(tape, tape->nodes[at->node].in[k])->bucket;
        }
        for (int k = 0; k < kinds; k++) {
            bool known = false;
            for (int j = i + 1; j < tape->instruction_count && !known; j++)
                known = tape->instructions[j].action == CM3__READY && tape->instructions[j].bucket == touched[k];
            if (known) continue;
            if (!new_instruction(tape, CM3__READY, CM3__NONE)) return;
            const cm3__instruction ready = tape->instructions[tape->instruction_count - 1];
            memmove(&tape->instructions[i + 2], &tape->instructions[i + 1],
                    (size_t)(tape->instruction_count - i - 2) * sizeof ready);
            tape->instructions[i + 1] = ready;
            tape->instructions[i + 1].bucket = touched[k];
        }
    }
}

/* --- 4: places --------------------------------------------------------------------------------------------------- */

static void touch(cm3_tape *tape, int buffer, int at) {
    if (buffer == CM3__NONE) return;
    cm3__buffer *b = &tape->buffers[buffer];
    if (at < b->first) b->first = at;
    if (at > b->last) b->last = at;
}

static cm3_status place_buffers(cm3_tape *tape) {
    for (int i = 0; i < tape->instruction_count; i++) {
        const cm3__instruction *at = &tape->instructions[i];
        for (int k = 0; k < CM3_OP_INPUTS; k++) {
            touch(tape, at->in[k], i);
            touch(tape, at->grad_in[k], i);
        }
        for (int k = 0; k < CM3_OP_OUTPUTS; k++) touch(tape, at->out[k], i);
        touch(tape, at->grad_out, i);
        touch(tape, at->workspace, i);
    }
    for (int i = 0; i < tape->var_count; i++) {
        const cm3_var *var = tape->vars[i];
        if (var->kept && value_buffer(tape, i) != CM3__NONE) tape->buffers[value_buffer(tape, i)].last = INT_MAX;
        if (var->wants_gradient && var->grad_buffer != CM3__NONE) tape->buffers[var->grad_buffer].last = INT_MAX;
    }
    /* Buffers are numbered by first use, nearly: per instruction, look only at its own. */
    const size_t guard = tape->options.guards ? CM3__GUARD_BYTES : 0;
    for (int i = 0; i < tape->instruction_count; i++) {
        const cm3__instruction *at = &tape->instructions[i];
        int mine[2 * CM3_OP_INPUTS + CM3_OP_OUTPUTS + 2], count = 0;
        for (int k = 0; k < CM3_OP_INPUTS; k++) {
            mine[count++] = at->in[k];
            mine[count++] = at->grad_in[k];
        }
        for (int k = 0; k < CM3_OP_OUTPUTS; k++) mine[count++] = at->out[k];
        mine[count++] = at->grad_out;
        mine[count++] = at->workspace;
        for (int phase = 0; phase < 2; phase++)
            for (int k = 0; k < count; k++) {
                if (mine[k] == CM3__NONE) continue;
                cm3__buffer *b = &tape->buffers[mine[k]];
                if (b->is_external) continue;
                if (phase == 0 && b->first == i) {
                    CM3_TRY(cm3_arena_take(tape->arena, b->bytes + guard, &b->offset));
                    b->first = -1 - i; /* placed */
                } else if (phase == 1 && b->last == i) {
                    CM3_TRY(cm3_arena_give(tape->arena, b->bytes + guard, b->offset));
                    b->last = -1 - i; /* given back; a buffer named twice in one call is given once */
                }
            }
    }
    tape->stats.peak_bytes = cm3_arena_peak(tape->arena);
    return CM3_OK;
}

cm3_status cm3_tape_plan(cm3_tape *tape) {
    if (tape->status != CM3_OK) return cm3_fail(tape->status, "%s", tape->message);
    if (tape->planned) return CM3_OK;
    bool trains = false;
    for (int i = 0; i < tape->var_count; i++) {
        cm3_var *var = tape->vars[i];
        trains |= is_root(var);
        if (var->kind != CM3__VALUE) var->buffer = new_buffer(tape, &var->tensor, 0, true);
    }
    for (int n = 0; n < tape->node_count; n++)
        if (tape->nodes[n].op != CM3_OP_VIEW && !tape->options.backend->kernels[tape->nodes[n].op])
            return cm3__tape_fail(tape, cm3_fail(CM3_ERR_UNSUPPORTED, "%s has no kernel for %s",
                                                 tape->options.backend->name, tape->nodes[n].def->name));
    if (tape->status == CM3_OK) choose_masked(tape);
    if (tape->status == CM3_OK) find_active_nodes(tape);
    if (tape->status == CM3_OK && trains) {
        choose_dropped(tape);
        find_needed_values(tape);
    }
    for (int n = 0; n < tape->node_count && tape->status == CM3_OK; n++) emit_forward(tape, n);
    for (int n = tape->node_count - 1; n >= 0 && tape->status == CM3_OK && trains; n--) emit_backward(tape, n);
    if (tape->status == CM3_OK && trains) emit_zeros(tape);
    if (tape->status == CM3_OK && trains) emit_ready(tape);
    if (tape->status != CM3_OK) return cm3_fail(tape->status, "%s", tape->message);
    cm3_status status = place_buffers(tape);
    if (status == CM3_OK) status = cm3__page_sharing_plan(tape);
    if (status != CM3_OK) return cm3__tape_fail(tape, status);
    tape->stats.instructions = (size_t)tape->instruction_count;
    tape->planned = true;
    return CM3_OK;
}

const cm3_tape_stats *cm3_tape_get_stats(const cm3_tape *tape) {
    return &tape->stats;
}
