/* SPDX-License-Identifier: Apache-2.0 */
/* explain_print.c — the figures of fattn/explain.h in words. */
#include "explain_print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LL(x) ((long long)(x))

/* ---- time ---- */

explain_time explain_predict(const fattn_explanation *e, const explain_peaks *peaks)
{
    explain_time t = {.bytes = e->query_bytes + e->kv_bytes + e->mask_bytes + e->output_bytes,
                      .compute_ms = NAN,
                      .memory_ms = NAN,
                      .predicted_ms = NAN};
    /* the ceilings are those of its kernels, in fp32 */
    if (strcmp(e->backend, "cpu") != 0 || strcmp(e->compute, "f16") == 0) return t;
    const double gflops = peaks->gflops.value, gbps = peaks->gbps.value;
    if (gflops > 0) t.compute_ms = e->flops / gflops * 1e-6;
    if (gbps > 0) t.memory_ms = t.bytes / gbps * 1e-6;
    if (gflops > 0 && gbps > 0) {
        t.binds = t.compute_ms >= t.memory_ms ? "compute" : "memory";
        t.predicted_ms = fmax(t.compute_ms, t.memory_ms);
    }
    return t;
}

/* ---- reasons ---- */

static const struct {
    const char *word, *sentence;
} readings[] = {
    {"in_place", "read where they lie"},
    {"widened", "widened to fp32 a tile at a time: tiles are used in place in fp32 only"},
    {"parts", "put together a tile at a time: the nope and rope columns of a row lie apart"},
    {"columns", "copied a tile at a time: the columns of a row do not lie together"},
    {"rows", "copied a tile at a time: the rows of a head do not follow each other directly"},
    {"pages",
     "copied where a tile of keys crosses blocks: the block size is no multiple of a tile"},
    {"seam", "copied where the shared prefix ends inside a tile"},
    {"tail", "copied a tile at a time: the head dim is no multiple of 16"},
};

static const char *sentence_of(const char *word)
{
    for (size_t i = 0; i < sizeof readings / sizeof readings[0]; i++)
        if (strcmp(readings[i].word, word) == 0) return readings[i].sentence;
    return word;
}

static bool backend_reason(const fattn_explanation *e, int i, char *text, size_t size)
{
    const fattn_backend_answer *b = &e->backends[i];
    if (b->chosen)
        snprintf(text, size, "backend %s: the first that accepts", b->name);
    else if (!b->accepts)
        snprintf(text, size, "backend %s: refuses: %s", b->name, b->why_not);
    else
        snprintf(text, size, "backend %s: %s", b->name,
                 b->allowed ? "would compute it, too; it stands behind in the order"
                            : "another one is asked for");
    return true;
}

static bool family_reason(const fattn_explanation *e, char *text, size_t size)
{
    if (e->dot_sequences + e->tile_sequences == 0) return false;
    snprintf(text, size,
             "family: %lld sequences have fewer than %lld rows for each key/value head: dot "
             "products; %lld "
             "have more: tiles of %lld rows and %lld keys",
             LL(e->dot_sequences), LL(e->dot_below), LL(e->tile_sequences), LL(e->tile_rows),
             LL(e->tile_keys));
    return true;
}

static bool split_reason(const fattn_explanation *e, char *text, size_t size)
{
    if (e->split_keys == 0 || e->dot_sequences + e->tile_sequences == 0) return false;
    snprintf(text, size,
             "splits of %lld keys: %lld sequences are split; %lld have all visible keys in one "
             "split, %lld have "
             "more than %lld rows",
             LL(e->split_keys), LL(e->split_sequences), LL(e->one_split), LL(e->many_rows),
             LL(e->split_q_len));
    return true;
}

static bool reading_reason(const char *family, const char *what, const char *word, char *text,
                           size_t size)
{
    if (word[0] == '\0') return false;
    snprintf(text, size, "%s of the %s family: %s", what, family, sentence_of(word));
    return true;
}

bool explain_reason(const fattn_explanation *e, int i, char *text, size_t size)
{
    enum { FAMILY, SPLIT, TILE_KEYS, TILE_VALUES, DOT_KEYS, DOT_VALUES, BEHIND };
    bool said = false;
    text[0] = '\0';
    if (i < e->n_backends) return backend_reason(e, i, text, size);
    switch (i - e->n_backends) {
    case FAMILY:
        said = family_reason(e, text, size);
        break;
    case SPLIT:
        said = split_reason(e, text, size);
        break;
    case TILE_KEYS:
        said = reading_reason("tile", "keys", e->tile_reads.keys, text, size);
        break;
    case TILE_VALUES:
        said = reading_reason("tile", "values", e->tile_reads.values, text, size);
        break;
    case DOT_KEYS:
        said = reading_reason("dot", "keys", e->dot_reads.keys, text, size);
        break;
    case DOT_VALUES:
        said = reading_reason("dot", "values", e->dot_reads.values, text, size);
        break;
    default:
        return false;
    }
    if (!said) text[0] = '\0'; /* nothing to say about this one */
    return true;
}

/* ---- text ---- */

static const char *source_of(const explain_peak *peak)
{
    return peak->given ? "given" : "measured";
}

static void print_time(const fattn_explanation *e, const explain_peaks *peaks)
{
    const explain_time t = explain_predict(e, peaks);
    if (!t.binds) {
        puts("time       not predicted: the machine's ceilings say nothing about this arithmetic");
        return;
    }
    printf(
        "time       %.4g ms, %s binds: %.4g ms at %.4g GFLOP/s (%s), %.4g ms at %.4g GB/s (%s)\n",
        t.predicted_ms, t.binds, t.compute_ms, peaks->gflops.value, source_of(&peaks->gflops),
        t.memory_ms, peaks->gbps.value, source_of(&peaks->gbps));
}

