"""Tests of launchers, host memory and resuming."""
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from sapiens_mm.backbones import SapiensViT
from sapiens_mm.engine import launch

ROOT = Path(__file__).resolve().parents[2]

# What a process of a Slurm run knows of itself once the runner's other parts are about to be built.
REPORT = """
import os
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.registry import RUNNERS
from sapiens_mm.engine.launch import build_runner, leave_process_group

@RUNNERS.register_module()
class Report:
    @classmethod
    def from_cfg(cls, cfg):
        ranks = torch.tensor([1 << dist.get_rank()])
        dist.all_reduce(ranks)
        print(dist.get_backend(), dist.get_rank(), dist.get_world_size(), 'ranks', int(ranks), 'threads',
              torch.get_num_threads(), cfg.model_wrapper_cfg.device_ids,
              *(os.environ[name] for name in ('LOCAL_RANK', 'MASTER_ADDR')))

build_runner(Config(dict(launcher='slurm', runner_type='Report')))
leave_process_group()
"""


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def slurm_process(monkeypatch):
    """The variables of a process that srun started, as far as we read them."""
    # Set by the start; with values from here they are put back after the test.
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_PORT', 'MASTER_ADDR'):
        monkeypatch.setenv(name, '12345')
    variables = dict(SLURM_PROCID='5', SLURM_NTASKS='7', SLURM_LOCALID='1', SLURM_NODEID='2',
                     SLURM_STEP_TASKS_PER_NODE='2(x3),1', SLURM_STEP_NODELIST='n[3-6]')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_slurm_without_srun_is_refused(monkeypatch):
    monkeypatch.delenv('SLURM_STEP_TASKS_PER_NODE', raising=False)
    with pytest.raises(RuntimeError, match='slurm.*SLURM_STEP_TASKS_PER_NODE'):
        launch.build_runner(Config(dict(launcher='slurm')))


@pytest.mark.parametrize('scontrol', [None, '#!/bin/sh\necho no such list >&2; exit 1\n'])
def test_slurm_that_cannot_name_the_first_node_is_refused(slurm_process, monkeypatch, tmp_path, scontrol):
    monkeypatch.delenv('MASTER_ADDR')
    monkeypatch.setenv('PATH', str(tmp_path))
    if scontrol:
        executable(tmp_path / 'scontrol', scontrol)
    with pytest.raises(RuntimeError, match=r'n\[3-6\]'):
        launch.build_runner(Config(dict(launcher='slurm')))


def test_mpi_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    with pytest.raises(RuntimeError, match="'mpi'"):
        launch.build_runner(Config(dict(launcher='mpi')))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    with pytest.raises(RuntimeError, match='got 4 .* 2 GPUs'):
        launch.build_runner(Config(dict(launcher='pytorch')))


def test_more_slurm_processes_than_gpus_are_refused(slurm_process, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(RuntimeError, match='got 2 .* 1 GPUs'):
        launch.build_runner(Config(dict(launcher='slurm')))


@pytest.mark.parametrize(('counts', 'expected'), [
    ('1', '1'),
    ('8(x2)', '88'),
    ('2(x3),1', '2221'),
    ('4,2(x2)', '422'),
])
def test_processes_of_each_slurm_node(slurm_process, monkeypatch, counts, expected):
    monkeypatch.setenv('SLURM_STEP_TASKS_PER_NODE', counts)
    for node, processes in enumerate(expected):
        monkeypatch.setenv('SLURM_NODEID', str(node))
        launch._name_process_as_slurm()
        assert os.environ['LOCAL_WORLD_SIZE'] == processes
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    assert [os.environ[name] for name in names] == ['5', '7', '1', '12345', '12345']


@pytest.mark.skipif(torch.cuda.is_available(), reason='CPU processes are for machines without a GPU')
@pytest.mark.parametrize('master', ['scontrol', 'environment'])
def test_two_slurm_processes_without_a_gpu(tmp_path, master):
    """Started as srun does on one node of a larger job, where only `scontrol` knows how to read lists of nodes."""
    executable(tmp_path / 'scontrol', '#!/bin/sh\n[ "$*" = "show hostnames here[1-2]" ] && echo localhost && echo n2\n')
    with socket.socket() as free:
        free.bind(('', 0))
        port = free.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith(('SLURM_', 'MASTER_'))}
    env.update(
        PATH=f'{tmp_path}:{env["PATH"]}', MASTER_PORT=str(port), LOCAL_RANK='0', SLURM_NTASKS='2', SLURM_NODEID='0',
        SLURM_STEP_TASKS_PER_NODE='2', SLURM_NODELIST='elsewhere', SLURM_STEP_NODELIST='here[1-2]')
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    if master == 'environment':
        env.update(MASTER_ADDR='127.0.0.1', SLURM_STEP_NODELIST='unreadable', SLURM_CPUS_PER_TASK='1')
        threads = 1
    processes = [
        subprocess.Popen([sys.executable, '-c', REPORT], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env={**env, 'SLURM_PROCID': rank, 'SLURM_LOCALID': rank})
        for rank in '01'
    ]
    try:
        for rank, process in enumerate(processes):
            out, err = process.communicate(timeout=100)
            assert process.returncode == 0, err[-3000:]
            address = '127.0.0.1' if master == 'environment' else 'localhost'
            assert out.split('\n')[-2] == f'gloo {rank} 2 ranks 3 threads {threads} None {rank} {address}'
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize(('gres', 'option'), [(None, ['--gres=gpu:4']), ('', []), ('gpu:a:4', ['--gres=gpu:a:4'])])
@pytest.mark.parametrize(('script', 'tool', 'arguments'), [
    ('slurm_train.sh', 'train.py', ['my config.py']),
    ('slurm_test.sh', 'test.py', ['my config.py', 'a.pth']),
])
def test_srun_of_the_scripts(tmp_path, script, tool, arguments, gres, option):
    executable(tmp_path / 'srun', '#!/bin/sh\nprintf "%s\\n" "$MASTER_PORT" "$@"\n')
    env = {name: value for name, value in os.environ.items() if name not in ('GRES', 'MASTER_PORT', 'GPUS_PER_NODE')}
    env.update(PATH=f'{tmp_path}:{env["PATH"]}', GPUS='4', CPUS_PER_TASK='2', SRUN_ARGS='--mem 8G', PYTHON='py')
    if gres is not None:
        env['GRES'] = gres
    command = [ROOT / 'tools' / script, 'part', 'job', *arguments, '--work-dir', 'a b']
    port, *words = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.splitlines()
    assert 20000 <= int(port) < 30000
    assert words == [
        '--partition=part', '--job-name=job', *option, '--ntasks=4', '--ntasks-per-node=4', '--cpus-per-task=2',
        '--kill-on-bad-exit=1', '--mem', '8G', 'py', '-u', str(ROOT / 'tools' / tool), *arguments,
        '--launcher', 'slurm', '--work-dir', 'a b']
    env['MASTER_PORT'] = '29501'
    assert subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.startswith('29501\n')


