#include "core/rng.h"
#include "model/image_codec.h"
#include "model/vqgan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* --- small models ------------------------------------------------------------------------------------------------ */

static const cm3_section sections[] = {{"image_tokenizer", cm3_vqgan_fields, 0, ""}, {0}};
static const cm3_schema schema = {.sections = sections, .size = sizeof(cm3_vqgan_config)};

static cm3_vqgan_config config_of(const char *yaml) {
    cm3_vqgan_config config;
    if (cm3_config_parse(&schema, &(cm3_config_text){"test", yaml, strlen(yaml)}, NULL, 0, &config) != CM3_OK)
        fail_msg("%s", cm3_message());
    return config;
}

static cm3_vqgan_config small_config(void) {
    return config_of("image_tokenizer: {image_size: 16, patch: 2, channels: 8, multipliers: [1, 2], encoder_blocks: 1, "
                     "decoder_blocks: 1, "
                     "middle_blocks: 2, attention: yes, code_width: 6, codes: 24}");
}

typedef struct network {
    cm3_vqgan_config config;
    cm3_network *network;
    cm3_params *params;
    cm3_vqgan *model;
} network;

static network network_open(cm3_vqgan_config config, bool allocate) {
    network n = {.config = config};
    const cm3_network_options options = {
        .kind = "image-tokenizer", .config = &n.config, .use = allocate ? CM3_USE_GRADIENTS : CM3_USE_PLAN, .seed = 5};
    assert_int_equal(cm3_network_open(&options, &n.network), CM3_OK);
    n.params = n.network->params;
    n.model = n.network->model;
    return n;
}

static void network_close(network *n) {
    cm3_network_close(n->network);
}

static cm3_tape *tape_on(const cm3_backend *backend) {
    cm3_tape *tape;
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = backend, .guards = backend->executes}, &tape),
                     CM3_OK);
    return tape;
}

