# SPDX-License-Identifier: Apache-2.0
"""What the operators return for tensors without memory: shapes, dtypes, devices. Data is never looked at, and a
call that the library would refuse may well have shapes here.

The numbers that v1 and v2 return are 0, 0 and numels, and a compiled graph keeps them as constants: seed and
offset of a drawn mask are not among its results.
"""
import torch

from . import dtypes, shapes
from .eager_backward import BACKWARD, GRAD
from .eager_inference import V1 as INFER_V1, V2 as INFER_V2
from .eager_training import V1, V3, gather
from .eager_updates import mask_bytes


def results(query, key, value, head_num, input_layout):
    """(letters, attention_out, softmax_max, softmax_sum)."""
    heads = head_num or query.shape[2 if input_layout == 'BSND' else 1]
    letters = shapes.lenient_reading(input_layout, query.shape, heads)
    out, stats = shapes.training(letters, query.shape, key.shape, value.shape, heads)
    dtype = torch.float64 if query.dtype is torch.float64 else torch.float32
    return letters, (query.new_empty(out), query.new_empty(stats, dtype=dtype), query.new_empty(stats, dtype=dtype))


def fusion_attention(*args, **f):
    gather(V1, args, f)
    letters, made = results(*args[:3], f['head_num'], f['input_layout'])
    query, key = args[:2]
    numels = shapes.numels(letters, query.shape, key.shape, f['head_num'], f.get('actual_seq_qlen'),
                           f.get('actual_seq_kvlen'))
    return *made, query.new_empty(0), 0, 0, numels


def number():
    return torch.empty(1, dtype=torch.int64, device='cpu')


def fusion_attention_v3(*args, **f):
    gather(V3, args, f)
    _, made = results(*args[:3], f['head_num'], f['input_layout'])
    return *made, args[0].new_empty(0), number(), number()


def fusion_attention_seeded(query, key, value, head_num, input_layout, seed, offset, **f):
    return results(query, key, value, head_num, input_layout)[1]


def draw_seed(like, call):
    return number(), number()


def fusion_attention_v3_infer_output(query, key, value, head_num, input_layout):
    return results(query, key, value, head_num, input_layout)[1]


def like(tensor):
    return None if tensor is None else tensor.new_empty(tensor.shape)


def no_sink(query):
    return query.new_empty(0, dtype=torch.float32)


def gradients(f, dpse):
    return (like(f['query']), like(f['key']), like(f['value']), like(dpse), like(f.get('query_rope')),
            like(f.get('key_rope')), like(f.get('sink')))


def fusion_attention_backward(*args, need_dpse=False, **f):
    gather(BACKWARD, args, f)
    return gradients(f, f.get('pse') if need_dpse else None)


def fusion_attention_grad_v2(*args, **f):
    gather(GRAD, args, f)
    *made, dsink = gradients(f, f.get('pse'))
    return *made, no_sink(args[0]) if dsink is None else dsink


def fusion_attention_grad(*args, **f):
    dq, dk, dv, dpse, _, _, dsink = fusion_attention_grad_v2(*args, **f)
    return dq, dk, dv, dpse, dsink


def fusion_attention_grad_v3_infer_output(query, key, value, pse=None, sink=None):
    return (like(query), like(key), like(value), query.new_empty(0) if pse is None else like(pse),
            no_sink(query) if sink is None else like(sink))


def max_workspace(query, *args, **named):
    return query.new_empty(1)


def inference(query, value, layout, heads, kv_heads, block_table, value_code=None):
    """(shape of attention_out, shape of softmax_lse)."""
    letters = shapes.lenient_reading(layout, query.shape, heads)
    packing = dtypes.NUMBERS_PER_ELEMENT.get(value.dtype, 2 if value_code in (296, 297) else 1)
    columns = shapes.value_dim(value.shape, letters[0], kv_heads or heads, block_table is not None, packing)
    return shapes.inference(letters, query.shape, columns, heads)


def one_result(query, key, value, *, num_heads=1, num_key_value_heads=0, input_layout='BSH', block_table=None,
               quant_scale2=None, **f):
    shape, _ = inference(query, value, input_layout, num_heads, num_key_value_heads, block_table)
    return query.new_empty(shape, dtype=dtypes.of_result(query, quant_scale2))


def fused(names, query, value, f):
    _, heads, flag, output_scale = names
    shape, lse_shape = inference(query, value, f.get('input_layout', 'BSH'), f.get(heads, 1),
                                 f.get('num_key_value_heads', 0), f.get('block_table'), f.get('value_dtype'))
    dtype = dtypes.of_result(query, f.get(output_scale), f.get('query_rope'), f.get('out_dtype'))
    return (query.new_empty(shape, dtype=dtype),
            query.new_empty(lse_shape if f.get(flag) else (1, ), dtype=torch.float32))


def fused_infer_attention_score(query, key, value, **f):
    return fused(INFER_V1, query, value, f)


def fused_infer_attention_score_v2(query, key, value, **f):
    return fused(INFER_V2, query, value, f)


def fused_infer_attention_score_infer_output(query, value, third=None, **f):
    """The second tensor is the value, or, where there are three, the key."""
    return fused(INFER_V1, query, value if third is None else third, f)


def fused_infer_attention_score_v2_infer_output(query, value, third=None, **f):
    return fused(INFER_V2, query, value if third is None else third, f)


def advance_step_flashattn(*args, **f):
    return None


def ring_attention_update(*args, **f):
    return tuple(like(tensor) for tensor in args[:3])


def attention_update(lse, local_out, update_type):
    return like(local_out[0]), like(lse[0]) if update_type == 1 else None


def dropout_gen_mask_tensor(like, size, p, seed, offset, **f):
    return like.new_empty(mask_bytes(size), dtype=torch.uint8)
