#include "model/decode/generate.h"
#include "tests/support/small_network.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { VOCABULARY = 24, SEQUENCE = 12, BATCH = 2, TOKENS = BATCH * SEQUENCE };

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
    {.architecture = CM3_ARCHITECTURE_CM3LEON,
     .positions = CM3_POSITIONS_ROTARY,
     .layers = 2,
     .width = 16,
     .heads = 2,
     .context = 40,
     .init_std = 0.3,
     .norm_epsilon = 1e-5,
     .rotary_theta = 100},
    {.architecture = CM3_ARCHITECTURE_CHAMELEON,
     .layers = 2,
     .width = 16,
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

static void random_ids(int32_t *ids, int64_t count, uint64_t name) {
    cm3_rng rng = cm3_rng_stream(2, CM3_RNG_TEST, name, 1);
    for (int64_t i = 0; i < count; i++) ids[i] = (int32_t)cm3_rng_below(&rng, VOCABULARY);
}

typedef struct step {
    int32_t ids[TOKENS], targets[TOKENS], positions[TOKENS];
    float scale;
    cm3_tape *tape;
    cm3_var *loss, *per_token;
} step;

static void record(const small_network *n, cm3_recompute recompute, step *s) {
    random_ids(s->ids, TOKENS, 0);
    random_ids(s->targets, TOKENS, 1);
    for (int i = 0; i < TOKENS; i++) s->positions[i] = i % SEQUENCE;
    s->scale = 1.0f / TOKENS;
    const cm3_tape_options options = {.backend = cm3_backend_cpu(), .recompute = recompute, .guards = true};
    const cm3_sequence_batch batch = {.batch = BATCH,
                                      .sequence = SEQUENCE,
                                      .ids = s->ids,
                                      .targets = s->targets,
                                      .positions = s->positions,
                                      .scale = &s->scale};
    assert_int_equal(cm3_tape_create(&options, &s->tape), CM3_OK);
    s->loss = cm3_transformer_loss(n->model, s->tape, &batch, &s->per_token);
    cm3_tape_loss(s->tape, s->loss);
    assert_int_equal(cm3_tape_plan(s->tape), CM3_OK);
}

static double run(step *s) {
    const cm3_status status = cm3_tape_run(s->tape, NULL);
    if (status != CM3_OK) print_error("%s\n", cm3_message());
    assert_int_equal(status, CM3_OK);
    return (double)cm3_var_scalar(s->loss);
}

static void gradients_of_both_architectures_are_those_of_finite_differences(void **state) {
    (void)state;
    for (int c = 0; c < CONFIGS; c++) {
        small_network n = small_network_open(&configs[c], VOCABULARY);
        step s;
        record(&n, CM3_RECOMPUTE_NONE, &s);
        run(&s);
        const size_t bytes = (size_t)cm3_params_group(n.params, 0)->size * sizeof(float);
        float *grads = malloc(bytes);
        memcpy(grads, cm3_params_group(n.params, 0)->host.gradients, bytes);
        int checked = 0, wrong = 0;
        for (int i = 0; i < cm3_params_count(n.params); i++) {
            const cm3_param *p = cm3_params_get(n.params, i);
            for (int64_t k = 0; k < p->count; k += 1 + p->count / 7) {
                float *value = cm3_params_value(n.params, i) + k;
                const float kept = *value, width = 2e-3f;
                *value = kept + width;
                const double above = run(&s);
                *value = kept - width;
                const double below = run(&s);
                *value = kept;
                const double expected = (above - below) / (2 * (double)width), found = (double)grads[p->offset + k];
                /* rounding of a loss of about 4 in f32 over the step, and what a ReLU's kink inside the step may add */
                if (fabs(expected - found) > 1e-3 + 0.03 * fabs(expected)) {
                    print_error("config %d: %s[%lld]: %g, by differences %g\n", c, p->name, (long long)k, found,
                                expected);
                    wrong++;
                }
                checked++;
            }
        }
        assert_true(checked > 50);
        assert_true(wrong <= checked / 50);
        free(grads);
        cm3_tape_free(s.tape);
        small_network_close(&n);
    }
}

static void recomputed_gradients_have_the_same_bits(void **state) {
    (void)state;
    for (int c = 0; c < CONFIGS; c++) {
        small_network n = small_network_open(&configs[c], VOCABULARY);
        const size_t bytes = (size_t)cm3_params_group(n.params, 0)->size * sizeof(float);
        float *grads = malloc(bytes);
        for (int policy = CM3_RECOMPUTE_NONE; policy <= CM3_RECOMPUTE_LAYERS; policy++) {
            step s;
            record(&n, (cm3_recompute)policy, &s);
            run(&s);
            if (policy == CM3_RECOMPUTE_NONE)
                memcpy(grads, cm3_params_group(n.params, 0)->host.gradients, bytes);
            else
                assert_memory_equal(grads, cm3_params_group(n.params, 0)->host.gradients, bytes);
            cm3_tape_free(s.tape);
        }
        free(grads);
        small_network_close(&n);
    }
}

/* Scores of a continuation, token by token with the cache, against the loss of the whole sequence at once. */
static void the_cache_gives_what_the_whole_sequence_gives(void **state) {
    (void)state;
    for (int c = 0; c < CONFIGS; c++) {
        small_network n = small_network_open(&configs[c], VOCABULARY);
        step s;
        record(&n, CM3_RECOMPUTE_NONE, &s);
        run(&s);
        cm3_kv_cache cache;
        assert_int_equal(cm3_kv_cache_create(n.model, BATCH, SEQUENCE, &cache), CM3_OK);
        int32_t ids[BATCH], positions[BATCH], start[BATCH];
        const cm3_tape_options options = {.backend = cm3_backend_cpu(), .guards = true};
        const cm3_cached_step cached = {
            .cache = &cache, .rows = BATCH, .tokens = 1, .ids = ids, .positions = positions, .start = start};
        cm3_tape *tape;
        assert_int_equal(cm3_tape_create(&options, &tape), CM3_OK);
        cm3_var *logits = cm3_transformer_step(n.model, tape, &cached, true);
        for (int t = 0; t < SEQUENCE; t++) {
            for (int b = 0; b < BATCH; b++) {
                ids[b] = s.ids[b * SEQUENCE + t];
                positions[b] = start[b] = t;
            }
            assert_int_equal(cm3_tape_run(tape, NULL), CM3_OK);
            for (int b = 0; b < BATCH; b++) {
                const float *row = (const float *)cm3_var_tensor(logits)->data + b * VOCABULARY;
                double sum = 0;
                for (int v = 0; v < VOCABULARY; v++) sum += exp((double)row[v]);
                const double expected = log(sum) - (double)row[s.targets[b * SEQUENCE + t]];
                const double found = (double)((const float *)cm3_var_tensor(s.per_token)->data)[b * SEQUENCE + t];
                assert_true(fabs(expected - found) < 2e-4);
            }
        }
        cm3_tape_free(tape);
        cm3_kv_cache_free(&cache);
        cm3_tape_free(s.tape);
        small_network_close(&n);
    }
}

enum { REQUESTS = 5, DRAWN = 9 };

static void generate_all(const small_network *n, int64_t rows, double guidance, int32_t out[REQUESTS][DRAWN]) {
    static const int32_t prompts[REQUESTS][4] = {{1, 5, 7, 9}, {1, 6, 7, 9}, {1, 5, 8, 9}, {2, 2, 2, 2}, {1, 5, 7, 9}};
    static const int32_t nothing[2] = {1, 3};
    const cm3_decode_config config = {.temperature = 1, .top_p = 0.95, .guidance = guidance, .seed = 11};
    cm3_request requests[REQUESTS];
    for (int r = 0; r < REQUESTS; r++) {
        requests[r] = (cm3_request){.prompts = {prompts[r], nothing},
                                    .prompt_tokens = {r == 3 ? 2 : 4, 2},
                                    .mix = guidance == 1 ? cm3_mix_none() : cm3_mix_guidance(guidance),
                                    .sample = (uint64_t)r,
                                    .out = out[r],
                                    .phases = {{.allowed = {{10, 8}}, .ranges = 1, .tokens = DRAWN - 3},
                                               {.allowed = {{0, 2}, {20, 2}}, .ranges = 2, .tokens = 3}},
                                    .phase_count = 2};
    }
    cm3_generator *generator;
    assert_int_equal(cm3_generator_create(n->model, rows, &generator), CM3_OK);
    assert_int_equal(cm3_generate(generator, &config, requests, REQUESTS, NULL, NULL), CM3_OK);
    for (int r = 0; r < REQUESTS; r++) assert_int_equal(requests[r].count, DRAWN);
    cm3_generator_free(generator);
}

static void generation_keeps_to_its_phases_whatever_else_is_in_the_batch(void **state) {
    (void)state;
    small_network n = small_network_open(&configs[0], VOCABULARY);
    const double guidances[] = {1, 2.5};
    for (int g = 0; g < 2; g++) {
        int32_t together[REQUESTS][DRAWN], apart[REQUESTS][DRAWN];
        generate_all(&n, 64, guidances[g], together);
        generate_all(&n, 2, guidances[g], apart);
        assert_memory_equal(together, apart, sizeof together);
        for (int r = 0; r < REQUESTS; r++)
            for (int t = 0; t < DRAWN; t++) {
                const int32_t id = together[r][t];
                if (t < DRAWN - 3)
                    assert_in_range(id, 10, 17);
                else
                    assert_true(id < 2 || (id >= 20 && id < 22));
            }
        assert_memory_not_equal(together[0], together[4], sizeof together[0]); /* one prompt, two sample numbers */
    }
    small_network_close(&n);
}

static void a_continuation_beyond_the_context_is_refused(void **state) {
    (void)state;
    small_network n = small_network_open(&configs[0], VOCABULARY);
    static const int32_t prompt[4] = {1, 2, 3, 4};
    int32_t out[64];
    cm3_request request = {.prompts = {prompt},
                           .prompt_tokens = {4},
                           .mix = cm3_mix_none(),
                           .out = out,
                           .phases = {{.allowed = {{0, 4}}, .ranges = 1, .tokens = 37}},
                           .phase_count = 1};
    const cm3_decode_config config = {.temperature = 1, .top_p = 1};
    cm3_generator *generator;
    assert_int_equal(cm3_generator_create(n.model, 1, &generator), CM3_OK);
    assert_int_equal(cm3_generate(generator, &config, &request, 1, NULL, NULL), CM3_ERR_USAGE);
    request.phases[0].tokens = 36;
    assert_int_equal(cm3_generate(generator, &config, &request, 1, NULL, NULL), CM3_OK);
    cm3_generator_free(generator);
    small_network_close(&n);
}

static void declared_parameters_are_those_of_the_paper(void **state) {
    (void)state;
    const struct {
        int64_t layers, width, heads, millions;
    } sizes[] = {{24, 1024, 16, 373}, {24, 1536, 16, 786}, {32, 4096, 32, 6728}};
    for (int i = 0; i < 3; i++) {
        const cm3_transformer_config config = {.layers = sizes[i].layers,
                                               .width = sizes[i].width,
                                               .heads = sizes[i].heads,
                                               .context = 4096,
                                               .init_std = 0.006,
                                               .position_std = 0.0002,
                                               .norm_epsilon = 1e-5};
        cm3_network *network;
        const cm3_network_options options = {.kind = "transformer", .config = &config, .vocabulary = 65536};
        assert_int_equal(cm3_network_open(&options, &network), CM3_OK);
        assert_int_equal((cm3_params_elements(network->params) + 500000) / 1000000, sizes[i].millions);
        cm3_network_close(network);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_both_architectures_are_those_of_finite_differences),
        cmocka_unit_test(recomputed_gradients_have_the_same_bits),
        cmocka_unit_test(the_cache_gives_what_the_whole_sequence_gives),
        cmocka_unit_test(generation_keeps_to_its_phases_whatever_else_is_in_the_batch),
        cmocka_unit_test(a_continuation_beyond_the_context_is_refused),
        cmocka_unit_test(declared_parameters_are_those_of_the_paper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
