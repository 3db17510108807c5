/* SPDX-License-Identifier: Apache-2.0 */
/* draw_quant.c — quantised keys and values with their scales, an int8 query, and 8-bit results. */
#include <string.h>

#include "drawing.h"

static bool divisible(const drawing *g, int64_t by) { return g->d % by == 0 && g->dv % by == 0; }

/* What key and value are stored in; after everything else about them is drawn. */
void draw_quant(drawing *g)
{
    g->kv_dtype = g->dtype;
    if (g->training) return;
    const bool full = !g->decode && !g->rope && !g->v2 && chance(g, 5);
    if (full) {
        g->quant = QUANTISED_ALL;
        g->dtype = g->kv_dtype = "i8";
        feature(g, "int8 query");
    } else if (!g->prompt && chance(g, 22)) {
        const bool packs = divisible(g, 8) && !(g->paged && !g->cache) &&
                           !(g->cache && strcmp(g->cache, "NZ") == 0);
        g->quant = QUANTISED_KV;
        g->kv_dtype =
            packs ? PICK(g, "i8", "i4", "i4", "i4", "e4m3", "e5m2") : PICK(g, "i8", "i8", "e4m3", "e5m2");
        feature(g, "keys %s", g->kv_dtype);
    }
    g->out_quant = chance(g, 12);
}

static const char *scale_dtype(drawing *g) { return PICK(g, "f32", "f16", "bf16"); }

/* Scales of one side in a mode; `lead` is "2," in the combined style. */
static void put_side(drawing *g, const char *name, int mode, const char *dtype, const char *lead,
                     int64_t d)
{
    int64_t keys = g->skv;
    for (int64_t i = 0; g->packed && i < g->b; i++)
        keys = g->kv_len[i] > keys ? g->kv_len[i] : keys;
    keys += g->shared;
    put(g, " %s=%s[%s", name, dtype, lead);
    if (mode == 0 && g->one_scale) put(g, "1]");
    if (mode == 0 && !g->one_scale) put(g, "%lld,1,%lld]", (long long)g->nkv, (long long)d);
    if (mode == 1) put(g, "%lld,%lld]", (long long)g->b, (long long)keys);
    if (mode == 2) put(g, "%lld]", (long long)g->nkv);
    if (mode == 3) put(g, "%lld,%lld,%lld]", (long long)g->b, (long long)g->nkv, (long long)keys);
    if (mode == 4) put(g, "%lld,%lld]", (long long)g->blocks, (long long)g->block_rows);
    if (mode == 5)
        put(g, "%lld,%lld,%lld]", (long long)g->blocks, (long long)g->nkv,
            (long long)g->block_rows);
}

static int draw_quant_mode(drawing *g)
{
    const bool pages = g->cache && !g->has_shared;
    return (int)between(g, 0, pages ? 5 : 3);
}

static void put_separate(drawing *g)
{
    const bool offsets = chance(g, 35);
    const char *const sides[2] = {g->v2 ? "key" : "key_antiquant",
                                  g->v2 ? "value" : "value_antiquant"};
    const int first = draw_quant_mode(g);
    for (int side = 0; side < 2; side++) {
        const int mode = side == 0 || chance(g, 70) ? first : draw_quant_mode(g);
        const char *dtype = scale_dtype(g);
        const int64_t d = side ? g->dv : g->d;
        char name[48];
        snprintf(name, sizeof name, g->v2 ? "dequant_scale_%s" : "%s_scale", sides[side]);
        put_side(g, name, mode, dtype, "", d);
        snprintf(name, sizeof name, g->v2 ? "dequant_offset_%s" : "%s_offset", sides[side]);
        if (offsets) put_side(g, name, mode, dtype, "", d);
        put(g, g->v2 ? " %s_quant_mode=%d" : " %s_mode=%d", sides[side], mode);
        feature(g, "antiquant mode %d", mode);
    }
    if (offsets) feature(g, "antiquant offset");
}

/* Axis 0 is key, value: one head dim. incre has no word for the mode: one scale where [2,Nkv,1,D] could be
 * one per key as well. */
static void put_combined(drawing *g)
{
    const char *dtype = scale_dtype(g);
    g->one_scale |= g->d != g->dv || (g->decode && g->b == 1 && g->nkv == 1);
    put_side(g, "antiquant_scale", 0, dtype, "2,", g->d);
    if (chance(g, 35)) put_side(g, "antiquant_offset", 0, dtype, "2,", g->d);
    feature(g, "antiquant combined");
}

void put_quant(drawing *g)
{
    g->one_scale = chance(g, 25);
    if (g->quant == QUANTISED_KV && (g->decode || (g->v1 && chance(g, 25))))
        put_combined(g);
    else if (g->quant == QUANTISED_KV)
        put_separate(g);
    if (g->quant == QUANTISED_ALL)
        put(g,
            g->prompt ? " deq_scale1=%s[1] quant_scale1=f32[1] deq_scale2=%s[1]"
                      : " dequant_scale1=%s[1] quant_scale1=f32[1] dequant_scale2=%s[1]",
            "f32", "f32");
    if (!g->out_quant) return;
    const char *dtype = scale_dtype(g);
    const int64_t n = chance(g, 50) ? 1 : g->n * g->dv;
    put(g, " %s=%s[%lld]", g->v2 ? "quant_scale_out" : "quant_scale2", dtype, (long long)n);
    if (chance(g, 50))
        put(g, " %s=%s[%lld]", g->v2 ? "quant_offset_out" : "quant_offset2", dtype, (long long)n);
    if (g->v2 && chance(g, 40)) put(g, " out_dtype=%s", PICK(g, "1", "23", "24"));
    feature(g, "8-bit output");
}
