/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.c — a stranger's program: one head, two queries, three keys, causal from the right.
 * The expected values are the hand-computed ones of the family's documents (D = 2, scale 0.5). */
#include <fattn/fattn.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    float q[] = {1, 0, .5f, .5f}, k[] = {1, 0, 0, 1, 1, 1}, v[] = {1, 2, 3, 4, 5, 6}, out[4] = {0};
    const float want[] = {1.755081f, 2.755081f, 3.172974f, 4.172974f};
    const int64_t rows[] = {1, 1, 2, 2}, keys[] = {1, 1, 3, 2};
    const fattn_tensor tq = fattn_tensor_contiguous(q, FATTN_F32, 4, rows);
    const fattn_tensor tk = fattn_tensor_contiguous(k, FATTN_F32, 4, keys);
    const fattn_tensor tv = fattn_tensor_contiguous(v, FATTN_F32, 4, keys);
    const fattn_tensor to = fattn_tensor_contiguous(out, FATTN_F32, 4, rows);

    fattn_fusion_attention_args args;
    fattn_fusion_attention_args_init(&args);
    args.query = &tq;
    args.key = &tk;
    args.value = &tv;
    args.attention_out = &to;
    args.head_num = 1;
    args.input_layout = "BNSD";
    args.scale = 0.5;
    args.sparse_mode = 3;

    if (strcmp(fattn_version(), FATTN_VERSION_STRING) != 0) {
        fprintf(stderr, "header %s, library %s\n", FATTN_VERSION_STRING, fattn_version());
        return 1;
    }
    if (fattn_fusion_attention(NULL, &args) != FATTN_OK) {
        fprintf(stderr, "%s\n", fattn_error_message());
        return 1;
    }
    for (int i = 0; i < 4; i++)
        if (!(fabsf(out[i] - want[i]) < 2e-6f)) {
            fprintf(stderr, "out[%d] = %g, not %g\n", i, (double)out[i], (double)want[i]);
            return 1;
        }
    args.value = NULL;
    if (fattn_fusion_attention(NULL, &args) == FATTN_OK || fattn_error_message()[0] == '\0')
        return 1;
    puts("consumer: fine");
    return 0;
}
