"""Tests of fully sharded training."""
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import STRATEGIES

import sapiens_mm.pretrain  # noqa: F401  (registers)
from sapiens_mm.backbones.checkpoint import export_backbone
from sapiens_mm.engine import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}

CONFIG = """
custom_imports = dict(imports=['sapiens_mm.pretrain', 'dying'], allow_failed_imports=False)
model = dict(
    type='SapiensMAE',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[127.] * 3, std=[60.] * 3),
    backbone=dict(type='SapiensViT', img_size=(64, 48), with_cp=True,
                  arch=dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)),
    neck=dict(embed_dims=16, num_layers=1, num_heads=2))
train_dataloader = dict(
    batch_size=3, num_workers=1, sampler=None, collate_fn=dict(type='default_collate'),
    dataset=dict(type='SapiensImages', source=dict(type='folder', path=r'{images}', chunk=2), size=(64, 48)))
train_cfg = dict(type='SapiensStreamTrainLoop', max_iters=9)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05), constructor='SapiensLayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9), clip_grad=dict(max_norm=0.5), accumulative_counts=2)
param_scheduler = dict(type='CosineAnnealingLR', begin=0, end=9, eta_min=0, by_epoch=False)
custom_hooks = [dict(type=name) for name in (
    'SapiensSeedHook', 'SapiensStreamHook', 'SapiensNonFiniteHook', 'SapiensThroughputHook', 'Dying')]
custom_hooks += [dict(type='SapiensReconstructionHook', interval=3, num_images=1, mask_ratios=[0.5])]
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4, max_keep_ckpts=2))
log_processor = dict(by_epoch=False, window_size=1)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
env_cfg = dict(mp_cfg=dict(mp_start_method='fork'))
randomness = dict(seed=0)
"""

