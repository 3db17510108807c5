# SPDX-License-Identifier: Apache-2.0
"""What the library warns of arrives as Python's warnings, once per process and place; so each case runs in a
process of its own."""
import subprocess
import sys
import textwrap

SETUP = '''
import sys, warnings
import numpy as np
import fattn
q = np.ones((1, 2, 4, 8), np.float32)

def causal(**more):
    return fattn.fusion_attention(q, q, q, 2, 'BNSD', sparse_mode=3, **more)
'''


def run(code, *options):
    done = subprocess.run([sys.executable, '-B', *options, '-c', SETUP + textwrap.dedent(code)], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def test_once_and_at_the_line_of_the_caller():
    done = run('''
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            causal()
            causal()
        [w] = caught
        assert issubclass(w.category, fattn.Warning) and issubclass(w.category, UserWarning)
        assert w.message.place == 'sparse_mode_without_mask', w.message.place
        assert 'sparse_mode: 3 without atten_mask' in str(w.message)
        assert w.filename == '<string>', w.filename
    ''')
    assert not done.stderr


def test_shown_by_default():
    assert 'Warning: sparse_mode: 3 without atten_mask' in run('causal()').stderr


def test_as_an_error_behind_the_call():
    run('''
        warnings.simplefilter('error')
        out = np.zeros_like(q)
        try:
            causal(attention_out=out)
            assert False
        except fattn.Warning as warning:
            assert warning.place == 'sparse_mode_without_mask'
        assert out.any()
    ''')


def test_a_callable_of_the_context():
    done = run('''
        told = []
        with fattn.Context(warn=lambda place, sentence: told.append((place, sentence))):
            causal()
        assert [place for place, _ in told] == ['sparse_mode_without_mask']
    ''')
    assert not done.stderr


def test_a_callable_that_calls_again():
    run('''
        told = []
        def warn(place, sentence):
            told.append(place)
            fattn.fusion_attention(q, q, q, 4, 'BSNH', context=context)  # warns, too: of the layout's name
        context = fattn.Context(warn=warn)
        causal(context=context)
        assert told == ['sparse_mode_without_mask', 'layout_alias'], told
    ''')


def test_a_callable_that_raises():
    run('''
        try:
            causal(context=fattn.Context(warn=lambda place, sentence: 1 / 0))
            assert False
        except ZeroDivisionError:
            pass
        causal()
    ''')


def test_a_refused_call_warns_of_nothing():
    run('''
        warnings.simplefilter('error')
        try:
            causal(keep_prob=0.0)
            assert False
        except fattn.ArgumentError:
            pass
        try:
            causal()
            assert False
        except fattn.Warning:
            pass
    ''')
