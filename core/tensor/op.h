/* The operations: one contract, many backends.
 *
 * An operation is declared here once: its inputs, outputs, attributes and mathematics. core/tensor/op.c says for each
 * how shapes follow, what the backward pass reads, and how many FLOPs and bytes it costs. A backend (core/kernels/)
 * supplies a forward and a backward kernel for each. Networks do not call kernels: they record operations on a tape
 * (core/tensor/tape.h).
 *
 * Notation: N rows (batch x sequence), d width, V vocabulary; images are NHWC (B, H, W, C). "(N) i32" is
 * an integer tensor; all others are real. Real values are f32. The transformer's operations also go in bf16, as their
 * first input says; statistics (rstd, mean, lse), losses and scales are f32 even then, and so are the gradients of
 * parameters. An input in [brackets] may be absent (data == NULL).
 *
 * operation             inputs                                       outputs (the first one carries the gradient)
 * EMBED                 table (V,d), ids (N) i32,                    table[ids] [+ positions table[positions]]  (N,d)
 *                       [position table (P,d), positions (N) i32]
 * LAYER_NORM            x (N,d), [gain (d), bias (d)]                y (N,d); rstd (N); mean (N)
 *                       y = (x - mean) rstd [* gain + bias]; rstd = 1 / sqrt(var + epsilon), var biased.
 *                       Without gain and bias the backward pass reads y and rstd, with them x, mean and rstd.
 * RMS_NORM              x (N,d), gain (d)                            y = x rstd gain; rstd (N)
 *                       rstd = 1 / sqrt(mean(x^2) + epsilon)
 * LINEAR                x (N,K), weight (M,K), [bias (M),            y = act(x weight^T + bias) + residual  (N,M);
 *                       residual (N,M), mask of x (N,W) i32]         pre (N,M), the value before act, of GELU and SILU;
 *                                                                    mask (N,W) i32, of RELU: a bit for each y > 0
 *                       activation NONE, RELU, GELU (tanh form), SILU; a residual goes with NONE only. y may be written
 *                       over residual (in place). A mask's rows are CM3_MASK_WORDS(columns) words; element j is bit
 *                       j % 32 of word j / 32. Given the mask of x, which RELU made, the gradient of x is that of what
 *                       went into RELU (dReLU), and the plan sets `masked` of the LINEAR that made x.
 *                       `f32_out`: y in f32 even where x is bf16; of a bare product, and forward only (logits)
 * ATTENTION             qkv (B S, (H+2G) D): q of H heads,           y (B S, H D); lse (B, H, S), the row's
 *                       then k and v of G heads, packed              log-sum-exp of scaled scores
 *                       softmax(scale q k^T [causal]) v; head h reads key head h G / H. `sequence` is S.
 *                       S x S is never stored.
 * ATTENTION_CACHED      qkv (B T, (H+2G) D), key cache (B, P, G D),  y (B T, H D). Forward only.
 *                       value cache (B, P, G D), start (B) i32
 *                       appends the T new keys and values of row b at start[b].. in the caches (which it changes), then
 *                       new row t attends to cache positions 0..start[b]+t. `sequence` is T.
 * QK_NORM               qkv (N, (H+2G) D), q gain, q bias (H,D),     y (N, (H+2G) D); stats (N, H+G, 2)
 *                       k gain, k bias (G,D), [positions (N) i32]
 *                       every head of q and k layer-normalised over D, times gain plus bias (Chameleon); v as it is.
 *                       With positions q and k are then rotated as by ROTARY, on the same way through memory.
 * ROTARY                qkv (N, (H+2G) D), positions (N) i32         q and k rotated: pairs (j, j + D/2) by the angle
 *                                                                    position theta^(-2j/D). May be in place.
 * SWIGLU                gate and up (N, 2F): gate first              silu(gate) * up  (N,F)
 * ACTIVATE              x                                            act(x); RELU may be in place
 * ADD                   a, b                                         a + b; may be written over a
 * LINEAR_CROSS_ENTROPY  hidden (N,d), table (V,d), targets (N) i32,  loss (1); ce (N), each row's own cross-entropy in
 *                       scale (1), [weights (N)]                     nats (0 where ignored)
 *                       loss = scale sum_i weight_i [ce_i + z_loss lse_i^2]; without weights all are 1; targets < 0 are
 *                       ignored.
 *                       logits = hidden table^T in chunks of rows, never stored whole.
 *                       Its backward kernel also computes the outputs (`fused_forward_in_backward`): logits are
 *                       made once.
 * CONV2D                x (B,H,W,C), weight (O,k,k,C), [bias (O)]    y (B,H',W',O)
 *                       zero padding: `pad` before and `pad_after` behind each spatial side; `stride`
 * GROUP_NORM            x (B,H,W,C), gain (C), bias (C)              y (B,H,W,C); mean (B,groups); rstd (B,groups)
 *                       y = act(norm over `groups` groups of channels * gain + bias), activation NONE or SILU
 * UPSAMPLE              x (B,H,W,C)                                  nearest neighbour, twice the size
 * AVERAGE_POOL          x (B,H,W,C), even sides                      mean of 2x2, half the size
 * NEAREST_CODE          z (N,D), codebook (K,D)                      codes (N) i32 = argmin |z - e|, lowest index on a
 *                                                                    tie. No gradient.
 * CODE_LOOKUP           z (N,D), codebook (K,D), codes (N) i32       e[codes] (N,D); the gradient goes straight
 *                                                                    through to z
 * CODE_LOSS             z, codebook, codes, scale (1)                loss (1) = scale sum(|sg z - e|^2
 *                                                                    + commitment |z - sg e|^2)
 * PIXEL_LOSS            x, y of one shape, scale (1)                 loss (1) = scale sum(l1 |x-y| + l2 (x-y)^2);
 *                                                                    no gradient for y
 * VIEW                  x                                            the same memory under another shape
 *
 * Determinism: for a fixed number of threads every kernel gives the same bits in every run; sums have a fixed order. */
