/* SPDX-License-Identifier: Apache-2.0 */
/* plot.h — curves as an SVG file. */
#ifndef FATTN_TRAIN_PLOT_H
#define FATTN_TRAIN_PLOT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct plot_series {
    const char *name;
    const double *x, *y; /* points whose y is NaN are left out */
    int n;
} plot_series;

typedef struct plot_axes {
    const char *title, *x_label, *y_label;
    bool log_x, log_y; /* positive values only */
} plot_axes;

/* false when the file cannot be written. */
bool plot_svg(const char *path, const plot_axes *axes, const plot_series *series, int n_series);

#endif
