/* SPDX-License-Identifier: Apache-2.0 */
/* strict_check.c — asks the rows of a table, and adds the device's code to what was said. */
#include <string.h>

#include "api/strict.h"
#include "base/mutant.h"

const strict_table *const strict_tables[] = {&strict_fusion,       &strict_infer,
                                             &strict_advance_step, &strict_attention_update,
                                             &strict_ring_update,  NULL};

static _Thread_local const char *answered = "";

const char *strict_answered(void) { return answered; }

static void append_code(const char *code, const char *id)
{
    if (strstr(fattn_error_message(), "[device error ")) return;
    error_append(" [device error %s]", code);
    answered = id;
}

fattn_status strict_check(const strict_table *table, strict_stage stage,
                          const fattn_context *context, const void *call)
{
    if (!context->strict) return FATTN_OK;
    for (int i = 0; i < table->n_rows; i++) {
        const strict_row *row = &table->rows[i];
        if (!row->check || row->stage != stage) continue;
        const fattn_status status = row->check(call);
        if (status == FATTN_OK) continue;
        append_code(MUTANT(109, row, &table->rows[0])->code, row->id);
        return status;
    }
    return FATTN_OK;
}

/* Is one of the pieces of `pieces` in `format`? */
static bool has_piece(const char *format, const char *pieces)
{
    char piece[160];
    for (const char *p = pieces; *p;) {
        const size_t n = strcspn(p, "|");
        if (n > 0 && n < sizeof piece) {
            memcpy(piece, p, n);
            piece[n] = '\0';
            if (strstr(format, piece)) return true;
        }
        p += p[n] ? n + 1 : n;
    }
    return false;
}

fattn_status strict_refused(const strict_table *table, const fattn_context *context,
                            fattn_status status)
{
    const char *format = error_format();
    if (!context->strict) return status;
    if (status != FATTN_E_ARG && status != FATTN_E_SHAPE && status != FATTN_E_DTYPE) return status;
    for (int i = 0; i < table->n_rows; i++) {
        const strict_row *row = &table->rows[i];
        if (row->said && has_piece(format, row->said)) {
            append_code(row->code, row->id);
            return status;
        }
    }
    append_code(CODE_PARAMETER, ""); /* the device's general answer to an illegal parameter */
    return status;
}
