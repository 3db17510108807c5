/* SPDX-License-Identifier: Apache-2.0 */
/* corpus.c — files are data from outside: every refusal names the file and the reason. */
#include "corpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights.h"

enum { LEAST_BYTES = 2000 };
static const char default_text[] = "bible -f gen1:1-rev22:21 2>/dev/null";
static const char default_name[] = "the default text";

static bool read_all(FILE *file, corpus *c)
{
    size_t room = 0;
    for (;;) {
        if (c->n == room) {
            room = room ? room * 2 : 1 << 20;
            uint8_t *more = realloc(c->text, room);
            if (!more) return false;
            c->text = more;
        }
        const size_t got = fread(c->text + c->n, 1, room - c->n, file);
        c->n += got;
        if (got == 0) return !ferror(file);
    }
}

static bool check_text(const corpus *c, const char *name, char *error, size_t size)
{
    const uint8_t *zero = c->n ? memchr(c->text, 0, c->n) : NULL;
    if (c->n == 0)
        snprintf(error, size, "%s: is empty", name);
    else if (zero)
        snprintf(error, size, "%s: is no text: byte %zu is 0", name, (size_t)(zero - c->text));
    else if (c->n < LEAST_BYTES)
        snprintf(error, size, "%s: %zu bytes are too few to learn from; at least %d", name, c->n,
                 LEAST_BYTES);
    else
        return true;
    return false;
}

bool corpus_read(corpus *c, const char *path, char *error, size_t size)
{
    const char *name = path ? path : default_name;
    *c = (corpus){0};
    FILE *file = path ? fopen(path, "rb") : popen(default_text, "r");
    if (!file) {
        snprintf(error, size, "%s: %s", name, strerror(errno));
        return false;
    }
    bool fine = read_all(file, c);
    const int status = path ? fclose(file) : pclose(file);
    if (!path && (status != 0 || c->n == 0)) {
        snprintf(error, size, "there is no --text, and the default text is not there: install "
                              "Debian's package bible-kjv, or give --text FILE");
        fine = false;
    } else if (!fine) {
        snprintf(error, size, "%s: cannot be read", name);
    }
    fine = fine && check_text(c, name, error, size);
    c->split = c->n - c->n / 10;
    while (fine && c->split > c->n / 2 && c->text[c->split - 1] != '\n') c->split--;
    if (!fine) corpus_free(c);
    return fine;
}

static int32_t *encode(const bpe *b, const uint8_t *text, size_t n, size_t *count)
{
    *count = bpe_encode(b, text, n, NULL);
    int32_t *tokens = malloc((*count + 1) * sizeof *tokens);
    if (tokens) bpe_encode(b, text, n, tokens);
    return tokens;
}

bool corpus_encode(corpus *c, const bpe *b)
{
    c->tokens = encode(b, c->text, c->split, &c->n_tokens);
    c->held = encode(b, c->text + c->split, c->n - c->split, &c->n_held);
    return c->tokens && c->held;
}

void corpus_free(corpus *c)
{
    free(c->text), free(c->tokens), free(c->held);
    *c = (corpus){0};
}

void corpus_batch(const corpus *c, uint64_t seed, int step, int batch, int length, int32_t *tokens,
                  int32_t *targets)
{
    const double places = (double)(c->n_tokens - (size_t)length);
    for (int b = 0; b < batch; b++) {
        const uint64_t index = (uint64_t)step * (uint64_t)batch + (uint64_t)b;
        const size_t at = (size_t)(random_uniform(seed + 1, index) * places);
        memcpy(tokens + (size_t)b * (size_t)length, c->tokens + at, (size_t)length * sizeof *tokens);
        memcpy(targets + (size_t)b * (size_t)length, c->tokens + at + 1,
               (size_t)length * sizeof *tokens);
    }
}
