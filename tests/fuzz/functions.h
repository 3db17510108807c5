/* SPDX-License-Identifier: Apache-2.0 */
/* functions.h — the public functions by number, and how often each was called. A call is written
 * CALL(fattn_kv_cache_add, cache, &id), which counts it; the program prints its table at exit. */
#ifndef FATTN_TESTS_FUZZ_FUNCTIONS_H
#define FATTN_TESTS_FUZZ_FUNCTIONS_H

#include <stdint.h>

/* An operator's five functions follow each other in this order. */
enum { OP_INIT, OP_CALL, OP_SHAPES, OP_WORKSPACE, OP_PLAN, OP_FUNCTIONS };

enum {
#define FUNCTION(name) F_##name,
#define OPERATOR(op) F_##op, F_##op##_end = F_##op + OP_FUNCTIONS - 1,
#include "fuzz/functions.def"
#undef FUNCTION
#undef OPERATOR
    FUNCTION_COUNT
};

extern const char *const function_names[FUNCTION_COUNT]; /* "fattn_version" */
extern uint64_t function_calls[FUNCTION_COUNT];

/* The number of the first of an operator's five. */
int function_of_operator(const char *op);

/* From now on the counts are printed at exit: appended as "name calls" to the file that
 * FATTN_FUZZ_COUNTS names, or to stderr. */
void functions_report_at_exit(void);

#define CALL(name, ...) (function_calls[F_##name]++, name(__VA_ARGS__))
#define CALL0(name) (function_calls[F_##name]++, name())

#endif
