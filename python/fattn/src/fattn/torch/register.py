# SPDX-License-Identifier: Apache-2.0
"""Puts the operators into torch: namespace `npu`, and `fattn` for what they are made of."""
import threading

import torch

from ..errors import Error, Unsupported
from . import (autograd, devices, direct, eager_backward, eager_inference, eager_training, eager_updates, fake, lists,
               schemas)

# operator: kernel for tensors with memory, kernel for tensors without (None: not for graphs)
NPU = {
    'npu_fusion_attention': (eager_training.fusion_attention, fake.fusion_attention),
    'npu_fusion_attention_grad': (eager_backward.fusion_attention_grad, fake.fusion_attention_grad),
    'npu_fusion_attention_v2': (eager_training.fusion_attention, fake.fusion_attention),
    'npu_fusion_attention_grad_v2': (eager_backward.fusion_attention_grad_v2, fake.fusion_attention_grad_v2),
    'npu_fusion_attention_v3': (eager_training.fusion_attention_v3, fake.fusion_attention_v3),
    'npu_fusion_attention_v3.out': (eager_training.fusion_attention_v3_out, None),
    'npu_fusion_attention_grad_v3': (eager_backward.fusion_attention_grad_v3, fake.fusion_attention_grad),
    'npu_fusion_attention_grad_v3.out': (eager_backward.fusion_attention_grad_v3_out, None),
    '_npu_fusion_attention_v3_infer_output':
    (eager_training.fusion_attention_v3_infer_output, fake.fusion_attention_v3_infer_output),
    '_npu_fusion_attention_grad_v3_infer_output':
    (fake.fusion_attention_grad_v3_infer_output, fake.fusion_attention_grad_v3_infer_output),
    '_npu_fusion_attention_v3_get_max_workspace': (fake.max_workspace, fake.max_workspace),
    '_npu_fusion_attention_grad_v3_get_max_workspace': (fake.max_workspace, fake.max_workspace),
    'npu_prompt_flash_attention': (eager_inference.prompt_flash_attention, fake.one_result),
    'npu_incre_flash_attention': (eager_inference.incre_flash_attention, fake.one_result),
    'npu_fused_infer_attention_score':
    (eager_inference.fused_infer_attention_score, fake.fused_infer_attention_score),
    'npu_fused_infer_attention_score.out': (eager_inference.fused_infer_attention_score_out, None),
    '_npu_fused_infer_attention_score_get_max_workspace': (fake.max_workspace, fake.max_workspace),
    '_npu_fused_infer_attention_score_infer_output':
    (fake.fused_infer_attention_score_infer_output, fake.fused_infer_attention_score_infer_output),
    'npu_fused_infer_attention_score_v2':
    (eager_inference.fused_infer_attention_score_v2, fake.fused_infer_attention_score_v2),
    'npu_fused_infer_attention_score_v2.out': (eager_inference.fused_infer_attention_score_v2_out, None),
    '_npu_fused_infer_attention_score_v2_get_max_workspace': (fake.max_workspace, fake.max_workspace),
    '_npu_fused_infer_attention_score_v2_infer_output':
    (fake.fused_infer_attention_score_v2_infer_output, fake.fused_infer_attention_score_v2_infer_output),
    'npu_advance_step_flashattn': (eager_updates.advance_step_flashattn, fake.advance_step_flashattn),
    'npu_ring_attention_update': (eager_updates.ring_attention_update, fake.ring_attention_update),
    'npu_attention_update': (eager_updates.attention_update, fake.attention_update),
    '_npu_dropout_gen_mask.Tensor': (eager_updates.dropout_gen_mask_tensor, fake.dropout_gen_mask_tensor),
}
INTERNAL = {
    'draw_seed': (eager_training.draw_seed_tensors, fake.draw_seed),
    'fusion_attention_seeded': (eager_training.fusion_attention_seeded, fake.fusion_attention_seeded),
    'fusion_attention_backward': (eager_backward.fusion_attention_backward, fake.fusion_attention_backward),
}
DRAWING = ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3', 'draw_seed')
# Called per step or per token: worth a way past the dispatcher.
DIRECT = ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3', 'npu_prompt_flash_attention',
          'npu_incre_flash_attention', 'npu_fused_infer_attention_score', 'npu_fused_infer_attention_score_v2',
          'npu_advance_step_flashattn', 'npu_attention_update', 'npu_ring_attention_update')

