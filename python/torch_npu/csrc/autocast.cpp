// SPDX-License-Identifier: Apache-2.0
// autocast.cpp: torch.autocast("npu"). The lists of operators are PyTorch's own; the kernels are boxed, so
// one function per policy serves all of them.
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "kernels.h"

namespace npu
{
namespace
{

using c10::IValue;
constexpr c10::DeviceType device = c10::DeviceType::PrivateUse1;

template <typename Change> void change_tensors(IValue &value, const Change &change)
{
    if (value.isTensor()) {
        const at::Tensor tensor = value.toTensor();
        if (tensor.defined()) value = IValue(change(tensor));
    } else if (value.isTensorList()) {
        c10::List<at::Tensor> changed;
        for (const at::Tensor &tensor : value.toTensorVector()) changed.push_back(change(tensor));
        value = IValue(std::move(changed));
    }
}

template <typename Change> void call(const c10::OperatorHandle &op, torch::jit::Stack *stack, const Change &change)
{
    const c10::impl::ExcludeDispatchKeyGuard guard(c10::DispatchKeySet(c10::DispatchKey::AutocastPrivateUse1));
    const size_t count = op.schema().arguments().size();
    for (IValue *value = stack->data() + stack->size() - count; value != stack->data() + stack->size(); value++)
        change_tensors(*value, change);
    op.callBoxed(stack);
}

void cast(const c10::OperatorHandle &op, torch::jit::Stack *stack, at::ScalarType dtype)
{
    call(op, stack, [&](const at::Tensor &tensor) { return at::autocast::cached_cast(dtype, tensor, device); });
}

void lower_precision(const c10::OperatorHandle &op, torch::jit::Stack *stack)
{
    cast(op, stack, at::autocast::get_autocast_dtype(device));
}

void float32(const c10::OperatorHandle &op, torch::jit::Stack *stack) { cast(op, stack, at::kFloat); }

// The result is float32 unless the caller says another dtype; the inputs stay.
void float32_result(const c10::OperatorHandle &op, torch::jit::Stack *stack)
{
    const auto &arguments = op.schema().arguments();
    IValue *values = stack->data() + stack->size() - arguments.size();
    const bool eligible = values[0].isTensor() && values[0].toTensor().defined() &&
                          at::autocast::is_eligible(values[0].toTensor(), device) &&
                          values[0].toTensor().scalar_type() != at::kDouble;
    for (size_t i = 0; eligible && i < arguments.size(); i++)
        if (arguments[i].name() == "dtype" && values[i].isNone()) values[i] = IValue(at::kFloat);
    call(op, stack, [](const at::Tensor &tensor) { return tensor; });
}

void widest(const c10::OperatorHandle &op, torch::jit::Stack *stack)
{
    at::ScalarType dtype = at::autocast::get_autocast_dtype(device);
    const size_t count = op.schema().arguments().size();
    for (IValue *value = stack->data() + stack->size() - count; value != stack->data() + stack->size(); value++)
        change_tensors(*value, [&](const at::Tensor &tensor) {
            dtype = at::autocast::prioritize(dtype, tensor, device);
            return tensor;
        });
    cast(op, stack, dtype);
}

void refuse(const c10::OperatorHandle &, torch::jit::Stack *)
{
    TORCH_CHECK(false, "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast: use "
                       "binary_cross_entropy_with_logits or BCEWithLogitsLoss");
}

} // namespace

#define NAME_1(op) #op
#define NAME_2(op, overload) #op "." #overload
#define NAME(_1, _2, which, ...) which
#define LIST(...) NAME(__VA_ARGS__, NAME_2, NAME_1, )(__VA_ARGS__),

void autocast_install()
{
    using c10::DispatchKey;
    using torch::CppFunction;
    static const char *const lower[] = {AT_FORALL_LOWER_PRECISION_FP(LIST)};
    static const char *const wide[] = {AT_FORALL_FP32(LIST)};
    static const char *const wide_result[] = {AT_FORALL_FP32_SET_OPT_DTYPE(LIST)};
    static const char *const promoted[] = {AT_FORALL_PROMOTE(LIST) "cat", "stack"};
    static torch::Library *const rest =
        new torch::Library(torch::Library::IMPL, "_", DispatchKey::AutocastPrivateUse1, __FILE__, __LINE__);
    rest->fallback(CppFunction::makeFallthrough());
    static torch::Library *const aten =
        new torch::Library(torch::Library::IMPL, "aten", DispatchKey::AutocastPrivateUse1, __FILE__, __LINE__);
    for (const char *name : lower) aten->impl(name, CppFunction::makeFromBoxedFunction<&lower_precision>());
    for (const char *name : wide) aten->impl(name, CppFunction::makeFromBoxedFunction<&float32>());
    for (const char *name : wide_result) aten->impl(name, CppFunction::makeFromBoxedFunction<&float32_result>());
    for (const char *name : promoted) aten->impl(name, CppFunction::makeFromBoxedFunction<&widest>());
    aten->impl("binary_cross_entropy", CppFunction::makeFromBoxedFunction<&refuse>());
}

} // namespace npu
