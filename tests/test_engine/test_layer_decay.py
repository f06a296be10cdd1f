"""Tests of layer-wise learning rate decay."""
import logging

import pytest
import torch.nn as nn
from mmengine.optim import build_optim_wrapper

from sapiens_mm.backbones import SapiensViT

TINY = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)


class Model(nn.Module):

    def __init__(self, backbone=None):
        super().__init__()
        self.backbone = backbone or SapiensViT(arch=TINY, img_size=32, with_cls_token=True)
        self.head = nn.Conv2d(32, 5, 1)


class ForeignViT(nn.Module):
    """Has mmpretrain's parameter names, but no `get_layer_depth`."""

    def __init__(self):
        super().__init__()
        vit = SapiensViT(arch=TINY, img_size=32, with_cls_token=True)
        self.patch_embed, self.layers, self.ln1 = vit.patch_embed, vit.layers, vit.ln1
        self.pos_embed, self.cls_token = vit.pos_embed, vit.cls_token


def build(model, lr=1., weight_decay=0.1, **paramwise_cfg):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay),
            constructor='SapiensLayerDecayConstructor',
            paramwise_cfg=paramwise_cfg)).optimizer


def settings(model, optimizer):
    """Name of each parameter -> (lr, weight decay)."""
    names = {id(param): name for name, param in model.named_parameters()}
    return {names[id(param)]: (group['lr'], group['weight_decay'])
            for group in optimizer.param_groups for param in group['params']}


@pytest.mark.parametrize(('cfg', 'message'), [
    (dict(layer_decay=0.9), r"\['layer_decay'\]"),
    (dict(custom_keys=dict(bias=dict(decay_multi=0.))), 'decay_multi'),
    (dict(layer_decay_rate=1.5), 'got 1.5'),
    (dict(layer_decay_rate=0), 'got 0'),
    (dict(layer_decay_rate=0.9, num_layers=12), 'num_layers: got 12, expected the 3'),
    (dict(lr=None), 'lr'),
    (dict(layer_decay_rate=0.9, decay_rate=0.8), 'decay_rate=0.8 and layer_decay_rate=0.9'),
    (dict(decay_type='stage_wise'), 'stage_wise'),
])
def test_bad_settings_are_named(cfg, message):
    with pytest.raises(ValueError, match=message):
        build(Model(), **cfg)


def test_unknown_backbone_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 8, 1))
    with pytest.raises(ValueError, match='Sequential'):
        build(model, layer_decay_rate=0.9)
    assert settings(model, build(model)) == {'0.weight': (1., 0.1), '0.bias': (1., 0.)}


@pytest.mark.parametrize('backbone', [None, ForeignViT])
def test_rates_of_the_release(backbone):
    """Scale rate^(L + 1 - id): embeddings 0, block i has i + 1, final norm and head L + 1."""
    model = Model(backbone and backbone())
    actual = settings(model, build(model, layer_decay_rate=0.5))
    assert set(actual) == {name for name, _ in model.named_parameters()}
    assert actual['backbone.pos_embed'] == actual['backbone.cls_token'] == (0.5**4, 0.)
    assert actual['backbone.patch_embed.projection.weight'] == (0.5**4, 0.1)
    assert actual['backbone.patch_embed.projection.bias'] == (0.5**4, 0.)
    assert actual['backbone.layers.0.attn.qkv.weight'] == (0.5**3, 0.1)
    assert actual['backbone.layers.2.ln2.weight'] == (0.5, 0.)
    assert actual['backbone.ln1.weight'] == (1., 0.)
    assert actual['head.weight'] == (1., 0.1)
    assert actual['head.bias'] == (1., 0.)


def test_groups_are_few():
    model = Model()
    optimizer = build(model, layer_decay_rate=0.9)
    # Weights and the rest, for the embeddings, three blocks and the head.
    assert len(optimizer.param_groups) == 2 * (3 + 2)
    keys = [(group['lr'], group['weight_decay']) for group in optimizer.param_groups]
    assert len(set(keys)) == len(keys)
    assert len(build(model).param_groups) == 2


