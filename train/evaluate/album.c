#include "train/evaluate/album.h"

#include "core/auto.h"
#include "core/file.h"
#include "core/json.h"
#include "data/image/sheet.h"

#include <stdlib.h>
#include <string.h>

enum { PAIR_COLUMNS = 6 * CM3_ALBUM_OF_PAIR, JSON_MAX = 64 << 20, PAIRS_MAX = 1 << 16 };

cm3_status cm3_album_create(int64_t side, int64_t pairs, int64_t rows, int64_t samples, cm3_album *album) {
    *album = (cm3_album){.side = side, .count = pairs, .row_count = rows, .samples = samples};
    album->pairs = calloc((size_t)pairs + 1, sizeof *album->pairs);
    album->images = calloc((size_t)(pairs * CM3_ALBUM_OF_PAIR) + 1, sizeof *album->images);
    album->rows = calloc((size_t)rows + 1, sizeof *album->rows);
    album->row_images = calloc((size_t)(rows * samples) + 1, sizeof *album->row_images);
    if (album->pairs && album->images && album->rows && album->row_images) return CM3_OK;
    cm3_album_free(album);
    return cm3_fail(CM3_ERR_MEMORY, "out of memory for an album of %lld pairs", (long long)pairs);
}

void cm3_album_free(cm3_album *album) {
    for (int64_t i = 0; album->pairs && i < album->count; i++) {
        free(album->pairs[i].caption);
        free(album->pairs[i].model_caption);
        free(album->pairs[i].nearest_caption);
    }
    for (int64_t r = 0; album->rows && r < album->row_count; r++) free(album->rows[r].caption);
    for (int64_t i = 0; album->images && i < album->count * CM3_ALBUM_OF_PAIR; i++) cm3_image_free(&album->images[i]);
    for (int64_t i = 0; album->row_images && i < album->row_count * album->samples; i++)
        cm3_image_free(&album->row_images[i]);
    free(album->pairs);
    free(album->images);
    free(album->rows);
    free(album->row_images);
    *album = (cm3_album){0};
}

int64_t cm3_album_seen(const cm3_album *album) {
    int64_t n = 0;
    while (n < album->count && !album->pairs[n].validation) n++;
    return n;
}

/* --- the sheets -------------------------------------------------------------------------------------------------- */

static cm3_status write_sheet(const cm3_image *images, int64_t count, int64_t columns, const char *folder,
                              const char *name) {
    CM3_AUTO(cm3_image_free) cm3_image sheet = {0};
    if (count == 0) return CM3_OK;
    CM3_TRY(cm3_image_sheet(images, (int)count, (int)columns, 0, (cm3_colour){255, 255, 255}, &sheet));
    return cm3_image_write_png(&sheet, cm3_path_join(folder, name).text);
}

static cm3_status cut(const cm3_image *sheet, const char *name, int64_t cell, int columns, int side, cm3_image *out) {
    const int left = (int)(cell % columns) * side, top = (int)(cell / columns) * side;
    if (left + side > sheet->width || top + side > sheet->height || sheet->channels != 3)
        return cm3_fail(CM3_ERR_FORMAT, "%s: %d x %d pixels, too small for image %lld of its album", name, sheet->width,
                        sheet->height, (long long)cell);
    CM3_TRY(cm3_image_create(side, side, 3, out));
    for (int y = 0; y < side; y++)
        memcpy(out->pixels + (size_t)y * (size_t)side * 3,
               sheet->pixels + ((size_t)(top + y) * (size_t)sheet->width + (size_t)left) * 3, (size_t)side * 3);
    return CM3_OK;
}

static cm3_status read_sheet(cm3_image *images, int64_t count, int64_t columns, int64_t side, const char *folder,
                             const char *name) {
    CM3_AUTO(cm3_image_free) cm3_image sheet = {0};
    const cm3_path path = cm3_path_join(folder, name);
    if (count == 0) return CM3_OK;
    if (columns > count) columns = count;
    CM3_TRY(cm3_image_read(path.text, 0, &sheet));
    for (int64_t i = 0; i < count; i++) CM3_TRY(cut(&sheet, path.text, i, (int)columns, (int)side, &images[i]));
    return CM3_OK;
}

/* --- album.json -------------------------------------------------------------------------------------------------- */

static void print_json(const cm3_album *album, FILE *file) {
    cm3_json_writer w = cm3_json_writer_on(file);
    cm3_json_begin_object(&w, NULL);
    cm3_json_put_int(&w, "step", album->step);
    cm3_json_put_int(&w, "side", album->side);
    cm3_json_begin_array(&w, "pairs");
    for (int64_t i = 0; i < album->count; i++) {
        const cm3_album_pair *p = &album->pairs[i];
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_string(&w, "caption", p->caption);
        cm3_json_put_string(&w, "written", p->model_caption);
        cm3_json_put_string(&w, "nearest", p->nearest_caption);
        cm3_json_put_bool(&w, "heldout", p->validation);
        cm3_json_put_bool(&w, "drawn_right", p->image_right);
        cm3_json_put_bool(&w, "caption_right", p->caption_right);
        cm3_json_end_object(&w);
    }
    cm3_json_end_array(&w);
    cm3_json_put_int(&w, "samples", album->samples);
    cm3_json_put_double(&w, "temperature", album->temperature);
    cm3_json_begin_array(&w, "rows");
    for (int64_t r = 0; r < album->row_count; r++) {
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_string(&w, "caption", album->rows[r].caption);
        cm3_json_put_bool(&w, "heldout", album->rows[r].validation);
        cm3_json_end_object(&w);
    }
    cm3_json_end_array(&w);
    cm3_json_end_object(&w);
    cm3_json_end_line(&w);
}

