"""tools/train.py, tools/test.py and their distributed starters, as processes."""
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sapiens_mm.backbones import SapiensViT

ROOT = Path(__file__).resolve().parents[2]
# The fault handler prints the stacks of a process that is told to abort.
ENV = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'PYTHONFAULTHANDLER': '1'}


class Command:
    """A started command. It writes to a file: a pipe would stay open as long as any process that it leaves behind."""

    def __init__(self, folder: Path, *command):
        self.log = folder / f'{len(list(folder.glob("*.log")))}.log'
        self.command = [str(part) for part in command]
        with open(self.log, 'w') as file:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=ENV, stdout=file, stderr=subprocess.STDOUT,
                                            start_new_session=True)

    def output(self) -> str:
        return self.log.read_text()

    def wait(self, timeout: float = 150) -> int:
        """The exit status; a command that hangs fails the test with the stacks of its processes."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            subprocess.run(['pkill', '-ABRT', '-f', 'tools/(train|test).py'], check=False)
            time.sleep(2)
            self.kill()
            pytest.fail(f'{self.command} still ran after {timeout} s:\n{self.output()[-12000:]}')

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def run(folder: Path, *command) -> str:
    started = Command(folder, *command)
    assert started.wait() == 0, started.output()[-3000:]
    return started.output()


@pytest.fixture(scope='module')
def tool(run_tool):

    def run(*command) -> str:
        done = run_tool(*command)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


def losses(work_dir) -> dict:
    """Iteration -> loss, of the last run that logged it."""
    out = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            record = json.loads(line)
            if 'loss' in record:
                out[record['step']] = record['loss']
    return out


def test_train_test_and_resume_after_a_kill_on_two_processes(tool, micro_config, tmp_path):
    train = (ROOT / 'tools/dist_train.sh', micro_config, 2, '--work-dir')
    seed = ('--cfg-options', 'randomness.seed=0')
    run(tmp_path, *train, tmp_path / 'unbroken', *seed)
    unbroken = losses(tmp_path / 'unbroken')
    # Six persons, two a process: two iterations an epoch, the second with one each.
    assert len(unbroken) == 8
    assert len(set(unbroken.values())) > 6

    started = Command(tmp_path, *train, tmp_path / 'broken', *seed)
    deadline = time.time() + 120
    while not (tmp_path / 'broken/epoch_2.pth').exists():
        assert started.process.poll() is None, started.output()[-3000:]
        assert time.time() < deadline, started.output()[-3000:]
        time.sleep(0.05)
    started.kill()
    assert not (tmp_path / 'broken/epoch_4.pth').exists()
    # torchrun's workers lead sessions of their own; without their parent's connection they end by themselves, but the
    # test does not wait for that.
    subprocess.run(['pkill', '-KILL', '-f', str(tmp_path / 'broken')], check=False)
    run(tmp_path, *train, tmp_path / 'broken', '--resume')  # the seed is the checkpoint's
    assert losses(tmp_path / 'broken') == unbroken

    out = tmp_path / 'metrics.json'
    checkpoint = tmp_path / 'unbroken/epoch_4.pth'
    run(tmp_path, ROOT / 'tools/dist_test.sh', micro_config, checkpoint, 2, '--out', out, '--show-dir',
        tmp_path / 'pictures', '--dump', tmp_path / 'predictions.pkl', '--work-dir', tmp_path / 'test')
    record = json.loads(out.read_text())
    assert record['checkpoint'] == str(checkpoint)
    assert 0 <= record['metrics']['coco/AP'] <= 1
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == [f'{i}.jpg' for i in range(1, 7)]
    assert (tmp_path / 'predictions.pkl').stat().st_size > 1000

    alone = tmp_path / 'alone.json'
    tool('tools/test.py', micro_config, checkpoint, '--out', alone, '--work-dir', tmp_path / 'test')
    assert json.loads(alone.read_text())['metrics'] == pytest.approx(record['metrics'])


def test_amp_and_scaled_learning_rate(tool, micro_config, tmp_path):
    out = tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'run', '--amp',
              '--auto-scale-lr', '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    assert 'LR is set based on batch size of 512' in out
    assert 'SapiensBF16OptimWrapper' in out
    assert (tmp_path / 'run/epoch_1.pth').exists()
    assert 'coco/AP' in out


def test_boxes_of_a_detector(tool, micro_config, tiny_coco, tmp_path):
    """Two boxes for each person, one of them poor, and one of another class: rescored and OKS-NMSed to AP."""
    tool('tools/train.py', micro_config, '--work-dir', tmp_path, '--no-validate',
        '--cfg-options', 'train_cfg.max_epochs=1')
    boxes = [dict(image_id=i, category_id=category, bbox=[x, 10, 80, 100], score=score)
             for i in range(1, 7) for category, x, score in ((1, 10, 0.9), (1, 12, 0.2), (2, 10, 0.9))]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    out = tool('tools/test.py', micro_config, tmp_path / 'epoch_1.pth', '--work-dir', tmp_path,
              '--dump', tmp_path / 'predictions.pkl', '--cfg-options',
              f'test_dataloader.dataset.bbox_file={tmp_path}/boxes.json')
    assert 'coco/AP' in out
    assert len(pickle.loads((tmp_path / 'predictions.pkl').read_bytes())) == 12


def test_checkpoint_of_another_head_is_not_tested(tool, run_tool, micro_config, tmp_path):
    tool('tools/train.py', micro_config, '--work-dir', tmp_path, '--no-validate',
        '--cfg-options', 'train_cfg.max_epochs=1')
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    weights = {key: value[:5] if 'final_layer' in key else value for key, value in checkpoint['state_dict'].items()}
    torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
    done = run_tool('tools/test.py', micro_config, tmp_path / 'other.pth', '--work-dir', tmp_path / 'test')
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert 'head.final_layer.weight (5, 8, 1, 1) instead of (17, 8, 1, 1)' in last
    assert not (tmp_path / 'test/metrics.json').exists()

    # For training it will do, and resuming from weights alone is starting from them.
    out = tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'again',
              '--no-validate', '--resume', tmp_path / 'other.pth', '--cfg-options', 'train_cfg.max_epochs=1')
    assert 'has weights only' in out
    assert 'Epoch(train) [1]' in out


def corrupt(folder, kind):
    """Damages something of a copy of the data; returns the command's options and what the last line has to say."""
    annotations = folder / 'annotations/person_keypoints_train2017.json'
    if kind == 'missing annotations':
        annotations.unlink()
        return [], f"ann_file '{annotations}' does not exist"
    if kind == 'undecodable image':
        for i in range(1, 7):
            (folder / f'train2017/{i}.png').write_bytes(b'no image')
        return [], '.png\' cannot be decoded'
    if kind == 'wrong number of keypoints':
        content = json.loads(annotations.read_text())
        content['annotations'][2]['keypoints'] += [1, 2, 2]
        annotations.write_text(json.dumps(content))
        return [], f'{annotations}: got 1 of 6 annotations (3) that have 18 keypoints (54 numbers)'
    path = folder / 'weights.pth'
    state_dict = SapiensViT('tiny', img_size=(256, 192)).state_dict()
    if kind == 'other arch':
        torch.save(state_dict, path)
        return ['--cfg-options', f'load_from={path}'], "Set arch='sapiens_tiny' in the backbone"
    torch.save(dict(state_dict=state_dict, extra=Path('x') if kind == 'foreign pickle' else None), path)
    if kind == 'truncated checkpoint':
        path.write_bytes(path.read_bytes()[:-1000])
        return ['--cfg-options', f'load_from={path}'], f'{path} is truncated'
    return ['--cfg-options', f'load_from={path}'], f'{path}: got pathlib.'


@pytest.mark.parametrize('kind', ['missing annotations', 'undecodable image', 'wrong number of keypoints', 'other arch',
                                  'truncated checkpoint', 'foreign pickle'])
def test_bad_input_is_told_in_one_line(run_tool, micro_config, tiny_coco, tmp_path, kind):
    data = tmp_path / 'data'
    shutil.copytree(tiny_coco, data, symlinks=True)
    micro_config.write_text(micro_config.read_text().replace(str(tiny_coco), str(data)))
    options, message = corrupt(data, kind)
    done = run_tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'run', *options)
    assert done.returncode != 0
    assert any(message in line for line in done.stderr.strip().splitlines()[-5:]), done.stderr[-3000:]
    assert not list((tmp_path / 'run').glob('*.pth'))
