# SPDX-License-Identifier: Apache-2.0
"""TestCase with the comparisons that the device's tests use."""
import sys
import unittest

import numpy as np
import torch


def numbers(value):
    """An array of float64 (or complex128); tensors of any device."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.double().numpy() if value.is_floating_point() else value.numpy()
    return np.asarray(value)


class TestCase(unittest.TestCase):
    """precision of assertEqual: 1e-5 unless `prec` says otherwise."""
    precision = 1e-5
    maxDiff = None

    def assertRtolEqual(self, x, y, prec=1e-4, prec16=1e-3, auto_trans_dtype=False, message=None):  # pylint: disable=invalid-name
        """Relative or absolute difference within prec (prec16 where both are 16-bit), as the device's tests mean it:
        an element may be off by prec * max(|x|, |y|) or by prec itself."""
        if isinstance(x, (list, tuple)):
            self.assertEqual(len(x), len(y), message)
            for a, b in zip(x, y):
                self.assertRtolEqual(a, b, prec, prec16, auto_trans_dtype, message)
            return
        small = all(getattr(t, 'dtype', None) in (torch.float16, torch.bfloat16, np.dtype('float16')) for t in (x, y))
        if not auto_trans_dtype and hasattr(x, 'dtype') and hasattr(y, 'dtype') and type(x) is type(y):
            self.assertEqual(str(x.dtype), str(y.dtype), message or f'dtypes {x.dtype} and {y.dtype} differ')
        a, b = numbers(x), numbers(y)
        self.assertEqual(a.shape, b.shape, message or f'shapes {a.shape} and {b.shape} differ')
        if not a.size:
            return
        a, b = (t.astype(np.complex128 if np.iscomplexobj(t) else np.float64) for t in (a, b))
        limit = prec16 if small else prec
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid='ignore'):
            off = np.where(same, 0.0, np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), 1.0))
        worst = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape) if off.shape else ()
        if not (off <= limit).all():
            self.fail(message or f'{int((~(off <= limit)).sum())} of {a.size} elements differ by more than {limit}; the worst '
                      f'is {list(map(int, worst))}: {a[worst]} and {b[worst]}')

    def assertEqual(self, x, y, prec=None, message='', allow_inf=False):  # pylint: disable=invalid-name,arguments-differ,arguments-renamed
        """Tensors element by element within prec; all else as unittest does."""
        if isinstance(prec, str):
            prec, message = None, prec
        if not isinstance(x, torch.Tensor) and not isinstance(y, torch.Tensor):
            if isinstance(x, (int, float)) and isinstance(y, (int, float)) and prec is not None:
                super().assertLessEqual(abs(x - y), prec, message or None)
            else:
                super().assertEqual(x, y, message or None)
            return
        a, b = numbers(x), numbers(y)
        super().assertEqual(a.shape, b.shape, message or None)
        limit = self.precision if prec is None else prec
        equal = (a == b) | (np.isnan(a.astype(np.float64)) & np.isnan(b.astype(np.float64)))
        with np.errstate(invalid='ignore'):
            close = equal if a.dtype == bool else equal | (np.abs(a - b) <= limit)
        self.assertTrue(bool(close.all()), message or f'tensors differ by more than {limit}')

    def assertNotEqual(self, x, y, prec=None, message=''):  # pylint: disable=invalid-name,arguments-differ,arguments-renamed
        try:
            self.assertEqual(x, y, prec, message)
        except AssertionError:
            return
        self.fail(message or 'equal, and should not be')


def run_tests():
    """unittest.main() with the command line's arguments."""
    unittest.main(argv=sys.argv)
