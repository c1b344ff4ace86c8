#include "train/evaluate/album.h"

#include "core/file.h"
#include "core/json.h"
#include "data/image/sheet.h"

#include <stdlib.h>
#include <string.h>

enum { OF_PAIR = 3, PAIRS_A_ROW = 6, JSON_MAX = 64 << 20, PAIRS_MAX = 1 << 16 };

cm3_status cm3_album_create(int64_t side, int64_t pairs, int64_t rows, int64_t samples, cm3_album *album) {
    *album = (cm3_album){.side = side, .count = pairs, .row_count = rows, .samples = samples};
    album->pairs = calloc((size_t)pairs + 1, sizeof *album->pairs);
    album->rows = calloc((size_t)rows + 1, sizeof *album->rows);
    bool whole = album->pairs && album->rows;
    for (int64_t r = 0; r < rows && whole; r++)
        whole = (album->rows[r].drawn = calloc((size_t)samples + 1, sizeof(cm3_image))) != NULL;
    if (whole) return CM3_OK;
    cm3_album_free(album);
    return cm3_fail(CM3_ERR_MEMORY, "no memory for an album of %lld pairs", (long long)pairs);
}

void cm3_album_free(cm3_album *album) {
    for (int64_t i = 0; album->pairs && i < album->count; i++) {
        cm3_album_pair *p = &album->pairs[i];
        free(p->caption);
        free(p->written);
        free(p->nearest);
        cm3_image_free(&p->truth);
        cm3_image_free(&p->decoded);
        cm3_image_free(&p->drawn);
    }
    for (int64_t r = 0; album->rows && r < album->row_count; r++) {
        for (int64_t s = 0; album->rows[r].drawn && s < album->samples; s++) cm3_image_free(&album->rows[r].drawn[s]);
        free(album->rows[r].drawn);
        free(album->rows[r].caption);
    }
    free(album->pairs);
    free(album->rows);
    *album = (cm3_album){0};
}

/* The pairs of a split are a run of the list: seen ones first. */
static int64_t seen_pairs(const cm3_album *album) {
    int64_t n = 0;
    while (n < album->count && !album->pairs[n].validation) n++;
    return n;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* `cells` are borrowed images. */
static cm3_status write_sheet(const cm3_image *cells, int64_t count, int columns, const char *folder,
                              const char *name) {
    char *path = cm3_path_join(folder, name);
    cm3_image sheet = {0};
    cm3_status status = path ? cm3_image_sheet(cells, (int)count, columns, 0, (cm3_colour){255, 255, 255}, &sheet)
                             : cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    if (status == CM3_OK) status = cm3_image_write_png(&sheet, path);
    cm3_image_free(&sheet);
    free(path);
    return status;
}

static cm3_status write_pairs(const cm3_album_pair *pairs, int64_t count, const char *folder, const char *name) {
    if (count == 0) return CM3_OK;
    cm3_image *cells = calloc((size_t)count * OF_PAIR, sizeof *cells);
    if (!cells) return cm3_fail(CM3_ERR_MEMORY, "no memory for a sheet of %lld pairs", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        cells[i * OF_PAIR] = pairs[i].truth;
        cells[i * OF_PAIR + 1] = pairs[i].decoded;
        cells[i * OF_PAIR + 2] = pairs[i].drawn;
    }
    const cm3_status status = write_sheet(cells, count * OF_PAIR, OF_PAIR * PAIRS_A_ROW, folder, name);
    free(cells);
    return status;
}

static cm3_status write_rows(const cm3_album *album, const char *folder) {
    const int64_t count = album->row_count * album->samples;
    if (count == 0) return CM3_OK;
    cm3_image *cells = calloc((size_t)count, sizeof *cells);
    if (!cells) return cm3_fail(CM3_ERR_MEMORY, "no memory for a sheet of %lld images", (long long)count);
    for (int64_t i = 0; i < count; i++) cells[i] = album->rows[i / album->samples].drawn[i % album->samples];
    const cm3_status status = write_sheet(cells, count, (int)album->samples, folder, "samples.png");
    free(cells);
    return status;
}

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
        cm3_json_put_string(&w, "written", p->written);
        cm3_json_put_string(&w, "nearest", p->nearest);
        cm3_json_put_bool(&w, "heldout", p->validation);
        cm3_json_put_bool(&w, "drawn_right", p->drawn_right);
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
    char *path = cm3_path_join(folder, "album.json");
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    cm3_output *output;
    cm3_status status = cm3_output_open(path, &output);
    free(path);
    CM3_TRY(status);
    print_json(album, cm3_output_stream(output));
    return cm3_output_commit(output);
}

