#include "core/tensor/op_case.h"

#include "core/rng.h"

/* --- the table --------------------------------------------------------------------------------------------------- */

#define CHECK(sum, magnitude) CM3_MODE_TEST | CM3_MODE_GRADIENT, sum, magnitude
#define BENCH CM3_MODE_BENCH, 0, 0

/* clang-format off */
#define FILLED(how, value, ...) {{sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}}, how, value}
#define NORMAL(...) FILLED(CM3_FILL_NORMAL, 1, __VA_ARGS__)
#define SCALED(factor, ...) FILLED(CM3_FILL_NORMAL, factor, __VA_ARGS__)
#define GAIN(...) FILLED(CM3_FILL_POSITIVE, 1, __VA_ARGS__)
#define UNIFORM(...) FILLED(CM3_FILL_UNIFORM, 1, __VA_ARGS__)
#define VALUE(value, ...) FILLED(CM3_FILL_VALUE, value, __VA_ARGS__)
#define INDEX(bound, ...) FILLED(CM3_FILL_INDEX, bound, __VA_ARGS__)
#define TARGET(bound, ...) FILLED(CM3_FILL_TARGET, bound, __VA_ARGS__)
#define COUNT(bound, ...) FILLED(CM3_FILL_COUNT, bound, __VA_ARGS__)
#define ABSENT {{0}, CM3_FILL_ABSENT, 0}

#define HEADS(h, g, s) .heads = h, .kv_heads = g, .sequence = s
#define CAUSAL(h, g, s) HEADS(h, g, s), .causal = true
#define SAME(kernel) .stride = 1, .pad = kernel / 2, .pad_after = kernel / 2
#define NORM(count, act) .groups = count, .epsilon = 1e-6f, .activation = act