@pytest.mark.parametrize(('torch_version', 'device', 'expected'), [
    ('2.1.2', 'cpu', False), ('2.1.2', 'cuda', True), ('2.4.0', 'cpu', True)])
def test_fused_optimizers_of_old_torch_are_for_accelerators(monkeypatch, torch_version, device, expected):
    monkeypatch.setattr(torch, '__version__', torch_version)
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='AdamW', fused=True))))
    launch.leave_out_fused(cfg)
    assert ('fused' in cfg.optim_wrapper.optimizer) == expected
    launch.leave_out_fused(Config(dict(optim_wrapper=None)))


# Memory of the processor; tests/test_tools/test_benchmarks.py checks the peak that it is for
MEMORY = """
import torch
from pathlib import Path
from sapiens_mm.engine.launch import return_freed_memory

def resident():
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmRSS'))
    return int(line.split()[1]) / 1024

assert return_freed_memory()
torch.ones(4 << 20)  # freed, it would raise glibc's limit
block, after = torch.ones(4 << 20), torch.ones(4 << 20)
before = resident()
del block
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='for glibc')
def test_freed_memory_goes_back():
    env = {key: value for key, value in os.environ.items() if 'MALLOC' not in key}
    done = subprocess.run([sys.executable, '-c', MEMORY], env=env, check=True, capture_output=True, text=True)
    assert float(done.stdout.split()[-1]) > 15  # MB of 16


@pytest.fixture
def no_malloc(monkeypatch):
    monkeypatch.setattr(launch.ctypes, 'CDLL', lambda *args: pytest.fail('malloc was changed'))
    launch.return_freed_memory.cache_clear()
    yield
    launch.return_freed_memory.cache_clear()


def test_the_limit_in_the_environment_stands(no_malloc, monkeypatch):
    monkeypatch.setenv('MALLOC_MMAP_THRESHOLD_', '1000000')
    assert not launch.return_freed_memory()


def test_a_model_by_itself_leaves_the_process_alone(no_malloc):
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    SapiensViT(arch, img_size=(32, 32), with_cp=True)(torch.randn(1, 3, 32, 32))[0].sum().backward()


@pytest.mark.parametrize(('model', 'device', 'expected'), [
    (dict(backbone=dict(with_cp=True)), 'cpu', 1), (dict(backbone=dict(with_cp=True)), 'cuda', 0),
    (dict(backbone=dict(with_cp=False)), 'cpu', 0), (dict(), 'cpu', 0),
    (dict(parts=dict(a=dict(with_cp=True))), 'cpu', 1)])
def test_memory_is_returned_where_activations_are_recomputed_on_a_cpu(monkeypatch, model, device, expected):
    calls = []
    monkeypatch.setattr(launch, 'return_freed_memory', lambda: calls.append(1))
    monkeypatch.setattr(launch, 'get_device', lambda: device)
    monkeypatch.setattr(RUNNERS, 'build', lambda cfg: None)
    launch.build_runner(Config(dict(model=model, runner_type='None')))
    assert len(calls) == expected
