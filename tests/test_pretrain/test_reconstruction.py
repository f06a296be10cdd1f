"""Tests of reconstructions of masked images."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner

import sapiens_mm.pretrain  # noqa: F401  (registers)
from sapiens_mm.pretrain.mae import patchify
from sapiens_mm.pretrain.reconstruction import (
    SapiensReconstructionHook,
    _from_around,
    reconstruct,
    reconstruction_sheet,
)

MODEL = dict(
    type='SapiensMAE',
    backbone=dict(
        type='SapiensViT', img_size=(64, 48),
        arch=dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64)),
    neck=dict(embed_dims=16, num_layers=1, num_heads=2),
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[120, 110, 100], std=[60, 50, 40]))


def mae(**kwargs):
    torch.manual_seed(0)
    return MODELS.build({**MODEL, **kwargs}).eval()


def test_refuses_a_ratio_of_1():
    with pytest.raises(ValueError, match='1.0'):
        reconstruct(mae(), torch.randn(1, 3, 64, 48), 1.)


def test_visible_patches_stay_and_hidden_ones_are_the_prediction():
    model, images = mae(norm_target=False), torch.randn(2, 3, 64, 48)
    filled, hidden = reconstruct(model, images, 0.75, seed=3)
    assert hidden.shape == (2, 1, 64, 48)
    assert hidden.mean(dim=(1, 2, 3)).tolist() == [0.75, 0.75]
    assert torch.equal(filled * (1 - hidden), images * (1 - hidden))
    noise = torch.rand(2, 12, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        pred, mask = model.predict(images, 0.75, noise)
    assert torch.equal(patchify(filled, 16)[mask > 0], pred[mask > 0])


def test_nothing_of_a_hidden_patch_shows_in_the_image():
    """Also where the model predicts without mean and contrast."""
    model, images = mae(), torch.randn(1, 3, 64, 48)
    filled, hidden = reconstruct(model, images, 0.75)
    other, _ = reconstruct(model, torch.where(hidden > 0, images * 5 + 3, images), 0.75)
    assert torch.equal(filled, other)
    assert (filled - images).abs().max() > 0.1


def test_a_model_in_bfloat16():
    inputs = torch.randn(2, 3, 64, 48)
    expected, hidden = reconstruct(mae(), inputs, 0.75)
    filled, same = reconstruct(mae().bfloat16(), inputs, 0.75)
    assert torch.equal(hidden, same)
    torch.testing.assert_close(filled, expected, atol=0.1, rtol=0.05)


def test_values_are_spread_from_the_nearest():
    values, mask = torch.arange(12.)[None], torch.ones(1, 12)
    mask[0, [0, 11]] = 0
    spread = _from_around(values, mask, (4, 3))[0]
    assert spread[0] == pytest.approx(0, abs=0.02)
    assert spread[11] == pytest.approx(11, abs=0.02)
    assert spread[1] < spread[5] < spread[10]


def test_sheet_shows_truth_masked_and_reconstruction():
    model = mae().train()
    pixels = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8)
    inputs = model.data_preprocessor(dict(inputs=pixels), False)['inputs']
    sheet = reconstruction_sheet(model, inputs, (0.5, 0.75))
    assert model.training
    assert sheet.shape == (2 * 66, 5 * 50, 3)  # a margin of 1 around each image
    panels = sheet.reshape(2, 66, 5, 50, 3)[:, 1:-1, :, 1:-1].transpose(0, 2, 1, 3, 4)
    assert np.array_equal(panels[:, 0], pixels.permute(0, 2, 3, 1).numpy())
    for column, ratio in ((1, 0.5), (3, 0.75)):
        same = (panels[:, column] == panels[:, 0]).all(-1)
        gray = (panels[:, column] == 128).all(-1)
        assert gray.mean() == pytest.approx(ratio, abs=0.01)
        assert (same | gray).all()


def train(tmp_path, **kwargs):
    runner = Runner(
        model={**MODEL, 'type': 'SapiensMAE'}, work_dir=str(tmp_path),
        experiment_name=str(tmp_path),  # MMEngine keeps visualizers by it
        train_dataloader=dict(
            dataset=[dict(inputs=torch.full((3, 64, 48), i, dtype=torch.uint8)) for i in range(8)], batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False), num_workers=0),
        train_cfg=dict(by_epoch=False, max_iters=4),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='SapiensReconstructionHook', interval=2, num_images=1, mask_ratios=(0.75, ))],
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=1)),
        log_processor=dict(by_epoch=False), **kwargs)
    runner.train()


def test_hook_adds_images_at_its_interval(tmp_path):
    train(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob('*.png')) == ['reconstruction_2.png', 'reconstruction_4.png']


def test_tensorboard_gets_scalars_and_images(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    train(tmp_path, visualizer=dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')]))
    events = EventAccumulator(str(next(tmp_path.rglob('events.out.*')).parent)).Reload()
    assert [event.step for event in events.Scalars('loss')] == [1, 2, 3, 4]
    assert [event.step for event in events.Images('reconstruction')] == [2, 4]


def test_hook_refuses_ratios_before_the_first_step():
    # 95 % of 12 patches would leave none visible; the run must fail before its first visualization.
    hook = SapiensReconstructionHook(interval=1000, mask_ratios=(0.75, 0.95))
    with pytest.raises(ValueError, match='mask_ratios.*0.95.* 0 of 12'):
        hook.before_train_iter(SimpleNamespace(model=mae()), 0, dict(inputs=torch.zeros(1, 3, 64, 48)))


def test_hook_draws_no_random_numbers():
    # The next masks come from the same generator, and a resumed run has to draw the same.
    hook, runner = SapiensReconstructionHook(interval=1000, mask_ratios=(0.75, )), SimpleNamespace(model=mae())
    state = torch.get_rng_state()
    hook.before_train_iter(runner, 0, dict(inputs=torch.zeros(1, 3, 64, 48)))
    assert torch.equal(torch.get_rng_state(), state)
