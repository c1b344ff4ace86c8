/* Two networks with two optimizers in one loop. The first is updated in every step, the second in every third, by a
 * schedule of its own; each is drawn to data and to the other's values, cut from the tape. With arguments, a program
 * for scripts: test_train_turns RUN STEPS, under mpirun, prints digests. */
#include "core/file.h"
#include "tests/support/temporary_folder.h"
#include "train/state.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { WIDTH = 6, EVERY = 3 };

typedef struct pair {
    cm3_params *params[2];
    cm3_tape *tape[2];
    cm3_var *loss[2][2];
    float goal[2][WIDTH], scale;
    double sums[CM3_STEPS_QUEUED][2];
    int rank;
} pair;

static void must(cm3_status status) {
    if (status == CM3_OK) return;
    fprintf(stderr, "%s\n", cm3_message());
    exit(1);
}

static void pair_open(pair *p, int rank, int ranks) {
    *p = (pair){.rank = rank, .scale = 1.0f / (float)ranks};
    for (int n = 0; n < 2; n++) {
        must(cm3_params_create(&p->params[n]));
        cm3_params_add(p->params[n], cm3_shape_of(WIDTH), cm3_init_normal(1), CM3_NO_DECAY, "x");
        must(cm3_params_layout(p->params[n], CM3_SHARD_UNIT));
        must(cm3_params_allocate(p->params[n], cm3_backend_cpu(), CM3_F32, CM3_USE_TRAIN));
        must(cm3_params_init(p->params[n], (uint64_t)n + 1));
    }
    for (int n = 0; n < 2; n++) {
        must(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu()}, &p->tape[n]));
        cm3_tape *t = p->tape[n];
        cm3_var *own = cm3_params_var(p->params[n], t, 0), *other = cm3_params_var(p->params[1 - n], t, 0);
        cm3_var *scale = cm3_tape_input(t, CM3_F32, cm3_shape_of(1), &p->scale);
        p->loss[n][0] =
            cm3_pixel_loss(t, own, cm3_tape_input(t, CM3_F32, cm3_shape_of(WIDTH), p->goal[n]), scale, 0, 1);
        p->loss[n][1] = cm3_pixel_loss(t, own, cm3_detach(t, other), scale, 0, 0.5f);
        cm3_tape_loss(t, p->loss[n][0]);
        cm3_tape_loss(t, p->loss[n][1]);
        must(cm3_tape_plan(t));
    }
}

static void pair_close(pair *p) {
    for (int n = 0; n < 2; n++) {
        cm3_tape_free(p->tape[n]);
        cm3_params_free(p->params[n]);
    }
}

static cm3_status load_batch(void *context, int64_t step, double *weight) {
    memset(((pair *)context)->sums[step % CM3_STEPS_QUEUED], 0, sizeof *((pair *)context)->sums);
    *weight = 1;
    return CM3_OK;
}

static cm3_status queue_inputs(void *context, int network, int64_t step, int64_t micro, double weight) {
    pair *p = context;
    (void)micro, (void)weight;
    for (int i = 0; i < WIDTH; i++)
        p->goal[network][i] = (float)(i + network) + 0.25f * (float)(step % 4) + 0.5f * (float)p->rank;
    return CM3_OK;
}

static cm3_status queue_readback(void *context, int network, int64_t step, int64_t micro) {
    pair *p = context;
    (void)micro;
    for (int i = 0; i < 2; i++)
        p->sums[step % CM3_STEPS_QUEUED][network] += (double)cm3_var_scalar(p->loss[network][i]);
    return CM3_OK;
}

static cm3_status collect(void *context, int64_t step, double sums[CM3_SUMS_MAX]) {
    for (int n = 0; n < 2; n++) sums[n] += ((pair *)context)->sums[step % CM3_STEPS_QUEUED][n];
    return CM3_OK;
}

static void report(void *context, const double sums[CM3_SUMS_MAX], cm3_metrics *metrics, char *text, size_t size) {
    (void)context;
    cm3_metrics_put(metrics, "loss", sums[0]);
    snprintf(text, size, "loss %g", sums[0]);
}

static cm3_status save(void *context, cm3_comm *comm, char **text) {
    (void)context, (void)comm;
    *text = strdup("{}");
    return CM3_OK;
}

static cm3_status restore(void *context, const char *name, const char *text, int64_t step) {
    (void)context, (void)name, (void)text, (void)step;
    return CM3_OK;
}

