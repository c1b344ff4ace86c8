/* Running: the planned schedule bound to addresses and walked, once a step. */
#include "core/log.h"
#include "core/tensor/tape_internal.h"

#include <string.h>

static void *address(const cm3_tape *tape, const char *base, int buffer) {
    if (buffer == CM3__NONE) return NULL;
    const cm3__buffer *b = &tape->buffers[buffer];
    return b->is_external ? b->external : (void *)(uintptr_t)(base + b->offset);
}

static cm3_status bind(cm3_tape *tape) {
    void *base;
    CM3_TRY(cm3_arena_base(tape->arena, &base));
    for (int i = 0; i < tape->instruction_count; i++) {
        cm3__instruction *at = &tape->instructions[i];
        cm3_call *call = &at->call;
        for (int k = 0; k < CM3_OP_INPUTS; k++) {
            call->in[k].data = address(tape, base, at->in[k]);
            call->grad_in[k].data = address(tape, base, at->grad_in[k]);
        }
        for (int k = 0; k < CM3_OP_OUTPUTS; k++) call->out[k].data = address(tape, base, at->out[k]);
        call->grad_out.data = address(tape, base, at->grad_out);
        call->workspace = address(tape, base, at->workspace);
        if (at->node != CM3__NONE) call->attr = &tape->nodes[at->node].attr;
    }
    for (int i = 0; i < tape->var_count; i++) {
        cm3_var *var = tape->vars[i];
        const int value = tape->vars[var->owner]->buffer;
        if (var->kind == CM3__VALUE && var->kept) var->tensor.data = address(tape, base, value);
        if (var->wants_gradient) var->grad.data = address(tape, base, var->grad_buffer);
    }
    CM3_TRY(cm3__page_sharing_bind(tape));
    tape->bound = true;
    return CM3_OK;
}

/* --- guards: tests only ------------------------------------------------------------------------------------------ */

enum { GUARD_BYTE = 0xA5, STALE_BYTE = 0xFF }; /* a float of 0xFF bytes is NaN: reading what nobody wrote shows */

/* Fresh buffers of this instruction get a stale content and a guard zone. */
static void arm_guards(const cm3_tape *tape, int at, char *base) {
    for (int b = 0; b < tape->buffer_count; b++) {
        const cm3__buffer *buffer = &tape->buffers[b];
        if (buffer->is_external || buffer->first != -1 - at) continue;
        memset(base + buffer->offset, STALE_BYTE, buffer->bytes);
        memset(base + buffer->offset + buffer->bytes, GUARD_BYTE, CM3__GUARD_BYTES);
    }
}

static cm3_status check_guard(const cm3_tape *tape, const cm3__instruction *at, int buffer, const char *base) {
    if (buffer == CM3__NONE || tape->buffers[buffer].is_external) return CM3_OK;
    const unsigned char *guard =
        (const unsigned char *)base + tape->buffers[buffer].offset + tape->buffers[buffer].bytes;
    for (int i = 0; i < CM3__GUARD_BYTES; i++)
        if (guard[i] != GUARD_BYTE)
            return cm3_fail(CM3_ERR_INTERNAL, "%s %s wrote %d bytes behind a buffer of %zu",
                            at->node == CM3__NONE ? "a copy" : tape->nodes[at->node].def->name,
                            at->action == CM3__BACKWARD ? "backward" : "forward", i + 1, tape->buffers[buffer].bytes);
    return CM3_OK;
}

static cm3_status check_guards(const cm3_tape *tape, const cm3__instruction *at, const char *base) {
    for (int k = 0; k < CM3_OP_INPUTS; k++) {
        CM3_TRY(check_guard(tape, at, at->in[k], base));
        CM3_TRY(check_guard(tape, at, at->grad_in[k], base));
    }
    for (int k = 0; k < CM3_OP_OUTPUTS; k++) CM3_TRY(check_guard(tape, at, at->out[k], base));
    CM3_TRY(check_guard(tape, at, at->grad_out, base));
    return check_guard(tape, at, at->workspace, base);
}

/* --- the walk ---------------------------------------------------------------------------------------------------- */

