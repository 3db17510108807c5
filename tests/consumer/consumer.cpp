// SPDX-License-Identifier: Apache-2.0
// consumer.cpp — the same headers seen by C++17: merge of two partial results (lse 0.5 and 1.5).
#include <fattn/fattn.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>

int main()
{
    std::array<float, 1> lse0{0.5f}, lse1{1.5f}, lse_out{};
    std::array<float, 8> ones{}, threes{}, out{};
    ones.fill(1);
    threes.fill(3);
    const std::int64_t rows[] = {1}, matrix[] = {1, 8};
    const fattn_tensor l0 = fattn_tensor_contiguous(lse0.data(), FATTN_F32, 1, rows);
    const fattn_tensor l1 = fattn_tensor_contiguous(lse1.data(), FATTN_F32, 1, rows);
    const fattn_tensor o0 = fattn_tensor_contiguous(ones.data(), FATTN_F32, 2, matrix);
    const fattn_tensor o1 = fattn_tensor_contiguous(threes.data(), FATTN_F32, 2, matrix);
    const fattn_tensor out_t = fattn_tensor_contiguous(out.data(), FATTN_F32, 2, matrix);
    const fattn_tensor lse_t = fattn_tensor_contiguous(lse_out.data(), FATTN_F32, 1, rows);
    const std::array<const fattn_tensor *, 2> lses{&l0, &l1}, outs{&o0, &o1};

    fattn_attention_update_args args;
    fattn_attention_update_args_init(&args);
    args.lse = {lses.data(), 2};
    args.local_out = {outs.data(), 2};
    args.update_type = 1;
    args.out = &out_t;
    args.lse_out = &lse_t;
    if (const fattn_status s = fattn_attention_update(nullptr, &args); s != FATTN_OK) {
        std::fprintf(stderr, "%s: %s\n", fattn_status_name(s), fattn_error_message());
        return 1;
    }
    if (std::fabs(out[7] - 2.462117f) > 2e-6f || std::fabs(lse_out[0] - 1.813262f) > 2e-6f) {
        std::fprintf(stderr, "out %g, lse %g\n", double(out[7]), double(lse_out[0]));
        return 1;
    }
    std::puts("consumer (C++): fine");
    return 0;
}
