"""Pretraining with the tools: train, resume, reconstruct, export, fine-tune."""
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


@pytest.fixture(scope='module')
def backbone(tool, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp('backbone') / 'backbone.pth'
    assert '32 wide, 2 layers, 13 positions with cls token' in tool(
        'tools/export_backbone.py', trained / 'iter_6.pth', path)
    return path


@pytest.mark.parametrize(('arguments', 'message'), [
    (['{config}', '{checkpoint}', 'none.png'], 'none.png'),
    (['{config}', '{checkpoint}', '{folder}'], 'text.png'),
    (['{config}', '{checkpoint}', '{images}', '--mask-ratio', '1'], 'mask_ratio: got 1.0'),
    (['{config}', '{checkpoint}', 'photo.jpg', '--out', 'sheet.tga'], 'sheet.tga'),
    (['{config}', '{checkpoint}', 'photo.jpg', '--num', '0'], '--num'),
    (['{root}/configs/sapiens_pose/coco/sapiens_tiny-210e_coco-256x192.py', '{checkpoint}', '{images}'],
     'SapiensPoseEstimator'),
    (['{config}', '{backbone}', '{images}'], 'neck.mask_token'),
])
def test_bad_input_of_reconstruct(run_main, root, config, trained, backbone, images, tmp_path, arguments, message):
    (tmp_path / 'text.png').write_text('no image')
    status, _, errors = run_main('tools/reconstruct.py', *(argument.format(
        config=config, checkpoint=trained / 'iter_6.pth', backbone=backbone, images=images, folder=tmp_path, root=root)
        for argument in arguments))
    assert status != 0
    assert message in errors.splitlines()[-1]


def test_bad_input_of_training_and_export(tool, run_main, config, trained, tmp_path):
    message = tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options',
                   'train_dataloader.dataset.size=(60,48)', ok=False)
    assert '60 x 48' in message.splitlines()[-1]
    status, _, errors = run_main('tools/export_backbone.py', trained / 'iter_6.pth', tmp_path / 'out.bin')
    assert status != 0
    assert 'out.bin' in errors.splitlines()[-1]


def test_a_resumed_run_ends_with_the_losses_of_an_unbroken_one(tool, config, trained, tmp_path):
    unbroken = losses(trained)
    assert list(unbroken) == list(range(1, 7))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/iter_3.pth').write_bytes((trained / 'iter_3.pth').read_bytes())
    tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--resume', tmp_path / 'run/iter_3.pth')
    resumed = losses(tmp_path / 'run')
    assert resumed == {step: unbroken[step] for step in (4, 5, 6)}


def test_reconstruction_of_a_folder(run_main, config, trained, images, tmp_path):
    out = tmp_path / 'new/sheet.png'
    status, text, _ = run_main('tools/reconstruct.py', config, trained / 'iter_6.pth', images / '3.png', images,
                               '--mask-ratio', .5, .9, '--batch', 4, '--num', 8, '--out', out)
    assert status == 0
    assert '8 images of 9' in text
    sheet = cv2.imread(str(out))
    assert sheet.shape[:2] == (8 * 66, 5 * 50)
    expected = cv2.resize(cv2.imread(str(images / '3.png')), (48, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(sheet[1:65, 1:49].astype(int) - expected).mean() < 6


def test_an_exported_backbone_starts_pose_training(tool, run_main, trained, micro_config, tmp_path):
    out = tmp_path / 'backbone.safetensors'
    assert run_main('tools/export_backbone.py', trained / 'iter_6.pth', out)[0] == 0
    # The 4 x 3 grid of pretraining becomes the 16 x 12 of pose.
    log = tool('tools/train.py', micro_config, '--work-dir', tmp_path / 'pose', '--no-validate', '--cfg-options',
               'model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={out}',
               'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.')
    assert '4x3 to 16x12' in log
    pretrained = torch.load(trained / 'iter_6.pth', weights_only=False)['state_dict']
    pose = torch.load(tmp_path / 'pose/epoch_1.pth', weights_only=False)['state_dict']
    name = 'backbone.layers.1.ffn.layers.1.weight'
    assert torch.equal(pose[name], pretrained[name])


def test_pretraining_continues_from_a_backbone_with_a_new_decoder(tool, config, trained, backbone, tmp_path):
    tool('tools/train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options',
         'model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={backbone}',
         'train_cfg.max_iters=3', 'optim_wrapper.optimizer.lr=0.')
    before, after = (torch.load(path, weights_only=False)['state_dict']
                     for path in (trained / 'iter_6.pth', tmp_path / 'run/iter_3.pth'))
    for name in ('backbone.cls_token', 'backbone.patch_embed.projection.weight'):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before['neck.mask_token'], after['neck.mask_token'])
