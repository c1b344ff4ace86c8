#include "core/kernels/cpu/simd/attention.h"
#include "core/kernels/cpu/simd/math.h"
#include "core/kernels/cpu/simd/prototypes.h"
#include "core/kernels/cpu/simd/tile.h"

#include <string.h>

enum { LANES_OF_BLOCK = CM3__BLOCK_QUERIES };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* --- packing ----------------------------------------------------------------------------------------------------- */

/* to (rows, wide) = factor * from, zeros behind the d columns. Packed rows also keep strides that are large powers of
 * two from falling into the same few cache sets. Rows are far apart and short, which hides them from the processor's
 * prefetcher. */
static void pack_rows(float *restrict to, int64_t wide, const float *restrict from, int64_t from_row, int64_t rows,
                      int64_t d, float factor) {
    enum { AHEAD = 8, LINE = 16 };
    for (int64_t r = 0; r < rows; r++, to += wide, from += from_row) {
        int64_t c = 0;
        if (r + AHEAD < rows)
            for (int64_t line = 0; line < d; line += LINE) __builtin_prefetch(from + AHEAD * from_row + line);
        for (; c + CM3_LANES <= d; c += CM3_LANES) *(cm3_vec *)(to + c) = *(const cm3_vec *)(from + c) * factor;
        for (; c < d; c++) to[c] = from[c] * factor;
        for (; c < wide; c++) to[c] = 0;
    }
}

/* to (wide, LANES_OF_BLOCK) = from (lanes, wide) transposed. */
static void pack_lanes(float *restrict to, const float *restrict from, int64_t wide, int64_t lanes) {
    for (int64_t c = 0; c < wide; c += CM3_LANES)
        for (int64_t r = 0; r < lanes; r += CM3_LANES)
            cm3__transpose(to + c * LANES_OF_BLOCK + r, LANES_OF_BLOCK, from + r * wide + c, wide);
}

/* --- the tiles of one block of queries --------------------------------------------------------------------------- */

/* Keys [first, first + count) against the lanes of a block of queries. On the diagonal, key r of the tile is seen from
 * lane r on; elsewhere every lane sees every key. */
typedef struct key_tile {
    int64_t first, count, lanes;
    bool diagonal;
} key_tile;

/* A rectangle of a tile. Those of a diagonal tile leave out what nobody sees, in steps of CM3_LANES. */
typedef struct strip {
    int64_t key, keys, lane, lanes;
} strip;

/* The first or next tile of the block of queries [query, query + lanes); false after the last. */
static bool next_tile(const cm3__attention *a, int64_t query, int64_t lanes, key_tile *t) {
    const int64_t seen_by_all = a->causal ? a->offset + query : a->keys, first = t->first + t->count;
    if (t->diagonal) return false;
    if (first < seen_by_all) {
        *t = (key_tile){.first = first, .count = least(CM3__BLOCK_KEYS, seen_by_all - first), .lanes = lanes};
        return true;
    }
    if (!a->causal || first >= a->keys) return false;
    *t = (key_tile){.first = first, .count = least(lanes, a->keys - first), .lanes = lanes, .diagonal = true};
    return true;
}

/* Strips of CM3_LANES keys and all lanes that see one of them. A strip of zeros asks for the first one; false after
 * the last. */
static bool next_keys(const key_tile *t, strip *s) {
    const int64_t key = s->key + s->keys;
    if (key >= t->count) return false;
    *s = t->diagonal ? (strip){key, least(CM3_LANES, t->count - key), key, t->lanes - key}
                     : (strip){0, t->count, 0, t->lanes};
    return true;
}

/* Strips of CM3_LANES lanes and all keys that one of them sees. */
static bool next_lanes(const key_tile *t, strip *s) {
    const int64_t lane = s->lane + s->lanes;
    if (lane >= t->lanes) return false;
    *s = t->diagonal ? (strip){0, least(lane + CM3_LANES, t->count), lane, CM3_LANES}
                     : (strip){0, t->count, 0, t->lanes};
    return true;
}

