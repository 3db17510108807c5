/* SPDX-License-Identifier: Apache-2.0 */
/* table.c — one row: the kernels of this instruction set and the numbers they were tuned with. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_load_fn, load_f32);
SLOT(fattn_load_fn, load_f16);
SLOT(fattn_load_fn, load_bf16);
SLOT(fattn_load_fn, load_i8);
SLOT(fattn_load_fn, load_e4m3);
SLOT(fattn_load_fn, load_e5m2);
SLOT(fattn_load_fn, load_i4);
SLOT(fattn_pack_fn, pack_f32);
SLOT(fattn_pack_fn, pack_f16);
SLOT(fattn_pack_fn, pack_bf16);
SLOT(fattn_store_fn, store_f32);
SLOT(fattn_store_fn, store_f16);
SLOT(fattn_store_fn, store_bf16);
SLOT(fattn_qk_fn, qk);
SLOT(fattn_edit_fn, edit);
SLOT(fattn_softmax_fn, softmax);
SLOT(fattn_pv_fn, pv);
SLOT(fattn_dot_fn, dot_f32);
SLOT(fattn_dot_fn, dot_f16);
SLOT(fattn_dot_fn, dot_bf16);
SLOT(fattn_dot_fn, dot_i8);
SLOT(fattn_dot_fn, dot_e4m3);
SLOT(fattn_dot_fn, dot_e5m2);
SLOT(fattn_dot_fn, dot_i4);
SLOT(fattn_softmax_rows_fn, softmax_rows);
SLOT(fattn_axpy_fn, axpy_f32);
SLOT(fattn_axpy_fn, axpy_f16);
SLOT(fattn_axpy_fn, axpy_bf16);
SLOT(fattn_axpy_fn, axpy_i8);
SLOT(fattn_axpy_fn, axpy_e4m3);
SLOT(fattn_axpy_fn, axpy_e5m2);
SLOT(fattn_axpy_fn, axpy_i4);
SLOT(fattn_dot_strips_fn, dot_strips_f32);
SLOT(fattn_dot_strips_fn, dot_strips_f16);
SLOT(fattn_dot_strips_fn, dot_strips_bf16);
SLOT(fattn_dot_strips_fn, dot_strips_i8);
SLOT(fattn_dot_strips_fn, dot_strips_e4m3);
SLOT(fattn_dot_strips_fn, dot_strips_e5m2);
SLOT(fattn_dot_strips_fn, dot_strips_i4);
SLOT(fattn_axpy_strips_fn, axpy_strips_f32);
SLOT(fattn_axpy_strips_fn, axpy_strips_f16);
SLOT(fattn_axpy_strips_fn, axpy_strips_bf16);
SLOT(fattn_axpy_strips_fn, axpy_strips_i8);
SLOT(fattn_axpy_strips_fn, axpy_strips_e4m3);
SLOT(fattn_axpy_strips_fn, axpy_strips_e5m2);
SLOT(fattn_axpy_strips_fn, axpy_strips_i4);
SLOT(fattn_affine_fn, affine);
SLOT(fattn_exp2_fn, exp2);
SLOT(fattn_finite_fn, finite);
SLOT(fattn_keep_fn, keep);
SLOT(fattn_drop_fn, drop);
SLOT(fattn_drop_rows_fn, drop_rows);
SLOT(fattn_lane_dot_fn, lane_dot);
SLOT(fattn_grad_fn, grad);
SLOT(fattn_kv_grad_fn, kv_grad);
double ISA(fma_probe)(int64_t n);

extern const fattn_kernels ISA(kernels);

enum { HAS_PAIRS = VL > 1 }; /* of nibbles in a vector */

