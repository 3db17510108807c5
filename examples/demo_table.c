/* SPDX-License-Identifier: Apache-2.0 */
/* demo_table.c — the demo's last step: three standard configurations, our operator against
 * standard attention on this machine. The same rows as `fattn bench --suite guide`, as many as some
 * seconds allow. */
#include "demo.h"

#include "bench_measure.h"

/* Rounds for a row so that the table stays within its time, from the previous row's time per pair
 * and head dim; each row has one more round to warm up. */
static int affordable_rounds(const bench_row *row, const bench_result *previous,
                             double seconds_left)
{
    enum { MOST = 5 };
    if (previous == NULL || !(previous->ms > 0)) return MOST;
    const double standard_ms = previous->standard_ms > 0 ? previous->standard_ms : 0;
    const double growth = bench_row_pairs(row) * (double)row->head_dim /
                          (bench_row_pairs(&previous->row) * (double)previous->row.head_dim);
    const double rounds = seconds_left * 1e3 / (growth * (previous->ms + standard_ms)) - 1;
    return rounds < MOST ? (int)rounds : MOST;
}

void demo_table(demo *d)
{
    enum { TABLE_SECONDS = 40, LEAST_ROUNDS = 2 };
    bench_row rows[BENCH_MAX_ROWS];
    bench_result results[BENCH_MAX_ROWS];
    bench_session session;
    const char *library = standard_library() != NULL ? "OpenBLAS" : "not measured: no OpenBLAS";
    const double end = demo_now() + TABLE_SECONDS * 1e3;
    demo_title(d, "against standard attention (materialised scores, %s), random data", library);
    const bench_settings settings = {.dtype = FATTN_F32, .standard = true};
    if (!bench_session_open(&session, d->context, settings)) return;
    int n = 0;
    for (const int all = bench_rows("guide", rows); n < all; n++) {
        const double seconds_left = (end - demo_now()) * 1e-3;
        session.settings.runs =
            affordable_rounds(&rows[n], n > 0 ? &results[n - 1] : NULL, seconds_left);
        if (session.settings.runs < LEAST_ROUNDS) {
            demo_note("%s is left out: it would take more than a minute here", rows[n].name);
            break;
        }
        bench_measure(&session, &rows[n], &results[n]);
        if (results[n].failed) d->failures++;
    }
    bench_finish(&session, results, n);
    bench_print_table(&session, results, n);
    bench_session_close(&session);
}
