"""Tests of loading and exporting backbone checkpoints."""
import copy
import logging
from collections import OrderedDict

import pytest
import torch
import torch.nn as nn
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner.checkpoint import load_state_dict

from sapiens_mm.backbones import CheckpointMismatch, SapiensViT
from sapiens_mm.backbones.checkpoint import describe_checkpoint, export_backbone, load_pretrained_backbone
from sapiens_mm.engine import CheckpointError

ARCH = {'embed_dims': 32, 'num_layers': 2, 'num_heads': 2, 'feedforward_channels': 64}


def vit(**kwargs):
    model = SapiensViT(**{'arch': ARCH, 'img_size': (128, 96), **kwargs})
    for param in model.parameters():
        nn.init.normal_(param)
    return model


def pretrained(**kwargs):
    """A state dict as in the public pretraining files: no prefix, cls token, square grid."""
    return vit(img_size=128, with_cls_token=True, **kwargs).state_dict()


class Estimator(BaseModel):
    """Stands for a host's model: a backbone and a head."""

    def __init__(self, num_keypoints=17, **kwargs):
        super().__init__()
        self.backbone = vit(**kwargs)
        self.head = nn.Module()
        self.head.final_layer = nn.Conv2d(32, num_keypoints, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.head.final_layer(self.backbone(inputs)[0])


@pytest.fixture
def saved(tmp_path):

    def save(content):
        path = str(tmp_path / 'checkpoint.pth')
        torch.save(content, path)
        return path

    return save


WAYS = {
    'init_cfg': lambda model, path: load_pretrained_backbone(model, path),
    'load_checkpoint': load_checkpoint,
    'load_state_dict': lambda model, path: model.load_state_dict(torch.load(path, weights_only=True)),
    'not strict': lambda model, path: model.load_state_dict(torch.load(path, weights_only=True), strict=False),
}


@pytest.mark.parametrize('way', WAYS)
def test_other_arch(saved, way):
    path = saved(SapiensViT('tiny', img_size=(64, 48)).state_dict())
    with pytest.raises(CheckpointMismatch) as info:
        WAYS[way](vit(), path)
    message = str(info.value)
    last = message.splitlines()[-1]
    assert 'does not fit the backbone (32 wide, 2 layers, grid 8x6)' in last
    assert 'sapiens_tiny (192 wide, 12 layers)' in last
    assert "Set arch='sapiens_tiny'" in last
    assert 'unexpected (120): layers.2.ln1.weight, ' in message
    assert 'pos_embed (1, 12, 192) instead of (1, 48, 32), ' in message
    assert 'and 24 more' in message
    assert path in message or way != 'init_cfg'


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('key', ['pos_embed', 'layers.1.attn.qkv.bias', 'ln1.weight'])
def test_missing_tensor(saved, way, key):
    state_dict = vit().state_dict()
    del state_dict[key]
    with pytest.raises(CheckpointMismatch, match=rf'missing \(1\): {key}'):
        WAYS[way](vit(), saved(state_dict))


@pytest.mark.parametrize(('change', 'message'), [
    ({'arch': {**ARCH, 'num_layers': 3}}, 'an arch dict with embed_dims=32, num_layers=3'),
    ({'arch': {**ARCH, 'feedforward_channels': 48}}, 'feedforward_channels'),
    ({'qkv_bias': False}, r'missing \(2\): layers.0.attn.qkv.bias'),
    ({'patch_size': 8}, 'mis-shaped'),
    ({'in_channels': 4}, 'mis-shaped'),
])
def test_other_settings(saved, change, message):
    state_dict = vit(**{'img_size': (128, 96), **change}).state_dict()
    with pytest.raises(CheckpointMismatch, match=message):
        load_checkpoint(vit(), saved(state_dict))


def test_tensors_unknown_to_a_block(saved):
    state_dict = {**vit().state_dict(), 'layers.0.gamma': torch.ones(32)}
    with pytest.raises(CheckpointMismatch, match='layers.0.gamma'):
        load_checkpoint(vit(), saved(state_dict))


def test_no_cls_token_where_one_is_needed(saved):
    with pytest.raises(CheckpointMismatch, match='set with_cls_token=False'):
        load_checkpoint(vit(with_cls_token=True), saved(vit().state_dict()))


@pytest.mark.parametrize('content', [{'blocks.0.norm1.weight': torch.ones(3)}, {'state_dict': {}}, {'epoch': 3}])
def test_no_backbone_in_file(saved, content):
    path = saved(content)
    with pytest.raises(CheckpointMismatch, match='no Sapiens backbone'):
        load_pretrained_backbone(vit(), path)
    with pytest.raises(CheckpointMismatch, match=r"checkpoint's 'backbone\.\*' does not fit .* no Sapiens backbone"):
        load_checkpoint(Estimator(), path)


@pytest.mark.parametrize(('positions', 'target', 'message'), [
    (47, (128, 96), r'47 patches \(neither'),
    (12, (96, 128), r'12 patches \(3x4 or 4x3'),  # trained upright or lying
])
def test_grid_that_cannot_be_told(saved, positions, target, message):
    state_dict = {**vit().state_dict(), 'pos_embed': torch.zeros(1, positions, 32)}
    with pytest.raises(CheckpointMismatch, match=message):
        load_checkpoint(vit(img_size=target), saved(state_dict))


def test_wrong_prefix(saved):
    with pytest.raises(CheckpointMismatch, match='no Sapiens backbone'):
        load_pretrained_backbone(vit(), saved(Estimator().state_dict()), prefix='encoder')


@pytest.mark.parametrize('wrap', [lambda x: x, lambda x: {'state_dict': x, 'meta': {}}, lambda x: {'model': x}])
@pytest.mark.parametrize('prefix', ['', 'module.', 'backbone.', 'module.backbone.'])
def test_unwrapping(saved, wrap, prefix):
    source, target = vit(), vit()
    tensors = {f'{prefix}{key}': value for key, value in source.state_dict().items()}
    if 'backbone' in prefix:
        tensors['head.final_layer.weight'] = torch.zeros(308, 32, 1, 1)
    load_pretrained_backbone(target, saved(wrap(tensors)))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_prefix(saved):
    source, target = vit(), vit()
    path = saved({f'student.encoder.{key}': value for key, value in source.state_dict().items()})
    load_pretrained_backbone(target, path, prefix='student.encoder')
    assert torch.equal(source.pos_embed, target.pos_embed)


def test_init_cfg(saved):
    source = vit()
    model = vit(init_cfg={'type': 'Pretrained', 'checkpoint': saved(source.state_dict())})
    model.init_weights()
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize('way', WAYS)
def test_public_pretraining_file(saved, way):
    state_dict = pretrained()
    model = vit()
    WAYS[way](model, saved(state_dict))
    grid = state_dict['pos_embed'][:, 1:].reshape(1, 8, 8, 32).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(grid, (8, 6), mode='bicubic', align_corners=False).flatten(2).mT
    torch.testing.assert_close(model.pos_embed.detach(), expected)
    assert torch.equal(model.layers[1].ffn.layers[1].weight, state_dict['layers.1.ffn.layers.1.weight'])


def test_public_pretraining_file_keeps_cls_token(saved):
    state_dict = pretrained()
    model = vit(with_cls_token=True)
    load_checkpoint(model, saved(state_dict))
    assert torch.equal(model.cls_token, state_dict['cls_token'])
    assert torch.equal(model.pos_embed[:, 0], state_dict['pos_embed'][:, 0])
    assert model.pos_embed.shape == (1, 49, 32)


@pytest.mark.parametrize('bare', [True, False], ids=['*_clean.pth', 'MAE'])
def test_whole_model_takes_pretraining_file(saved, bare):
    """``load_from`` of a pose estimator gets a file whose keys have no prefix."""
    state_dict = pretrained()
    if not bare:
        state_dict = {**{f'backbone.{key}': value for key, value in state_dict.items()},
                      'neck.decoder_embed.weight': torch.zeros(3)}
    model = Estimator()
    head = model.head.final_layer.weight.clone()
    load_checkpoint(model, saved(state_dict))
    expected = vit()
    load_pretrained_backbone(expected, saved(state_dict))
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), model.backbone.parameters(), strict=True))
    assert torch.equal(head, model.head.final_layer.weight)


