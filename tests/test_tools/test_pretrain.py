"""Pretraining by the tools: train, resume, look, export, fine-tune."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('torchvision')
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool(run_tool):

    def run(*command, ok=True) -> str:
        done = run_tool(*command)
        assert (done.returncode == 0) == ok, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for i in range(8):
        cv2.imwrite(str(folder / f'{i}.png'), cv2.resize(rng.integers(0, 256, (4, 3, 3), dtype=np.uint8), (60, 80)))
    return folder


@pytest.fixture(scope='module')
def config(images, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'micro.py'
    path.write_text(f"""
_base_ = '{ROOT}/configs/sapiens_pretrain/synthetic/sapiens_tiny-2000it_synthetic-384x288.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64), img_size=(64, 48)),
    neck=dict(embed_dims=16, num_layers=1, num_heads=2))
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(source=dict(path='{images}', chunk=2), size=(64, 48)))
train_cfg = dict(max_iters=6)
param_scheduler = None
default_hooks = dict(checkpoint=dict(interval=3), logger=dict(interval=1))
custom_hooks = [dict(type='SapiensSeedHook'), dict(type='SapiensStreamHook')]
randomness = dict(seed=0)
""")
    return path


@pytest.fixture(scope='module')
def trained(tool, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    tool('tools/train.py', config, '--work-dir', folder)
    return folder


def losses(work_dir):
    lines = [json.loads(line) for log in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in log.read_text().splitlines()]
    return {line['step']: line['loss'] for line in lines if 'loss' in line}


def test_bad_input(tool, config, trained, tmp_path):
    checkpoint = trained / 'iter_6.pth'
    assert 'none.png does not exist' in tool('tools/reconstruct.py', config, checkpoint, 'none.png', ok=False)
    (tmp_path / 'text.png').write_text('no image')
    message = tool('tools/reconstruct.py', config, checkpoint, tmp_path / 'text.png', ok=False)
    assert 'text.png cannot be decoded as an image' in message.splitlines()[-1]
    ratio = tool('tools/reconstruct.py', config, checkpoint, tmp_path, '--mask-ratio', 1, ok=False)
    assert 'cannot be decoded' in ratio.splitlines()[-1]
    message = tool('tools/reconstruct.py', config, checkpoint, 'photo.jpg', '--out', 'sheet.tga', ok=False)
    assert '--out is sheet.tga, but pictures are written as .png or .jpg' in message.splitlines()[-1]
    other = ROOT / 'configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py'
    message = tool('tools/reconstruct.py', other, checkpoint, tmp_path, ok=False)
    assert 'builds a SapiensPoseEstimator; give a config of pretraining' in message.splitlines()[-1]
    tool('tools/export_backbone.py', checkpoint, tmp_path / 'backbone.pth')
    message = tool('tools/reconstruct.py', config, tmp_path / 'backbone.pth', tmp_path, ok=False)
    assert 'missing: neck.mask_token' in message.splitlines()[-1]
    (tmp_path / 'empty').mkdir()
    message = tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options',
                   f'train_dataloader.dataset.source.path={tmp_path}/empty', ok=False)
    assert 'holds no image at any depth' in message
    message = tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options', 'model.mask_ratio=1.0',
                   ok=False)
    assert 'mask_ratio is 1.0, but must lie between 0 and 1' in message
    message = tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options',
                   'train_dataloader.dataset.size=(60,48)', ok=False)
    assert 'The images are 60 x 48 (H x W), but masked patches are 16 pixels wide' in message
    assert 'is written as' not in message
    message = tool('tools/export_backbone.py', checkpoint, tmp_path / 'out.bin', ok=False)
    assert 'weights are written as .pth or .safetensors' in message.splitlines()[-1]


def test_a_resumed_run_ends_with_the_losses_of_an_unbroken_one(tool, config, trained, tmp_path):
    unbroken = losses(trained)
    assert list(unbroken) == list(range(1, 7))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/iter_3.pth').write_bytes((trained / 'iter_3.pth').read_bytes())
    tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--resume', tmp_path / 'run/iter_3.pth')
    resumed = losses(tmp_path / 'run')
    assert resumed == {step: unbroken[step] for step in (4, 5, 6)}


def test_reconstruction_of_a_folder(tool, config, trained, images, tmp_path):
    out = tmp_path / 'new/sheet.png'
    tool('tools/reconstruct.py', config, trained / 'iter_6.pth', images / '3.png', images, '--mask-ratio', .5, .9,
         '--batch', 4, '--num', 9, '--out', out)
    sheet = cv2.imread(str(out))
    assert sheet.shape[1] == 5 * 54 - 6
    assert sheet.shape[0] == 3 * 11 + 9 * 70
    assert '2 images of 8; --num takes more' in tool(
        'tools/reconstruct.py', config, trained / 'iter_6.pth', images, '--num', 2, '--mask-ratio', .5, '--out',
        tmp_path / 'few.png')
    wanted = cv2.resize(cv2.imread(str(images / '3.png')), (48, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(sheet[11:75, :48].astype(int) - wanted).mean() < 6


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_an_exported_backbone_starts_pose_training(tool, trained, micro_config, tmp_path, ending):
    out = tmp_path / f'backbone.{ending}'
    assert '32 wide, 2 layers, 13 positions with cls token' in tool(
        'tools/export_backbone.py', trained / 'iter_6.pth', out)
    # The 4 x 3 grid of pretraining becomes the 16 x 12 of pose.
    log = tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'pose', '--no-validate', '--cfg-options',
               'model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={out}',
               'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.')
    assert 'cls token dropped, resized from 4x3 to 16x12' in log
    pretrained = torch.load(trained / 'iter_6.pth', weights_only=False)['state_dict']
    pose = torch.load(tmp_path / 'pose/epoch_1.pth', weights_only=False)['state_dict']
    name = 'backbone.layers.1.ffn.layers.1.weight'
    assert torch.equal(pose[name], pretrained[name])


def test_pretraining_goes_on_from_a_clean_backbone(tool, config, trained, tmp_path):
    """As from a public file: the decoder is fresh."""
    out = tmp_path / 'clean.pth'
    tool('tools/export_backbone.py', trained / 'iter_6.pth', out)
    log = tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options',
               'model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={out}',
               'train_cfg.max_iters=3', 'optim_wrapper.optimizer.lr=0.')
    assert 'SapiensViT reads' in log
    before, after = (torch.load(path, weights_only=False)['state_dict']
                     for path in (trained / 'iter_6.pth', tmp_path / 'run/iter_3.pth'))
    for name in ('backbone.cls_token', 'backbone.patch_embed.projection.weight'):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before['neck.mask_token'], after['neck.mask_token'])
