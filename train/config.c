/* SPDX-License-Identifier: Apache-2.0 */
/* config.c — config.json through jansson. */
#include "config.h"

#include <jansson.h>
#include <stdio.h>

bool config_check(const config *c, char *error, size_t size)
{
    enum { HEAD_DIM_MAX = 512 };
    const int heads = c->num_attention_heads, kv = c->num_key_value_heads;
    const bool positive = c->hidden_size > 0 && c->num_hidden_layers > 0 && heads > 0 && kv > 0 &&
                          c->intermediate_size > 0 && c->vocab_size > 1 &&
                          c->max_position_embeddings > 0;
    if (!positive)
        snprintf(error, size, "every size of a model must be positive");
    else if (c->hidden_size % heads != 0 || config_head_dim(c) % 2 != 0)
        snprintf(error, size, "hidden_size %d is not an even multiple of %d heads", c->hidden_size,
                 heads);
    else if (heads % kv != 0)
        snprintf(error, size, "%d key/value heads do not divide %d heads", kv, heads);
    else if (config_head_dim(c) > HEAD_DIM_MAX)
        snprintf(error, size, "a head has %d columns; at most %d", config_head_dim(c), HEAD_DIM_MAX);
    else
        return true;
    return false;
}

bool config_write(const config *c, const char *dir, char *error, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *root = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:s, s:s, s:b, s:b, s:n, s:n}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_size", c->hidden_size,
        "num_hidden_layers", c->num_hidden_layers, "num_attention_heads", c->num_attention_heads,
        "num_key_value_heads", c->num_key_value_heads, "intermediate_size", c->intermediate_size,
        "vocab_size", c->vocab_size, "max_position_embeddings", c->max_position_embeddings,
        "rms_norm_eps", c->rms_norm_eps, "rope_theta", c->rope_theta, "tie_word_embeddings", 0,
        "hidden_act", "silu", "torch_dtype", "float32", "attention_bias", 0, "mlp_bias", 0,
        "bos_token_id", "eos_token_id");
    const bool fine = root && json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
    json_decref(root);
    if (!fine) snprintf(error, size, "%s: cannot be written", path);
    return fine;
}

static int integer(const json_t *root, const char *name, int otherwise)
{
    const json_t *value = json_object_get(root, name);
    return json_is_integer(value) ? (int)json_integer_value(value) : otherwise;
}

static double number(const json_t *root, const char *name, double otherwise)
{
    const json_t *value = json_object_get(root, name);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

bool config_read(config *c, const char *dir, char *error, size_t size)
{
    char path[4096], why[200];
    json_error_t bad;
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *root = json_load_file(path, 0, &bad);
    if (!root) {
        snprintf(error, size, "%s: %s", path, bad.text);
        return false;
    }
    const int heads = integer(root, "num_attention_heads", 0);
    *c = (config){
        .hidden_size = integer(root, "hidden_size", 0),
        .num_hidden_layers = integer(root, "num_hidden_layers", 0),
        .num_attention_heads = heads,
        .num_key_value_heads = integer(root, "num_key_value_heads", heads),
        .intermediate_size = integer(root, "intermediate_size", 0),
        .vocab_size = integer(root, "vocab_size", 0),
        .max_position_embeddings = integer(root, "max_position_embeddings", 0),
        .rms_norm_eps = number(root, "rms_norm_eps", 1e-5),
        .rope_theta = number(root, "rope_theta", 10000),
    };
    json_decref(root);
    if (config_check(c, why, sizeof why)) return true;
    snprintf(error, size, "%s: %s", path, why);
    return false;
}
