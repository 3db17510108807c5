/* SPDX-License-Identifier: Apache-2.0 */
/* A plot is one SVG element with a curve per series and no number that is none. */
#include "cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/plot.h"

static char *read_text(const char *path)
{
    static char text[1 << 16];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static int occurrences(const char *text, const char *what)
{
    int n = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what)) n++;
    return n;
}

static const char *plotted(bool log, const plot_series *series, int n)
{
    char path[] = "/tmp/fattn-plot-XXXXXX";
    const plot_axes axes = {"a < b & \"c\"", "x", "y", log, log};
    close(mkstemp(path));
    assert_true(plot_svg(path, &axes, series, n));
    const char *text = read_text(path);
    unlink(path);
    assert_int_equal(strncmp(text, "<svg", 4) == 0 || strncmp(text, "<?xml", 5) == 0, true);
    assert_non_null(strstr(text, "</svg>"));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    assert_non_null(strstr(text, "a &lt; b &amp; &quot;c&quot;"));
    return text;
}

static void curves(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4}, y[] = {5, (double)NAN, 7, -2};
    const plot_series two[] = {{"one", x, y, 4}, {"two", x, x, 4}};
    const char *text = plotted(false, two, 2);
    assert_int_equal(occurrences(text, "<polyline") + occurrences(text, "<path"), 2);
    assert_non_null(strstr(text, ">one<"));
    assert_non_null(strstr(text, ">two<"));
}

static void nothing_to_show(void **state)
{
    (void)state;
    const double nothing = (double)NAN, one = 3;
    plotted(false, &(plot_series){"empty", &nothing, &nothing, 0}, 1);
    plotted(false, &(plot_series){"no number", &one, &nothing, 1}, 1);
    plotted(true, &(plot_series){"a point", &one, &one, 1}, 1);
}

static void a_place_that_cannot_be_written(void **state)
{
    (void)state;
    const double x = 1;
    const plot_axes axes = {"t", "x", "y", false, false};
    assert_false(plot_svg("/nowhere/at/all.svg", &axes, &(plot_series){"s", &x, &x, 1}, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves),
        cmocka_unit_test(nothing_to_show),
        cmocka_unit_test(a_place_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
