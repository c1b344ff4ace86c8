#include "dist/shard.h"

cm3_range cm3_shard_range(int64_t total, int64_t unit, int ranks, int rank) {
    const int64_t units = (total + unit - 1) / unit, length = (units + ranks - 1) / ranks * unit;
    const int64_t begin = length * rank < total ? length * rank : total;
    const int64_t end = begin + length < total ? begin + length : total;
    return (cm3_range){begin, end};
}

/* Boxes of [begin, end) of the sub-tensor at `prefix` (its leading `level` indices are fixed): the rest of the first
 * row, then whole rows, then the start of the last row, where a row is the sub-tensor one level deeper. */
static int boxes_below(cm3_shape shape, int level, const cm3_box *prefix, int64_t base, cm3_range range,
                       cm3_box *boxes) {
    if (range.begin >= range.end) return 0;
    int64_t row = 1;
    for (int d = level + 1; d < shape.rank; d++) row *= shape.dim[d];
    int64_t first = range.begin / row, last = range.end / row; /* whole rows: [first, last) */
    int made = 0;
    cm3_box box = *prefix;
    box.count[level] = 1;
    if (range.begin % row != 0) {
        const int64_t row_end = (first + 1) * row;
        const cm3_range part = {range.begin - first * row, (range.end < row_end ? range.end : row_end) - first * row};
        box.start[level] = first;
        made += boxes_below(shape, level + 1, &box, base + first * row, part, boxes + made);
        first++;
    }
    if (first < last) {
        cm3_box whole = *prefix;
        whole.start[level] = first;
        whole.count[level] = last - first;
        for (int d = level + 1; d < shape.rank; d++) {
            whole.start[d] = 0;
            whole.count[d] = shape.dim[d];
        }
        whole.range = (cm3_range){base + first * row, base + last * row};
        boxes[made++] = whole;
    }
    if (range.end % row != 0 && last >= first) {
        const cm3_range part = {0, range.end - last * row};
        box.start[level] = last;
        made += boxes_below(shape, level + 1, &box, base + last * row, part, boxes + made);
    }
    return made;
}

int cm3_range_boxes(cm3_shape shape, cm3_range range, cm3_box boxes[CM3_BOXES_MAX]) {
    if (shape.rank == 0) shape = cm3_shape_of(1);
    const cm3_box origin = {.start = {0}, .count = {0}};
    return boxes_below(shape, 0, &origin, 0, range, boxes);
}
