/* Memory that activations and gradients of parameters hold in turns.
 *
 * At the end of the forward pass all activations are alive and no gradient of a parameter is; at the end of the
 * backward pass it is the other way round. Both have fixed addresses, so their pages travel: the backward pass lets the
 * pages of dead activations go before it writes further gradients, and a run that overwrites gradients first lets go
 * what will be written late. What both hold at once then never exceeds
 *
 *     most = max over instructions i of   pages of the arena that i or a later one uses  +  gradients begun until i
 *
 * which is the least there can be with these places of buffers. No more pages travel than it takes to stay within it
 * (the system zeroes a page that comes back: a gradient that would stay within `most` from the start keeps its memory),
 * and none twice in a run. */
#include "core/tensor/tape_internal.h"

#include <limits.h>
#include <stdlib.h>

static int by_last_use(const void *a, const void *b) {
    const cm3__page *x = a, *y = b;
    return x->last != y->last ? (x->last > y->last) - (x->last < y->last) : x->number - y->number;
}

/* Pages that lie whole in the arena, in the order in which they are of no more use. */
static cm3__page *pages_by_last_use(const cm3_tape *tape, size_t unit, size_t count) {
    cm3__page *pages = malloc((count + 1) * sizeof *pages);
    if (!pages) return NULL;
    for (size_t p = 0; p < count; p++) pages[p] = (cm3__page){.number = (int)p, .last = -1};
    const size_t guard = tape->options.guards ? CM3__GUARD_BYTES : 0;
    for (int i = 0; i < tape->buffer_count; i++) {
        const cm3__buffer *b = &tape->buffers[i];
        if (b->is_external || b->first >= 0) continue; /* never placed */
        const int last = b->last == INT_MAX ? INT_MAX : -1 - b->last;
        for (size_t p = b->offset / unit; p < count && p * unit < b->offset + b->bytes + guard; p++)
            if (pages[p].last < last) pages[p].last = last;
    }
    qsort(pages, count, sizeof *pages, by_last_use);
    return pages;
}

/* grows[i]: bytes of parameters' gradients that instruction i is the first to write. */
static size_t gradients_begun(const cm3_tape *tape, size_t *grows) {
    size_t sum = 0;
    for (int i = 0; i < tape->var_count; i++) {
        const cm3_var *var = tape->vars[i];
        if (var->kind != CM3__PARAMETER || var->grad_buffer == CM3__NONE) continue;
        const cm3__buffer *b = &tape->buffers[var->grad_buffer];
        grows[b->first] += b->bytes;
        sum += b->bytes;
    }
    return sum;
}

static size_t most_at_once(const cm3_tape *tape, const cm3__page *pages, size_t count, const size_t *grows) {
    const size_t unit = tape->options.backend->memory->page_bytes;
    size_t held = tape->stats.peak_bytes, most = held, dead = 0;
    for (int i = 0; i < tape->instruction_count; i++) {
        for (; dead < count && pages[dead].last < i; dead++) held -= unit;
        held += grows[i];
        if (held > most) most = held;
    }
    return most;
}

/* Lets pages go as late as `most` allows. */
static void schedule(cm3_tape *tape, const size_t *grows, size_t most) {
    const size_t unit = tape->options.backend->memory->page_bytes;
    size_t held = tape->stats.peak_bytes;
    int released = 0;
    tape->page_sharing.first = tape->instruction_count;
    for (int i = 0; i < tape->instruction_count; i++) {
        held += grows[i];
        if (held > most && !released) tape->page_sharing.first = i;
        for (; held > most; held -= unit) released++;
        tape->instructions[i].pages_released = released;
    }
}

cm3_status cm3__page_sharing_plan(cm3_tape *tape) {
    const size_t unit = tape->options.backend->memory->page_bytes, count = unit ? tape->stats.peak_bytes / unit : 0;
    if (!tape->options.share_pages_from || !count || count > INT_MAX) return CM3_OK;
    cm3__page *pages = pages_by_last_use(tape, unit, count);
    size_t *grows = calloc((size_t)tape->instruction_count + 1, sizeof *grows);
    if (!pages || !grows) {
        free(pages);
        free(grows);
        return cm3_fail(CM3_ERR_MEMORY, "out of memory to plan a tape");
    }
    const size_t sum = tape->stats.peak_bytes + gradients_begun(tape, grows);
    const size_t most = most_at_once(tape, pages, count, grows);
    if (sum - most >= tape->options.share_pages_from) {
        tape->stats.exchanged_bytes = sum - most;
        tape->page_sharing.pages = pages;
        schedule(tape, grows, most);
    } else {
        free(pages);
    }
    free(grows);
    return CM3_OK;
}

static int by_address(const void *a, const void *b) {
    const cm3__range *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

cm3_status cm3__page_sharing_bind(cm3_tape *tape) {
    cm3__page_sharing *sharing = &tape->page_sharing;
    if (!sharing->pages) return CM3_OK;
    cm3__range *ranges = calloc((size_t)tape->var_count + 1, sizeof *ranges);
    if (!ranges) return cm3_fail(CM3_ERR_MEMORY, "out of memory to bind a tape");
    int count = 0;
    for (int i = 0; i < tape->var_count; i++) {
        const cm3_var *var = tape->vars[i];
        if (var->kind != CM3__PARAMETER || var->grad_buffer == CM3__NONE || !var->grad.data) continue;
        const cm3__buffer *b = &tape->buffers[var->grad_buffer];
        if (b->first >= sharing->first) ranges[count++] = (cm3__range){.begin = b->external, .bytes = b->bytes};
    }
    /* Neighbours are one range: a page that they share can go, too. */
    qsort(ranges, (size_t)count, sizeof *ranges, by_address);
    int joined = 0;
    for (int i = 1; i < count; i++) {
        if (ranges[joined].begin + ranges[joined].bytes == ranges[i].begin)
            ranges[joined].bytes += ranges[i].bytes;
        else
            ranges[++joined] = ranges[i];
    }
    sharing->gradients = ranges;
    sharing->gradient_count = count ? joined + 1 : 0;
    return CM3_OK;
}

void cm3__page_sharing_discard_gradients(const cm3_tape *tape) {
    const cm3__page_sharing *sharing = &tape->page_sharing;
    for (int i = 0; i < sharing->gradient_count; i++)
        tape->options.backend->memory->discard(sharing->gradients[i].begin, sharing->gradients[i].bytes);
}

void cm3__page_sharing_discard_activations(const cm3_tape *tape, char *base, const cm3__instruction *next,
                                           int *released) {
    const size_t unit = tape->options.backend->memory->page_bytes;
    for (; *released < next->pages_released; (*released)++)
        tape->options.backend->memory->discard(base + (size_t)tape->page_sharing.pages[*released].number * unit, unit);
}

void cm3__page_sharing_free(cm3__page_sharing *sharing) {
    free(sharing->pages);
    free(sharing->gradients);
    *sharing = (cm3__page_sharing){0};
}
