/* SPDX-License-Identifier: Apache-2.0 */
/* bpe_json.c — tokenizer.json. Bytes are spelt as letters there: printable ones as themselves, the others
 * as the characters from U+0100 on, in order. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe_internal.h"

/* What word_length() does, as a regular expression. */
static const char words[] = "'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z\\x{80}-\\x{10FFFF}]+| ?[0-9]+| "
                            "?[^\\t-\\r A-Za-z0-9\\x{80}-\\x{10FFFF}]+|[\\t-\\r ]+(?![^\\t-\\r ])|"
                            "[\\t-\\r ]+";

static int letter_of(int byte)
{
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    if (printable) return byte;
    return byte <= ' '    ? 0x100 + byte
           : byte <= 0xa0 ? 0x100 + 33 + byte - 127
                          : 0x100 + 67; /* 0xad */
}

/* Writes the letters of a piece in UTF-8, none above U+07FF; returns out. */
static char *spell(const bpe_piece *piece, char *out)
{
    char *to = out;
    for (size_t i = 0; i < piece->n; i++) {
        const int letter = letter_of(piece->bytes[i]);
        if (letter < 0x80) {
            *to++ = (char)letter;
        } else {
            *to++ = (char)(0xc0 | letter >> 6);
            *to++ = (char)(0x80 | (letter & 0x3f));
        }
    }
    *to = '\0';
    return out;
}

static json_t *model_of(const bpe *b)
{
    json_t *vocab = json_object(), *merges = json_array();
    size_t longest = 1;
    for (int i = 0; i < b->size; i++) longest = b->pieces[i].n > longest ? b->pieces[i].n : longest;
    char *left = malloc(2 * longest + 1), *right = malloc(2 * longest + 1);
    for (int i = 0; left && right && i < b->size; i++) {
        const bpe_piece *p = &b->pieces[i];
        json_object_set_new(vocab, spell(p, left), json_integer(i));
        if (p->left < 0) continue;
        spell(&b->pieces[p->left], left), spell(&b->pieces[p->right], right);
        json_array_append_new(merges, json_sprintf("%s %s", left, right));
    }
    free(left), free(right);
    return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                     "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                     "byte_fallback", 0, "vocab", vocab, "merges", merges);
}

bool bpe_write(const bpe *b, const char *dir, char *error, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    json_t *level = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                              "trim_offsets", 1, "use_regex", 0);
    json_t *split = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", words,
                              "behavior", "Isolated", "invert", 0);
    json_t *root =
        json_pack("{s:s, s:n, s:n, s:[], s:n, s:{s:s, s:[o, O]}, s:n, s:O, s:o}", "version", "1.0",
                  "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "type",
                  "Sequence", "pretokenizers", split, level, "post_processor", "decoder", level,
                  "model", model_of(b));
    const bool fine = root && json_dump_file(root, path, JSON_COMPACT) == 0;
    json_decref(root), json_decref(level);
    if (!fine) snprintf(error, size, "%s: cannot be written", path);
    return fine;
}

/* The token of a spelling, -1 when there is none. */
static int32_t token_of(const json_t *vocab, const char *spelt, size_t n)
{
    char text[1024];
    if (n >= sizeof text) return -1;
    memcpy(text, spelt, n);
    text[n] = '\0';
    const json_t *id = json_object_get(vocab, text);
    return json_is_integer(id) ? (int32_t)json_integer_value(id) : -1;
}

static bool read_merges(bpe *b, const json_t *vocab, const json_t *merges)
{
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *pair = json_string_value(json_array_get(merges, i));
        const char *gap = pair ? strchr(pair, ' ') : NULL;
        if (!gap) return false;
        const int32_t left = token_of(vocab, pair, (size_t)(gap - pair));
        const int32_t right = token_of(vocab, gap + 1, strlen(gap + 1));
        if (left < 0 || right < 0 || left >= b->size || right >= b->size) return false;
        if (!bpe_merge(b, left, right)) return false;
    }
    return true;
}

/* Our own files: bytes are tokens 0..255, merge i makes token 256 + i. */
static bool is_ours(const bpe *b, const json_t *vocab)
{
    char text[1024];
    for (int i = 0; i < b->size; i++) {
        if (b->pieces[i].n >= sizeof text / 2) return false;
        const json_t *id = json_object_get(vocab, spell(&b->pieces[i], text));
        if (!json_is_integer(id) || json_integer_value(id) != i) return false;
    }
    return json_object_size(vocab) == (size_t)b->size;
}

bpe *bpe_read(const char *dir, char *error, size_t size)
{
    char path[4096];
    json_error_t bad;
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    json_t *root = json_load_file(path, 0, &bad);
    const json_t *model = json_object_get(root, "model");
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    bpe *b = NULL;
    if (!root) {
        snprintf(error, size, "%s: %s", path, bad.text);
    } else {
        const size_t n = json_array_size(merges);
        b = n <= VOCAB_MAX - BYTES ? bpe_new(BYTES + (int)n) : NULL;
        if (!b || !read_merges(b, vocab, merges) || !is_ours(b, vocab) || !bpe_finish(b)) {
            snprintf(error, size, "%s: is not a byte-level BPE whose tokens are bytes, then merges",
                     path);
            bpe_free(b);
            b = NULL;
        }
    }
    json_decref(root);
    return b;
}