/* The first lane that key r's strip covers. */
static int64_t lane_of(const key_tile *t, int64_t r) {
    return t->diagonal ? r / CM3_LANES * CM3_LANES : 0;
}

/* scores (count, lanes) = rows of k or v times the queries' or gradients' lanes */
static void tile_scores(float *scores, const key_tile *t, const float *rows, int64_t wide, const float *lanes,
                        int64_t d) {
    for (strip s = {0}; next_keys(t, &s);)
        cm3__tile_product((cm3_tile){.a = rows + (t->first + s.key) * wide,
                                     .a_row = wide,
                                     .a_column = 1,
                                     .b = lanes + s.lane,
                                     .b_row = LANES_OF_BLOCK,
                                     .c = scores + s.key * LANES_OF_BLOCK + s.lane,
                                     .c_row = LANES_OF_BLOCK},
                          s.keys, s.lanes, d, false);
}

/* to (lanes, wide) = or += scores^T times rows of v or k */
static void tile_sums(float *to, const key_tile *t, const float *scores, const float *rows, int64_t wide,
                      bool accumulate) {
    for (strip s = {0}; next_lanes(t, &s);)
        cm3__tile_product((cm3_tile){.a = scores + s.lane,
                                     .a_row = 1,
                                     .a_column = LANES_OF_BLOCK,
                                     .b = rows + t->first * wide,
                                     .b_row = wide,
                                     .c = to + s.lane * wide,
                                     .c_row = wide},
                          s.lanes, wide, s.keys, accumulate);
}

