"""The peak that it is for is checked in tests/test_tools/test_benchmarks.py."""
import os
import platform
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from sapiens_mm.backbones import SapiensViT
from sapiens_mm.engine import launch

# The first block of 16 MB that is freed raises the limit. After that a freed block stays with the process, as the
# heap goes on behind it.
SCRIPT = """
import torch
from pathlib import Path
from sapiens_mm.engine.launch import return_freed_memory

def resident():
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmRSS'))
    return int(line.split()[1]) / 1024

print(return_freed_memory() if {} else None)
torch.ones(4 << 20)
block, after = torch.ones(4 << 20), torch.ones(4 << 20)
before = resident()
del block
print(before - resident())
"""


def run(call: bool, **env) -> tuple[str, float]:
    env = {**{key: value for key, value in os.environ.items() if 'MALLOC' not in key}, **env}
    out = subprocess.run([sys.executable, '-c', SCRIPT.replace('{}', str(call))], env=env, check=True,
                         capture_output=True, text=True).stdout.split()
    return out[0], float(out[1])


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='for glibc')
def test_freed_memory_goes_back():
    said, returned = run(True)
    assert said == 'True'
    assert returned > 15
    assert run(False)[1] < 1


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='for glibc')
def test_the_users_choice_stands():
    assert run(True, MALLOC_MMAP_THRESHOLD_='1000000')[0] == 'False'


@pytest.mark.parametrize(('model', 'device', 'expected'), [
    (dict(backbone=dict(with_cp=True)), 'cpu', 1), (dict(backbone=dict(with_cp=True)), 'cuda', 0),
    (dict(backbone=dict(with_cp=False)), 'cpu', 0), (dict(), 'cpu', 0),
    (dict(parts=dict(a=dict(with_cp=True))), 'cpu', 1)])
def test_a_run_asks_for_it_where_it_recomputes_on_a_cpu(monkeypatch, model, device, expected):
    calls = []
    monkeypatch.setattr(launch, 'return_freed_memory', lambda: calls.append(1))
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    monkeypatch.setattr(RUNNERS, 'build', lambda cfg: None)
    launch.build_runner(Config(dict(model=model, runner_type='None')))
    assert len(calls) == expected


def test_a_model_by_itself_leaves_the_process_alone(monkeypatch):
    monkeypatch.setattr(launch.ctypes, 'CDLL', lambda *args: pytest.fail('malloc was changed'))
    launch.return_freed_memory.cache_clear()
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    SapiensViT(arch, img_size=(32, 32), with_cp=True)(torch.randn(1, 3, 32, 32))[0].sum().backward()