static const cm3_op_case cases[] = {
    /* the transformer */
    {CHECK(20, 1), "embed", CM3_OP_EMBED, {0}, {NORMAL(11, 33), INDEX(11, 50)}},
    {CHECK(20, 1), "embed with positions", CM3_OP_EMBED, {0},
     {NORMAL(300, 40), INDEX(300, 90), NORMAL(31, 40), COUNT(31, 90)}},
    {CHECK(70, 1), "embed, one row", CM3_OP_EMBED, {0}, {NORMAL(1, 1), INDEX(1, 70)}},
    {CHECK(900, 1), "embed, frequent ids", CM3_OP_EMBED, {0}, {NORMAL(3, 8), INDEX(3, 2500)}},

    {CHECK(129, 1), "layer norm", CM3_OP_LAYER_NORM, {.epsilon = 1e-5f}, {NORMAL(7, 129)}},
    {CHECK(301, 1), "layer norm, affine", CM3_OP_LAYER_NORM, {.epsilon = 1e-5f},
     {NORMAL(301, 65), GAIN(65), NORMAL(65)}},
    {CHECK(1024, 1), "layer norm, far from zero", CM3_OP_LAYER_NORM, {.epsilon = 1e-5f}, {SCALED(30, 3, 1024)}},
    {CHECK(257, 1), "rms norm", CM3_OP_RMS_NORM, {.epsilon = 1e-5f}, {NORMAL(67, 257), GAIN(257)}},

    {CHECK(7, 1), "linear", CM3_OP_LINEAR, {0}, {NORMAL(5, 3), NORMAL(7, 3)}},
    {CHECK(131, 1), "linear, many threads", CM3_OP_LINEAR, {0}, {NORMAL(131, 70), NORMAL(97, 70)}},
    {CHECK(130, 1), "linear with bias", CM3_OP_LINEAR, {0}, {NORMAL(40, 65), NORMAL(130, 65), NORMAL(130)}},
    {CHECK(66, 1), "linear with residual", CM3_OP_LINEAR, {0},
     {NORMAL(66, 33), NORMAL(65, 33), ABSENT, NORMAL(66, 65)}},
    {CHECK(20, 1), "linear with bias and residual", CM3_OP_LINEAR, {0},
     {NORMAL(9, 17), NORMAL(20, 17), NORMAL(20), NORMAL(9, 20)}},
    {CHECK(63, 1), "linear, relu", CM3_OP_LINEAR, {.activation = CM3_ACT_RELU},
     {NORMAL(50, 31), NORMAL(63, 31), NORMAL(63)}},
    {CHECK(63, 2), "linear, gelu", CM3_OP_LINEAR, {.activation = CM3_ACT_GELU},
     {NORMAL(50, 31), SCALED(0.3, 63, 31), NORMAL(63)}},
    {CHECK(63, 2), "linear, silu", CM3_OP_LINEAR, {.activation = CM3_ACT_SILU}, {NORMAL(50, 31), SCALED(0.3, 63, 31)}},
    {CHECK(150, 1), "linear, of what relu made", CM3_OP_LINEAR, {0},
     {VALUE(0, 150, 139), NORMAL(47, 139), ABSENT, ABSENT, INDEX(1 << 24, 150, CM3_MASK_WORDS(139))}},
    {CHECK(513, 1), "linear, one row", CM3_OP_LINEAR, {0}, {NORMAL(1, 300), NORMAL(513, 300)}},
    {CM3_MODE_TEST, 300, 1, "linear, f32 result", CM3_OP_LINEAR, {.f32_out = true}, {NORMAL(2, 300), NORMAL(130, 300)}},

    {CHECK(8, 1), "attention, one token", CM3_OP_ATTENTION, {CAUSAL(1, 1, 1), .scale = 1},
     {NORMAL(3, 24)}},
    {CHECK(37, 4), "attention, causal", CM3_OP_ATTENTION, {CAUSAL(2, 2, 37), .scale = 0.35f},
     {NORMAL(74, 48)}},
    {CHECK(203, 4), "attention, causal, several tiles", CM3_OP_ATTENTION, {CAUSAL(1, 1, 203), .scale = 0.125f},
     {NORMAL(203, 192)}},
    {CHECK(192, 4), "attention, causal, whole tiles", CM3_OP_ATTENTION, {CAUSAL(1, 1, 192), .scale = 0.25f},
     {NORMAL(192, 48)}},
    {CHECK(150, 4), "attention, all keys", CM3_OP_ATTENTION, {HEADS(1, 1, 150), .scale = 0.2f}, {NORMAL(150, 60)}},
    {CHECK(400, 4), "attention, wide head", CM3_OP_ATTENTION, {HEADS(1, 1, 70), .scale = 0.05f}, {NORMAL(70, 1200)}},
    {CHECK(200, 4), "attention, shared keys", CM3_OP_ATTENTION, {CAUSAL(6, 2, 66), .scale = 0.3f},
     {NORMAL(132, 90)}},
    {CHECK(290, 4), "attention, causal, heads of 128", CM3_OP_ATTENTION, {CAUSAL(2, 1, 145), .scale = 0.1f},
     {NORMAL(145, 512)}},
    {CHECK(210, 4), "attention, all keys, heads of 72", CM3_OP_ATTENTION, {HEADS(2, 2, 70), .scale = 0.1f},
     {NORMAL(140, 432)}},
    {CHECK(160, 60), "attention, large scores", CM3_OP_ATTENTION, {CAUSAL(2, 1, 80), .scale = 1},
     {SCALED(3, 80, 64)}},

    {CHECK(50, 4), "attention cached, one token", CM3_OP_ATTENTION_CACHED, {HEADS(4, 2, 1), .scale = 0.25f},
     {NORMAL(3, 128), NORMAL(3, 50, 32), NORMAL(3, 50, 32), INDEX(50, 3)}},
    {CHECK(300, 4), "attention cached, one token, a long cache", CM3_OP_ATTENTION_CACHED,
     {HEADS(2, 2, 1), .scale = 0.1f}, {NORMAL(4, 432), NORMAL(4, 300, 144), NORMAL(4, 300, 144), INDEX(300, 4)}},
    {CHECK(100, 4), "attention cached, one token, wide heads", CM3_OP_ATTENTION_CACHED,
     {HEADS(2, 1, 1), .scale = 0.05f}, {NORMAL(2, 1200), NORMAL(2, 100, 300), NORMAL(2, 100, 300), INDEX(100, 2)}},
    {CHECK(230, 4), "attention cached, a prompt of whole vectors", CM3_OP_ATTENTION_CACHED,
     {HEADS(2, 1, 150), .scale = 0.2f}, {NORMAL(300, 192), NORMAL(2, 230, 48), NORMAL(2, 230, 48), INDEX(80, 2)}},
    {CHECK(120, 4), "attention cached, a prompt", CM3_OP_ATTENTION_CACHED, {HEADS(2, 2, 75), .scale = 0.25f},
     {NORMAL(150, 102), NORMAL(2, 120, 34), NORMAL(2, 120, 34), INDEX(45, 2)}},

    {CHECK(40, 2), "qk norm", CM3_OP_QK_NORM, {HEADS(4, 2, 0), .epsilon = 1e-5f},
     {NORMAL(35, 160), GAIN(4, 20), NORMAL(4, 20), GAIN(2, 20), NORMAL(2, 20)}},
    {CHECK(64, 2), "qk norm, whole vectors", CM3_OP_QK_NORM, {HEADS(2, 1, 0), .epsilon = 1e-5f},
     {NORMAL(9, 256), GAIN(2, 64), NORMAL(2, 64), GAIN(1, 64), NORMAL(1, 64)}},
    {CHECK(40, 2), "qk norm with rotary", CM3_OP_QK_NORM, {HEADS(4, 2, 0), .epsilon = 1e-5f, .theta = 10000},
     {NORMAL(35, 160), GAIN(4, 20), NORMAL(4, 20), GAIN(2, 20), NORMAL(2, 20), COUNT(20, 35)}},
    {CHECK(64, 2), "qk norm with rotary, whole vectors", CM3_OP_QK_NORM,
     {HEADS(2, 1, 0), .epsilon = 1e-5f, .theta = 500},
     {NORMAL(150, 256), GAIN(2, 64), NORMAL(2, 64), GAIN(1, 64), NORMAL(1, 64), INDEX(4096, 150)}},
    {CHECK(150, 2), "qk norm with rotary, wide heads", CM3_OP_QK_NORM, {HEADS(1, 1, 0), .epsilon = 1e-5f, .theta = 100},
     {NORMAL(9, 426), GAIN(1, 142), NORMAL(1, 142), GAIN(1, 142), NORMAL(1, 142), INDEX(50, 9)}},
    {CHECK(1100, 2), "qk norm with rotary, many rows", CM3_OP_QK_NORM, {HEADS(1, 1, 0), .epsilon = 1e-5f, .theta = 100},
     {NORMAL(1100, 24), GAIN(1, 8), NORMAL(1, 8), GAIN(1, 8), NORMAL(1, 8), COUNT(50, 1100)}},
    {CHECK(150, 2), "qk norm, odd heads", CM3_OP_QK_NORM, {HEADS(1, 1, 0), .epsilon = 1e-5f},
     {NORMAL(9, 429), GAIN(1, 143), NORMAL(1, 143), GAIN(1, 143), NORMAL(1, 143)}},
    {CHECK(2, 1), "rotary", CM3_OP_ROTARY, {HEADS(3, 1, 0), .theta = 10000}, {NORMAL(60, 110), COUNT(50, 60)}},
    {CHECK(2, 1), "rotary, positions beyond the rows", CM3_OP_ROTARY, {HEADS(2, 2, 0), .theta = 500},
     {NORMAL(5, 48), INDEX(4096, 5)}},
    {CHECK(2, 1), "rotary, whole vectors", CM3_OP_ROTARY, {HEADS(3, 1, 0), .theta = 10000},
     {NORMAL(7, 160), INDEX(4096, 7)}},
    {CHECK(4, 2), "swiglu", CM3_OP_SWIGLU, {0}, {NORMAL(19, 134)}},
    {CHECK(4, 2), "swiglu, whole vectors", CM3_OP_SWIGLU, {0}, {NORMAL(5, 272)}},
    {CHECK(1, 1), "relu", CM3_OP_ACTIVATE, {.activation = CM3_ACT_RELU}, {NORMAL(9001)}},
    {CHECK(4, 2), "gelu", CM3_OP_ACTIVATE, {.activation = CM3_ACT_GELU}, {SCALED(3, 17, 23)}},
    {CHECK(4, 2), "silu", CM3_OP_ACTIVATE, {.activation = CM3_ACT_SILU}, {SCALED(3, 3, 5, 7, 11)}},
    {CHECK(1, 1), "add", CM3_OP_ADD, {0}, {NORMAL(77, 33), NORMAL(77, 33)}},

    {CHECK(71, 4), "linear cross entropy", CM3_OP_LINEAR_CROSS_ENTROPY, {0},
     {NORMAL(13, 30), SCALED(0.3, 71, 30), TARGET(71, 13), VALUE(0.25, 1)}},
    {CHECK(301, 4), "linear cross entropy, z loss", CM3_OP_LINEAR_CROSS_ENTROPY, {.z_loss = 0.01f},
     {NORMAL(70, 20), SCALED(0.3, 301, 20), TARGET(301, 70), VALUE(0.02, 1)}},
    {CHECK(301, 4), "linear cross entropy, z loss, weights", CM3_OP_LINEAR_CROSS_ENTROPY, {.z_loss = 0.01f},
     {NORMAL(70, 20), SCALED(0.3, 301, 20), TARGET(301, 70), VALUE(0.02, 1), UNIFORM(70)}},
    {CHECK(9, 1), "linear cross entropy, nothing to predict", CM3_OP_LINEAR_CROSS_ENTROPY, {0},
     {NORMAL(2, 8), NORMAL(9, 8), TARGET(0, 2), VALUE(1, 1)}},

    /* networks of images */
    {CHECK(126, 1), "conv 3x3", CM3_OP_CONV2D, {SAME(3)}, {NORMAL(2, 9, 7, 5), NORMAL(6, 3, 3, 5), NORMAL(6)}},
    {CHECK(288, 1), "conv 3x3, whole vectors", CM3_OP_CONV2D, {SAME(3)},
     {NORMAL(1, 8, 8, 16), NORMAL(32, 3, 3, 16), NORMAL(32)}},
    {CHECK(630, 1), "conv 3x3, several panels and blocks", CM3_OP_CONV2D, {SAME(3)},
     {NORMAL(1, 5, 6, 70), NORMAL(50, 3, 3, 70)}},
    {CHECK(6300, 1), "conv 3x3, several strips", CM3_OP_CONV2D, {SAME(3)},
     {NORMAL(1, 70, 90, 4), NORMAL(3, 3, 3, 4), NORMAL(3)}},
    {CHECK(832, 1), "conv 3x3, more images than threads", CM3_OP_CONV2D, {SAME(3)},
     {NORMAL(13, 8, 8, 8), NORMAL(9, 3, 3, 8), NORMAL(9)}},
    {CHECK(300, 1), "conv 3x3, stride 2, padding behind", CM3_OP_CONV2D, {.stride = 2, .pad_after = 1},
     {NORMAL(2, 8, 8, 20), NORMAL(33, 3, 3, 20), NORMAL(33)}},
    {CHECK(40, 1), "conv 3x3, stride 2, odd sides", CM3_OP_CONV2D, {.stride = 2, .pad = 1, .pad_after = 1},
     {NORMAL(2, 7, 9, 3), NORMAL(3, 3, 3, 3)}},
    {CHECK(64, 1), "conv 4x4, stride 2", CM3_OP_CONV2D, {.stride = 2, .pad = 1, .pad_after = 1},
     {NORMAL(1, 8, 6, 4), NORMAL(4, 4, 4, 4), NORMAL(4)}},
    {CHECK(200, 1), "conv 5x5, stride 3", CM3_OP_CONV2D, {.stride = 3, .pad = 2, .pad_after = 2},
     {NORMAL(1, 12, 11, 8), NORMAL(8, 5, 5, 8)}},
    {CHECK(72, 1), "conv 1x1", CM3_OP_CONV2D, {.stride = 1}, {NORMAL(2, 6, 6, 17), NORMAL(40, 1, 1, 17), NORMAL(40)}},
    {CHECK(72, 1), "conv 1x1, whole vectors", CM3_OP_CONV2D, {.stride = 1},
     {NORMAL(2, 6, 6, 32), NORMAL(16, 1, 1, 32), NORMAL(16)}},
    {CHECK(18, 1), "conv 1x1, stride 2: pixels without a window", CM3_OP_CONV2D, {.stride = 2},
     {NORMAL(1, 6, 5, 6), NORMAL(4, 1, 1, 6), NORMAL(4)}},
    {CHECK(90, 1), "conv 2x2, more padding than kernel", CM3_OP_CONV2D, {.stride = 1, .pad = 3, .pad_after = 2},
     {NORMAL(1, 4, 4, 3), NORMAL(5, 2, 2, 3), NORMAL(5)}},
    {CHECK(36, 1), "conv 3x3 of one pixel", CM3_OP_CONV2D, {SAME(3)},
     {NORMAL(1, 1, 1, 4), NORMAL(4, 3, 3, 4), NORMAL(4)}},

    {CHECK(45, 2), "group norm", CM3_OP_GROUP_NORM, {NORM(2, CM3_ACT_NONE)}, {NORMAL(2, 5, 3, 6), GAIN(6), NORMAL(6)}},
    {CHECK(1120, 2), "group norm, silu", CM3_OP_GROUP_NORM, {NORM(4, CM3_ACT_SILU)},
     {NORMAL(5, 14, 16, 16), GAIN(16), NORMAL(16)}},
    {CHECK(22200, 2), "group norm, one group, several chunks", CM3_OP_GROUP_NORM, {NORM(1, CM3_ACT_SILU)},
     {NORMAL(1, 24, 25, 37), GAIN(37), NORMAL(37)}},
    {CHECK(72, 2), "group norm, a group a channel", CM3_OP_GROUP_NORM, {NORM(7, CM3_ACT_NONE)},
     {NORMAL(2, 6, 6, 7), GAIN(7), NORMAL(7)}},

    {CHECK(4, 1), "upsample", CM3_OP_UPSAMPLE, {0}, {NORMAL(3, 5, 4, 7)}},
    {CHECK(4, 1), "average pool", CM3_OP_AVERAGE_POOL, {0}, {NORMAL(3, 6, 4, 5)}},

    {CHECK(1, 1), "nearest code", CM3_OP_NEAREST_CODE, {0}, {NORMAL(150, 9), NORMAL(300, 9)}},
    {CHECK(1, 1), "nearest code, one vector, one code", CM3_OP_NEAREST_CODE, {0}, {NORMAL(1, 3), NORMAL(1, 3)}},
    {CHECK(1, 1), "nearest code, all alike: the first", CM3_OP_NEAREST_CODE, {0}, {NORMAL(70, 4), VALUE(0.5, 290, 4)}},
    {CHECK(1, 1), "code lookup", CM3_OP_CODE_LOOKUP, {0}, {NORMAL(90, 30), NORMAL(20, 30), INDEX(20, 90)}},
    {CHECK(1560, 1), "code loss", CM3_OP_CODE_LOSS, {.commitment = 0.25f},
     {NORMAL(130, 12), NORMAL(9, 12), INDEX(9, 130), VALUE(0.75, 1)}},
    {CHECK(210, 1), "pixel loss, absolute", CM3_OP_PIXEL_LOSS, {.l1 = 1},
     {NORMAL(2, 7, 5, 3), NORMAL(2, 7, 5, 3), VALUE(0.75, 1)}},
    {CHECK(14760, 1), "pixel loss, both, several blocks", CM3_OP_PIXEL_LOSS, {.l1 = 0.5f, .l2 = 2},
     {NORMAL(2, 41, 60, 3), NORMAL(2, 41, 60, 3), VALUE(0.75, 1)}},

    /* bench: one layer of the 350M model at 4,096 tokens */
    {BENCH, "embed", CM3_OP_EMBED, {0},
     {UNIFORM(65536, 1024), INDEX(65536, 4096), UNIFORM(4096, 1024), INDEX(4096, 4096)}},
    {BENCH, "layer norm", CM3_OP_LAYER_NORM, {.epsilon = 1e-5f}, {UNIFORM(4096, 1024)}},
    {BENCH, "linear qkv", CM3_OP_LINEAR, {0}, {UNIFORM(4096, 1024), UNIFORM(3072, 1024)}},
    {BENCH, "attention 4096 x 64", CM3_OP_ATTENTION, {CAUSAL(16, 16, 4096), .scale = 0.125f},
     {UNIFORM(4096, 3072)}},
    {BENCH, "linear with residual", CM3_OP_LINEAR, {0},
     {UNIFORM(4096, 1024), UNIFORM(1024, 1024), ABSENT, UNIFORM(4096, 1024)}},
    {BENCH, "linear up, relu", CM3_OP_LINEAR, {.activation = CM3_ACT_RELU}, {UNIFORM(4096, 1024), UNIFORM(4096, 1024)}},
    {BENCH, "linear down", CM3_OP_LINEAR, {0}, {UNIFORM(4096, 4096), UNIFORM(1024, 4096), ABSENT, UNIFORM(4096, 1024)}},
    {BENCH, "cross entropy 8192", CM3_OP_LINEAR_CROSS_ENTROPY, {0},
     {UNIFORM(4096, 1024), UNIFORM(8192, 1024), INDEX(8192, 4096), VALUE(1, 1)}},
    /* bench: Chameleon's variant */
    {BENCH, "rms norm", CM3_OP_RMS_NORM, {.epsilon = 1e-5f}, {UNIFORM(4096, 1024), UNIFORM(1024)}},
    {BENCH, "qk norm", CM3_OP_QK_NORM, {HEADS(16, 16, 0), .epsilon = 1e-5f},
     {UNIFORM(4096, 3072), UNIFORM(16, 64), UNIFORM(16, 64), UNIFORM(16, 64), UNIFORM(16, 64)}},
    {BENCH, "qk norm with rotary", CM3_OP_QK_NORM, {HEADS(16, 16, 0), .epsilon = 1e-5f, .theta = 10000},
     {UNIFORM(4096, 3072), UNIFORM(16, 64), UNIFORM(16, 64), UNIFORM(16, 64), UNIFORM(16, 64), INDEX(4096, 4096)}},
    {BENCH, "rotary", CM3_OP_ROTARY, {HEADS(16, 16, 0), .theta = 10000}, {UNIFORM(4096, 3072), INDEX(4096, 4096)}},
    {BENCH, "swiglu", CM3_OP_SWIGLU, {0}, {UNIFORM(4096, 5504)}},
    {BENCH, "add", CM3_OP_ADD, {0}, {UNIFORM(4096, 1024), UNIFORM(4096, 1024)}},
    {BENCH, "gelu", CM3_OP_ACTIVATE, {.activation = CM3_ACT_GELU}, {UNIFORM(4096, 4096)}},
    /* bench: a small model */
    {BENCH, "linear, small", CM3_OP_LINEAR, {0}, {UNIFORM(2048, 256), UNIFORM(768, 256)}},
    {BENCH, "attention 256 x 64", CM3_OP_ATTENTION, {CAUSAL(4, 4, 256), .scale = 0.125f},
     {UNIFORM(2048, 768)}},
    {BENCH, "attention 96 x 32", CM3_OP_ATTENTION, {CAUSAL(4, 4, 96), .scale = 0.18f},
     {UNIFORM(768, 384)}},
    {BENCH, "cross entropy 1000", CM3_OP_LINEAR_CROSS_ENTROPY, {0},
     {UNIFORM(2048, 256), UNIFORM(1000, 256), INDEX(1000, 2048), VALUE(1, 1)}},
    {BENCH, "attention, cached", CM3_OP_ATTENTION_CACHED, {HEADS(16, 16, 1), .scale = 0.125f},
     {UNIFORM(8, 3072), UNIFORM(8, 1100, 1024), UNIFORM(8, 1100, 1024), INDEX(1099, 8)}},
    /* bench: the image tokenizer at 128 pixels */
    {BENCH, "conv 3x3, 64 channels", CM3_OP_CONV2D, {SAME(3)},
     {UNIFORM(4, 128, 128, 64), UNIFORM(64, 3, 3, 64), UNIFORM(64)}},
    {BENCH, "conv 3x3, 256 channels", CM3_OP_CONV2D, {SAME(3)},
     {UNIFORM(4, 16, 16, 256), UNIFORM(256, 3, 3, 256), UNIFORM(256)}},
    {BENCH, "conv 3x3, halving", CM3_OP_CONV2D, {.stride = 2, .pad_after = 1},
     {UNIFORM(4, 128, 128, 64), UNIFORM(64, 3, 3, 64), UNIFORM(64)}},
    {BENCH, "group norm, silu", CM3_OP_GROUP_NORM, {NORM(32, CM3_ACT_SILU)},
     {UNIFORM(4, 128, 128, 64), UNIFORM(64), UNIFORM(64)}},
    {BENCH, "upsample", CM3_OP_UPSAMPLE, {0}, {UNIFORM(4, 64, 64, 64)}},
    {BENCH, "average pool", CM3_OP_AVERAGE_POOL, {0}, {UNIFORM(4, 128, 128, 64)}},
    {BENCH, "nearest code", CM3_OP_NEAREST_CODE, {0}, {UNIFORM(4096, 32), UNIFORM(8192, 32)}},
    {BENCH, "code lookup", CM3_OP_CODE_LOOKUP, {0}, {UNIFORM(4096, 32), UNIFORM(8192, 32), INDEX(8192, 4096)}},
    {BENCH, "code loss", CM3_OP_CODE_LOSS, {.commitment = 0.25f},
     {UNIFORM(4096, 32), UNIFORM(8192, 32), INDEX(8192, 4096), VALUE(1, 1)}},
    {BENCH, "pixel loss", CM3_OP_PIXEL_LOSS, {.l1 = 1, .l2 = 1},
     {UNIFORM(16, 128, 128, 3), UNIFORM(16, 128, 128, 3), VALUE(1, 1)}},
};
/* clang-format on */

