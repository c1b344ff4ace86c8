/* What a backend's processor can do at most, measured: the floor under every figure of speed. */
#ifndef CM3_CORE_KERNELS_RATES_H
#define CM3_CORE_KERNELS_RATES_H

#include "core/tensor/op.h"

/* FLOP/s of a large matrix product, OpenBLAS's on the host, cuBLASLt's in this type on a GPU: of the fastest within
 * `seconds`, and of all of them together (NULL: not asked for). */
cm3_status cm3_product_rate(const cm3_backend *backend, cm3_dtype type, double seconds, double *best, double *mean);
/* Bytes/s that cross memory in a large copy, each read and each written byte counted. */
cm3_status cm3_copy_rate(const cm3_backend *backend, double seconds, double *rate);

#endif