def test_what_is_logged_for_a_whole_model(saved, caplog):
    load_checkpoint(Estimator(), saved(pretrained()), logger=logging.getLogger('test'))
    assert 'missing keys in source state_dict: head.final_layer.weight' in caplog.text
    assert 'unexpected key' not in caplog.text


def test_head_of_other_vocabulary(saved):
    source, target = Estimator(308), Estimator(17)
    load_checkpoint(target, saved({'state_dict': source.state_dict()}))
    assert torch.equal(source.backbone.ln1.weight, target.backbone.ln1.weight)


@pytest.mark.parametrize(('source', 'target'), [
    ((128, 128), (96, 96)), ((128, 96), (256, 192)), ((64, 128), (128, 256)), ((128, 96), (64, 64)),
])
def test_own_grids(saved, source, target):
    trained, model = vit(img_size=source), vit(img_size=target)
    load_checkpoint(model, saved(trained.state_dict()))
    expected = trained.pos_embed_for(model.grid_size)
    torch.testing.assert_close(model.pos_embed.detach(), expected.detach())


def test_half_precision_file(saved):
    state_dict = {key: value.bfloat16() for key, value in pretrained().items()}
    model = vit()
    load_checkpoint(model, saved(state_dict))
    assert model.pos_embed.dtype == torch.float32
    load_checkpoint(model.half(), saved(state_dict))
    assert model.pos_embed.dtype == torch.half


