"""Tests of the hook that skips steps with non-finite gradients."""
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

import sapiens_mm  # noqa: F401
from sapiens_mm.engine.hooks import nonfinite
from sapiens_mm.engine.hooks.nonfinite import images_of


class Numbers(Dataset):
    """Samples i = 0, 1, ... with the input 1, or another one where told."""

    def __init__(self, length, special):
        self.length, self.special = length, special

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        return dict(inputs=torch.tensor([self.special.get(i, 1.)]), data_samples=dict(key=f'{i}.jpg'))


class Linear(BaseModel):
    """The gradient of the first weight is the mean input, that of the second is finite always."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.other = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, inputs, data_samples, mode):
        self.seen.append([self.weight.item(), self.other.item()])
        return dict(loss=(inputs * self.weight).mean() + self.other.sum())


def _fused_runs_here() -> bool:
    try:
        torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], fused=True)
    except RuntimeError:
        return False
    return True


FUSED = _fused_runs_here()


def train(tmp_path, special, length=8, batch_size=1, hook=True, fused=False, resume=False, interval=1, **optim):
    if fused and not FUSED:
        pytest.skip('AdamW(fused=True) runs on a CPU since torch 2.4')
    model = Linear()
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=DataLoader(Numbers(length, special), batch_size),
        train_cfg=dict(by_epoch=True, max_epochs=2 if resume else 1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, fused=fused), **optim),
        custom_hooks=[dict(type='SapiensNonFiniteHook', max_consecutive=3)] if hook else [],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=interval)),
        default_scope='mmengine',
        resume=resume,
        log_level='ERROR',
        experiment_name=f'nonfinite_{tmp_path}_{time.time()}')
    runner.train()
    return model, runner


def logged(tmp_path):
    return [json.loads(line)['skipped_steps'] for log in sorted(tmp_path.glob('*/vis_data/scalars.json'))
            for line in log.read_text().splitlines()]


def test_refuses_a_limit_below_one():
    with pytest.raises(ValueError, match='got 0'):
        HOOKS.build(dict(type='SapiensNonFiniteHook', max_consecutive=0))


def test_refuses_an_optimizer_that_is_not_torchs():
    runner = SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=object()))
    with pytest.raises(ValueError, match='got a object'):
        HOOKS.build(dict(type='SapiensNonFiniteHook')).before_train(runner)


@pytest.mark.parametrize('optim', [dict(), dict(clip_grad=dict(max_norm=0.5)), dict(fused=True),
                                   dict(clip_grad=dict(max_norm=0.5), fused=True)])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_the_step_is_skipped_and_counted(tmp_path, value, optim):
    model, runner = train(tmp_path, {2: value, 4: value}, **optim)
    # Weights stay as they are from step 2 to 3 and from 4 to 5, and go on from there.
    assert model.seen[3] == model.seen[2]
    assert model.seen[5] == model.seen[4]
    assert len({tuple(weights) for weights in model.seen}) == 6
    assert logged(tmp_path) == [0, 0, 1, 1, 2, 2, 2, 2]
    state = runner.optim_wrapper.optimizer.state[model.weight]
    assert int(state['step']) == 6
    # Nothing of the bad steps is left in the optimizer: as if they had not been.
    clean, _ = train(tmp_path / 'clean', {}, length=6, **optim)
    torch.testing.assert_close(model.weight, clean.weight)
    torch.testing.assert_close(model.other, clean.other)
    if not optim:
        assert train(tmp_path / 'without', {2: value}, hook=False)[0].weight.isnan()


@pytest.mark.parametrize('fused', [False, True])
def test_a_finite_norm_of_clipping_says_enough(tmp_path, monkeypatch, fused):
    looks = []
    norm = torch._foreach_norm
    monkeypatch.setattr(nonfinite.torch, '_foreach_norm', lambda grads, order, *args: (
        looks.append(order) if order == float('inf') else None, norm(grads, order, *args))[1])
    train(tmp_path, {2: float('nan')}, clip_grad=dict(max_norm=.5), fused=fused)
    assert looks == [float('inf')]  # for the step of no finite norm
    assert logged(tmp_path) == [0, 0, 1, 1, 1, 1, 1, 1]


def test_an_old_norm_says_nothing(tmp_path):
    """Steps that somebody makes without clipping."""
    model, runner = train(tmp_path, {}, clip_grad=dict(max_norm=.5))
    hook = HOOKS.build(dict(type='SapiensNonFiniteHook'))
    hook.before_train(runner)
    before = model.weight.detach().clone()
    optimizer = runner.optim_wrapper.optimizer
    for value in (1., float('nan'), float('nan')):
        model.weight.grad = torch.full((1, ), value)
        optimizer.step()
        assert torch.equal(model.weight, before) == (value != 1.)
        before = model.weight.detach().clone()


def test_a_norm_that_overflows_is_looked_into(tmp_path):
    """Clipping by it leaves gradients of zero, which are finite."""
    train(tmp_path, {1: 1e30}, clip_grad=dict(max_norm=.5))
    assert logged(tmp_path) == [0] * 8


def test_the_optimizer_is_left_as_it_was(tmp_path):
    _, runner = train(tmp_path, {2: float('nan')}, fused=True)
    optimizer = runner.optim_wrapper.optimizer
    assert not hasattr(optimizer, 'found_inf')
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


class Late:
    """A flag as of a GPU: known once it is read."""

    def __init__(self, bad, reads):
        self.bad, self.reads, self.known = bool(bad), reads, False

    def read(self):
        self.reads.append(self)
        self.known = True
        return self.bad


@pytest.mark.parametrize(('interval', 'expected'), [(1, [0, 0, 1, 1, 2, 2, 2, 2]), (4, [1, 2])])
def test_flags_of_a_device_are_read_when_they_are_logged(tmp_path, monkeypatch, interval, expected):
    reads, waits = [], []
    monkeypatch.setattr(nonfinite, '_Flag', lambda bad: Late(bad, reads))
    look = nonfinite.SapiensNonFiniteHook._count
    monkeypatch.setattr(nonfinite.SapiensNonFiniteHook, '_count', lambda self, runner, left=0: (
        waits.append(len(self._steps) - left), look(self, runner, left))[1])
    model, _ = train(tmp_path, {2: float('nan'), 4: float('nan')}, fused=True, interval=interval)
    assert logged(tmp_path) == expected
    assert len(reads) == 8
    assert model.seen[3] == model.seen[2]
    assert model.seen[5] == model.seen[4]
    # With flags that are logged every fourth step, none is read in its own iteration otherwise.
    assert waits == ([1] * 8 + [0] if interval == 1 else [0, 1, 1, 2, 0, 1, 1, 2, 0])


def test_a_late_flag_stops_the_run_by_its_own_batches(tmp_path, monkeypatch):
    nan = float('nan')
    monkeypatch.setattr(nonfinite, '_Flag', lambda bad: Late(bad, []))
    with pytest.raises(RuntimeError, match='3 steps in a row, the last at iteration 4'):
        train(tmp_path, {1: nan, 2: nan, 3: nan}, length=12, fused=True, interval=50)
    batches = json.loads((tmp_path / 'nonfinite_rank0.json').read_text())
    assert [batch['images'] for batch in batches] == [['1.jpg'], ['2.jpg'], ['3.jpg']]
    with pytest.raises(RuntimeError, match='the last at iteration 4'):  # at the very end
        train(tmp_path / 'end', {1: nan, 2: nan, 3: nan}, length=4, fused=True, interval=50)


@pytest.mark.skipif(not hasattr(torch, 'amp') or not hasattr(torch.amp, 'GradScaler'), reason='for the CPU since 2.3')
def test_beside_a_scaler_of_torch():
    """It tells a fused optimizer of infinities in the same way, and takes that back by itself."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer, scaler = torch.optim.AdamW([weight], lr=.1, fused=True), torch.amp.GradScaler('cpu', init_scale=4.)
    hook = HOOKS.build(dict(type='SapiensNonFiniteHook'))
    hook.before_train(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=optimizer),
                                      message_hub=MessageHub.get_instance('scaler')))
    for value in (1., float('inf'), 1.):
        before = weight.detach().clone()
        optimizer.zero_grad()
        scaler.scale((weight * value).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before, weight) == (value != 1.)
        assert not hasattr(optimizer, 'found_inf')


