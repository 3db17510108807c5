# SPDX-License-Identifier: Apache-2.0
"""The package around the device: loading, refusing, alias mode, transfer_to_npu, testing, hccl, profiler."""
import os
import pathlib
import subprocess
import sys
import unittest

import numpy as np
import pytest
import torch
import torch_npu
from torch_npu.testing.common_distributed import skipIfUnsupportMultiNPU
from torch_npu.testing.common_utils import (create_common_tensor, create_dtype_tensor, freeze_rng_state, iter_indices,
                                            SkipIfNotGteCANNVersion, SupportedDevices, test_2args_broadcast)
from torch_npu.testing.decorator import Dtypes, Formats
from torch_npu.testing.testcase import TestCase


def test_version_is_torchs():
    assert torch_npu.__version__ == torch.__version__.partition('+')[0] + '.post0'


def test_the_banner_comes_once(script):
    done = script('''
        import torch, torch_npu
        for _ in range(3):
            torch.ones(2, device='npu')
    ''', NPU_EMU_BANNER='')
    assert done.stderr.count('this is an emulation of Ascend') == 1 and not done.stdout
    assert not script('import torch_npu', NPU_EMU_BANNER='').stderr  # nothing was used


def test_the_devices_name(script):
    code = 'import torch_npu; print(torch_npu.npu.get_device_name())'
    assert script(code, NPU_EMU_SOC='Ascend310P3').stdout.strip() == 'Ascend310P3'


@pytest.mark.parametrize('name, value', [('NPU_EMU_DEVICES', 'many'), ('NPU_EMU_MEMORY', 'much'), ('NPU_EMU_MODE', 'other')])
def test_wrong_environment(script, name, value):
    done = script('import torch_npu', check=False, **{name: value})
    assert done.returncode and f'{name}: "{value.upper() if "MEMORY" in name else value}"' in done.stderr


def test_other_devices_are_refused(script):
    done = script('''
        import torch
        torch.utils.rename_privateuse1_backend('other')
        import torch_npu
    ''', check=False)
    assert 'another device package has taken PyTorch\'s PrivateUse1 as "other"' in done.stderr


def test_the_vendors_package_is_refused(script, tmp_path):
    (tmp_path / 'torch_npu' / 'lib').mkdir(parents=True)
    (tmp_path / 'torch_npu' / 'lib' / 'libtorch_npu.so').touch()
    done = script(f'''
        import sys
        sys.path.append({str(tmp_path)!r})
        import torch_npu
    ''', check=False)
    assert f"the vendor's torch_npu is installed in {tmp_path}" in done.stderr


def test_the_import_leaves_the_environment_alone(script):
    done = script('''
        import os
        import torch_npu
        print(os.environ.get('TORCH_DEVICE_BACKEND_AUTOLOAD'))
    ''')
    assert done.stdout.strip() == 'None'


def installed(folder):
    """A folder with the entry point of an installed package."""
    info = folder / 'fattn_torch_npu-0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: fattn-torch-npu\nVersion: 0\n')
    (info / 'entry_points.txt').write_text('[torch.backends]\ntorch_npu = torch_npu:_autoload\n')
    return str(folder)


def test_autoload(tmp_path, script):
    """With the entry point `import torch` suffices."""
    done = script(f'''
        import sys
        sys.path.append({installed(tmp_path)!r})
        import torch
        print(torch.ones(2, device='npu').device)
    ''')
    assert done.stdout.strip() == 'npu:0'


def test_autoload_beside_the_vendors_package(tmp_path, script):
    """torch loads as if this package were not there; it says why when it is asked."""
    (tmp_path / 'other' / 'torch_npu' / 'lib').mkdir(parents=True)
    (tmp_path / 'other' / 'torch_npu' / 'lib' / 'libtorch_npu.so').touch()
    done = script(f'''
        import sys
        sys.path += [{installed(tmp_path)!r}, {str(tmp_path / 'other')!r}]
        import torch
        print(torch.ones(2).sum().item(), hasattr(torch, 'npu'))
        import torch_npu
        try:
            torch_npu.npu_fusion_attention
        except ImportError as error:
            print("the vendor's torch_npu is installed" in str(error))
    ''')
    assert done.stdout.split() == ['2.0', 'False', 'True']


