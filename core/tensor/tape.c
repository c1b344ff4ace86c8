/* Recording: variables, nodes, and one short function for each operation. */
#include "core/tensor/tape_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

cm3_status cm3__tape_fail(cm3_tape *tape, cm3_status status) {
    if (tape->status == CM3_OK) {
        tape->status = status;
        strncpy(tape->message, cm3_message(), sizeof tape->message - 1);
    }
    return tape->status;
}

bool cm3__tape_grow(cm3_tape *tape, void **array, int *capacity, int count, size_t size) {
    if (count < *capacity) return true;
    const int wanted = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*array, (size_t)wanted * size);
    if (!grown) {
        cm3__tape_fail(tape, cm3_fail(CM3_ERR_MEMORY, "out of memory for a tape of %d entries", wanted));
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}

cm3_status cm3_tape_create(const cm3_tape_options *options, cm3_tape **out) {
    *out = NULL;
    if (options->compute != CM3_F32 && !(options->compute == CM3_BF16 && options->backend->has_bf16))
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s does not compute in %s", options->backend->name,
                        cm3_dtype_name(options->compute));
    if (options->guards && !options->backend->memory->host)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "guard zones need the host's memory, not that of %s",
                        options->backend->name);
    cm3_tape *tape = calloc(1, sizeof *tape);
    *out = tape;
    if (!tape) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a tape");
    tape->options = *options;
    if (options->shares) {
        tape->arena = options->shares->arena;
        return CM3_OK;
    }
    const cm3_status status = cm3_arena_create(options->backend->memory, &tape->arena);
    if (status != CM3_OK) {
        free(tape);
        *out = NULL;
    }
    return status;
}

const cm3_tape_options *cm3_tape_get_options(const cm3_tape *tape) {
    return &tape->options;
}

void cm3_tape_free(cm3_tape *tape) {
    if (!tape) return;
    for (int i = 0; i < tape->var_count; i++) free(tape->vars[i]);
    free(tape->vars);
    free(tape->nodes);
    free(tape->buffers);
    free(tape->instructions);
    cm3__page_sharing_free(&tape->page_sharing);
    for (int i = 0; i < 4; i++)
        if (tape->graphs[i / 2][i % 2].graph) tape->options.backend->graph->free(tape->graphs[i / 2][i % 2].graph);
    if (!tape->options.shares) cm3_arena_free(tape->arena);
    free(tape);
}

static cm3_var *add_var(cm3_tape *tape, cm3__var_kind kind, cm3_tensor tensor) {
    if (!tape || tape->status != CM3_OK) return NULL;
    if (tape->planned) {
        cm3__tape_fail(tape, cm3_fail(CM3_ERR_INTERNAL, "cannot record after cm3_tape_plan()"));
        return NULL;
    }
    if (!cm3__tape_grow(tape, (void **)&tape->vars, &tape->var_capacity, tape->var_count, sizeof *tape->vars))
        return NULL;
    cm3_var *var = calloc(1, sizeof *var);
    if (!var) {
        cm3__tape_fail(tape, cm3_fail(CM3_ERR_MEMORY, "out of memory for a variable"));
        return NULL;
    }
    *var = (cm3_var){.tape = tape,
                     .kind = kind,
                     .tensor = tensor,
                     .id = tape->var_count,
                     .owner = tape->var_count,
                     .node = CM3__NONE,
                     .bucket = tape->bucket,
                     .buffer = CM3__NONE,
                     .grad_buffer = CM3__NONE,
                     .last_consumer = CM3__NONE};
    /* Gradients of parameters are sums over many rows, and of many ranks. */
    var->grad = (cm3_tensor){.type = kind == CM3__PARAMETER ? CM3_F32 : tensor.type, .shape = tensor.shape};
    return tape->vars[tape->var_count++] = var;
}

cm3_var *cm3_tape_input(cm3_tape *tape, cm3_dtype type, cm3_shape shape, void *data) {
    return add_var(tape, CM3__INPUT, (cm3_tensor){.type = type, .shape = shape, .data = data});
}

