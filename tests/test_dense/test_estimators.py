"""Tests of dense estimators."""
import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import sapiens_mm.dense  # noqa: F401
from sapiens_mm.dense.estimators import restore, unmirror
from sapiens_mm.tasks import TASKS

from .conftest import BACKBONE, FLIP_INDICES, HEADS, samples

KINDS = dict(seg='SapiensPartsSegmentor', depth='SapiensDepthEstimator', normal='SapiensNormalEstimator')

def config(task, **kwargs):
    cfg = dict(
        type=KINDS[task],
        data_preprocessor=dict(type='SapiensDensePreprocessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True),
        backbone=BACKBONE, decode_head=HEADS[task],
        test_cfg=dict(mode='whole'))
    return copy.deepcopy({**cfg, **kwargs})


def build(task, **kwargs):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(config(task, **kwargs))
    model.init_weights()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()


@torch.no_grad()
def predict(model, inputs, data, task):
    field = dict(seg='pred_sem_seg', depth='pred_depth_map', normal='pred_normal_map')[task]
    return [sample.get(field).data for sample in model(inputs, data, mode='predict')]


def finish(outputs, size, task):
    """Returns predictions by interpolation of whole outputs, as mmseg makes them."""
    outputs = F.interpolate(outputs, size, mode='bilinear', align_corners=False)
    if task == 'seg':
        return outputs.argmax(1, keepdim=True).to(torch.uint8)
    return outputs if task == 'depth' else F.normalize(outputs, dim=1)


def full_size(model, task, inputs, size):
    with torch.no_grad():
        return finish(model(inputs), size, task)


def assert_same(actual, expected, task):
    if task == 'seg':  # but for pixels where two classes are as good as equal
        assert actual.dtype == torch.uint8
        assert (actual != expected).float().mean() < 2e-3
    else:
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-4)


def test_bad_input():
    x = torch.randn(1, 3, 64, 48)
    data = samples(num=1)
    data[0].set_metainfo(dict(flip_indices=None))
    model = build('seg', test_cfg=dict(flip_test=True))
    with pytest.raises(ValueError, match='flip_indices: got None'):
        model.predict(x, data)
    for indices in ([0, 1], [0, 0, 1, 2, 3, 4]):
        data[0].set_metainfo(dict(flip_indices=indices))
        with pytest.raises(ValueError, match=r'\[0, .* the 6 classes'):
            model.predict(x, data)
    with pytest.raises(ValueError, match='flip=True'):
        build('depth').predict(x, samples(num=1, flip=True))
    cfg = config('normal')
    cfg['decode_head']['task'] = 'depth'
    with pytest.raises(ValueError, match="'depth', expected 'normal'"):
        MODELS.build(cfg)


# The table of the public checkpoints' tensors: (parts of the name, shape), W channels after the first deconvolution.
def public_tensors(width, layers, outputs, head_width, deconvs, convs):
    table = {'backbone.patch_embed.projection.weight': (width, 3, 16, 16),
             'backbone.patch_embed.projection.bias': (width, ),
             'backbone.pos_embed': (1, 3072, width)}
    linears = {'attn.qkv': (3 * width, width), 'attn.proj': (width, width), 'ffn.layers.0.0': (4 * width, width),
               'ffn.layers.1': (width, 4 * width)}
    for name in ['ln1', *(f'layers.{i}.{norm}' for i in range(layers) for norm in ('ln1', 'ln2'))]:
        table[f'backbone.{name}.weight'] = table[f'backbone.{name}.bias'] = (width, )
    for i in range(layers):
        for name, (rows, columns) in linears.items():
            table[f'backbone.layers.{i}.{name}.weight'] = (rows, columns)
            table[f'backbone.layers.{i}.{name}.bias'] = (rows, )
    for i in range(deconvs):
        table[f'decode_head.deconv_layers.{3 * i}.weight'] = (head_width if i else width, head_width, 4, 4)
    for i in range(convs):
        table[f'decode_head.conv_layers.{3 * i}.weight'] = (head_width, head_width, 1, 1)
        table[f'decode_head.conv_layers.{3 * i}.bias'] = (head_width, )
    table['decode_head.conv_seg.weight'] = (outputs, head_width, 1, 1)
    table['decode_head.conv_seg.bias'] = (outputs, )
    return table


