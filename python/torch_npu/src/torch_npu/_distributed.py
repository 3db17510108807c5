# SPDX-License-Identifier: Apache-2.0
"""torch.distributed's backend "hccl": gloo, which sees npu tensors as what they are, host memory."""
import atexit
import weakref

import torch

_alive = weakref.WeakSet()


def install():
    if torch.distributed.is_available() and torch.distributed.is_gloo_available():
        torch.distributed.Backend.register_backend('hccl', make, extended_api=False, devices=['npu', 'cpu'])
        atexit.register(release_all)


def on_host(value):
    """Tensors of npu as tensors of the CPU over the same memory, in lists of any depth."""
    if isinstance(value, torch.Tensor):
        if value.device.type != 'npu':
            return value
        from . import _C
        return _C.host_view(value)
    if isinstance(value, (list, tuple)):
        return type(value)(on_host(item) for item in value)
    return value


OPERATIONS = ('allgather', 'allgather_coalesced', 'allgather_into_tensor_coalesced', 'allreduce', 'allreduce_coalesced',
              'alltoall', 'alltoall_base', 'barrier', 'broadcast', 'gather', 'monitored_barrier', 'recv', 'recv_anysource',
              'reduce', 'reduce_scatter', 'reduce_scatter_tensor_coalesced', 'scatter', 'send', '_allgather_base',
              '_reduce_scatter_base')


def make(store, rank, size, timeout):
    """The process group behind "hccl"."""
    group = hccl_type()(rank, size)
    group.gloo = torch.distributed.ProcessGroupGloo(store, rank, size, timeout)
    _alive.add(group)
    return group


def release_all():
    """gloo's threads end with its groups, which modules may hold until there is no interpreter left to end them."""
    for group in list(_alive):
        group.gloo = None


_type = None


def hccl_type():
    """The class, made when it is first needed: ProcessGroup is not in every build of torch."""
    global _type
    if _type is None:

        class Hccl(torch.distributed.ProcessGroup):
            """Every operation on the host's view of its tensors."""

            def getBackendName(self):  # pylint: disable=invalid-name
                return 'hccl'

        for name in OPERATIONS:
            if hasattr(torch.distributed.ProcessGroupGloo, name):
                setattr(Hccl, name, forwarded(name))
        _type = Hccl
    return _type


def forwarded(name):

    def run(self, *args, **named):
        return getattr(self.gloo, name)(*map(on_host, args), **{key: on_host(value) for key, value in named.items()})

    return run
