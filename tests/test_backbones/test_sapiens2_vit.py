"""Tests of `Sapiens2ViT`, its checkpoints, and the library's backbone against measured tensors of the release."""
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from sapiens_mm.backbones import CheckpointMismatch, Sapiens2ViT, SapiensViT
from sapiens_mm.backbones.arch import SAPIENS2
from sapiens_mm.backbones.checkpoint import describe_checkpoint, export_backbone
from sapiens_mm.backbones.sapiens2_keys import to_module_keys
from sapiens_mm.engine.weights import save_weights

ARCH = dict(embed_dims=32, num_layers=18, num_heads=4, feedforward_channels=128)
FILE = Path(__file__).resolve().parents[2].parent / 'shared' / 'reference' / 'sapiens2_tiny.pt'


@pytest.fixture(scope='module')
def transformers():
    return pytest.importorskip('transformers', '5.24')


def tiny(**kwargs) -> Sapiens2ViT:
    torch.manual_seed(0)
    model = Sapiens2ViT(**{**dict(arch=dict(ARCH, num_layers=3), img_size=(64, 48)), **kwargs})
    model.init_weights()
    return model


@pytest.fixture(scope='module')
def released(transformers):
    """Tensors of a tiny model of the release."""
    if not FILE.exists():
        pytest.skip(f'{FILE} is not here')
    return torch.load(FILE, weights_only=True)


@pytest.fixture
def saved(tmp_path):

    def save(content, name='checkpoint.pth'):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return save


class Estimator(torch.nn.Module):

    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = tiny(**kwargs)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r"transformers.*pip install 'sapiens_mm\[sapiens2\]'"):
        Sapiens2ViT('tiny')


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(arch='0.3b'), "'0.3b'"),
    (dict(arch='sapiens_1b'), "'sapiens_1b'"),
    (dict(arch=None), 'none'),
    (dict(arch=None, init_cfg=dict(type='Pretrained', checkpoint='mine.pth')), r'mine\.pth'),
    (dict(arch=dict(embed_dims=32)), 'embed_dims'),
    (dict(arch={**ARCH, 'num_heads': 5}), 'embed_dims=32.* 5'),
    (dict(arch=dict(ARCH, embed_dims=24, num_heads=3)), 'num_heads=3'),
    (dict(out_type='map'), "'map'"),
    (dict(out_indices=3), 'got 3'),
    (dict(out_indices=(2, -1)), r'\(2, -1\)'),
    (dict(img_size=(64, 48, 3)), r'\(64, 48, 3\)'),
    (dict(init_cfg=dict(type='Pretrained')), 'checkpoint'),
    (dict(frozen_stages=4), 'got 4'),
])
def test_bad_arguments(transformers, kwargs, message):
    with pytest.raises(ValueError, match=message):
        tiny(**kwargs)


def test_sapiens2_in_sapiens_and_the_reverse(transformers, saved):
    v1 = SapiensViT(dict(ARCH, num_layers=3), (64, 48), with_cls_token=True)
    v2 = tiny()
    cases = [(v1, v2.state_dict()), (v2, v1.state_dict()),
             (v1, {f'backbone.{name}': value for name, value in v2.state_dict().items()}),
             (v1, {name.removeprefix('vit.'): value for name, value in v2.state_dict().items()})]
    for model, weights in cases:
        for load in (model.load_state_dict, lambda weights, model=model: load_checkpoint(model, saved(weights))):
            with pytest.raises(CheckpointMismatch) as info:
                load(weights)
            assert {'SapiensViT', 'Sapiens2ViT'} <= set(str(info.value).replace(',', ' ').replace(';', ' ').split())


def test_a_released_file_in_sapiens(released, saved):
    path = saved(released['backbone']['state_dict'])
    with pytest.raises(CheckpointMismatch, match='Sapiens2ViT.*SapiensViT'):
        SapiensViT(ARCH, init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights()


def test_the_window_tokenizer_is_refused(released, saved):
    weights = {**released['backbone']['state_dict'], 'tokenizer.w_cls': torch.zeros(1, 1, 32)}
    with pytest.raises(CheckpointMismatch, match='window tokenizer'):
        tiny(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=saved(weights)))


