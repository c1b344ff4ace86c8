/* The sections of the page that are made of images. Each takes its pairs evenly spread over the album. */
#include "train/evaluate/html.h"
#include "train/evaluate/report_internal.h"

#include <string.h>

/* Pairs of a section, for small images; together they are about 200 images. */
enum { DRAWN_SEEN = 20, DRAWN_VALIDATION = 16, CAPTIONS = 36, RECONSTRUCTIONS = 16, PIXELS_MAX = 3000000 };

/* Fewer images when they are large, so that the page stays small enough to be sent. */
static int64_t few(const cm3__report *r, int64_t wanted, int64_t available) {
    const int64_t pixels = r->album.side * r->album.side, most = PIXELS_MAX / 200 / pixels * wanted;
    if (most < wanted) wanted = most > 4 ? most : 4;
    return available < wanted ? available : wanted;
}

static int64_t seen_pairs(const cm3_album *album) {
    int64_t n = 0;
    while (n < album->count && !album->pairs[n].validation) n++;
    return n;
}

/* Image with a small word above it. `what` and the caption make the description. */
static cm3_status labelled(FILE *file, const cm3_image *image, const char *label, const char *what,
                           const char *caption) {
    char alt[512];
    snprintf(alt, sizeof alt, "%s: %s", what, caption);
    for (size_t end = strlen(alt); end && ((unsigned char)alt[end - 1] & 0xc0) == 0x80;)
        alt[--end] = 0; /* no half of a character at the cut */
    fputs("<span class=\"shot\">", file);
    if (label) fprintf(file, "<small>%s</small>", label);
    CM3_TRY(cm3_html_image(file, image, alt));
    fputs("</span>", file);
    return CM3_OK;
}

static void verdict(FILE *file, bool right, const char *right_word, const char *wrong_word) {
    fprintf(
        file,
        "<span class=\"%s\" title=\"%s\"><span aria-hidden=\"true\">%s</span><span class=\"hidden\">%s</span></span> ",
        right ? "right" : "wrong", right ? right_word : wrong_word, right ? "✓" : "✗",
            right ? right_word : wrong_word);
}

/* --- drawn from words -------------------------------------------------------------------------------------------- */

static cm3_status drawing(FILE *file, const cm3_album_pair *p) {
    fputs("<figure class=\"card\"><div class=\"two\">", file);
    CM3_TRY(labelled(file, &p->drawn, "drawn", "Drawn by the model", p->caption));
    CM3_TRY(labelled(file, &p->truth, "true", "True image", p->caption));
    fputs("</div><figcaption>", file);
    verdict(file, p->drawn_right, "nearest to its true image", "nearer to another image");
    cm3_html_text(file, p->caption);
    if (!p->drawn_right) {
        fputs("<em>nearest: ", file);
        cm3_html_text(file, p->nearest);
        fputs("</em>", file);
    }
    fputs("</figcaption></figure>\n", file);
    return CM3_OK;
}

static cm3_status drawings_of(FILE *file, const cm3__report *r, int64_t first, int64_t available, int64_t wanted) {
    const int64_t count = few(r, wanted, available);
    fputs("<div class=\"cards\">", file);
    for (int64_t i = 0; i < count; i++) CM3_TRY(drawing(file, &r->album.pairs[first + i * available / count]));
    fputs("</div>\n", file);
    return CM3_OK;
}

cm3_status cm3__report_drawings(FILE *file, const cm3__report *r) {
    const int64_t seen = seen_pairs(&r->album), validation = r->album.count - seen;
    if (seen) {
        fputs("<h3>Captions it was trained on</h3>\n", file);
        CM3_TRY(drawings_of(file, r, 0, seen, DRAWN_SEEN));
    }
    if (validation) {
        fprintf(file, "<h3>Captions it has never seen</h3>\n<p>%s</p>\n",
                r->recipe->source.kind == CM3_SOURCE_EMOJI
                    ? "Validation combinations of a person and a skin tone: both occur in training, never together."
                    : "Validation pairs of the same source.");
        CM3_TRY(drawings_of(file, r, seen, validation, DRAWN_VALIDATION));
    }
    return CM3_OK;
}

cm3_status cm3__report_samples(FILE *file, const cm3__report *r) {
    const int64_t samples = few(r, 200, r->album.samples);
    for (int64_t i = 0; i < r->album.row_count; i++) {
        const cm3_album_row *row = &r->album.rows[i];
        fputs("<figure class=\"row\"><figcaption>", file);
        cm3_html_text(file, row->caption);
        fprintf(file, "%s</figcaption><div class=\"strip\">", row->validation ? " <em>never seen</em>" : "");
        for (int64_t s = 0; s < samples; s++)
            CM3_TRY(labelled(file, &row->drawn[s], NULL, "One of several requests", row->caption));
        fputs("</div></figure>\n", file);
    }
    return CM3_OK;
}

/* --- words for images -------------------------------------------------------------------------------------------- */

static cm3_status caption(FILE *file, const cm3_album_pair *p) {
    fputs("<figure class=\"note\">", file);
    CM3_TRY(labelled(file, &p->truth, NULL, "Image", p->caption));
    fputs("<figcaption>", file);
    verdict(file, p->caption_right, "right", "wrong");
    cm3_html_text(file, *p->written ? p->written : "(nothing)");
    if (!p->caption_right) {
        fputs("<em>true: ", file);
        cm3_html_text(file, p->caption);
        fputs("</em>", file);
    }
    if (p->validation) fputs(" <em>never seen</em>", file);
    fputs("</figcaption></figure>\n", file);
    return CM3_OK;
}

/* In the middle between those of the requests, so that the page shows more of the set. */
static int64_t between(int64_t i, int64_t count, int64_t available) {
    return (2 * i + 1) * available / (2 * count);
}

cm3_status cm3__report_captions(FILE *file, const cm3__report *r) {
    const int64_t seen = seen_pairs(&r->album), validation = r->album.count - seen;
    const int64_t of_seen = few(r, validation ? CAPTIONS * 2 / 3 : CAPTIONS, seen),
                  of_validation = few(r, seen ? CAPTIONS / 3 : CAPTIONS, validation);
    fputs("<div class=\"notes\">", file);
    for (int64_t i = 0; i < of_seen; i++) CM3_TRY(caption(file, &r->album.pairs[between(i, of_seen, seen)]));
    for (int64_t i = 0; i < of_validation; i++)
        CM3_TRY(caption(file, &r->album.pairs[seen + between(i, of_validation, validation)]));
    fputs("</div>\n", file);
    return CM3_OK;
}

cm3_status cm3__report_reconstructions(FILE *file, const cm3__report *r) {
    const int64_t count = few(r, RECONSTRUCTIONS, r->album.count);
    fputs("<div class=\"pairs\">", file);
    for (int64_t i = 0; i < count; i++) {
        const cm3_album_pair *p = &r->album.pairs[between(i, count, r->album.count)];
        fputs("<div class=\"two\">", file);
        CM3_TRY(labelled(file, &p->truth, "true", "True image", p->caption));
        CM3_TRY(labelled(file, &p->decoded, "from codes", "The same image from its codes", p->caption));
        fputs("</div>\n", file);
    }
    fputs("</div>\n", file);
    return CM3_OK;
}
