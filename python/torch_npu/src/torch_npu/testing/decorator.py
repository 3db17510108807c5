# SPDX-License-Identifier: Apache-2.0
"""Decorators that give test methods their tensors' dtypes and formats."""
from .common_utils import parametrize


def Dtypes(*dtypes):  # pylint: disable=invalid-name
    """The test method once for each dtype, as argument `dtype`."""
    return parametrize('dtype', dtypes)


def Formats(*formats):  # pylint: disable=invalid-name
    """The test method once for each memory format, as argument `npu_format`."""
    return parametrize('npu_format', formats)


def instantiate_tests(cls=None, **_):
    """Class decorator of the device's tests; the methods here run their cases themselves."""
    return cls if cls is not None else instantiate_tests
