"""tools/train.py, tools/test.py and their distributed launchers, as processes."""
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start_ranks(start_tool):
    """Starts a tool in two processes of one group, as torchrun does, without its time for imports."""

    def start(*command) -> list:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        return [start_tool(*command, '--launcher', 'pytorch', RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2',
                           MASTER_ADDR='127.0.0.1', MASTER_PORT=port) for rank in range(2)]

    return start


@pytest.fixture(scope='module')
def tool(run_tool):

    def run(*command) -> str:
        done = run_tool(*command)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture
def weights(micro_config, tmp_path) -> Path:
    """A checkpoint of `micro_config` with random weights."""
    cfg = Config.fromfile(micro_config)
    init_default_scope('mmpose')
    state_dict = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state_dict), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


def losses(work_dir) -> dict:
    """Iteration -> loss, of the last run that logged it."""
    out = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            record = json.loads(line)
            if 'loss' in record:
                out[record['step']] = record['loss']
    return out


def test_train_test_and_resume_after_a_kill_on_two_processes(tool, start_ranks, micro_config, tmp_path):

    def run(script, *options):
        for rank in start_ranks(script, micro_config, *options):
            done = rank.wait()
            assert done.returncode == 0, done.stderr[-3000:]

    seed = ('--cfg-options', 'randomness.seed=0')
    run('tools/train.py', '--work-dir', tmp_path / 'unbroken', *seed)
    unbroken = losses(tmp_path / 'unbroken')
    # Six persons, two a process: two iterations an epoch, the second with one each.
    assert len(unbroken) == 8
    assert len(set(unbroken.values())) > 6

    ranks = start_ranks('tools/train.py', micro_config, '--work-dir', tmp_path / 'broken', *seed)
    deadline = time.time() + 120
    while not (tmp_path / 'broken/epoch_2.pth').exists():
        for rank in ranks:
            assert rank.process.is_alive(), rank.output()[1][-3000:]
        assert time.time() < deadline, ranks[0].output()[1][-3000:]
        time.sleep(0.05)
    for rank in ranks:
        rank.process.kill()
        rank.process.join()
    assert not (tmp_path / 'broken/epoch_4.pth').exists()
    run('tools/train.py', '--work-dir', tmp_path / 'broken', '--resume')  # the seed is the checkpoint's
    assert losses(tmp_path / 'broken') == unbroken

    out, alone = tmp_path / 'metrics.json', tmp_path / 'alone.json'
    checkpoint = tmp_path / 'unbroken/epoch_4.pth'
    run('tools/test.py', checkpoint, '--out', out, '--show-dir', tmp_path / 'images', '--dump',
        tmp_path / 'predictions.pkl', '--work-dir', tmp_path / 'test')
    record = json.loads(out.read_text())
    assert record['checkpoint'] == str(checkpoint)
    assert 0 <= record['metrics']['coco/AP'] <= 1
    assert sorted(path.name for path in (tmp_path / 'images').iterdir()) == [f'{i}.jpg' for i in range(1, 7)]
    assert (tmp_path / 'predictions.pkl').stat().st_size > 1000
    tool('tools/test.py', micro_config, checkpoint, '--out', alone, '--work-dir', tmp_path / 'test')
    assert json.loads(alone.read_text())['metrics'] == pytest.approx(record['metrics'])


@pytest.mark.parametrize(('script', 'arguments'), [
    ('train', ['config.py']), ('test', ['config.py', 'weights.pth'])])
def test_distributed_launchers(script, arguments, tmp_path):
    """Runs the scripts with a PYTHON that prints its arguments."""
    (tmp_path / 'python').write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / 'python').chmod(0o755)

    def run(*words, **env):
        return subprocess.run([ROOT / f'tools/dist_{script}.sh', *words], capture_output=True, text=True, check=False,
                              env={**os.environ, 'PYTHON': str(tmp_path / 'python'), **env})

    for wrong in (arguments, [*arguments, 'many']):
        assert run(*wrong).returncode == 2
    command = f'{ROOT}/tools/{script}.py {" ".join(arguments)} --launcher pytorch --amp\n'
    assert run(*arguments, '2', '--amp').stdout == (
        f'-m torch.distributed.run --nnodes 1 --nproc_per_node 2 --standalone --local_addr 127.0.0.1 {command}')
    assert run(*arguments, '8', '--amp', NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1').stdout == (
        '-m torch.distributed.run --nnodes 2 --nproc_per_node 8 --node_rank 1 --master_addr 10.0.0.1 '
        f'--master_port 29500 {command}')


