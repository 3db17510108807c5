# SPDX-License-Identifier: Apache-2.0
"""Decorators that give test methods their tensors."""
import functools
import itertools


class Dtypes:  # pylint: disable=too-few-public-methods
    """The test method once for each dtype, as argument `dtype`."""

    def __init__(self, *dtypes):
        self.dtypes = dtypes

    def __call__(self, function):

        @functools.wraps(function)
        def run(self_, *args, **named):
            for dtype in self.dtypes:
                with self_.subTest(dtype=dtype):
                    function(self_, *args, dtype=dtype, **named)

        return run


class Formats:  # pylint: disable=too-few-public-methods
    """The test method once for each memory format, as argument `npu_format`."""

    def __init__(self, *formats):
        self.formats = formats

    def __call__(self, function):

        @functools.wraps(function)
        def run(self_, *args, **named):
            for npu_format in self.formats:
                with self_.subTest(npu_format=npu_format):
                    function(self_, *args, npu_format=npu_format, **named)

        return run


def instantiate_tests(cls=None, **_):
    """Class decorator of the device's tests; the methods here run their cases themselves."""
    return cls if cls is not None else instantiate_tests


def product(*lists):
    return list(itertools.product(*lists))
