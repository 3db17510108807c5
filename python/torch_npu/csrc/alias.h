// SPDX-License-Identifier: Apache-2.0
// alias.h: npu tensors seen as CPU tensors over the same memory, for the time of one operator call.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/SmallVector.h>

namespace npu
{

// A CPU kernel is called below everything that its npu twin has been through already.
struct BelowDispatch {
    c10::impl::ExcludeDispatchKeyGuard guard;
    BelowDispatch();
};

class Aliases
{
  public:
    // The CPU tensor over the memory of `tensor` (npu). Two tensors of one storage get aliases of one storage,
    // so that kernels notice overlaps; the same tensor gets the same alias.
    at::Tensor cpu(const at::Tensor &tensor);

    // What an npu caller gets for a result of a CPU kernel: the tensor whose alias it is; a view, if it shares
    // the storage of an alias; else a tensor that takes the memory over. CPU results of no npu call stay.
    at::Tensor npu(const at::Tensor &result, c10::DeviceIndex device);

    // Kernels may have resized an alias (out=, resize_): its tensor follows, memory included.
    void write_back();

  private:
    struct TensorPair {
        at::Tensor npu, cpu;
    };
    struct StoragePair {
        c10::Storage npu, cpu;
        const void *data;
    };
    const StoragePair &storage(const c10::Storage &npu);

    c10::SmallVector<TensorPair, 6> tensors_;
    c10::SmallVector<StoragePair, 6> storages_;
};

} // namespace npu
