#include "model/decode/generate.h"

#include "core/tensor/staged_buffer.h"

#include <stdlib.h>
#include <string.h>

/* Tokens that one prefill call takes at most, over all rows: bounds its activations. */
enum { PREFILL_TOKENS = 4096 };

/* One row of the batch: a stream of a request. */
typedef struct stream {
    const int32_t *prompt;
    int64_t prompt_tokens;
    int64_t length; /* tokens in the cache */
    bool idle;      /* does not take part in the present step */
} stream;

/* Where a request stands. */
typedef struct progress {
    int phase;
    int64_t in_phase;
} progress;

/* A recorded step of T tokens for a range of rows, and its inputs as the host writes them. */
typedef struct cached_tape {
    cm3_tape *tape;
    cm3_var *logits;
    int64_t rows, tokens;
    cm3_staged_buffer inputs;
    int32_t *ids, *positions, *start; /* parts of it */
} cached_tape;

struct cm3_generator {
    const cm3_transformer *model;
    cm3_tape_options options;
    int64_t rows;
    cm3_kv_cache cache;
    cached_tape decode;
};

/* What one cm3_generate call works on: the requests of a batch, streams in stream-major order (row = s * requests +
 * r). */
typedef struct batch {
    cm3_generator *generator;
    const cm3_decode_config *config;
    cm3_request *requests;
    int64_t count;
    int streams;
    stream *rows;
    progress *at;
    cm3_batched_sampler sampler;
} batch;

static void tape_free(cached_tape *t) {
    cm3_tape_free(t->tape);
    cm3_staged_buffer_free(&t->inputs);
    *t = (cached_tape){0};
}

static cm3_status tape_make(cm3_generator *g, int64_t first_row, int64_t rows, int64_t tokens, bool logits,
                            cached_tape *t) {
    const int64_t each = rows * tokens;
    *t = (cached_tape){.rows = rows, .tokens = tokens};
    cm3_status status = cm3_staged_buffer_alloc(g->options.backend->memory, (size_t)(2 * each + rows) * sizeof(int32_t),
                                                "a generation step", &t->inputs);
    if (status == CM3_OK) status = cm3_tape_create(&g->options, &t->tape);
    if (status == CM3_OK) {
        t->ids = t->inputs.host;
        t->positions = t->ids + each;
        t->start = t->positions + each;
        int32_t *there = t->inputs.there;
        const cm3_cached_step step = {.cache = &g->cache,
                                      .first_row = first_row,
                                      .rows = rows,
                                      .tokens = tokens,
                                      .ids = there,
                                      .positions = there + each,
                                      .start = there + 2 * each};
        t->logits = cm3_transformer_step(g->model, t->tape, &step, logits);
        status = cm3_tape_plan(t->tape);
    }
    if (status != CM3_OK) tape_free(t);
    return status;
}

static cm3_status tape_run(cached_tape *t) {
    CM3_TRY(cm3_staged_buffer_upload(&t->inputs));
    return cm3_tape_run(t->tape, NULL);
}

cm3_status cm3_generator_create(const cm3_transformer *model, int64_t rows, cm3_generator **generator) {
    *generator = calloc(1, sizeof **generator);
    if (!*generator) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a generator");
    **generator = (cm3_generator){
        .model = model, .options = cm3_params_tape_options(cm3_transformer_params(model)), .rows = rows < 1 ? 1 : rows};
    return CM3_OK;
}

void cm3_generator_free(cm3_generator *generator) {
    if (!generator) return;
    tape_free(&generator->decode);
    cm3_kv_cache_free(&generator->cache);
    free(generator);
}

/* --- one batch --------------------------------------------------------------------------------------------------- */

static int64_t longest(const cm3_request *request) {
    int64_t prompt = 0, tokens = 0;
    for (int s = 0; s < request->mix.streams; s++)
        if (request->prompt_tokens[s] > prompt) prompt = request->prompt_tokens[s];
    for (int p = 0; p < request->phase_count; p++) tokens += request->phases[p].tokens;
    return prompt + tokens;
}

