#include "core/tensor/op.h"

#include <string.h>

/* --- shapes ------------------------------------------------------------------------------------------------------ */

typedef struct op_shapes {
    const char *name;
    const cm3_op_attr *attr;
    const cm3_tensor *in;
    cm3_tensor *out;
    int outputs;
    cm3_dtype real; /* of the transformer's operations: f32 or bf16, as the first input has it */
} op_shapes;

static int64_t dim(const cm3_tensor *t, int i) {
    return t->shape.dim[i];
}

static int64_t rows(const cm3_tensor *t) {
    return t->shape.dim[0];
}

static bool present(const cm3_tensor *t) {
    return t->shape.rank > 0;
}

static void output(op_shapes *o, cm3_dtype type, cm3_shape shape) {
    o->out[o->outputs++] = (cm3_tensor){.type = type, .shape = shape};
}

static cm3_status expect(const op_shapes *o, const char *what, const cm3_tensor *found, cm3_dtype type,
                         cm3_shape wanted) {
    if (found->type == type && cm3_shape_equal(found->shape, wanted)) return CM3_OK;
    char a[96], b[96];
    return cm3_fail(CM3_ERR_SHAPE, "%s: %s is %s %s, expected %s %s", o->name, what, cm3_dtype_name(found->type),
                    cm3_shape_text(found->shape, a), cm3_dtype_name(type), cm3_shape_text(wanted, b));
}

static cm3_status expect_rank(const op_shapes *o, const char *what, const cm3_tensor *found, cm3_dtype type, int rank) {
    if (found->type == type && found->shape.rank == rank) return CM3_OK;
    char a[96];
    return cm3_fail(CM3_ERR_SHAPE, "%s: %s is %s %s, expected %s of %d dimensions", o->name, what,
                    cm3_dtype_name(found->type), cm3_shape_text(found->shape, a), cm3_dtype_name(type), rank);
}

static cm3_status expect_scalar(const op_shapes *o, const char *what, const cm3_tensor *found) {
    return expect(o, what, found, CM3_F32, cm3_shape_of(1));
}

static cm3_status infer_embed(op_shapes *o) {
    CM3_TRY(expect_rank(o, "table", &o->in[0], o->real, 2));
    CM3_TRY(expect_rank(o, "ids", &o->in[1], CM3_I32, 1));
    if (present(&o->in[2])) {
        CM3_TRY(expect_rank(o, "position table", &o->in[2], o->real, 2));
        CM3_TRY(expect(o, "position table", &o->in[2], o->real, cm3_shape_of(rows(&o->in[2]), dim(&o->in[0], 1))));
        CM3_TRY(expect(o, "positions", &o->in[3], CM3_I32, o->in[1].shape));
    }
    output(o, o->real, cm3_shape_of(rows(&o->in[1]), dim(&o->in[0], 1)));
    return CM3_OK;
}

static cm3_status infer_layer_norm(op_shapes *o) {
    CM3_TRY(expect_rank(o, "x", &o->in[0], o->real, 2));
    if (present(&o->in[1])) {
        CM3_TRY(expect(o, "gain", &o->in[1], o->real, cm3_shape_of(dim(&o->in[0], 1))));
        CM3_TRY(expect(o, "bias", &o->in[2], o->real, o->in[1].shape));
    }
    output(o, o->real, o->in[0].shape);
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0])));
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0])));
    return CM3_OK;
}

static cm3_status infer_rms_norm(op_shapes *o) {
    CM3_TRY(expect_rank(o, "x", &o->in[0], o->real, 2));
    CM3_TRY(expect(o, "gain", &o->in[1], o->real, cm3_shape_of(dim(&o->in[0], 1))));
    output(o, o->real, o->in[0].shape);
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0])));
    return CM3_OK;
}

static bool keeps_pre_activation(cm3_activation activation) {
    return activation == CM3_ACT_GELU || activation == CM3_ACT_SILU;
}

