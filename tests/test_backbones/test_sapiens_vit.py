"""Tests of `SapiensViT` and its public weights."""
import pytest
import torch
from mmengine.registry import MODELS

from sapiens_mm.backbones import SapiensViT
from sapiens_mm.backbones.pos_embed import sincos_pos_embed
from sapiens_mm.engine.weights import save_weights

TINY = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)


def tiny(**kwargs) -> SapiensViT:
    torch.manual_seed(0)
    model = SapiensViT(**{**dict(arch=TINY, img_size=(64, 48)), **kwargs})
    model.init_weights()
    return model


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(arch='0.4b'), "'0.4b'"),
    (dict(arch=dict(embed_dims=32)), 'embed_dims'),
    (dict(arch={**TINY, 'num_heads': 5}), 'embed_dims=32.* 5'),
    (dict(out_type='map'), "'map'"),
    (dict(out_type='cls_token'), 'with_cls_token=True'),
    (dict(out_indices=3), 'got 3'),
    (dict(out_indices=(-4, 0)), r'\(-4, 0\)'),
    (dict(out_indices=()), r'\(\)'),
    (dict(out_indices=(2, -1)), r'\(2, -1\)'),
    (dict(img_size=(64, 48, 3)), r'\(64, 48, 3\)'),
    (dict(init_cfg=dict(type='Pretrained')), 'checkpoint'),
    (dict(frozen_stages=4), 'got 4'),
])
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        tiny(**kwargs)


@pytest.mark.parametrize('task', ['pose', 'depth', 'seg', 'normal'])
def test_equals_public_model(reference, task):
    entry = reference[task]
    model = SapiensViT(
        reference['arch'], img_size=reference['img_size'], patch_cfg=dict(padding=entry['patch_padding'])).eval()
    prefix = 'backbone.'
    model.load_state_dict({k[len(prefix):]: v for k, v in entry['state_dict'].items() if k.startswith(prefix)})
    with torch.no_grad():
        feat, = model(reference['input'])
    torch.testing.assert_close(feat, entry['feat'], atol=1e-4, rtol=0)


@pytest.mark.parametrize(('arch', 'parameters'), [
    # The fine-tuned backbones (no cls token, 64 x 48 positions), in millions.
    ('0.3b', 306.24), ('sapiens_0.6b', 634.60), ('1b', 1139.16), ('2b', 2131.94)])
def test_sizes(arch, parameters):
    with torch.device('meta'):
        model = SapiensViT(arch)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(parameters, abs=0.01)


@pytest.mark.parametrize(('arch', 'width', 'heads'), [('tiny', 192, 3), ('sapiens_0.1b', 768, 12)])
def test_small_sizes(arch, width, heads):
    with torch.device('meta'):
        model = MODELS.build(dict(type='SapiensViT', arch=arch))
    assert (model.embed_dims, model.num_layers, model.num_heads) == (width, 12, heads)


def test_out_types_agree():
    x = torch.randn(2, 3, 64, 48)
    models = {kind: tiny(out_type=kind, with_cls_token=True).eval() for kind in SapiensViT.out_types}
    with torch.no_grad():
        outs = {kind: model(x)[0] for kind, model in models.items()}
    assert {kind: tuple(out.shape) for kind, out in outs.items()} == dict(
        featmap=(2, 32, 4, 3), raw=(2, 13, 32), cls_token=(2, 32), avg_featmap=(2, 32))
    patches = outs['raw'][:, 1:]
    torch.testing.assert_close(outs['featmap'].flatten(2).transpose(1, 2), patches)
    torch.testing.assert_close(outs['avg_featmap'], patches.mean(1))
    torch.testing.assert_close(outs['cls_token'], outs['raw'][:, 0])


def test_out_indices():
    x = torch.randn(1, 3, 64, 48)
    model = tiny(out_indices=(-1, 0)).eval()
    first, last = model(x)
    torch.testing.assert_close(last, tiny().eval()(x)[0])
    torch.testing.assert_close(first, tiny(out_indices=0).eval()(x)[0])
    assert not torch.allclose(first, last)


