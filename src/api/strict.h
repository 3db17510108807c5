/* SPDX-License-Identifier: Apache-2.0 */
/* strict.h — what the device would do: one table per operator family, a row per rule of the
 * vendor's operators (spec fusion-attention 4.5, 9; inference 11-13), in their order.
 *
 * A row says which code the device answers with, what the default behaviour is, and either checks
 * the call itself or names the sentence by which the call is refused in every mode. In strict mode
 * the first broken row refuses the call, and every refusal ends with the device's code.
 * docs/strict.md is printed from these tables; tests/api/strict_*.c have a case for every row. */
#ifndef FATTN_API_STRICT_H
#define FATTN_API_STRICT_H

#include "base/context.h"
#include "base/error.h"

typedef enum strict_default {
    DEFAULT_COMPUTES, /* silently: nothing else could be meant */
    DEFAULT_WARNS,    /* computes, and warns once: see `warns` */
    DEFAULT_REFUSES   /* the device's rule is ours, too */
} strict_default;

/* How far a call has been read when a row is checked. */
typedef enum strict_stage {
    STAGE_ARGS, /* arguments as given; tensors have passed tensor_check() */
    STAGE_CALL  /* everything read and found sound */
} strict_stage;

typedef struct strict_row {
    const char *id;      /* stable */
    const char *section; /* of the specification */
    const char *rule;    /* what a call must do that does not break the row */
    const char *code;    /* the device's answer; NULL: it computes, and `does` says what */
    const char *does;    /* with code NULL: what the device does otherwise */
    strict_default by_default;
    const char *warns; /* DEFAULT_WARNS: the place that speaks */
    strict_stage stage;
    fattn_status (*check)(const void *call); /* may be NULL */
    const char *said; /* may be NULL: pieces of English formats, separated by '|', that refuse such
                         a call */
} strict_row;

typedef struct strict_table {
    const char *family; /* names of the operators, for the documents */
    const char *id;
    const strict_row *rows;
    int n_rows;
} strict_table;

extern const strict_table strict_fusion, strict_infer, strict_advance_step, strict_attention_update,
    strict_ring_update;

/* All of them, NULL-terminated. */
extern const strict_table *const strict_tables[];

/* Strict: the first row of that stage that the call breaks, in a sentence that ends with the code.
 */
fattn_status strict_check(const strict_table *table, strict_stage stage,
                          const fattn_context *context, const void *call);

/* Strict: the sentence of a refused call gets the device's code, unless it has it. Returns
 * `status`. */
fattn_status strict_refused(const strict_table *table, const fattn_context *context,
                            fattn_status status);

/* The id of the row that gave this thread's last code, "" when none did and it is the general one.
 * For tests. */
const char *strict_answered(void);

/* Codes: those of the host's checks are words (spec fusion-attention 9). */
#define CODE_PARAM "PARAM"
#define CODE_TYPE "TYPE"
#define CODE_VALUE "VALUE"
#define CODE_NULL "161001"      /* a required pointer is null */
#define CODE_PARAMETER "161002" /* dtype, shape or a relation of parameters */
#define CODE_TILING "561002"

/* A rule that refuses in every mode, by the sentence that has one of these pieces. */
#define REFUSED_BY(pieces) .by_default = DEFAULT_REFUSES, .said = (pieces)
#define CHECKED_BY(function) .stage = STAGE_CALL, .check = (function)

#endif
