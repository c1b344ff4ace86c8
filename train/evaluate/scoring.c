#include "train/evaluate/scoring.h"

#include "core/tensor/staged_buffer.h"

#include <stdlib.h>

/* Tokens that are read at once at most: bounds the activations. */
enum { TOKENS_AT_ONCE = 8192 };

typedef struct scorer {
    const cm3_vocab *vocab;
    int64_t rows, sequence;
    cm3_staged_buffer inputs; /* ids, targets, positions, (rows, sequence) each, and one float */
    int32_t *ids, *targets;   /* the first two as the host writes them */
    cm3_tape *tape;
    cm3_var *made;
    float *losses; /* (rows sequence), fetched from there */
} scorer;

static cm3_status scorer_open(const cm3_transformer *model, int64_t rows, int64_t sequence, scorer *s) {
    s->rows = rows;
    s->sequence = sequence;
    const int64_t tokens = rows * sequence;
    const cm3_tape_options options = cm3_params_tape_options(cm3_transformer_params(model));
    CM3_TRY(cm3_staged_buffer_alloc(options.backend->memory, (size_t)(3 * tokens) * sizeof(int32_t) + sizeof(float),
                                    "samples that are scored", &s->inputs));
    s->losses = calloc((size_t)tokens, sizeof *s->losses);
    if (!s->losses) return cm3_fail(CM3_ERR_MEMORY, "out of memory to score %lld samples", (long long)rows);
    int32_t *there = s->inputs.there;
    s->ids = s->inputs.host;
    s->targets = s->ids + tokens;
    for (int64_t i = 0; i < tokens; i++) s->ids[2 * tokens + i] = (int32_t)(i % sequence);
    *(float *)(void *)(s->ids + 3 * tokens) = 1;
    const cm3_sequence_batch batch = {.batch = rows,
                                      .sequence = sequence,
                                      .ids = there,
                                      .targets = there + tokens,
                                      .positions = there + 2 * tokens,
                                      .scale = (float *)(void *)(there + 3 * tokens)};
    CM3_TRY(cm3_tape_create(&options, &s->tape));
    cm3_tape_keep(s->tape, cm3_transformer_loss(model, s->tape, &batch, &s->made));
    return cm3_tape_plan(s->tape);
}

static void scorer_close(scorer *s) {
    cm3_tape_free(s->tape);
    cm3_staged_buffer_free(&s->inputs);
    free(s->losses);
}

static cm3_status run(scorer *s) {
    const cm3_tensor *made = cm3_var_tensor(s->made);
    CM3_TRY(cm3_staged_buffer_upload(&s->inputs));
    CM3_TRY(cm3_tape_run(s->tape, NULL));
    return s->inputs.memory->download(s->losses, made->data, cm3_tensor_bytes(made));
}

static void set_row(scorer *s, int64_t row, const cm3_tokens *sample) {
    for (int64_t i = 0; i < s->sequence; i++) {
        const bool there = sample && i + 1 < (int64_t)sample->count;
        s->ids[row * s->sequence + i] = there ? sample->items[i] : cm3_vocab_id(s->vocab, CM3_REGION_PAD, 0);
        s->targets[row * s->sequence + i] = there ? sample->items[i + 1] : -1;
    }
}

static void add_row(const scorer *s, int64_t row, cm3_sample_score *score) {
    const float *losses = s->losses;
    *score = (cm3_sample_score){0};
    for (int64_t i = row * s->sequence; i < (row + 1) * s->sequence; i++) {
        if (s->targets[i] < 0) continue;
        const cm3_token_class class = cm3_vocab_class(s->vocab, s->targets[i]);
        score->text_tokens += class == CM3_TOKEN_TEXT;
        score->image_tokens += class == CM3_TOKEN_IMAGE;
        if (class == CM3_TOKEN_TEXT) score->text_nats += (double)losses[i];
        if (class == CM3_TOKEN_IMAGE) score->image_nats += (double)losses[i];
    }
}

cm3_status cm3_score_samples(const cm3_transformer *model, const cm3_vocab *vocab, const cm3_tokens *samples,
                             int64_t count, int64_t rows, cm3_sample_score *scores) {
    int64_t longest = 2;
    for (int64_t i = 0; i < count; i++)
        if ((int64_t)samples[i].count > longest) longest = (int64_t)samples[i].count;
    const int64_t sequence = longest - 1, context = cm3_transformer_get_config(model)->context;
    if (sequence > context)
        return cm3_fail(CM3_ERR_USAGE, "a sample has %lld tokens, the model's context is %lld", (long long)longest,
                        (long long)context);
    if (rows * sequence > TOKENS_AT_ONCE) rows = TOKENS_AT_ONCE / sequence;
    if (rows > count) rows = count;
    if (rows < 1) rows = 1;
    scorer s = {.vocab = vocab};
    cm3_status status = scorer_open(model, rows, sequence, &s);
    for (int64_t first = 0; first < count && status == CM3_OK; first += rows) {
        for (int64_t row = 0; row < rows; row++) set_row(&s, row, first + row < count ? &samples[first + row] : NULL);
        status = run(&s);
        for (int64_t row = 0; row < rows && first + row < count && status == CM3_OK; row++)
            add_row(&s, row, &scores[first + row]);
    }
    scorer_close(&s);
    return status;
}
