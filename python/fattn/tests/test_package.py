# SPDX-License-Identifier: Apache-2.0
"""What an installation is: what it imports, its stubs, its wheel."""
import importlib.util
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import fattn

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REPOSITORY = os.path.dirname(os.path.dirname(ROOT))


def python(code, **env):
    """Lines that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, '-B', '-c', code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_import_brings_neither_torch_nor_numpy():
    new = python('import sys; before = set(sys.modules); import fattn; print(*sorted(set(sys.modules) - before))')[0]
    loaded = {name.partition('.')[0] for name in new.split()}
    assert 'fattn' in loaded and not loaded & {'torch', 'numpy', 'ml_dtypes', 'typing', 'inspect', 're', 'ctypes'}


def test_it_works_without_numpy():
    assert python('''
import array, sys
sys.modules['numpy'] = None
import fattn
q = memoryview(array.array('f', range(8))).cast('B').cast('f', [1, 1, 2, 4])
out, *_ = fattn.fusion_attention(q, q, q, 1, 'BNSD')
print(type(out).__name__, out.shape, round(out[0, 0, 1, 3]))
''') == ['memoryview (1, 1, 2, 4) 7']


def test_results_and_functions_can_be_pickled(qkv):
    result = fattn.fusion_attention(*qkv, 4, 'BNSD')
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is type(result) and np.array_equal(again.attention_out, result.attention_out)
    assert pickle.loads(pickle.dumps(fattn.fusion_attention)) is fattn.fusion_attention


def test_names():
    assert set(fattn.OPERATORS) <= set(fattn.__all__) <= set(dir(fattn))
    for name in fattn.__all__:
        assert getattr(fattn, name) is not None
    assert fattn.fusion_attention.__name__ == 'fusion_attention' and fattn.fusion_attention.__module__ == 'fattn'


def test_version_is_that_of_the_library():
    with open(os.path.join(REPOSITORY, 'CMakeLists.txt')) as lists:
        assert f'project(fattn VERSION {fattn.__version__} ' in lists.read()


def test_stubs_are_current():
    spec = importlib.util.spec_from_file_location('stubs', os.path.join(ROOT, 'stubs.py'))
    stubs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stubs)
    written = stubs.stubs()
    assert set(written) == {'__init__.pyi', '_core.pyi', 'operators.pyi'}
    for name, text in written.items():
        compile(text, name, 'exec')
        with open(os.path.join(ROOT, 'src', 'fattn', name)) as file:
            assert file.read() == text, f'run python/fattn/stubs.py: {name} is not current'


def test_py_typed():
    assert os.path.exists(os.path.join(ROOT, 'src', 'fattn', 'py.typed'))


def test_the_extension_exports_its_entry_only():
    done = subprocess.run(['nm', '-D', '--defined-only', fattn._core.__file__], capture_output=True, text=True)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ['PyInit__core']


@pytest.mark.full
def test_wheel(tmp_path):
    pytest.importorskip('scikit_build_core', reason='wheel (scikit-build-core is not installed)')
    env = {**os.environ, 'PIP_NO_INDEX': '1', 'CMAKE_BUILD_PARALLEL_LEVEL': str(os.cpu_count())}
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    subprocess.run([*pip, 'wheel', '--no-build-isolation', '--no-deps', '-w', tmp_path, ROOT], check=True, env=env)
    [wheel] = tmp_path.glob('*.whl')
    assert wheel.name.startswith(f'fattn-{fattn.__version__}-cp311-abi3-')
    names = zipfile.ZipFile(wheel).namelist()
    assert {'fattn/_core.abi3.so', 'fattn/py.typed', 'fattn/__init__.py', 'fattn/operators.pyi'} <= set(names)
    subprocess.run([*pip, 'install', '--no-deps', '--target', tmp_path / 'site', wheel], check=True, env=env)
    told = python('import fattn; print(fattn.__file__, fattn.__version__)', PYTHONPATH=str(tmp_path / 'site'))
    assert told == [f"{tmp_path / 'site' / 'fattn' / '__init__.py'} {fattn.__version__}"]
