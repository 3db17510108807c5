// SPDX-License-Identifier: Apache-2.0
// runtime.cpp: what PyTorch asks of a device besides memory and kernels.
#include "runtime.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/PhiloxRNGEngine.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "memory.h"

namespace npu
{
namespace
{

int devices = 1;
thread_local c10::DeviceIndex device_now = 0;
thread_local std::array<c10::StreamId, MAX_DEVICES> stream_now{}; // 0: the default stream
std::atomic<c10::StreamId> next_stream{1};

c10::Device place(c10::DeviceIndex index) { return {c10::DeviceType::PrivateUse1, index}; }

c10::DeviceIndex checked(int index)
{
    TORCH_CHECK(index >= 0 && index < devices, "npu:", index, " does not exist, the emulation has ", devices,
                devices == 1 ? " device" : " devices", " (NPU_EMU_DEVICES sets the number)");
    return static_cast<c10::DeviceIndex>(index);
}

// "npu" without an index is the current device.
c10::DeviceIndex index_of(c10::Device device) { return device.has_index() ? checked(device.index()) : device_now; }

struct Event {
    std::atomic<int64_t> nanoseconds;
};

int64_t now()
{
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
    c10::DeviceType type() const override { return c10::DeviceType::PrivateUse1; }
    c10::DeviceIndex deviceCount() const noexcept override { return static_cast<c10::DeviceIndex>(devices); }

    c10::Device getDevice() const override { return place(device_now); }
    void setDevice(c10::Device device) const override { device_now = index_of(device); }
    void uncheckedSetDevice(c10::Device device) const noexcept override
    {
        if (device.index() >= 0 && device.index() < devices) device_now = device.index();
    }
    c10::Device exchangeDevice(c10::Device device) const override
    {
        const c10::DeviceIndex before = device_now;
        device_now = index_of(device);
        return place(before);
    }

    c10::Stream stream(c10::Device device, c10::StreamId id) const
    {
        return c10::Stream(c10::Stream::UNSAFE, place(index_of(device)), id);
    }
    c10::Stream getStream(c10::Device device) const override { return stream(device, stream_now[index_of(device)]); }
    c10::Stream getDefaultStream(c10::Device device) const override { return stream(device, 0); }
    c10::Stream getNewStream(c10::Device device, int) const override { return stream(device, next_stream++); }
    c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override
    {
        return stream(device, next_stream++);
    }
    c10::Stream exchangeStream(c10::Stream next) const override
    {
        const c10::DeviceIndex index = checked(next.device_index());
        return stream(place(index), std::exchange(stream_now[index], next.id()));
    }
    bool queryStream(const c10::Stream &) const override { return true; }
    void synchronizeStream(const c10::Stream &) const override {}
    void synchronizeDevice(const c10::DeviceIndex) const { }

    void record(void **event, const c10::Stream &, const c10::DeviceIndex, const c10::EventFlag) const override
    {
        if (!*event) *event = new Event();
        static_cast<Event *>(*event)->nanoseconds = now();
    }
    void destroyEvent(void *event, const c10::DeviceIndex) const noexcept override
    {
        delete static_cast<Event *>(event);
    }
    void block(void *, const c10::Stream &) const override {}
    bool queryEvent(void *) const override { return true; }
    void synchronizeEvent(void *) const override {}
    double elapsedTime(void *from, void *to, const c10::DeviceIndex) const override
    {
        TORCH_CHECK(from && to, "elapsed_time: both events must have been recorded");
        return static_cast<double>(static_cast<Event *>(to)->nanoseconds - static_cast<Event *>(from)->nanoseconds) / 1e6;
    }
};

// The generator's state is (seed, offset), 16 bytes, as devices keep it.
struct Philox final : c10::GeneratorImpl {
    uint64_t key = c10::default_rng_seed_val, place_in_sequence = 0;

