# SPDX-License-Identifier: Apache-2.0
"""torch_npu.npu_<operator>: the objects of torch.ops.npu, so that .default, .out and TorchScript work."""
import torch

import fattn.torch

ND = 2  # the only format of memory here


class Renaming:
    """An operator that also takes another spelling of a keyword; torch.ops.npu stays strict."""

    def __init__(self, packet, spellings):
        self._packet, self._spellings = packet, spellings
        self.__name__, self.__doc__ = packet.__name__, packet.__doc__

    def __call__(self, *args, **named):
        for alias, name in self._spellings.items():
            if alias in named:
                if name in named:
                    raise TypeError(f'{self.__name__}: {alias} and {name} are one argument; give one of them')
                named[name] = named.pop(alias)
        return self._packet(*args, **named)

    def __getattr__(self, name):
        return getattr(self._packet, name)

    def __repr__(self):
        return repr(self._packet)


# The guide spells the scale of fused inference as the other operators do.
SPELLINGS = {'npu_fused_infer_attention_score': {'scale_value': 'scale'}}


def npu_format_cast(tensor, acl_format, customize_dtype=None, input_dtype=None):  # pylint: disable=unused-argument
    """The tensor itself: host memory has one format."""
    return tensor


npu_format_cast_ = npu_format_cast


def get_npu_format(tensor):  # pylint: disable=unused-argument
    """2 (ND)."""
    return ND


def _found():
    for name in fattn.torch.SCHEMAS:
        base = name.partition('.')[0]
        packet = getattr(torch.ops.npu, base)
        yield base, Renaming(packet, SPELLINGS[base]) if base in SPELLINGS else packet


globals().update(_found())
__all__ = sorted({name.partition('.')[0] for name in fattn.torch.SCHEMAS})
