/* SPDX-License-Identifier: Apache-2.0 */
/* bpe.c — training counts every distinct word once, with its frequency, and keeps the counts of all pairs
 * up to date as words change; encoding merges the pair of the lowest token number first. */
#include "bpe_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"

/* ---- words --------------------------------------------------------------------------------------
 */

static bool is_letter(uint8_t c)
{
    return c >= 0x80 || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_mark(uint8_t c) { return !is_letter(c) && !is_digit(c) && !is_space(c); }

static size_t suffix_length(const uint8_t *text, size_t n)
{
    static const char *const suffixes[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const size_t length = strlen(suffixes[i]);
        if (length <= n && memcmp(text, suffixes[i], length) == 0) return length;
    }
    return 0;
}

static size_t run_of(const uint8_t *text, size_t n, bool (*is)(uint8_t c))
{
    size_t i = 0;
    while (i < n && is(text[i])) i++;
    return i;
}

/* The word that the text begins with; n > 0. */
static size_t word_length(const uint8_t *text, size_t n)
{
    static bool (*const kinds[])(uint8_t c) = {is_letter, is_digit, is_mark};
    const size_t suffix = suffix_length(text, n), space = text[0] == ' ';
    if (suffix) return suffix;
    for (int k = 0; k < 3; k++) {
        const size_t run = run_of(text + space, n - space, kinds[k]);
        if (run) return space + run;
    }
    const size_t white = run_of(text, n, is_space);
    return white < n && white > 1 ? white - 1 : white; /* the last one belongs to what follows */
}

/* ---- the table ----------------------------------------------------------------------------------
 */

void bpe_free(bpe *b)
{
    if (!b) return;
    for (int i = 0; i < b->size; i++) free(b->pieces[i].bytes);
    free(b->pieces), free(b->merged), free(b);
}

bpe *bpe_new(int room)
{
    bpe *b = calloc(1, sizeof *b);
    if (b) b->pieces = calloc((size_t)room, sizeof *b->pieces);
    if (b) b->room = room;
    for (int i = 0; b && b->pieces && i < BYTES; i++) {
        b->pieces[i] = (bpe_piece){-1, -1, malloc(1), 1};
        b->size = i + 1;
        if (!b->pieces[i].bytes) break;
        b->pieces[i].bytes[0] = (uint8_t)i;
    }
    if (b && b->size == BYTES && b->pieces[BYTES - 1].bytes) return b;
    bpe_free(b);
    return NULL;
}

bool bpe_merge(bpe *b, int32_t left, int32_t right)
{
    const bpe_piece *l = &b->pieces[left], *r = &b->pieces[right];
    uint8_t *bytes = malloc(l->n + r->n);
    if (!bytes || b->size == b->room) {
        free(bytes);
        return false;
    }
    memcpy(bytes, l->bytes, l->n);
    memcpy(bytes + l->n, r->bytes, r->n);
    b->pieces[b->size++] = (bpe_piece){left, right, bytes, l->n + r->n};
    return true;
}

bool bpe_finish(bpe *b)
{
    b->merged = calloc((size_t)b->size * (size_t)b->size, sizeof *b->merged);
    for (int i = BYTES; b->merged && i < b->size; i++)
        b->merged[b->pieces[i].left * b->size + b->pieces[i].right] = i;
    return b->merged != NULL;
}

int bpe_vocab_size(const bpe *b) { return b->size; }

const uint8_t *bpe_token(const bpe *b, int32_t token, size_t *n)
{
    *n = b->pieces[token].n;
    return b->pieces[token].bytes;
}

/* ---- training -----------------------------------------------------------------------------------
 */

typedef struct word {
    const uint8_t *text; /* in the training text */
    int32_t *tokens;
    int n, bytes;
    int64_t count;
} word;

typedef struct trainer {
    word *words;
    size_t n_words, room;
    size_t *slots; /* hash table of indices into words, + 1 */
    size_t n_slots;
    int64_t *pairs; /* [vocab][vocab] how often (left, right) occurs */
    int vocab;
} trainer;

static uint64_t hash_of(const uint8_t *text, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ text[i]) * UINT64_C(0x100000001b3);
    return h;
}

static bool rehash(trainer *t)
{
    free(t->slots);
    t->n_slots = t->room * 2;
    t->slots = calloc(t->n_slots, sizeof *t->slots);
    for (size_t i = 0; t->slots && i < t->n_words; i++) {
        size_t at = hash_of(t->words[i].text, (size_t)t->words[i].bytes) % t->n_slots;
        while (t->slots[at]) at = (at + 1) % t->n_slots;
        t->slots[at] = i + 1;
    }
    return t->slots != NULL;
}

