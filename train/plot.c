/* SPDX-License-Identifier: Apache-2.0 */
/* plot.c — one pass for the ranges, one for the ticks, one for the curves. */
#include "plot.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 720, HEIGHT = 440, LEFT = 80, RIGHT = 20, TOP = 40, BOTTOM = 60 };

typedef struct scale {
    double low, high;
    bool log;
    int begin, end; /* pixels */
} scale;

static double on(const scale *s, double v) { return s->log ? log10(v) : v; }

static double pixel(const scale *s, double v)
{
    return s->begin + (on(s, v) - s->low) / (s->high - s->low) * (s->end - s->begin);
}

static void include(scale *s, double v)
{
    if (isnan(v) || (s->log && v <= 0)) return;
    s->low = fmin(s->low, on(s, v));
    s->high = fmax(s->high, on(s, v));
}

static void settle(scale *s)
{
    if (!(s->low <= s->high)) s->low = 0, s->high = 1;
    if (s->low == s->high) s->high = s->low + 1;
}

/* What XML would take for something else. */
static void put_text(FILE *f, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            if ((unsigned char)*text >= ' ') fputc(*text, f);
        }
}

static void label(FILE *f, double x, double y, const char *anchor, const char *text)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    put_text(f, text);
    fputs("</text>\n", f);
}

/* 1, 2 or 5 times a power of ten: about six steps. */
static double step_of(const scale *s)
{
    const double raw = (s->high - s->low) / 6, unit = pow(10, floor(log10(raw)));
    const double times = raw / unit;
    return unit * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static void ticks(FILE *f, const scale *s, bool horizontal)
{
    const double step = s->log ? fmax(1, round(step_of(s))) : step_of(s);
    for (double v = ceil(s->low / step) * step; v <= s->high + step * 1e-9; v += step) {
        char text[32];
        const double at = s->begin + (v - s->low) / (s->high - s->low) * (s->end - s->begin);
        snprintf(text, sizeof text, "%g", s->log ? pow(10, v) : fabs(v) < step * 1e-9 ? 0 : v);
        const double x1 = horizontal ? at : LEFT, x2 = horizontal ? at : WIDTH - RIGHT;
        const double y1 = horizontal ? TOP : at, y2 = horizontal ? HEIGHT - BOTTOM : at;
        fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", x1, y1,
                x2, y2);
        if (horizontal)
            label(f, at, HEIGHT - BOTTOM + 18, "middle", text);
        else
            label(f, LEFT - 8, at + 4, "end", text);
    }
}

static void curve(FILE *f, const scale *x, const scale *y, const plot_series *s, int number)
{
    static const char *const colours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e"};
    const char *colour = colours[number % 5];
    fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
    for (int i = 0; i < s->n; i++)
        if (isfinite(s->y[i]) && (!y->log || s->y[i] > 0) && (!x->log || s->x[i] > 0))
            fprintf(f, "%.2f,%.2f ", pixel(x, s->x[i]), pixel(y, s->y[i]));
    fputs("\"/>\n", f);
    const int at = TOP + 18 + 18 * number;
    fprintf(f, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\"/>\n",
            WIDTH - 190, at - 4, WIDTH - 165, at - 4, colour);
    label(f, WIDTH - 158, at, "start", s->name);
}

bool plot_svg(const char *path, const plot_axes *axes, const plot_series *series, int n_series)
{
    scale x = {INFINITY, -INFINITY, axes->log_x, LEFT, WIDTH - RIGHT};
    scale y = {INFINITY, -INFINITY, axes->log_y, HEIGHT - BOTTOM, TOP};
    for (int s = 0; s < n_series; s++)
        for (int i = 0; i < series[s].n; i++)
            if (isfinite(series[s].y[i])) include(&x, series[s].x[i]), include(&y, series[s].y[i]);
    settle(&x), settle(&y);
    FILE *f = fopen(path, "w");
    if (!f) return false;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d "
            "%d\" font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    ticks(f, &x, true), ticks(f, &y, false);
    fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"black\"/>\n",
            LEFT, TOP, WIDTH - RIGHT - LEFT, HEIGHT - BOTTOM - TOP);
    for (int s = 0; s < n_series; s++) curve(f, &x, &y, &series[s], s);
    label(f, WIDTH / 2.0, 24, "middle", axes->title);
    label(f, WIDTH / 2.0, HEIGHT - 16, "middle", axes->x_label);
    fprintf(f, "<g transform=\"translate(18 %d) rotate(-90)\">", HEIGHT / 2);
    label(f, 0, 0, "middle", axes->y_label);
    fputs("</g>\n</svg>\n", f);
    const bool fine = ferror(f) == 0;
    return fclose(f) == 0 && fine;
}
