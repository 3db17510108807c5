// SPDX-License-Identifier: Apache-2.0
// memory.cpp: the allocator. Counters are atomics, not a mutex: a fork in the middle of an allocation by
// another thread (DataLoader workers) must not leave a lock behind.
#include "memory.h"

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <mutex>
#include <pthread.h>
#include <unordered_map>

#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>

#include "runtime.h"

#if NPU_TORCH_MINOR >= 9 // torch.accelerator.memory_* asks a DeviceAllocator
#include <c10/core/CachingDeviceAllocator.h>
#define NPU_DEVICE_ALLOCATOR 1
#endif

namespace npu
{
namespace
{

struct Counter {
    std::atomic<int64_t> current{0}, peak{0}, allocated{0}, freed{0};

    void raise_peak(int64_t value)
    {
        int64_t seen = peak.load();
        while (value > seen && !peak.compare_exchange_weak(seen, value)) {}
    }
    void add(int64_t n)
    {
        raise_peak(current.fetch_add(n) + n);
        allocated += n;
    }
    void sub(int64_t n)
    {
        current -= n;
        freed += n;
    }
    void reset_accumulated() { allocated = 0, freed = 0; }
};

struct Account {
    Counter bytes, blocks;
    std::atomic<int64_t> out_of_memory{0};
};

Account accounts[MAX_DEVICES];
int64_t capacity = INT64_MAX;
std::string banner;
std::once_flag banner_said;

std::string size_text(int64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    double size = static_cast<double>(bytes);
    int unit = 0;
    while (size >= 1024 && unit < 3) size /= 1024, unit++;
    char text[40];
    std::snprintf(text, sizeof text, unit ? "%.2f %s" : "%.0f %s", size, units[unit]);
    return text;
}

// The sentence that scripts search for is the first one; the rest tells what to turn.
[[noreturn]] void refuse(int64_t bytes, c10::DeviceIndex device, int64_t held)
{
    accounts[device].out_of_memory++;
    TORCH_CHECK_WITH(OutOfMemoryError, false, "NPU out of memory. Tried to allocate ", size_text(bytes), " (NPU ",
                     static_cast<int>(device), "; ", size_text(capacity), " total capacity; ", size_text(held),
                     " already allocated; ", size_text(std::max<int64_t>(capacity - held, 0)),
                     " free; emulated on host memory, NPU_EMU_MEMORY sets the capacity)");
}

void charge(int64_t bytes, c10::DeviceIndex device)
{
    std::call_once(banner_said, [] {
        if (!banner.empty()) std::fprintf(stderr, "%s\n", banner.c_str());
    });
    Account &account = accounts[device];
    int64_t held = account.bytes.current.load();
    do {
        if (bytes > capacity - held) refuse(bytes, device, held);
    } while (!account.bytes.current.compare_exchange_weak(held, held + bytes));
    account.bytes.raise_peak(held + bytes);
    account.bytes.allocated += bytes;
    account.blocks.add(1);
}

void discharge(int64_t bytes, c10::DeviceIndex device)
{
    accounts[device].bytes.sub(bytes);
    accounts[device].blocks.sub(1);
}

// The context of every device DataPtr: what is given back when the storage goes.
struct Block {
    int64_t size;
    c10::DeviceIndex device;
    void *owned;      // from alloc_cpu, or NULL
    c10::Storage cpu; // or the memory of a CPU kernel's result
};

void free_block(void *context)
{
    Block *block = static_cast<Block *>(context);
    discharge(block->size, block->device);
    if (block->owned) c10::free_cpu(block->owned);
    delete block;
}

#ifdef NPU_DEVICE_ALLOCATOR
using DeviceAllocatorBase = c10::DeviceAllocator;
#else
using DeviceAllocatorBase = c10::Allocator;
#endif

struct DeviceAllocator final : DeviceAllocatorBase {
    c10::DataPtr allocate(size_t size) override { return allocate_on(size, current_device()); }
    void copy_data(void *to, const void *from, size_t size) const override { default_copy_data(to, from, size); }

#ifdef NPU_DEVICE_ALLOCATOR
    bool initialized() override { return true; }
    void emptyCache(c10::MempoolId_t) override {} // nothing is kept back
    void recordStream(const c10::DataPtr &, c10::Stream) override {}
    void resetAccumulatedStats(c10::DeviceIndex device) override { memory_reset_accumulated(device); }
    void resetPeakStats(c10::DeviceIndex device) override { memory_reset_peak(device); }
    c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override
    {
        const MemoryCounts counts = memory_counts(device);
        const c10::CachingAllocator::Stat bytes{counts.current, counts.peak, counts.allocated, counts.freed};
        const c10::CachingAllocator::Stat blocks{counts.blocks, counts.blocks_peak, counts.blocks_allocated,
                                                 counts.blocks_freed};
        c10::CachingDeviceAllocator::DeviceStats stats;
        for (auto *stat : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes, &stats.requested_bytes})
            (*stat)[0] = bytes;
        for (auto *stat : {&stats.allocation, &stats.segment, &stats.active}) (*stat)[0] = blocks;
        stats.num_ooms = counts.out_of_memory;
        stats.num_device_alloc = counts.blocks_allocated;
        stats.num_device_free = counts.blocks_freed;
        return stats;
    }
#endif
#if NPU_TORCH_MINOR >= 10
    std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override
    {
        return {static_cast<size_t>(capacity - memory_counts(device).current), static_cast<size_t>(capacity)};
    }
#endif
};

// Pinned memory is ordinary memory whose address is remembered, so that is_pinned() answers as on a device.
std::mutex pinned_lock;
std::unordered_map<const void *, size_t> pinned;

void free_pinned(void *memory)
{
    {
        std::lock_guard<std::mutex> guard(pinned_lock);
        pinned.erase(memory);
    }
    c10::free_cpu(memory);
}

struct PinnedAllocator final : c10::Allocator {
    c10::DataPtr allocate(size_t size) override
    {
        void *memory = c10::alloc_cpu(size);
        if (memory) {
            std::lock_guard<std::mutex> guard(pinned_lock);
            pinned[memory] = size;
        }
        return {memory, memory, free_pinned, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return free_pinned; }
    void copy_data(void *to, const void *from, size_t size) const override { default_copy_data(to, from, size); }
};

} // namespace

c10::DataPtr allocate_on(size_t size, c10::DeviceIndex device)
{
    const c10::Device place(c10::DeviceType::PrivateUse1, device);
    if (size == 0) return {nullptr, place};
    const int64_t bytes = static_cast<int64_t>(size);
    charge(bytes, device);
    void *memory = nullptr;
    try {
        memory = c10::alloc_cpu(size);
    } catch (const c10::Error &) { // the host has less than the capacity says
        discharge(bytes, device);
        refuse(bytes, device, accounts[device].bytes.current.load());
    }
    return {memory, new Block{bytes, device, memory, {}}, free_block, place};
}

void memory_install(int64_t bytes, std::string line)
{
    capacity = bytes;
    banner = std::move(line);
    pthread_atfork([] { pinned_lock.lock(); }, [] { pinned_lock.unlock(); }, [] { pinned_lock.unlock(); });
    c10::SetAllocator(c10::DeviceType::PrivateUse1, device_allocator());
}

c10::Allocator *device_allocator()
{
    static DeviceAllocator *const allocator = new DeviceAllocator(); // storages outlive static destructors
    return allocator;
}

c10::Allocator *pinned_allocator()
{
    static PinnedAllocator *const allocator = new PinnedAllocator();
    return allocator;
}

bool pinned_memory(const void *data)
{
    std::lock_guard<std::mutex> guard(pinned_lock);
    return pinned.count(data) != 0;
}

c10::Storage adopt_storage(const c10::Storage &cpu, c10::DeviceIndex device)
{
    const c10::Device place(c10::DeviceType::PrivateUse1, device);
    const size_t size = cpu.nbytes();
    void *memory = cpu.mutable_data();
    c10::DataPtr data(nullptr, place);
    if (size != 0) {
        charge(static_cast<int64_t>(size), device);
        data = c10::DataPtr(memory, new Block{static_cast<int64_t>(size), device, nullptr, cpu}, free_block, place);
    }
    return c10::Storage(c10::Storage::use_byte_size_t(), size, std::move(data), device_allocator(), true);
}

int64_t memory_capacity() { return capacity; }

MemoryCounts memory_counts(c10::DeviceIndex device)
{
    const Account &a = accounts[device];
    return {a.bytes.current,  a.bytes.peak,       a.bytes.allocated,  a.bytes.freed,   a.blocks.current,
            a.blocks.peak,    a.blocks.allocated, a.blocks.freed,     a.out_of_memory};
}

void memory_reset_peak(c10::DeviceIndex device)
{
    Account &account = accounts[device];
    account.bytes.peak = account.bytes.current.load();
    account.blocks.peak = account.blocks.current.load();
}

void memory_reset_accumulated(c10::DeviceIndex device)
{
    Account &account = accounts[device];
    account.bytes.reset_accumulated();
    account.blocks.reset_accumulated();
    account.out_of_memory = 0;
}

} // namespace npu
