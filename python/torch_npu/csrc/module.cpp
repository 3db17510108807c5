// SPDX-License-Identifier: Apache-2.0
// module.cpp: torch_npu._C, the few questions that PyTorch's own Python interface does not answer.
#include <torch/csrc/Generator.h>
#include <torch/csrc/autograd/python_variable.h>

#include <exception>

#include "alias.h"
#include "kernels.h"
#include "memory.h"
#include "runtime.h"

namespace
{

// Runs `body`; its C++ error becomes a RuntimeError.
template <typename Body> PyObject *guarded(const Body &body)
{
    try {
        return body();
    } catch (const c10::Error &error) {
        PyErr_SetString(PyExc_RuntimeError, error.what_without_backtrace());
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    return nullptr;
}

// install(devices, capacity, banner): registers the device; raises where PrivateUse1 is taken.
PyObject *install(PyObject *, PyObject *args)
{
    int devices;
    long long capacity;
    const char *banner;
    if (!PyArg_ParseTuple(args, "iLs", &devices, &capacity, &banner)) return nullptr;
    return guarded([&] {
        npu::runtime_install(devices);
        npu::memory_install(capacity, banner);
        npu::fallback_install();
        npu::kernels_install();
        npu::prefer_cpu_kernels();
        npu::autocast_install();
        Py_RETURN_NONE;
    });
}

PyObject *device_count(PyObject *, PyObject *) { return PyLong_FromLong(npu::device_count()); }
PyObject *current_device(PyObject *, PyObject *) { return PyLong_FromLong(npu::current_device()); }

// The argument as a device index, or -1 with an error set.
int index_of(PyObject *arg)
{
    const long index = PyLong_AsLong(arg);
    if (index == -1 && PyErr_Occurred()) return -1;
    if (index < 0 || index >= npu::device_count()) {
        PyErr_Format(PyExc_RuntimeError, "npu:%ld does not exist, the emulation has %d device%s", index,
                     npu::device_count(), npu::device_count() == 1 ? "" : "s");
        return -1;
    }
    return static_cast<int>(index);
}

PyObject *set_device(PyObject *, PyObject *arg)
{
    const int index = index_of(arg);
    if (index < 0) return nullptr;
    npu::set_device(index);
    Py_RETURN_NONE;
}

PyObject *default_generator(PyObject *, PyObject *arg)
{
    const int index = index_of(arg);
    if (index < 0) return nullptr;
    return guarded([&] { return THPGenerator_Wrap(npu::default_generator(index)); });
}

// take_philox(generator, count) -> (seed, offset)
PyObject *take_philox(PyObject *, PyObject *args)
{
    PyObject *generator;
    unsigned long long count;
    if (!PyArg_ParseTuple(args, "O!K", reinterpret_cast<PyTypeObject *>(THPGeneratorClass), &generator, &count))
        return nullptr;
    return guarded([&] {
        const auto [seed, offset] = npu::take_philox(reinterpret_cast<THPGenerator *>(generator)->cdata, count);
        return Py_BuildValue("KK", static_cast<unsigned long long>(seed), static_cast<unsigned long long>(offset));
    });
}

// host_view(tensor): a CPU tensor over the memory of an npu tensor, which it keeps; unknown to autograd.
PyObject *host_view(PyObject *, PyObject *arg)
{
    if (!THPVariable_Check(arg) || !THPVariable_Unpack(arg).is_privateuseone()) {
        PyErr_SetString(PyExc_TypeError, "host_view: an npu tensor is needed");
        return nullptr;
    }
    return guarded([&] {
        npu::Aliases aliases;
        return THPVariable_Wrap(aliases.cpu(THPVariable_Unpack(arg)));
    });
}

PyObject *memory_counts(PyObject *, PyObject *arg)
{
    const int index = index_of(arg);
    if (index < 0) return nullptr;
    const npu::MemoryCounts c = npu::memory_counts(static_cast<c10::DeviceIndex>(index));
    return Py_BuildValue("{sLsLsLsLsLsLsLsLsL}", "current", c.current, "peak", c.peak, "allocated", c.allocated,
                         "freed", c.freed, "blocks", c.blocks, "blocks_peak", c.blocks_peak, "blocks_allocated",
                         c.blocks_allocated, "blocks_freed", c.blocks_freed, "out_of_memory", c.out_of_memory);
}

PyObject *memory_capacity(PyObject *, PyObject *) { return PyLong_FromLongLong(npu::memory_capacity()); }

template <void reset(c10::DeviceIndex)> PyObject *memory_reset(PyObject *, PyObject *arg)
{
    const int index = index_of(arg);
    if (index < 0) return nullptr;
    reset(static_cast<c10::DeviceIndex>(index));
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"install", install, METH_VARARGS, "install(devices, capacity, banner)"},
    {"device_count", device_count, METH_NOARGS, nullptr},
    {"current_device", current_device, METH_NOARGS, nullptr},
    {"set_device", set_device, METH_O, nullptr},
    {"default_generator", default_generator, METH_O, nullptr},
    {"take_philox", take_philox, METH_VARARGS, "take_philox(generator, count) -> (seed, offset)"},
    {"host_view", host_view, METH_O, "host_view(npu tensor) -> CPU tensor over the same memory"},
    {"memory_counts", memory_counts, METH_O, nullptr},
    {"memory_capacity", memory_capacity, METH_NOARGS, nullptr},
    {"memory_reset_peak", memory_reset<npu::memory_reset_peak>, METH_O, nullptr},
    {"memory_reset_accumulated", memory_reset<npu::memory_reset_accumulated>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "torch_npu._C", nullptr, -1, methods, nullptr, nullptr, nullptr,
                          nullptr};

} // namespace

PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&definition); }