static cm3_status write_json(const cm3_album *album, const char *folder) {
    cm3_output *output;
    CM3_TRY(cm3_output_open(cm3_path_join(folder, "album.json").text, &output));
    print_json(album, cm3_output_stream(output));
    return cm3_output_commit(output);
}

static cm3_status copy_string(const json_t *object, const char *name, const char *key, char **copy) {
    const char *text;
    CM3_TRY(cm3_json_need_string(object, name, key, &text));
    *copy = strdup(text);
    return *copy ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for a caption");
}

static cm3_status parse_pair(const json_t *object, const char *name, cm3_album_pair *p) {
    CM3_TRY(copy_string(object, name, "caption", &p->caption));
    CM3_TRY(copy_string(object, name, "written", &p->model_caption));
    CM3_TRY(copy_string(object, name, "nearest", &p->nearest_caption));
    CM3_TRY(cm3_json_need_bool(object, name, "heldout", &p->validation));
    CM3_TRY(cm3_json_need_bool(object, name, "drawn_right", &p->image_right));
    return cm3_json_need_bool(object, name, "caption_right", &p->caption_right);
}

static cm3_status parse(const json_t *root, const char *name, cm3_album *album) {
    int64_t step, side, samples;
    double temperature;
    const json_t *pairs, *rows;
    CM3_TRY(cm3_json_need_int(root, name, "step", 0, INT64_MAX, &step));
    CM3_TRY(cm3_json_need_int(root, name, "side", 1, CM3_IMAGE_SIDE_MAX, &side));
    CM3_TRY(cm3_json_need_int(root, name, "samples", 0, 1024, &samples));
    CM3_TRY(cm3_json_need_double(root, name, "temperature", &temperature));
    CM3_TRY(cm3_json_need_array(root, name, "pairs", &pairs));
    CM3_TRY(cm3_json_need_array(root, name, "rows", &rows));
    if (json_array_size(pairs) > PAIRS_MAX || json_array_size(rows) > PAIRS_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s: more than %d pairs", name, PAIRS_MAX);
    CM3_TRY(cm3_album_create(side, (int64_t)json_array_size(pairs), (int64_t)json_array_size(rows), samples, album));
    album->step = step;
    album->temperature = temperature;
    for (int64_t i = 0; i < album->count; i++) {
        CM3_TRY(parse_pair(json_array_get(pairs, (size_t)i), name, &album->pairs[i]));
        if (i > 0 && album->pairs[i - 1].validation && !album->pairs[i].validation)
            return cm3_fail(CM3_ERR_FORMAT, "%s: pairs: a seen pair follows a validation pair", name);
    }
    for (int64_t r = 0; r < album->row_count; r++) {
        CM3_TRY(copy_string(json_array_get(rows, (size_t)r), name, "caption", &album->rows[r].caption));
        CM3_TRY(cm3_json_need_bool(json_array_get(rows, (size_t)r), name, "heldout", &album->rows[r].validation));
    }
    return CM3_OK;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

cm3_status cm3_album_write(const cm3_album *album, const char *folder) {
    const int64_t seen = cm3_album_seen(album), validation = album->count - seen, n = CM3_ALBUM_OF_PAIR;
    CM3_TRY(cm3_folder_make(folder));
    CM3_TRY(write_sheet(album->images, n * seen, PAIR_COLUMNS, folder, "seen.png"));
    CM3_TRY(write_sheet(album->images + n * seen, n * validation, PAIR_COLUMNS, folder, "validation.png"));
    CM3_TRY(write_sheet(album->row_images, album->row_count * album->samples, album->samples, folder, "samples.png"));
    return write_json(album, folder); /* last: a reader begins with it */
}

static cm3_status read_images(cm3_album *album, const char *folder) {
    const int64_t seen = cm3_album_seen(album), validation = album->count - seen, n = CM3_ALBUM_OF_PAIR;
    CM3_TRY(read_sheet(album->images, n * seen, PAIR_COLUMNS, album->side, folder, "seen.png"));
    CM3_TRY(read_sheet(album->images + n * seen, n * validation, PAIR_COLUMNS, album->side, folder, "validation.png"));
    return read_sheet(album->row_images, album->row_count * album->samples, album->samples, album->side, folder,
                      "samples.png");
}

cm3_status cm3_album_read(const char *folder, cm3_album *album) {
    *album = (cm3_album){0};
    const cm3_path path = cm3_path_join(folder, "album.json");
    json_t *root;
    CM3_TRY(cm3_json_load(path.text, JSON_MAX, &root));
    cm3_status status = parse(root, path.text, album);
    if (status == CM3_OK) status = read_images(album, folder);
    if (status != CM3_OK) cm3_album_free(album);
    json_decref(root);
    return status;
}