def test_same_shapes_are_left_alone():
    source, target = vit(img_size=(96, 128), with_cls_token=True), vit(img_size=(96, 128), with_cls_token=True)
    target.load_state_dict(source.state_dict())
    assert torch.equal(source.pos_embed, target.pos_embed)
    copy.deepcopy(target).load_state_dict(source.state_dict())


@pytest.mark.parametrize('load', [load_state_dict, lambda model, state_dict: model.load_state_dict(state_dict)])
def test_state_dict_of_the_caller_is_not_changed(load):
    state_dict = OrderedDict(pretrained())
    before = {key: (value.data_ptr(), value.shape) for key, value in state_dict.items()}
    load(vit(), state_dict)
    assert before == {key: (value.data_ptr(), value.shape) for key, value in state_dict.items()}


def test_runner_load_from(saved, tmp_path):
    state_dict = pretrained()
    model = Estimator()
    runner = Runner(model, str(tmp_path), load_from=saved(state_dict), log_level='ERROR', experiment_name=str(tmp_path))
    runner.load_or_resume()
    assert torch.equal(model.backbone.ln1.weight, state_dict['ln1.weight'])


@pytest.mark.parametrize(('extra', 'words'), [
    ({'head.final_layer.weight': torch.zeros(308, 2, 1, 1)}, 'pose with 308 keypoints'),
    ({'decode_head.conv_seg.weight': torch.zeros(28, 2, 1, 1)}, '28 part classes'),
    ({'decode_head.conv_seg.weight': torch.zeros(1, 2, 1, 1)}, 'depth'),
    ({'decode_head.conv_seg.weight': torch.zeros(3, 2, 1, 1)}, 'surface normals'),
    ({'neck.decoder_embed.weight': torch.zeros(1)}, 'MAE encoder and decoder'),
    ({'backbone.cls_token': torch.zeros(1, 1, 8)}, 'encoder with cls token'),
])
@pytest.mark.parametrize('arch', ['sapiens_0.3b', 'sapiens_0.6b', 'sapiens_1b', 'sapiens_2b'])
def test_describe(extra, words, arch):
    settings = SapiensViT.arch_zoo[arch]
    state_dict = {'backbone.patch_embed.projection.weight': torch.zeros(settings['embed_dims'], 1), **extra}
    state_dict.update({f'backbone.layers.{i}.ln1.weight': torch.zeros(1) for i in range(settings['num_layers'])})
    text = describe_checkpoint(state_dict)
    assert text.startswith(f'{arch} ({settings["embed_dims"]} wide, {settings["num_layers"]} layers)')
    assert words in text