static cm3_status run_backward(const cm3_tape *tape, const cm3__instruction *at, bool accumulate) {
    cm3_call call = at->call;
    for (int k = 0; k < CM3_OP_INPUTS; k++)
        if (at->first_of_run[k]) call.accumulate[k] = accumulate;
    return tape->options.backend->kernels[tape->nodes[at->node].op]->backward(&call);
}

static cm3_status run_one(const cm3_tape *tape, const cm3__instruction *at, const cm3_tape_run_options *options) {
    const cm3_memory *memory = tape->options.backend->memory;
    const cm3_call *call = &at->call;
    const bool accumulate = at->first_of_run[0] ? options->accumulate : call->accumulate[0];
    switch (at->action) {
    case CM3__FORWARD:
    case CM3__RECOMPUTE:
        return tape->options.backend->kernels[tape->nodes[at->node].op]->forward(call);
    case CM3__BACKWARD:
        return run_backward(tape, at, options->accumulate);
    case CM3__SEED:
        return memory->set(call->grad_out.data, 1);
    case CM3__ADD_INTO:
        return tape->options.backend->cast(&call->grad_in[0], &call->grad_out, accumulate);
    case CM3__ZERO:
        return accumulate ? CM3_OK : memory->clear(call->grad_in[0].data, cm3_tensor_bytes(&call->grad_in[0]));
    case CM3__READY:
        return options->bucket_ready ? options->bucket_ready(options->context, at->bucket) : CM3_OK;
    }
    return CM3_OK;
}

static cm3_status walk(cm3_tape *tape, const cm3_tape_run_options *options) {
    void *base;
    CM3_TRY(cm3_arena_base(tape->arena, &base));
    const bool guards = tape->options.guards, shares_pages = !options->accumulate;
    int released = 0;
    if (shares_pages) cm3__page_sharing_discard_gradients(tape);
    if (tape->options.shares) cm3__page_sharing_discard_gradients(tape->options.shares);
    for (int i = 0; i < tape->instruction_count; i++) {
        const cm3__instruction *at = &tape->instructions[i];
        if (shares_pages) cm3__page_sharing_discard_activations(tape, base, at, &released);
        if (guards) arm_guards(tape, i, base);
        CM3_TRY(run_one(tape, at, options));
        if (guards) CM3_TRY(check_guards(tape, at, base));
        if (options->progress && at->action == CM3__BACKWARD) CM3_TRY(options->progress(options->context));
    }
    return options->all_ready ? options->all_ready(options->context) : CM3_OK;
}

/* The walk kept as a graph, at its second run: the first one has made what kernels make only once. */
static cm3_status keep(cm3_tape *tape, const cm3_tape_run_options *options, void **graph) {
    const cm3_graph_api *graphs = tape->options.backend->graph;
    CM3_TRY(graphs->begin());
    const cm3_status status = walk(tape, options);
    const cm3_status ended = graphs->end(graph);
    if (status == CM3_OK) return ended;
    graphs->free(*graph);
    *graph = NULL;
    return status;
}

cm3_status cm3_tape_run(cm3_tape *tape, const cm3_tape_run_options *options) {
    static const cm3_tape_run_options plain = {0};
    if (!options) options = &plain;
    CM3_TRY(cm3_tape_plan(tape));
    if (!tape->options.backend->executes)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "the %s device only counts", tape->options.backend->name);
    if (!tape->bound) CM3_TRY(bind(tape));
    const cm3_graph_api *graphs = tape->options.backend->graph;
    const bool calls = options->bucket_ready || options->progress || options->all_ready;
    if (!graphs || (calls && !options->queues)) return walk(tape, options);
    cm3__graph *kept = &tape->graphs[options->accumulate][calls];
    if (!kept->graph && kept->ran && !kept->cannot) {
        kept->cannot = keep(tape, options, &kept->graph) != CM3_OK;
        if (kept->cannot) cm3_log_warn("CUDA graph capture failed; kernels are launched one by one: %s", cm3_message());
    }
    kept->ran = true;
    return kept->graph ? graphs->run(kept->graph) : walk(tape, options);
}
