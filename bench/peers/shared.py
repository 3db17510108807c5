# SPDX-License-Identifier: Apache-2.0
"""shared.py — libfattn through ctypes, as the NumPy oracle of the tests calls it (tests/python)."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests' / 'python'))

from library import Args, Library, Plan, STORAGE, Tensor  # noqa: E402,F401