void explain_print(const fattn_explanation *e, const explain_peaks *peaks)
{
    printf("problem    %s\n", e->problem);
    printf("computed   by %s%s%s%s, %d threads\n", e->backend, e->isa[0] ? ", " : "", e->isa,
           strcmp(e->compute, "f16") == 0 ? " in fp16 arithmetic" : "", e->threads);
    printf("work       %lld items (%lld tile, %lld dot) of up to %lld rows, %lld of them of split "
           "keys, %lld merges\n",
           LL(e->items), LL(e->tile_items), LL(e->dot_items), LL(e->item_rows), LL(e->split_items),
           LL(e->merges));
    printf("workspace  %llu bytes\n", (unsigned long long)e->workspace_bytes);
    printf("bytes      query %.0f, keys and values %.0f, mask and bias %.0f, output %.0f\n",
           e->query_bytes, e->kv_bytes, e->mask_bytes, e->output_bytes);
    if (e->kv_read_bytes > 0)
        printf("           keys and values %.0f as often as items read them\n", e->kv_read_bytes);
    printf("flops      %.0f over %.0f visible pairs%s\n", e->flops, e->visible_pairs,
           e->dense_mask ? " (the mask hides some of them)" : "");
    print_time(e, peaks);
    char text[512];
    for (int i = 0; explain_reason(e, i, text, sizeof text); i++)
        if (text[0]) printf("why        %s\n", text);
}

/* ---- JSON ---- */

static json_node *backends_json(const fattn_explanation *e)
{
    json_node *all = json_node_array();
    for (int i = 0; i < e->n_backends; i++) {
        const fattn_backend_answer *b = &e->backends[i];
        json_node *one = json_node_object();
        json_put_text(one, "name", b->name);
        json_put_bool(one, "allowed", b->allowed);
        json_put_bool(one, "accepts", b->accepts);
        json_put_bool(one, "chosen", b->chosen);
        json_put_text(one, "why_not", b->accepts ? NULL : b->why_not);
        json_add(all, one);
    }
    return all;
}

static void put_reading(json_node *object, const char *key, const char *word)
{
    json_put_text(object, key, word[0] ? word : NULL);
}

/* Counts of a call that nobody could make may be larger than any integer. */
static int64_t whole(double count) { return count < 0x1p63 ? (int64_t)count : INT64_MAX; }

static void put_counts(json_node *object, const fattn_explanation *e)
{
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {{"sequences", e->sequences},
                  {"query_rows", e->query_rows},
                  {"items", e->items},
                  {"tile_items", e->tile_items},
                  {"dot_items", e->dot_items},
                  {"split_items", e->split_items},
                  {"merges", e->merges},
                  {"tile_rows", e->tile_rows},
                  {"tile_keys", e->tile_keys},
                  {"item_rows", e->item_rows},
                  {"visible_pairs", whole(e->visible_pairs)},
                  {"flops", whole(e->flops)},
                  {"query_bytes", whole(e->query_bytes)},
                  {"kv_bytes", whole(e->kv_bytes)},
                  {"mask_bytes", whole(e->mask_bytes)},
                  {"output_bytes", whole(e->output_bytes)},
                  {"kv_read_bytes", whole(e->kv_read_bytes)},
                  {"workspace_bytes", (int64_t)e->workspace_bytes},
                  {"dot_below", e->dot_below},
                  {"dot_sequences", e->dot_sequences},
                  {"tile_sequences", e->tile_sequences},
                  {"split_keys", e->split_keys},
                  {"split_q_len", e->split_q_len},
                  {"split_sequences", e->split_sequences},
                  {"many_rows", e->many_rows},
                  {"one_split", e->one_split}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        json_put_int(object, counts[i].key, counts[i].value);
}

static void put_figures(json_node *object, const fattn_explanation *e, const explain_peaks *peaks)
{
    const explain_time t = explain_predict(e, peaks);
    const struct {
        const char *key;
        double value;
    } figures[] = {{"peak_gflops", peaks->gflops.value > 0 ? peaks->gflops.value : NAN},
                   {"peak_gbps", peaks->gbps.value > 0 ? peaks->gbps.value : NAN},
                   {"compute_ms", t.compute_ms},
                   {"memory_ms", t.memory_ms},
                   {"predicted_ms", t.predicted_ms}};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        json_put_real(object, figures[i].key, figures[i].value);
    json_put_text(object, "binds", t.binds);
    json_put_bool(object, "gflops_given", peaks->gflops.given);
    json_put_bool(object, "gbps_given", peaks->gbps.given);
}

void explain_json(json_node *object, const fattn_explanation *e, const explain_peaks *peaks)
{
    json_put_text(object, "problem", e->problem);
    json_put_text(object, "backend", e->backend);
    json_put_text(object, "isa", e->isa[0] ? e->isa : NULL);
    json_put_text(object, "compute", e->compute[0] ? e->compute : NULL);
    json_put_int(object, "threads", e->threads);
    json_put_bool(object, "dense_mask", e->dense_mask);
    put_counts(object, e);
    put_figures(object, e, peaks);
    put_reading(object, "tile_keys_read", e->tile_reads.keys);
    put_reading(object, "tile_values_read", e->tile_reads.values);
    put_reading(object, "dot_keys_read", e->dot_reads.keys);
    put_reading(object, "dot_values_read", e->dot_reads.values);
    json_put(object, "backends", backends_json(e));
    json_node *reasons = json_node_array();
    char text[512];
    for (int i = 0; explain_reason(e, i, text, sizeof text); i++)
        if (text[0]) json_add_text(reasons, text);
    json_put(object, "reasons", reasons);
}
