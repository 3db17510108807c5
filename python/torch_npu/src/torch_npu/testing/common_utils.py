# SPDX-License-Identifier: Apache-2.0
"""Inputs and decorators of the device's tests."""
import contextlib
import functools
import itertools
import os
import unittest
from collections.abc import Iterable

import numpy as np
import torch

from .testcase import TestCase, run_tests  # noqa: F401

UNIT = {np.float16: torch.float16, np.float32: torch.float32}


def set_npu_device():
    torch.npu.set_device(get_npu_device())


def get_npu_device():
    """SET_NPU_DEVICE of the environment, or npu:0."""
    device = os.environ.get('SET_NPU_DEVICE', '0')
    return device if device.startswith('npu') else f'npu:{device}'


def create_common_tensor(item, minValue, maxValue, device=None):  # pylint: disable=invalid-name
    """[dtype, format, shape] -> (CPU tensor, npu tensor) with the same numbers in memory of their own."""
    dtype, _, shape = item
    values = np.random.uniform(minValue, maxValue, shape).astype(dtype)
    on_cpu = torch.from_numpy(values)
    return on_cpu, torch.from_numpy(values.copy()).to(device or get_npu_device())


def create_dtype_tensor(shape, dtype, npu_format=-1, min_value=-5, max_value=5, no_zero=False, device=None):  # pylint: disable=unused-argument
    """(CPU tensor, npu tensor) of a torch dtype."""
    if dtype == torch.bool:
        on_cpu = torch.randint(0, 2, shape).bool()
    elif dtype.is_floating_point or dtype.is_complex:
        on_cpu = (torch.rand(shape, dtype=torch.float32) * (max_value - min_value) + min_value).to(dtype)
    else:
        on_cpu = torch.randint(int(min_value), int(max_value) + 1, shape).to(dtype)
    if no_zero:
        on_cpu = on_cpu.where(on_cpu != 0, torch.ones((), dtype=dtype))
    return on_cpu, on_cpu.clone().to(device or get_npu_device())


class SupportedDevices:  # pylint: disable=too-few-public-methods
    """The test runs on the named devices only; the emulation is one of them."""

    def __init__(self, supported_devices, *more):  # pylint: disable=unused-argument
        self.supported = supported_devices

    def __call__(self, function):
        name = torch.npu.get_device_name()
        here = not self.supported or any(str(s) in name or name.startswith(str(s)[:9]) for s in self.supported)
        return function if here else unittest.skip(f'only for {self.supported}, this is {name}')(function)


class SkipIfNotGteCANNVersion:  # pylint: disable=too-few-public-methods
    """No CANN is here, and none is too old."""

    def __init__(self, version):
        self.version = version

    def __call__(self, function):
        return function


class SkipIfRNGIsNot:  # pylint: disable=too-few-public-methods
    """For tests that know the device's random numbers."""

    def __call__(self, function):
        return unittest.skip('the random numbers of the device are not emulated outside the attention operators')(function)


@contextlib.contextmanager
def freeze_rng_state():
    """The generators are afterwards what they were."""
    on_cpu, on_npu = torch.get_rng_state(), torch.npu.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(on_cpu)
        torch.npu.set_rng_state(on_npu)


def iter_indices(tensor):
    """Every index of a tensor."""
    if tensor.dim() == 0:
        return iter(())
    if tensor.dim() == 1:
        return iter(range(tensor.size(0)))
    return itertools.product(*(range(s) for s in tensor.size()))


def is_iterable(obj):
    return isinstance(obj, Iterable)


def check_operators_in_prof(expected_operators, profiler, unexpected_operators=None):
    """Are the operators among those that a profile saw?"""
    seen = {event.key for event in profiler.key_averages()}
    return all(op in seen for op in expected_operators) and not any(op in seen for op in unexpected_operators or [])


def test_2args_broadcast(function):
    """The function on shapes that broadcast, npu against CPU."""
    for a, b in (((2, 3), (3, )), ((1, 4), (5, 1)), ((2, 1, 3), (4, 1))):
        x, y = torch.randn(a), torch.randn(b)
        torch.testing.assert_close(function(x.npu(), y.npu()).cpu(), function(x, y))


test_2args_broadcast.__test__ = False  # a helper, not a test


def parametrize(name, values):
    """One run of a test method for each value."""

    def decorate(method):

        @functools.wraps(method)
        def run(self, *args, **named):
            for value in values:
                with self.subTest(**{name: value}):
                    method(self, *args, **{name: value}, **named)

        return run

    return decorate
