// SPDX-License-Identifier: Apache-2.0
// kernels.cpp: operators that make or copy memory, views, and dropout.
#include "kernels.h"

#include <tuple>

#include <ATen/EmptyTensor.h>
#include <ATen/native/DispatchStub.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/_fused_sdp_choice_cpu_dispatch.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/copy_native.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/DeviceGuard.h>

#include "alias.h"
#include "memory.h"
#include "runtime.h"

namespace npu
{
namespace
{

const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);

c10::Device checked_device(std::optional<c10::Device> device, std::optional<c10::Layout> layout,
                           std::optional<bool> pin_memory)
{
    TORCH_CHECK_NOT_IMPLEMENTED(layout.value_or(c10::kStrided) == c10::kStrided, "npu tensors of layout ", *layout,
                                " are not supported by the emulation");
    TORCH_CHECK(!pin_memory.value_or(false), "Only dense CPU tensors can be pinned");
    return device.value_or(c10::Device(c10::DeviceType::PrivateUse1));
}

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout> layout,
                 std::optional<c10::Device> device, std::optional<bool> pin_memory,
                 std::optional<c10::MemoryFormat> format)
{
    const c10::DeviceGuard guard(checked_device(device, layout, pin_memory));
    return at::detail::empty_generic(size, device_allocator(), keys, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                         std::optional<c10::Layout> layout, std::optional<c10::Device> device,
                         std::optional<bool> pin_memory)
{
    const c10::DeviceGuard guard(checked_device(device, layout, pin_memory));
    return at::detail::empty_strided_generic(size, stride, device_allocator(), keys, c10::dtype_or_default(dtype));
}

// Between npu and CPU either way, between two devices, and within one.
void copy(const at::Tensor &to, const at::Tensor &from)
{
    Aliases aliases;
    at::Tensor cpu_to = to.is_privateuseone() ? aliases.cpu(to) : to;
    const at::Tensor cpu_from = from.is_privateuseone() ? aliases.cpu(from) : from;
    const BelowDispatch below;
    at::native::copy_(cpu_to, cpu_from, false);
}

at::Tensor &copy_(at::Tensor &self, const at::Tensor &from, bool)
{
    copy(self, from);
    return self;
}

at::Tensor copy_from(const at::Tensor &from, const at::Tensor &to, bool)
{
    copy(to, from);
    return to;
}

at::Tensor copy_from_and_resize(const at::Tensor &from, const at::Tensor &to)
{
    to.resize_(from.sizes());
    copy(to, from);
    return to;
}

// The CPU kernel would draw from the CPU's generator and has no argument for another.
std::tuple<at::Tensor, at::Tensor> native_dropout(const at::Tensor &input, double p, std::optional<bool> train)
{
    if (!train.value_or(true) || input.numel() == 0)
        return {input.clone(), at::ones_like(input, input.options().dtype(at::kBool))};
    if (p == 1) return {at::zeros_like(input), at::zeros_like(input, input.options().dtype(at::kBool))};
    at::Tensor mask = at::empty_like(input, input.options().dtype(at::kBool)).bernoulli_(1 - p);
    return {at::mul(input, mask).mul_(1 / (1 - p)), mask};
}

void record_stream(at::Tensor &, c10::Stream) {} // work is done when a call returns

// F.scaled_dot_product_attention takes the way it takes on the CPU.
int64_t attention_choice(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                         const std::optional<at::Tensor> &mask, double dropout, bool causal,
                         std::optional<double> scale, bool gqa)
{
    Aliases aliases;
    const auto cpu = [&](const at::Tensor &t) { return t.is_privateuseone() ? aliases.cpu(t) : t; };
    const at::Tensor cpu_q = cpu(q).set_requires_grad(q.requires_grad());
    return at::cpu::_fused_sdp_choice(cpu_q, cpu(k), cpu(v), mask ? std::optional<at::Tensor>(cpu(*mask)) : mask,
                                      dropout, causal, scale, gqa);
}

} // namespace

void kernels_install()
{
    using c10::DispatchKey;
    static torch::Library *const aten =
        new torch::Library(torch::Library::IMPL, "aten", DispatchKey::PrivateUse1, __FILE__, __LINE__);
    aten->impl("empty.memory_format", TORCH_FN(empty));
    aten->impl("empty_strided", TORCH_FN(empty_strided));
    aten->impl("copy_", TORCH_FN(copy_));
    aten->impl("_copy_from", TORCH_FN(copy_from));
    aten->impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
    aten->impl("native_dropout", TORCH_FN(native_dropout));
    aten->impl("record_stream", TORCH_FN(record_stream));
    // These work on sizes and storages alone, whatever the device; storages grow through their own allocator.
    aten->impl("view", TORCH_FN(at::native::view));
    aten->impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
    aten->impl("unfold", TORCH_FN(at::native::unfold));
    aten->impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
    aten->impl("resize_", TORCH_FN(at::native::resize_));
    aten->impl("set_.source_Storage", TORCH_FN(at::native::set_));
    aten->impl("set_.source_Storage_storage_offset", TORCH_FN(at::native::set_storage_cpu_));
    aten->impl("set_.source_Tensor", TORCH_FN(at::native::set_tensor_));
    aten->impl("set_", TORCH_FN(at::native::set_cpu_));
    at::native::RegisterPRIVATEUSE1Dispatch<struct at::native::_fused_sdp_choice_stub_DECLARE_DISPATCH_type>
        choice(at::native::_fused_sdp_choice_stub, &attention_choice);
}

} // namespace npu