static cm3_status infer_linear(op_shapes *o) {
    CM3_TRY(expect_rank(o, "x", &o->in[0], o->real, 2));
    CM3_TRY(expect_rank(o, "weight", &o->in[1], o->real, 2));
    CM3_TRY(expect(o, "weight", &o->in[1], o->real, cm3_shape_of(rows(&o->in[1]), dim(&o->in[0], 1))));
    const cm3_shape y = cm3_shape_of(rows(&o->in[0]), rows(&o->in[1]));
    if (present(&o->in[2])) CM3_TRY(expect(o, "bias", &o->in[2], o->real, cm3_shape_of(y.dim[1])));
    if (present(&o->in[3])) {
        CM3_TRY(expect(o, "residual", &o->in[3], o->real, y));
        if (o->attr->activation != CM3_ACT_NONE)
            return cm3_fail(CM3_ERR_SHAPE, "%s: a residual cannot go with an activation", o->name);
    }
    if (present(&o->in[4]))
        CM3_TRY(expect(o, "mask of x", &o->in[4], CM3_I32, cm3_shape_of(y.dim[0], CM3_MASK_WORDS(dim(&o->in[0], 1)))));
    if (o->attr->f32_out && (present(&o->in[2]) || present(&o->in[3]) || o->attr->activation != CM3_ACT_NONE))
        return cm3_fail(CM3_ERR_SHAPE, "%s: f32_out needs a plain matrix product", o->name);
    output(o, o->attr->f32_out ? CM3_F32 : o->real, y);
    if (keeps_pre_activation(o->attr->activation)) output(o, o->real, y);
    if (o->attr->activation == CM3_ACT_RELU) output(o, CM3_I32, cm3_shape_of(y.dim[0], CM3_MASK_WORDS(y.dim[1])));
    return CM3_OK;
}

/* Head size D of a packed (N, (H + 2G) D) tensor, 0 if it does not fit. */
static int64_t head_size(const op_shapes *o) {
    const int64_t heads = o->attr->heads, kv_heads = o->attr->kv_heads;
    if (heads < 1 || kv_heads < 1 || heads % kv_heads) return 0;
    const int64_t parts = heads + 2 * kv_heads, width = dim(&o->in[0], 1);
    return width % parts ? 0 : width / parts;
}

static cm3_status expect_packed(const op_shapes *o) {
    CM3_TRY(expect_rank(o, "qkv", &o->in[0], o->real, 2));
    if (head_size(o)) return CM3_OK;
    char a[96];
    return cm3_fail(CM3_ERR_SHAPE, "%s: qkv is %s, which %d query heads and %d key heads do not divide", o->name,
                    cm3_shape_text(o->in[0].shape, a), o->attr->heads, o->attr->kv_heads);
}

static cm3_status expect_sequences(const op_shapes *o) {
    const int64_t n = rows(&o->in[0]), s = o->attr->sequence;
    if (s > 0 && n % s == 0) return CM3_OK;
    return cm3_fail(CM3_ERR_SHAPE, "%s: %lld rows are not whole sequences of %lld", o->name, (long long)n,
                    (long long)s);
}

static cm3_status infer_attention(op_shapes *o) {
    CM3_TRY(expect_packed(o));
    CM3_TRY(expect_sequences(o));
    output(o, o->real, cm3_shape_of(rows(&o->in[0]), o->attr->heads * head_size(o)));
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0]) / o->attr->sequence, o->attr->heads, o->attr->sequence));
    return CM3_OK;
}

static cm3_status infer_attention_cached(op_shapes *o) {
    CM3_TRY(expect_packed(o));
    CM3_TRY(expect_sequences(o));
    CM3_TRY(expect_rank(o, "key cache", &o->in[1], o->real, 3));
    const int64_t batch = rows(&o->in[0]) / o->attr->sequence;
    CM3_TRY(expect(o, "key cache", &o->in[1], o->real,
                   cm3_shape_of(batch, dim(&o->in[1], 1), o->attr->kv_heads * head_size(o))));
    CM3_TRY(expect(o, "value cache", &o->in[2], o->real, o->in[1].shape));
    CM3_TRY(expect(o, "start", &o->in[3], CM3_I32, cm3_shape_of(batch)));
    output(o, o->real, cm3_shape_of(rows(&o->in[0]), o->attr->heads * head_size(o)));
    return CM3_OK;
}

