/* How much scratch memory the cuda backend's kernels need, and the sizes that follow from shapes alone: pieces of rows,
 * splits of keys, blocks. Plain C without CUDA's headers: libcm3_cuda.so runs by these numbers, and the program plans
 * by them where there is neither that library nor a GPU (meta.c). */
#ifndef CM3_CORE_KERNELS_CUDA_WORKSPACE_H
#define CM3_CORE_KERNELS_CUDA_WORKSPACE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/tensor/op.h"

/* Bytes of a call's workspace, of every kernel. */
#define X(upper, lower)                                                                                                \
    size_t cm3__cuda_##lower##_forward_workspace(const cm3_call *call);                                                \
    size_t cm3__cuda_##lower##_backward_workspace(const cm3_call *call);
CM3_KERNEL_LIST(X)
#undef X

/* Scratch that is used a piece at a time; tests that emulate a GPU make pieces small, so that cases have several. */
#ifdef CM3_SIMT
enum { CM3__LOGIT_BYTES = 64 << 10, CM3__WINDOW_FLOATS = 4 << 10 };
#else
enum {
    CM3__LOGIT_BYTES = 256 << 20, /* products of so many rows fill the device; few pieces add to the table's gradient */
    CM3__WINDOW_FLOATS = 16 << 20,
};
#endif

/* --- sums -------------------------------------------------------------------------------------------------------- */

enum {
    CM3_SUM_BLOCKS = 1024,     /* sums.h: doubles of workspace */
    CM3_COLUMN_STRETCHES = 64, /* columns.h: partial sums of a column */
    CM3_SORT_DIGITS = 256,     /* sort.h */
    CM3_SORT_TILE = 1024,      /* sort.h: ids that a block sorts */
    CM3_BY_ID_PIECE = 16,      /* sorted_scatter_add.h: rows of a piece */
};

/* 32-bit words that sorting n ids takes; a multiple of 16. */
int64_t cm3__sort_words(int64_t n);

/* --- operations -------------------------------------------------------------------------------------------------- */

/* ATTENTION_CACHED, one new token: keys of a split, which are also the threads of a block. */
enum { CM3__CACHE_SPLIT = 128 };
int64_t cm3__cache_splits(const cm3_call *call);

/* QK_NORM: stretches of rows whose gradients of gain and bias are summed apart. Bytes of the rotary frequencies, which
 * lie in front of those sums. */
enum { CM3__QK_NORM_STRETCHES = 128 };
size_t cm3__rope_bytes(const cm3_call *call);

/* LINEAR_CROSS_ENTROPY: its rows are taken a chunk at a time. */
typedef struct cm3__logit_chunks {
    int64_t n, d, vocabulary, rows; /* rows: of one chunk */
    size_t losses;                  /* bytes of all rows' losses, in front of the logits */
} cm3__logit_chunks;
cm3__logit_chunks cm3__logit_chunks_of(const cm3_call *call);

/* NEAREST_CODE: rows whose products with the codebook are made at once. */
int64_t cm3__code_rows(const cm3_call *call);

/* CONV2D by matrix products over windows (im2col). */
typedef struct cm3__conv {
    int64_t batch, rows, columns, channels; /* of the images */
    int64_t out_rows, out_columns, outputs; /* of the result */
    int64_t kernel, stride, pad, window;    /* window: k k C values */
} cm3__conv;
cm3__conv cm3__conv_of(const cm3_call *call, const cm3_tensor *result);
/* Whether the images are their own windows. */
bool cm3__conv_is_plain(const cm3__conv *s);
/* Results whose windows are laid out at once. */
int64_t cm3__conv_results_at_once(const cm3__conv *s);
/* Rows of images whose gradients are made at once, and the results whose windows reach into them; out_end is 0 until
 * those are known. */
typedef struct cm3__conv_band {
    int64_t image, images, y, y_end, out, out_end;
} cm3__conv_band;
cm3__conv_band cm3__conv_first_band(const cm3__conv *s);

/* GROUP_NORM: an image is cut into stretches of pixels, which are summed apart. */
enum { CM3__GROUP_NORM_THREADS = 256 };
typedef struct cm3__group_layout {
    int64_t batch, pixels, channels, groups, width; /* width: channels of a group */
    int64_t stretch, stretches;                     /* pixels of a stretch; stretches of an image */
} cm3__group_layout;
cm3__group_layout cm3__group_layout_of(const cm3_call *call);
/* Floats of the sums of all stretches (batch, stretches, 2, channels), which begin the workspace. */
int64_t cm3__group_sums(const cm3__group_layout *s);

/* --- cuDNN: 0 bytes say that it does not take a call ------------------------------------------------------------- */

size_t cm3__cudnn_attention_forward_workspace(const cm3_call *call);
size_t cm3__cudnn_attention_backward_workspace(const cm3_call *call);
size_t cm3__cudnn_conv2d_forward_workspace(const cm3_call *call);
size_t cm3__cudnn_conv2d_backward_workspace(const cm3_call *call);

#ifdef __cplusplus
}
#endif

#endif
