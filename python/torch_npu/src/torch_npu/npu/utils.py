# SPDX-License-Identifier: Apache-2.0
"""torch_npu.npu.utils: what scripts ask the device's package about its installation."""


def get_cann_version(module='CANN'):  # pylint: disable=unused-argument
    """A version that satisfies every check: no CANN is here."""
    return '99.0.0'


def get_npu_overflow_flag():
    """Overflow is seen in the numbers; there is no flag."""
    return False


def clear_npu_overflow_flag():
    """There is no flag."""


def npu_check_overflow(grad):
    """True where a tensor (or a number) is not finite."""
    import torch
    if isinstance(grad, torch.Tensor):
        return not bool(torch.isfinite(grad).all())
    return not -float('inf') < grad < float('inf')