def test_reference(saved, reference):
    clean = reference['clean']
    model = SapiensViT(reference['arch'], reference['img_size'], patch_cfg={'padding': clean['patch_padding']})
    load_pretrained_backbone(model, saved(clean['state_dict']))
    torch.testing.assert_close(model.pos_embed.detach(), clean['pos_embed'], atol=1e-5, rtol=0)
    with torch.no_grad():
        feat, = model.eval()(reference['input'])
    torch.testing.assert_close(feat, clean['feat'], atol=1e-4, rtol=0)


def test_export_refuses_other_files_and_endings(saved, tmp_path):
    with pytest.raises(ValueError, match='backbone.pt'):
        export_backbone(saved(pretrained()), str(tmp_path / 'backbone.pt'))
    with pytest.raises(CheckpointError, match='has no Sapiens backbone.*head.weight'):
        export_backbone(saved({'head.weight': torch.zeros(2)}), str(tmp_path / 'backbone.pth'))
    assert [path.name for path in tmp_path.iterdir()] == ['checkpoint.pth']


ODD = {
    'list': [torch.zeros(1)], 'no dict': dict(state_dict=[torch.zeros(1)]), 'none': dict(state_dict=None),
    'text': dict(state_dict='x'), 'keys': {1: torch.zeros(1), None: 2}, 'empty': {},
    'nested': dict(state_dict=dict(a=dict(b=1))),
    'values': {'patch_embed.projection.weight': 'x', 'pos_embed': 3},
    'scalar': {'patch_embed.projection.weight': torch.tensor(1.), 'pos_embed': torch.tensor(1.)},
    'no pos_embed': {'patch_embed.projection.weight': torch.zeros(4, 3, 2, 2)},
    'sparse': {'patch_embed.projection.weight': torch.zeros(4, 3, 2, 2), 'pos_embed': torch.zeros(1, 4, 4),
               'ln1.weight': torch.eye(3).to_sparse()},
    'complex': {'patch_embed.projection.weight': torch.zeros(4, 3, 2, 2), 'pos_embed': torch.zeros(1, 4, 4),
                'ln1.weight': torch.zeros(3, dtype=torch.complex64)},
}


@pytest.mark.parametrize('kind', ODD)
def test_odd_checkpoints_are_not_exported(kind, tmp_path):
    torch.save(ODD[kind], tmp_path / 'odd.pth')
    for ending in ('pth', 'safetensors'):
        with pytest.raises(CheckpointError, match='odd.pth') as error:
            export_backbone(str(tmp_path / 'odd.pth'), str(tmp_path / f'out.{ending}'))
        assert '\n' not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ['odd.pth']


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('nested', [False, True])
def test_exported_backbones_load_where_public_ones_do(saved, tmp_path, ending, nested):
    weights = pretrained()
    content = weights
    if nested:  # as a run of pretraining writes it
        decoder = {'neck.mask_token': torch.zeros(1, 1, 8), 'neck.ln1.weight': torch.zeros(8)}
        content = dict(state_dict={**{f'backbone.{k}': v for k, v in weights.items()}, **decoder}, optimizer={})
    out = str(tmp_path / f'sub/backbone.{ending}')
    shapes = export_backbone(saved(content), out)
    assert shapes == {key: tuple(value.shape) for key, value in weights.items()}
    assert [path.name for path in (tmp_path / 'sub').iterdir()] == [f'backbone.{ending}']
    from_public, from_export = vit(), vit()
    load_pretrained_backbone(from_public, saved(weights))
    load_pretrained_backbone(from_export, out)
    for name, param in from_public.named_parameters():
        assert torch.equal(param, from_export.get_parameter(name)), name
