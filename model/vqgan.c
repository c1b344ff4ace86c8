#include "model/vqgan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const recomputes[] = {"none", "activations", "layers", NULL};

#define C cm3_vqgan_config
const cm3_field cm3_vqgan_fields[] = {
    CM3_FIELD_INT(C, image_size, "256", 8, 4096, "pixels", "side of the square images"),
    CM3_FIELD_INT(C, patch, "1", 1, 16, "pixels",
                  "side of the patches that are folded into channels before the network; 1: none"),
    CM3_FIELD_INT(C, channels, "128", 4, 4096, "", "channels of the first level"),
    CM3_FIELD_INT_LIST(C, multipliers, "[1, 2, 2, 4]", 1, 64, "",
                       "channels of each level over `channels`; the side halves between levels"),
    CM3_FIELD_INT(C, encoder_blocks, "2", 1, 16, "", "residual blocks of a level of the encoder"),
    CM3_FIELD_INT(C, decoder_blocks, "3", 1, 16, "", "residual blocks of a level of the decoder"),
    CM3_FIELD_INT(C, middle_blocks, "2", 0, 16, "", "residual blocks at the lowest resolution of both"),
    CM3_FIELD_BOOL(C, attention, "yes", "self-attention at the lowest resolution of both"),
    CM3_FIELD_INT(C, code_width, "256", 1, 4096, "", "size of a code's vector"),
    CM3_FIELD_INT(C, codes, "8192", 2, 1 << 20, "", "codes of the codebook"),
    CM3_FIELD_FLOAT(C, l1, "1", 0, 1000, "", "weight of the mean absolute difference of pixels"),
    CM3_FIELD_FLOAT(C, l2, "1", 0, 1000, "", "weight of the mean squared difference of pixels"),
    CM3_FIELD_FLOAT(C, codebook_loss, "1", 0, 1000, "", "weight of the codebook's loss"),
    CM3_FIELD_FLOAT(C, commitment, "0.25", 0, 1000, "", "weight of the encoder's part in it"),
    CM3_FIELD_INT(C, dead_steps, "100", 1, 1000000, "steps", "a code that was not used for so long is started again"),
    CM3_FIELD_FLOAT(C, restart_until, "0.8", 0, 1, "", "share of the training during which codes are started again"),
    CM3_FIELD_CHOICE(C, recompute, "none", recomputes, "what the backward pass computes again instead of keeping it",
                     .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_END};
#undef C

struct cm3_vqgan {
    cm3_vqgan_config config;
    cm3_params *params;
    int encoder, decoder; /* index of the first parameter of each; the codebook's is 0 */
};

static int64_t shrinking(const cm3_vqgan_config *config) {
    return config->multipliers.count ? config->patch << (config->multipliers.count - 1) : 0;
}

static void check(const void *network, const char *section, cm3_faults *faults) {
    const cm3_vqgan_config *config = network;
    if (config->multipliers.count < 1 || config->multipliers.count > 8)
        cm3_faults_add(faults, section, "multipliers", "there are %d levels, expected 1 to 8",
                       config->multipliers.count);
    else if (config->image_size % shrinking(config))
        cm3_faults_add(faults, section, "image_size",
                       "a side of %lld pixels is not a multiple of %lld, by which patch and levels shrink it",
                       (long long)config->image_size, (long long)shrinking(config));
}

int64_t cm3_vqgan_code_side(const cm3_vqgan_config *config) {
    return config->image_size / shrinking(config);
}

int64_t cm3_vqgan_codes_per_image(const cm3_vqgan_config *config) {
    return cm3_vqgan_code_side(config) * cm3_vqgan_code_side(config);
}

/* --- layers ------------------------------------------------------------------------------------------------------ */

/* One walk over the encoder or the decoder: it declares, or records one tape. */
typedef struct walk {
    cm3_walk base;
    const cm3_vqgan *model;
    const char *part; /* "encoder" */
    char place[64];   /* "encoder/level0/block1" */
} walk;

static cm3_var *parameter(walk *w, cm3_shape shape, cm3_init init, cm3_decay decay, const char *layer,
                          const char *kind) {
    return cm3_walk_parameter(&w->base, shape, init, decay, "%s/%s/%s", w->place, layer, kind);
}

/* A convolution of odd `kernel` that keeps the side, or with stride 2 halves it: then the padding is behind, as in
 * VQGAN. */
static cm3_var *conv(walk *w, cm3_var *x, const char *name, int64_t from, int64_t to, int kernel, int stride,
                     bool zero) {
    const cm3_init init = zero ? cm3_init_zeros() : cm3_init_uniform(1 / sqrt((double)(from * kernel * kernel)));
    cm3_var *weight =
        parameter(w, cm3_shape_of(to, (int64_t)kernel, (int64_t)kernel, from), init, CM3_DECAY, name, "weight");
    cm3_var *bias = parameter(w, cm3_shape_of(to), cm3_init_zeros(), CM3_NO_DECAY, name, "bias");
    return cm3_conv2d(w->base.tape, x, weight, bias, stride, stride == 1 ? kernel / 2 : 0, kernel / 2);
}

/* Groups of at least 4 channels, and at most 32 groups. */
static int groups_of(int64_t channels) {
    int64_t groups = channels / 4 > 32 ? 32 : channels / 4 > 1 ? channels / 4 : 1;
    while (channels % groups) groups--;
    return (int)groups;
}

static cm3_var *norm(walk *w, cm3_var *x, const char *name, int64_t channels, cm3_activation activation) {
    cm3_var *gain = parameter(w, cm3_shape_of(channels), cm3_init_ones(), CM3_NO_DECAY, name, "gain");
    cm3_var *bias = parameter(w, cm3_shape_of(channels), cm3_init_zeros(), CM3_NO_DECAY, name, "bias");
    return cm3_group_norm(w->base.tape, x, gain, bias, groups_of(channels), 1e-6f, activation);
}

/* x + conv(silu(norm(conv(silu(norm(x)))))). The last convolution starts at zero, so that a block starts as the
 * identity. */
static cm3_var *residual(walk *w, cm3_var *x, int64_t from, int64_t to) {
    cm3_var *h = norm(w, x, "norm1", from, CM3_ACT_SILU);
    h = conv(w, h, "conv1", from, to, 3, 1, false);
    h = norm(w, h, "norm2", to, CM3_ACT_SILU);
    h = conv(w, h, "conv2", to, to, 3, 1, true);
    if (from != to) x = conv(w, x, "shortcut", from, to, 1, 1, false);
    return cm3_add(w->base.tape, h, x);
}

/* x + self-attention over all positions of an image, in heads of 64 channels. */
static cm3_var *attention(walk *w, cm3_var *x, int64_t batch, int64_t side, int64_t channels) {
    const int64_t heads = channels % 64 ? 1 : channels / 64, positions = side * side;
    const cm3_init init = cm3_init_uniform(1 / sqrt((double)channels));
    cm3_var *h = norm(w, x, "norm", channels, CM3_ACT_NONE);
    cm3_var *qkv = parameter(w, cm3_shape_of(3 * channels, channels), init, CM3_DECAY, "qkv", "weight");
    cm3_var *qkv_bias = parameter(w, cm3_shape_of(3 * channels), cm3_init_zeros(), CM3_NO_DECAY, "qkv", "bias");
    cm3_var *out = parameter(w, cm3_shape_of(channels, channels), cm3_init_zeros(), CM3_DECAY, "out", "weight");
    cm3_var *out_bias = parameter(w, cm3_shape_of(channels), cm3_init_zeros(), CM3_NO_DECAY, "out", "bias");
    h = cm3_view(w->base.tape, h, cm3_shape_of(batch * positions, channels));
    h = cm3_linear(w->base.tape, h, qkv, qkv_bias, NULL, CM3_ACT_NONE);
    h = cm3_attention(w->base.tape, h, (cm3_heads){.heads = (int)heads, .kv_heads = (int)heads, .sequence = positions},
                      false);
    x = cm3_view(w->base.tape, x, cm3_shape_of(batch * positions, channels));
    x = cm3_linear(w->base.tape, h, out, out_bias, x, CM3_ACT_NONE);
    return cm3_view(w->base.tape, x, cm3_shape_of(batch, side, side, channels));
}

/* --- the network ------------------------------------------------------------------------------------------------- */

#define AT(w, ...) snprintf((w)->place, sizeof(w)->place, __VA_ARGS__)

static int levels_of(const walk *w) {
    return w->model->config.multipliers.count;
}

static int64_t channels_of(const walk *w, int level) {
    return w->model->config.channels * w->model->config.multipliers.values[level];
}

static int64_t folded_channels(const walk *w) {
    return 3 * w->model->config.patch * w->model->config.patch;
}

static cm3_var *middle(walk *w, cm3_var *x, int64_t batch) {
    const cm3_vqgan_config *c = &w->model->config;
    const int64_t channels = channels_of(w, levels_of(w) - 1);
    for (int block = 0; block < c->middle_blocks; block++) {
        AT(w, "%s/middle/block%d", w->part, block);
        x = residual(w, x, channels, channels);
        AT(w, "%s/middle/attention", w->part);
        if (block == 0 && c->attention) x = attention(w, x, batch, cm3_vqgan_code_side(c), channels);
    }
    return x;
}

/* Buckets: 0 the codebook, 1.. the levels of the encoder (the first convolution with the first), then the encoder's
 * middle, the decoder's, and the levels of the decoder. */
static cm3_var *encoder(walk *w, cm3_var *x, int64_t batch) {
    const cm3_vqgan_config *c = &w->model->config;
    int64_t channels = channels_of(w, 0);
    AT(w, "%s", w->part);
    cm3_walk_bucket(&w->base, 1);
    x = conv(w, x, "first", folded_channels(w), channels, 3, 1, false);
    for (int level = 0; level < levels_of(w); level++) {
        cm3_walk_bucket(&w->base, 1 + level);
        for (int block = 0; block < c->encoder_blocks; block++) {
            AT(w, "%s/level%d/block%d", w->part, level, block);
            x = residual(w, x, channels, channels_of(w, level));
            channels = channels_of(w, level);
        }
        AT(w, "%s/level%d", w->part, level);
        if (level < levels_of(w) - 1) x = conv(w, x, "down", channels, channels, 3, 2, false);
    }
    cm3_walk_bucket(&w->base, 1 + levels_of(w));
    x = middle(w, x, batch);
    AT(w, "%s", w->part);
    x = norm(w, x, "norm", channels, CM3_ACT_SILU);
    return conv(w, x, "last", channels, c->code_width, 3, 1, false);
}

static cm3_var *decoder(walk *w, cm3_var *x, int64_t batch) {
    const cm3_vqgan_config *c = &w->model->config;
    int64_t channels = channels_of(w, levels_of(w) - 1);
    int number = levels_of(w) + 2;
    AT(w, "%s", w->part);
    cm3_walk_bucket(&w->base, number++);
    x = conv(w, x, "first", c->code_width, channels, 3, 1, false);
    x = middle(w, x, batch);
    for (int level = levels_of(w) - 1; level >= 0; level--) {
        cm3_walk_bucket(&w->base, number++);
        for (int block = 0; block < c->decoder_blocks; block++) {
            AT(w, "%s/level%d/block%d", w->part, level, block);
            x = residual(w, x, channels, channels_of(w, level));
            channels = channels_of(w, level);
        }
        AT(w, "%s/level%d", w->part, level);
        if (level > 0) x = conv(w, cm3_upsample(w->base.tape, x), "up", channels, channels, 3, 1, false);
    }
    AT(w, "%s", w->part);
    x = norm(w, x, "norm", channels, CM3_ACT_SILU);
    return conv(w, x, "last", channels, folded_channels(w), 3, 1, false);
}

/* --- parameters -------------------------------------------------------------------------------------------------- */

static cm3_status check_config(const cm3_vqgan_config *c) {
    if (c->multipliers.count < 1 || c->multipliers.count > 8 || c->patch < 1 || c->image_size < 1 ||
        c->image_size % shrinking(c) || c->channels < 1 || c->code_width < 1 || c->codes < 2)
        return cm3_fail(
            CM3_ERR_SHAPE,
            "an image tokenizer of %lld pixels, patch %lld, %d levels, %lld channels and %lld codes of %lld cannot be",
            (long long)c->image_size, (long long)c->patch, c->multipliers.count, (long long)c->channels,
            (long long)c->codes, (long long)c->code_width);
    return CM3_OK;
}

static cm3_var *codebook(cm3_walk *w, const cm3_vqgan_config *c) {
    return cm3_walk_parameter(w, cm3_shape_of(c->codes, c->code_width), cm3_init_uniform(1.0 / (double)c->codes),
                              CM3_NO_DECAY, "codebook");
}

static cm3_status declare(const void *config, int64_t vocabulary, cm3_params *params, void **out) {
    (void)vocabulary;
    *out = NULL;
    CM3_TRY(check_config(config));
    cm3_vqgan *model = *out = calloc(1, sizeof *model);
    if (!model) return cm3_fail(CM3_ERR_MEMORY, "out of memory for an image tokenizer");
    *model = (cm3_vqgan){.config = *(const cm3_vqgan_config *)config, .params = params};
    walk w = {.base = {.params = params}, .model = model, .part = "encoder"};
    codebook(&w.base, &model->config);
    model->encoder = w.base.next;
    encoder(&w, NULL, 0);
    model->decoder = w.base.next;
    w.part = "decoder";
    decoder(&w, NULL, 0);
    return CM3_OK;
}

static double flops_per_item(const void *model, int64_t length) {
    (void)length;
    return cm3_vqgan_flops_per_image(model);
}

const cm3_network_kind cm3_vqgan_kind = {.name = "image-tokenizer",
                                         .section = "image_tokenizer.network",
                                         .item = "image",
                                         .fields = cm3_vqgan_fields,
                                         .config_size = sizeof(cm3_vqgan_config),
                                         .check = check,
                                         .declare = declare,
                                         .free = free,
                                         .flops_per_item = flops_per_item};

const cm3_vqgan_config *cm3_vqgan_get_config(const cm3_vqgan *model) {
    return &model->config;
}

const cm3_params *cm3_vqgan_params(const cm3_vqgan *model) {
    return model->params;
}

/* --- on a tape --------------------------------------------------------------------------------------------------- */

cm3_shape cm3_vqgan_image_shape(const cm3_vqgan *model, int64_t batch) {
    const int64_t patch = model->config.patch, side = model->config.image_size / patch;
    return cm3_shape_of(batch, side, side, 3 * patch * patch);
}

cm3_var *cm3_vqgan_codebook(const cm3_vqgan *model, cm3_tape *tape) {
    return codebook(&(cm3_walk){.params = model->params, .tape = tape}, &model->config);
}

cm3_var *cm3_vqgan_encode(const cm3_vqgan *model, cm3_tape *tape, int64_t batch, cm3_var *images) {
    walk w = {.base = {model->params, tape, model->encoder}, .model = model, .part = "encoder"};
    cm3_var *z = encoder(&w, images, batch);
    return cm3_view(tape, z, cm3_shape_of(batch * cm3_vqgan_codes_per_image(&model->config), model->config.code_width));
}

cm3_var *cm3_vqgan_decode(const cm3_vqgan *model, cm3_tape *tape, int64_t batch, cm3_var *vectors) {
    const int64_t side = cm3_vqgan_code_side(&model->config);
    walk w = {.base = {model->params, tape, model->decoder}, .model = model, .part = "decoder"};
    return decoder(&w, cm3_view(tape, vectors, cm3_shape_of(batch, side, side, model->config.code_width)), batch);
}

cm3_vqgan_step cm3_vqgan_train(const cm3_vqgan *model, cm3_tape *tape, const cm3_vqgan_batch *batch) {
    const cm3_vqgan_config *c = &model->config;
    cm3_vqgan_step s;
    cm3_var *images = cm3_tape_input(tape, CM3_F32, cm3_vqgan_image_shape(model, batch->images), batch->pixels);
    cm3_var *pixel_scale = cm3_tape_input(tape, CM3_F32, cm3_shape_of(1), batch->pixel_scale);
    cm3_var *code_scale = cm3_tape_input(tape, CM3_F32, cm3_shape_of(1), batch->code_scale);
    cm3_var *codebook = cm3_vqgan_codebook(model, tape);

    s.z = cm3_vqgan_encode(model, tape, batch->images, images);
    s.codes = cm3_nearest_code(tape, s.z, codebook);
    s.code_loss = cm3_code_loss(tape, s.z, codebook, s.codes, code_scale, (float)c->commitment);
    s.output = cm3_vqgan_decode(model, tape, batch->images, cm3_code_lookup(tape, s.z, codebook, s.codes));
    s.pixel_loss = cm3_pixel_loss(tape, s.output, images, pixel_scale, (float)c->l1, (float)c->l2);
    s.squared_error = cm3_pixel_loss(tape, s.output, images, pixel_scale, 0, 1);
    cm3_tape_keep(tape, s.squared_error);
    cm3_tape_keep(tape, s.z);
    cm3_tape_keep(tape, s.codes);
    cm3_tape_keep(tape, s.output);
    cm3_tape_loss(tape, s.code_loss);
    cm3_tape_loss(tape, s.pixel_loss);
    return s;
}

void cm3_vqgan_scales(const cm3_vqgan_config *config, int64_t images, float *pixel_scale, float *code_scale) {
    const double pixels = (double)images * (double)config->image_size * (double)config->image_size * 3;
    const double values = (double)images * (double)cm3_vqgan_codes_per_image(config) * (double)config->code_width;
    *pixel_scale = (float)(1 / pixels);
    *code_scale = (float)(config->codebook_loss / values);
}

double cm3_vqgan_flops_per_image(const cm3_vqgan *model) {
    cm3_tape *tape;
    double flops = 0;
    if (cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_meta()}, &tape) != CM3_OK) return 0;
    cm3_vqgan_train(model, tape, &(cm3_vqgan_batch){.images = 1});
    if (cm3_tape_plan(tape) == CM3_OK)
        flops = cm3_tape_get_stats(tape)->forward_flops + cm3_tape_get_stats(tape)->backward_flops;
    cm3_tape_free(tape);
    return flops;
}

/* --- folding ----------------------------------------------------------------------------------------------------- */

static void fold(const cm3_vqgan_config *config, const float *from, int64_t count, float *to, bool back) {
    const int64_t side = config->image_size, patch = config->patch, small = side / patch, channels = 3 * patch * patch;
    for (int64_t row = 0; row < count * side; row++) { /* small images have the same number of rows, over the patch */
        for (int64_t x = 0; x < side; x++) {
            const int64_t image = (row * side + x) * 3;
            const int64_t folded = (row / patch * small + x / patch) * channels + (row % patch * patch + x % patch) * 3;
            for (int64_t c = 0; c < 3; c++) to[(back ? image : folded) + c] = from[(back ? folded : image) + c];
        }
    }
}

void cm3_vqgan_fold(const cm3_vqgan_config *config, const float *images, int64_t count, float *folded) {
    fold(config, images, count, folded, false);
}

void cm3_vqgan_unfold(const cm3_vqgan_config *config, const float *folded, int64_t count, float *images) {
    fold(config, folded, count, images, true);
}
