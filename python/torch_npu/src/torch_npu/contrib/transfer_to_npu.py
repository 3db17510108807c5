# SPDX-License-Identifier: Apache-2.0
"""import torch_npu.contrib.transfer_to_npu: a script written for CUDA runs on the npu.

torch.cuda.* is torch.npu.*, .cuda() is .npu(), "cuda" in arguments that name a device is "npu", nccl is hccl. As with the
device's package torch.jit.script then returns what it was given.
"""
import functools

import torch

import torch_npu

FACTORIES = ('arange', 'as_tensor', 'asarray', 'bartlett_window', 'blackman_window', 'empty', 'empty_like',
             'empty_permuted', 'empty_quantized', 'empty_strided', 'eye', 'from_file', 'full', 'full_like', 'hamming_window',
             'hann_window', 'kaiser_window', 'linspace', 'logspace', 'load', 'normal', 'ones', 'ones_like', 'rand',
             'rand_like', 'randint', 'randint_like', 'randn', 'randn_like', 'randperm', 'range', 'scalar_tensor',
             'sparse_coo_tensor', 'tensor', 'tril_indices', 'triu_indices', 'zeros', 'zeros_like', 'autocast', 'set_default_device',
             'get_autocast_dtype', 'is_autocast_enabled')
TENSOR_METHODS = ('new_empty', 'new_empty_strided', 'new_full', 'new_ones', 'new_tensor', 'new_zeros', 'to', 'pin_memory')
MODULE_METHODS = ('to', 'to_empty')


def replaced(value):
    """A value that names a CUDA device, naming the npu."""
    if isinstance(value, str) and (value == 'cuda' or value.startswith('cuda:')):
        return 'npu' + value[4:]
    if isinstance(value, torch.device) and value.type == 'cuda':
        return torch.device('npu', value.index or 0)
    if isinstance(value, dict):
        return {replaced(k): replaced(v) for k, v in value.items()}
    return value


def on_npu(function):
    """The function with the devices among its arguments replaced."""

    @functools.wraps(function)
    def wrapped(*args, **named):
        return function(*map(replaced, args), **{name: replaced(value) for name, value in named.items()})

    return wrapped


def wrap_all(owner, names):
    for name in names:
        found = getattr(owner, name, None)
        if found is None:
            continue
        if isinstance(found, type):  # a class stays one, for isinstance()
            found.__init__ = on_npu(found.__init__)
        else:
            setattr(owner, name, on_npu(found))


def transfer():
    wrap_all(torch, FACTORIES)
    wrap_all(torch.Tensor, TENSOR_METHODS)
    wrap_all(torch.nn.Module, MODULE_METHODS)
    torch.Tensor.cuda = torch.Tensor.npu
    torch.nn.Module.cuda = torch.nn.Module.npu
    torch.Tensor.is_cuda = torch.Tensor.is_npu
    npu = torch_npu.npu
    for name in dir(npu):
        if not name.startswith('__'):
            setattr(torch.cuda, name, getattr(npu, name))
    torch.cuda.amp.autocast, torch.cuda.amp.GradScaler = npu.amp.autocast, npu.amp.GradScaler
    torch.amp.GradScaler.__init__ = on_npu(torch.amp.GradScaler.__init__)
    torch.cuda.CUDAGraph = npu.NPUGraph
    torch.Generator = generator_class(torch.Generator)
    torch.jit.script = lambda obj, *args, **named: obj
    torch.backends.cuda.is_built = lambda: True
    if torch.distributed.is_available():
        wrap_distributed(torch.distributed)


def generator_class(original):

    class Generator(original):
        """torch.Generator that takes "cuda" for "npu"."""

        def __new__(cls, device='cpu'):
            return original(device=replaced(device))

    return Generator


def wrap_distributed(distributed):
    original = distributed.init_process_group

    @functools.wraps(original)
    def init_process_group(backend=None, *args, **named):
        return original('hccl' if backend == 'nccl' else backend, *args, **named)

    distributed.init_process_group = init_process_group
    distributed.is_nccl_available = lambda: True


transfer()
