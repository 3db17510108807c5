// SPDX-License-Identifier: Apache-2.0
// kernels.h: what is registered for the PrivateUse1 dispatch key.
#pragma once
#include <torch/library.h>

namespace npu
{

torch::CppFunction cpu_kernel(); // boxed: the CPU kernel of whatever operator it is registered for

void fallback_install(); // every operator
void kernels_install();  // operators that cannot go through the fallback: memory, copies, views
void prefer_cpu_kernels(); // after kernels_install
void autocast_install();

} // namespace npu
