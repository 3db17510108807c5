# SPDX-License-Identifier: Apache-2.0
"""The guide's tables, and its defect: versions compared as strings put 2.10 before 2.3."""
import pytest

from fattn import choice as c


@pytest.mark.parametrize('text, numbers', [('2.1', (2, 1)), ('2.10.0+cpu', (2, 10, 0)), (' 2.3rc1', (2, 3)), ('3', (3,))])
def test_versions_are_numbers(text, numbers):
    assert c.parse_version(text) == numbers


def test_a_version_without_numbers_is_refused():
    with pytest.raises(ValueError, match="'new'"):
        c.parse_version('new')


@pytest.mark.parametrize('job, version, operator', [
    ('training', '2.1', 'npu_fusion_attention'),
    ('inference', '2.1', 'npu_incre_flash_attention'),
    ('inference', '2.3', 'npu_fused_infer_attention_score'),
    ('inference', '2.10', 'npu_fused_infer_attention_score'),  # as strings '2.10' < '2.3'
    ('research', '2.2.9', 'npu_incre_flash_attention'),
    ('vllm', '2.5', 'npu_advance_step_flashattn'),
    ('vllm', '2.13.0', 'npu_advance_step_flashattn'),
    ('inference', None, 'npu_fused_infer_attention_score'),
])
def test_choose(job, version, operator):
    assert c.choose(job, version) == operator


def test_choose_names_the_first_version_that_would_do():
    with pytest.raises(ValueError, match='npu_advance_step_flashattn.*2.4.*2.5 has it'):
        c.choose('vllm', '2.4')


def test_choose_names_the_nearest_job():
    with pytest.raises(ValueError, match="did you mean 'training'"):
        c.choose('trainig')


def test_available_grows_with_the_version():
    assert c.available('2.1') == ['npu_fusion_attention', 'npu_incre_flash_attention']
    assert 'npu_prompt_flash_attention' in c.available('2.3') and 'npu_advance_step_flashattn' not in c.available('2.3')
    assert c.available() == c.available('2.5') == list(c.SINCE)


def test_config():
    assert c.config('npu_fusion_attention', 'training') == {'keep_prob': 0.9, 'sparse_mode': 3, 'inner_precise': 1}
    assert c.config('fused_infer_attention_score', 'inference') == {'sparse_mode': 3, 'softmax_lse_flag': True}
    assert c.config('npu_prompt_flash_attention', 'research') == {}
    with pytest.raises(ValueError, match='did you mean'):
        c.config('npu_fusion_atention', 'training')
    with pytest.raises(ValueError, match='use_case'):
        c.config('npu_fusion_attention', 'sleeping')


def test_a_config_is_the_callers_own():
    c.config('npu_fusion_attention', 'training')['keep_prob'] = 0.1
    c.template('gpt_training')['sparse_mode'] = 0
    assert c.config('npu_fusion_attention', 'training')['keep_prob'] == 0.9
    assert c.template('gpt_training')['sparse_mode'] == 3


def test_configs_name_parameters_that_exist():
    from fattn import _core
    fields = {}
    for op in _core.operators():
        names = set()
        for field in op['fields']:
            aliases = field['aliases'] or ()
            names |= {field['name'], *(aliases.split() if isinstance(aliases, str) else aliases)}
        fields['npu_' + op['name']] = names
    for (operator, _), arguments in c._CONFIGS.items():
        assert set(arguments) <= fields[operator], operator
    for arguments in c.TEMPLATES.values():
        assert set(arguments) <= fields['npu_fusion_attention']
    assert set(c.SINCE) <= set(fields)
