/* Line charts as inline SVG, drawn in the colours of the page's style sheet. */
#ifndef CM3_TRAIN_EVALUATE_CHART_H
#define CM3_TRAIN_EVALUATE_CHART_H

#include "train/evaluate/series.h"

#include <stdbool.h>
#include <stdio.h>

enum { CM3_CHART_LINES = 6 };

typedef struct cm3_chart_line {
    const char *name;
    const char *style; /* class of the style sheet: "a", "b", "c": colours */
    bool points;       /* a few measured points: dots joined by a thin line; else a curve */
    const cm3_series *series;
} cm3_chart_line;

typedef struct cm3_chart {
    const char *title; /* "Loss, nats a token" */
    int decimals;      /* of the last values beside the names */
    const char *unit;  /* behind them: "", " dB" */
    bool from_zero;
    cm3_chart_line lines[CM3_CHART_LINES];
    int count; /* lines without points are left out */
} cm3_chart;

/* A <figure>. CM3_ERR_MEMORY is all that can go wrong. */
cm3_status cm3_chart_write(FILE *file, const cm3_chart *chart);

/* The smallest of 1, 2, 2.5, 5 times a power of ten that cuts `range` into at most `most` steps. */
double cm3_chart_step(double range, int most);

#endif