cm3_var *cm3_tape_parameter(cm3_tape *tape, cm3_shape shape, void *value, void *grad, int bucket) {
    const cm3_dtype type = tape ? tape->options.compute : CM3_F32;
    cm3_var *var = add_var(tape, CM3__PARAMETER, (cm3_tensor){.type = type, .shape = shape, .data = value});
    if (!var) return NULL;
    var->grad.data = grad;
    var->bucket = bucket;
    return var;
}

void cm3_tape_bucket(cm3_tape *tape, int bucket) {
    if (tape) tape->bucket = bucket;
}

cm3_var *cm3_tape_record(cm3_tape *tape, cm3_op op, const cm3_op_attr *attr, cm3_var *const in[], int inputs) {
    if (!tape || tape->status != CM3_OK) return NULL;
    cm3__node node = {.op = op, .def = cm3_op_definition(op), .attr = *attr, .bucket = tape->bucket};
    cm3_tensor tensors[CM3_OP_INPUTS] = {0}, made[CM3_OP_OUTPUTS];
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        node.in[i] = i < inputs && in[i] ? in[i]->id : CM3__NONE;
        if (node.in[i] != CM3__NONE) tensors[i] = in[i]->tensor;
    }
    const cm3_status status = node.def->infer(&node.attr, tensors, made, &node.outputs);
    if (status != CM3_OK) {
        cm3__tape_fail(tape, status);
        return NULL;
    }
    if (!cm3__tape_grow(tape, (void **)&tape->nodes, &tape->node_capacity, tape->node_count, sizeof node)) return NULL;
    for (int i = 0; i < node.outputs; i++) {
        cm3_var *var = add_var(tape, CM3__VALUE, made[i]);
        if (!var) return NULL;
        var->node = tape->node_count;
        var->output = i;
        node.out[i] = var->id;
    }
    for (int i = node.outputs; i < CM3_OP_OUTPUTS; i++) node.out[i] = CM3__NONE;
    tape->nodes[tape->node_count++] = node;
    return tape->vars[node.out[0]];
}

cm3_var *cm3_tape_output(cm3_var *var, int index) {
    if (!var || var->node == CM3__NONE || index >= var->tape->nodes[var->node].outputs) return NULL;
    return var->tape->vars[var->tape->nodes[var->node].out[index]];
}

static bool takes(const cm3_tape *tape, const cm3_var *var) {
    return tape && tape->status == CM3_OK && var;
}

/* Where the backward pass can start. */
static bool takes_root(cm3_tape *tape, const cm3_var *var, const char *what) {
    if (!takes(tape, var)) return false;
    if (var->node != CM3__NONE && var->output == 0) return true;
    cm3__tape_fail(tape, cm3_fail(CM3_ERR_INTERNAL, "a %s is the first output of an operation, not %s", what,
                                  var->node == CM3__NONE ? "a leaf" : "a further one"));
    return false;
}

void cm3_tape_keep(cm3_tape *tape, cm3_var *var) {
    if (takes(tape, var)) var->kept = true;
}

void cm3_tape_loss(cm3_tape *tape, cm3_var *loss) {
    if (takes_root(tape, loss, "loss")) loss->kept = loss->is_loss = true;
}

void cm3_tape_seed(cm3_tape *tape, cm3_var *var, void *gradient) {
    if (!takes_root(tape, var, "value with a seed")) return;
    var->kept = var->is_seeded = true;
    var->seed = gradient;
}

void cm3_tape_want_gradient(cm3_tape *tape, cm3_var *input) {
    if (takes(tape, input)) input->wants_gradient = true;
}

const cm3_tensor *cm3_var_tensor(const cm3_var *var) {
    return &var->tensor;
}

const cm3_tensor *cm3_var_grad(const cm3_var *var) {
    return &var->grad;
}

float cm3_var_scalar(const cm3_var *var) {
    float scalar = NAN;
    if (var->tensor.data) var->tape->options.backend->memory->download(&scalar, var->tensor.data, sizeof scalar);
    return scalar;
}

/* --- the operations ---------------------------------------------------------------------------------------------- */

