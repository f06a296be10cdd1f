import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.models.losses import accuracy
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from sapiens_mm.backbones import SapiensViT
from sapiens_mm.dense.head import SapiensDenseHead, correct_pixels
from sapiens_mm.dense.losses import SapiensNormalLoss, SapiensSiLogLoss, SapiensWeightedCrossEntropyLoss

WIDTHS = dict(
    seg=dict(deconv_out_channels=(8, 8, 8), conv_out_channels=(8, 8, 8), num_classes=6),
    depth=dict(deconv_out_channels=(8, 8, 8, 8), deconv_kernel_sizes=(4, 4, 4, 4), conv_out_channels=(8, 8),
               conv_kernel_sizes=(1, 1)),
    normal=dict(deconv_out_channels=(8, 8, 8), conv_out_channels=(8, 8, 8)))


def build(task='seg', **kwargs):
    torch.manual_seed(0)
    return MODELS.build({'type': 'SapiensDenseHead', 'in_channels': 32, 'task': task, **WIDTHS[task], **kwargs})


def samples(size=(128, 96), num=2, **wanted):
    """Data samples with labels of all tasks, or those that are wanted."""
    torch.manual_seed(0)
    out = []
    for _ in range(num):
        label = torch.randint(0, 6, (1, *size))
        label[:, :5] = 255
        out.append(SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size)))
        out[-1].set_data(dict(
            gt_sem_seg=PixelData(data=label),
            gt_depth_map=PixelData(data=torch.rand(1, *size) * (label < 5)),
            gt_normal_map=PixelData(data=F.normalize(torch.randn(3, *size), dim=0) * (label < 5))))
    return out


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="pose"):
        SapiensDenseHead(32, task='pose')
    with pytest.raises(ValueError, match='None, None'):
        SapiensDenseHead(32)
    with pytest.raises(ValueError, match='input'):
        build(loss_size='input')
    with pytest.raises(ValueError, match='6, 5'):
        SapiensDenseHead(32, num_classes=6, out_channels=5)
    with pytest.raises(ValueError, match='got 3, None, expected 1 .*depth'):
        SapiensDenseHead(32, num_classes=3, task='depth')
    with pytest.raises(ValueError, match='512, expected 8'):
        build(channels=512)
    with pytest.raises(ValueError, match='GN'):
        build(norm_cfg=dict(type='GN', num_groups=2))
    with pytest.raises(ValueError, match='3 entries and deconv_kernel_sizes has 1'):
        build(deconv_kernel_sizes=(4, ))
    data = samples()
    del data[1].gt_depth_map
    with pytest.raises(ValueError, match=r'\[1\].*gt_depth_map'):
        build('depth').loss((torch.randn(2, 32, 8, 6), ), data, None)
    data = samples()
    for each in data:
        each.set_metainfo(dict(flip_indices=tuple(range(28))))
    with pytest.raises(ValueError, match='20, expected 28'):
        build('seg', num_classes=20).loss((torch.randn(2, 32, 8, 6), ), data, None)


@pytest.mark.parametrize('norm_cfg', [dict(type='SyncBN', requires_grad=True), dict(type='IN')])
def test_norm_of_public_configs_is_taken(norm_cfg):
    """It names SyncBN, and the public models have InstanceNorm."""
    head, plain = build(norm_cfg=norm_cfg), build()
    assert [type(module) for module in head.modules()] == [type(module) for module in plain.modules()]
    x = torch.randn(1, 32, 4, 3)
    assert torch.equal(head((x, )), plain((x, )))


