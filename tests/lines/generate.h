/* SPDX-License-Identifier: Apache-2.0 */
/* generate.h — random legal problem lines of the attention operators, and what each of them
 * exercises. */
#ifndef FATTN_TESTS_LINES_GENERATE_H
#define FATTN_TESTS_LINES_GENERATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { LINE_SIZE = 3072, FEATURES_MAX = 48, FEATURE_SIZE = 24 };

typedef struct random_line {
    char text[LINE_SIZE];
    char features[FEATURES_MAX][FEATURE_SIZE]; /* "mode 3", "paged BnBsH", "crosses a split" ... */
    int n_features;
} random_line;

/* Line `number` of operator `op` ("fusion_attention" ...): the same for the same (op, seed,
 * number). */
void generate_line(random_line *line, const char *op, uint64_t seed, uint64_t number);

/* What the lines of an operator must cover, and the least share of its lines in per mille. Returns
 * false beyond the end. */
bool generate_goal(const char *op, int index, const char **feature, int *per_mille);

#endif