# Two processes train shards of a model, each with half of the images; each also trains a whole one with all of them.
EQUAL = '''
import sys
import torch
import torch.distributed as dist
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, STRATEGIES
from sapiens_mm.engine import SapiensCompileBlocksHook
from sapiens_mm.pretrain import SapiensMAE

folder = sys.argv[1]
dist.init_process_group('gloo')
torch.set_num_threads(1)
rank = dist.get_rank()
images = torch.randn(4, 3, 64, 48, generator=torch.Generator().manual_seed(1))
noise = torch.rand(4, 12, generator=torch.Generator().manual_seed(2))

def model_cfg(with_cp=False):
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    return dict(type='SapiensMAE', backbone=dict(type='SapiensViT', img_size=(64, 48), arch=arch, with_cp=with_cp),
                neck=dict(embed_dims=16, num_layers=1, num_heads=2, with_cp=with_cp))

def optim_cfg(kind='OptimWrapper', fused=False, accumulate=1):
    return dict(type=kind, optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05, fused=fused),
                constructor='SapiensLayerDecayConstructor', paramwise_cfg=dict(layer_decay_rate=0.9),
                clip_grad=dict(max_norm=0.5), accumulative_counts=accumulate)

# Masks do not depend on the number of processes.
draw = SapiensMAE.random_mask
SapiensMAE.random_mask = lambda self, batch, patches, ratio=None, given=None, device='cpu': draw(
    self, batch, patches, ratio, self.noise, device)

def train(model, wrapper, rows, steps=4):
    losses = []
    for _ in range(steps):
        for part in rows:
            model.noise = noise[part]
            with wrapper.optim_context(model):
                loss = model(images[part], mode='loss')['loss']
            wrapper.update_params(loss)
            losses.append(loss.detach())
    return torch.stack(losses)

def strategy(**kwargs):
    return STRATEGIES.build(dict(type='SapiensFSDPStrategy', work_dir=folder, experiment_name=str(kwargs),
                                 env_kwargs=dict(launcher='pytorch', randomness=dict(seed=3)),
                                 log_kwargs=dict(log_level='ERROR'), **kwargs))

def unsharded(parts=(slice(0, 4), ), **optim):
    torch.manual_seed(3)
    model = MODELS.build(model_cfg())
    model.init_weights()
    wrapper = build_optim_wrapper(model, optim_cfg(accumulate=len(parts), **optim))
    return train(model, wrapper, parts).view(-1, len(parts)).mean(1), model, wrapper

def check(name, losses, expected, rtol=1e-5):
    torch.testing.assert_close(losses, expected, rtol=rtol, atol=0, msg=lambda text: f'{name}: {text}')

whole, model, wrapper = unsharded()
check('fused, unsharded', unsharded(fused=True)[0], whole)
check('accumulation, unsharded', unsharded([slice(0, 2), slice(2, 4)])[0], whole)
check('bf16, unsharded', unsharded(kind='SapiensBF16OptimWrapper')[0], whole, rtol=2e-2)
torch.save(dict(state_dict=model.state_dict(), optimizer=wrapper.state_dict(), meta=dict(iter=4, epoch=0)),
           f'{folder}/whole{rank}.pth')
assert whole[-1] < 0.98 * whole[0], whole

def sharded(parts, with_cp=False, compiled=False, load=None, resume=None, steps=4, optim=None, **kwargs):
    fsdp = strategy(**kwargs)
    model, wrapper = fsdp.prepare(model_cfg(with_cp), optim_wrapper=optim or optim_cfg(accumulate=len(parts)),
                                  dispatch_kwargs=dict(max_iters=1000))
    if compiled:
        hook = SapiensCompileBlocksHook(backend='eager')
        hook.before_train(type('Runner', (), dict(model=model, logger=fsdp.logger)))
    if load:
        fsdp.load_checkpoint(load)
    if resume:
        fsdp.resume(resume)
    losses = train(model, wrapper, parts, steps)
    dist.all_reduce(losses)
    return losses / 2, fsdp

half = [slice(2 * rank, 2 * rank + 2)]
quarters = [slice(i, i + 1) for i in (2 * rank, 2 * rank + 1)]
check('plain', sharded(half)[0], whole)
check('checkpointing', sharded(half, with_cp=True)[0], whole)
check('two copies', sharded(half, shard_size=1)[0], whole)
check('compiled', sharded(half, with_cp=True, compiled=True)[0], whole)
check('fused', sharded(half, optim=optim_cfg(fused=True))[0], whole)
bf16, fsdp = sharded(half, optim=optim_cfg('SapiensBF16OptimWrapper'))
check('bf16', bf16, whole, rtol=2e-2)
assert not torch.equal(bf16, whole)
assert {p.dtype for p in fsdp.model.parameters()} == {torch.float32}
with torch.no_grad():  # as in evaluation
    fsdp.model.noise = noise
    assert fsdp.model(images, mode='tensor')[0].isfinite().all()
check('accumulation', sharded(quarters)[0].view(4, 2).mean(1), whole)

# An unsharded run resumes.
resumed = train(model, wrapper, [slice(0, 4)], steps=2)
check('resumed from one file', sharded(half, resume=f'{folder}/whole{rank}.pth', steps=2)[0], resumed)
without, _ = sharded(half, load=f'{folder}/whole{rank}.pth', steps=2)
check('weights of one file', without[:1], resumed[:1])
assert (without[1] - resumed[1]).abs() > 1e-5 * resumed[1]  # the optimizer begins anew

# Weights of a folder for a model of another size are fitted as those of a file.
_, fsdp = sharded(half, steps=1)
fsdp.save_checkpoint(f'{folder}/shards', extra_ckpt=dict(meta=dict(iter=1, epoch=0)))
small = strategy()
model = small.prepare(dict(type='SapiensViT', img_size=(32, 48), arch=model_cfg()['backbone']['arch']))
small.load_checkpoint(f'{folder}/shards')
assert model.pos_embed.full_tensor().shape == (1, 6, 32)
weights = [backbone.layers[1].attn.qkv.weight.full_tensor() for backbone in (model, fsdp.model.backbone)]
assert torch.equal(*weights)
print('all equal')
dist.destroy_process_group()
'''

