/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c — what the multiply-adds of this machine can do at most: PROBE_CHAINS independent chains
 * on registers, enough to hide the latency. */
#include "../kernels.h"
#include "../simd/vec.h"

double ISA(fma_probe)(int64_t n);

double ISA(fma_probe)(int64_t n)
{
    /* Unknown to the compiler, and wanted by somebody. */
    volatile float start = 1.0f, factor = 0.999f, sink;
    const vf x = v_dup(factor), y = v_dup(start - factor);
    float io[PROBE_CHAINS * VL], sum = 0;
    vf acc[PROBE_CHAINS];
    for (int i = 0; i < PROBE_CHAINS * VL; i++) io[i] = start;
    UNROLL for (int i = 0; i < PROBE_CHAINS; i++) acc[i] = v_load(io + i * VL);

    for (int64_t round = 0; round < n; round++)
        UNROLL for (int i = 0; i < PROBE_CHAINS; i++) acc[i] = v_fma(acc[i], x, y);

    UNROLL for (int i = 0; i < PROBE_CHAINS; i++) v_store(io + i * VL, acc[i]);
    for (int i = 0; i < PROBE_CHAINS * VL; i++) sum += io[i];
    sink = sum;
    (void)sink;
    return 2.0 * PROBE_CHAINS * VL * (double)MUTANT(52, n, n - 1);
}