/* The masked corners of a diagonal tile: key r is hidden from the lanes of its strip before lane r. */
static void tile_mask(float *scores, const key_tile *t) {
    if (!t->diagonal) return;
    for (int64_t r = 0; r < t->count; r++)
        for (int64_t l = lane_of(t, r); l < r; l++) scores[r * LANES_OF_BLOCK + l] = -INFINITY;
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

/* Scores are kept in units of ln 2, so that 2^x takes the place of e^x. */
static const float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

typedef struct forward_block {
    float *k, *v;               /* (keys, wide) */
    float *q;                   /* (wide, LANES_OF_BLOCK), scaled */
    float *y;                   /* (LANES_OF_BLOCK, wide), not yet divided by sum */
    float *scores;              /* (BLOCK_KEYS, LANES_OF_BLOCK) */
    float *most, *sum, *shrink; /* (LANES_OF_BLOCK): running maximum, sum of 2^(score - most); this tile's correction */
} forward_block;

static inline float larger(float a, float b) {
    return a > b ? a : b;
}

/* most = the maximum of most and every row of scores */
static void raise_most(float *restrict most, const float *restrict scores, const key_tile *t) {
    for (strip s = {0}; next_keys(t, &s);) {
        int64_t r = 0;
        for (; r + 4 <= s.keys; r += 4, scores += 4 * LANES_OF_BLOCK)
#pragma omp simd
            for (int64_t l = s.lane; l < t->lanes; l++)
                most[l] =
                    larger(most[l], larger(larger(scores[l], scores[LANES_OF_BLOCK + l]),
                                           larger(scores[2 * LANES_OF_BLOCK + l], scores[3 * LANES_OF_BLOCK + l])));
        for (; r < s.keys; r++, scores += LANES_OF_BLOCK)
#pragma omp simd
            for (int64_t l = s.lane; l < t->lanes; l++) most[l] = larger(most[l], scores[l]);
    }
}

/* scores become 2^(score - most), with the running maximum and sum brought up to date. */
static void online_softmax(const forward_block *b, const key_tile *t) {
    float *restrict scores = b->scores, *restrict most = b->most, *restrict sum = b->sum, *restrict shrink = b->shrink;
    memcpy(shrink, most, LANES_OF_BLOCK * sizeof *most);
    raise_most(most, scores, t);
#pragma omp simd
    for (int64_t l = 0; l < t->lanes; l++) {
        shrink[l] = cm3__exp2f(shrink[l] - most[l]);
        sum[l] *= shrink[l];
    }
    for (int64_t r = 0; r < t->count; r++, scores += LANES_OF_BLOCK)
#pragma omp simd
        for (int64_t l = lane_of(t, r); l < t->lanes; l++) {
            scores[l] = cm3__exp2f(scores[l] - most[l]);
            sum[l] += scores[l];
        }
}

static void forward_tile(const cm3__attention *a, const forward_block *b, const key_tile *t, int64_t wide) {
    tile_scores(b->scores, t, b->k, wide, b->q, a->d);
    tile_mask(b->scores, t);
    online_softmax(b, t);
    const bool first = t->first == 0;
    for (int64_t l = 0; l < t->lanes && !first; l++) {
        const float factor = b->shrink[l];
        if (factor == 1) continue; /* most tiles hold no new maximum */
        float *y = b->y + l * wide;
#pragma omp simd
        for (int64_t c = 0; c < wide; c++) y[c] *= factor;
    }
    tile_sums(b->y, t, b->scores, b->v, wide, !first);
}

/* Rows `rows` to `lanes` of a block, which pad it to whole vectors, are zero. */
static void clear_padding(float *block, int64_t wide, int64_t rows, int64_t lanes) {
    memset(block + rows * wide, 0, (size_t)((lanes - rows) * wide) * sizeof *block);
}

void CM3_SIMD(cm3__attention_forward)(const cm3__attention *a, const cm3__attention_part *part, float *scratch) {
    const int64_t wide = cm3__attention_padded(a->d);
    forward_block b = {.k = scratch};
    b.v = b.k + a->keys * wide;
    b.q = b.v + a->keys * wide;
    b.y = b.q + wide * LANES_OF_BLOCK;
    b.scores = b.y + wide * LANES_OF_BLOCK;
    b.most = b.scores + CM3__BLOCK_KEYS * LANES_OF_BLOCK;
    b.sum = b.most + LANES_OF_BLOCK;
    b.shrink = b.sum + LANES_OF_BLOCK;
    if (part->new_keys) {
        pack_rows(b.k, wide, a->k, a->k_row, a->keys, a->d, 1);
        pack_rows(b.v, wide, a->v, a->v_row, a->keys, a->d, 1);
    }
    for (int64_t query = part->first; query < part->last; query += LANES_OF_BLOCK) {
        const int64_t rows = least(LANES_OF_BLOCK, part->last - query),
                      lanes = (rows + CM3_LANES - 1) / CM3_LANES * CM3_LANES;
        pack_rows(b.y, wide, a->q + query * a->q_row, a->q_row, rows, a->d,
                  a->scale * LOG2_E); /* b.y is free until the first tile */
        clear_padding(b.y, wide, rows, lanes);
        pack_lanes(b.q, b.y, wide, lanes);
        for (int64_t l = 0; l < lanes; l++) b.most[l] = -INFINITY, b.sum[l] = 0;
        key_tile tile = {0};
        while (next_tile(a, query, lanes, &tile)) forward_tile(a, &b, &tile, wide);
        for (int64_t r = 0; r < rows; r++) {
            const float factor = 1 / b.sum[r];
            float *restrict y = a->y + (query + r) * a->y_row;
#pragma omp simd
            for (int64_t c = 0; c < a->d; c++) y[c] = b.y[r * wide + c] * factor;
            if (a->lse) a->lse[query + r] = b.most[r] * LN_2 + logf(b.sum[r]);
        }
    }
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

typedef struct backward_block {
    float *k, *v, *dk, *dv;    /* (keys, wide) */
    float *q, *dy;             /* (LANES_OF_BLOCK, wide); q scaled */
    float *q_lanes, *dy_lanes; /* (wide, LANES_OF_BLOCK) */
    float *dq;                 /* (LANES_OF_BLOCK, wide) */
    float *p, *ds;             /* (BLOCK_KEYS, LANES_OF_BLOCK) */
    float *lse, *delta;        /* (LANES_OF_BLOCK); lse in units of ln 2; delta = sum of dy y */
} backward_block;

/* p becomes 2^(score - lse), ds becomes p (dp - delta) */
static void tile_gradient(const backward_block *b, const key_tile *t) {
    for (int64_t r = 0; r < t->count; r++) {
        float *restrict p = b->p + r * LANES_OF_BLOCK, *restrict ds = b->ds + r * LANES_OF_BLOCK;
#pragma omp simd
        for (int64_t l = lane_of(t, r); l < t->lanes; l++) {
            p[l] = cm3__exp2f(p[l] - b->lse[l]);
            ds[l] = p[l] * (ds[l] - b->delta[l]);
        }
    }
}

/* to (keys, wide) = or += scores times the queries' or gradients' rows */
static void tile_spread(float *to, const key_tile *t, const float *scores, const float *rows, int64_t wide,
                        bool accumulate) {
    for (strip s = {0}; next_keys(t, &s);)
        cm3__tile_product((cm3_tile){.a = scores + s.key * LANES_OF_BLOCK + s.lane,
                                     .a_row = LANES_OF_BLOCK,
                                     .a_column = 1,
                                     .b = rows + s.lane * wide,
                                     .b_row = wide,
                                     .c = to + (t->first + s.key) * wide,
                                     .c_row = wide},
                          s.keys, wide, s.lanes, accumulate);
}

static void backward_tile(const cm3__attention *a, const backward_block *b, const key_tile *t, int64_t wide,
                          bool new_keys) {
    tile_scores(b->p, t, b->k, wide, b->q_lanes, a->d);
    tile_scores(b->ds, t, b->v, wide, b->dy_lanes, a->d);
    tile_mask(b->p, t);
    tile_gradient(b, t);
    tile_spread(b->dv, t, b->p, b->dy, wide, !new_keys);
    tile_spread(b->dk, t, b->ds, b->q, wide, !new_keys);
    tile_sums(b->dq, t, b->ds, b->k, wide, t->first > 0);
}

static void unpack_rows(float *restrict to, int64_t to_row, const float *restrict from, int64_t wide, int64_t rows,
                        int64_t d, float factor, bool accumulate) {
    for (int64_t r = 0; r < rows; r++, to += to_row, from += wide) {
        int64_t c = 0;
        for (; c + CM3_LANES <= d; c += CM3_LANES) {
            cm3_vec made = *(const cm3_vec *)(from + c) * factor;
            if (accumulate) made += *(const cm3_vec *)(to + c);
            *(cm3_vec *)(to + c) = made;
        }
        for (; c < d; c++) to[c] = (accumulate ? to[c] : 0) + from[c] * factor;
    }
}

static float dot(const float *restrict a, const float *restrict b, int64_t n) {
    cm3_vec sums = {0};
    int64_t i = 0;
    for (; i + CM3_LANES <= n; i += CM3_LANES) sums += *(const cm3_vec *)(a + i) * *(const cm3_vec *)(b + i);
    float sum = cm3__sum_of_lanes(sums);
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Queries [query, query + rows). The first that see a key find nothing in its gradients: `new_keys`. */
static void backward_rows(const cm3__attention *a, const backward_block *b, int64_t query, int64_t rows, int64_t wide,
                          bool new_keys) {
    const int64_t lanes = (rows + CM3_LANES - 1) / CM3_LANES * CM3_LANES;
    const float *y = a->y + query * a->y_row, *dy = a->dy + query * a->y_row;
    pack_rows(b->q, wide, a->q + query * a->q_row, a->q_row, rows, a->d, a->scale * LOG2_E);
    pack_rows(b->dy, wide, dy, a->y_row, rows, a->d, 1);
    clear_padding(b->q, wide, rows, lanes);
    clear_padding(b->dy, wide, rows, lanes);
    pack_lanes(b->q_lanes, b->q, wide, lanes);
    pack_lanes(b->dy_lanes, b->dy, wide, lanes);
    for (int64_t r = 0; r < rows; r++) {
        b->delta[r] = dot(b->dy + r * wide, y + r * a->y_row, a->d);
        b->lse[r] = a->lse[query + r] * LOG2_E;
    }
    for (int64_t r = rows; r < lanes; r++) b->delta[r] = 0, b->lse[r] = INFINITY; /* 2^(score - lse) is 0 there */
    key_tile tile = {0};
    while (next_tile(a, query, lanes, &tile))
        backward_tile(a, b, &tile, wide, new_keys && (a->causal ? tile.diagonal : query == 0));
    unpack_rows(a->dq + query * a->q_row, a->q_row, b->dq, wide, rows, a->d, a->scale, a->accumulate);
}

void CM3_SIMD(cm3__attention_backward)(const cm3__attention *a, const cm3__attention_part *part, float *scratch) {
    const int64_t wide = cm3__attention_padded(a->d), of_keys = a->keys * wide, of_block = wide * LANES_OF_BLOCK;
    backward_block b = {.k = scratch, .v = scratch + of_keys, .dk = scratch + 2 * of_keys, .dv = scratch + 3 * of_keys};
    b.q = scratch + 4 * of_keys;
    b.dy = b.q + of_block;
    b.q_lanes = b.dy + of_block;
    b.dy_lanes = b.q_lanes + of_block;
    b.dq = b.dy_lanes + of_block;
    b.p = b.dq + of_block;
    b.ds = b.p + CM3__BLOCK_KEYS * LANES_OF_BLOCK;
    b.lse = b.ds + CM3__BLOCK_KEYS * LANES_OF_BLOCK;
    b.delta = b.lse + LANES_OF_BLOCK;
    if (part->new_keys) {
        pack_rows(b.k, wide, a->k, a->k_row, a->keys, a->d, 1);
        pack_rows(b.v, wide, a->v, a->v_row, a->keys, a->d, 1);
    }
    for (int64_t query = part->first; query < part->last; query += LANES_OF_BLOCK)
        backward_rows(a, &b, query, least(LANES_OF_BLOCK, part->last - query), wide, part->new_keys);
    if (!part->last_of_keys) return;
    unpack_rows(a->dk, a->k_row, b.dk, wide, a->keys, a->d, LN_2, a->accumulate); /* q was in units of ln 2 */
    unpack_rows(a->dv, a->v_row, b.dv, wide, a->keys, a->d, 1, a->accumulate);
}

/* --- one query against a cache ----------------------------------------------------------------------------------- */

/* Generation reads each key and value once for one query: bound by memory, so nothing is packed. */
void CM3_SIMD(cm3__attention_one)(const cm3__attention *a, const cm3__attention_part *part, float *scratch) {
    const float *q = a->q + part->first * a->q_row;
    float *y = a->y + part->first * a->y_row, *score = scratch, most = -INFINITY, sum = 0;
    const int64_t d = a->d, keys = a->causal ? a->offset + part->first + 1 : a->keys;
    for (int64_t r = 0; r < keys; r++) {
        score[r] = dot(q, a->k + r * a->k_row, d) * a->scale;
        most = score[r] > most ? score[r] : most;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t r = 0; r < keys; r++) {
        score[r] = cm3__expf(score[r] - most);
        sum += score[r];
    }
    for (int64_t c = 0; c < d; c++) y[c] = 0;
    for (int64_t r = 0; r < keys; r++) {
        const float *v = a->v + r * a->v_row, p = score[r] / sum;
#pragma omp simd
        for (int64_t c = 0; c < d; c++) y[c] += p * v[c];
    }
    if (a->lse) a->lse[part->first] = most + logf(sum);
}