_lock = threading.Lock()
_libraries = {}


def register():
    """Defines the operators, once per process; torch.ops.npu.<name> calls them from then on.

    They take CPU tensors and tensors of a PrivateUse1 device whose memory is host memory (torch_npu's "npu").
    Raises fattn.Error where another package, such as the device's own torch_npu, has defined namespace npu.
    """
    with _lock:
        if _libraries:
            return
        _libraries['npu'] = define_namespace('npu')
        _libraries['fattn'] = define_namespace('fattn')
        for name, (eager, meta) in NPU.items():
            define(_libraries['npu'], name, schemas.SCHEMAS[name], eager, meta)
        for name, (eager, meta) in INTERNAL.items():
            define(_libraries['fattn'], name, schemas.INTERNAL[name], eager, meta)
        define_gen_mask(_libraries['npu'])
        for version in autograd.VERSIONS.values():
            define_autograd(_libraries['npu'], version)
        for name in DIRECT:
            version = autograd.VERSIONS.get(name)
            direct.install(name, NPU[name][0], version and autograd.plain_kernel(version))


def define_namespace(name):
    try:
        return torch.library.Library(name, 'DEF')
    except RuntimeError as error:
        raise Error(f'torch.ops.{name}: another package has defined this namespace; fattn.torch and the device\'s '
                    f'own torch_npu cannot live in one process ({error})') from error


def define(library, name, schema, eager, meta):
    base, _, overload = name.partition('.')
    tags = [torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag]
    if name in DRAWING:
        tags.append(torch.Tag.nondeterministic_seeded)
    library.define(name + schema, tags=tuple(tags))
    positional = schemas.parameter_names(schema)
    library.impl(name, eager, 'CPU')
    library.impl(name, devices.checked(name, positional, eager), 'PrivateUse1')
    if name not in autograd.VERSIONS:  # no gradients, as on the device: results do not ask for any
        library.impl(name, torch.library.fallthrough_kernel, 'Autograd')
    if meta is None:  # writes into what it was given: no graphs
        return
    qualified = f'{library.ns}::{name}'
    torch.library.register_fake(qualified, devices.checked(name, positional, meta), lib=library)
    library.impl(name, refuse_vmap(name), 'FuncTorchBatched')
    if schemas.has_int_lists(schema) and library.ns == 'npu':
        wide = f'{base}.{overload}_lists' if overload else f'{base}.lists'
        wide_schema = schemas.lists_schema(schema)
        library.define(wide + wide_schema)
        library.impl(wide, lists.kernel(base, overload, wide_schema), 'CompositeImplicitAutograd')


def define_gen_mask(library):
    """The one operator without a tensor among its arguments: its device is named."""
    name = 'npu_dropout_gen_mask'
    library.define(name + schemas.SCHEMAS[name], tags=(torch.Tag.nondeterministic_seeded, ))
    library.impl(name, eager_updates.dropout_gen_mask, 'CompositeExplicitAutograd')


def define_autograd(library, version):
    version.op = getattr(torch.ops.npu, version.name).default
    version.check = devices.checker(version.name, schemas.parameter_names(schemas.SCHEMAS[version.name]))
    library.impl(version.name, autograd.autograd_kernel(version), 'Autograd', with_keyset=True)


def refuse_vmap(name):

    def refuse(*args, **named):
        raise Unsupported(f'{name}: torch.vmap is not supported; the operator has a batch axis of its own, or takes '
                          'many sequences under input_layout TND')

    return refuse
