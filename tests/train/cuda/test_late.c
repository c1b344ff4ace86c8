/* The loop on a device that is waited for one step late. The host plays the device, which lags behind as far as it may:
 * what is read before it is there, or written over before it was read, changes the numbers. */
#include "core/file.h"
#include "core/json.h"
#include "tests/support/gpu.h"
#include "tests/support/temporary_folder.h"
#include "train/signals.h"
#include "train/state.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { STEPS = 14, MICRO = 2, WIDTH = 4, NEVER = -1 };

static const cm3_backend *device;

/* --- a parameter of four values, drawn to goals that change with every micro-batch ------------------------------- */

/* What a run meets on its way. Steps count from 0. */
typedef struct scenario {
    bool waits; /* for each step before the next: the order of events that all others are compared with */
    int64_t steps, signal_at, data_end_at;
    bool bad[STEPS]; /* a loss that is not finite, of a gradient that is */
    cm3_on_nonfinite on_nonfinite;
} scenario;

static const scenario plain = {.steps = STEPS, .signal_at = NEVER, .data_end_at = NEVER};

typedef struct pupil {
    const scenario *course;
    cm3_params *params;
    cm3_tape *tape;
    cm3_var *loss;
    float *there;           /* goal and scale, in the device's memory */
    float *pinned;          /* (CM3_STEPS_QUEUED, MICRO, WIDTH + 1): goals and losses */
    int64_t reported, late; /* steps, and those of which the next one was begun before */
} pupil;

static float *page_of(const pupil *p, int64_t step, int64_t micro) {
    return p->pinned + (step % CM3_STEPS_QUEUED * MICRO + micro) * (WIDTH + 1);
}

static void pupil_open(pupil *p, const scenario *course) {
    const float scale = 1.0f / MICRO;
    const cm3_memory *memory = device->memory;
    *p = (pupil){.course = course, .there = memory->alloc((WIDTH + 1) * sizeof(float))};
    p->pinned = memory->alloc_pinned(CM3_STEPS_QUEUED * MICRO * (WIDTH + 1) * sizeof(float));
    assert_true(p->there && p->pinned);
    assert_int_equal(memory->upload(p->there + WIDTH, &scale, sizeof scale), CM3_OK);
    assert_int_equal(cm3_params_create(&p->params), CM3_OK);
    cm3_params_add(p->params, cm3_shape_of(WIDTH), cm3_init_zeros(), CM3_NO_DECAY, "x");
    assert_int_equal(cm3_params_layout(p->params, CM3_SHARD_UNIT), CM3_OK);
    assert_int_equal(cm3_params_allocate(p->params, device, CM3_F32, CM3_USE_TRAIN), CM3_OK);
    cm3_params_init(p->params, 1);
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = device}, &p->tape), CM3_OK);
    p->loss = cm3_pixel_loss(p->tape, cm3_params_var(p->params, p->tape, 0),
                             cm3_tape_input(p->tape, CM3_F32, cm3_shape_of(WIDTH), p->there),
                             cm3_tape_input(p->tape, CM3_F32, cm3_shape_of(1), p->there + WIDTH), 0, 1);
    cm3_tape_loss(p->tape, p->loss);
    assert_int_equal(cm3_tape_plan(p->tape), CM3_OK);
}

static void pupil_close(pupil *p) {
    cm3_tape_free(p->tape);
    cm3_params_free(p->params);
    device->memory->free(p->there, (WIDTH + 1) * sizeof(float));
    device->memory->free_pinned(p->pinned, CM3_STEPS_QUEUED * MICRO * (WIDTH + 1) * sizeof(float));
}

static cm3_status load_batch(void *context, int64_t step, double *weight) {
    pupil *p = context;
    if (step == p->course->data_end_at) return cm3_fail(CM3_ERR_FORMAT, "the data end");
    if (step == p->course->signal_at) raise(SIGTERM);
    if (p->reported < step) p->late++;
    for (int64_t micro = 0; micro < MICRO; micro++) {
        float *goal = page_of(p, step, micro);
        for (int i = 0; i < WIDTH; i++) goal[i] = (float)(i + 1) + 0.25f * (float)(step % 3) - 0.5f * (float)micro;
        if (p->course->bad[step] && micro == 0) goal[1] = 1e30f; /* its square is too large */
    }
    *weight = MICRO;
    return CM3_OK;
}

static cm3_status queue_inputs(void *context, int network, int64_t step, int64_t micro, double weight) {
    const pupil *p = context;
    (void)network, (void)weight;
    return device->memory->upload_async(p->there, page_of(p, step, micro), WIDTH * sizeof(float));
}