/* Rotation by the position of each row. */
static cm3_status expect_turns(const op_shapes *o, const cm3_tensor *positions) {
    if (head_size(o) % 2) return cm3_fail(CM3_ERR_SHAPE, "%s: head size %lld is odd", o->name, (long long)head_size(o));
    return expect(o, "positions", positions, CM3_I32, cm3_shape_of(rows(&o->in[0])));
}

static cm3_status infer_qk_norm(op_shapes *o) {
    CM3_TRY(expect_packed(o));
    const int64_t d = head_size(o);
    CM3_TRY(expect(o, "q gain", &o->in[1], o->real, cm3_shape_of(o->attr->heads, d)));
    CM3_TRY(expect(o, "q bias", &o->in[2], o->real, cm3_shape_of(o->attr->heads, d)));
    CM3_TRY(expect(o, "k gain", &o->in[3], o->real, cm3_shape_of(o->attr->kv_heads, d)));
    CM3_TRY(expect(o, "k bias", &o->in[4], o->real, cm3_shape_of(o->attr->kv_heads, d)));
    if (present(&o->in[5])) CM3_TRY(expect_turns(o, &o->in[5]));
    output(o, o->real, o->in[0].shape);
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0]), o->attr->heads + o->attr->kv_heads, 2));
    return CM3_OK;
}

static cm3_status infer_rotary(op_shapes *o) {
    CM3_TRY(expect_packed(o));
    CM3_TRY(expect_turns(o, &o->in[1]));
    output(o, o->real, o->in[0].shape);
    return CM3_OK;
}

static cm3_status infer_swiglu(op_shapes *o) {
    CM3_TRY(expect_rank(o, "gate and up", &o->in[0], o->real, 2));
    if (dim(&o->in[0], 1) % 2)
        return cm3_fail(CM3_ERR_SHAPE, "%s: width %lld is odd", o->name, (long long)dim(&o->in[0], 1));
    output(o, o->real, cm3_shape_of(rows(&o->in[0]), dim(&o->in[0], 1) / 2));
    return CM3_OK;
}

static cm3_status infer_same(op_shapes *o) {
    output(o, o->real, o->in[0].shape);
    return expect(o, "x", &o->in[0], o->real, o->in[0].shape);
}

static cm3_status infer_add(op_shapes *o) {
    CM3_TRY(expect(o, "b", &o->in[1], o->real, o->in[0].shape));
    return infer_same(o);
}

static cm3_status infer_linear_cross_entropy(op_shapes *o) {
    CM3_TRY(expect_rank(o, "hidden", &o->in[0], o->real, 2));
    CM3_TRY(expect_rank(o, "table", &o->in[1], o->real, 2));
    CM3_TRY(expect(o, "table", &o->in[1], o->real, cm3_shape_of(rows(&o->in[1]), dim(&o->in[0], 1))));
    CM3_TRY(expect(o, "targets", &o->in[2], CM3_I32, cm3_shape_of(rows(&o->in[0]))));
    CM3_TRY(expect_scalar(o, "scale", &o->in[3]));
    if (o->in[4].shape.rank) CM3_TRY(expect(o, "weights", &o->in[4], CM3_F32, cm3_shape_of(rows(&o->in[0]))));
    output(o, CM3_F32, cm3_shape_of(1));
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0])));
    return CM3_OK;
}