/* A required input that is NULL means an earlier failure, which the tape already holds. */
#define RECORD(op, attributes, ...)                                                                                    \
    cm3_tape_record(tape, CM3_OP_##op, &(const cm3_op_attr)attributes, (cm3_var *const[]){__VA_ARGS__},                \
                    (int)(sizeof((cm3_var *[]){__VA_ARGS__}) / sizeof(cm3_var *)))

cm3_var *cm3_embed(cm3_tape *tape, cm3_var *table, cm3_var *ids, cm3_var *position_table, cm3_var *positions) {
    return RECORD(EMBED, {0}, table, ids, position_table, positions);
}

cm3_var *cm3_layer_norm(cm3_tape *tape, cm3_var *x, cm3_var *gain, cm3_var *bias, float epsilon) {
    return RECORD(LAYER_NORM, {.epsilon = epsilon}, x, gain, bias);
}

cm3_var *cm3_rms_norm(cm3_tape *tape, cm3_var *x, cm3_var *gain, float epsilon) {
    return RECORD(RMS_NORM, {.epsilon = epsilon}, x, gain);
}

/* What LINEAR with RELU also made, if it made x. */
static cm3_var *mask_of(cm3_var *x) {
    if (!x || x->node == CM3__NONE || x->output != 0) return NULL;
    return cm3__is_relu(&x->tape->nodes[x->node]) ? cm3_tape_output(x, 1) : NULL;
}

cm3_var *cm3_linear(cm3_tape *tape, cm3_var *x, cm3_var *weight, cm3_var *bias, cm3_var *residual,
                    cm3_activation activation) {
    return RECORD(LINEAR, {.activation = activation}, x, weight, bias, residual, mask_of(x));
}

cm3_var *cm3_logits(cm3_tape *tape, cm3_var *hidden, cm3_var *table) {
    return RECORD(LINEAR, {.f32_out = true}, hidden, table);
}

static cm3_op_attr heads_attr(const cm3_var *qkv, cm3_heads heads) {
    const int64_t parts = heads.heads + 2 * heads.kv_heads;
    const double head_size =
        qkv && qkv->tensor.shape.rank == 2 && parts > 0 ? (double)(qkv->tensor.shape.dim[1] / parts) : 1;
    return (cm3_op_attr){.heads = heads.heads,
                         .kv_heads = heads.kv_heads,
                         .sequence = heads.sequence,
                         .scale = heads.scale != 0 ? heads.scale : (float)(1 / sqrt(head_size))};
}

cm3_var *cm3_attention(cm3_tape *tape, cm3_var *qkv, cm3_heads heads, bool causal) {
    cm3_op_attr attr = heads_attr(qkv, heads);
    attr.causal = causal;
    return cm3_tape_record(tape, CM3_OP_ATTENTION, &attr, (cm3_var *const[]){qkv}, 1);
}

cm3_var *cm3_attention_cached(cm3_tape *tape, cm3_var *qkv, cm3_var *key_cache, cm3_var *value_cache, cm3_var *start,
                              cm3_heads heads) {
    const cm3_op_attr attr = heads_attr(qkv, heads);
    return cm3_tape_record(tape, CM3_OP_ATTENTION_CACHED, &attr, (cm3_var *const[]){qkv, key_cache, value_cache, start},
                           4);
}

cm3_var *cm3_qk_norm(cm3_tape *tape, cm3_var *qkv, cm3_var *q_gain, cm3_var *q_bias, cm3_var *k_gain, cm3_var *k_bias,
                     cm3_var *positions, cm3_heads heads, float epsilon, float theta) {
    cm3_op_attr attr = heads_attr(qkv, heads);
    attr.epsilon = epsilon;
    attr.theta = theta;
    return cm3_tape_record(tape, CM3_OP_QK_NORM, &attr,
                           (cm3_var *const[]){qkv, q_gain, q_bias, k_gain, k_bias, positions}, 6);
}

cm3_var *cm3_rotary(cm3_tape *tape, cm3_var *qkv, cm3_var *positions, cm3_heads heads, float theta) {
    cm3_op_attr attr = heads_attr(qkv, heads);
    attr.theta = theta;
    return cm3_tape_record(tape, CM3_OP_ROTARY, &attr, (cm3_var *const[]){qkv, positions}, 2);
}