def test_train_with_torchrun(micro_config, tmp_path):
    """The output goes to a file: a pipe stays open as long as any worker lives."""
    command = [ROOT / 'tools/dist_train.sh', micro_config, '2', '--work-dir', tmp_path / 'run', '--no-validate',
               '--cfg-options', 'train_cfg.max_epochs=1']
    env = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'PYTHONFAULTHANDLER': '1'}
    with open(tmp_path / 'log', 'w') as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        status = process.wait(150)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)  # the fault handler prints the stacks
        time.sleep(2)
        os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    assert status == 0, (tmp_path / 'log').read_text()[-12000:]
    assert len(losses(tmp_path / 'run')) == 2  # two iterations in each of two processes
    assert (tmp_path / 'run/epoch_1.pth').exists()


def test_amp_and_scaled_learning_rate(tool, micro_config, tmp_path):
    out = tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'run', '--amp',
               '--auto-scale-lr', '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    assert 'LR is set based on batch size of 512' in out
    assert 'SapiensBF16OptimWrapper' in out
    assert (tmp_path / 'run/epoch_1.pth').exists()
    assert 'coco/AP' in out


def test_boxes_of_a_detector(tool, micro_config, weights, tmp_path):
    """Two boxes for each person, one of them poor, and one of another class: rescored and OKS-NMSed to AP."""
    boxes = [dict(image_id=i, category_id=category, bbox=[x, 10, 80, 100], score=score)
             for i in range(1, 7) for category, x, score in ((1, 10, 0.9), (1, 12, 0.2), (2, 10, 0.9))]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    out = tool('tools/test.py', micro_config, weights, '--work-dir', tmp_path,
               '--dump', tmp_path / 'predictions.pkl', '--cfg-options',
               f'test_dataloader.dataset.bbox_file={tmp_path}/boxes.json')
    assert 'coco/AP' in out
    assert len(pickle.loads((tmp_path / 'predictions.pkl').read_bytes())) == 12


def test_checkpoint_of_another_head_is_trained_from_but_not_tested(tool, run_tool, micro_config, weights, tmp_path):
    checkpoint = torch.load(weights)
    checkpoint['state_dict'] = {
        key: value[:5] if 'final_layer' in key else value for key, value in checkpoint['state_dict'].items()}
    torch.save(checkpoint, weights)
    done = run_tool('tools/test.py', micro_config, weights, '--work-dir', tmp_path / 'test')
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert 'head.final_layer.weight (5, 8, 1, 1) instead of (17, 8, 1, 1)' in last
    assert not (tmp_path / 'test/metrics.json').exists()

    out = tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'again',
               '--no-validate', '--resume', weights, '--cfg-options', 'train_cfg.max_epochs=1')
    assert 'has weights only' in out
    assert 'Epoch(train) [1]' in out


@pytest.mark.parametrize('kind', ['missing annotations', 'undecodable image', 'truncated checkpoint'])
def test_bad_input_is_named_in_the_last_lines(run_tool, micro_config, tiny_coco, weights, tmp_path, kind):
    """One kind for each way through the tool; tests of datasets and checkpoints have all kinds."""
    data, options = tmp_path / 'data', []
    shutil.copytree(tiny_coco, data, symlinks=True)
    micro_config.write_text(micro_config.read_text().replace(str(tiny_coco), str(data)))
    if kind == 'missing annotations':
        bad = data / 'annotations/person_keypoints_train2017.json'
        bad.unlink()
    elif kind == 'undecodable image':
        bad = data / 'train2017'
        for image in bad.iterdir():
            image.write_bytes(b'no image')
    else:
        bad, options = weights, ['--cfg-options', f'load_from={weights}']
        weights.write_bytes(weights.read_bytes()[:-1000])
    done = run_tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'run', *options)
    assert done.returncode != 0
    assert any(str(bad) in line for line in done.stderr.strip().splitlines()[-5:]), done.stderr[-3000:]
    assert not list((tmp_path / 'run').glob('*.pth'))
