# SPDX-License-Identifier: Apache-2.0
"""A fixed seed for every test."""
import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(20)
