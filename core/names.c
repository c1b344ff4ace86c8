#include "core/names.h"

#include <limits.h>
#include <string.h>

enum { LONGEST = 63 };

static unsigned smaller(unsigned a, unsigned b) {
    return a < b ? a : b;
}

unsigned cm3_edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    if (a_length > LONGEST || b_length > LONGEST) return UINT_MAX;
    unsigned rows[3][LONGEST + 1]; /* of the table of prefixes: the row in work and the two before it */
    for (unsigned j = 0; j <= b_length; j++) rows[0][j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = smaller(last[j] + 1, row[j - 1] + 1);
            row[j] = smaller(row[j], last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

cm3_nearest cm3_nearest_to(const char *name, size_t length) {
    /* A third of the letters may be wrong: beyond that a suggestion is noise. */
    const unsigned tolerated = length <= LONGEST ? 1 + (unsigned)length / 3 : 0;
    return (cm3_nearest){.name = name, .length = length, .distance = tolerated + 1};
}

void cm3_nearest_offer(cm3_nearest *nearest, const char *candidate) {
    const size_t length = strlen(candidate);
    const unsigned distance = cm3_edit_distance(nearest->name, nearest->length, candidate, length);
    /* Replacing every letter is no likeness, however short the names. */
    if (distance >= nearest->distance || distance >= length) return;
    nearest->distance = distance;
    nearest->best = candidate;
}
