# SPDX-License-Identifier: Apache-2.0
"""plot.py — bench/plot_scaling.py reads what the suite `scaling` prints and refuses what it does not."""
import importlib.util
import json
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../bench/plot_scaling.py')
spec = importlib.util.spec_from_file_location('plot_scaling', SCRIPT)
plot_scaling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plot_scaling)


def row(name, **figures):
    return {'suite': 'scaling', 'name': name, 'dtype': 'f16', 'gflops': 128.0, 'extra_bytes': 1000} | figures


class Scaling(unittest.TestCase):
    def read(self, *rows):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'run.json')
            with open(path, 'w', encoding='utf-8') as file:
                json.dump({'machine': 'M', 'isa': 'avx2', 'threads': 2, 'rows': rows}, file)
            return plot_scaling.read([path])

    def test_figures(self):
        head, series = self.read(row('8x64x1024-b1-causal'), row('8x64x2048-b1-causal', extra_bytes=2000),
                                 row('8x64x2048-b1-band1024', dtype='f32'),
                                 row('8x64x4096-b1-causal', gflops=None))  # left out
        self.assertEqual(head, 'M, avx2, 2 threads')
        self.assertEqual(list(series), ['causal, f16', 'band1024, f32'])
        first, second = series['causal, f16']
        # 256 operations a pair at 128 a nanosecond
        self.assertEqual((first.length, first.pair_ps, first.extra), (1024, 2000.0, 1000))
        self.assertEqual(first.tensors, 4 * 8 * 1024 * 64 * 2)
        self.assertEqual(first.scores, 8 * 1024 * 1024 * 4)
        self.assertEqual((second.length, second.extra), (2048, 2000))
        self.assertEqual(series['band1024, f32'][0].tensors, 4 * 8 * 2048 * 64 * 4)

    def test_refused(self):
        for bad in (row('8x64x512-b4', suite='guide'), row('8x64x1024-b1'), row('8x64x1024-b1-causal', gflops=None)):
            with self.assertRaises(ValueError):
                self.read(bad)

    def test_picture(self):
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            print('not run: the picture of the suite scaling (no matplotlib)')
            self.skipTest('no matplotlib')
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'scaling.svg')
            plot_scaling.draw(*self.read(row('8x64x1024-b1-causal'), row('8x64x2048-b1-causal')), path)
            with open(path, encoding='utf-8') as file:
                text = file.read()
        self.assertIn('causal, f16', text)
        self.assertNotIn('<dc:date>', text)


if __name__ == '__main__':
    unittest.main()
