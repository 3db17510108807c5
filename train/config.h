/* SPDX-License-Identifier: Apache-2.0 */
/* config.h — the shape of a model, under the names of Hugging Face's LlamaForCausalLM, and config.json. */
#ifndef FATTN_TRAIN_CONFIG_H
#define FATTN_TRAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

typedef struct config {
    int hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads;
    int intermediate_size, vocab_size, max_position_embeddings;
    double rms_norm_eps, rope_theta;
} config;

/* Columns of a head. */
static inline int config_head_dim(const config *c)
{
    return c->hidden_size / c->num_attention_heads;
}

/* A sentence in `error` when the numbers cannot be a model. */
bool config_check(const config *c, char *error, size_t size);

/* DIR/config.json. Needs jansson (config_none.c without). */
bool config_write(const config *c, const char *dir, char *error, size_t size);
bool config_read(config *c, const char *dir, char *error, size_t size);

#endif