/* A process of its own, as it were: trains a new pair to `steps`, from the checkpoint of the folder if there is one. */
static cm3_status train(cm3_comm *comm, const char *run, int64_t steps) {
    pair p;
    pair_open(&p, cm3_comm_rank(comm), cm3_comm_size(comm));
    const cm3_train_config loop = {.steps = steps, .log_every = 1000};
    const cm3_adamw_config first = {.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                           second = {.learning_rate = 0.02, .beta1 = 0.5, .beta2 = 0.9, .epsilon = 1e-6, .clip = 1};
    const cm3_schedule_config constant = {.final_fraction = 1}, warmup = {.warmup_steps = 2, .final_fraction = 1};
    const cm3_trainer_config config = {.run = run,
                                       .config_text = "",
                                       .train = &loop,
                                       .checkpoint = &(cm3_checkpoint_config){.keep = 0},
                                       .guard = &(cm3_guard_config){0}};
    const cm3_learner learner = {.networks = {{.name = "generator",
                                               .params = p.params[0],
                                               .tape = p.tape[0],
                                               .losses = {p.loss[0][0], p.loss[0][1]},
                                               .adamw = &first,
                                               .schedule = &constant},
                                              {.name = "discriminator",
                                               .params = p.params[1],
                                               .tape = p.tape[1],
                                               .losses = {p.loss[1][0], p.loss[1][1]},
                                               .adamw = &second,
                                               .schedule = &warmup,
                                               .every = EVERY}},
                                 .network_count = 2,
                                 .item = "item",
                                 .items_per_step = 1,
                                 .micro_batches = 1,
                                 .context = &p,
                                 .load_batch = load_batch,
                                 .queue_inputs = queue_inputs,
                                 .queue_readback = queue_readback,
                                 .collect = collect,
                                 .report = report,
                                 .save = save,
                                 .restore = restore};
    const cm3_status status = cm3_train(&config, &learner, comm);
    pair_close(&p);
    return status;
}

static void digests_of(const char *run, char hex[3][CM3_HASH_HEX]) {
    static const char *const buffers[] = {"parameters", "m", "v"};
    cm3_path path;
    must(cm3_checkpoint_latest(run, &path));
    for (int i = 0; i < 3; i++) {
        cm3_hash digest;
        must(cm3_checkpoint_digest(path.text, buffers[i], &digest));
        cm3_hash_to_hex(digest, hex[i]);
    }
}

static void two_networks_take_turns_and_resume_bit_exactly(void **state) {
    static const int64_t stops[] = {11, 1, 3, 4, 8}; /* straight, and stopped before, in and behind a turn */
    char straight[3][CM3_HASH_HEX];
    cm3_comm *comm;
    assert_int_equal(cm3_comm_open_self(&comm), CM3_OK);
    for (int i = 0; i < 5; i++) {
        char run[64], hex[3][CM3_HASH_HEX];
        snprintf(run, sizeof run, "%s/%d", (char *)*state, i);
        assert_int_equal(cm3_folder_make(run), CM3_OK);
        must(train(comm, run, stops[i]));
        must(train(comm, run, 11));
        digests_of(run, i ? hex : straight);
        for (int k = 0; k < 3 && i; k++) assert_string_equal(hex[k], straight[k]);
    }
    cm3_comm_close(comm);
}

static void the_second_network_is_updated_in_its_turns_alone(void **state) {
    char run[64], line[1024];
    int turns = 0, lines = 0;
    cm3_comm *comm;
    assert_int_equal(cm3_comm_open_self(&comm), CM3_OK);
    snprintf(run, sizeof run, "%s/turns", (char *)*state);
    assert_int_equal(cm3_folder_make(run), CM3_OK);
    must(train(comm, run, 7));
    cm3_comm_close(comm);
    strcat(run, "/metrics.jsonl");
    FILE *file = fopen(run, "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); lines++) turns += strstr(line, "\"lr_discriminator\"") != NULL;
    fclose(file);
    assert_int_equal(lines, 7);
    assert_int_equal(turns, 3); /* steps 1, 4 and 7 */
}

static void networks_that_the_loop_cannot_list_are_refused(void **state) {
    static const struct {
        const char *names[2], *message;
        int64_t every;
    } cases[] = {{{"a", "b"}, "network a is the first one", 2},
                 {{"a", "a"}, "two networks have the name a", 1},
                 {{"a", ""}, "network 1 of 2 has no name", 1}};
    cm3_comm *comm;
    assert_int_equal(cm3_comm_open_self(&comm), CM3_OK);
    for (int i = 0; i < 3; i++) {
        const cm3_trainer_config config = {
            .run = *state, .guard = &(cm3_guard_config){0}, .train = &(cm3_train_config){0}};
        const cm3_learner learner = {
            .networks = {{.name = cases[i].names[0], .every = cases[i].every}, {.name = cases[i].names[1]}},
            .network_count = 2};
        assert_int_equal(cm3_train(&config, &learner, comm), CM3_ERR_INTERNAL);
        assert_non_null(strstr(cm3_message(), cases[i].message));
    }
    cm3_comm_close(comm);
}

int main(int count, char **words) {
    if (count > 2) {
        cm3_comm *comm;
        char hex[3][CM3_HASH_HEX];
        must(cm3_comm_open(&comm));
        must(train(comm, words[1], atoll(words[2])));
        if (cm3_comm_rank(comm) == 0) {
            digests_of(words[1], hex);
            for (int i = 0; i < 3; i++) printf("%s\n", hex[i]);
        }
        cm3_comm_close(comm);
        return 0;
    }
#define TEST(f) cmocka_unit_test_setup_teardown(f, temporary_folder_open, temporary_folder_close)
    const struct CMUnitTest tests[] = {
        TEST(two_networks_take_turns_and_resume_bit_exactly),
        TEST(networks_that_the_loop_cannot_list_are_refused),
        TEST(the_second_network_is_updated_in_its_turns_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
