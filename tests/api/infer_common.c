/* SPDX-License-Identifier: Apache-2.0 */
/* infer_common.c — see infer_common.h. */
#include "api/infer_common.h"

int infer_setup(void **state)
{
    (void)state;
    harness_reset();
    return 0;
}

infer_case *anchor_case(which op, int first_row, int rows)
{
    static const double q[2][2] = {{1, 0}, {0.5, 0.5}};
    static const double k[3][2] = {{1, 0}, {0, 1}, {1, 1}}, v[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    infer_case *c = padded_case(op, "BNSD", FATTN_F32, 1, 1, 1, rows, 3, 2, 2);
    for (int x = 0; x < 2; x++) {
        for (int i = 0; i < rows; i++) put4(c->a.query, 0, 0, i, x, q[first_row + i][x]);
        for (int j = 0; j < 3; j++) {
            put4(c->a.key, 0, 0, j, x, k[j][x]);
            put4(c->a.value, 0, 0, j, x, v[j][x]);
        }
    }
    c->a.scale = 0.5;
    return c;
}

void expect_anchor(infer_case *c, const double out[][2], const double *lse, const char *what)
{
    EXPECT_OK(call_infer(c), "%s", what);
    for (int i = 0; i < c->sq; i++) {
        for (int x = 0; x < 2; x++)
            if (!(fabs(out_at(c, 0, 0, i, x) - out[i][x]) < 1e-6))
                fail_msg("%s: out[%d][%d] is %.7f, not %.7f", what, i, x, out_at(c, 0, 0, i, x),
                         out[i][x]);
        if (lse && c->op == FUSED && !(fabs(get4(c->a.softmax_lse, 0, 0, i, 0) - lse[i]) < 1e-6))
            fail_msg("%s: lse[%d] is %.7f, not %.7f", what, i, get4(c->a.softmax_lse, 0, 0, i, 0),
                     lse[i]);
    }
}

fattn_tensor *causal_mask_2048(void)
{
    fattn_tensor *mask = tensor_new(FATTN_I8, 0, 2, 2048, 2048);
    for (int i = 0; i < 2048; i++)
        for (int j = i + 1; j < 2048; j++) put2(mask, i, j, 1);
    return mask;
}
