# SPDX-License-Identifier: Apache-2.0
"""torch_npu.profiler over torch.profiler: the names of the device's profiler, the measurements of the CPU's."""
import enum

from torch.profiler import (profile, ProfilerAction, record_function, schedule, tensorboard_trace_handler)  # noqa: F401


class ProfilerActivity(enum.Enum):
    CPU = 'CPU'
    NPU = 'NPU'


class ProfilerLevel(enum.Enum):
    Level0, Level1, Level2, Level_none = range(4)


class AiCMetrics(enum.Enum):
    PipeUtilization, ArithmeticUtilization, Memory, MemoryL0, MemoryUB, AiCoreNone = range(6)


def _ExperimentalConfig(**settings):  # pylint: disable=invalid-name
    """What the device's counters would be told; there are none."""
    return settings


_profile = profile


class profile(_profile):  # noqa: F811  pylint: disable=invalid-name,function-redefined
    """torch.profiler.profile; NPU activities are those of the CPU, experimental settings are not there."""

    def __init__(self, *, activities=None, experimental_config=None, **more):  # pylint: disable=unused-argument
        from torch.profiler import ProfilerActivity as Torch
        super().__init__(activities=None if activities is None else [Torch.CPU], **more)
