/* Which combinations of a person and a skin tone are validation.
 *
 * A *person* is a name without its tones: "man: red hair" of "man: dark skin tone, red hair". Whether a model composes
 * can be asked only about combinations whose parts it knows, so every person keeps two tones or more in training and
 * every tone half of its persons or more. Names of two people with a tone each ("kiss: woman, man, light skin tone,
 * dark skin tone") would show training a validation combination beside another: where there are such names, nothing of
 * that head ("kiss") is in the validation split. */
#include "data/source/emoji.h"
#include "data/source/kind.h"

#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct combination {
    char *person;   /* NULL: the name has no tone */
    int tone_count; /* in the name */
    int tone;       /* the last of them */
    int64_t same;   /* the first combination of the same person */
    bool eligible;
} combination;

static int tone_of(const char *word, size_t length) {
    static const char *const tones[CM3_EMOJI_TONES] = {"light skin tone", "medium-light skin tone", "medium skin tone",
                                                       "medium-dark skin tone", "dark skin tone"};
    for (int i = 0; i < CM3_EMOJI_TONES; i++)
        if (strlen(tones[i]) == length && !memcmp(tones[i], word, length)) return i;
    return -1;
}

/* Takes the tones out of "head: word, word". */
static cm3_status take_apart(const char *name, combination *c) {
    *c = (combination){.tone = -1};
    const char *colon = strstr(name, ": ");
    if (!colon) return CM3_OK;
    CM3_TRY(cm3__text_copy(name, strlen(name), &c->person));
    char *end = c->person + (colon - name);
    for (const char *word = colon + 2, *next; word; word = next) {
        const char *comma = strstr(word, ", ");
        const size_t length = comma ? (size_t)(comma - word) : strlen(word);
        next = comma ? comma + 2 : NULL;
        const int tone = tone_of(word, length);
        if (tone >= 0) {
            c->tone = tone;
            c->tone_count++;
            continue;
        }
        const bool first = end == c->person + (colon - name);
        end = memcpy(end, first ? ": " : ", ", 2);
        end = memmove(end + 2, word, length); /* never ahead of where it stood */
        end += length;
    }
    *end = '\0';
    if (c->tone_count) return CM3_OK;
    free(c->person);
    c->person = NULL;
    return CM3_OK;
}

static size_t head_length(const char *name) {
    return strcspn(name, ":");
}

static void find_eligible(combination *all, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (all[i].tone_count != 1) continue;
        all[i].eligible = true;
        all[i].same = i;
        const size_t head = head_length(all[i].person);
        for (int64_t k = 0; k < count && all[i].eligible; k++)
            if (all[k].tone_count > 1 && head_length(all[k].person) == head &&
                !memcmp(all[k].person, all[i].person, head))
                all[i].eligible = false;
        for (int64_t k = 0; k < i && all[i].same == i; k++)
            if (all[k].eligible && !strcmp(all[k].person, all[i].person)) all[i].same = k;
    }
}

static cm3_status choose(const cm3_source_config *config, combination *all, cm3__emoji_list *list) {
    int64_t tone_left[CM3_EMOJI_TONES] = {0}, eligible = 0;
    const size_t size = (size_t)list->count;
    int64_t *person_left = calloc(size, sizeof *person_left), *order = calloc(size, sizeof *order);
    if (person_left && order) {
        for (int64_t i = 0; i < list->count; i++) {
            if (!all[i].eligible) continue;
            order[eligible++] = i;
            tone_left[all[i].tone]++;
            person_left[all[i].same]++;
        }
        for (int t = 0; t < CM3_EMOJI_TONES; t++)
            tone_left[t] = (int64_t)fmin(floor(tone_left[t] / 2.0), ceil(tone_left[t] * config->validation));
        for (int64_t i = 0; i < list->count; i++) person_left[i] -= 2;
        int64_t wanted = llround(eligible * config->validation);
        for (int64_t n = 0; n < eligible && wanted > 0; n++) {
            const int64_t i =
                order[cm3_rng_permute((uint64_t)config->seed, CM3_RNG_SPLIT, 0, (uint64_t)n, (uint64_t)eligible)];
            if (tone_left[all[i].tone] < 1 || person_left[all[i].same] < 1) continue;
            tone_left[all[i].tone]--;
            person_left[all[i].same]--;
            wanted--;
            list->items[i].validation = true;
        }
    }
    const bool complete = person_left && order;
    free(person_left);
    free(order);
    return complete ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for the validation split");
}

cm3_status cm3__emoji_split(const cm3_source_config *config, cm3__emoji_list *list) {
    if (config->validation <= 0 || list->count < 1) return CM3_OK;
    combination *all = calloc((size_t)list->count, sizeof *all);
    if (!all) return cm3_fail(CM3_ERR_MEMORY, "out of memory for the validation split");
    cm3_status status = CM3_OK;
    for (int64_t i = 0; i < list->count && status == CM3_OK; i++) status = take_apart(list->items[i].name, &all[i]);
    if (status == CM3_OK) {
        find_eligible(all, list->count);
        status = choose(config, all, list);
    }
    for (int64_t i = 0; i < list->count; i++) free(all[i].person);
    free(all);
    return status;
}