const cm3_op_case *cm3_op_cases(size_t *count) {
    *count = sizeof cases / sizeof *cases;
    return cases;
}

/* --- inputs ------------------------------------------------------------------------------------------------------ */

static bool is_integer(cm3_op_fill fill) {
    return fill >= CM3_FILL_INDEX;
}

cm3_tensor cm3_op_input_tensor(const cm3_op_input *input) {
    if (input->fill == CM3_FILL_ABSENT) return (cm3_tensor){.type = CM3_F32};
    return (cm3_tensor){.type = is_integer(input->fill) ? CM3_I32 : CM3_F32, .shape = input->shape};
}

static float real_value(const cm3_op_input *input, cm3_rng *rng) {
    switch (input->fill) {
    case CM3_FILL_NORMAL:
        return (float)(input->a * cm3_rng_normal(rng));
    case CM3_FILL_POSITIVE:
        return (float)(1 + 0.2 * cm3_rng_normal(rng));
    case CM3_FILL_UNIFORM:
        return (float)input->a * (2 * cm3_rng_float(rng) - 1);
    default:
        return (float)input->a;
    }
}

static int32_t integer_value(const cm3_op_input *input, cm3_rng *rng, int64_t i) {
    const uint64_t bound = (uint64_t)input->a;
    if (input->fill == CM3_FILL_COUNT) return (int32_t)((uint64_t)i % bound);
    if (input->fill == CM3_FILL_TARGET && (bound == 0 || cm3_rng_below(rng, 5) == 0)) return -1;
    return (int32_t)cm3_rng_below(rng, bound);
}

