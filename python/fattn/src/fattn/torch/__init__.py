# SPDX-License-Identifier: Apache-2.0
"""fattn.torch: the operators as torch operators, torch.ops.npu.npu_fusion_attention and its family.

Importing it registers them. They have the schemas of the device's own package, run on CPU tensors (and on an "npu"
of torch_npu, whose memory is the host's), are differentiable where the device's are, and work under torch.compile,
torch.jit.script, torch.export and torch.utils.checkpoint; torch.vmap is refused. A float64 tensor runs on the
reference, so that torch.autograd.gradcheck holds.
"""
from .generator import set_seed_source
from .register import register
from .schemas import SCHEMAS

__all__ = ['SCHEMAS', 'register', 'set_seed_source']

register()