cm3_var *cm3_swiglu(cm3_tape *tape, cm3_var *gate_up) {
    return RECORD(SWIGLU, {0}, gate_up);
}

cm3_var *cm3_activate(cm3_tape *tape, cm3_var *x, cm3_activation activation) {
    return RECORD(ACTIVATE, {.activation = activation}, x);
}

cm3_var *cm3_add(cm3_tape *tape, cm3_var *a, cm3_var *b) {
    return RECORD(ADD, {0}, a, b);
}

cm3_var *cm3_linear_cross_entropy(cm3_tape *tape, cm3_var *hidden, cm3_var *table, cm3_var *targets, cm3_var *scale,
                                  cm3_var *weights, float z_loss, cm3_var **per_row) {
    cm3_var *loss = RECORD(LINEAR_CROSS_ENTROPY, {.z_loss = z_loss}, hidden, table, targets, scale, weights);
    if (per_row) *per_row = cm3_tape_output(loss, 1);
    return loss;
}

cm3_var *cm3_conv2d(cm3_tape *tape, cm3_var *x, cm3_var *weight, cm3_var *bias, int stride, int pad, int pad_after) {
    const cm3_op_attr attr = {.stride = stride, .pad = pad, .pad_after = pad_after};
    return cm3_tape_record(tape, CM3_OP_CONV2D, &attr, (cm3_var *const[]){x, weight, bias}, 3);
}

cm3_var *cm3_group_norm(cm3_tape *tape, cm3_var *x, cm3_var *gain, cm3_var *bias, int groups, float epsilon,
                        cm3_activation activation) {
    const cm3_op_attr attr = {.groups = groups, .epsilon = epsilon, .activation = activation};
    return cm3_tape_record(tape, CM3_OP_GROUP_NORM, &attr, (cm3_var *const[]){x, gain, bias}, 3);
}

cm3_var *cm3_upsample(cm3_tape *tape, cm3_var *x) {
    return RECORD(UPSAMPLE, {0}, x);
}

cm3_var *cm3_average_pool(cm3_tape *tape, cm3_var *x) {
    return RECORD(AVERAGE_POOL, {0}, x);
}

cm3_var *cm3_nearest_code(cm3_tape *tape, cm3_var *z, cm3_var *codebook) {
    return RECORD(NEAREST_CODE, {0}, z, codebook);
}

cm3_var *cm3_code_lookup(cm3_tape *tape, cm3_var *z, cm3_var *codebook, cm3_var *codes) {
    return RECORD(CODE_LOOKUP, {0}, z, codebook, codes);
}

cm3_var *cm3_code_loss(cm3_tape *tape, cm3_var *z, cm3_var *codebook, cm3_var *codes, cm3_var *scale,
                       float commitment) {
    return RECORD(CODE_LOSS, {.commitment = commitment}, z, codebook, codes, scale);
}

cm3_var *cm3_pixel_loss(cm3_tape *tape, cm3_var *x, cm3_var *y, cm3_var *scale, float l1, float l2) {
    const cm3_op_attr attr = {.l1 = l1, .l2 = l2};
    return cm3_tape_record(tape, CM3_OP_PIXEL_LOSS, &attr, (cm3_var *const[]){x, y, scale}, 3);
}

cm3_var *cm3_view(cm3_tape *tape, cm3_var *x, cm3_shape shape) {
    if (tape && tape->status == CM3_OK && x && cm3_shape_count(shape) != cm3_shape_count(x->tensor.shape)) {
        char a[96], b[96];
        cm3__tape_fail(tape, cm3_fail(CM3_ERR_SHAPE, "view: %s cannot be seen as %s",
                                      cm3_shape_text(x->tensor.shape, a), cm3_shape_text(shape, b)));
    }
    cm3_var *view = RECORD(VIEW, {0}, x);
    if (!view) return NULL;
    view->tensor.shape = view->grad.shape = shape;
    view->owner = x->owner;
    return view;
}

cm3_var *cm3_detach(cm3_tape *tape, cm3_var *x) {
    cm3_var *view = RECORD(VIEW, {.detached = true}, x);
    if (view) view->owner = x->owner;
    return view;
}
