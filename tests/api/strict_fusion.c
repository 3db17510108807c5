/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of strict_fusion.c (spec fusion-attention 3.2, 4.4, 4.5, 9, 11.2), one or more cases
 * each. */
#include "api/fusion_case.h"
#include "api/strict_case.h"

typedef fattn_fusion_attention_args args;

static strict_case *of(const fusion_case *from)
{
    strict_case *c = strict_case_new("fusion_attention");
    c->a.fusion = from->a;
    return c;
}

static strict_case *dense(const char *layout)
{
    return of(dense_case(layout, FATTN_F16, 2, 4, 2, 6, 8, 4, 4));
}

static strict_case *square(int s) { return of(dense_case("BSND", FATTN_F16, 1, 2, 1, s, s, 2, 2)); }
static strict_case *batch3(void) { return of(dense_case("BSND", FATTN_F16, 3, 2, 1, 6, 8, 2, 2)); }

static const int64_t *zeros(int n) { return harness_alloc((size_t)n * sizeof(int64_t)); }

/* 1, 2, 3, ... */
static fattn_int_array counting(int n)
{
    int64_t *ends = harness_alloc((size_t)n * sizeof *ends);
    for (int i = 0; i < n; i++) ends[i] = i + 1;
    return (fattn_int_array){ends, n};
}

static strict_case *packed(int q, int k)
{
    return of(packed_case(FATTN_F16, 3, (int[]){q, q, q}, (int[]){k, k, k}, 0, 4, 2, 4, 4));
}

static strict_case *one_packed(int q, int k)
{
    return of(packed_case(FATTN_F16, 1, (int[]){q}, (int[]){k}, 0, 2, 1, 2, 2));
}

#define NEW(...) tensor_new(FATTN_F16, 1, __VA_ARGS__)
#define MASK(...) a->atten_mask = tensor_new(FATTN_U8, 0, __VA_ARGS__)
#define CAUSAL MASK(2, 2048, 2048)
#define TOKENS(pre, next) a->pre_tokens = (pre), a->next_tokens = (next)
#define LENGTHS(q, k) lengths(a, q, k)

/* Three sequences of that size; one head of one column where they are long. */
static void lengths(args *a, int q, int k)
{
    const int n = q > 100 ? 1 : 4, d = q > 100 ? 1 : 4;
    a->head_num = n;
    a->query = NEW(3, 3 * q, n, d), a->key = NEW(3, 3 * k, (n + 1) / 2, d), a->value = a->key;
    a->actual_seq_qlen = list_of(3, q, 2 * q, 3 * q),
    a->actual_seq_kvlen = list_of(3, k, 2 * k, 3 * k);
}

/* With the mask that the mode takes, and tokens that no rule minds. */
static void set_mode(args *a, int mode, int q, int k)
{
    a->sparse_mode = mode, a->next_tokens = mode == 7 || mode == 8 ? 0 : 4096;
    a->pre_tokens = 4096;
    if (mode == 7 || mode == 8) a->pre_tokens = k;
    if (mode < 2)
        MASK(2, q, k);
    else if (mode == 6)
        MASK(2, 3072, 2048);
    else
        CAUSAL;
}

static strict_case *masked(int mode)
{
    strict_case *c = dense("BSND");
    set_mode(&c->a.fusion, mode, 6, 8);
    if (mode == 6) c->a.fusion.prefix = list_of(2, 6, 6);
    return c;
}

static strict_case *masked_bsh(int mode, int s)
{
    strict_case *c = of(dense_case("BSH", FATTN_F16, 1, 1, 1, s, s, 1, 1));
    set_mode(&c->a.fusion, mode, s, s);
    return c;
}

static strict_case *sizes_mode(int mode, int b, int sq, int skv)
{
    strict_case *c = of(dense_case("BSND", FATTN_F16, b, 1, 1, sq, skv, 1, 1));
    set_mode(&c->a.fusion, mode, sq, skv);
    c->a.fusion.prefix = list_of(3, 1536, 1536, 1536);
    c->a.fusion.prefix.count = b;
    return c;
}

/* Two heads of one column, 2048 queries and keys, mode 3. */
static strict_case *heads2(int b)
{
    strict_case *c = of(dense_case("BSND", FATTN_F16, b, 2, 1, 2048, 2048, 1, 1));
    set_mode(&c->a.fusion, 3, 2048, 2048);
    return c;
}

/* A mask for every batch entry, and prefixes that it stands for. */
static strict_case *prefixed5(void)
{
    strict_case *c = dense("BSND");
    args *a = &c->a.fusion;
    a->sparse_mode = 5;
    MASK(4, 2, 1, 6, 8);
    a->prefix = list_of(2, 6, 6);
    return c;
}

/* Three sequences of 3 queries and 4 keys, that many tokens behind them, mode 1 with a mask for
 * one. */
static strict_case *tailed(int tokens)
{
    strict_case *c =
        of(packed_case(FATTN_F16, 3, (int[]){3, 3, 3}, (int[]){4, 4, 4}, tokens, 4, 2, 4, 4));
    args *a = &c->a.fusion;
    a->sparse_mode = 1;
    MASK(2, 3, 4);
    return c;
}

/* `n` batch entries of one query and one key, in mode 6. */
static void prefixes(args *a, int n)
{
    a->query = NEW(4, n, 1, 4, 1), a->key = a->value = NEW(4, n, 1, 2, 1);
    a->prefix = (fattn_int_array){zeros(n), n};
}

static void packed_prefixes(args *a, int n)
{
    a->query = NEW(3, n, 4, 1), a->key = a->value = NEW(3, n, 2, 1);
    a->actual_seq_qlen = a->actual_seq_kvlen = counting(n);
    a->prefix = (fattn_int_array){zeros(n), n};
}

static strict_case *packed_mode(int mode, int q, int k)
{
    strict_case *c = packed(2, 3);
    lengths(&c->a.fusion, q, k);
    set_mode(&c->a.fusion, mode, q, k);
    if (mode == 6) c->a.fusion.prefix = list_of(3, 1, 1, 1);
    return c;
}

static void rope_in(args *a, fattn_dtype dtype, int d, int dr)
{
    a->query = tensor_new(dtype, 1, 3, 9, 4, d), a->key = tensor_new(dtype, 2, 3, 12, 2, d);
    a->value = tensor_new(dtype, 3, 3, 12, 2, d);
    a->query_rope = tensor_new(dtype, 4, 3, 9, 4, dr),
    a->key_rope = tensor_new(dtype, 5, 3, 12, 2, dr);
}

static strict_case *rope(void)
{
    strict_case *c = packed(3, 4);
    args *a = &c->a.fusion;
    rope_in(a, FATTN_BF16, 16, 8);
    a->sparse_mode = 3;
    CAUSAL;
    return c;
}

#define ROW(id, code, by_default, status, argument, made, ...)                                     \
    static strict_case *STRICT_NAME(__LINE__, make_)(void) { return made; }                        \
    static void STRICT_NAME(__LINE__, spoil_)(strict_case * c)                                     \
    {                                                                                              \
        args *a = &c->a.fusion;                                                                    \
        __VA_ARGS__;                                                                               \
    }
#include "api/strict_fusion.def"
#undef ROW

static const strict_test tests[] = {
#define ROW(id, code, by_default, status, argument, made, ...)                                     \
    STRICT_ENTRY(id, code, by_default, status, argument, #__VA_ARGS__),
#include "api/strict_fusion.def"
#undef ROW
};

int main(void) { return strict_main(&strict_fusion, tests, (int)(sizeof tests / sizeof tests[0])); }
