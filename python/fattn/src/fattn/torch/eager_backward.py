# SPDX-License-Identifier: Apache-2.0
"""The gradients of the training operators on tensors with memory. All results lie contiguously."""
import torch

from .. import _core
from . import schemas
from .eager_training import check_out, gather, lengths
from .memory import same

GRAD = schemas.parameter_names(schemas.SCHEMAS['npu_fusion_attention_grad'])[:6]
BACKWARD = schemas.parameter_names(schemas.INTERNAL['fusion_attention_backward'])[:9]


def no_sink(query):
    return torch.empty(0, dtype=torch.float32, device=query.device)


def backward(f, dpse):
    """Calls the library; (dq, dk, dv, dpse, dq_rope, dk_rope, dsink), None for what there is no input of."""
    results = {
        'dq': same(f['query']), 'dk': same(f['key']), 'dv': same(f['value']), 'dpse': same(dpse),
        'dq_rope': same(f.get('query_rope')), 'dk_rope': same(f.get('key_rope')), 'dsink': same(f.get('sink'))
    }
    f.update(results)
    _core.call('fusion_attention_grad', f)
    return tuple(results.values())


def number(value):
    """A seed, given as a number, a tensor, or not at all."""
    return 0 if value is None else int(value)


def fusion_attention_grad(*args, **f):
    gather(GRAD, args, f)
    dq, dk, dv, dpse, _, _, dsink = backward(f, f.get('pse'))
    return dq, dk, dv, dpse, no_sink(dq) if dsink is None else dsink


def fusion_attention_grad_v2(*args, **f):
    gather(GRAD, args, f)
    *results, dsink = backward(f, f.get('pse'))
    return *results, no_sink(results[0]) if dsink is None else dsink


def fusion_attention_grad_v3(*args, seed=None, offset=None, **f):
    return fusion_attention_grad(*args, seed=number(seed), offset=number(offset), **f)


def fusion_attention_grad_v3_out(*args, workspace=None, out, seed=None, offset=None, **f):
    check_out('npu_fusion_attention_grad_v3.out', out, 'dq, dk, dv, dpse, dsink')
    gather(GRAD, args, f)
    f.update(seed=number(seed), offset=number(offset), dq=out[0], dk=out[1], dv=out[2])
    if f.get('pse') is not None:
        f['dpse'] = out[3]
    if f.get('sink') is not None:
        f['dsink'] = out[4]
    _core.call('fusion_attention_grad', f)
    return tuple(out)


def fusion_attention_backward(*args, qlen=None, kvlen=None, seed_drawn=None, offset_drawn=None, need_dpse=False, **f):
    """fattn::fusion_attention_backward."""
    gather(BACKWARD, args, f)
    lengths(f, qlen, kvlen)
    if seed_drawn is not None:
        f['seed'], f['offset'] = int(seed_drawn), int(offset_drawn)
    return backward(f, f.get('pse') if need_dpse else None)
