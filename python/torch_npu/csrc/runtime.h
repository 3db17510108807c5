// SPDX-License-Identifier: Apache-2.0
// runtime.h: devices, streams, events and random numbers of the emulated NPU. Work runs in the calling
// thread, at once and in order, so every stream is always idle and every event is reached when recorded.
#pragma once
#include <utility>

#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

namespace npu
{

// Registers the device guard and the PrivateUse1 hooks; once. devices: 1 .. MAX_DEVICES
void runtime_install(int devices);

int device_count();
c10::DeviceIndex current_device(); // of the calling thread
void set_device(int index);        // raises for an index out of range

const at::Generator &default_generator(int index);

// Takes the next place of a device generator's Philox sequence: (seed, offset). `count` numbers will be used.
std::pair<uint64_t, uint64_t> take_philox(const at::Generator &generator, uint64_t count);

// A CPU generator for one call of a CPU kernel, keyed by the next place of a device generator.
at::Generator cpu_generator(const at::Generator &generator);

} // namespace npu
