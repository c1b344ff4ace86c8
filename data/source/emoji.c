/* The emoji source: names from Unicode's list, images from the colour font. A flag, a skin tone or a family is
 * several code points that the font joins into one glyph; only shaping (HarfBuzz) finds that glyph, FreeType then
 * unpacks its bitmap. */
#include "data/source/emoji.h"
#include "data/source/kind.h"

#include "core/file.h"
#include "core/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ft2build.h>
#include FT_FREETYPE_H
#include <hb.h>

enum { FILE_MAX = 256 << 20 };
#define FONT_PACKAGE "fonts-noto-color-emoji"

typedef struct emoji_state {
    cm3__emoji_list list;
    char *font; /* the file; the face reads from it */
    size_t font_length;
    FT_Library library;
    FT_Face face;
    pthread_mutex_t lock; /* a face is not thread-safe */
} emoji_state;

static void emoji_close(void *opaque) {
    emoji_state *state = opaque;
    if (state->face) FT_Done_Face(state->face);
    if (state->library) FT_Done_FreeType(state->library);
    pthread_mutex_destroy(&state->lock);
    cm3__emoji_list_free(&state->list);
    free(state->font);
    free(state);
}

/* A file of a Debian package under the root that the config names. */
static cm3_status read_packaged(const cm3_source_config *config, const char *file, const char *package, cm3_path *path,
                                char **data, size_t *length) {
    *path = cm3_path_join(config->path && *config->path ? config->path : "/usr/share", file);
    const cm3_status status = cm3_file_read(path->text, FILE_MAX, data, length);
    if (status == CM3_ERR_NOT_FOUND)
        return cm3_fail(status, "%s is missing: the emoji source needs the Debian package %s (apt install %s)",
                        path->text, package, package);
    return status;
}

static cm3_status read_names(const cm3_source_config *config, cm3__emoji_list *list) {
    cm3_path path;
    char *text;
    size_t length;
    cm3_status status = read_packaged(config, "unicode/emoji/emoji-test.txt", "unicode-data", &path, &text, &length);
    if (status == CM3_OK) status = cm3__emoji_parse(path.text, text, length, list);
    return status;
}

static cm3_status open_face(emoji_state *state, const char *path) {
    if (state->font_length > INT32_MAX || FT_Init_FreeType(&state->library))
        return cm3_fail(CM3_ERR_MEMORY, "%s: FreeType could not be started", path);
    if (FT_New_Memory_Face(state->library, (const FT_Byte *)state->font, (FT_Long)state->font_length, 0, &state->face))
        return cm3_fail(CM3_ERR_FORMAT, "%s: not a font that FreeType reads", path);
    if (!FT_HAS_COLOR(state->face) || state->face->num_fixed_sizes < 1 || FT_Select_Size(state->face, 0))
        return cm3_fail(CM3_ERR_FORMAT, "%s: a font without colour bitmaps", path);
    return CM3_OK;
}

static cm3_status read_font(const cm3_source_config *config, emoji_state *state) {
    cm3_path path;
    cm3_status status = read_packaged(config, "fonts/truetype/noto/NotoColorEmoji.ttf", FONT_PACKAGE, &path,
                                      &state->font, &state->font_length);
    if (status == CM3_OK) status = open_face(state, path.text);
    return status;
}

/* The one glyph of a sequence; 0 if the font has none. */
static uint32_t glyph_of(hb_font_t *font, hb_buffer_t *buffer, const cm3__emoji *emoji) {
    hb_buffer_clear_contents(buffer);
    hb_buffer_add_codepoints(buffer, emoji->codes, emoji->code_count, 0, emoji->code_count);
    hb_buffer_guess_segment_properties(buffer);
    hb_shape(font, buffer, NULL, 0);
    unsigned count = 0;
    const hb_glyph_info_t *glyphs = hb_buffer_get_glyph_infos(buffer, &count);
    return count == 1 ? glyphs[0].codepoint : 0;
}

