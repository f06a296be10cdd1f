"""The peak that it is for is checked in tests/test_tools/test_benchmarks.py."""
import os
import platform
import subprocess
import sys

import pytest
import torch

from sapiens_mm.backbones import SapiensViT, sapiens_vit

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
# The first block of 16 MB that is freed raises the limit. After that a freed block stays with the process, as the
# heap goes on behind it.
SCRIPT = """
import torch
from pathlib import Path
from sapiens_mm.backbones.host_memory import return_freed_memory

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


@pytest.mark.parametrize(('with_cp', 'grad', 'expected'), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_the_backbone_asks_for_it_where_it_recomputes(monkeypatch, with_cp, grad, expected):
    calls = []
    monkeypatch.setattr(sapiens_vit, 'return_freed_memory', lambda: calls.append(1))
    model = SapiensViT(ARCH, img_size=(32, 32), with_cp=with_cp)
    with torch.set_grad_enabled(grad):
        model(torch.randn(1, 3, 32, 32))
    assert len(calls) == expected
