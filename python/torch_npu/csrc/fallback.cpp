// SPDX-License-Identifier: Apache-2.0
// fallback.cpp: every operator without a kernel of its own runs its CPU kernel on the same memory.
#include <optional>
#include <string>
#include <unordered_set>

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/op_registration/op_registration.h>
#include <torch/library.h>

#include "alias.h"
#include "kernels.h"
#include "runtime.h"

namespace npu
{
namespace
{

using c10::IValue;

// Operators that take tensors on the CPU beside npu tensors on a real device, too.
bool takes_cpu_tensors(const std::string &name)
{
    static const std::unordered_set<std::string> names = {
        "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index",
        "aten::_unsafe_index_put", "aten::index.out", "aten::_pack_padded_sequence",
        "aten::_pack_padded_sequence_backward", "aten::_pad_packed_sequence", "aten::_ctc_loss",
        "aten::_ctc_loss_backward", "aten::repeat_interleave", "aten::tensor_split"};
    return names.count(name) != 0;
}

struct Call {
    const c10::OperatorHandle &op;
    Aliases aliases{};
    std::optional<c10::DeviceIndex> device{}; // where results go
    const char *argument_on_cpu = nullptr;    // name of the first CPU tensor that is not a scalar

    const std::string &name() const { return op.schema().operator_name().name; }

    // The device comes from the first npu tensor, all others must be there.
    at::Tensor take(const at::Tensor &tensor, const c10::Argument &argument)
    {
        if (!tensor.defined()) return tensor;
        if (tensor.is_privateuseone()) {
            const c10::DeviceIndex index = tensor.device().index();
            TORCH_CHECK(!device || *device == index, "Expected all tensors to be on the same device, but found at ",
                        "least two devices, npu:", static_cast<int>(*device), " and npu:", static_cast<int>(index),
                        "! (argument ", argument.name(), " of ", name(), ")");
            device = index;
            return aliases.cpu(tensor);
        }
        const bool written = argument.alias_info() && argument.alias_info()->isWrite();
        if (tensor.is_cpu() && (tensor.dim() != 0 || written) && !argument_on_cpu)
            argument_on_cpu = argument.name().c_str();
        return tensor;
    }

    void take(IValue &value, const c10::Argument &argument)
    {
        if (value.isTensor()) {
            const at::Tensor &tensor = value.toTensor();
            if (tensor.defined()) value = IValue(take(tensor, argument));
        } else if (value.isTensorList()) {
            c10::List<at::Tensor> taken;
            const auto given = value.toTensorList();
            taken.reserve(given.size());
            for (const at::Tensor &tensor : given) taken.push_back(take(tensor, argument));
            value = IValue(std::move(taken));
        } else if (value.isOptionalTensorList()) {
            c10::List<std::optional<at::Tensor>> taken;
            for (const std::optional<at::Tensor> &tensor : value.toOptionalTensorVector())
                taken.push_back(tensor ? std::optional<at::Tensor>(take(*tensor, argument)) : std::nullopt);
            value = IValue(std::move(taken));
        } else if (value.isDevice() && value.toDevice().is_privateuseone()) {
            const c10::Device wanted = value.toDevice();
            device = wanted.has_index() ? wanted.index() : current_device();
            value = IValue(c10::Device(c10::DeviceType::CPU));
        }
    }

    IValue give(const IValue &value)
    {
        if (value.isTensor()) return aliases.npu(value.toTensor(), *device);
        if (value.isTensorList()) {
            c10::List<at::Tensor> given;
            for (const at::Tensor &tensor : value.toTensorVector()) given.push_back(aliases.npu(tensor, *device));
            return given;
        }
        return value;
    }
};

// Random kernels draw from the generator of the device instead of the CPU's.
void replace_generators(const c10::FunctionSchema &schema, IValue *arguments, c10::DeviceIndex device)
{
    for (size_t i = 0; i < schema.arguments().size(); i++) {
        const c10::TypePtr &type = schema.arguments()[i].real_type();
        const bool generator = type->kind() == c10::TypeKind::GeneratorType ||
                               (type->kind() == c10::TypeKind::OptionalType &&
                                type->castRaw<c10::OptionalType>()->getElementType()->kind() ==
                                    c10::TypeKind::GeneratorType);
        if (!generator) continue;
        const at::Generator given = arguments[i].isNone() ? default_generator(device) : arguments[i].toGenerator();
        arguments[i] = cpu_generator(given);
    }
}

void run_on_cpu(const c10::OperatorHandle &op, torch::jit::Stack *stack)
{
    const c10::FunctionSchema &schema = op.schema();
    const size_t n_arguments = schema.arguments().size(), n_results = schema.returns().size();
    TORCH_CHECK_NOT_IMPLEMENTED(op.hasComputedKernelForDispatchKey(c10::DispatchKey::CPU), "The operator '",
                                schema.operator_name(), "' has no CPU kernel, so the emulated npu cannot run it");
    IValue *arguments = stack->data() + stack->size() - n_arguments;
    Call call{op};
    for (size_t i = 0; i < n_arguments; i++) call.take(arguments[i], schema.arguments()[i]);
    TORCH_CHECK(!call.argument_on_cpu || takes_cpu_tensors(call.name()),
                "Expected all tensors to be on the same device, but found at least two devices, npu:",
                static_cast<int>(call.device.value_or(0)), " and cpu! (argument ", call.argument_on_cpu, " of ",
                call.name(), " is on the CPU; .npu() moves it)");
    if (!call.device) call.device = current_device();
    replace_generators(schema, arguments, *call.device);
    {
        const BelowDispatch below;
        op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
    }
    call.aliases.write_back();
    IValue *results = stack->data() + stack->size() - n_results;
    for (size_t i = 0; i < n_results; i++) results[i] = call.give(results[i]);
}

} // namespace

torch::CppFunction cpu_kernel() { return torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>(); }

void fallback_install()
{
    static torch::Library *const everything =
        new torch::Library(torch::Library::IMPL, "_", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__);
    everything->fallback(cpu_kernel());
}

// Some operators have a kernel for the CPU and a formula made of other operators for all other devices. The
// formula rounds differently: the kernel is taken, so that npu and CPU give the same bits.
void prefer_cpu_kernels()
{
    using c10::DispatchKey;
    static torch::Library *const aten =
        new torch::Library(torch::Library::IMPL, "aten", DispatchKey::PrivateUse1, __FILE__, __LINE__);
    c10::Dispatcher &dispatcher = c10::Dispatcher::singleton();
    for (const c10::OperatorName &name : dispatcher.getAllOpNames()) {
        const std::optional<c10::OperatorHandle> op = dispatcher.findSchema(name);
        if (!op || name.getNamespace() != "aten" || !op->hasKernelForDispatchKey(DispatchKey::CPU) ||
            op->hasKernelForDispatchKey(DispatchKey::PrivateUse1))
            continue;
        if (op->hasKernelForDispatchKey(DispatchKey::CompositeExplicitAutograd) ||
            op->hasKernelForDispatchKey(DispatchKey::CompositeImplicitAutograd))
            aten->impl(c10::toString(name).c_str(), cpu_kernel());
    }
    // These ask for the device themselves and know only their own; the choice for the CPU is wanted.
    for (const char *name : {"convolution", "_convolution", "convolution_backward", "conj_physical_", "mode.values"})
        aten->impl(name, cpu_kernel());
}

} // namespace npu
