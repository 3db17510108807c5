# SPDX-License-Identifier: Apache-2.0
"""Which operator for which job, and how to set it up: the tables of the family's guide as data.

A version is that of the device's torch_npu, whose releases follow PyTorch's; the operators of this library are
all there whatever it is. None means the newest.
"""
import difflib
import re

# Operator -> the first version that has it (guide, 3.1).
SINCE = {
    'npu_fusion_attention': '2.1',
    'npu_incre_flash_attention': '2.1',
    'npu_prompt_flash_attention': '2.3',
    'npu_fused_infer_attention_score': '2.3',
    'npu_advance_step_flashattn': '2.5',
}

# Job -> operators, the best first (guide, 7.1). advance_step moves the lengths and slots of a vLLM step on; the
# attention of that step is fused_infer's.
_PREFERRED = {
    'training': ('npu_fusion_attention',),
    'inference': ('npu_fused_infer_attention_score', 'npu_incre_flash_attention'),
    'research': ('npu_fused_infer_attention_score', 'npu_incre_flash_attention'),
    'vllm': ('npu_advance_step_flashattn',),
}

# (operator, job) -> arguments (guide, 7.1). The guide also gives `sync` to the incremental operator, which has
# no such parameter.
_CONFIGS = {
    ('npu_fusion_attention', 'training'): {'keep_prob': 0.9, 'sparse_mode': 3, 'inner_precise': 1},
    ('npu_fusion_attention', 'inference'): {'keep_prob': 1.0, 'sparse_mode': 3, 'inner_precise': 0},
    ('npu_fused_infer_attention_score', 'inference'): {'sparse_mode': 3, 'softmax_lse_flag': True},
    ('npu_incre_flash_attention', 'inference'): {'inner_precise': 0},
}

# Kind of model -> arguments of the training operator (guide, 4.1).
TEMPLATES = {
    'gpt_training': {'sparse_mode': 3, 'pre_tokens': 65535, 'next_tokens': 0},
    'bert_training': {'sparse_mode': 0},
    'local_attention': {'sparse_mode': 4, 'pre_tokens': 128, 'next_tokens': 128},
    'prefix_lm': {'sparse_mode': 5, 'pre_tokens': 65535, 'next_tokens': 128},
}


def parse_version(text):
    """'2.10.0+cpu' -> (2, 10, 0): numbers compare as numbers, so 2.10 comes after 2.3.

    ValueError: the text does not begin with a number.
    """
    found = re.match(r'\d+(?:\.\d+)*', str(text).strip())
    if not found:
        raise ValueError(f'version {text!r} does not begin with a number such as 2.3')
    return tuple(int(part) for part in found.group().split('.'))


def _one_of(name, value, known):
    if value not in known:
        near = difflib.get_close_matches(str(value), known, 1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        raise ValueError(f'{name} {value!r} is not one of {", ".join(sorted(known))}{hint}')
    return value


def available(version=None):
    """Names of the operators that `version` has, in the order of their release."""
    if version is None:
        return list(SINCE)
    have = parse_version(version)
    return [name for name, since in SINCE.items() if have >= parse_version(since)]


def choose(use_case, version=None):
    """The operator for a job: 'training', 'inference', 'research' or 'vllm'.

    ValueError: an unknown job (the nearest one is named), or a version that has no operator for it (the first
    that does is named).
    """
    wanted = _PREFERRED[_one_of('use_case', use_case, _PREFERRED)]
    there = available(version)
    for name in wanted:
        if name in there:
            return name
    first = min(wanted, key=lambda name: parse_version(SINCE[name]))
    raise ValueError(f'use_case {use_case!r} needs {first}, which version {version} lacks; {SINCE[first]} has it')


def _full_name(operator):
    name = str(operator)
    return name if name.startswith('npu_') else 'npu_' + name


def config(operator, use_case):
    """Arguments that suit `operator` (with or without npu_) in a job; {} where nothing but the defaults is due.

    A new dict each time. ValueError: an unknown operator or job.
    """
    name = _one_of('operator', _full_name(operator), SINCE)
    return dict(_CONFIGS.get((name, _one_of('use_case', use_case, _PREFERRED)), {}))


def template(kind):
    """Arguments of the training operator for a kind of model: a key of TEMPLATES. A new dict each time.

    'bert_training' and 'prefix_lm' want an atten_mask from the caller, too (docs/masks.md).
    """
    return dict(TEMPLATES[_one_of('kind', kind, TEMPLATES)])