cm3_status cm3_album_write(const cm3_album *album, const char *folder) {
    const int64_t seen = seen_pairs(album);
    CM3_TRY(cm3_folder_make(folder));
    CM3_TRY(write_pairs(album->pairs, seen, folder, "seen.png"));
    CM3_TRY(write_pairs(album->pairs + seen, album->count - seen, folder, "validation.png"));
    CM3_TRY(write_rows(album, folder));
    return write_json(album, folder); /* last: it is what a reader begins with */
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

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

static cm3_status read_pairs(cm3_album_pair *pairs, int64_t count, int side, const char *folder, const char *name) {
    if (count == 0) return CM3_OK;
    const int columns = OF_PAIR * (int)(count < PAIRS_A_ROW ? count : PAIRS_A_ROW);
    char *path = cm3_path_join(folder, name);
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    cm3_image sheet = {0};
    cm3_status status = cm3_image_read(path, 0, &sheet);
    for (int64_t i = 0; i < count && status == CM3_OK; i++) {
        status = cut(&sheet, path, i * OF_PAIR, columns, side, &pairs[i].truth);
        if (status == CM3_OK) status = cut(&sheet, path, i * OF_PAIR + 1, columns, side, &pairs[i].decoded);
        if (status == CM3_OK) status = cut(&sheet, path, i * OF_PAIR + 2, columns, side, &pairs[i].drawn);
    }
    cm3_image_free(&sheet);
    free(path);
    return status;
}

static cm3_status read_rows(cm3_album *album, const char *folder) {
    if (album->row_count * album->samples == 0) return CM3_OK;
    char *path = cm3_path_join(folder, "samples.png");
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    cm3_image sheet = {0};
    cm3_status status = cm3_image_read(path, 0, &sheet);
    for (int64_t i = 0; i < album->row_count * album->samples && status == CM3_OK; i++)
        status = cut(&sheet, path, i, (int)album->samples, (int)album->side,
                     &album->rows[i / album->samples].drawn[i % album->samples]);
    cm3_image_free(&sheet);
    free(path);
    return status;
}

static cm3_status copy_string(const json_t *object, const char *name, const char *key, char **copy) {
    const char *text;
    CM3_TRY(cm3_json_need_string(object, name, key, &text));
    *copy = strdup(text);
    return *copy ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for a caption");
}

static cm3_status parse_pair(const json_t *object, const char *name, cm3_album_pair *p) {
    CM3_TRY(copy_string(object, name, "caption", &p->caption));
    CM3_TRY(copy_string(object, name, "written", &p->written));
    CM3_TRY(copy_string(object, name, "nearest", &p->nearest));
    CM3_TRY(cm3_json_need_bool(object, name, "heldout", &p->validation));
    CM3_TRY(cm3_json_need_bool(object, name, "drawn_right", &p->drawn_right));
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
            return cm3_fail(CM3_ERR_FORMAT, "%s: pairs: a seen pair behind a validation one", name);
    }
    for (int64_t r = 0; r < album->row_count; r++) {
        CM3_TRY(copy_string(json_array_get(rows, (size_t)r), name, "caption", &album->rows[r].caption));
        CM3_TRY(cm3_json_need_bool(json_array_get(rows, (size_t)r), name, "heldout", &album->rows[r].validation));
    }
    return CM3_OK;
}

static cm3_status read_images(cm3_album *album, const char *folder) {
    const int64_t seen = seen_pairs(album);
    CM3_TRY(read_pairs(album->pairs, seen, (int)album->side, folder, "seen.png"));
    CM3_TRY(read_pairs(album->pairs + seen, album->count - seen, (int)album->side, folder, "validation.png"));
    return read_rows(album, folder);
}

cm3_status cm3_album_read(const char *folder, cm3_album *album) {
    *album = (cm3_album){0};
    char *path = cm3_path_join(folder, "album.json");
    json_t *root = NULL;
    cm3_status status = path ? cm3_json_load(path, JSON_MAX, &root) : cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    if (status == CM3_OK) status = parse(root, path, album);
    if (status == CM3_OK) status = read_images(album, folder);
    if (status != CM3_OK) cm3_album_free(album);
    json_decref(root);
    free(path);
    return status;
}