#ifndef CM3_CORE_TENSOR_OP_H
#define CM3_CORE_TENSOR_OP_H

#include "core/status.h"
#include "core/tensor/flat.h"
#include "core/tensor/memory.h"
#include "core/tensor/sample.h"
#include "core/tensor/tensor.h"

#include <stdbool.h>

/* Operations with kernels, and all. */
/* clang-format off */
#define CM3_KERNEL_LIST(X)                                                                                            \
    X(EMBED, embed) X(LAYER_NORM, layer_norm) X(RMS_NORM, rms_norm) X(LINEAR, linear) X(ATTENTION, attention)         \
    X(ATTENTION_CACHED, attention_cached) X(QK_NORM, qk_norm) X(ROTARY, rotary) X(SWIGLU, swiglu)                     \
    X(ACTIVATE, activate) X(ADD, add) X(LINEAR_CROSS_ENTROPY, linear_cross_entropy) X(CONV2D, conv2d)                 \
    X(GROUP_NORM, group_norm) X(UPSAMPLE, upsample) X(AVERAGE_POOL, average_pool) X(NEAREST_CODE, nearest_code)       \
    X(CODE_LOOKUP, code_lookup) X(CODE_LOSS, code_loss) X(PIXEL_LOSS, pixel_loss)
#define CM3_OP_LIST(X) CM3_KERNEL_LIST(X) X(VIEW, view)
/* clang-format on */

typedef enum cm3_op {
#define X(upper, lower) CM3_OP_##upper,
    CM3_OP_LIST(X)
#undef X
    CM3_OP_COUNT
} cm3_op;

typedef enum cm3_activation { CM3_ACT_NONE, CM3_ACT_RELU, CM3_ACT_GELU, CM3_ACT_SILU } cm3_activation;

enum { CM3_OP_INPUTS = 6, CM3_OP_OUTPUTS = 3 };

/* 32-bit words of a row of RELU's mask: whole 128 bits, as cuBLASLt wants them. */
#define CM3_MASK_WORDS(columns) (((columns) + 127) / 128 * 4)