static cm3_status infer_conv2d(op_shapes *o) {
    CM3_TRY(expect_rank(o, "x", &o->in[0], CM3_F32, 4));
    CM3_TRY(expect_rank(o, "weight", &o->in[1], CM3_F32, 4));
    const cm3_tensor *x = &o->in[0], *w = &o->in[1];
    const int64_t k = dim(w, 1);
    CM3_TRY(expect(o, "weight", w, CM3_F32, cm3_shape_of(rows(w), k, k, dim(x, 3))));
    if (present(&o->in[2])) CM3_TRY(expect(o, "bias", &o->in[2], CM3_F32, cm3_shape_of(rows(w))));
    const int64_t padding = o->attr->pad + o->attr->pad_after, stride = o->attr->stride;
    if (stride < 1 || o->attr->pad < 0 || o->attr->pad_after < 0 || dim(x, 1) + padding < k || dim(x, 2) + padding < k)
        return cm3_fail(CM3_ERR_SHAPE, "%s: stride %d and padding %d, %d do not suit the image and a kernel of %lld",
                        o->name, o->attr->stride, o->attr->pad, o->attr->pad_after, (long long)k);
    output(
        o, CM3_F32,
        cm3_shape_of(rows(x), (dim(x, 1) + padding - k) / stride + 1, (dim(x, 2) + padding - k) / stride + 1, rows(w)));
    return CM3_OK;
}

static cm3_status infer_group_norm(op_shapes *o) {
    CM3_TRY(expect_rank(o, "x", &o->in[0], CM3_F32, 4));
    const int64_t channels = dim(&o->in[0], 3), groups = o->attr->groups;
    CM3_TRY(expect(o, "gain", &o->in[1], CM3_F32, cm3_shape_of(channels)));
    CM3_TRY(expect(o, "bias", &o->in[2], CM3_F32, cm3_shape_of(channels)));
    if (groups < 1 || channels % groups)
        return cm3_fail(CM3_ERR_SHAPE, "%s: %lld channels are not %lld whole groups", o->name, (long long)channels,
                        (long long)groups);
    output(o, CM3_F32, o->in[0].shape);
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0]), groups));
    output(o, CM3_F32, cm3_shape_of(rows(&o->in[0]), groups));
    return CM3_OK;
}

static cm3_status infer_upsample(op_shapes *o) {
    const cm3_tensor *x = &o->in[0];
    CM3_TRY(expect_rank(o, "x", x, CM3_F32, 4));
    output(o, CM3_F32, cm3_shape_of(rows(x), 2 * dim(x, 1), 2 * dim(x, 2), dim(x, 3)));
    return CM3_OK;
}

static cm3_status infer_average_pool(op_shapes *o) {
    const cm3_tensor *x = &o->in[0];
    CM3_TRY(expect_rank(o, "x", x, CM3_F32, 4));
    if (dim(x, 1) % 2 || dim(x, 2) % 2) return cm3_fail(CM3_ERR_SHAPE, "%s: a side of the image is odd", o->name);
    output(o, CM3_F32, cm3_shape_of(rows(x), dim(x, 1) / 2, dim(x, 2) / 2, dim(x, 3)));
    return CM3_OK;
}

static cm3_status expect_codebook(const op_shapes *o) {
    CM3_TRY(expect_rank(o, "z", &o->in[0], CM3_F32, 2));
    CM3_TRY(expect_rank(o, "codebook", &o->in[1], CM3_F32, 2));
    return expect(o, "codebook", &o->in[1], CM3_F32, cm3_shape_of(rows(&o->in[1]), dim(&o->in[0], 1)));
}

static cm3_status infer_nearest_code(op_shapes *o) {
    CM3_TRY(expect_codebook(o));
    output(o, CM3_I32, cm3_shape_of(rows(&o->in[0])));
    return CM3_OK;
}

static cm3_status infer_code_lookup(op_shapes *o) {
    CM3_TRY(expect_codebook(o));
    CM3_TRY(expect(o, "codes", &o->in[2], CM3_I32, cm3_shape_of(rows(&o->in[0]))));
    output(o, CM3_F32, o->in[0].shape);
    return CM3_OK;
}

static cm3_status infer_code_loss(op_shapes *o) {
    CM3_TRY(expect_codebook(o));
    CM3_TRY(expect(o, "codes", &o->in[2], CM3_I32, cm3_shape_of(rows(&o->in[0]))));
    CM3_TRY(expect_scalar(o, "scale", &o->in[3]));
    output(o, CM3_F32, cm3_shape_of(1));
    return CM3_OK;
}

