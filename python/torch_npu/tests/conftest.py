# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of torch_npu: the emulated device, loaded once, and processes of their own."""
import os
import pathlib
import subprocess
import sys
import textwrap

os.environ.setdefault('NPU_EMU_BANNER', '0')
os.environ.setdefault('NPU_EMU_DEVICES', '2')
REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
for folder in ('tests/python', 'python/fattn/tests/torch_ops'):
    sys.path.insert(0, str(REPOSITORY / folder))

import torch  # noqa: E402
import torch_npu  # noqa: E402
import pytest  # noqa: E402

collect_ignore = []
if torch_npu.MODE != 'device':
    raise RuntimeError('torch_npu._C is not built; these tests need the device')


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(20)


@pytest.fixture
def script():
    """script(code, ENV=...) -> the finished process of a Python script."""

    def run(code, check=True, **environment):
        done = subprocess.run([sys.executable, '-B', '-c', textwrap.dedent(code)], capture_output=True, text=True,
                              timeout=300, check=False, env={**os.environ, **environment})
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def pytest_configure(config):
    config.addinivalue_line('markers', 'full: takes minutes; runs with FATTN_TEST_FULL')


def pytest_collection_modifyitems(config, items):
    """Long tests are those of `make test-full`; here they are not tests that could not run."""
    if not os.environ.get('FATTN_TEST_FULL'):
        long = [item for item in items if item.get_closest_marker('full')]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
