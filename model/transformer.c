#include "model/transformer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const architectures[] = {"cm3leon", "chameleon", NULL};
static const char *const position_kinds[] = {"auto", "learned", "rotary", NULL};
static const char *const recomputes[] = {"none", "activations", "layers", NULL};

#define C cm3_transformer_config
const cm3_field cm3_transformer_fields[] = {
    CM3_FIELD_CHOICE(C, architecture, "cm3leon", architectures, "which network: cm3leon, or chameleon's variant"),
    CM3_FIELD_CHOICE(C, positions, "auto", position_kinds,
                     "learned table or rotary; auto: learned for cm3leon, rotary for chameleon"),
    CM3_FIELD_INT(C, layers, NULL, 1, 1000, "", "transformer blocks"),
    CM3_FIELD_INT(C, width, NULL, 8, 65536, "", "size of the hidden state (d)"),
    CM3_FIELD_INT(C, heads, NULL, 1, 1024, "", "attention heads; must divide the width"),
    CM3_FIELD_INT(C, kv_heads, "0", 0, 1024, "", "heads of keys and values; 0: as many as heads"),
    CM3_FIELD_INT(C, ffn, "0", 0, 1 << 20, "", "inner width of the feed-forward layer; 0: 4 x width"),
    CM3_FIELD_INT(C, context, "4096", 8, 1 << 20, "tokens",
                  "the most tokens the model sees; at least pretrain.data.context"),
    CM3_FIELD_FLOAT(C, init_std, "0.006", 0, 1, "", "standard deviation of initial weights"),
    CM3_FIELD_FLOAT(C, position_std, "0.0002", 0, 1, "", "standard deviation of initial learned positions"),
    CM3_FIELD_FLOAT(C, norm_epsilon, "1e-5", 1e-12, 1e-2, "", "added to the variance in norms"),
    CM3_FIELD_FLOAT(C, rotary_theta, "10000", 1, 1e9, "", "base of rotary positions"),
    CM3_FIELD_FLOAT(C, z_loss, "1e-5", 0, 1, "", "weight of the squared log-sum-exp of the logits (chameleon)"),
    CM3_FIELD_CHOICE(C, recompute, "none", recomputes, "what the backward pass computes again instead of keeping it",
                     .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_END};
#undef C

struct cm3_transformer {
    cm3_transformer_config config;
    int64_t vocabulary;
    cm3_params *params;
};

static bool is_chameleon(const cm3_transformer *model) {
    return model->config.architecture == CM3_ARCHITECTURE_CHAMELEON;
}

static bool uses_rotary(const cm3_transformer_config *config) {
    if (config->positions == CM3_POSITIONS_AUTO) return config->architecture == CM3_ARCHITECTURE_CHAMELEON;
    return config->positions == CM3_POSITIONS_ROTARY;
}

/* Heads that do not divide the width, ... */
static void check(const void *network, const char *section, cm3_faults *faults) {
    const cm3_transformer_config *config = network;
    if (config->width % config->heads)
        cm3_faults_add(faults, section, "heads", "%lld heads do not divide a width of %lld", (long long)config->heads,
                       (long long)config->width);
    else if (uses_rotary(config) && config->width / config->heads % 2)
        cm3_faults_add(faults, section, "heads", "rotary positions need an even head size, this is %lld",
                       (long long)(config->width / config->heads));
    if (config->kv_heads && config->heads % config->kv_heads)
        cm3_faults_add(faults, section, "kv_heads", "%lld key heads do not divide %lld heads",
                       (long long)config->kv_heads, (long long)config->heads);
}

const cm3_transformer_config *cm3_transformer_get_config(const cm3_transformer *model) {
    return &model->config;
}

int64_t cm3_transformer_vocabulary(const cm3_transformer *model) {
    return model->vocabulary;
}

const cm3_params *cm3_transformer_params(const cm3_transformer *model) {
    return model->params;
}

/* In the field's way of counting: matrix products three times over (forward and backward), attention causal,
 * recomputation not counted. */
static double flops_per_item(const void *network, int64_t sequence) {
    const cm3_transformer *model = network;
    const cm3_transformer_config *c = &model->config;
    const double d = (double)c->width, head = d / (double)c->heads, ffn = (double)c->ffn;
    const double qkv = d * head * (double)(c->heads + 2 * c->kv_heads), out = d * d;
    const double feed_forward = (is_chameleon(model) ? 3 : 2) * d * ffn;
    const double attention = 2 * d * ((double)sequence + 1) / 2; /* scores and values, over the keys seen on average */
    const double multiply_adds =
        (double)c->layers * (qkv + out + feed_forward + attention) + d * (double)model->vocabulary;
    return 3 * 2 * multiply_adds;
}

/* --- the network ------------------------------------------------------------------------------------------------- */

/* One walk over the network: it declares, or records one tape. */
typedef struct walk {
    cm3_walk base;
    const cm3_transformer *model;
    cm3_heads heads;
    cm3_var *ids, *positions;
    const cm3_cached_step *step; /* NULL: whole sequences, no cache */
    cm3_var *start;
} walk;

static cm3_var *weight(walk *w, int64_t rows, int64_t columns, cm3_init init, const char *name, int layer) {
    return cm3_walk_parameter(&w->base, cm3_shape_of(rows, columns), init, CM3_DECAY, "layers/%d/%s", layer, name);
}

static cm3_var *head_vector(walk *w, int64_t heads, cm3_init init, const char *name, int layer) {
    const cm3_transformer_config *c = &w->model->config;
    return cm3_walk_parameter(&w->base, cm3_shape_of(heads, c->width / c->heads), init, CM3_NO_DECAY,
                              "layers/%d/attention/%s", layer, name);
}

/* Of x, by the architecture; `name` is that of the gain, if there is one. */
static cm3_var *norm(walk *w, cm3_var *x, const char *name) {
    const cm3_transformer_config *c = &w->model->config;
    if (!is_chameleon(w->model)) return cm3_layer_norm(w->base.tape, x, NULL, NULL, (float)c->norm_epsilon);
    cm3_var *gain = cm3_walk_parameter(&w->base, cm3_shape_of(c->width), cm3_init_ones(), CM3_NO_DECAY, "%s", name);
    return cm3_rms_norm(w->base.tape, x, gain, (float)c->norm_epsilon);
}

static cm3_var *layer_norm(walk *w, cm3_var *x, const char *part, int layer) {
    char name[64];
    snprintf(name, sizeof name, "layers/%d/%s/norm", layer, part);
    return norm(w, x, name);
}

static cm3_var *cached(const walk *w, cm3_var *qkv, int layer) {
    const cm3_kv_cache *cache = w->step->cache;
    const size_t row = (size_t)(cache->positions * cache->width) * cm3_dtype_size(cache->type),
                 offset = (size_t)((int64_t)layer * cache->batch + w->step->first_row) * row;
    const cm3_shape shape = cm3_shape_of(w->step->rows, cache->positions, cache->width);
    cm3_var *keys = cm3_tape_input(w->base.tape, cache->type, shape, (char *)cache->keys + offset);
    cm3_var *values = cm3_tape_input(w->base.tape, cache->type, shape, (char *)cache->values + offset);
    return cm3_attention_cached(w->base.tape, qkv, keys, values, w->start, w->heads);
}

/* q and k as attention takes them: normalised (Chameleon), and rotated where positions are. */
static cm3_var *heads_ready(walk *w, cm3_var *qkv, int layer) {
    const cm3_transformer_config *c = &w->model->config;
    const float theta = (float)c->rotary_theta;
    cm3_var *positions = uses_rotary(c) ? w->positions : NULL;
    if (!is_chameleon(w->model)) return positions ? cm3_rotary(w->base.tape, qkv, positions, w->heads, theta) : qkv;
    cm3_var *q_gain = head_vector(w, c->heads, cm3_init_ones(), "q_norm/gain", layer);
    cm3_var *q_bias = head_vector(w, c->heads, cm3_init_zeros(), "q_norm/bias", layer);
    cm3_var *k_gain = head_vector(w, c->kv_heads, cm3_init_ones(), "k_norm/gain", layer);
    cm3_var *k_bias = head_vector(w, c->kv_heads, cm3_init_zeros(), "k_norm/bias", layer);
    return cm3_qk_norm(w->base.tape, qkv, q_gain, q_bias, k_gain, k_bias, positions, w->heads, (float)c->norm_epsilon,
                       theta);
}

/* x + Attention(norm(x)) W_out */
static cm3_var *attention_layer(walk *w, cm3_var *x, int layer) {
    const cm3_transformer_config *c = &w->model->config;
    cm3_var *h = layer_norm(w, x, "attention", layer);
    cm3_var *qkv = weight(w, (c->heads + 2 * c->kv_heads) * (c->width / c->heads), c->width,
                          cm3_init_normal(c->init_std), "attention/qkv", layer);
    h = cm3_linear(w->base.tape, h, qkv, NULL, NULL, CM3_ACT_NONE);
    h = heads_ready(w, h, layer);
    h = w->step ? cached(w, h, layer) : cm3_attention(w->base.tape, h, w->heads, true);
    cm3_var *out = weight(w, c->width, c->width, cm3_init_zeros(), "attention/out", layer);
    return cm3_linear(w->base.tape, h, out, NULL, x, CM3_ACT_NONE);
}

/* x + act(norm(x) W_up) W_down */
static cm3_var *ffn_layer(walk *w, cm3_var *x, int layer) {
    const cm3_transformer_config *c = &w->model->config;
    const bool gated = is_chameleon(w->model);
    cm3_var *h = layer_norm(w, x, "ffn", layer);
    cm3_var *up = weight(w, gated ? 2 * c->ffn : c->ffn, c->width, cm3_init_normal(c->init_std), "ffn/up", layer);
    h = cm3_linear(w->base.tape, h, up, NULL, NULL, gated ? CM3_ACT_NONE : CM3_ACT_RELU);
    if (gated) h = cm3_swiglu(w->base.tape, h);
    cm3_var *down = weight(w, c->width, c->ffn, cm3_init_zeros(), "ffn/down", layer);
    return cm3_linear(w->base.tape, h, down, NULL, x, CM3_ACT_NONE);
}

static cm3_var *table(walk *w, int64_t rows, double std, const char *name) {
    return cm3_walk_parameter(&w->base, cm3_shape_of(rows, w->model->config.width), cm3_init_normal(std), CM3_DECAY,
                              "%s", name);
}

/* The last hidden state, and the table of the output: the embedding's own where they are tied. */
static cm3_var *network(walk *w, cm3_var **output) {
    const cm3_transformer_config *c = &w->model->config;
    cm3_walk_bucket(&w->base, 0);
    *output = table(w, w->model->vocabulary, c->init_std, "embedding");
    cm3_var *position_table = uses_rotary(c) ? NULL : table(w, c->context, c->position_std, "positions");
    cm3_var *x = cm3_embed(w->base.tape, *output, w->ids, position_table, uses_rotary(c) ? NULL : w->positions);
    for (int layer = 0; layer < c->layers; layer++) {
        cm3_walk_bucket(&w->base, 1 + layer);
        x = attention_layer(w, x, layer);
        x = ffn_layer(w, x, layer);
    }
    cm3_walk_bucket(&w->base, 1 + (int)c->layers);
    x = norm(w, x, "norm");
    if (is_chameleon(w->model)) *output = table(w, w->model->vocabulary, c->init_std, "output");
    return x;
}

static cm3_status declare(const void *config, int64_t vocabulary, cm3_params *params, void **out) {
    cm3_transformer *model = calloc(1, sizeof *model);
    *out = model;
    if (!model) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a transformer");
    *model = (cm3_transformer){
        .config = *(const cm3_transformer_config *)config, .vocabulary = vocabulary, .params = params};
    if (!model->config.kv_heads) model->config.kv_heads = model->config.heads;
    if (!model->config.ffn) model->config.ffn = 4 * model->config.width;
    cm3_var *output;
    network(&(walk){.base = {.params = params}, .model = model}, &output);
    return CM3_OK; /* the parameter table is sticky: its layout reports what went wrong above */
}

const cm3_network_kind cm3_transformer_kind = {.name = "transformer",
                                               .section = "model",
                                               .item = "token",
                                               .fields = cm3_transformer_fields,
                                               .config_size = sizeof(cm3_transformer_config),
                                               .check = check,
                                               .declare = declare,
                                               .free = free,
                                               .flops_per_item = flops_per_item};

/* --- on a tape --------------------------------------------------------------------------------------------------- */

static walk start_walk(const cm3_transformer *model, cm3_tape *tape, int64_t sequence) {
    return (walk){
        .base = {.params = model->params, .tape = tape},
        .model = model,
        .heads = {.heads = (int)model->config.heads, .kv_heads = (int)model->config.kv_heads, .sequence = sequence}};
}

cm3_var *cm3_transformer_loss(const cm3_transformer *model, cm3_tape *tape, const cm3_sequence_batch *batch,
                              cm3_var **per_token) {
    const cm3_shape tokens = cm3_shape_of(batch->batch * batch->sequence);
    walk w = start_walk(model, tape, batch->sequence);
    w.positions = cm3_tape_input(tape, CM3_I32, tokens, batch->positions);
    w.ids = cm3_tape_input(tape, CM3_I32, tokens, batch->ids);
    cm3_var *targets = cm3_tape_input(tape, CM3_I32, tokens, batch->targets);
    cm3_var *scale = cm3_tape_input(tape, CM3_F32, cm3_shape_of(1), batch->scale);
    cm3_var *weights = batch->weights ? cm3_tape_input(tape, CM3_F32, tokens, batch->weights) : NULL;
    cm3_var *output, *hidden = network(&w, &output);
    const float z_loss = is_chameleon(model) ? (float)model->config.z_loss : 0;
    cm3_var *loss = cm3_linear_cross_entropy(tape, hidden, output, targets, scale, weights, z_loss, per_token);
    if (per_token) cm3_tape_keep(tape, *per_token);
    return loss;
}

static size_t cache_bytes(const cm3_kv_cache *cache) {
    return (size_t)(cache->layers * cache->batch * cache->positions * cache->width) * cm3_dtype_size(cache->type);
}

cm3_status cm3_kv_cache_create(const cm3_transformer *model, int64_t batch, int64_t positions, cm3_kv_cache *cache) {
    const cm3_transformer_config *c = &model->config;
    const cm3_tape_options at = cm3_params_tape_options(model->params);
    *cache = (cm3_kv_cache){.memory = at.backend->memory,
                            .type = at.compute,
                            .batch = batch,
                            .positions = positions,
                            .layers = c->layers,
                            .width = c->kv_heads * (c->width / c->heads)};
    const double gib = 2.0 * (double)cache_bytes(cache) / 0x1p30;
    cache->keys = cache->memory->alloc(cache_bytes(cache));
    cache->values = cache->memory->alloc(cache_bytes(cache));
    if (cache->keys && cache->values) return CM3_OK;
    cm3_kv_cache_free(cache);
    return cm3_fail(CM3_ERR_MEMORY, "out of memory for keys and values of %lld streams of %lld tokens (%.2f GiB)",
                    (long long)batch, (long long)positions, gib);
}

void cm3_kv_cache_free(cm3_kv_cache *cache) {
    if (!cache->memory) return;
    cache->memory->free(cache->keys, cache_bytes(cache));
    cache->memory->free(cache->values, cache_bytes(cache));
    *cache = (cm3_kv_cache){0};
}

cm3_var *cm3_transformer_step(const cm3_transformer *model, cm3_tape *tape, const cm3_cached_step *step, bool logits) {
    const cm3_shape tokens = cm3_shape_of(step->rows * step->tokens);
    walk w = start_walk(model, tape, step->tokens);
    w.step = step;
    w.positions = cm3_tape_input(tape, CM3_I32, tokens, step->positions);
    w.start = cm3_tape_input(tape, CM3_I32, cm3_shape_of(step->rows), step->start);
    w.ids = cm3_tape_input(tape, CM3_I32, tokens, step->ids);
    cm3_var *output, *y = network(&w, &output);
    if (logits) y = cm3_logits(tape, y, output);
    cm3_tape_keep(tape, y);
    return y;
}

/* Elements of a parameter that may not be there. */
static double elements_of(const cm3_transformer *model, const char *name) {
    const cm3_param *param = cm3_params_get(model->params, cm3_params_find(model->params, name));
    return param ? (double)param->count : 0;
}

double cm3_transformer_step_bytes(const cm3_transformer *model, cm3_dtype type, int64_t rows, double positions) {
    const cm3_transformer_config *c = &model->config;
    double elements = (double)cm3_params_elements(model->params) - elements_of(model, "positions");
    if (is_chameleon(model)) elements -= elements_of(model, "embedding");
    elements += 2.0 * (double)(rows * c->layers * c->kv_heads * (c->width / c->heads)) * positions;
    return elements * (double)cm3_dtype_size(type);
}