static cm3_status infer_pixel_loss(op_shapes *o) {
    CM3_TRY(expect(o, "y", &o->in[1], CM3_F32, o->in[0].shape));
    CM3_TRY(expect_scalar(o, "scale", &o->in[2]));
    output(o, CM3_F32, cm3_shape_of(1));
    return CM3_OK;
}

static cm3_status infer_view(op_shapes *o) {
    output(o, o->in[0].type, o->in[0].shape); /* the tape puts the wanted shape in its place */
    return CM3_OK;
}

/* --- what the backward pass reads -------------------------------------------------------------------------------- */

#define IN(i) (1u << (i))
#define OUT(i) (1u << (i))

static void reads_layer_norm(const cm3_op_attr *attr, const cm3_tensor in[], unsigned *inputs, unsigned *outputs) {
    (void)attr;
    if (present(&in[1])) {
        *inputs = IN(0) | IN(1);
        *outputs = OUT(1) | OUT(2);
    } else {
        *inputs = 0;
        *outputs = OUT(0) | OUT(1);
    }
}

static void reads_linear(const cm3_op_attr *attr, const cm3_tensor in[], unsigned *inputs, unsigned *outputs) {
    *inputs = IN(0) | IN(1) | (present(&in[4]) ? IN(4) : 0);
    *outputs = attr->activation == CM3_ACT_NONE || attr->masked ? 0 : OUT(1);
}

static void reads_activate(const cm3_op_attr *attr, const cm3_tensor in[], unsigned *inputs, unsigned *outputs) {
    (void)in;
    *inputs = keeps_pre_activation(attr->activation) ? IN(0) : 0;
    *outputs = attr->activation == CM3_ACT_RELU ? OUT(0) : 0;
}

#define READS(name, in_mask, out_mask)                                                                                 \
    static void reads_##name(const cm3_op_attr *attr, const cm3_tensor in[], unsigned *inputs, unsigned *outputs) {    \
        (void)attr;                                                                                                    \
        (void)in;                                                                                                      \
        *inputs = (in_mask);                                                                                           \
        *outputs = (out_mask);                                                                                         \
    }
READS(embed, IN(1) | IN(3), 0)
READS(rms_norm, IN(0) | IN(1), OUT(1))
READS(attention, IN(0), OUT(0) | OUT(1))
READS(attention_cached, 0, 0)
READS(qk_norm, IN(0) | IN(1) | IN(3) | (present(&in[5]) ? IN(5) : 0), OUT(1))
READS(rotary, IN(1), 0)
READS(swiglu, IN(0), 0)
READS(add, 0, 0)
READS(linear_cross_entropy, IN(0) | IN(1) | IN(2) | IN(3) | IN(4), OUT(0) | OUT(1))
READS(conv2d, IN(0) | IN(1), 0)
READS(group_norm, IN(0) | IN(1) | IN(2), OUT(1) | OUT(2))
READS(upsample, 0, 0)
READS(average_pool, 0, 0)
READS(nearest_code, 0, 0)
READS(code_lookup, 0, 0)
READS(code_loss, IN(0) | IN(1) | IN(2) | IN(3), 0)
READS(pixel_loss, IN(0) | IN(1) | IN(2), 0)
READS(view, 0, 0)

/* --- model FLOPs: matrix products, convolutions and attention, as the field counts them -------------------------- */

static double count(const cm3_tensor *t) {
    return (double)cm3_shape_count(t->shape);
}

/* How many of the two products of a backward pass are wanted: into the input, into the weight. */
static double products(const cm3_call *call, bool backward) {
    return backward ? (present(&call->grad_in[0]) ? 1 : 0) + (present(&call->grad_in[1]) ? 1 : 0) : 1;
}

static double flops_linear(const cm3_call *call, bool backward) {
    return 2.0 * products(call, backward) * count(&call->in[0]) * (double)rows(&call->in[1]);
}

