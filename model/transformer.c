#include "model/transformer.h"

#include <math.h>
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

typedef struct block_params {
    int qkv, out, up, down;             /* weights */
    int attention_gain, ffn_gain;       /* chameleon: RMSNorm */
    int q_gain, q_bias, k_gain, k_bias; /* chameleon: QK-norm */
} block_params;

struct cm3_transformer {
    cm3_transformer_config config;
    int64_t vocabulary;
    const cm3_params *params;
    int table, positions, final_gain, output; /* -1: not part of this architecture */
    block_params *blocks;
};

static bool is_chameleon(const cm3_transformer *model) {
    return model->config.architecture == CM3_ARCHITECTURE_CHAMELEON;
}

static bool uses_rotary(const cm3_transformer_config *config) {
    if (config->positions == CM3_POSITIONS_AUTO) return config->architecture == CM3_ARCHITECTURE_CHAMELEON;
    return config->positions == CM3_POSITIONS_ROTARY;
}

void cm3_transformer_check(const cm3_transformer_config *config, const char *section, cm3_faults *faults) {
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

/* --- parameters -------------------------------------------------------------------------------------------------- */

static void declare_block(cm3_transformer *model, cm3_params *params, int layer) {
    const cm3_transformer_config *c = &model->config;
    const int64_t d = c->width, head = d / c->heads;
    const cm3_init normal = cm3_init_normal(c->init_std);
    block_params *p = &model->blocks[layer];
    cm3_params_bucket(params, 1 + layer);
    p->qkv = cm3_params_add(params, cm3_shape_of((c->heads + 2 * c->kv_heads) * head, d), normal, CM3_DECAY,
                            "layers/%d/attention/qkv", layer);
    p->out = cm3_params_add(params, cm3_shape_of(d, d), cm3_init_zeros(), CM3_DECAY, "layers/%d/attention/out", layer);
    p->up = cm3_params_add(params, cm3_shape_of(is_chameleon(model) ? 2 * c->ffn : c->ffn, d), normal, CM3_DECAY,
                           "layers/%d/ffn/up", layer);
    p->down = cm3_params_add(params, cm3_shape_of(d, c->ffn), cm3_init_zeros(), CM3_DECAY, "layers/%d/ffn/down", layer);
    if (!is_chameleon(model)) return;
    p->attention_gain =
        cm3_params_add(params, cm3_shape_of(d), cm3_init_ones(), CM3_NO_DECAY, "layers/%d/attention/norm", layer);
    p->ffn_gain = cm3_params_add(params, cm3_shape_of(d), cm3_init_ones(), CM3_NO_DECAY, "layers/%d/ffn/norm", layer);
    p->q_gain = cm3_params_add(params, cm3_shape_of(c->heads, head), cm3_init_ones(), CM3_NO_DECAY,
                               "layers/%d/attention/q_norm/gain", layer);
    p->q_bias = cm3_params_add(params, cm3_shape_of(c->heads, head), cm3_init_zeros(), CM3_NO_DECAY,
                               "layers/%d/attention/q_norm/bias", layer);
    p->k_gain = cm3_params_add(params, cm3_shape_of(c->kv_heads, head), cm3_init_ones(), CM3_NO_DECAY,
                               "layers/%d/attention/k_norm/gain", layer);
    p->k_bias = cm3_params_add(params, cm3_shape_of(c->kv_heads, head), cm3_init_zeros(), CM3_NO_DECAY,
                               "layers/%d/attention/k_norm/bias", layer);
}

cm3_status cm3_transformer_declare(const cm3_transformer_config *config, int64_t vocabulary, cm3_params *params,
                                   cm3_transformer **out) {
    *out = NULL;
    cm3_transformer *model = calloc(1, sizeof *model);
    block_params *blocks = calloc((size_t)config->layers, sizeof *blocks);
    if (!model || !blocks) {
        free(model);
        free(blocks);
        return cm3_fail(CM3_ERR_MEMORY, "no memory for a model of %lld layers", (long long)config->layers);
    }
    *model = (cm3_transformer){.config = *config,
                               .vocabulary = vocabulary,
                               .params = params,
                               .blocks = blocks,
                               .positions = -1,
                               .final_gain = -1};
    if (!model->config.kv_heads) model->config.kv_heads = config->heads;
    if (!model->config.ffn) model->config.ffn = 4 * config->width;
    const cm3_init normal = cm3_init_normal(config->init_std);
    const int64_t d = config->width;
    const int last = (int)config->layers + 1;

    cm3_params_bucket(params, 0);
    model->table = model->output = cm3_params_add(params, cm3_shape_of(vocabulary, d), normal, CM3_DECAY, "embedding");
    if (!uses_rotary(config))
        model->positions = cm3_params_add(params, cm3_shape_of(config->context, d),
                                          cm3_init_normal(config->position_std), CM3_DECAY, "positions");
    for (int layer = 0; layer < config->layers; layer++) declare_block(model, params, layer);
    cm3_params_bucket(params, last);
    if (is_chameleon(model)) {
        model->final_gain = cm3_params_add(params, cm3_shape_of(d), cm3_init_ones(), CM3_NO_DECAY, "norm");
        model->output = cm3_params_add(params, cm3_shape_of(vocabulary, d), normal, CM3_DECAY, "output");
    }
    *out = model;
    return CM3_OK; /* the parameter table is sticky: its layout reports what went wrong above */
}

void cm3_transformer_free(cm3_transformer *model) {
    if (!model) return;
    free(model->blocks);
    free(model);
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

double cm3_transformer_flops_per_token(const cm3_transformer *model, int64_t sequence) {
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

/* One recording of the network: the leaves of this tape and what every block is told. */
typedef struct recording {
    const cm3_transformer *model;
    cm3_tape *tape;
    cm3_heads heads;
    cm3_var *positions;
    const cm3_cached_step *step; /* NULL: whole sequences, no cache */
    cm3_var *start;
} recording;

static cm3_var *parameter(const recording *r, int index) {
    return cm3_params_var(r->model->params, r->tape, index);
}

static cm3_var *norm(const recording *r, cm3_var *x, int gain) {
    const float epsilon = (float)r->model->config.norm_epsilon;
    return is_chameleon(r->model) ? cm3_rms_norm(r->tape, x, parameter(r, gain), epsilon)
                                  : cm3_layer_norm(r->tape, x, NULL, NULL, epsilon);
}

static cm3_var *cached(const recording *r, cm3_var *qkv, int layer) {
    const cm3_kv_cache *cache = r->step->cache;
    const size_t row = (size_t)(cache->positions * cache->width) * cm3_dtype_size(cache->type),
                 offset = (size_t)((int64_t)layer * cache->batch + r->step->first_row) * row;
    const cm3_shape shape = cm3_shape_of(r->step->rows, cache->positions, cache->width);
    cm3_var *keys = cm3_tape_input(r->tape, cache->type, shape, (char *)cache->keys + offset);
    cm3_var *values = cm3_tape_input(r->tape, cache->type, shape, (char *)cache->values + offset);
    return cm3_attention_cached(r->tape, qkv, keys, values, r->start, r->heads);
}

/* q and k as attention takes them: normalised (Chameleon), and rotated where positions are. */
static cm3_var *heads_ready(const recording *r, const block_params *p, cm3_var *qkv) {
    const cm3_transformer_config *c = &r->model->config;
    const float theta = (float)c->rotary_theta;
    cm3_var *positions = uses_rotary(c) ? r->positions : NULL;
    if (is_chameleon(r->model))
        return cm3_qk_norm(r->tape, qkv, parameter(r, p->q_gain), parameter(r, p->q_bias), parameter(r, p->k_gain),
                           parameter(r, p->k_bias), positions, r->heads, (float)c->norm_epsilon, theta);
    return positions ? cm3_rotary(r->tape, qkv, positions, r->heads, theta) : qkv;
}

/* x + Attention(norm(x)) W_out */
static cm3_var *attention_layer(const recording *r, cm3_var *x, int layer) {
    const block_params *p = &r->model->blocks[layer];
    cm3_var *qkv = cm3_linear(r->tape, norm(r, x, p->attention_gain), parameter(r, p->qkv), NULL, NULL, CM3_ACT_NONE);
    qkv = heads_ready(r, p, qkv);
    cm3_var *y = r->step ? cached(r, qkv, layer) : cm3_attention(r->tape, qkv, r->heads, true);
    return cm3_linear(r->tape, y, parameter(r, p->out), NULL, x, CM3_ACT_NONE);
}

/* x + act(norm(x) W_up) W_down */
static cm3_var *ffn_layer(const recording *r, cm3_var *x, int layer) {
    const block_params *p = &r->model->blocks[layer];
    cm3_var *h = norm(r, x, p->ffn_gain);
    if (is_chameleon(r->model))
        h = cm3_swiglu(r->tape, cm3_linear(r->tape, h, parameter(r, p->up), NULL, NULL, CM3_ACT_NONE));
    else
        h = cm3_linear(r->tape, h, parameter(r, p->up), NULL, NULL, CM3_ACT_RELU);
    return cm3_linear(r->tape, h, parameter(r, p->down), NULL, x, CM3_ACT_NONE);
}

static cm3_var *network(const recording *r, cm3_var *ids, cm3_var *table) {
    cm3_tape_bucket(r->tape, 0);
    cm3_var *x = uses_rotary(&r->model->config)
                     ? cm3_embed(r->tape, table, ids, NULL, NULL)
                     : cm3_embed(r->tape, table, ids, parameter(r, r->model->positions), r->positions);
    for (int layer = 0; layer < r->model->config.layers; layer++) {
        cm3_tape_bucket(r->tape, 1 + layer);
        x = attention_layer(r, x, layer);
        x = ffn_layer(r, x, layer);
    }
    cm3_tape_bucket(r->tape, 1 + (int)r->model->config.layers);
    return norm(r, x, r->model->final_gain);
}

static recording start_recording(const cm3_transformer *model, cm3_tape *tape, int64_t sequence) {
    return (recording){
        .model = model,
        .tape = tape,
        .heads = {.heads = (int)model->config.heads, .kv_heads = (int)model->config.kv_heads, .sequence = sequence}};
}

/* The table of the output: the embedding's own leaf where they are tied. */
static cm3_var *output_table(const recording *r, cm3_var *table) {
    return r->model->output == r->model->table ? table : parameter(r, r->model->output);
}

cm3_var *cm3_transformer_loss(const cm3_transformer *model, cm3_tape *tape, const cm3_sequence_batch *batch,
                              cm3_var **per_token) {
    const cm3_shape tokens = cm3_shape_of(batch->batch * batch->sequence);
    recording r = start_recording(model, tape, batch->sequence);
    r.positions = cm3_tape_input(tape, CM3_I32, tokens, batch->positions);
    cm3_var *ids = cm3_tape_input(tape, CM3_I32, tokens, batch->ids);
    cm3_var *targets = cm3_tape_input(tape, CM3_I32, tokens, batch->targets);
    cm3_var *scale = cm3_tape_input(tape, CM3_F32, cm3_shape_of(1), batch->scale);
    cm3_var *table = parameter(&r, model->table);
    cm3_var *hidden = network(&r, ids, table);
    const float z_loss = is_chameleon(model) ? (float)model->config.z_loss : 0;
    cm3_var *loss = cm3_linear_cross_entropy(tape, hidden, output_table(&r, table), targets, scale, z_loss, per_token);
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
    return cm3_fail(CM3_ERR_MEMORY, "no memory for keys and values of %lld streams of %lld tokens (%.2f GiB)",
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
    recording r = start_recording(model, tape, step->tokens);
    r.step = step;
    r.positions = cm3_tape_input(tape, CM3_I32, tokens, step->positions);
    r.start = cm3_tape_input(tape, CM3_I32, cm3_shape_of(step->rows), step->start);
    cm3_var *ids = cm3_tape_input(tape, CM3_I32, tokens, step->ids);
    cm3_var *table = parameter(&r, model->table);
    cm3_var *y = network(&r, ids, table);
    if (logits) y = cm3_logits(tape, y, output_table(&r, table));
    cm3_tape_keep(tape, y);
    return y;
}

double cm3_transformer_step_bytes(const cm3_transformer *model, cm3_dtype type, int64_t rows, double positions) {
    const cm3_transformer_config *c = &model->config;
    double elements = (double)cm3_params_elements(model->params);
    if (model->output != model->table) elements -= (double)cm3_params_get(model->params, model->table)->count;
    if (model->positions >= 0) elements -= (double)cm3_params_get(model->params, model->positions)->count;
    elements += 2.0 * (double)(rows * c->layers * c->kv_heads * (c->width / c->heads)) * positions;
    return elements * (double)cm3_dtype_size(type);
}