    explicit Philox(c10::DeviceIndex index)
        : c10::GeneratorImpl(place(index), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1))
    {
    }
    void set_current_seed(uint64_t seed) override { key = seed, place_in_sequence = 0; }
    void set_offset(uint64_t offset) override { place_in_sequence = offset; }
    uint64_t get_offset() const override { return place_in_sequence; }
    uint64_t current_seed() const override { return key; }
    uint64_t seed() override
    {
        set_current_seed(c10::detail::getNonDeterministicRandom());
        return key;
    }
    void set_state(const c10::TensorImpl &state) override
    {
        TORCH_CHECK(state.is_cpu() && state.dtype() == caffe2::TypeMeta::Make<uint8_t>() && state.numel() == 16 &&
                        state.is_contiguous(),
                    "RNG state of an npu: a contiguous torch.ByteTensor of 16 elements on the CPU is needed");
        std::memcpy(&key, state.data(), 8);
        std::memcpy(&place_in_sequence, static_cast<const char *>(state.data()) + 8, 8);
    }
    c10::intrusive_ptr<c10::TensorImpl> get_state() const override
    {
        at::TensorBase state = at::detail::empty_cpu({16}, at::kByte);
        std::memcpy(state.mutable_data_ptr(), &key, 8);
        std::memcpy(static_cast<char *>(state.mutable_data_ptr()) + 8, &place_in_sequence, 8);
        return state.getIntrusivePtr();
    }
    Philox *clone_impl() const override
    {
        Philox *copy = new Philox(device_.index());
        copy->key = key, copy->place_in_sequence = place_in_sequence;
        return copy;
    }
};

at::Generator new_generator(c10::DeviceIndex index)
{
    return at::make_generator<Philox>(index < 0 ? device_now : checked(index));
}

struct Hooks final : at::PrivateUse1HooksInterface {
    bool isBuilt() const { return true; }
    bool isAvailable() const { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
    void init() const override {}
    c10::DeviceIndex deviceCount() const override { return static_cast<c10::DeviceIndex>(devices); }
    c10::DeviceIndex getCurrentDevice() const override { return device_now; }
    void setCurrentDevice(c10::DeviceIndex index) const override { device_now = checked(index); }
    c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override
    {
        return std::exchange(device_now, checked(index));
    }
    c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override
    {
        return index < 0 || index >= devices ? device_now : std::exchange(device_now, index);
    }
    const at::Generator &getDefaultGenerator(c10::DeviceIndex index) const override { return default_generator(index); }
    at::Generator getNewGenerator(c10::DeviceIndex index) const { return new_generator(index); }
    at::Device getDeviceFromPtr(void *) const override { return place(device_now); }
    bool isPinnedPtr(const void *data) const override { return pinned_memory(data); }
    at::Allocator *getPinnedMemoryAllocator() const override { return pinned_allocator(); }
    void resizePrivateUse1Bytes(const c10::Storage &storage, size_t size) const override
    {
        c10::StorageImpl *impl = storage.unsafeGetStorageImpl();
        c10::DataPtr data = allocate_on(size, storage.device().index());
        const size_t kept = std::min(size, storage.nbytes());
        if (kept) std::memcpy(data.get(), storage.data(), kept);
        impl->set_data_ptr_noswap(std::move(data));
        impl->set_nbytes(size);
    }
};

} // namespace

void runtime_install(int count)
{
    TORCH_CHECK(count >= 1 && count <= MAX_DEVICES, "the emulation has 1 to ", static_cast<int>(MAX_DEVICES),
                " devices, not ", count);
    TORCH_CHECK(!at::isPrivateUse1HooksRegistered() && !c10::impl::hasDeviceGuardImpl(c10::DeviceType::PrivateUse1),
                "another PyTorch device backend is loaded in this process: it has taken PrivateUse1");
    devices = count;
    static const Guard *const guard = new Guard();
    c10::impl::registerDeviceGuard(c10::DeviceType::PrivateUse1, guard);
    at::RegisterPrivateUse1HooksInterface(new Hooks());
}

int device_count() { return devices; }
c10::DeviceIndex current_device() { return device_now; }
void set_device(int index) { device_now = checked(index); }

const at::Generator &default_generator(int index)
{
    static std::array<at::Generator, MAX_DEVICES> *const generators = [] {
        auto *all = new std::array<at::Generator, MAX_DEVICES>();
        for (int i = 0; i < devices; i++) (*all)[i] = at::make_generator<Philox>(static_cast<c10::DeviceIndex>(i));
        return all;
    }();
    return (*generators)[index < 0 ? device_now : checked(index)];
}

std::pair<uint64_t, uint64_t> take_philox(const at::Generator &generator, uint64_t count)
{
    TORCH_CHECK(generator.device().type() == c10::DeviceType::PrivateUse1,
                "Expected a 'npu' device type for generator but found '", generator.device().type(), "'");
    auto *philox = static_cast<Philox *>(generator.unsafeGetGeneratorImpl());
    std::lock_guard<std::mutex> guard(philox->mutex_);
    const uint64_t offset = philox->place_in_sequence;
    philox->place_in_sequence += (count + 3) / 4 * 4; // Philox gives four numbers at a time
    return {philox->key, offset};
}

// CPU kernels draw from a Mersenne twister. Its whole state is filled from Philox, so that two calls share
// numbers only if they share seed and offset; a seed of 32 bits would repeat after some ten thousand calls.
at::Generator cpu_generator(const at::Generator &generator)
{
    const auto [seed, offset] = take_philox(generator, 4);
    at::Philox4_32 philox(seed, /*subsequence=*/offset);
    at::mt19937_data_pod state{};
    state.seed_ = seed;
    state.seeded_ = true;
    state.left_ = 1; // the state is stirred before the first number
    state.next_ = 0;
    for (uint32_t &word : state.state_) word = philox();
    state.state_[0] |= 0x80000000; // the only bit of the first word that counts: never all zero
    at::mt19937 engine;
    engine.set_data(state);
    at::Generator cpu = at::make_generator<at::CPUGeneratorImpl>();
    static_cast<at::CPUGeneratorImpl *>(cpu.unsafeGetGeneratorImpl())->set_engine(engine);
    return cpu;
}

} // namespace npu