def test_decay_rules():
    """As in MMEngine, the bias of a norm layer follows the norm's rule."""
    model = Model()
    actual = settings(model, build(model, norm_decay_mult=2., bias_decay_mult=3., token_decay_mult=4.,
                                  pos_embed_decay_mult=5.))
    assert [actual[name][1] for name in ('backbone.ln1.weight', 'backbone.ln1.bias', 'backbone.cls_token',
                                        'backbone.pos_embed', 'head.weight')] == pytest.approx([.2, .2, .4, .5, .1])
    assert actual['head.bias'][1] == pytest.approx(.3)


@pytest.mark.parametrize('constructor', [
    'DefaultOptimWrapperConstructor', 'mmpose.ForceDefaultOptimWrapperConstructor'])
@pytest.mark.parametrize('cfg', [
    dict(norm_decay_mult=.2, bias_decay_mult=.3, flat_decay_mult=.4, dwconv_decay_mult=.5, bias_lr_mult=2.),
    dict(norm_decay_mult=.2, bias_decay_mult=.3, flat_decay_mult=.4, bypass_duplicate=True, custom_keys={
        'backbone.layers': dict(lr_mult=.1), 'backbone.layers.1.ln1': dict(decay_mult=.7), 'tail': dict(lr_mult=3.)}),
    dict(norm_decay_mult=.2, bias_decay_mult=.3, flat_decay_mult=.4, bias_lr_mult=2., custom_keys={
        'tail': dict(lr_mult=3.), 'backbone.layers.1': dict(decay_mult=.5)}),
    dict(flat_decay_mult=.4),
])
def test_stock_keys_mean_what_they_mean_in_mmengine(cfg, constructor):
    """Apart from tokens and position embeddings, which have rules of their own here."""
    import mmpose.engine.optim_wrappers  # noqa: F401

    model = Model()
    model.backbone = nn.Sequential()
    model.backbone.layers = SapiensViT(arch=TINY, img_size=32).layers
    model.tail = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.PReLU(8), nn.GroupNorm(2, 8))
    if 'Force' in constructor:
        cfg = {**cfg, 'force_default_settings': True}
    else:  # where a custom key leaves a factor out, MMEngine takes 1, and we the rule's
        cfg = {**cfg, 'custom_keys': {key: {'lr_mult': 1., 'decay_mult': 1., **setting}
                                      for key, setting in cfg.get('custom_keys', {}).items()}}
    stock = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=1., weight_decay=0.1), constructor=constructor,
        paramwise_cfg=cfg)).optimizer
    ours, expected = settings(model, build(model, **cfg)), settings(model, stock)
    assert ours.keys() == expected.keys()
    for name in ours:
        assert ours[name] == pytest.approx(expected[name]), name


def test_custom_keys():
    """The longest fitting key wins; its lr_mult multiplies the layer's rate."""
    model = Model()
    actual = settings(model, build(model, layer_decay_rate=0.5, custom_keys={
        'layers.1': dict(lr_mult=3.), 'layers.1.attn': dict(decay_mult=7.), 'head': dict(lr_mult=10., decay_mult=0.)}))
    assert actual['backbone.layers.1.ffn.layers.1.weight'] == (3 * 0.5**2, 0.1)
    assert actual['backbone.layers.1.ffn.layers.1.bias'] == (3 * 0.5**2, 0.)
    assert actual['backbone.layers.1.attn.qkv.bias'] == pytest.approx((0.5**2, 0.7))
    assert actual['head.weight'] == (10., 0.)