static void fill(float *values, int64_t count, double size, uint64_t stream) {
    cm3_rng rng = cm3_rng_stream(9, CM3_RNG_TEST, stream, 0);
    for (int64_t i = 0; i < count; i++) values[i] = (float)(size * cm3_rng_normal(&rng));
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void the_default_is_vqgan_of_256_pixels_to_32_by_32_codes(void **state) {
    (void)state;
    network n = network_open(config_of("image_tokenizer: {}"), false);
    assert_int_equal(cm3_vqgan_code_side(&n.config), 32);
    assert_int_equal(cm3_vqgan_codes_per_image(&n.config), 1024);
    cm3_tape *tape = tape_on(cm3_backend_meta());
    const cm3_vqgan_step step = cm3_vqgan_train(n.model, tape, &(cm3_vqgan_batch){.images = 2});
    if (cm3_tape_plan(tape) != CM3_OK) fail_msg("%s", cm3_message());
    assert_true(cm3_shape_equal(cm3_var_tensor(step.z)->shape, cm3_shape_of(2048, 256)));
    assert_true(cm3_shape_equal(cm3_var_tensor(step.codes)->shape, cm3_shape_of(2048)));
    assert_true(cm3_shape_equal(cm3_var_tensor(step.output)->shape, cm3_shape_of(2, 256, 256, 3)));
    const int64_t elements = cm3_params_elements(n.params);
    assert_true(elements > 60e6 && elements < 80e6); /* VQGAN's f8 has 68 million without its attention at 32 x 32 */
    assert_true(cm3_vqgan_flops_per_image(n.model) > 1e12);
    cm3_tape_free(tape);
    network_close(&n);
}

static void a_image_that_the_levels_do_not_divide_is_a_fault_of_the_recipe(void **state) {
    (void)state;
    cm3_vqgan_config config = small_config();
    config.image_size = 18;
    cm3_network *refused;
    const cm3_network_options options = {.kind = "image-tokenizer", .config = &config};
    assert_int_equal(cm3_network_open(&options, &refused), CM3_ERR_SHAPE);
    assert_null(refused);
}

static void folding_is_undone_by_unfolding(void **state) {
    (void)state;
    const cm3_vqgan_config config = small_config();
    enum { VALUES = 2 * 16 * 16 * 3 };
    float images[VALUES], folded[VALUES], back[VALUES];
    for (int i = 0; i < VALUES; i++) images[i] = (float)i;
    cm3_vqgan_fold(&config, images, 2, folded);
    cm3_vqgan_unfold(&config, folded, 2, back);
    assert_memory_equal(images, back, sizeof back);
    /* Second image, folded pixel (1, 2), row 1 and column 0 of its patch, green. */
    assert_true(folded[((8 * 8) + 1 * 8 + 2) * 12 + (1 * 2 + 0) * 3 + 1] == images[((16 * 16) + 3 * 16 + 4) * 3 + 1]);
}

/* The loss of one half of the network against fixed targets. */
typedef struct half {
    cm3_tape *tape;
    cm3_var *loss;
} half;

static double run_half(const half *h) {
    if (cm3_tape_run(h->tape, NULL) != CM3_OK) fail_msg("%s", cm3_message());
    return cm3_var_scalar(h->loss);
}

/* Along its own gradient each parameter changes the loss as the gradient says. */
static void expect_true_gradients(const network *n, const half *h, const char *part) {
    int checked = 0;
    run_half(h);
    for (int i = 0; i < cm3_params_count(n->params); i++) {
        const cm3_param *param = cm3_params_get(n->params, i);
        if (strncmp(param->name, part, strlen(part)) != 0) continue;
        float *value = cm3_params_value(n->params, i),
              *grad = cm3_params_group(n->params, 0)->host.gradients + param->offset;
        float *before = malloc((size_t)param->count * sizeof *before),
              *direction = malloc((size_t)param->count * sizeof *direction);
        double norm = 0, ends[2];
        run_half(h);
        for (int64_t j = 0; j < param->count; j++) norm += (double)grad[j] * grad[j];
        norm = sqrt(norm);
        memcpy(before, value, (size_t)param->count * sizeof *before);
        for (int64_t j = 0; j < param->count; j++) direction[j] = (float)(grad[j] / norm);
        const double step = 4e-3;
        for (int side = 0; side < 2; side++) {
            for (int64_t j = 0; j < param->count; j++)
                value[j] = before[j] + (float)(side ? step : -step) * direction[j];
            ends[side] = run_half(h);
        }
        memcpy(value, before, (size_t)param->count * sizeof *before);
        const double slope = (ends[1] - ends[0]) / (2 * step);
        if (!(fabs(slope - norm) <= 0.01 * norm + 1e-4))
            fail_msg("%s: the gradient's length is %g, differences give %g", param->name, norm, slope);
        checked++;
        free(before);
        free(direction);
    }
    assert_true(checked > 20);
}

static void gradients_of_encoder_and_decoder_agree_with_differences(void **state) {
    (void)state;
    network n = network_open(small_config(), true);
    for (int i = 0; i < cm3_params_count(n.params); i++) { /* blocks start as the identity: that would hide faults */
        const cm3_param *param = cm3_params_get(n.params, i);
        if (param->init.kind == CM3_INIT_ZEROS) fill(cm3_params_value(n.params, i), param->count, 0.1, (uint64_t)i);
    }
    float pixels[16 * 16 * 3], vectors[16 * 6], scale = 1;
    fill(pixels, 16 * 16 * 3, 0.5, 100);
    fill(vectors, 16 * 6, 0.5, 101);

    half encode = {.tape = tape_on(cm3_backend_cpu())};
    cm3_var *image = cm3_tape_input(encode.tape, CM3_F32, cm3_vqgan_image_shape(n.model, 1), pixels);
    cm3_var *target = cm3_tape_input(encode.tape, CM3_F32, cm3_shape_of(16, 6), vectors);
    cm3_var *one = cm3_tape_input(encode.tape, CM3_F32, cm3_shape_of(1), &scale);
    encode.loss = cm3_pixel_loss(encode.tape, cm3_vqgan_encode(n.model, encode.tape, 1, image), target, one, 0, 1);
    cm3_tape_loss(encode.tape, encode.loss);
    if (cm3_tape_plan(encode.tape) != CM3_OK) fail_msg("%s", cm3_message());
    expect_true_gradients(&n, &encode, "encoder/");
    cm3_tape_free(encode.tape);

    scale = 0.1f;
    half decode = {.tape = tape_on(cm3_backend_cpu())};
    cm3_var *codes = cm3_tape_input(decode.tape, CM3_F32, cm3_shape_of(16, 6), vectors);
    target = cm3_tape_input(decode.tape, CM3_F32, cm3_vqgan_image_shape(n.model, 1), pixels);
    one = cm3_tape_input(decode.tape, CM3_F32, cm3_shape_of(1), &scale);
    decode.loss = cm3_pixel_loss(decode.tape, cm3_vqgan_decode(n.model, decode.tape, 1, codes), target, one, 0, 1);
    cm3_tape_loss(decode.tape, decode.loss);
    if (cm3_tape_plan(decode.tape) != CM3_OK) fail_msg("%s", cm3_message());
    expect_true_gradients(&n, &decode, "decoder/");
    cm3_tape_free(decode.tape);
    network_close(&n);
}

static void recomputing_gives_the_same_bits(void **state) {
    (void)state;
    enum { VALUES = 2 * 16 * 16 * 3 };
    static float pixels[VALUES];
    fill(pixels, VALUES, 0.5, 7);
    float *kept = NULL;
    for (int recompute = CM3_RECOMPUTE_NONE; recompute <= CM3_RECOMPUTE_LAYERS; recompute++) {
        network n = network_open(small_config(), true);
        float pixel_scale, code_scale;
        cm3_vqgan_scales(&n.config, 2, &pixel_scale, &code_scale);
        cm3_tape *tape;
        assert_int_equal(
            cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu(), .recompute = (cm3_recompute)recompute},
                            &tape),
            CM3_OK);
        cm3_vqgan_train(n.model, tape, &(cm3_vqgan_batch){2, pixels, &pixel_scale, &code_scale});
        if (cm3_tape_plan(tape) != CM3_OK || cm3_tape_run(tape, NULL) != CM3_OK) fail_msg("%s", cm3_message());
        const size_t bytes = (size_t)cm3_params_group(n.params, 0)->size * sizeof(float);
        if (!kept) {
            kept = malloc(bytes);
            memcpy(kept, cm3_params_group(n.params, 0)->host.gradients, bytes);
        }
        assert_memory_equal(kept, cm3_params_group(n.params, 0)->host.gradients, bytes);
        cm3_tape_free(tape);
        network_close(&n);
    }
    free(kept);
}