static double flops_attention(const cm3_call *call, bool backward) {
    const double s = (double)call->attr->sequence;
    const double keys = call->attr->causal ? (s + 1) / 2 : s; /* seen by a query, on average */
    return (backward ? 8.0 : 4.0) * count(&call->out[0]) * keys;
}

static double flops_attention_cached(const cm3_call *call, bool backward) {
    (void)backward; /* counted as if the cache were full */
    return 4.0 * count(&call->out[0]) * (double)dim(&call->in[1], 1);
}

static double flops_conv2d(const cm3_call *call, bool backward) {
    const cm3_tensor *w = &call->in[1];
    return 2.0 * products(call, backward) * count(&call->out[0]) * (double)(dim(w, 1) * dim(w, 2) * dim(w, 3));
}

static double flops_nearest_code(const cm3_call *call, bool backward) {
    return backward ? 0 : 2.0 * count(&call->in[0]) * (double)rows(&call->in[1]);
}

static double flops_none(const cm3_call *call, bool backward) {
    (void)call;
    (void)backward;
    return 0;
}

/* --- the table --------------------------------------------------------------------------------------------------- */

static cm3_dtype real_type(const cm3_tensor *first) {
    return first->type == CM3_BF16 ? CM3_BF16 : CM3_F32;
}

#define INFER(lower)                                                                                                   \
    static cm3_status shapes_##lower(const cm3_op_attr *attr, const cm3_tensor in[], cm3_tensor out[], int *outputs) { \
        op_shapes o = {.name = #lower, .attr = attr, .in = in, .out = out, .real = real_type(&in[0])};                 \
        memset(out, 0, CM3_OP_OUTPUTS * sizeof *out);                                                                  \
        const cm3_status status = infer_##lower(&o);                                                                   \
        *outputs = o.outputs;                                                                                          \
        return status;                                                                                                 \
    }
#define infer_activate infer_same
#define X(upper, lower) INFER(lower)
CM3_OP_LIST(X)
#undef X

#define COMMON(lower) .name = #lower, .infer = shapes_##lower, .reads = reads_##lower
#define NOWHERE .in_place = -1, .grad_is_identity_for = -1, .grad_in_place = -1