def test_a_key_for_the_whole_backbone_leaves_the_rules_in_place():
    model = Model()
    actual = settings(model, build(model, layer_decay_rate=0.5, custom_keys={
        'backbone': dict(lr_mult=0.1, decay_mult=0.5), 'backbone.layers.1': dict(decay_mult=1.)}))
    assert actual['backbone.pos_embed'] == actual['backbone.cls_token'] == pytest.approx((0.1 * 0.5**4, 0.))
    assert actual['backbone.layers.0.attn.qkv.weight'] == pytest.approx((0.1 * 0.5**3, 0.05))
    assert actual['backbone.layers.0.ln1.weight'] == actual['backbone.layers.0.attn.qkv.bias'] == pytest.approx(
        (0.1 * 0.5**3, 0.))
    assert actual['backbone.layers.1.ln1.weight'] == (0.5**2, 0.1)  # a longer key has its own way
    assert actual['head.weight'] == (1., 0.1)


def test_force_default_settings_keeps_the_rules_under_every_key():
    model = Model()
    actual = settings(model, build(model, force_default_settings=True, custom_keys={
        'layers.1': dict(lr_mult=0.1, decay_mult=1.)}))
    assert actual['backbone.layers.1.ln1.weight'] == (0.1, 0.)
    assert actual['backbone.layers.1.attn.qkv.weight'] == (0.1, 0.1)


def test_names_of_the_hosts_decay():
    model = Model()
    assert settings(model, build(model, decay_rate=0.5, decay_type='layer_wise', num_layers=3)) == settings(
        model, build(model, layer_decay_rate=0.5))


def test_missing_weight_decay_is_none():
    model = Model()
    for weight_decay in ({}, dict(weight_decay=None)):
        optimizer = build_optim_wrapper(model, dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=1., **weight_decay),
            constructor='SapiensLayerDecayConstructor')).optimizer
        assert {group['weight_decay'] for group in optimizer.param_groups} == {0.}


def test_every_trainable_backbone_is_decayed():
    """Each by its own number of blocks; a teacher without gradients counts for nothing."""
    model = Model()
    model.second = SapiensViT(arch=dict(TINY, num_layers=1), img_size=32)
    model.teacher = SapiensViT(arch=dict(TINY, num_layers=2), img_size=32).requires_grad_(False)
    actual = settings(model, build(model, layer_decay_rate=0.5))
    assert actual['backbone.layers.0.attn.qkv.weight'][0] == 0.5**3
    assert actual['second.layers.0.attn.qkv.weight'][0] == 0.5
    assert actual['second.pos_embed'][0] == 0.5**2
    assert actual['second.ln1.weight'][0] == actual['head.weight'][0] == 1.
    with pytest.raises(ValueError, match='num_layers: got 3'):
        build(model, layer_decay_rate=0.5, num_layers=3)


def test_a_classifier_that_asks_its_backbone():
    """mmpretrain's classifiers have a `get_layer_depth` of their own, without a prefix."""

    class Classifier(Model):

        def get_layer_depth(self, param_name):
            return self.backbone.get_layer_depth(param_name, 'backbone.')

    model = Classifier()
    assert settings(model, build(model, layer_decay_rate=0.5))['backbone.pos_embed'][0] == 0.5**4


def test_frozen_and_shared_parameters():
    model = Model(SapiensViT(arch=TINY, img_size=32, frozen_stages=2))
    model.twin = model.head
    actual = settings(model, build(model, layer_decay_rate=0.5))
    assert set(actual) == {name for name, param in model.named_parameters() if param.requires_grad}
    assert 'backbone.layers.1.ln1.weight' not in actual


def test_bare_backbone():
    model = SapiensViT(arch=TINY, img_size=32)
    actual = settings(model, build(model, layer_decay_rate=0.5))
    assert actual['pos_embed'][0] == 0.5**4
    assert actual['ln1.weight'][0] == 1.


def test_groups_are_logged(caplog):
    from mmengine.logging import MMLogger
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            build(Model(), layer_decay_rate=0.5)
    finally:
        logger.removeHandler(caplog.handler)
    table = caplog.text
    assert '10 parameter groups (layer decay 0.5)' in table
    assert 'weight decay' in table