static cm3_status queue_readback(void *context, int network, int64_t step, int64_t micro) {
    const pupil *p = context;
    (void)network;
    return device->memory->download_async(page_of(p, step, micro) + WIDTH, cm3_var_tensor(p->loss)->data,
                                          sizeof(float));
}

static cm3_status collect(void *context, int64_t step, double sums[CM3_SUMS_MAX]) {
    const pupil *p = context;
    for (int64_t micro = 0; micro < MICRO; micro++) {
        const float *page = page_of(p, step, micro);
        sums[0] += (double)page[WIDTH];
        sums[1] += (double)page[0];
    }
    return CM3_OK;
}

static void report(void *context, const double sums[CM3_SUMS_MAX], cm3_metrics *metrics, char *text, size_t size) {
    ((pupil *)context)->reported++;
    cm3_metrics_put(metrics, "loss", sums[0]);
    cm3_metrics_put(metrics, "goals", sums[1]);
    snprintf(text, size, "loss %g", sums[0]);
}

/* How far away the parameter is. */
static cm3_status validate(void *context, cm3_comm *comm, int64_t step, cm3_metrics *metrics, double *score) {
    const pupil *p = context;
    (void)comm;
    assert_int_equal(p->reported, step);
    CM3_TRY(cm3_params_download(p->params));
    *score = fabs((double)cm3_params_group(p->params, 0)->host.values[0] - 1);
    cm3_metrics_put(metrics, "distance", *score);
    return CM3_OK;
}

static cm3_status wait_for_all(void *context, cm3_comm *comm, int64_t step) {
    (void)context, (void)comm, (void)step;
    return device->memory->sync();
}

static cm3_status save(void *context, cm3_comm *comm, char **text) {
    (void)context, (void)comm;
    *text = strdup("{}");
    return CM3_OK;
}

static cm3_status restore(void *context, const char *name, const char *text, int64_t step) {
    (void)name, (void)text;
    ((pupil *)context)->reported = step;
    return CM3_OK;
}

/* Trains a new pupil, from the checkpoint of the folder if there is one; says how many steps were told late. */
static cm3_status train(const char *run, const scenario *course, int64_t *late) {
    pupil p;
    pupil_open(&p, course);
    const cm3_train_config loop = {.steps = course->steps, .log_every = 1000, .validate_every = 6};
    const cm3_trainer_config config = {.run = run,
                                       .config_text = "",
                                       .train = &loop,
                                       .checkpoint = &(cm3_checkpoint_config){.every = 4},
                                       .guard =
                                           &(cm3_guard_config){.on_nonfinite = course->on_nonfinite, .max_skips = 2}};
    const cm3_adamw_config adamw = {.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .clip = 1};
    const cm3_learner learner = {.networks = {{.name = "pupil",
                                               .params = p.params,
                                               .tape = p.tape,
                                               .losses = {p.loss},
                                               .adamw = &adamw,
                                               .schedule = &(cm3_schedule_config){.final_fraction = 1}}},
                                 .network_count = 1,
                                 .item = "item",
                                 .items_per_step = 1,
                                 .micro_batches = MICRO,
                                 .context = &p,
                                 .load_batch = load_batch,
                                 .queue_inputs = queue_inputs,
                                 .queue_readback = queue_readback,
                                 .updated = course->waits ? wait_for_all : NULL,
                                 .collect = collect,
                                 .report = report,
                                 .validate = validate,
                                 .save = save,
                                 .restore = restore};
    cm3_comm *comm;
    assert_int_equal(cm3_comm_open_self(&comm), CM3_OK);
    const cm3_status status = cm3_train(&config, &learner, comm);
    if (late) *late = p.late;
    cm3_comm_close(comm);
    pupil_close(&p);
    return status;
}

/* --- what a run leaves ------------------------------------------------------------------------------------------- */

/* A folder of its own for each run of a test. */
static const char *folder(void **state, const char *name, char path[64]) {
    snprintf(path, 64, "%s/%s", (char *)*state, name);
    assert_int_equal(cm3_folder_make(path), CM3_OK);
    return path;
}

/* All lines without what depends on the clock; how many there are. */
static int read_lines(const char *run, char *text, size_t size) {
    char path[96], line[1024];
    int count = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (*text = 0; fgets(line, sizeof line, file); count++) {
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        json_object_del(object, "seconds");
        json_object_del(object, "tokens_per_second");
        char *kept = json_dumps(object, JSON_COMPACT);
        assert_true(strlen(text) + strlen(kept) + 2 < size);
        strcat(strcat(text, kept), "\n");
        free(kept);
        json_decref(object);
    }
    fclose(file);
    return count;
}

static void assert_last_checkpoint(const char *run, const char *step) {
    cm3_path path;
    assert_int_equal(cm3_checkpoint_latest(run, &path), CM3_OK);
    assert_string_equal(strrchr(path.text, '/') + 1, step);
}