/* A cache of this size; an old one that is large enough for as many rows stays. */
static cm3_status reserve(cm3_generator *g, int64_t rows, int64_t positions) {
    if (g->cache.batch == rows && g->cache.positions >= positions) return CM3_OK;
    tape_free(&g->decode);
    cm3_kv_cache_free(&g->cache);
    CM3_TRY(cm3_kv_cache_create(g->model, rows, positions, &g->cache));
    return tape_make(g, 0, rows, 1, true, &g->decode);
}

/* Reads what all prompts of one stream have in length, but for the last token: whole blocks of tokens at once. */
static cm3_status prefill(batch *b, int s) {
    stream *rows = b->rows + s * b->count;
    int64_t common = rows[0].prompt_tokens;
    for (int64_t r = 1; r < b->count; r++)
        if (rows[r].prompt_tokens < common) common = rows[r].prompt_tokens;
    common--;
    const int64_t most = PREFILL_TOKENS / b->count > 0 ? PREFILL_TOKENS / b->count : 1;
    cached_tape t = {0};
    cm3_status status = CM3_OK;
    for (int64_t done = 0; done < common && status == CM3_OK; done += t.tokens) {
        const int64_t tokens = common - done < most ? common - done : most;
        if (t.tokens != tokens) {
            tape_free(&t);
            status = tape_make(b->generator, s * b->count, b->count, tokens, false, &t);
            if (status != CM3_OK) break;
        }
        for (int64_t r = 0; r < b->count; r++) {
            t.start[r] = (int32_t)done;
            for (int64_t i = 0; i < tokens; i++) {
                t.ids[r * tokens + i] = rows[r].prompt[done + i];
                t.positions[r * tokens + i] = (int32_t)(done + i);
            }
        }
        status = tape_run(&t);
    }
    tape_free(&t);
    for (int64_t r = 0; r < b->count; r++) rows[r].length = common;
    return status;
}

static bool finished(const batch *b, int64_t r) {
    return b->at[r].phase >= b->requests[r].phase_count;
}

/* The next token that a row reads: of its prompt, then of the continuation. */
static int32_t next_input(const batch *b, int64_t row) {
    const stream *s = &b->rows[row];
    const cm3_request *request = &b->requests[row % b->count];
    if (s->length < s->prompt_tokens) return s->prompt[s->length];
    const int64_t index = s->length - s->prompt_tokens;
    return index < request->count ? request->out[index] : 0;
}

/* A row waits while a longer prompt of its request is still being read: all streams of a request draw together. */
static bool waits(const batch *b, int64_t row) {
    const int64_t r = row % b->count;
    if (finished(b, r)) return true;
    const stream *mine = &b->rows[row];
    if (mine->length < mine->prompt_tokens - 1) return false;
    if (mine->length - mine->prompt_tokens >= b->requests[r].count) return true;
    for (int s = 0; s < b->streams; s++) {
        const stream *other = &b->rows[s * b->count + r];
        if (other->length < other->prompt_tokens - 1) return true;
    }
    return false;
}

/* The next token of request r, from the logits that its streams have just made. */
static cm3_sampling_request sampling_request(const batch *b, int64_t r) {
    const cm3_request *request = &b->requests[r];
    const cm3_phase *phase = &request->phases[b->at[r].phase];
    const cm3_rng rng =
        cm3_rng_stream((uint64_t)b->config->seed, CM3_RNG_DECODE, request->sample, (uint64_t)request->count);
    cm3_sampling_request sampling = cm3_decode_request(b->config, &request->mix, phase->allowed, phase->ranges, rng);
    for (int s = 0; s < b->streams; s++) sampling.row[s] = (int32_t)(s * b->count + r);
    return sampling;
}

static void append(batch *b, int64_t r, int32_t id) {
    cm3_request *request = &b->requests[r];
    const cm3_phase *phase = &request->phases[b->at[r].phase];
    request->out[request->count++] = id;
    const bool stopped = id >= phase->stop.first && id < phase->stop.first + phase->stop.count;
    if (++b->at[r].in_phase >= phase->tokens || stopped) b->at[r] = (progress){.phase = b->at[r].phase + 1};
}

/* One token for every row that does not wait; then a draw for every request whose streams have all read their last
 * token. */
