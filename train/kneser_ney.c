/* SPDX-License-Identifier: Apache-2.0 */
/* kneser_ney.c — n-grams as numbers of n bytes, sorted. The highest order has counts; lower ones count in
 * how many different places an n-gram continues, that is, how many (n+1)-grams end in it. */
#include "kneser_ney.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"

typedef struct gram {
    uint64_t code; /* bytes, the first one highest */
    uint32_t count;
} gram;

typedef struct order {
    gram *grams; /* ascending */
    size_t n;
    double discount;
} order;

struct kneser_ney {
    order orders[KN_ORDER + 1]; /* by length */
};

static int by_code(const void *a, const void *b)
{
    const uint64_t x = ((const gram *)a)->code, y = ((const gram *)b)->code;
    return (x > y) - (x < y);
}

/* Sorts and adds up equal ones. */
static void collect(order *o)
{
    size_t to = 0;
    qsort(o->grams, o->n, sizeof *o->grams, by_code);
    for (size_t i = 0; i < o->n; i++) {
        if (to > 0 && o->grams[to - 1].code == o->grams[i].code)
            o->grams[to - 1].count += o->grams[i].count;
        else
            o->grams[to++] = o->grams[i];
    }
    o->n = to;
}

/* n1 / (n1 + 2 n2): what a count must lose (Ney, Essen & Kneser 1994). */
static double discount_of(const order *o)
{
    double once = 0, twice = 0;
    for (size_t i = 0; i < o->n; i++) {
        once += o->grams[i].count == 1;
        twice += o->grams[i].count == 2;
    }
    return once > 0 ? once / (once + MUTANT(192, 2, 1) * twice) : 0.5;
}

static uint64_t low_bytes(uint64_t code, int n) { return code & ((UINT64_C(1) << 8 * n) - 1); }

kneser_ney *kn_train(const uint8_t *text, size_t n)
{
    kneser_ney *k = calloc(1, sizeof *k);
    if (!k || n < KN_ORDER) {
        free(k);
        return NULL;
    }
    for (int length = KN_ORDER; length >= 1; length--) {
        order *o = &k->orders[length];
        const order *above = length < KN_ORDER ? &k->orders[length + 1] : NULL;
        o->n = above ? above->n : n - KN_ORDER + 1;
        o->grams = malloc(o->n * sizeof *o->grams);
        if (!o->grams) {
            kn_free(k);
            return NULL;
        }
        uint64_t code = 0;
        for (size_t i = 0; !above && i < n; i++) {
            code = low_bytes(code << 8 | text[i], KN_ORDER);
            if (i + 1 >= KN_ORDER) o->grams[i + 1 - KN_ORDER] = (gram){code, 1};
        }
        for (size_t i = 0; above && i < o->n; i++)
            o->grams[i] = (gram){low_bytes(above->grams[i].code, length), 1};
        collect(o);
        o->discount = discount_of(o);
    }
    return k;
}

void kn_free(kneser_ney *k)
{
    for (int i = 0; k && i <= KN_ORDER; i++) free(k->orders[i].grams);
    free(k);
}

/* First n-gram that is not below `code`. */
static size_t lower_bound(const order *o, uint64_t code)
{
    size_t lo = 0, hi = o->n;
    while (lo < hi) {
        const size_t middle = lo + (hi - lo) / 2;
        if (o->grams[middle].code < code)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

double kn_probability(const kneser_ney *k, const uint8_t *context, size_t n, uint8_t byte)
{
    double p = 1.0 / 256;
    for (int length = 1; length <= KN_ORDER && (size_t)length <= n + 1; length++) {
        const order *o = &k->orders[length];
        uint64_t code = 0;
        for (int i = length - 1; i >= 1; i--) code = code << 8 | context[n - (size_t)i];
        double total = 0, types = 0, own = 0;
        for (size_t i = lower_bound(o, code << 8); i < o->n && o->grams[i].code >> 8 == code; i++) {
            total += o->grams[i].count;
            types++;
            if ((o->grams[i].code & 255) == byte) own = o->grams[i].count;
        }
        if (total == 0) break; /* nobody has seen the context: nor any longer one */
        p = fmax(own - o->discount, 0) / total + o->discount * types / total * p;
    }
    return p;
}

double kn_bits_per_byte(const kneser_ney *k, const uint8_t *text, size_t n)
{
    double bits = 0;
    for (size_t i = 0; i < n; i++) bits -= log2(kn_probability(k, text, i, text[i]));
    return n ? bits / (double)n : 0;
}
