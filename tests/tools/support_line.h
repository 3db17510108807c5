/* SPDX-License-Identifier: Apache-2.0 */
/* support_line.h — the forms of a call that the support table asks for, and the problem line of
 * each. */
#ifndef FATTN_TESTS_SUPPORT_LINE_H
#define FATTN_TESTS_SUPPORT_LINE_H

#include <stdbool.h>

enum { LINE_ROOM = 1200 };
#define SUPPORT_SIZES                                                                              \
    "f16, 2 sequences, 8 heads, head dim 128, 64 queries (one in decode), 256 keys"

typedef enum support_cache { CACHE_NONE, CACHE_BNBSH, CACHE_BNNBSD, CACHE_NZ } support_cache;

/* What a row of the table changes; 0 = as SUPPORT_SIZES says. */
typedef struct support_form {
    const char *name;
    unsigned ops; /* SUPPORT_... bits */
    const char *dtype;
    int heads, kv_heads, d, dv, rope, q_len;
    support_cache cache;
    bool list, prefix, left_padding, lse, sink;
    int mode;          /* sparse_mode */
    int mask;          /* 1: [Sq,Skv]; 2: 2048 x 2048; 3: 3072 x 2048; 4: tree; 5: [B,1,Sq,Skv] */
    int pse;           /* 1: [B,N,Sq,Skv]; 2: slopes */
    const char *extra; /* as it stands in the line */
} support_form;

extern const support_form support_forms[]; /* ends with name NULL */
bool support_has(const support_form *form, const char *op);
void support_line(char line[LINE_ROOM], const char *op, const char *layout,
                  const support_form *form);

#endif
