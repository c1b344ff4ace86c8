#include "train/evaluate/chart.h"

#include "train/evaluate/html.h"

#include <math.h>

/* Of the drawing, in its own units; the page scales it. */
enum { WIDTH = 480, HEIGHT = 264, LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 30, POINTS = 220 };

typedef struct frame {
    double x0, x1, y0, y1; /* values at the edges */
    double y_step, x_step;
} frame;

double cm3_chart_step(double range, int most) {
    if (!(range > 0) || !isfinite(range)) return 1;
    const double power = pow(10, floor(log10(range / most)));
    const double factors[] = {1, 2, 2.5, 5, 10};
    for (int i = 0; i < 5; i++)
        if (range / (power * factors[i]) <= most + 1e-9) return power * factors[i];
    return power * 20;
}

static double place_x(const frame *f, double x) {
    return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const frame *f, double y) {
    return TOP + (f->y1 - y) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static frame frame_of(const cm3_chart *chart, const cm3_series drawn[]) {
    frame f = {.x0 = 0, .x1 = 1, .y0 = INFINITY, .y1 = -INFINITY};
    for (int l = 0; l < chart->count; l++)
        for (size_t i = 0; i < drawn[l].count; i++) {
            f.x1 = fmax(f.x1, drawn[l].items[i].x);
            f.y0 = fmin(f.y0, drawn[l].items[i].y);
            f.y1 = fmax(f.y1, drawn[l].items[i].y);
        }
    if (!isfinite(f.y0)) f.y0 = f.y1 = 0; /* nothing to draw */
    if (chart->from_zero) f.y0 = fmin(f.y0, 0);
    if (!(f.y1 > f.y0)) f.y1 = f.y0 + 1;
    f.y_step = cm3_chart_step(f.y1 - f.y0, 5);
    f.x_step = cm3_chart_step(f.x1 - f.x0, 5);
    f.y0 = floor(f.y0 / f.y_step + 1e-9) * f.y_step;
    f.y1 = ceil(f.y1 / f.y_step - 1e-9) * f.y_step;
    return f;
}

/* Decimals that a multiple of the step needs. */
static int decimals_of(double step) {
    int decimals = 0;
    while (decimals < 6 && fabs(step - round(step)) > 1e-6 * step) {
        step *= 10;
        decimals++;
    }
    return decimals;
}

static void write_axes(FILE *file, const frame *f) {
    const int rows = (int)lround((f->y1 - f->y0) / f->y_step);
    for (int i = 0; i <= rows; i++) {
        const double value = f->y0 + i * f->y_step, y = place_y(f, value);
        fprintf(file,
                "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" "
                "class=\"end\">",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4);
        fprintf(file, "%.*f</text>", decimals_of(f->y_step), value);
    }
    for (double value = 0; value <= f->x1 * (1 + 1e-9); value += f->x_step) {
        const double x = place_x(f, value);
        fprintf(file, "<text x=\"%.1f\" y=\"%d\" class=\"%s\">", x, HEIGHT - 10, x > WIDTH - 40 ? "end" : "mid");
        if (f->x_step >= 1e6)
            fprintf(file, "%gM", value / 1e6);
        else if (f->x_step >= 1e3 || value >= 1e4)
            fprintf(file, value > 0 ? "%gk" : "%g", value / 1e3);
        else
            fprintf(file, "%g", value);
        fputs("</text>", file);
    }
}

static void write_line(FILE *file, const cm3_chart_line *line, const cm3_series *s, const frame *f) {
    if (s->count == 0) return;
    fprintf(file, "<polyline class=\"line %s%s\" points=\"", line->style, line->points ? " thin" : "");
    for (size_t i = 0; i < s->count; i++)
        fprintf(file, "%s%.1f,%.1f", i ? " " : "", place_x(f, s->items[i].x), place_y(f, s->items[i].y));
    fputs("\"/>", file);
    if (!line->points) return;
    for (size_t i = 0; i < s->count; i++)
        fprintf(file, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>", line->style,
                place_x(f, s->items[i].x), place_y(f, s->items[i].y));
}

/* Names with their last values: read by everyone, and all that is left of the colours in a black and white print. */
static void write_legend(FILE *file, const cm3_chart *chart, const cm3_series drawn[]) {
    fputs("<ul class=\"legend\">", file);
    for (int l = 0; l < chart->count; l++) {
        if (drawn[l].count == 0) continue;
        fprintf(file, "<li><i class=\"%s%s\"></i>", chart->lines[l].style, chart->lines[l].points ? " dots" : "");
        cm3_html_text(file, chart->lines[l].name);
        fputs(" <b>", file);
        char value[64];
        snprintf(value, sizeof value, "%.*f%s", chart->decimals, cm3_series_last(&drawn[l])->y, chart->unit);
        cm3_html_text(file, value);
        fputs("</b></li>", file);
    }
    fputs("</ul>", file);
}

static void write_svg(FILE *file, const cm3_chart *chart, const cm3_series drawn[]) {
    const frame f = frame_of(chart, drawn);
    fprintf(file, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    cm3_html_text(file, chart->title);
    fputs(" over training steps; last values are in the text above\">", file);
    write_axes(file, &f);
    for (int l = 0; l < chart->count; l++) write_line(file, &chart->lines[l], &drawn[l], &f);
    fputs("</svg>", file);
}

cm3_status cm3_chart_write(FILE *file, const cm3_chart *chart) {
    cm3_series drawn[CM3_CHART_LINES] = {{0}};
    cm3_status status = CM3_OK;
    for (int l = 0; l < chart->count && status == CM3_OK; l++)
        status = cm3_series_thin(chart->lines[l].series, POINTS, &drawn[l]);
    if (status == CM3_OK) {
        fputs("<figure class=\"chart\"><figcaption>", file);
        cm3_html_text(file, chart->title);
        fputs(" <em>by training step</em></figcaption>", file);
        write_legend(file, chart, drawn);
        write_svg(file, chart, drawn);
        fputs("</figure>\n", file);
    }
    for (int l = 0; l < chart->count; l++) cm3_series_free(&drawn[l]);
    return status;
}
