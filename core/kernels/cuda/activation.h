/* Activations and their slopes, in f32. */
#ifndef CM3_CORE_KERNELS_CUDA_ACTIVATION_H
#define CM3_CORE_KERNELS_CUDA_ACTIVATION_H

#include "core/kernels/cuda/launch.h"

static __device__ __forceinline__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* GELU in its tanh form is x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
static __device__ __forceinline__ float gelu_argument(float x) {
    return 1.5957691216057308f * (x + 0.044715f * x * x * x);
}

static __device__ __forceinline__ float activated(float x, cm3_activation activation) {
    switch (activation) {
    case CM3_ACT_NONE:
        return x;
    case CM3_ACT_RELU:
        return x > 0 ? x : 0.0f;
    case CM3_ACT_GELU:
        return x * sigmoid(gelu_argument(x));
    case CM3_ACT_SILU:
        return x * sigmoid(x);
    }
    return x;
}

/* At `value`: for RELU the output (or the input: both have one sign), for the others the input. */
static __device__ __forceinline__ float slope(float value, cm3_activation activation) {
    switch (activation) {
    case CM3_ACT_NONE:
        return 1;
    case CM3_ACT_RELU:
        return value > 0 ? 1.0f : 0.0f;
    case CM3_ACT_GELU: {
        const float s = sigmoid(gelu_argument(value));
        const float inner = 1.5957691216057308f * (1 + 3 * 0.044715f * value * value);
        return s + value * s * (1 - s) * inner;
    }
    case CM3_ACT_SILU: {
        const float s = sigmoid(value);
        return s + value * s * (1 - s);
    }
    }
    return 1;
}

#endif