static void a_codec_gives_the_same_codes_whatever_the_batch(void **state) {
    (void)state;
    enum { COUNT = 5, VALUES = COUNT * 16 * 16 * 3 };
    network n = network_open(small_config(), true);
    float *book = cm3_params_value(n.params, CM3_VQGAN_CODEBOOK);
    fill(book, 24 * 6, 0.5, 3);
    static float images[VALUES], drawn[VALUES], again[VALUES];
    int32_t codes[COUNT * 16], other[COUNT * 16];
    fill(images, VALUES, 0.6, 4);
    cm3_image_codec *one, *two;
    assert_int_equal(cm3_image_codec_create(n.model, 1, &one), CM3_OK);
    assert_int_equal(cm3_image_codec_create(n.model, 2, &two), CM3_OK);
    assert_int_equal(cm3_image_codec_encode(one, images, COUNT, codes), CM3_OK);
    assert_int_equal(cm3_image_codec_encode(two, images, COUNT, other), CM3_OK);
    assert_memory_equal(codes, other, sizeof codes);
    assert_int_equal(cm3_image_codec_decode(one, codes, COUNT, drawn), CM3_OK);
    assert_int_equal(cm3_image_codec_decode(two, codes, COUNT, again), CM3_OK);
    for (int i = 0; i < VALUES; i++) assert_true(drawn[i] == again[i] && drawn[i] >= -1 && drawn[i] <= 1);
    codes[17] = 24;
    assert_int_equal(cm3_image_codec_decode(one, codes, COUNT, drawn), CM3_ERR_SHAPE);
    codes[17] = -1;
    assert_int_equal(cm3_image_codec_decode(one, codes, COUNT, drawn), CM3_ERR_SHAPE);
    cm3_image_codec_free(one);
    cm3_image_codec_free(two);
    network_close(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_is_vqgan_of_256_pixels_to_32_by_32_codes),
        cmocka_unit_test(a_image_that_the_levels_do_not_divide_is_a_fault_of_the_recipe),
        cmocka_unit_test(folding_is_undone_by_unfolding),
        cmocka_unit_test(gradients_of_encoder_and_decoder_agree_with_differences),
        cmocka_unit_test(recomputing_gives_the_same_bits),
        cmocka_unit_test(a_codec_gives_the_same_codes_whatever_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