static cm3_status advance(batch *b, int64_t *unfinished) {
    cached_tape *t = &b->generator->decode;
    const int64_t rows = b->streams * b->count;
    for (int64_t row = 0; row < rows; row++) b->rows[row].idle = waits(b, row); /* all of them, before any moves on */
    for (int64_t row = 0; row < rows; row++) {
        stream *s = &b->rows[row];
        t->ids[row] =
            s->idle ? 0 : next_input(b, row); /* an idle row writes where its next token will be written anyway */
        t->positions[row] = t->start[row] = (int32_t)s->length;
        s->length += !s->idle;
    }
    CM3_TRY(tape_run(t));
    int64_t drawn = 0;
    for (int64_t r = 0; r < b->count; r++) {
        const stream *first = &b->rows[r];
        if (!first->idle && first->length - first->prompt_tokens == b->requests[r].count)
            b->sampler.requests[drawn++] = sampling_request(b, r);
    }
    CM3_TRY(cm3_batched_sampler_run(&b->sampler, cm3_var_tensor(t->logits), drawn));
    for (int64_t i = 0; i < drawn; i++) append(b, b->sampler.requests[i].row[0], b->sampler.ids[i]);
    *unfinished = 0;
    for (int64_t r = 0; r < b->count; r++) *unfinished += !finished(b, r);
    return CM3_OK;
}

static cm3_status run_batch(batch *b) {
    int64_t positions = 0, unfinished = b->count;
    for (int64_t r = 0; r < b->count; r++) {
        cm3_request *request = &b->requests[r];
        request->count = 0;
        b->at[r] = (progress){0};
        if (longest(request) > positions) positions = longest(request);
        for (int s = 0; s < b->streams; s++)
            b->rows[s * b->count + r] =
                (stream){.prompt = request->prompts[s], .prompt_tokens = request->prompt_tokens[s]};
    }
    CM3_TRY(reserve(b->generator, b->streams * b->count, positions));
    for (int s = 0; s < b->streams; s++) CM3_TRY(prefill(b, s));
    while (unfinished > 0) CM3_TRY(advance(b, &unfinished));
    return CM3_OK;
}

static cm3_status check(const cm3_generator *g, const cm3_request *requests, int64_t count) {
    const int64_t context = cm3_transformer_get_config(g->model)->context;
    for (int64_t r = 0; r < count; r++) {
        if (requests[r].mix.streams != requests[0].mix.streams)
            return cm3_fail(CM3_ERR_INTERNAL, "requests with different numbers of streams in one call");
        for (int s = 0; s < requests[r].mix.streams; s++)
            if (requests[r].prompt_tokens[s] < 1) return cm3_fail(CM3_ERR_USAGE, "prompt %lld is empty", (long long)r);
        if (longest(&requests[r]) > context)
            return cm3_fail(CM3_ERR_USAGE,
                            "prompt %lld and its continuation have %lld tokens, the model's context is %lld",
                            (long long)r, (long long)longest(&requests[r]), (long long)context);
    }
    return CM3_OK;
}

cm3_status cm3_generate(cm3_generator *g, const cm3_decode_config *config, cm3_request *requests, int64_t count,
                        void (*advanced)(void *context, int64_t done), void *context) {
    if (count < 1) return CM3_OK;
    CM3_TRY(check(g, requests, count));
    const int streams = requests[0].mix.streams;
    const int64_t together = g->rows / streams > 0 ? g->rows / streams : 1;
    batch b = {.generator = g, .config = config, .streams = streams};
    b.rows = calloc((size_t)(together * streams), sizeof *b.rows);
    b.at = calloc((size_t)together, sizeof *b.at);
    cm3_status status = b.rows && b.at ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for a batch of requests");
    if (status == CM3_OK)
        status =
            cm3_batched_sampler_open(g->options.backend, cm3_transformer_vocabulary(g->model), together, &b.sampler);
    for (int64_t done = 0; done < count && status == CM3_OK; done += b.count) {
        b.requests = requests + done;
        b.count = count - done < together ? count - done : together;
        status = run_batch(&b);
        if (advanced && status == CM3_OK) advanced(context, done + b.count);
    }
    free(b.rows);
    free(b.at);
    cm3_batched_sampler_close(&b.sampler);
    return status;
}
