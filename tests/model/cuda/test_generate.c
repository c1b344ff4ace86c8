/* Generation on the backend of GPUs, which the host runs in the place of one: beside the CPU's. */
#include "model/decode/generate.h"
#include "tests/support/gpu.h"
#include "tests/support/small_network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { VOCABULARY = 60, REQUESTS = 3, CODES = 8, WORDS = 3, DRAWN = CODES + WORDS };

static const cm3_backend *device;

static const cm3_transformer_config configs[] = {
    {.architecture = CM3_ARCHITECTURE_CM3LEON,
     .layers = 2,
     .width = 16,
     .heads = 2,
     .context = 40,
     .init_std = 0.3,
     .position_std = 0.3,
     .norm_epsilon = 1e-5,
     .rotary_theta = 10000},
    {.architecture = CM3_ARCHITECTURE_CHAMELEON,
     .layers = 2,
     .width = 32,
     .heads = 4,
     .kv_heads = 2,
     .ffn = 24,
     .context = 40,
     .init_std = 0.3,
     .norm_epsilon = 1e-5,
     .rotary_theta = 10000,
     .z_loss = 1e-3},
};
enum { CONFIGS = sizeof configs / sizeof *configs };

static const cm3_id_range codes = {20, 30}, words[2] = {{50, 4}, {2, 7}}; /* not in order: a device sorts them */

/* Prompts of several lengths; as many streams as the mix has; a phase of codes, then words. */
static void generate(const cm3_transformer_config *model, const cm3_backend *backend, cm3_dtype compute,
                     const cm3_decode_config *config, int64_t rows, int32_t out[REQUESTS][DRAWN]) {
    static const int32_t prompts[REQUESTS][6] = {{1, 5, 7, 9, 11, 3}, {1, 6, 7, 9}, {2, 2}}, nothing[2] = {1, 3};
    static const int64_t lengths[REQUESTS] = {6, 4, 2};
    small_network n = small_network_open_on(model, VOCABULARY, backend, compute);
    cm3_request requests[REQUESTS];
    cm3_generator *generator;
    for (int r = 0; r < REQUESTS; r++)
        requests[r] = (cm3_request){.prompts = {prompts[r], nothing},
                                    .prompt_tokens = {lengths[r], 2},
                                    .mix = config->guidance == 1 ? cm3_mix_none() : cm3_mix_guidance(config->guidance),
                                    .sample = (uint64_t)r,
                                    .out = out[r],
                                    .phases = {{.allowed = {codes}, .ranges = 1, .tokens = CODES},
                                               {.allowed = {words[0], words[1]}, .ranges = 2, .tokens = WORDS}},
                                    .phase_count = 2};
    assert_int_equal(cm3_generator_create(n.model, rows, &generator), CM3_OK);
    assert_int_equal(cm3_generate(generator, config, requests, REQUESTS, NULL, NULL), CM3_OK);
    for (int r = 0; r < REQUESTS; r++) assert_int_equal(requests[r].count, DRAWN);
    cm3_generator_free(generator);
    small_network_close(&n);
}

static const cm3_decode_config decodes[] = {
    {.temperature = 0, .top_p = 1, .guidance = 1, .seed = 11},
    {.temperature = 1, .top_p = 0.95, .guidance = 1, .seed = 11},
    {.temperature = 1, .top_p = 0.9, .guidance = 2.5, .seed = 12},
    {.method = CM3_DECODE_CD_K, .temperature = 1, .top_p = 1, .guidance = 2, .cdk_k = 6, .cdk_alpha = 0.2, .seed = 3},
};
enum { DECODES = sizeof decodes / sizeof *decodes };

static void the_device_draws_the_tokens_of_the_cpu(void **state) {
    (void)state;
    for (int c = 0; c < CONFIGS; c++)
        for (int d = 0; d < DECODES; d++) {
            int32_t host[REQUESTS][DRAWN], there[REQUESTS][DRAWN];
            generate(&configs[c], cm3_backend_cpu(), CM3_F32, &decodes[d], 64, host);
            generate(&configs[c], device, CM3_F32, &decodes[d], 64, there);
            assert_memory_equal(host, there, sizeof host);
        }
}

static bool is_in(int32_t id, cm3_id_range range) {
    return id >= range.first && id < range.first + range.count;
}

/* What is rounded leads elsewhere now and then, and from there on everything differs. */
static void in_bf16_most_draws_are_those_of_f32_and_all_of_them_allowed(void **state) {
    (void)state;
    int same = 0, all = 0;
    for (int c = 0; c < CONFIGS; c++)
        for (int d = 0; d < DECODES; d++) {
            int32_t host[REQUESTS][DRAWN], there[REQUESTS][DRAWN];
            generate(&configs[c], cm3_backend_cpu(), CM3_F32, &decodes[d], 64, host);
            generate(&configs[c], device, CM3_BF16, &decodes[d], 2, there);
            for (int r = 0; r < REQUESTS; r++)
                for (int t = 0; t < DRAWN; t++, all++) {
                    const int32_t id = there[r][t];
                    assert_true(t < CODES ? is_in(id, codes) : is_in(id, words[0]) || is_in(id, words[1]));
                    same += id == host[r][t];
                }
        }
    printf("%d of %d tokens are the same\n", same, all);
    assert_true(same > all / 2);
}

/* Without gradients nobody changes the parameters: a device keeps no f32 of them. */
static void what_only_infers_keeps_nothing_but_bf16_on_the_device(void **state) {
    (void)state;
    cm3_params *params;
    assert_int_equal(cm3_params_create(&params), CM3_OK);
    cm3_params_add(params, cm3_shape_of(9, 7), cm3_init_normal(1), CM3_DECAY, "one");
    cm3_params_add(params, cm3_shape_of(5), cm3_init_normal(1), CM3_DECAY, "two");
    assert_int_equal(cm3_params_layout(params, 1), CM3_OK);
    assert_int_equal(cm3_params_allocate(params, device, CM3_BF16, CM3_USE_INFER), CM3_OK);
    assert_int_equal(cm3_params_init(params, 5), CM3_OK);
    const cm3_group_memory *at = &cm3_params_group(params, 0)->there;
    assert_null(at->values);
    uint16_t rounded[128];
    const int64_t size = cm3_params_group(params, 0)->size;
    assert_in_range(size, 68, 128);
    assert_int_equal(device->memory->download(rounded, at->bf16_weights, (size_t)size * sizeof *rounded), CM3_OK);
    for (int64_t i = 0; i < size; i++) {
        const uint32_t bits = (uint32_t)rounded[i] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        const float exact = cm3_params_group(params, 0)->host.values[i],
                    off = value > exact ? value - exact : exact - value;
        assert_true(off <= (exact < 0 ? -exact : exact) / 256);
    }
    assert_int_equal(cm3_params_download(params), CM3_OK); /* leaves the host's as they are */
    cm3_params_free(params);
}

int main(void) {
    device = gpu_open();
    if (!device) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_draws_the_tokens_of_the_cpu),
        cmocka_unit_test(in_bf16_most_draws_are_those_of_f32_and_all_of_them_allowed),
        cmocka_unit_test(what_only_infers_keeps_nothing_but_bf16_on_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