DYING = """
import os
import signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Dying(Hook):

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.rank == 1 and str(runner.iter + 1) == os.environ.get('DIES_AT'):
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope='module')
def folder(can_shard, tmp_path_factory) -> Path:
    """Images and configs of the same run, in two copies (ddp.py) and in shards (fsdp.py)."""
    folder = tmp_path_factory.mktemp('fsdp')
    (folder / 'images').mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        cv2.imwrite(str(folder / f'images/{i}.png'), cv2.resize(rng.integers(0, 256, (6, 5, 3), np.uint8), (60, 80)))
    (folder / 'dying.py').write_text(DYING)
    (folder / 'ddp.py').write_text(CONFIG.replace('{images}', str(folder / 'images')))
    (folder / 'fsdp.py').write_text(f"_base_ = ['ddp.py', '{ROOT}/configs/_base_/strategies/fsdp.py']\n")
    return folder


def start(folder: Path, config: str, run: str, *arguments, **env) -> subprocess.Popen:
    with open(folder / f'{run}.log', 'a') as log:
        return subprocess.Popen(
            [ROOT / 'tools/dist_train.sh', folder / config, '2', '--work-dir', folder / run, *arguments], cwd=ROOT,
            env={**ENV, 'PYTHONPATH': f'{folder}:{ROOT}', **env}, stdout=log, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen, folder: Path, run: str) -> None:
    try:
        assert process.wait(100) == 0, (folder / f'{run}.log').read_text()[-5000:]
    finally:
        process.kill()


def scalars(work_dir: Path, name: str = 'loss') -> dict:
    """Iteration -> value, of the last run that logged it."""
    records = [json.loads(line) for log in sorted(work_dir.glob('*/vis_data/scalars.json'))
               for line in log.read_text().splitlines()]
    return {record['step']: record[name] for record in records if name in record}


@pytest.fixture(scope='module')
def unbroken(folder) -> Path:
    finish(start(folder, 'fsdp.py', 'fsdp'), folder, 'fsdp')
    return folder / 'fsdp'


@pytest.mark.usefixtures('can_shard')
def test_needs_a_launcher(tmp_path):
    with pytest.raises(RuntimeError, match='start with tools/dist_train.sh or tools/dist_test.sh'):
        STRATEGIES.build(dict(type='SapiensFSDPStrategy', work_dir=str(tmp_path), env_kwargs=dict(launcher='none')))


def test_torch_that_is_too_old(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.1.2')
    with pytest.raises(ImportError, match='SapiensFSDPStrategy: got torch 2.1.2'):
        STRATEGIES.build(dict(type='SapiensFSDPStrategy', work_dir=str(tmp_path), env_kwargs=dict(launcher='none')))


@pytest.mark.usefixtures('can_shard')
def test_equals_one_process(tmp_path):
    (tmp_path / 'equal.py').write_text(EQUAL)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--local_addr', '127.0.0.1',
               '--nproc_per_node', '2', tmp_path / 'equal.py', tmp_path]
    done = subprocess.run(command, cwd=ROOT, env={**ENV, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True,
                          timeout=100)
    assert done.stdout.count('all equal') == 2, done.stderr[-5000:]


def test_equals_ddp(folder, unbroken):
    finish(start(folder, 'ddp.py', 'ddp'), folder, 'ddp')
    losses = scalars(folder / 'ddp')
    assert len(losses) == 9
    assert max(losses.values()) > 1.02 * losses[9]  # it learns, so wrong steps would be seen
    assert scalars(unbroken) == pytest.approx(losses, rel=1e-5)
    assert scalars(unbroken, 'grad_norm') == pytest.approx(scalars(folder / 'ddp', 'grad_norm'), rel=1e-3)
    assert set(scalars(unbroken, 'skipped_steps').values()) == {0}
    assert len(list(unbroken.glob('*/vis_data/vis_image/reconstruction_*.png'))) == 3
    whole, shards = (load_checkpoint_file(path / 'iter_9.pth') for path in (folder / 'ddp', unbroken))
    assert set(whole) - set(shards) == set()
    assert (folder / 'ddp/iter_9.pth').is_file()
    assert (unbroken / 'iter_9.pth').is_dir()
    assert list(whole['state_dict']) == list(shards['state_dict'])
    torch.testing.assert_close(dict(shards['state_dict']), dict(whole['state_dict']), atol=1e-4, rtol=1e-3)


def test_resumes_after_a_kill(folder, unbroken):
    process = start(folder, 'fsdp.py', 'broken', DIES_AT='6')
    assert process.wait(100) != 0
    assert sorted(path.name for path in (folder / 'broken').glob('iter_*')) == ['iter_4.pth']
    finish(start(folder, 'fsdp.py', 'broken', '--resume'), folder, 'broken')
    losses = scalars(folder / 'broken')
    assert sorted(losses) == list(range(1, 10))
    assert losses == scalars(unbroken)
    assert scalars(folder / 'broken', 'lr') == scalars(unbroken, 'lr')
    resumed, straight = (load_checkpoint_file(run / 'iter_9.pth') for run in (folder / 'broken', unbroken))
    assert resumed['image_stream'] == straight['image_stream']
    torch.testing.assert_close(resumed['state_dict'], straight['state_dict'], atol=0, rtol=0)


def test_export(unbroken, tmp_path):
    checkpoint = unbroken / 'iter_9.pth'
    shapes = export_backbone(str(checkpoint), str(tmp_path / 'backbone.pth'))
    assert shapes['pos_embed'] == (1, 13, 32)
    weights = {f'backbone.{key}': value for key, value in load_checkpoint_file(tmp_path / 'backbone.pth').items()}
    whole = load_checkpoint_file(checkpoint)['state_dict']
    assert set(weights) == {key for key in whole if key.startswith('backbone.')}
    assert all(torch.equal(value, whole[key]) for key, value in weights.items())