@pytest.mark.parametrize('size', [(64, 48), (48, 64), (50, 70), (16, 16), (128, 33)])
@pytest.mark.parametrize('padding', [0, 2])
def test_any_image_size(size, padding):
    model = tiny(patch_cfg=dict(padding=padding)).eval()
    out, = model(torch.randn(1, 3, *size))
    assert out.shape == (1, 32, -(-size[0] // 16), -(-size[1] // 16))
    assert out.isfinite().all()


def test_odd_size_is_zero_padding_on_the_bottom_and_right():
    model = tiny().eval()
    x = torch.randn(1, 3, 50, 70)
    padded = torch.zeros(1, 3, 64, 80)
    padded[..., :50, :70] = x
    torch.testing.assert_close(model(x)[0], model(padded)[0])


def test_position_embedding_of_other_grids():
    model = tiny(with_cls_token=True).eval()
    assert model.pos_embed_for((4, 3)) is model.pos_embed
    with torch.no_grad():
        before = model.pos_embed_for((5, 6)).clone()
        model.pos_embed.data.add_(1.)
    torch.testing.assert_close(model.pos_embed_for((5, 6)), before + 1)
    model.pos_embed_for((5, 6)).sum().backward()
    assert model.pos_embed.grad.abs().sum() > 0


ARCHS = {name: dict(embed_dims=4 * settings['num_heads'], num_layers=settings['num_layers'] // 4,
                    num_heads=settings['num_heads'], feedforward_channels=16 * settings['num_heads'])
         for name, settings in SapiensViT.arch_zoo.items()}


@pytest.mark.parametrize('arch', ARCHS)
def test_every_parameter_gets_a_gradient_and_checkpointing_changes_nothing(arch):
    x, gradients = torch.randn(2, 3, 70, 90), {}
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = SapiensViT(ARCHS[arch], (64, 48), with_cp=with_cp, with_cls_token=True, out_type='raw',
                           out_indices=(0, -1)).train()
        first, last = model(x)
        assert first.shape == last.shape == (2, 1 + 5 * 6, ARCHS[arch]['embed_dims'])
        last.square().sum().backward()
        gradients[with_cp] = {name: param.grad for name, param in model.named_parameters()}
        assert all(grad.abs().sum() > 0 for grad in gradients[with_cp].values())
    torch.testing.assert_close(gradients[True], gradients[False])


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('arch', ARCHS)
def test_saved_weights_load(arch, suffix, tmp_path):
    source, path = SapiensViT(ARCHS[arch], (64, 48), drop_path_rate=.1).eval(), str(tmp_path / f'backbone{suffix}')
    save_weights(source.state_dict(), path)
    target = tiny(arch=ARCHS[arch], init_cfg=dict(type='Pretrained', checkpoint=path)).eval()
    x = torch.randn(1, 3, 64, 48)
    out, = target(x)
    assert out.shape == (1, ARCHS[arch]['embed_dims'], 4, 3)
    assert torch.equal(out, source(x)[0])


def test_checkpointing_keeps_less():

    def kept(with_cp):
        model, count = tiny(with_cp=with_cp).train(), 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.randn(2, 3, 64, 48))
        return count

    assert kept(True) < kept(False) / 2


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 3])
def test_frozen_stages(frozen_stages):
    model = tiny(frozen_stages=frozen_stages, drop_path_rate=0.5, drop_rate=0.5).train()
    frozen = {name for name, param in model.named_parameters() if not param.requires_grad}
    expected = set()
    if frozen_stages >= 0:
        expected = {'pos_embed', 'patch_embed.projection.weight', 'patch_embed.projection.bias'}
        expected |= {n for n, _ in model.named_parameters() if n.startswith('layers.') and int(n[7]) < frozen_stages}
    if frozen_stages == 3:
        expected |= {'ln1.weight', 'ln1.bias'}
    assert frozen == expected
    for i, block in enumerate(model.layers):
        assert all(m.training == (i >= frozen_stages) for m in block.modules())


def test_initial_weights():
    model = tiny(with_cls_token=True)
    assert torch.equal(model.pos_embed, sincos_pos_embed((4, 3), 32, num_extra_tokens=1))
    for name, param in model.named_parameters():
        if name == 'pos_embed':
            continue
        if param.ndim > 1:
            assert 0.01 < param.std() < 0.03, name
        else:
            assert (param == float('ln' in name and name.endswith('weight'))).all(), name


def test_drop_path_is_random_in_training_only():
    model = tiny(drop_path_rate=0.9)
    x = torch.randn(8, 3, 64, 48)
    model.train()
    assert not torch.allclose(model(x)[0], model(x)[0])
    model.eval()
    torch.testing.assert_close(model(x)[0], model(x)[0])


def test_layer_depth():
    model = tiny(with_cls_token=True)
    depths = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in model.named_parameters()}
    assert {total for _, total in depths.values()} == {5}
    assert depths['pos_embed'][0] == depths['cls_token'][0] == depths['patch_embed.projection.bias'][0] == 0
    assert depths['layers.0.ln1.weight'][0] == 1
    assert depths['layers.2.ffn.layers.1.bias'][0] == 3
    assert depths['ln1.weight'][0] == 4
    assert model.get_layer_depth('head.final_layer.weight', 'backbone.') == (4, 5)


def test_residual_stream_is_float32_under_autocast():
    model, dtypes = tiny(with_cls_token=True), []
    for block in model.layers:
        block.register_forward_pre_hook(lambda module, args: dtypes.append(args[0].dtype))
    for size in ((64, 48), (80, 64)):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            model(torch.randn(1, 3, *size))
    assert set(dtypes) == {torch.float32}


def test_bf16_weights_run():
    model = tiny().bfloat16().eval()
    out, = model(torch.randn(1, 3, 80, 64, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()