ALIAS = '''
    import torch, torch_npu
    import torch.npu
    assert torch_npu.MODE == 'alias'
    x = torch.randn(1, 2, 4, 16, device='npu')
    y = x.npu()
    y.add_(1)
    assert not torch.equal(x, y) and x.to('npu') is not x
    m = torch.nn.Linear(3, 3).npu().to('npu')
    assert m(torch.ones(1, 3).to(torch.device('npu:0'))).shape == (1, 3)
    out = torch_npu.npu_fusion_attention(x.requires_grad_(), x, x, 2, 'BNSD', scale=0.25, keep_prob=0.9)[0]
    out.sum().backward()
    assert x.grad.shape == x.shape
    s, e = torch.npu.Stream(), torch.npu.Event(enable_timing=True)
    with torch.npu.stream(s):
        e.record()
    torch.npu.synchronize()
    torch.npu.manual_seed(3)
    print(torch.npu.is_available(), torch.npu.device_count(), torch.npu.memory_allocated(), torch.npu.get_device_name())
'''


def test_alias_mode(script):
    done = script(ALIAS, NPU_EMU_MODE='alias', NPU_EMU_DEVICES='1')
    assert done.stdout.split() == ['True', '1', '0', 'Ascend910B1']


TRANSFERRED = '''
    import torch
    import torch_npu
    from torch_npu.contrib import transfer_to_npu
    assert torch.cuda.is_available() and torch.cuda.device_count() == 2
    x = torch.randn(3, 4, device='cuda')
    y = torch.ones(3, 4).cuda()
    z = torch.zeros(2).to('cuda:1')
    m = torch.nn.Linear(4, 4).cuda()
    n = torch.nn.Linear(4, 4).to(torch.device('cuda', 0))
    assert {t.device.type for t in (x, y, z, m.weight, n.weight)} == {'npu'} and z.device.index == 1 and x.is_cuda
    torch.cuda.synchronize()
    torch.cuda.manual_seed_all(1)
    with torch.autocast('cuda', dtype=torch.float16):
        assert m(x).dtype == torch.float16
    with torch.cuda.amp.autocast():
        assert m(x).dtype == torch.float16
    scaler = torch.cuda.amp.GradScaler()
    assert torch.cuda.get_device_name().startswith('Ascend')
    g = torch.Generator(device='cuda')
    assert g.device.type == 'npu'
    torch.cuda.empty_cache()
    with torch.cuda.stream(torch.cuda.Stream()):
        pass
    print('fine')
'''


def test_scripts_for_cuda(script):
    assert script(TRANSFERRED).stdout.strip() == 'fine'


class Cases(TestCase):
    """The device's own test class."""

    def test_rtol(self):
        self.assertRtolEqual(torch.ones(3), torch.ones(3) + 5e-5)
        self.assertRtolEqual(torch.ones(3).npu(), torch.ones(3).npu())
        self.assertRtolEqual(np.ones(2, np.float16), np.ones(2, np.float16) + np.float16(0.00098))
        for a, b in ((torch.ones(3), torch.ones(3) + 1e-3), (torch.ones(3), torch.ones(4)),
                     (torch.ones(3), torch.full((3, ), torch.nan)), (torch.ones(3), torch.ones(3).double())):
            with self.assertRaises(AssertionError):
                self.assertRtolEqual(a, b)

    def test_equal(self):
        self.assertEqual(torch.ones(2), torch.ones(2).npu() + 1e-6)
        self.assertEqual(torch.ones(2), torch.ones(2) + 0.1, prec=0.2)
        self.assertEqual('a', 'a')
        self.assertNotEqual(torch.ones(2), torch.zeros(2))
        with self.assertRaises(AssertionError):
            self.assertEqual(torch.ones(2), torch.zeros(2))

    def test_inputs(self):
        on_cpu, on_npu = create_common_tensor([np.float16, 2, (3, 4)], -1, 1)
        self.assertTrue(on_npu.is_npu and on_cpu.dtype == on_npu.dtype == torch.float16)
        self.assertRtolEqual(on_cpu, on_npu.cpu())
        on_npu.zero_()
        self.assertTrue(bool(on_cpu.abs().sum() > 0))
        on_cpu, on_npu = create_dtype_tensor((5, ), torch.int32, no_zero=True)
        self.assertTrue(torch.equal(on_cpu, on_npu.cpu()) and bool((on_cpu != 0).all()))
        self.assertEqual(len(list(iter_indices(torch.ones(2, 3)))), 6)
        with freeze_rng_state():
            a = torch.randn(2, device='npu')
        self.assertEqual(torch.randn(2, device='npu'), a)
        test_2args_broadcast(torch.add)

    @SupportedDevices(['Ascend910B'])
    @SkipIfNotGteCANNVersion('8.0')
    def test_decorated(self):
        self.assertTrue(torch.npu.is_available())

    seen = []

    @Dtypes(torch.float16, torch.float32)
    @Formats(0, 2)
    def test_cases(self, dtype, npu_format):
        self.seen.append((dtype, npu_format))

    @SupportedDevices(['Ascend310P'])
    def test_for_another_device(self):
        self.fail('must be skipped')

    @skipIfUnsupportMultiNPU(3)
    def test_many_devices(self):
        self.fail('must be skipped')