/* Attributes of an operation; each reads only its own. */
typedef struct cm3_op_attr {
    cm3_activation activation;  /* LINEAR, ACTIVATE, GROUP_NORM */
    bool f32_out;               /* LINEAR */
    bool masked;                /* LINEAR with RELU: grad_out is zero already where y is */
    float epsilon;              /* norms */
    int heads, kv_heads;        /* ATTENTION, ATTENTION_CACHED, QK_NORM, ROTARY */
    int64_t sequence;           /* ATTENTION: S; ATTENTION_CACHED: T */
    bool causal;                /* ATTENTION */
    float scale;                /* ATTENTION, ATTENTION_CACHED: of the scores */
    float theta;                /* ROTARY, QK_NORM with positions */
    float z_loss;               /* LINEAR_CROSS_ENTROPY */
    bool detached;              /* VIEW: no gradient passes */
    int stride, pad, pad_after; /* CONV2D */
    int groups;                 /* GROUP_NORM */
    float commitment;           /* CODE_LOSS */
    float l1, l2;               /* PIXEL_LOSS */
} cm3_op_attr;

/* One call of a kernel. */
typedef struct cm3_call {
    const cm3_op_attr *attr;
    cm3_tensor in[CM3_OP_INPUTS];
    cm3_tensor out[CM3_OP_OUTPUTS]; /* a backward call has data only of those that the definition's `reads` names */
    /* Backward only. */
    cm3_tensor grad_out;               /* of out[0]; the kernel may overwrite it unless grad_is_identity_for is set */
    cm3_tensor grad_in[CM3_OP_INPUTS]; /* data NULL: gradient not needed */
    bool accumulate[CM3_OP_INPUTS];    /* grad_in += instead of = */
    /* Scratch memory of at least the kernel's forward_workspace or backward_workspace bytes; 64-byte aligned. */
    void *workspace;
} cm3_call;

/* What tape, plan, tests and benchmarks need to know of an operation. */
typedef struct cm3_op_def {
    const char *name;
    int inputs; /* at most */
    /* Infers shapes and types of the outputs, and their number; CM3_ERR_SHAPE names the input that does not fit. */
    cm3_status (*infer)(const cm3_op_attr *attr, const cm3_tensor in[], cm3_tensor out[], int *outputs);
    /* Bit masks of the inputs and outputs whose values the backward kernel reads. */
    void (*reads)(const cm3_op_attr *attr, const cm3_tensor in[], unsigned *inputs, unsigned *outputs);
    /* Model FLOPs (a multiply-add is two; causal attention counts what is not masked; nothing for recomputation). */
    double (*flops)(const cm3_call *call, bool backward);
    unsigned row_gather;            /* mask of tables of which the forward kernel reads only rows that ids select */
    unsigned differentiable;        /* mask of inputs that get a gradient */
    unsigned optional;              /* mask of outputs that the forward kernel skips where their data is NULL */
    int in_place;                   /* input whose memory out[0] may reuse after the input's last use, or -1 */
    int grad_is_identity_for;       /* input whose gradient is grad_out itself, or -1 */
    int grad_in_place;              /* input whose gradient may overwrite grad_out (when not accumulating), or -1 */
    bool fused_forward_in_backward; /* the backward kernel also writes the outputs: training needs no forward call */
} cm3_op_def;

const cm3_op_def *cm3_op_definition(cm3_op op);

/* Bytes that must cross memory at least: every input and output once, no workspace. Like FLOPs they follow from shapes
 * and attributes alone. */
double cm3_op_bytes(cm3_op op, const cm3_call *call, bool backward);

typedef struct cm3_kernel {
    cm3_status (*forward)(const cm3_call *call);
    cm3_status (*backward)(const cm3_call *call); /* NULL: forward only */
    /* Bytes of scratch, from shapes and attributes alone (no data is read); NULL: none. */
    size_t (*forward_workspace)(const cm3_call *call);
    size_t (*backward_workspace)(const cm3_call *call);
} cm3_kernel;

