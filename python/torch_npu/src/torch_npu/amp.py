# SPDX-License-Identifier: Apache-2.0
"""torch_npu.npu.amp: mixed precision on the device "npu"."""
import torch


class autocast(torch.amp.autocast):  # pylint: disable=invalid-name
    """torch.autocast("npu")."""

    def __init__(self, enabled=True, dtype=torch.float16, cache_enabled=True):
        super().__init__('npu', enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(torch.amp.GradScaler):
    """torch.amp.GradScaler("npu"). dynamic=False, as on the device: the scale stays what it is; steps whose gradients
    overflow are still left out."""

    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, dynamic=True,
                 enabled=True):
        super().__init__('npu', init_scale=init_scale, growth_factor=growth_factor, backoff_factor=backoff_factor,
                         growth_interval=growth_interval, enabled=enabled)
        self._dynamic = dynamic

    def update(self, new_scale=None):
        if new_scale is None and self._enabled and not self._dynamic:
            new_scale = self._scale
        super().update(new_scale)


def custom_fwd(function=None, **named):
    return torch.amp.custom_fwd(function, device_type='npu', **named)


def custom_bwd(function=None, **named):
    return torch.amp.custom_bwd(function, device_type='npu', **named)