const fattn_kernels ISA(kernels) = {
    .name = ISA_NAME,
    .lanes = VL,
    .dot_rows = DOT_ROWS + 1,
    .split_keys = 512, /* K and V of a split: 512 KiB at d 128 in fp32, half of a common L2 */
    .panels = 4,       /* widening K and V is then below 1 % of the work */
    .grad_columns = 256, /* then a panel, dK, dV and the tile stay in 1 MiB of L2 */
    .grad_rows = 8192, /* dK and dV of a cut sequence: 8 partial results at most */
    .load = {[KERNEL_F32] = ISA(load_f32),
             [KERNEL_F16] = ISA(load_f16),
             [KERNEL_BF16] = ISA(load_bf16),
             [KERNEL_I8] = ISA(load_i8),
             [KERNEL_E4M3] = ISA(load_e4m3),
             [KERNEL_E5M2] = ISA(load_e5m2),
             [KERNEL_I4] = ISA(load_i4)},
    .pack = {[KERNEL_F32] = ISA(pack_f32),
             [KERNEL_F16] = ISA(pack_f16),
             [KERNEL_BF16] = ISA(pack_bf16)},
    .store = {[KERNEL_F32] = ISA(store_f32),
              [KERNEL_F16] = ISA(store_f16),
              [KERNEL_BF16] = ISA(store_bf16)},
    .qk = ISA(qk),
    .edit = ISA(edit),
    .softmax = ISA(softmax),
    .pv = ISA(pv),
    .dot = {[KERNEL_F32] = ISA(dot_f32),
            [KERNEL_F16] = ISA(dot_f16),
            [KERNEL_BF16] = ISA(dot_bf16),
            [KERNEL_I8] = ISA(dot_i8),
            [KERNEL_E4M3] = ISA(dot_e4m3),
            [KERNEL_E5M2] = ISA(dot_e5m2),
            [KERNEL_I4] = HAS_PAIRS ? ISA(dot_i4) : NULL},
    .softmax_rows = ISA(softmax_rows),
    .axpy = {[KERNEL_F32] = ISA(axpy_f32),
             [KERNEL_F16] = ISA(axpy_f16),
             [KERNEL_BF16] = MUTANT(60, ISA(axpy_bf16), ISA(axpy_f16)),
             [KERNEL_I8] = ISA(axpy_i8),
             [KERNEL_E4M3] = ISA(axpy_e4m3),
             [KERNEL_E5M2] = ISA(axpy_e5m2),
             [KERNEL_I4] = HAS_PAIRS ? ISA(axpy_i4) : NULL},
    .dot_strips = {[KERNEL_F32] = ISA(dot_strips_f32),
                   [KERNEL_F16] = ISA(dot_strips_f16),
                   [KERNEL_BF16] = ISA(dot_strips_bf16),
                   [KERNEL_I8] = ISA(dot_strips_i8),
                   [KERNEL_E4M3] = ISA(dot_strips_e4m3),
                   [KERNEL_E5M2] = ISA(dot_strips_e5m2),
                   [KERNEL_I4] = HAS_PAIRS ? ISA(dot_strips_i4) : NULL},
    .axpy_strips = {[KERNEL_F32] = ISA(axpy_strips_f32),
                    [KERNEL_F16] = ISA(axpy_strips_f16),
                    [KERNEL_BF16] = ISA(axpy_strips_bf16),
                    [KERNEL_I8] = ISA(axpy_strips_i8),
                    [KERNEL_E4M3] = ISA(axpy_strips_e4m3),
                    [KERNEL_E5M2] = ISA(axpy_strips_e5m2),
                    [KERNEL_I4] = HAS_PAIRS ? ISA(axpy_strips_i4) : NULL},
    .affine = ISA(affine),
    .exp2 = ISA(exp2),
    .finite = ISA(finite),
    .keep = ISA(keep),
    .drop = ISA(drop),
    .drop_rows = ISA(drop_rows),
    .lane_dot = ISA(lane_dot),
    .grad = ISA(grad),
    .kv_grad = ISA(kv_grad),
    .fma_probe = ISA(fma_probe),
};
