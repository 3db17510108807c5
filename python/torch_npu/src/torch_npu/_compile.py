# SPDX-License-Identifier: Apache-2.0
"""torch.compile on npu tensors: the default backend has no code generator for the device, so graphs of npu tensors run
as they were traced (aot_eager), with one warning; backends of the device's graph engine mean the same."""
import functools
import warnings

import torch

_warned = False


def on_npu(inputs):
    return any(isinstance(x, torch.Tensor) and x.device.type == 'npu' for x in inputs)


def eager_graph(model, inputs):
    """aot_eager: autograd traced ahead of time, operators run one by one."""
    from torch._dynamo.backends.debugging import aot_eager
    return aot_eager(model, inputs)


def device_backend(model, inputs, **options):  # pylint: disable=unused-argument
    """The backends "npu" and "npugraph_ex", and torchair's."""
    return eager_graph(model, inputs)


def install():
    wrapper = torch._TorchCompileInductorWrapper
    inductor = wrapper.__call__

    def call(self, model, inputs):
        global _warned
        if not on_npu(inputs):
            return inductor(self, model, inputs)
        if not _warned:
            _warned = True
            warnings.warn('torch.compile on npu tensors of the emulation runs traced graphs operator by operator '
                          '(backend "aot_eager"); numbers are the same, speed is that of eager')
        return eager_graph(model, inputs)

    wrapper.__call__ = call
    compile_ = torch.compile

    @functools.wraps(compile_)
    def with_device(*args, **named):
        introduce()
        return compile_(*args, **named)

    torch.compile = with_device


@functools.cache
def introduce():
    """Makes the device known to dynamo, whose import takes a second: before the first compilation, not before."""
    from torch._dynamo.backends.registry import register_backend
    for name in ('npu', 'npugraph_ex'):
        register_backend(device_backend, name=name)
    register_interface()


def register_interface():
    """What dynamo asks of a device."""
    from torch._dynamo.device_interface import DeviceInterface, register_interface_for_device
    from . import npu

    class NpuInterface(DeviceInterface):
        """The emulated device."""
        Event, Stream = npu.Event, npu.Stream
        device = npu.device

        class Worker:
            """For compile workers, which have no device of their own."""
            set_device = staticmethod(npu.set_device)
            current_device = staticmethod(npu.current_device)
            get_device_properties = staticmethod(npu.get_device_properties)

        current_device = staticmethod(npu.current_device)
        set_device = staticmethod(npu.set_device)
        device_count = staticmethod(npu.device_count)
        is_available = staticmethod(npu.is_available)
        current_stream = staticmethod(npu.current_stream)
        set_stream = staticmethod(npu.set_stream)
        stream = staticmethod(npu.stream)
        synchronize = staticmethod(npu.synchronize)
        get_device_properties = staticmethod(npu.get_device_properties)

        @staticmethod
        def exchange_device(device):
            before = npu.current_device()
            if device >= 0:
                npu.set_device(device)
            return before

        maybe_exchange_device = exchange_device

        @staticmethod
        def get_raw_stream(index):
            return npu.current_stream(index).stream_id

        @staticmethod
        def get_compute_capability(device=None):  # pylint: disable=unused-argument
            return npu.get_soc_version()

        @staticmethod
        def is_bf16_supported(including_emulation=False):  # pylint: disable=unused-argument
            return True

    register_interface_for_device('npu', NpuInterface)
    for index in range(npu.device_count()):
        register_interface_for_device(f'npu:{index}', NpuInterface)