def test_finite_gradients_are_left_alone(tmp_path):
    """As large as squares of them are not."""
    model, _ = train(tmp_path, {1: 1e30})
    assert logged(tmp_path) == [0] * 8
    assert model.weight.isfinite()
    plain, _ = train(tmp_path / 'plain', {1: 1e30}, hook=False)
    assert torch.equal(model.weight, plain.weight)


def test_accumulated_batches(tmp_path):
    """A bad batch spoils the step that it is part of, and no other."""
    model, _ = train(tmp_path, {3: float('nan')}, length=8, accumulative_counts=2)
    assert logged(tmp_path) == [0, 0, 0, 1, 1, 1, 1, 1]
    assert len({weights[0] for weights in model.seen}) == 3
    assert model.weight.isfinite()


def test_the_run_stops_and_names_the_images(tmp_path):
    nan = float('nan')
    with pytest.raises(RuntimeError, match='3 steps in a row, the last at iteration 5'
                       f'.*{tmp_path}/nonfinite_rank0.json.*lower the learning rate'):
        train(tmp_path, {4: nan, 5: nan, 7: float('inf'), 8: nan, 10: nan}, length=12, batch_size=2)
    assert json.loads((tmp_path / 'nonfinite_rank0.json').read_text()) == [
        dict(iteration=3, loss='nan', images=['4.jpg', '5.jpg']),
        dict(iteration=4, loss='inf', images=['6.jpg', '7.jpg']),
        dict(iteration=5, loss='nan', images=['8.jpg', '9.jpg'])]