def test_the_test_class():
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Cases).run(result)
    assert result.wasSuccessful(), result.failures + result.errors
    assert (result.testsRun, len(result.skipped)) == (7, 2) and len(set(Cases.seen)) == 4


WORKER = '''
import sys, torch, torch_npu
import torch.distributed as dist
rank = int(sys.argv[1])
dist.init_process_group('hccl', init_method='file://' + sys.argv[2], rank=rank, world_size=2)
x = torch.full((3,), float(rank + 1), device='npu')
dist.all_reduce(x)
assert x.is_npu and x.tolist() == [3, 3, 3], x
y = torch.full((2,), float(rank), device='npu')
dist.broadcast(y, src=1)
assert y.tolist() == [1, 1]
parts = [torch.zeros(2, device='npu') for _ in range(2)]
dist.all_gather(parts, torch.full((2,), float(rank), device='npu'))
assert [p.tolist() for p in parts] == [[0, 0], [1, 1]]
if rank == 0:
    dist.send(torch.ones(2, device='npu') * 7, dst=1)
else:
    z = torch.zeros(2, device='npu')
    dist.recv(z, src=0)
    assert z.tolist() == [7, 7]
dist.barrier()
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1).npu())
model(torch.full((1, 2), float(rank), device='npu')).sum().backward()
grad = model.module.weight.grad
assert grad.is_npu and grad.tolist() == [[0.5, 0.5]], grad
dist.destroy_process_group()
'''


def test_hccl(tmp_path):
    workers = [subprocess.Popen([sys.executable, '-B', '-c', WORKER, str(rank), str(tmp_path / 'store')],
                                stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    for worker in workers:
        errors = worker.communicate(timeout=240)[1]
        assert worker.returncode == 0, errors


def test_profiler():
    from torch_npu.profiler import profile, ProfilerActivity
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.NPU]) as seen:
        torch.ones(4, device='npu') + 1  # pylint: disable=expression-not-assigned
    assert any('add' in event.key for event in seen.key_averages())


def test_contributed_modules_are_named():
    with pytest.raises(AttributeError, match='is not part of the emulation'):
        torch_npu.contrib.npu_fused_attention_with_layernorm  # pylint: disable=pointless-statement


@pytest.mark.full
def test_wheel(tmp_path):
    """Built without a network, installed, found by `import torch`."""
    pytest.importorskip('scikit_build_core', reason='scikit-build-core is not installed')
    source = pathlib.Path(__file__).resolve().parents[1]
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    environment = {**os.environ, 'PIP_NO_INDEX': '1', 'CMAKE_BUILD_PARALLEL_LEVEL': str(os.cpu_count())}
    subprocess.run([*pip, 'wheel', '--no-build-isolation', '--no-deps', '-w', tmp_path, source], check=True, env=environment)
    [wheel] = tmp_path.glob('fattn_torch_npu-*.whl')
    subprocess.run([*pip, 'install', '--no-deps', '--target', tmp_path / 'site', wheel], check=True, env=environment)
    paths = os.pathsep.join([str(tmp_path / 'site'), environment.get('PYTHONPATH', '')])
    code = 'import torch; x = torch.ones(2, device="npu"); import torch_npu; print(x.device, torch_npu.MODE, torch_npu.__file__)'
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                          env={**environment, 'PYTHONPATH': paths}).stdout.split()
    assert said == ['npu:0', 'device', str(tmp_path / 'site' / 'torch_npu' / '__init__.py')]
