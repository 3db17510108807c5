// SPDX-License-Identifier: Apache-2.0
// memory.h: device memory is host memory that is counted, one account per emulated device.
#pragma once
#include <cstdint>
#include <string>

#include <c10/core/Allocator.h>
#include <c10/core/Storage.h>

namespace npu
{

enum { MAX_DEVICES = 16 };

struct MemoryCounts {
    int64_t current, peak;         // bytes held now; most since the last reset
    int64_t allocated, freed;      // bytes since the last reset_accumulated
    int64_t blocks, blocks_peak;   // the same for the number of allocations
    int64_t blocks_allocated, blocks_freed;
    int64_t out_of_memory;         // refused allocations
};

// To be called once, before any allocation. banner: one line for stderr at the first allocation, or empty.
void memory_install(int64_t capacity, std::string banner);

c10::Allocator *device_allocator(); // on the current device
c10::DataPtr allocate_on(size_t size, c10::DeviceIndex device);
c10::Allocator *pinned_allocator();
bool pinned_memory(const void *data);

// Memory that a CPU kernel allocated becomes memory of `device`, without a copy. Raises OutOfMemoryError.
c10::Storage adopt_storage(const c10::Storage &cpu, c10::DeviceIndex device);

int64_t memory_capacity();
MemoryCounts memory_counts(c10::DeviceIndex device);
void memory_reset_peak(c10::DeviceIndex device);
void memory_reset_accumulated(c10::DeviceIndex device);

} // namespace npu