@pytest.mark.parametrize(('task', 'head', 'padding', 'layout'), [
    ('seg', dict(num_classes=28), 0, dict(outputs=28, head_width=768, deconvs=3, convs=3)),
    ('seg', dict(num_classes=20), 2, dict(outputs=20, head_width=768, deconvs=3, convs=3)),  # LIP, CIHP
    ('normal', dict(), 2, dict(outputs=3, head_width=768, deconvs=3, convs=3)),
    ('depth', dict(deconv_out_channels=(384, ) * 4, deconv_kernel_sizes=(4, ) * 4, conv_out_channels=(384, 384),
                   conv_kernel_sizes=(1, 1)), 0, dict(outputs=1, head_width=384, deconvs=4, convs=2)),
])
def test_public_checkpoints_load_strictly_at_full_size(task, head, padding, layout):
    table = public_tensors(1024, 24, **layout)
    with torch.device('meta'):
        model = MODELS.build(dict(
            type=KINDS[task],
            backbone=dict(
                type='SapiensViT', arch='sapiens_0.3b', img_size=(1024, 768), patch_cfg=dict(padding=padding)),
            decode_head=dict(type='SapiensDenseHead', in_channels=1024, **head)))
        state = {name: torch.empty(shape) for name, shape in table.items()}
        assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == table
        model.load_state_dict(state, strict=True)
        out = model.eval()(torch.empty(1, 3, 1024, 768))
    assert out.shape == ((1, 1, 1024, 768) if task == 'depth' else (1, layout['outputs'], 512, 384))
    assert sum(value.numel() for name, value in model.named_parameters() if name.startswith('backbone.')) / 1e6 == \
        pytest.approx(306.24, abs=0.01)


@pytest.mark.parametrize('task', KINDS)
def test_reference_checkpoint_gives_the_reference_output(reference, tmp_path, task):
    entry = reference[task]
    path = str(tmp_path / 'public.pth')
    torch.save(dict(state_dict=entry['state_dict']), path)
    model = build(task, backbone=dict(
        type='SapiensViT', arch=reference['arch'], img_size=reference['img_size'],
        patch_cfg=dict(padding=entry['patch_padding'])))
    load_checkpoint(model, path, strict=True)
    x = reference['input']
    with torch.no_grad():
        torch.testing.assert_close(model(x), entry['out'], atol=1e-4, rtol=0)
    x = x.repeat(2, 1, 1, 1)
    assert_same(torch.stack(predict(model, x, samples(ori_shape=(203, 155), size=(128, 96)), task)),
                full_size(model, task, x, (203, 155)), task)


@pytest.mark.parametrize('task', KINDS)
@pytest.mark.parametrize(('size', 'ori_shape'), [((64, 48), (64, 48)), ((64, 48), (301, 177)), ((80, 32), (33, 29))])
def test_predictions_have_the_size_of_the_original_image(task, size, ori_shape):
    x, model = torch.randn(2, 3, *size), build(task)
    actual = torch.stack(predict(model, x, samples(size=size, ori_shape=ori_shape), task))
    assert actual.shape == (2, 3 if task == 'normal' else 1, *ori_shape)
    assert_same(actual, full_size(model, task, x, ori_shape), task)
    if task == 'normal':
        torch.testing.assert_close(actual.norm(dim=1), torch.ones(2, *ori_shape))
    assert_same(torch.stack(predict(model, x, None, task)), full_size(model, task, x, size), task)


@pytest.mark.parametrize('task', KINDS)
@pytest.mark.parametrize('flip_test', [False, True])
def test_images_of_odd_sizes_are_not_stretched_to_whole_patches(task, flip_test):
    model = build(task, test_cfg=dict(flip_test=flip_test))
    x = torch.randn(2, 3, 50, 71)
    actual = torch.stack(predict(model, x, samples(size=(50, 71), ori_shape=(100, 142)), task))
    padded = F.pad(x, (0, 9, 0, 14))
    expected = torch.stack(predict(model, padded, samples(size=(64, 80), ori_shape=(128, 160)), task))
    away = (..., slice(0, 98), slice(0, 140))  # from where the padding begins
    assert_same(actual[away], expected[away], task)


@pytest.mark.parametrize('task', KINDS)
def test_prediction_in_a_crop_is_pasted_back(task):
    x, model = torch.randn(1, 3, 64, 48), build(task)
    whole, = predict(model, x, samples(num=1, ori_shape=(90, 70)), task)
    actual, = predict(model, x, samples(num=1, ori_shape=(100, 110), crop_box=(-20., 30., 50., 120.)), task)
    assert_same(actual[:, 30:, :50], whole[:, :70, 20:], task)
    actual[:, 30:, :50] = 0
    assert not actual.any()


