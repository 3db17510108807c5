# SPDX-License-Identifier: Apache-2.0
"""The training operators, forward, on tensors with memory: v1, v2, v3 and `.out`.

Arguments are gathered under the names of the schema, which the library knows too, and passed on; results are
allocated here.
"""
import torch

from .. import _core
from ..errors import ArgumentError
from . import schemas, shapes
from .generator import draw_seed
from .memory import new, one, placeholder

V1 = schemas.parameter_names(schemas.SCHEMAS['npu_fusion_attention'])
V3 = schemas.parameter_names(schemas.SCHEMAS['npu_fusion_attention_v3'])
OUT_V3 = 'attention_out, softmax_max, softmax_sum, softmax_out, seed, offset'
KEPT = 1e-9  # a keep_prob as near to 1 as this is no dropout

call = _core.call
float32, float64 = torch.float32, torch.float64


def gather(names, args, named):
    """Positional and keyword arguments in one dict."""
    named.update(zip(names, args))
    return named


def result_shapes(f):
    """(shape of attention_out, shape of the statistics) of a call."""
    query, heads = f['query'], f['head_num']
    letters = shapes.plain_reading(f['input_layout'], query.shape, heads)
    if letters:
        try:
            return shapes.training(letters, query.shape, f['key'].shape, f['value'].shape, heads)
        except (IndexError, ZeroDivisionError):
            pass
    (_, out), (_, stats), _ = _core.shapes('fusion_attention', f)  # reads it otherwise, or says what is wrong
    return out, stats


def new_results(f):
    """Memory for attention_out, softmax_max, softmax_sum."""
    query = f['query']
    dtype = query.dtype
    shape, stats = result_shapes(f)
    stats_dtype = float64 if dtype is float64 else float32
    return new(shape, dtype, query), new(stats, stats_dtype, query), new(stats, stats_dtype, query)


def draws(f):
    """True where the mask of a call is drawn: dropout, no mask, and no numbers given."""
    return (KEPT <= 1.0 - f.get('keep_prob', 1.0) < 1.0 and f.get('dropout_mask') is None
            and not f.get('seed') and not f.get('offset'))


def zero_mask(f):
    """The mask of seed 0 and offset 0, by itself: the library's forward takes two zeros for "draw some"."""
    cells = call('fusion_attention', {**f, 'keep_prob': 1.0})[2]
    mask = torch.empty((cells + 127) // 128 * 16, dtype=torch.uint8)
    dropped = 1 - torch.tensor(f['keep_prob'], dtype=float32)
    dtype = {torch.float16: 'f16', torch.bfloat16: 'bf16'}.get(f['query'].dtype, 'f32')
    call('dropout_gen_mask', {'sizes': [cells], 'p': float(dropped), 'dtype': dtype, 'mask': mask})
    return mask


def forward_into(f, results, numbers=None):
    """Calls the library; `numbers` = (seed, offset) to be taken as they are. Returns (seed, offset, numels)."""
    if numbers is None and 'keep_prob' in f and draws(f):
        numbers = draw_seed(f['query'].device)
    f['attention_out'], f['softmax_max'], f['softmax_sum'] = results
    if numbers is not None:
        f['seed'], f['offset'] = numbers
        if not any(numbers):
            f['dropout_mask'] = zero_mask(f)
    return call('fusion_attention', f)


def forward(f):
    """v1 and v2 with results of their own: (out, max, sum, placeholder, seed, offset, numels)."""
    results = new_results(f)
    return *results, placeholder(results[0]), *forward_into(f, results)


def forward_v3(f):
    """The same with seed and offset as tensors on the CPU, without numels."""
    *results, seed, offset, _ = forward(f)
    return *results, number(seed), number(offset)


def number(value):
    return torch.full((1, ), value, dtype=torch.int64)


def fusion_attention(*args, **named):
    return forward(gather(V1, args, named))


def fusion_attention_v3(*args, **named):
    return forward_v3(gather(V3, args, named))


def fusion_attention_v3_out(*args, workspace=None, out, **named):
    check_out('npu_fusion_attention_v3.out', out, OUT_V3)
    seed, offset, _ = forward_into(gather(V3, args, named), out[:3])
    for target, value in zip(out[4:], (seed, offset)):
        target.fill_(value)
    return tuple(out)


def check_out(name, out, names):
    count = names.count(',') + 1
    if len(out) != count:
        raise ArgumentError(f'{name}: out: {len(out)} tensors; give {count}: {names}')


def fusion_attention_v3_infer_output(query, key, value, head_num, input_layout):
    return new_results(dict(query=query, key=key, value=value, head_num=head_num, input_layout=input_layout))


def max_workspace(query, *args, **named):
    """A workspace that nothing is kept in: the library has its own."""
    return one(query.dtype, query)


def draw_seed_tensors(like, call):  # pylint: disable=unused-argument
    """fattn::draw_seed."""
    seed, offset = draw_seed(like.device)
    return number(seed), number(offset)


def lengths(f, qlen, kvlen):
    """Lengths that came as tensors, under the library's names."""
    if qlen is not None:
        f['actual_seq_qlen'] = qlen
    if kvlen is not None:
        f['actual_seq_kvlen'] = kvlen


def fusion_attention_seeded(query, key, value, head_num, input_layout, seed, offset, *, qlen=None, kvlen=None, **f):
    """fattn::fusion_attention_seeded."""
    f.update(query=query, key=key, value=value, head_num=head_num, input_layout=input_layout)
    lengths(f, qlen, kvlen)
    results = new_results(f)
    forward_into(f, results, (int(seed), int(offset)))
    return results