def test_incomplete_weights_are_refused(transformers, saved):
    weights = {name: value for name, value in tiny().state_dict().items() if 'register' not in name}
    with pytest.raises(CheckpointMismatch, match='register_tokens'):
        tiny(init_cfg=dict(type='Pretrained', checkpoint=saved(weights)))
    with pytest.raises(CheckpointMismatch, match='3 layers'):
        tiny(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=saved(tiny().state_dict())))


def test_equals_the_release(released):
    reference = released['backbone']
    model = Sapiens2ViT(ARCH, out_type='raw').eval()
    model.load_state_dict(reference['state_dict'])
    with torch.no_grad():
        for images, tokens in (('input', 'tokens'), ('input2', 'tokens2')):
            raw, = model(reference[images])
            # 5.5e-6: of positions in float32; the release's own in bfloat16 differ by 0.034, 1 % of the largest value.
            torch.testing.assert_close(raw, reference[f'{tokens}_rope_fp32'], atol=2e-5, rtol=0)
            assert (raw - reference[tokens]).abs().max() < 0.015 * raw.abs().max()


def test_keys_are_renamed_as_the_library_does(released, transformers, tmp_path):
    weights = released['backbone']['state_dict']
    save_weights(weights, str(tmp_path / 'model.safetensors'))
    model = Sapiens2ViT(ARCH, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path)))
    model.vit.config.save_pretrained(tmp_path)
    model.init_weights()
    theirs = transformers.Sapiens2Backbone.from_pretrained(tmp_path)
    assert theirs.state_dict().keys() == model.vit.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, model.vit.state_dict()[name]), name
    assert to_module_keys(weights).keys() == model.state_dict().keys()


def test_equals_the_library(transformers):
    model, x = tiny(out_indices=(0, -1)).eval(), torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        states = model.vit(x, output_hidden_states=True).hidden_states
        expected = (states[1], model.vit.norm(states[-1]))
        for out, tokens in zip(model(x), expected):
            assert out.is_contiguous()
            assert torch.equal(out, tokens[:, 9:].transpose(1, 2).reshape(2, 32, 4, 3))


@pytest.mark.parametrize(('arch', 'millions'), [
    ('0.1b', 113.99), ('sapiens2_0.4b', 395.45), ('0.8b', 814.28), ('1b', 1455.47), ('5b', 5066.90)])
def test_sizes(transformers, arch, millions):
    with torch.device('meta'):
        model = MODELS.build(dict(type='Sapiens2ViT', arch=arch))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert model.vit.rope_embeddings.inv_freq.device.type == 'cpu'


def test_the_arch_is_that_of_the_checkpoint(transformers):
    for name in ('hf://facebook/sapiens2-pretrain-0.1b', 'weights/sapiens2_0.1b_pretrain.safetensors'):
        with torch.device('meta'):
            model = Sapiens2ViT(init_cfg=dict(type='Pretrained', checkpoint=name))
        assert (model.embed_dims, model.num_layers) == (768, 12)


def test_out_types_agree(transformers):
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        outs = {kind: tiny(out_type=kind).eval()(x)[0] for kind in Sapiens2ViT.out_types}
    assert {kind: tuple(out.shape) for kind, out in outs.items()} == dict(
        featmap=(2, 32, 4, 3), raw=(2, 21, 32), cls_token=(2, 32), avg_featmap=(2, 32))
    torch.testing.assert_close(outs['featmap'].flatten(2).transpose(1, 2), outs['raw'][:, 9:])
    torch.testing.assert_close(outs['avg_featmap'], outs['raw'][:, 9:].mean(1))
    torch.testing.assert_close(outs['cls_token'], outs['raw'][:, 0])


