/* Sampling of tokens: one block a request.
 *
 * Nothing is sorted. Every id has a mass, a whole number, so that sums do not depend on their order; the id at which
 * the masses from the likeliest on pass a given sum is found digit by digit of the scores, with a table of masses a
 * digit. Of equal scores the lower id comes first. Asked once it gives the end of the nucleus, asked again the id that
 * is drawn. */
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/launch.h"

extern "C" {
#include "core/tensor/sample.h"
}

constexpr int THREADS = 1024, DIGIT = 8, DIGITS = 1 << DIGIT;
typedef unsigned long long mass_t;

/* --- random numbers: the bits of core/rng.h ---------------------------------------------------------------------- */

/* The first two words of a stream as a number in [0, 1). */
static __device__ double first_double(const cm3_rng &rng) {
    uint32_t c[4], key[2] = {rng.key[0], rng.key[1]};
    for (int i = 0; i < 4; i++) c[i] = rng.counter[i];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ key[0];
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ key[1];
        c[1] = (uint32_t)p1;
        c[3] = (uint32_t)p0;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return (double)((c[0] | (uint64_t)c[1] << 32) >> 11) * 0x1p-53;
}

/* --- scores ------------------------------------------------------------------------------------------------------ */

static __device__ __forceinline__ int allowed_ids(const cm3_sampling_request &q) {
    int count = 0;
    for (int r = 0; r < q.ranges; r++) count += q.allowed[r].count;
    return count;
}

static __device__ __forceinline__ int32_t allowed_id(const cm3_sampling_request &q, int i) {
    int r = 0;
    for (; r + 1 < q.ranges && i >= q.allowed[r].count; r++) i -= q.allowed[r].count;
    return q.allowed[r].first + i;
}