/* Finds every image; names that this version of the font cannot show leave the list. */
static void find_glyphs(emoji_state *state) {
    hb_blob_t *blob = hb_blob_create(state->font, (unsigned)state->font_length, HB_MEMORY_MODE_READONLY, NULL, NULL);
    hb_face_t *face = hb_face_create(blob, 0);
    hb_font_t *font = hb_font_create(face);
    hb_buffer_t *buffer = hb_buffer_create();
    cm3__emoji_list *list = &state->list;
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count; i++) {
        list->items[i].glyph = glyph_of(font, buffer, &list->items[i]);
        if (list->items[i].glyph) list->items[kept++] = list->items[i];
    }
    if (kept < list->count)
        cm3_log_warn("emoji: the font has no image for %lld of %lld names", (long long)(list->count - kept),
                     (long long)list->count);
    list->count = kept;
    hb_buffer_destroy(buffer);
    hb_font_destroy(font);
    hb_face_destroy(face);
    hb_blob_destroy(blob);
}

/* FreeType's bitmaps are blue, green, red, alpha with the colours multiplied by alpha. */
static cm3_status from_bitmap(const FT_Bitmap *bitmap, cm3_image *image) {
    if (bitmap->pixel_mode != FT_PIXEL_MODE_BGRA) return cm3_fail(CM3_ERR_FORMAT, "the font's bitmap has no colours");
    CM3_TRY(cm3_image_create((int)bitmap->width, (int)bitmap->rows, 4, image));
    for (int y = 0; y < image->height; y++) {
        const uint8_t *from = bitmap->buffer + (ptrdiff_t)y * bitmap->pitch;
        uint8_t *to = image->pixels + (size_t)4 * y * image->width;
        for (int x = 0; x < image->width; x++, from += 4, to += 4) {
            const int alpha = from[3];
            for (int c = 0; c < 3; c++) {
                const int value = alpha ? (255 * from[2 - c] + alpha / 2) / alpha : 0;
                to[c] = (uint8_t)(value > 255 ? 255 : value);
            }
            to[3] = (uint8_t)alpha;
        }
    }
    return CM3_OK;
}

static cm3_status render(emoji_state *state, const cm3__emoji *emoji, cm3_image *image) {
    cm3_status status;
    pthread_mutex_lock(&state->lock);
    if (FT_Load_Glyph(state->face, emoji->glyph, FT_LOAD_COLOR | FT_LOAD_RENDER))
        status = cm3_fail(CM3_ERR_FORMAT, "the font's bitmap cannot be decoded");
    else
        status = from_bitmap(&state->face->glyph->bitmap, image);
    pthread_mutex_unlock(&state->lock);
    return status == CM3_OK ? CM3_OK : cm3_fail_context(status, "emoji \"%s\"", emoji->name);
}

static cm3_status emoji_label(void *opaque, int64_t index, cm3_pair *pair) {
    const emoji_state *state = opaque;
    const cm3__emoji *emoji = &state->list.items[index];
    char codes[CM3_EMOJI_CODES * 8] = "";
    for (int i = 0, at = 0; i < emoji->code_count; i++)
        at += snprintf(codes + at, sizeof codes - (size_t)at, "%s%x", i ? "-" : "", emoji->codes[i]);
    pair->text_length = strlen(emoji->name);
    CM3_TRY(cm3__text_copy(emoji->name, pair->text_length, &pair->text));
    CM3_TRY(cm3__text_copy(codes, strlen(codes), &pair->name));
    return cm3__text_copy(FONT_PACKAGE, strlen(FONT_PACKAGE), &pair->origin);
}

static cm3_status emoji_read(void *opaque, int64_t index, int least, cm3_pair *pair) {
    (void)least;
    emoji_state *state = opaque;
    CM3_TRY(emoji_label(opaque, index, pair));
    return render(state, &state->list.items[index], &pair->image);
}

static cm3_split emoji_split(const void *opaque, int64_t index) {
    const emoji_state *state = opaque;
    return state->list.items[index].validation ? CM3_SPLIT_VALIDATION : CM3_SPLIT_TRAIN;
}

cm3_status cm3__emoji_open(const cm3_source_config *config, cm3_source *source) {
    static const cm3__source_kind kind = {emoji_read, emoji_label, emoji_split, emoji_close};
    emoji_state *state = calloc(1, sizeof *state);
    if (!state) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a source");
    pthread_mutex_init(&state->lock, NULL);
    cm3_status status = read_names(config, &state->list);
    if (status == CM3_OK) status = read_font(config, state);
    if (status == CM3_OK) {
        find_glyphs(state);
        status = cm3__emoji_select(config, &state->list);
    }
    if (status == CM3_OK) status = cm3__emoji_split(config, &state->list);
    return cm3__source_opened(status, &kind, state, state->list.count, source);
}
