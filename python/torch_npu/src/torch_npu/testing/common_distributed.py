# SPDX-License-Identifier: Apache-2.0
"""Decorators of distributed tests."""
import functools
import unittest

import torch


def skipIfUnsupportMultiNPU(npu_number_needed):  # pylint: disable=invalid-name
    """The test needs that many devices (NPU_EMU_DEVICES)."""

    def decorate(function):
        have = torch.npu.device_count()
        return function if have >= npu_number_needed else unittest.skip(
            f'needs {npu_number_needed} devices, NPU_EMU_DEVICES is {have}')(function)

    return decorate


def with_comms(function):
    """init_pg() before, destroy_process_group() after."""

    @functools.wraps(function)
    def run(self, *args, **named):
        self.init_pg()
        try:
            return function(self, *args, **named)
        finally:
            torch.distributed.destroy_process_group()

    return run
