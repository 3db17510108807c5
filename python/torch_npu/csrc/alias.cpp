// SPDX-License-Identifier: Apache-2.0
// alias.cpp: the two directions of Aliases.
#include "alias.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/TensorImpl.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "memory.h"
#include "runtime.h"

namespace npu
{
namespace
{

using c10::DispatchKey;
using c10::DispatchKeySet;

// Beside the backend only these two travel: conjugation and negation are lazy, the bits say what memory means.
DispatchKeySet keys_of(const at::Tensor &tensor, DispatchKey backend)
{
    const DispatchKeySet lazy({DispatchKey::Conjugate, DispatchKey::Negative, DispatchKey::ZeroTensor});
    return DispatchKeySet(backend) | (tensor.unsafeGetTensorImpl()->key_set() & lazy);
}

at::Tensor tensor_over(c10::Storage storage, const at::Tensor &like, DispatchKey backend)
{
    at::Tensor made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys_of(like, backend), like.dtype());
    c10::TensorImpl *impl = made.unsafeGetTensorImpl();
    impl->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
    if (like.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
    return made;
}

void release_storage(void *storage) { c10::raw::intrusive_ptr::decref(static_cast<c10::StorageImpl *>(storage)); }

} // namespace

BelowDispatch::BelowDispatch()
    : guard(c10::autograd_dispatch_keyset_with_ADInplaceOrView | c10::autocast_dispatch_keyset)
{
}

const Aliases::StoragePair &Aliases::storage(const c10::Storage &npu)
{
    for (const StoragePair &pair : storages_)
        if (pair.npu.unsafeGetStorageImpl() == npu.unsafeGetStorageImpl()) return pair;
    // The alias holds the storage, so it may be kept by whoever likes.
    c10::StorageImpl *owner = npu.unsafeGetStorageImpl();
    c10::raw::intrusive_ptr::incref(owner);
    void *memory = owner->mutable_data();
    c10::DataPtr data(memory, owner, release_storage, c10::Device(c10::DeviceType::CPU));
    c10::Storage cpu(c10::Storage::use_byte_size_t(), owner->nbytes(), std::move(data), c10::GetCPUAllocator(), true);
    storages_.push_back({npu, std::move(cpu), memory});
    return storages_.back();
}

at::Tensor Aliases::cpu(const at::Tensor &tensor)
{
    for (const TensorPair &pair : tensors_)
        if (pair.npu.is_same(tensor)) return pair.cpu;
    TORCH_CHECK_NOT_IMPLEMENTED(tensor.layout() == c10::kStrided && tensor.has_storage() && !tensor.is_quantized(),
                                "npu tensors of layout ", tensor.layout(), " are not supported by the emulation");
    tensors_.push_back({tensor, tensor_over(storage(tensor.storage()).cpu, tensor, DispatchKey::CPU)});
    return tensors_.back().cpu;
}

at::Tensor Aliases::npu(const at::Tensor &result, c10::DeviceIndex device)
{
    if (!result.defined() || !result.is_cpu()) return result;
    for (const TensorPair &pair : tensors_)
        if (pair.cpu.is_same(result)) return pair.npu;
    TORCH_CHECK_NOT_IMPLEMENTED(result.layout() == c10::kStrided && result.has_storage() && !result.is_quantized(),
                                "the operator gives a tensor of layout ", result.layout(),
                                ", which the emulated npu does not have; call it on .cpu() tensors");
    const c10::Storage &cpu = result.storage();
    for (const StoragePair &pair : storages_)
        if (pair.cpu.unsafeGetStorageImpl() == cpu.unsafeGetStorageImpl())
            return tensor_over(pair.npu, result, DispatchKey::PrivateUse1);
    storages_.push_back({adopt_storage(cpu, device), cpu, cpu.data()});
    return tensor_over(storages_.back().npu, result, DispatchKey::PrivateUse1);
}

void Aliases::write_back()
{
    for (StoragePair &pair : storages_) {
        if (pair.cpu.data() == pair.data && pair.cpu.nbytes() == pair.npu.nbytes()) continue;
        const c10::DeviceIndex device = pair.npu.device().index();
        c10::Storage grown = adopt_storage(pair.cpu, device);
        c10::StorageImpl *impl = pair.npu.unsafeGetStorageImpl();
        impl->set_nbytes(grown.nbytes());
        impl->set_data_ptr_noswap(grown.set_data_ptr(c10::DataPtr(nullptr, pair.npu.device())));
        pair.data = pair.cpu.data();
    }
    for (const TensorPair &pair : tensors_) {
        if (pair.cpu.is_conj() != pair.npu.is_conj()) pair.npu._set_conj(pair.cpu.is_conj());
        if (pair.cpu.is_neg() != pair.npu.is_neg()) pair.npu._set_neg(pair.cpu.is_neg());
        if (pair.cpu.sizes() == pair.npu.sizes() && pair.cpu.strides() == pair.npu.strides() &&
            pair.cpu.storage_offset() == pair.npu.storage_offset())
            continue;
        pair.npu.unsafeGetTensorImpl()->set_sizes_and_strides(pair.cpu.sizes(), pair.cpu.strides(),
                                                              pair.cpu.storage_offset());
    }
}

} // namespace npu
