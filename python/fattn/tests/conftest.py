# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the Python package: random inputs, and the names of what could not run."""
import importlib.util
import os
import sys

import numpy as np
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(REPOSITORY, 'tests', 'python'))  # the NumPy oracle

_not_run = set()
collect_ignore = []
if importlib.util.find_spec('torch') is None:
    collect_ignore += ['torch_ops', 'integrations']
    _not_run.add('fattn.torch and integrations, torch is not installed')


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.skipped and isinstance(report.longrepr, tuple):
        _not_run.add(report.longrepr[2].removeprefix('Skipped: '))


def pytest_terminal_summary(terminalreporter):
    for reason in sorted(_not_run):  # scripts/test.sh collects these lines
        terminalreporter.write_line(f'not run: Python package: {reason}')


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def qkv(rng):
    """float32 query [1,4,5,16], key and value [1,2,9,16], layout BNSD."""
    return (rng.standard_normal((1, 4, 5, 16), np.float32), rng.standard_normal((1, 2, 9, 16), np.float32),
            rng.standard_normal((1, 2, 9, 16), np.float32))


@pytest.fixture
def torch():
    return pytest.importorskip('torch', reason='torch is not installed')


@pytest.fixture
def ml_dtypes():
    return pytest.importorskip('ml_dtypes', reason='ml_dtypes is not installed')


def pytest_configure(config):
    config.addinivalue_line('markers', 'full: takes minutes; runs with FATTN_TEST_FULL')


def pytest_collection_modifyitems(config, items):
    """Long tests are those of `make test-full`; here they are not tests that could not run."""
    if not os.environ.get('FATTN_TEST_FULL'):
        long = [item for item in items if item.get_closest_marker('full')]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