/* Capture and replay of queued work as one graph (CUDA graphs). Between begin() and end() work is captured instead of
 * executed, addresses included; only asynchronous work of the device may be queued: kernels, copies within its memory,
 * collectives. */
typedef struct cm3_graph_api {
    cm3_status (*begin)(void);
    cm3_status (*end)(void **graph); /* ends the capture, also after a failure: *graph is NULL then */
    cm3_status (*run)(void *graph);
    void (*free)(void *graph); /* NULL is allowed */
} cm3_graph_api;

enum { CM3_COLLECTIVE_ID = 128, CM3_DEVICE_NAME = 128 };

/* Collectives over the devices of several ranks, without the host's memory (NCCL). A group is a subset of the ranks;
 * all of its ranks open it at once (dist/comm.h: cm3_comm_devices()). Operations are in place and asynchronous: queued
 * behind what was queued so far, beside what follows until join(). All ranks queue them in the same order, over all
 * groups. Sums have the same bits on every rank, in an order that the library chooses. */
typedef struct cm3_collective {
    /* Of this process's GPU, zeroed behind its end: no two ranks may share one. */
    cm3_status (*name_gpu)(char name[CM3_DEVICE_NAME]);
    /* Fails where the library is not there, and so is called on all ranks; rank 0 of the group sends its id to the
     * others. */
    cm3_status (*make_id)(unsigned char id[CM3_COLLECTIVE_ID]);
    cm3_status (*open)(const unsigned char id[CM3_COLLECTIVE_ID], int rank, int size, void **group);
    void (*close)(void *group); /* on all its ranks */
    cm3_status (*all_reduce)(void *group, float *data, int64_t count);
    /* Of data (size, piece): the sums of row r on rank r; its other rows are undefined. */
    cm3_status (*reduce_scatter)(void *group, float *data, int64_t piece);
    /* Of data (size, bytes): rank r brings row r, all get all rows. */
    cm3_status (*all_gather)(void *group, void *data, int64_t bytes);
    cm3_status (*join)(void); /* what is queued from here on finds the results */
} cm3_collective;

typedef struct cm3_backend {
    const char *name;
    bool executes; /* false: it only counts (meta) */
    const cm3_kernel *kernels[CM3_OP_COUNT];
    bool has_bf16;
    const cm3_memory *memory;
    const cm3_flat *flat;
    const cm3_sampler *sampler;
    const cm3_graph_api *graph;       /* NULL: none */
    const cm3_collective *collective; /* NULL: none */
    /* to = or += from, of one shape. Where there is bf16, the two may be of different types. */
    cm3_status (*cast)(const cm3_tensor *to, const cm3_tensor *from, bool accumulate);
    /* Dense peak FLOP/s in a type: of a GPU by its maker's data sheet, of the host's processor as measured in the call
     * (multiply-adds in registers, all threads of the process, about 20 ms); 0: not known. */
    double (*peak)(cm3_dtype type);
} cm3_backend;

/* ABI version of this header, by which the program refuses a libcm3_cuda.so of another build. It includes the sizes of
 * the structs; increment CM3_CONTRACT_EDITION for a change that leaves sizes as they are. */
enum { CM3_CONTRACT_EDITION = 6 };
#define CM3_CONTRACT                                                                                                   \
    ((uint64_t)sizeof(cm3_backend) << 48 | (uint64_t)sizeof(cm3_call) << 32 | (uint64_t)sizeof(cm3_op_attr) << 16 |    \
     (uint64_t)CM3_CONTRACT_EDITION << 8 | (uint64_t)CM3_OP_COUNT)

/* core/kernels: the host's processor; and meta twins of it and of a GPU, which have their types and workspaces but run
 * nothing. The twins are part of every program, whether or not libcm3_cuda.so was built. */
const cm3_backend *cm3_backend_cpu(void);
const cm3_backend *cm3_backend_meta(void);
const cm3_backend *cm3_backend_meta_cuda(void);

#endif
