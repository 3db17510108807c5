/* SPDX-License-Identifier: Apache-2.0 */
/* train.h — one training run from options to files. */
#ifndef FATTN_TRAIN_TRAIN_H
#define FATTN_TRAIN_TRAIN_H

#include <signal.h>
#include <stdio.h>

#include "adamw.h"
#include "corpus.h"
#include "llama.h"

typedef struct train_options {
    const char *text;    /* NULL = the default text */
    const char *out_dir; /* config.json, tokenizer.json, model.safetensors, checkpoint.safetensors */
    const char *csv, *plot; /* NULL = none */
    config shape; /* vocab_size: how many tokens to learn, 256 = bytes */
    int steps, batch, length, warmup, eval_every, checkpoint_every; /* every 0 = at the end */
    double lr, weight_decay, clip, keep_prob;
    uint64_t seed;
    bool resume, quiet;
    attention_way way;
    fattn_context *context;
    const volatile sig_atomic_t *stop; /* set: finish the step, write a checkpoint, end */
} train_options;

typedef struct train_report {
    int steps; /* done, those before a resume included */
    size_t parameters, train_tokens, held_bytes;
    double loss;              /* of the last step, nats per token */
    double bits_per_byte;     /* of the held-out text; NaN when stopped before the end */
    double tokens_per_second; /* best of the steps */
    bool stopped;
} train_report;

typedef enum train_code { TRAIN_OK, TRAIN_FAIL, TRAIN_BAD_DATA } train_code;

/* The options that are a good start for a few minutes on two cores. */
train_options train_defaults(void);
/* On failure one sentence in `error`. */
train_code train_run(const train_options *o, train_report *report, char *error, size_t size);

/* Bits per byte of the held-out text: windows of the model's length, each token predicted once, with at
 * least half a window before it. The model's batch and length are used. */
double train_bits_per_byte(llama *m, const corpus *c);

#endif