void cm3_op_input_fill(const cm3_op_input *input, uint64_t stream, void *data) {
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, stream, 0);
    const int64_t count = input->fill == CM3_FILL_ABSENT ? 0 : cm3_shape_count(input->shape);
    for (int64_t i = 0; i < count; i++) {
        if (is_integer(input->fill))
            ((int32_t *)data)[i] = integer_value(input, &rng, i);
        else
            ((float *)data)[i] = real_value(input, &rng);
    }
}

/* --- in another type --------------------------------------------------------------------------------------------- */

cm3_tensor cm3_op_case_tensor(const cm3_op_case *of, int i, cm3_dtype real) {
    cm3_tensor t = cm3_op_input_tensor(&of->in[i]);
    const bool scale = of->op == CM3_OP_LINEAR_CROSS_ENTROPY && i >= 3; /* and weights */
    if (t.type == CM3_F32 && t.shape.rank && !scale) t.type = real;
    return t;
}

bool cm3_op_case_has_bf16(const cm3_op_case *of) {
    cm3_tensor in[CM3_OP_INPUTS], out[CM3_OP_OUTPUTS];
    int outputs;
    for (int i = 0; i < CM3_OP_INPUTS; i++) in[i] = cm3_op_case_tensor(of, i, CM3_BF16);
    return cm3_op_definition(of->op)->infer(&of->attr, in, out, &outputs) == CM3_OK;
}

bool cm3_op_is_mask(cm3_op op, const cm3_tensor *output) {
    return op == CM3_OP_LINEAR && output->type == CM3_I32;
}

bool cm3_op_case_accumulates(const cm3_op_case *of, int i) {
    return !(of->op == CM3_OP_LINEAR && i == 0 && of->in[4].shape.rank);
}

bool cm3_op_is_parameter(cm3_op op, int i) {
    if (op == CM3_OP_EMBED) return i == 0 || i == 2;
    if (op == CM3_OP_ADD || (op == CM3_OP_LINEAR && i == 3)) return false;
    return i > 0;
}