/* Larger scores have larger keys. */
static __device__ __forceinline__ uint32_t key_of(float score) {
    const uint32_t bits = __float_as_uint(score);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ float score_of(uint32_t key) {
    return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

/* Every thread has the same of the ids throughout. */
template <typename F> static __device__ __forceinline__ void each_of(int count, F f) {
    for (int i = (int)threadIdx.x; i < count; i += THREADS) f(i);
}

/* Whether all of the mixed scores are finite. */
static __device__ bool mix(const cm3_sampling_request &q, const float *logits, int64_t vocabulary, int count,
                           float *scores) {
    float strange = 0;
    const int streams = q.contrast ? 1 : q.mix.streams;
    each_of(count, [&](int i) {
        const int32_t id = allowed_id(q, i);
        double score = 0;
        for (int s = 0; s < streams; s++)
            score += (q.contrast ? 1 : q.mix.weight[s]) * (double)logits[q.row[s] * vocabulary + id];
        scores[i] = (float)score + 0.0f; /* one zero only */
        if (!(fabsf(scores[i]) <= 3e38f)) strange = 1;
    });
    return block_most(strange) == 0;
}

/* --- the search -------------------------------------------------------------------------------------------------- */

struct place {
    float score;
    mass_t before; /* of all with a larger score */
};

/* The score at which masses from the largest score on first sum to more than x, which is less than their whole sum. */
template <typename Mass> static __device__ place find(const float *scores, int count, mass_t x, Mass mass_of) {
    __shared__ mass_t table[DIGITS], chosen_before;
    __shared__ uint32_t chosen;
    uint32_t key = 0; /* its upper digits, as far as they are known */
    mass_t before = 0;
    for (int shift = 32 - DIGIT; shift >= 0; shift -= DIGIT) {
        __syncthreads(); /* `chosen` has been read */
        if (threadIdx.x < DIGITS) table[threadIdx.x] = 0;
        __syncthreads();
        each_of(count, [&](int i) {
            const uint32_t own = key_of(scores[i]);
            if (shift == 32 - DIGIT || own >> (shift + DIGIT) == key)
                atomicAdd(&table[own >> shift & (DIGITS - 1)], mass_of(scores[i]));
        });
        __syncthreads();
        if (threadIdx.x < DIGITS) {
            mass_t larger = before;
            for (int d = DIGITS - 1; d > (int)threadIdx.x; d--) larger += table[d];
            if (larger <= x && x < larger + table[threadIdx.x]) {
                chosen = threadIdx.x;
                chosen_before = larger;
            }
        }
        __syncthreads();
        key = key << DIGIT | chosen;
        before = chosen_before;
    }
    return place{score_of(key), before};
}

/* Number `rank` of those with this score; each thread looks at a stretch of its own. */
static __device__ int find_equal(const float *scores, int count, float score, mass_t rank) {
    __shared__ int equal[THREADS], found;
    const int each = (count + THREADS - 1) / THREADS, first = (int)threadIdx.x * each, last = min(first + each, count);
    int own = 0;
    for (int i = first; i < last; i++) own += scores[i] == score;
    __syncthreads();
    equal[threadIdx.x] = own;
    __syncthreads();
    mass_t before = 0;
    for (int t = 0; t < (int)threadIdx.x; t++) before += (mass_t)equal[t];
    if (before <= rank && rank < before + (mass_t)own)
        for (int i = first; i < last; i++)
            if (scores[i] == score && before++ == rank) found = i;
    __syncthreads();
    return found;
}

static __device__ mass_t block_total(mass_t own) {
    __shared__ mass_t total;
    __syncthreads();
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    atomicAdd(&total, own);
    __syncthreads();
    return total;
}

/* --- a draw ------------------------------------------------------------------------------------------------------ */

/* CD-K: scores, so far logits of the first stream, become its contrast to the second; -inf below the threshold. What
 * the log-probabilities have beside the logits is the same for all ids, and falls out of every comparison. */
static __device__ bool contrast(const cm3_sampling_request &q, const float *logits, int64_t vocabulary, int count,
                                float *scores) {
    const int64_t k = min(q.cdk_k, (int64_t)count);
    const place kth = find(scores, count, (mass_t)(k - 1), [](float) { return (mass_t)1; });
    const double threshold = (double)kth.score + log(q.cdk_alpha > 0 ? q.cdk_alpha : 1e-300);
    float strange = 0;
    each_of(count, [&](int i) {
        const float other = logits[q.row[1] * vocabulary + allowed_id(q, i)];
        scores[i] = (double)scores[i] >= threshold ? scores[i] - other + 0.0f : -INFINITY;
        if (!(fabsf(other) <= 3e38f)) strange = 1;
    });
    return block_most(strange) == 0;
}

/* Index of the id that is drawn by their scores. */
static __device__ int draw_index(const cm3_sampling_request &q, const float *scores, int count) {
    float most = -INFINITY;
    each_of(count, [&](int i) { most = fmaxf(most, scores[i]); });
    most = block_most(most);
    if (q.temperature <= 0) return find_equal(scores, count, most, 0);
    /* The likeliest has 2^46: a vocabulary of 100,000 of those fits, and what is rounded to 0 is never drawn. */
    const float sharpness = (float)(1 / q.temperature);
    const auto mass_of = [=](float score) { return (mass_t)(expf((score - most) * sharpness) * 0x1p46f); };
    mass_t own = 0;
    each_of(count, [&](int i) { own += mass_of(scores[i]); });
    const mass_t total = block_total(own);
    const mass_t share = (mass_t)ceil(q.top_p * (double)total);
    const place end = find(scores, count, share > total ? total - 1 : share > 0 ? share - 1 : 0, mass_of);
    const mass_t last = mass_of(end.score), wanted = share > total ? total : share > 0 ? share : 1;
    const mass_t nucleus = end.before + ((wanted - end.before + last - 1) / last) * last;
    const mass_t x = (mass_t)(first_double(q.rng) * (double)nucleus);
    const place at = find(scores, count, x < nucleus ? x : nucleus - 1, mass_of);
    return find_equal(scores, count, at.score, ((x < nucleus ? x : nucleus - 1) - at.before) / mass_of(at.score));
}

static __global__ void __launch_bounds__(THREADS) sample(const float *logits, int64_t vocabulary,
                                                        const cm3_sampling_request *requests, int32_t *ids,
                                                        float *workspace) {
    const cm3_sampling_request &q = requests[blockIdx.x];
    float *scores = workspace + blockIdx.x * vocabulary;
    const int count = allowed_ids(q);
    bool finite = mix(q, logits, vocabulary, count, scores);
    if (finite && q.contrast) finite = contrast(q, logits, vocabulary, count, scores);
    const int index = finite ? draw_index(q, scores, count) : 0;
    if (threadIdx.x == 0) ids[blockIdx.x] = finite ? allowed_id(q, index) : -1;
}

static cm3_status draw(const cm3_sampling *s) {
    if (s->count < 1) return CM3_OK;
    CM3_LAUNCH(sample, (unsigned)s->count, THREADS, 0, s->logits, s->vocabulary, s->requests, s->ids,
               (float *)s->workspace);
    return cm3__cuda_launched("sample");
}

extern "C" const cm3_sampler cm3__cuda_sampler = {sizeof(float), draw};
