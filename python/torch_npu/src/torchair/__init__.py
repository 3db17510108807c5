# SPDX-License-Identifier: Apache-2.0
"""torchair without its graph engine: get_npu_backend() gives a backend of torch.compile that runs traced graphs operator
by operator."""
from types import SimpleNamespace

import torch_npu
from torch_npu._compile import device_backend


class CompilerConfig:  # pylint: disable=too-few-public-methods
    """Takes any of the engine's settings; none has an effect."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        found = SimpleNamespace() if name in ('value', ) else CompilerConfig()
        object.__setattr__(self, name, found)
        return found


def get_npu_backend(*, compiler_config=None, custom_decompositions=None):  # pylint: disable=unused-argument
    """A backend for torch.compile(backend=...)."""
    return device_backend


def get_compiler(compiler_config=None):  # pylint: disable=unused-argument
    return device_backend


__version__ = torch_npu.__version__
