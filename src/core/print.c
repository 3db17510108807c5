/* SPDX-License-Identifier: Apache-2.0 */
/* print.c — the short canonical form of a problem, for logs and plan descriptions only:
 *
 *   heads 8/2 d 128/128 q f16 k f16 v f16 out f16 seqs 2 q_len 1..8 kv_len 9..16 paged 16 scale
 * 0.125 band -2..0 prefix 3 mask bias=tensor sink max_sum lse
 *
 * Band and prefix are those of the first sequence; "+" after them says that others differ. */
#include <stdarg.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/problem.h"

typedef struct text {
    char *buffer;
    size_t size;
    int length; /* of the whole text, also when it is cut */
} text;

static void FATTN_PRINTF(2, 3) add(text *out, const char *format, ...)
{
    const size_t used = (size_t)out->length;
    const size_t left = used < out->size ? out->size - used : 0;
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(left ? out->buffer + used : NULL, left, format, list);
    va_end(list);
    if (n > 0) out->length += n;
}

static void add_range(text *out, const char *name, int64_t lo, int64_t hi)
{
    if (lo == hi)
        add(out, " %s %lld", name, (long long)lo);
    else
        add(out, " %s %lld..%lld", name, (long long)lo, (long long)hi);
}

static void add_lengths(text *out, const fattn_problem *p)
{
    int64_t q[2] = {0, 0}, kv[2] = {0, 0};
    for (int64_t s = 0; s < p->n_seqs; s++) {
        const fattn_seq *seq = &p->seqs[s];
        q[0] = s ? i64_min(q[0], seq->q_len) : seq->q_len;
        q[1] = i64_max(q[1], seq->q_len);
        kv[0] = s ? i64_min(kv[0], seq->kv_len) : seq->kv_len;
        kv[1] = i64_max(kv[1], MUTANT(21, seq->kv_len, 0));
    }
    add(out, " seqs %lld", (long long)p->n_seqs);
    add_range(out, "q_len", q[0], q[1]);
    add_range(out, "kv_len", kv[0], kv[1]);
}

/* Whether the band ends anywhere inside the sequence. */
static bool is_open(const fattn_seq *seq)
{
    return seq->band_lo + seq->q_len <= 1 && seq->band_hi + 1 >= seq->kv_len;
}

static void add_band(text *out, const fattn_problem *p)
{
    if (p->n_seqs == 0) return;
    const fattn_seq *first = &p->seqs[0];
    bool differ = false;
    for (int64_t s = 1; s < p->n_seqs; s++) {
        const fattn_seq *seq = &p->seqs[s];
        differ |= is_open(seq) != is_open(first);
        differ |= !is_open(seq) && (seq->band_lo != first->band_lo ||
                                    seq->band_hi != first->band_hi || seq->prefix != first->prefix);
    }
    if (!is_open(first)) {
        add(out, " band %lld..%lld", (long long)first->band_lo, (long long)first->band_hi);
        if (first->prefix) add(out, " prefix %lld", (long long)first->prefix);
    }
    if (differ) add(out, is_open(first) ? " band +" : "+");
}

int problem_print(const fattn_problem *p, char *buffer, size_t size)
{
    static const char *const bias_names[] = {
        [BIAS_TENSOR] = "tensor",
        [BIAS_COMPRESSED] = "compressed",
        [BIAS_SLOPE] = "slope",
        [BIAS_SLOPE_SQRT] = "slope_sqrt",
    };
    text out = {.buffer = buffer, .size = size};
    add(&out, "heads %lld/%lld d %lld/%lld", (long long)p->n_heads, (long long)p->n_kv_heads,
        (long long)p->d_qk, (long long)p->d_v);
    add(&out, " q %s k %s v %s out %s", fattn_dtype_name(p->q.dtype), fattn_dtype_name(p->k.dtype),
        fattn_dtype_name(p->v.dtype), fattn_dtype_name(p->out.dtype));
    if (p->q.n_parts == 2) add(&out, " rope %lld", (long long)p->q.part[1].d);
    add_lengths(&out, p);
    if (p->k.page_rows) add(&out, " paged %lld", (long long)p->k.page_rows);
    if (p->k.part[0].chunk) add(&out, " chunk %lld", (long long)p->k.part[0].chunk);
    if (p->shared_len) add(&out, " shared %lld", (long long)p->shared_len);
    if (p->k.list) add(&out, " list");
    add(&out, " scale %g", p->scale);
    add_band(&out, p);
    if (p->mask.present) add(&out, p->n_seqs && p->seqs[0].mask_from > 0 ? " tree_mask" : " mask");
    if (p->bias.kind != BIAS_NONE)
        add(&out, " bias=%s%s", bias_names[p->bias.kind], p->bias.before_scale ? "*scale" : "");
    if (p->sink) add(&out, " sink");
    if (p->round_scores_f16) add(&out, " f16_scores");
    if (p->want_max_sum) add(&out, " max_sum");
    if (p->want_lse) add(&out, " lse");
    return out.length;
}
