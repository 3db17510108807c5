# SPDX-License-Identifier: Apache-2.0
"""What all tests of fattn.torch share: the operators, and a fixed seed. The oracle over NumPy is tests/python's."""
import pathlib
import sys

import pytest
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import fattn.torch  # noqa: E402  pylint: disable=wrong-import-position,unused-import


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(20)


@pytest.fixture
def ops():
    return torch.ops.npu
