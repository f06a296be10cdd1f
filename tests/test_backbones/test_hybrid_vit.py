"""Tests of `SapiensHybridViT`."""
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS

import sapiens_mm.pretrain  # noqa: F401
from sapiens_mm.backbones import CheckpointMismatch, SapiensHybridViT, SapiensViT

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
SMALL = dict(arch=ARCH, img_size=(64, 48), stem_channels=(4, 8, 12, 16), decoder_channels=(12, 8))


def build(**kwargs) -> SapiensHybridViT:
    torch.manual_seed(0)
    model = SapiensHybridViT(**{**SMALL, **kwargs})
    model.init_weights()
    return model


@pytest.mark.parametrize(('settings', 'value'), [
    (dict(stem_channels=(4, 8, 12)), '3'),
    (dict(decoder_channels=()), '0'),
    (dict(decoder_channels=(8, 8, 8, 8)), '4'),
    (dict(out_indices=(0, 1)), r'\(0, 1\)'),
    (dict(with_cls_token=True), 'True'),
    (dict(patch_cfg=dict(padding=2)), 'padding'),
])
def test_bad_settings(settings, value):
    with pytest.raises(ValueError, match=f'got .*{value}'):
        build(**settings)


def test_is_no_masked_autoencoder():
    with pytest.raises(ValueError, match='with_cls_token'):
        MODELS.build(ConfigDict(type='SapiensMAE', backbone=dict(type='SapiensHybridViT', **SMALL)))


@pytest.mark.parametrize('size', [(64, 48), (63, 50), (96, 32)])
@pytest.mark.parametrize('channels', [(8, ), (12, 8), (12, 8, 4)])
def test_output_is_one_larger_map(size, channels):
    model = build(decoder_channels=channels)
    out, = model(torch.rand(2, 3, *size))
    grid = [-(-side // 16) * 2**len(channels) for side in size]
    assert out.shape == (2, channels[-1], *grid)
    assert model.out_channels == channels[-1]


def test_every_parameter_gets_a_gradient_with_and_without_checkpointing():
    images = torch.rand(2, 3, 64, 48)
    gradients = []
    for with_cp in (False, True):
        model = build(with_cp=with_cp)
        model(images)[0].square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(grad is not None and grad.abs().sum() > 0 for grad in gradients[0].values())
    assert all(torch.equal(grad, gradients[1][name]) for name, grad in gradients[0].items())


def test_saves_and_loads(tmp_path):
    model, images = build().eval(), torch.rand(1, 3, 64, 48)
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    again = SapiensHybridViT(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'model.pth')))
    again.init_weights()
    assert torch.equal(again.eval()(images)[0], model(images)[0])


@pytest.mark.parametrize(('source', 'target'), [(SapiensViT, SapiensHybridViT), (SapiensHybridViT, SapiensViT)])
def test_weights_of_the_plain_transformer_do_not_fit(source, target):
    settings = {cls: dict(arch=ARCH, img_size=(64, 48)) for cls in (SapiensViT, SapiensHybridViT)}
    with pytest.raises(CheckpointMismatch):
        target(**settings[target]).load_state_dict(source(**settings[source]).state_dict())


def test_stem_is_the_first_layer_and_decoder_the_last():
    model = build()
    depths = {name: model.get_layer_depth(name)[0] for name, _ in model.named_parameters()}
    assert {depth for name, depth in depths.items() if name.startswith('patch_embed.')} == {0}
    assert {depth for name, depth in depths.items() if name.startswith(('decoder.', 'laterals.'))} == {3}


def test_frozen_stem_keeps_its_statistics():
    model = build(frozen_stages=1).train()
    before = {name: value.clone() for name, value in model.patch_embed.state_dict().items()}
    model(torch.rand(2, 3, 64, 48))
    assert all(torch.equal(value, before[name]) for name, value in model.patch_embed.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.patch_embed.parameters())


def test_exports_as_it_runs():
    model, images = build().eval(), torch.rand(1, 3, 64, 48)
    exported = torch.export.export(model, (images, ))
    torch.testing.assert_close(exported.module()(images)[0], model(images)[0])