@pytest.mark.parametrize('task', KINDS)
def test_padding_does_not_reach_the_prediction(task):
    model = build(task)
    images = [torch.randint(0, 256, size, dtype=torch.uint8) for size in ((3, 64, 48), (3, 48, 32))]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples(num=2, ori_shape=(97, 65))))
    assert data['inputs'].shape == (2, 3, 64, 48)
    actual = predict(model, data['inputs'], data['data_samples'], task)
    with torch.no_grad():
        output = model(data['inputs'][1:])
    scale = output.shape[-1] / 48
    crop = output[..., :int(48 * scale), :int(32 * scale)]
    assert_same(actual[1], finish(crop, (97, 65), task)[0], task)


@pytest.mark.parametrize('task', KINDS)
def test_flip_test(task):
    x = torch.randn(2, 3, 64, 48)
    model, plain = build(task, test_cfg=dict(flip_test=True)), build(task)
    actual = torch.stack(predict(model, x, samples(ori_shape=(80, 60)), task))
    with torch.no_grad():
        straight, mirrored = model(x), model(x.flip(-1)).flip(-1)
    if task == 'seg':
        mirrored = mirrored[:, FLIP_INDICES]
    elif task == 'normal':
        mirrored = torch.stack([-mirrored[:, 0], mirrored[:, 1], mirrored[:, 2]], dim=1)
    assert_same(actual, finish((straight + mirrored) / 2, (80, 60), task), task)
    differs = actual != torch.stack(predict(plain, x, samples(ori_shape=(80, 60)), task))
    assert differs.float().mean() > 0.05


@pytest.mark.parametrize('task', KINDS)
def test_flip_test_of_the_mirrored_image_is_the_mirrored_prediction(task):
    """In a mirrored image left is right; a model with the flip test knows that exactly."""
    x, model = torch.randn(1, 3, 64, 48), build(task, test_cfg=dict(flip_test=True, flip_indices=FLIP_INDICES))
    actual, = predict(model, x, samples(num=1), task)
    mirrored, = predict(model, x.flip(-1), samples(num=1), task)
    mirrored = mirrored.flip(-1)
    if task == 'seg':
        mirrored = torch.tensor(FLIP_INDICES, dtype=torch.uint8)[mirrored.long()]
    elif task == 'normal':
        mirrored = mirrored * torch.tensor([-1., 1, 1])[:, None, None]
    assert_same(actual, mirrored, task)


def test_runs_in_the_stock_segmentor():
    """It gives the same losses, and the same labels where mmseg resizes once too."""
    x = torch.randn(2, 3, 64, 48)
    ours, stock = (build('seg', type=kind, test_cfg=ConfigDict(mode='whole'))
                   for kind in (KINDS['seg'], 'EncoderDecoder'))
    assert type(stock).__module__.startswith('mmseg')
    torch.testing.assert_close(ours(x, samples(), mode='loss'), stock(x, samples(), mode='loss'))
    assert ours(x, samples(), mode='loss').keys() == {'decode.loss_ce', 'decode.acc_seg'}
    with torch.no_grad():
        expected = torch.stack([sample.pred_sem_seg.data for sample in stock(x, samples(), mode='predict')])
        logits = ours.encode_decode(x, [sample.metainfo for sample in samples()])
    assert_same(torch.stack(predict(ours, x, samples(), 'seg')), expected.to(torch.uint8), 'seg')
    assert logits.shape == (2, 6, 64, 48)
    torch.testing.assert_close(logits, F.interpolate(ours(x), (64, 48), mode='bilinear'))


def test_windows():
    x = torch.randn(1, 3, 64, 48)
    sliding = build('normal', test_cfg=ConfigDict(mode='slide', crop_size=(64, 48), stride=(32, 24)))
    actual, = predict(sliding, x, samples(num=1, ori_shape=(80, 60)), 'normal')
    with torch.no_grad():  # one window; mmseg resizes it to its own size before
        output = F.interpolate(F.interpolate(sliding(x), (64, 48), mode='bilinear'), (80, 60), mode='bilinear')
    torch.testing.assert_close(actual, F.normalize(output, dim=1)[0], atol=1e-4, rtol=1e-4)
    wide = torch.randn(1, 3, 64, 96)
    actual, = predict(sliding, wide, samples(num=1, size=(64, 96)), 'normal')
    assert actual.shape == (3, 64, 96)