@pytest.mark.parametrize('task', ['seg', 'depth', 'normal'])
def test_equals_public_model(reference, task):
    entry = reference[task]
    state = entry['state_dict']
    backbone = SapiensViT(
        reference['arch'], img_size=reference['img_size'], patch_cfg=dict(padding=entry['patch_padding']))
    backbone.load_state_dict({k[len('backbone.'):]: v for k, v in state.items() if k.startswith('backbone.')})
    head = build(task)
    head.load_state_dict({k[len('decode_head.'):]: v for k, v in state.items() if k.startswith('decode_head.')})
    with torch.no_grad():
        out = head.eval()(backbone.eval()(reference['input']))
    torch.testing.assert_close(out, entry['out'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('task', ['seg', 'depth', 'normal'])
def test_loss_is_that_of_outputs_at_the_size_of_the_labels(task):
    head, data = build(task), samples()
    feats = (torch.randn(2, 32, 8, 6), )
    losses = head.loss(feats, data, None)
    outputs = F.interpolate(head(feats), (128, 96), mode='bilinear', align_corners=False)
    labels = [torch.stack([sample.get(name).data for sample in data]) for name in
              ('gt_sem_seg', 'gt_depth_map', 'gt_normal_map')]
    expected = dict(
        seg=lambda: dict(loss_ce=SapiensWeightedCrossEntropyLoss()(outputs, labels[0][:, 0]),
                           acc_seg=(outputs.argmax(1) == labels[0][:, 0]).sum() * 100 / (labels[0] != 255).sum()),
        depth=lambda: dict(loss_silog=SapiensSiLogLoss()(outputs, labels[1])),
        normal=lambda: SapiensNormalLoss()(outputs, labels[2]))[task]()
    assert losses.keys() == expected.keys()
    torch.testing.assert_close(losses, expected)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(param.grad is not None and param.grad.isfinite().all() for param in head.parameters())
    # The biases before an InstanceNorm cancel out.
    weights = [param for name, param in head.named_parameters() if name.endswith('weight')]
    assert all(param.grad.abs().sum() > 0 for param in weights)


@pytest.mark.parametrize('task', ['seg', 'depth', 'normal'])
def test_loss_at_the_size_of_the_outputs(task):
    """Where a label fills each cell of outputs, the labels seen are those of the cells, whatever their size."""
    head, features = build(task, loss_size='outputs'), (torch.randn(2, 32, 8, 6), )
    size = head(features).shape[-2:]
    fine, same = samples(size), samples(size)
    for sample in fine:
        for field in ('gt_sem_seg', 'gt_depth_map', 'gt_normal_map'):
            label = getattr(sample, field).data
            delattr(sample, field)
            sample.set_data({field: PixelData(data=label.repeat_interleave(3, 1).repeat_interleave(3, 2))})
    found, wanted = head.loss(features, fine, None), build(task).loss(features, same, None)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name])


def test_several_losses():
    """Ours and mmseg's own for depth and parts."""
    losses = build('depth', loss_decode=[
        dict(type='SapiensSiLogLoss'), dict(type='SapiensSiLogLoss', loss_weight=2),
        dict(type='SiLogLoss', loss_name='loss_mmseg')]).loss((torch.randn(2, 32, 8, 6), ), samples(), None)
    torch.testing.assert_close(losses, dict(loss_silog=losses['loss_mmseg'] * 3, loss_mmseg=losses['loss_mmseg']))
    feats = (torch.randn(2, 32, 8, 6), )
    mmseg = build(loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)).loss(feats, samples(), None)
    ours = build().loss(feats, samples(), None)
    torch.testing.assert_close(mmseg['loss_ce'] * 123 / 128, ours['loss_ce'])  # 5 of 128 rows have no label


@pytest.mark.parametrize('logged', [True, False])
def test_accuracy_is_computed_where_it_is_logged(logged):
    hub = MessageHub.get_current_instance()
    hub.update_info('logged_iter', logged)
    losses = build().loss((torch.randn(2, 32, 8, 6), ), samples(), None)
    hub.update_info('logged_iter', True)
    assert ('acc_seg' in losses) == logged


def test_accuracy_equals_mmseg():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 9, 7), torch.randint(0, 4, (2, 9, 7))
    labels[:, 2] = 255
    torch.testing.assert_close(
        correct_pixels(logits, labels, 255), accuracy(logits, labels, ignore_index=255)[0], atol=1e-3, rtol=0)
    assert correct_pixels(logits, torch.full_like(labels, 255), 255) == 0


def test_weights_start_as_mmseg_draws_them():
    head = build(in_channels=256, deconv_out_channels=(64, 64, 64), conv_out_channels=(256, 256, 256))
    head.init_weights()
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not head.conv_seg.bias.any()


def test_weights_of_a_checkpoint(tmp_path):
    source, path = build(), str(tmp_path / 'model.pth')
    torch.save(dict(state_dict={'decode_head.' + key: value + 1 for key, value in source.state_dict().items()}), path)
    for prefix in ({}, dict(prefix='decode_head'), dict(prefix='decode_head.')):
        head = build(init_cfg=dict(type='Pretrained', checkpoint=path, **prefix))
        head.init_weights()
        torch.testing.assert_close(head.state_dict(), {k: v + 1 for k, v in source.state_dict().items()})
    with pytest.raises(RuntimeError, match=r"'head\.', expected one of \['decode_head'\]"):
        build(init_cfg=dict(type='Pretrained', checkpoint=path, prefix='head')).init_weights()
    with pytest.raises(RuntimeError, match=r"decode_head\..*conv_seg"):
        build(num_classes=7, init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights()
    with pytest.raises(RuntimeError, match="decode_head."):  # surplus tensors
        build('depth', init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights()