static bool count_word(trainer *t, const uint8_t *text, size_t n)
{
    if (t->n_words == t->room) {
        t->room = t->room ? t->room * 2 : 1 << 14;
        word *more = realloc(t->words, t->room * sizeof *more);
        if (!more) return false;
        t->words = more;
        if (!rehash(t)) return false;
    }
    size_t at = hash_of(text, n) % t->n_slots;
    for (; t->slots[at]; at = (at + 1) % t->n_slots) {
        word *known = &t->words[t->slots[at] - 1];
        if ((size_t)known->bytes != n || memcmp(known->text, text, n) != 0) continue;
        known->count++;
        return true;
    }
    word *w = &t->words[t->n_words];
    *w = (word){.text = text, .n = (int)n, .bytes = (int)n, .count = 1};
    w->tokens = malloc(n * sizeof *w->tokens);
    if (!w->tokens) return false;
    for (size_t i = 0; i < n; i++) w->tokens[i] = text[i];
    t->slots[at] = ++t->n_words;
    return true;
}

/* Adds (sign 1) or takes back the pairs of a word. */
static void count_pairs(trainer *t, const word *w, int sign)
{
    for (int i = 0; i + 1 < w->n; i++)
        t->pairs[(size_t)w->tokens[i] * (size_t)t->vocab + (size_t)w->tokens[i + 1]] +=
            sign * w->count;
}

static bool most_frequent(const trainer *t, int size, int32_t *left, int32_t *right)
{
    int64_t best = 1; /* a pair that occurs once is no pattern */
    for (int l = 0; l < size; l++) {
        const int64_t *row = t->pairs + (size_t)l * (size_t)t->vocab;
        for (int r = 0; r < size; r++)
            if (row[r] > best || MUTANT(194, false, row[r] == best)) best = row[r], *left = l, *right = r;
    }
    return best > 1;
}

static int replace_pair(int32_t *tokens, int n, int32_t left, int32_t right, int32_t by)
{
    int to = 0;
    for (int i = 0; i < n; i++) {
        const bool pair = i + 1 < n && tokens[i] == left && tokens[i + 1] == right;
        tokens[to++] = pair ? by : tokens[i];
        i += pair;
    }
    return to;
}

static void merge_everywhere(trainer *t, int32_t left, int32_t right, int32_t by)
{
    for (size_t i = 0; i < t->n_words; i++) {
        word *w = &t->words[i];
        bool has = false;
        for (int k = 0; k + 1 < w->n && !has; k++)
            has = w->tokens[k] == left && w->tokens[k + 1] == right;
        if (!has) continue;
        count_pairs(t, w, -1);
        w->n = replace_pair(w->tokens, w->n, left, right, by);
        count_pairs(t, w, 1);
    }
}

static bool learn(trainer *t, bpe *b, const uint8_t *text, size_t n)
{
    for (size_t at = 0, length; at < n; at += length) {
        length = word_length(text + at, n - at);
        if (!count_word(t, text + at, length)) return false;
    }
    t->pairs = calloc((size_t)t->vocab * (size_t)t->vocab, sizeof *t->pairs);
    if (!t->pairs) return false;
    for (size_t i = 0; i < t->n_words; i++) count_pairs(t, &t->words[i], 1);
    int32_t left = 0, right = 0;
    while (b->size < t->vocab && most_frequent(t, b->size, &left, &right)) {
        if (!bpe_merge(b, left, right)) return false;
        merge_everywhere(t, left, right, b->size - 1);
    }
    return true;
}

bpe *bpe_train(const uint8_t *text, size_t n, int vocab_size)
{
    trainer t = {.vocab = vocab_size < BYTES ? BYTES : vocab_size};
    bpe *b = t.vocab <= VOCAB_MAX ? bpe_new(t.vocab) : NULL;
    const bool fine = b && learn(&t, b, text, n) && bpe_finish(b);
    for (size_t i = 0; i < t.n_words; i++) free(t.words[i].tokens);
    free(t.words), free(t.slots), free(t.pairs);
    if (fine) return b;
    bpe_free(b);
    return NULL;
}

/* ---- encoding -----------------------------------------------------------------------------------
 */

/* Merges a word's bytes in place of tokens; returns how many are left. */
static int encode_word(const bpe *b, int32_t *tokens, int n)
{
    for (;;) {
        int32_t best = 0;
        for (int i = 0; i + 1 < n; i++) {
            const int32_t m = b->merged[tokens[i] * b->size + tokens[i + 1]];
            if (m && (!best || m < best)) best = m;
        }
        if (!best) return n;
        n = replace_pair(tokens, n, b->pieces[best].left, b->pieces[best].right, best);
    }
}

size_t bpe_encode(const bpe *b, const uint8_t *text, size_t n, int32_t *tokens)
{
    enum { CHUNK = 256 }; /* longer words are encoded in pieces */
    size_t count = 0;
    for (size_t at = 0, length; at < n; at += length) {
        int32_t part[CHUNK];
        length = word_length(text + at, n - at);
        if (length > CHUNK) length = CHUNK;
        for (size_t i = 0; i < length; i++) part[i] = text[at + i];
        const int got = encode_word(b, part, (int)length);
        if (tokens) memcpy(tokens + count, part, (size_t)got * sizeof *part);
        count += (size_t)got;
    }
    return count;
}
