"""Tests of the masked autoencoder."""
import pytest
import torch
from mmengine.registry import MODELS

import sapiens_mm.pretrain  # noqa: F401  (registers)
from sapiens_mm.pretrain.mae import patchify, unpatchify

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)


def mae(img_size=(128, 96), seed=0, neck=None, **kwargs):
    torch.manual_seed(seed)
    model = MODELS.build(
        dict(type='SapiensMAE', backbone=dict(type='SapiensViT', arch=ARCH, img_size=img_size),
             neck=dict(embed_dims=48, num_layers=2, num_heads=4, **(neck or {})), **kwargs))
    model.init_weights()
    return model


@pytest.mark.parametrize('ratio', [0., 1., -0.5, 1.5])
def test_refuses_ratios_that_mask_all_or_nothing(ratio):
    with pytest.raises(ValueError, match=str(ratio)):
        mae(mask_ratio=ratio)
    with pytest.raises(ValueError, match=str(ratio)):
        mae().predict(torch.zeros(1, 3, 128, 96), mask_ratio=ratio)


@pytest.mark.parametrize(('call', 'message'), [
    (lambda model: model.predict(torch.zeros(1, 3, 128, 96), mask_ratio=0.99), '0.99.* 0 of 48'),
    (lambda model: model.loss(torch.zeros(1, 3, 120, 96)), '120 x 96.* 16'),
    (lambda model: model.loss(torch.zeros(1, 3, 128, 96), noise=torch.rand(1, 47)), r'\(1, 47\).*\(1, 48\)'),
    (lambda model: model(torch.zeros(1, 3, 128, 96), mode='predict'), 'predict'),
])
def test_refuses_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(mae())


def test_equals_the_public_model(reference):
    ref = reference['mae']
    model = mae(ref['img_size'])
    assert set(model.state_dict()) == set(ref['state_dict'])
    model.load_state_dict(ref['state_dict'])
    model.eval()
    with torch.no_grad():
        latent, mask, ids_restore, _ = model.encode(ref['input'], noise=ref['noise'])
        pred, _ = model.predict(ref['input'], noise=ref['noise'])
        loss = model.loss(ref['input'], noise=ref['noise'])['loss']
    assert torch.equal(mask, ref['mask'])
    assert torch.equal(ids_restore, ref['ids_restore'])
    torch.testing.assert_close(latent, ref['latent'], atol=1e-4, rtol=0)
    torch.testing.assert_close(pred, ref['pred'], atol=1e-4, rtol=0)
    torch.testing.assert_close(loss, ref['loss'], atol=0, rtol=1e-5)


def test_starts_with_the_public_position_embeddings(reference):
    state_dict, model = reference['mae']['state_dict'], mae(reference['mae']['img_size'])
    torch.testing.assert_close(model.backbone.pos_embed.detach(), state_dict['backbone.pos_embed'], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        model.neck.decoder_pos_embed.detach(), state_dict['neck.decoder_pos_embed'], atol=1e-6, rtol=0)


def test_the_patch_projection_starts_as_a_linear_layer(tmp_path):
    weight = mae().backbone.patch_embed.projection.weight
    bound = (6 / (3 * 256 + 32))**0.5
    assert 0.95 * bound < weight.abs().max() <= bound
    torch.save(mae(seed=1).backbone.state_dict(), tmp_path / 'clean.pth')
    read = MODELS.build(
        dict(type='SapiensMAE', backbone=dict(
            type='SapiensViT', arch=ARCH, img_size=(128, 96),
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'clean.pth')))))
    read.init_weights()
    assert torch.equal(read.backbone.patch_embed.projection.weight, mae(seed=1).backbone.patch_embed.projection.weight)


def slow_patchify(images, size):
    patches = []
    for image in images.tolist():
        rows = []
        for top in range(0, len(image[0]), size):
            for left in range(0, len(image[0][0]), size):
                rows.append([image[c][top + y][left + x] for y in range(size) for x in range(size)
                             for c in range(len(image))])
        patches.append(rows)
    return torch.tensor(patches)


def test_patches_of_a_rectangular_grid():
    images = torch.randn(2, 3, 64, 32)
    patches = patchify(images, 16)
    assert torch.equal(patches, slow_patchify(images, 16))
    assert torch.equal(unpatchify(patches, (4, 2), 16), images)


def test_loss_of_a_rectangular_grid():
    """Against the definition, patch by patch."""
    model, images = mae(), torch.randn(2, 3, 128, 96)
    noise = torch.rand(2, 48)
    with torch.no_grad():
        pred, mask = model.predict(images, noise=noise)
        loss = model.loss(images, noise=noise)['loss']
    assert mask.sum(1).tolist() == [36, 36]
    errors = []
    for image, guess, hidden, draw in zip(slow_patchify(images, 16), pred, mask, noise):
        visible = set(draw.argsort()[:12].tolist())
        for i in range(48):
            assert (i not in visible) == bool(hidden[i])
            if i not in visible:
                patch = (image[i] - image[i].mean()) / (image[i].var() + 1e-6).sqrt()
                errors.append(((guess[i] - patch)**2).mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_plain_pixels_as_the_target():
    model, images = mae(norm_target=False), torch.randn(1, 3, 128, 96)
    assert torch.equal(model.target(images), slow_patchify(images, 16))


def test_masked_patches_do_not_reach_the_encoder():
    model, images = mae().eval(), torch.randn(1, 3, 128, 96)
    noise = torch.rand(1, 48)
    with torch.no_grad():
        latent, mask, *_ = model.encode(images, noise=noise)
        scrambled = unpatchify(patchify(images, 16) + mask[..., None] * 7, (8, 6), 16)
        other, *_ = model.encode(scrambled, noise=noise)
    assert latent.shape == (1, 13, 32)
    assert torch.equal(latent, other)


@pytest.mark.parametrize(('ratio', 'hidden'), [(0.5, 24), (0.75, 36), (0.85, 41), (0.95, 46)])
def test_ratio_per_call(ratio, hidden):
    pred, mask = mae().predict(torch.randn(3, 3, 128, 96), mask_ratio=ratio)
    assert mask.sum(1).tolist() == [hidden] * 3
    assert pred.shape == (3, 48, 768)
    assert not torch.equal(mask[0], mask[1])


def test_images_of_another_size_than_the_embedding():
    pred, _ = mae().predict(torch.randn(1, 3, 64, 160))
    assert pred.shape == (1, 40, 768)


def test_checkpointing_keeps_gradients_and_all_parameters_get_one():
    grads = []
    for with_cp in (False, True):
        model = mae(neck=dict(with_cp=with_cp))
        model.backbone.with_cp = with_cp
        torch.manual_seed(1)
        model.loss(torch.randn(2, 3, 128, 96, generator=torch.Generator().manual_seed(2)))['loss'].backward()
        grads.append({name: param.grad for name, param in model.named_parameters() if param.requires_grad})
    assert not model.backbone.pos_embed.requires_grad
    assert not model.neck.decoder_pos_embed.requires_grad
    for name, grad in grads[0].items():
        assert grad.abs().sum() > 0, name
        torch.testing.assert_close(grad, grads[1][name], msg=name)


def test_overfits_an_image():
    model, image = mae(norm_target=False), torch.zeros(1, 3, 128, 96)
    image[:, 0, :64], image[:, 1, 64:] = 1., -1.  # red above, green below
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        loss = model.loss(image)['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
