/* Who holds which piece of a flat range, and what a piece means for the tensors that lie in the range. Pure arithmetic.
 *
 * Parameters of a model lie one behind another in a flat range of `total` elements. N ranks share it: each holds one
 * piece, all pieces but the last ones equally long and a multiple of `unit` elements, so that pieces start on aligned
 * addresses. */
#ifndef CM3_DIST_SHARD_H
#define CM3_DIST_SHARD_H

#include "core/range.h"
#include "core/tensor/tensor.h"

#include <stdbool.h>
#include <stdint.h>

enum { CM3_SHARD_UNIT = 64 }; /* elements: 256 bytes of f32, a multiple of any cache line or vector */

/* The piece of `rank` out of `ranks`; empty where there is nothing left. */
cm3_range cm3_shard_range(int64_t total, int64_t unit, int ranks, int rank);

/* A box of a tensor (a hyperslab): `start` and `count` in every dimension. */
typedef struct cm3_box {
    int64_t start[CM3_MAX_DIMS], count[CM3_MAX_DIMS];
    cm3_range range; /* its elements as a range of the flattened tensor */
} cm3_box;

enum { CM3_BOXES_MAX = 2 * CM3_MAX_DIMS - 1 };

/* A piece of a flattened tensor as boxes, in ascending order; together they are exactly the elements `range` of it.
 * Returns their number, at most 2 * shape.rank - 1, and 0 for an empty range. A scalar (rank 0) counts as shape (1). */
int cm3_range_boxes(cm3_shape shape, cm3_range range, cm3_box boxes[CM3_BOXES_MAX]);

#endif