static void assert_same_runs(const char *a, const char *b) {
    static char lines[2][1 << 14];
    const char *const runs[] = {a, b}, *const buffers[] = {"parameters", "m", "v"};
    cm3_hash digests[2][3];
    for (int i = 0; i < 2; i++) {
        cm3_path path;
        read_lines(runs[i], lines[i], sizeof lines[i]);
        assert_int_equal(cm3_checkpoint_latest(runs[i], &path), CM3_OK);
        for (int k = 0; k < 3; k++)
            assert_int_equal(cm3_checkpoint_digest(path.text, buffers[k], &digests[i][k]), CM3_OK);
    }
    assert_string_equal(lines[0], lines[1]);
    for (int k = 0; k < 3; k++) assert_true(cm3_hash_equal(digests[0][k], digests[1][k]));
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void steps_told_late_are_those_of_a_run_that_waits(void **state) {
    char run[2][64];
    scenario these = plain;
    int64_t late;
    assert_int_equal(train(folder(state, "late", run[0]), &these, &late), CM3_OK);
    assert_true(late > STEPS / 2); /* but behind validations and checkpoints */
    these.waits = true;
    assert_int_equal(train(folder(state, "waits", run[1]), &these, &late), CM3_OK);
    assert_same_runs(run[0], run[1]);
}

static void a_bad_step_is_skipped_though_the_next_one_is_queued(void **state) {
    char run[2][64];
    scenario these = plain;
    these.on_nonfinite = CM3_NONFINITE_SKIP;
    these.bad[1] = these.bad[4] = these.bad[5] = these.bad[STEPS - 1] = true;
    for (int i = 0; i < 2; i++) {
        these.waits = i == 1;
        assert_int_equal(train(folder(state, i ? "waits" : "late", run[i]), &these, NULL), CM3_OK);
    }
    assert_same_runs(run[0], run[1]);
}

/* Of step 6, the next one is queued already; step 4 is the last that is saved. */
static void the_guard_stops_at_the_bad_step_and_saves_nothing_behind_it(void **state) {
    static char lines[1 << 14];
    for (int i = 0; i < 2; i++) {
        char run[64];
        scenario these = plain;
        these.waits = i == 1;
        these.bad[5] = true;
        assert_int_equal(train(folder(state, i ? "waits" : "late", run), &these, NULL), CM3_ERR_NUMERIC);
        assert_memory_equal(cm3_message(), "step 6: loss inf, gradient norm", 31);
        assert_int_equal(read_lines(run, lines, sizeof lines), 5);
        assert_last_checkpoint(run, "step-4");
    }
}

static void a_step_after_which_the_data_end_is_told(void **state) {
    static char lines[1 << 14];
    for (int i = 0; i < 2; i++) {
        char run[64];
        scenario these = plain;
        these.waits = i == 1;
        these.data_end_at = 5;
        assert_int_equal(train(folder(state, i ? "waits" : "late", run), &these, NULL), CM3_ERR_FORMAT);
        assert_string_equal(cm3_message(), "the data end");
        assert_int_equal(read_lines(run, lines, sizeof lines), 5);
    }
}

/* In a process of its own, which the signal stops: made before this one has threads. */
static void a_run_that_a_signal_stopped_goes_on_with_the_same_bits(void **state) {
    char run[2][64];
    scenario these = plain;
    these.on_nonfinite = CM3_NONFINITE_SKIP;
    these.bad[5] = these.bad[6] = true;
    folder(state, "stopped", run[1]);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        these.signal_at = 6;
        if (cm3_signals_install() != CM3_OK) _exit(100);
        _exit((int)train(run[1], &these, NULL));
    }
    int ended;
    static char lines[1 << 14];
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == CM3_INTERRUPTED);
    assert_last_checkpoint(run[1], "step-7");
    assert_int_equal(read_lines(run[1], lines, sizeof lines), 7 + 1); /* one of a validation */
    assert_int_equal(train(run[1], &these, NULL), CM3_OK);
    assert_int_equal(train(folder(state, "straight", run[0]), &these, NULL), CM3_OK);
    assert_same_runs(run[0], run[1]);
}

int main(void) {
    device = gpu_open();
    if (!device) return 1;
#define TEST(f) cmocka_unit_test_setup_teardown(f, temporary_folder_open, temporary_folder_close)
    const struct CMUnitTest tests[] = {
        TEST(a_run_that_a_signal_stopped_goes_on_with_the_same_bits),
        TEST(steps_told_late_are_those_of_a_run_that_waits),
        TEST(a_bad_step_is_skipped_though_the_next_one_is_queued),
        TEST(the_guard_stops_at_the_bad_step_and_saves_nothing_behind_it),
        TEST(a_step_after_which_the_data_end_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