@pytest.mark.parametrize('size', [(64, 48), (50, 70), (1, 1), (128, 33)])
def test_any_image_size(transformers, size):
    model, x = tiny().eval(), torch.randn(1, 3, *size)
    out, = model(x)
    padded = torch.zeros(1, 3, *(-(-side // 16) * 16 for side in size))
    padded[..., :size[0], :size[1]] = x
    assert out.shape == (1, 32, -(-size[0] // 16), -(-size[1] // 16))
    torch.testing.assert_close(out, model(padded)[0])


def test_every_parameter_gets_a_gradient_and_checkpointing_changes_nothing(transformers):
    x, gradients, kept = torch.randn(2, 3, 70, 90), {}, {False: 0, True: 0}
    for with_cp in (False, True):
        model = tiny(arch=ARCH, with_cp=with_cp, out_type='raw').train()
        assert model.with_cp == with_cp

        def pack(tensor, with_cp=with_cp):
            kept[with_cp] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out, = model(x)
        out.square().sum().backward()
        gradients[with_cp] = {name: param.grad for name, param in model.named_parameters()}
        assert all(grad.abs().sum() > 0 for grad in gradients[with_cp].values())
    torch.testing.assert_close(gradients[True], gradients[False])
    assert kept[True] < kept[False] / 2
    model.with_cp = False
    assert not model.with_cp


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 3])
def test_frozen_stages(transformers, frozen_stages):
    model = tiny(frozen_stages=frozen_stages).train()
    frozen = {name for name, param in model.named_parameters() if not param.requires_grad}
    starts = ('vit.embeddings.', ) if frozen_stages >= 0 else ()
    starts += tuple(f'vit.model.layer.{i}.' for i in range(frozen_stages))
    starts += ('vit.norm.', ) if frozen_stages == 3 else ()
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(starts or 'none')}
    for i, block in enumerate(model.layers):
        assert all(m.training == (i >= frozen_stages) for m in block.modules())


def test_layer_depth(transformers):
    model = tiny()
    depths = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in model.named_parameters()}
    assert {total for _, total in depths.values()} == {5}
    assert all(depth == (0 if 'embeddings' in name else 4 if name == 'vit.norm.weight' else int(name.split('.')[3]) + 1)
               for name, (depth, _) in depths.items())
    assert model.get_layer_depth('head.final_layer.weight', 'backbone.') == (4, 5)


def test_positions_stay_exact_in_other_dtypes(transformers):
    model = tiny().eval()
    frequencies = model.vit.rope_embeddings.inv_freq.clone()
    assert model.bfloat16()(torch.randn(1, 3, 80, 64, dtype=torch.bfloat16))[0].dtype == torch.bfloat16
    assert torch.equal(model.vit.rope_embeddings.inv_freq, frequencies)
    assert torch.equal(model.to_empty(device='cpu').vit.rope_embeddings.inv_freq, frequencies)


def test_initial_weights(transformers):
    for name, param in tiny().named_parameters():
        if name.endswith('lambda1'):
            assert torch.equal(param, torch.full_like(param, 1e-4))
        elif param.ndim > 1:
            assert 0.01 < param.std() < 0.03, name
        else:
            assert (param == float('norm' in name)).all(), name


@pytest.mark.parametrize('layout', ['release', 'training', 'exported'])
def test_checkpoints_round_trip(released, saved, tmp_path, layout):
    weights = released['backbone']['state_dict']
    source = Estimator(arch=ARCH)
    source.backbone.load_state_dict(weights)
    if layout == 'release':
        path = saved({f'backbone.{name}': value for name, value in weights.items()})
    else:
        path = saved(dict(state_dict=source.state_dict()))
    if layout == 'exported':
        path, before = str(tmp_path / 'backbone.safetensors'), path
        shapes = export_backbone(before, path)
        assert shapes.keys() == source.backbone.vit.state_dict().keys()
    target = Estimator(arch=ARCH)
    load_checkpoint(target, path)
    by_init_cfg = tiny(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=path))
    for name, value in source.backbone.state_dict().items():
        assert torch.equal(value, target.backbone.state_dict()[name]), name
        assert torch.equal(value, by_init_cfg.state_dict()[name]), name


def test_a_folder_of_shards(transformers, tmp_path):
    source = tiny().vit.state_dict()
    names = list(source)
    for number, part in enumerate((names[:9], names[9:]), 1):
        save_weights({name: source[name] for name in part}, str(tmp_path / f'model-0000{number}-of-00002.safetensors'))
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps({}))
    model = tiny(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path)))
    assert all(torch.equal(value, source[name]) for name, value in model.vit.state_dict().items())


def test_describe():
    weights = {'backbone.patch_embed.projection.weight': torch.zeros(1024, 1),
               'decode_head.conv_pose.weight': torch.zeros(308, 1),
               **{f'backbone.blocks.{i}.attn.wq.weight': torch.zeros(1) for i in range(24)}}
    assert {'sapiens2_0.4b', '308'} <= set(describe_checkpoint(weights).split())
    assert SAPIENS2['sapiens2_0.4b']['num_layers'] == 24