def test_a_resumed_run_counts_on(tmp_path):
    train(tmp_path, {2: float('nan')})
    train(tmp_path, {2: float('nan')}, resume=True)
    assert logged(tmp_path)[-1] == 2


def test_names_of_the_hosts():
    samples = [SimpleNamespace(img_path='a.jpg'), SimpleNamespace(img_path='b.jpg')]
    assert images_of(dict(inputs=[], data_samples=samples)) == ['a.jpg', 'b.jpg']
    assert images_of(dict(inputs=[])) == images_of(None) == []


# One of two processes has a bad gradient, as with shards.
TWO = """
import sys
import torch
import torch.distributed as dist
from types import SimpleNamespace
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from sapiens_mm.engine import SapiensNonFiniteHook

dist.init_process_group('gloo')
rank = dist.get_rank()
weight = torch.nn.Parameter(torch.ones(2))
empty = torch.nn.Parameter(torch.ones(0))
runner = SimpleNamespace(optim_wrapper=OptimWrapper(torch.optim.AdamW([weight, empty], lr=0.1)), work_dir=sys.argv[1],
                         message_hub=MessageHub.get_instance('two'), iter=0)
hook = SapiensNonFiniteHook(max_consecutive=2)
hook.before_train(runner)
for i in range(4):
    runner.iter = i
    loss = weight.sum() * (float('nan') if rank == 1 and i > 1 else 1.)
    before = weight.detach().clone()
    empty.grad = torch.zeros(0)
    runner.optim_wrapper.update_params(loss)
    assert torch.equal(before, weight) == (i > 1), i
    try:
        hook.after_train_iter(runner, i, dict(data_samples=dict(key=[f'{rank}-{i}'])), dict(loss=loss))
    except RuntimeError as error:
        assert i == 3
        print('stopped:', error)
dist.barrier()  # in torch 2.1 a process hangs that leaves after the other
dist.destroy_process_group()
"""


def test_two_processes(tmp_path):
    (tmp_path / 'two.py').write_text(TWO)
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--local_addr', '127.0.0.1', '--nproc_per_node',
         '2', tmp_path / 'two.py', tmp_path], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.count(f'images in {tmp_path}/nonfinite_rank1.json, or') == 2, done.stdout + done.stderr[-3000:]
    assert [path.name for path in tmp_path.glob('*.json')] == ['nonfinite_rank1.json']
    batches = json.loads((tmp_path / 'nonfinite_rank1.json').read_text())
    assert [batch['images'] for batch in batches] == [['1-2'], ['1-3']]


@pytest.mark.parametrize('order', [0, -1, float('-inf')])
def test_norms_that_hide_what_is_not_finite_are_not_trusted(tmp_path, order):
    model, _ = train(tmp_path, {2: float('nan')}, clip_grad=dict(max_norm=1, norm_type=order))
    assert model.weight.isfinite()
    assert logged(tmp_path) == [0, 0, 1, 1, 1, 1, 1, 1]
