/* SPDX-License-Identifier: Apache-2.0 */
/* strict_case.h — one test for every row of the strict tables (src/api/strict.h): a call that the
 * device takes, then one change that breaks exactly this row. Strict must refuse it with the
 * device's code and touch no output; beside it stands what the default behaviour does with the same
 * call. */
#ifndef FATTN_TESTS_API_STRICT_CASE_H
#define FATTN_TESTS_API_STRICT_CASE_H

#include "api/harness.h"
#include "api/strict.h"

typedef struct strict_case {
    const fattn_operator *op;
    union {
        fattn_fusion_attention_args fusion;
        fattn_prompt_flash_attention_args prompt;
        fattn_incre_flash_attention_args incre;
        fattn_fused_infer_attention_score_args fused;
        fattn_fused_infer_attention_score_v2_args fused2;
        fattn_advance_step_flashattn_args step;
        fattn_attention_update_args update;
        fattn_ring_attention_update_args ring;
    } a;
} strict_case;

/* `code`: the device's, or "" (it computes), or the place of the warning that strict gives.
 * `by_default`: "computes", "refuses", the place that warns, or "refuses too" where the default
 * computes what breaks the row, but not this. Both "legal": see EDGE. */
typedef struct strict_test {
    const char *id, *code, *by_default;
    fattn_status status;
    const char *argument; /* in the sentence */
    strict_case *(*make)(void);
    void (*spoil)(strict_case *c);
    const char *change; /* spoil() as text */
} strict_test;

/* Arguments initialised; the rest is the caller's. */
strict_case *strict_case_new(const char *op);

/* Runs every test and compares the list with the table. */
int strict_main(const strict_table *table, const strict_test *tests, int n_tests);

/* For a .def file of ROW(id, code, by_default, status, argument, made, change...): include it
 * twice, around two definitions of ROW. EDGE is a call just inside the rule: both modes take it,
 * strict without a warning. */
#define EDGE(id, made, ...) ROW(id, "legal", "legal", OK, "", made, __VA_ARGS__)
#define STRICT_NAME2(line, what) what##line
#define STRICT_NAME(line, what) STRICT_NAME2(line, what)

/* What ROW is the second time, when its functions exist: an entry of the list. */
#define STRICT_ENTRY(id, code, by_default, status, argument, change)                               \
    {                                                                                              \
        id, code, by_default, (fattn_status)status, argument, STRICT_NAME(__LINE__, make_),        \
            STRICT_NAME(__LINE__, spoil_), change                                                  \
    }
enum { OK = FATTN_OK, ARG = FATTN_E_ARG, SHAPE = FATTN_E_SHAPE, DTYPE = FATTN_E_DTYPE };

#endif