static const cm3_op_def definitions[CM3_OP_COUNT] = {
    [CM3_OP_EMBED] = {COMMON(embed), NOWHERE, .flops = flops_none, .inputs = 4, .row_gather = IN(0) | IN(2),
                      .differentiable = IN(0) | IN(2)},
    [CM3_OP_LAYER_NORM] = {COMMON(layer_norm), .flops = flops_none, .inputs = 3,
                           .differentiable = IN(0) | IN(1) | IN(2), .in_place = -1, .grad_is_identity_for = -1,
                           .grad_in_place = 0},
    [CM3_OP_RMS_NORM] = {COMMON(rms_norm), .flops = flops_none, .inputs = 2, .differentiable = IN(0) | IN(1),
                         .in_place = -1, .grad_is_identity_for = -1, .grad_in_place = 0},
    [CM3_OP_LINEAR] = {COMMON(linear), .flops = flops_linear, .inputs = 5,
                       .differentiable = IN(0) | IN(1) | IN(2) | IN(3), .optional = OUT(1), .in_place = 3,
                       .grad_is_identity_for = 3, .grad_in_place = -1},
    [CM3_OP_ATTENTION] = {COMMON(attention), NOWHERE, .flops = flops_attention, .inputs = 1, .differentiable = IN(0)},
    [CM3_OP_ATTENTION_CACHED] = {COMMON(attention_cached), NOWHERE, .flops = flops_attention_cached, .inputs = 4},
    [CM3_OP_QK_NORM] = {COMMON(qk_norm), .flops = flops_none, .inputs = 6,
                        .differentiable = IN(0) | IN(1) | IN(2) | IN(3) | IN(4), .in_place = -1,
                        .grad_is_identity_for = -1, .grad_in_place = 0},
    [CM3_OP_ROTARY] = {COMMON(rotary), .flops = flops_none, .inputs = 2, .differentiable = IN(0), .in_place = 0,
                       .grad_is_identity_for = -1, .grad_in_place = 0},
    [CM3_OP_SWIGLU] = {COMMON(swiglu), NOWHERE, .flops = flops_none, .inputs = 1, .differentiable = IN(0)},
    [CM3_OP_ACTIVATE] = {COMMON(activate), .flops = flops_none, .inputs = 1, .differentiable = IN(0), .in_place = 0,
                         .grad_is_identity_for = -1, .grad_in_place = 0},
    [CM3_OP_ADD] = {COMMON(add), .flops = flops_none, .inputs = 2, .differentiable = IN(0) | IN(1), .in_place = 0,
                    .grad_is_identity_for = 0, .grad_in_place = -1},
    [CM3_OP_LINEAR_CROSS_ENTROPY] = {COMMON(linear_cross_entropy), NOWHERE, .flops = flops_linear, .inputs = 5,
                                     .differentiable = IN(0) | IN(1), .fused_forward_in_backward = true},
    [CM3_OP_CONV2D] = {COMMON(conv2d), NOWHERE, .flops = flops_conv2d, .inputs = 3,
                       .differentiable = IN(0) | IN(1) | IN(2)},
    [CM3_OP_GROUP_NORM] = {COMMON(group_norm), .flops = flops_none, .inputs = 3,
                           .differentiable = IN(0) | IN(1) | IN(2), .in_place = -1, .grad_is_identity_for = -1,
                           .grad_in_place = 0},
    [CM3_OP_UPSAMPLE] = {COMMON(upsample), NOWHERE, .flops = flops_none, .inputs = 1, .differentiable = IN(0)},
    [CM3_OP_AVERAGE_POOL] = {COMMON(average_pool), NOWHERE, .flops = flops_none, .inputs = 1, .differentiable = IN(0)},
    [CM3_OP_NEAREST_CODE] = {COMMON(nearest_code), NOWHERE, .flops = flops_nearest_code, .inputs = 2},
    [CM3_OP_CODE_LOOKUP] = {COMMON(code_lookup), .flops = flops_none, .inputs = 3, .row_gather = IN(1),
                            .differentiable = IN(0), .in_place = -1, .grad_is_identity_for = 0, .grad_in_place = -1},
    [CM3_OP_CODE_LOSS] = {COMMON(code_loss), NOWHERE, .flops = flops_none, .inputs = 4,
                          .differentiable = IN(0) | IN(1)},
    [CM3_OP_PIXEL_LOSS] = {COMMON(pixel_loss), NOWHERE, .flops = flops_none, .inputs = 3, .differentiable = IN(0)},
    [CM3_OP_VIEW] = {COMMON(view), .flops = flops_none, .inputs = 1, .differentiable = IN(0), .in_place = -1,
                     .grad_is_identity_for = 0, .grad_in_place = -1},
};

const cm3_op_def *cm3_op_definition(cm3_op op) {
    return &definitions[op];
}

/* --- bytes ------------------------------------------------------------------------------------------------------- */

static double bytes_of(const cm3_tensor *t) {
    return present(t) ? (double)cm3_tensor_bytes(t) : 0;
}

static double at_most(double bytes, double limit) {
    return bytes < limit ? bytes : limit;
}

double cm3_op_bytes(cm3_op op, const cm3_call *call, bool backward) {
    const cm3_op_def *def = &definitions[op];
    unsigned inputs = ~0u, outputs = ~0u;
    double bytes = 0;
    if (backward) {
        def->reads(call->attr, call->in, &inputs, &outputs);
        bytes += bytes_of(&call->grad_out);
        for (int i = 0; i < CM3_OP_INPUTS; i++) bytes += bytes_of(&call->grad_in[i]);
    }
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        const double whole = bytes_of(&call->in[i]);
        if (inputs & IN(i)) bytes += def->row_gather & IN(i) ? at_most(whole, bytes_of(&call->out[0])) : whole;
    }
    for (int i = 0; i < CM3_OP_OUTPUTS; i++)
        if (outputs & OUT(i)) bytes += bytes_of(&call->out[i]);
    return bytes;
}
