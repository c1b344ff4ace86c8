/* JPEG through libjpeg-turbo. The library reports errors by longjmp, so every object that must survive one lives in
 * `reader`, outside the frame that is left. */
#include "data/image/decode.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

enum { SCANS_MAX = 100 }; /* of a progressive file: more make a tiny file cost minutes */

typedef struct reader {
    struct jpeg_decompress_struct jpeg; /* first: the callbacks get a pointer to it */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
    uint8_t *row; /* of a CMYK image */
    cm3_image image;
    cm3_status status; /* of our own part */
} reader;

static void on_error(j_common_ptr jpeg) {
    reader *r = (reader *)jpeg;
    jpeg->err->format_message(jpeg, r->message);
    longjmp(r->failed, 1);
}

/* Warnings are for damage that the library papers over. Data that ends early is an error to us; stray bytes between
 * markers are common in files of old cameras, and harmless. */
static void on_message(j_common_ptr jpeg, int level) {
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA && jpeg->err->msg_code != JWRN_JFIF_MAJOR &&
        jpeg->err->msg_code != JWRN_ADOBE_XFORM)
        on_error(jpeg);
}

static void on_progress(j_common_ptr jpeg) {
    reader *r = (reader *)jpeg;
    if (r->jpeg.input_scan_number > SCANS_MAX) {
        snprintf(r->message, sizeof r->message, "more than %d scans", SCANS_MAX);
        longjmp(r->failed, 1);
    }
}

static void start(reader *r, const uint8_t *bytes, size_t length) {
    jpeg_create_decompress(&r->jpeg);
    r->progress.progress_monitor = on_progress;
    r->jpeg.progress = &r->progress;
    r->jpeg.mem->max_memory_to_use = 1L << 30;
    jpeg_save_markers(&r->jpeg, JPEG_APP0 + 1, 0xFFFF);
    jpeg_mem_src(&r->jpeg, bytes, length);
    jpeg_read_header(&r->jpeg, TRUE);
}

static int orientation_of(const struct jpeg_decompress_struct *jpeg) {
    for (jpeg_saved_marker_ptr marker = jpeg->marker_list; marker; marker = marker->next) {
        if (marker->marker != JPEG_APP0 + 1) continue;
        const int orientation = cm3__exif_orientation(marker->data, marker->data_length);
        if (orientation != 1) return orientation;
    }
    return 1;
}

/* The largest of 1, 2, 4, 8 that leaves both sides at least `least`. */
static unsigned reduction(const struct jpeg_decompress_struct *jpeg, int least) {
    unsigned factor = 1;
    if (least < 1) return factor;
    while (factor < 8 && jpeg->image_width / (2 * factor) >= (unsigned)least &&
           jpeg->image_height / (2 * factor) >= (unsigned)least)
        factor *= 2;
    return factor;
}

/* Adobe's programs store ink as 255 - amount, and leave their marker. */
static void from_cmyk(const uint8_t *row, int width, int inverted, uint8_t *out) {
    const int flip = inverted ? 0 : 255;
    for (int x = 0; x < width; x++)
        for (int c = 0; c < 3; c++)
            out[3 * x + c] = (uint8_t)(((row[4 * x + c] ^ flip) * (row[4 * x + 3] ^ flip) + 127) / 255);
}

static void read_rows(reader *r, const char *name, int least) {
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    const int cmyk = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = reduction(jpeg, least);
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_calc_output_dimensions(jpeg);
    /* Before the library allocates for a progressive file what its header claims. */
    cm3_image claimed = {0};
    r->status = cm3_image_create_for(name, jpeg->image_width, jpeg->image_height, 3, &claimed);
    cm3_image_free(&claimed);
    if (r->status == CM3_OK)
        r->status = cm3_image_create_for(name, jpeg->output_width, jpeg->output_height, 3, &r->image);
    if (r->status != CM3_OK) return;
    if (cmyk && !(r->row = malloc((size_t)4 * jpeg->output_width))) {
        r->status = cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for a row of pixels", name);
        return;
    }
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *out = r->image.pixels + (size_t)jpeg->output_scanline * r->image.width * 3;
        JSAMPROW row = cmyk ? r->row : out;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (cmyk) from_cmyk(r->row, r->image.width, jpeg->saw_Adobe_marker, out);
    }
    const int orientation = orientation_of(jpeg);
    jpeg_finish_decompress(jpeg);
    r->status = cm3__image_orient(&r->image, orientation);
}

/* The frame of setjmp holds nothing that a jump could leave undefined. */
static void decode(reader *r, const uint8_t *bytes, size_t length, const char *name, int least) {
    if (setjmp(r->failed)) {
        r->status = cm3_fail(CM3_ERR_FORMAT, "%s: cut short or damaged JPEG: %s", name, r->message);
        return;
    }
    start(r, bytes, length);
    read_rows(r, name, least);
}

cm3_status cm3__jpeg_decode(const uint8_t *bytes, size_t length, const char *name, int least, cm3_image *image) {
    reader r = {.status = CM3_OK};
    r.jpeg.err = jpeg_std_error(&r.errors);
    r.errors.error_exit = on_error;
    r.errors.emit_message = on_message;
    decode(&r, bytes, length, name, least);
    jpeg_destroy_decompress(&r.jpeg);
    free(r.row);
    if (r.status == CM3_OK)
        *image = r.image;
    else
        cm3_image_free(&r.image);
    return r.status;
}