@pytest.mark.parametrize('task', KINDS)
def test_every_parameter_gets_a_gradient(task):
    model = build(task).train()
    total, _ = model.parse_losses(model(torch.randn(2, 3, 64, 48), samples(), mode='loss'))
    total.backward()
    for name, param in model.named_parameters():
        assert param.grad.isfinite().all(), name
        # The biases before an InstanceNorm cancel out.
        assert param.grad.any() or 'decode_head.conv_layers' in name and name.endswith('bias'), name


@pytest.mark.parametrize('task', KINDS)
def test_bfloat16_is_close(task):
    x, model = torch.randn(2, 3, 64, 48), build(task)
    with torch.no_grad():
        plain, exact = predict(model, x, samples(), task), model(x, samples(), mode='loss')
        with torch.autocast('cpu', torch.bfloat16):
            actual, losses = predict(model, x, samples(), task), model(x, samples(), mode='loss')
    for name, value in exact.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=0.05)
    for one, other in zip(plain, actual):
        assert one.dtype == other.dtype
        if task == 'seg':
            assert (one != other).float().mean() < 0.1
        else:
            assert (one - other).abs().mean() < 0.05


def test_depth_is_neither_scaled_nor_cut():
    depth = torch.tensor([[[-0.5, 0.25], [3., 7.]]])
    actual = restore(TASKS['depth'], depth, dict(size=(2, 2)))
    assert torch.equal(actual, depth)
    assert restore(TASKS['depth'], depth, dict(size=(4, 4)))[0, 0].tolist() == [-0.5, -0.3125, 0.0625, 0.25]


def test_mirror_image_is_mirrored_back():
    depth = torch.rand(2, 1, 4, 5)
    assert torch.equal(unmirror(TASKS['depth'], depth), depth.flip(-1))


def test_learns_a_depth_ramp():
    """Far becomes large. The output starts positive by its bias."""
    torch.manual_seed(0)
    head = dict(
        type='SapiensDenseHead', in_channels=16, deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4),
        conv_out_channels=(8, ), conv_kernel_sizes=(1, ),
        init_cfg=dict(type='Normal', std=0.01, override=dict(name='conv_seg', type='Normal', std=0.01, bias=0.5)))
    model = MODELS.build(dict(
        type='SapiensDepthEstimator', decode_head=head, backbone=dict(
            type='SapiensViT', arch=dict(embed_dims=16, num_layers=1, num_heads=1, feedforward_channels=32),
            img_size=32)))
    model.init_weights()
    assert (model.decode_head.conv_seg.bias == 0.5).all()
    x = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    sample = SegDataSample(metainfo=dict(ori_shape=(32, 32)))
    sample.set_data(dict(gt_depth_map=PixelData(data=torch.linspace(0.1, 1, 32).expand(1, 32, 32))))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for _ in range(40):
        value = model(x, [sample], mode='loss')['decode.loss_silog']
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 3
    with torch.no_grad():
        depth = model.eval().predict(x)[0].pred_depth_map.data
    assert depth[..., -8:].mean() > 2 * depth[..., :8].mean()  # far is large


def test_normals_get_their_length_after_the_resize():
    vectors = torch.tensor([[2., 0], [0., 2], [0, 0]])[:, None]  # to the right, up
    actual = restore(TASKS['normal'], vectors, dict(size=(1, 6)))
    torch.testing.assert_close(actual.norm(dim=0), torch.ones(1, 6))
    assert actual[:, 0, 0].tolist() == [1, 0, 0]
    assert actual[:, 0, -1].tolist() == [0, 1, 0]
    x, y, _ = actual[:, 0, 2].tolist()
    assert x / y == pytest.approx(2)  # at a third of the way, before lengths


def test_no_vector_stays_none():
    actual = restore(TASKS['normal'], torch.zeros(3, 2, 2), dict(size=(4, 4)))
    assert torch.equal(actual, torch.zeros(3, 4, 4))


def test_right_becomes_left_in_a_mirror():
    vectors = torch.zeros(1, 3, 1, 2)
    vectors[0, :, 0, 0] = torch.tensor([0.6, 0.5, 0.4])
    actual = unmirror(TASKS['normal'], vectors)
    torch.testing.assert_close(actual[0, :, 0, 1], torch.tensor([-0.6, 0.5, 0.4]))
    assert not actual[0, :, 0, 0].any()
