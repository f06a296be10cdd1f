"""Tests of the dense head."""
import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.models.losses import accuracy
from mmseg.registry import MODELS

from sapiens_mm.dense.head import SapiensDenseHead, correct_pixels
from sapiens_mm.dense.losses import SapiensNormalLoss, SapiensSiLogLoss, SapiensWeightedCrossEntropyLoss
from sapiens_mm.tasks import canonical_name, get_task

from .conftest import HEADS, samples

SETTINGS = dict(
    seg=dict(), depth=dict(), normal=dict(),
    lip=dict(task='seg', num_classes=20), classes_by_channels=dict(task='seg', num_classes=None, out_channels=20),
    alias=dict(task='parts'), labels_at_outputs=dict(task='depth', loss_size='outputs'),
    no_deconvs=dict(task='normal', deconv_out_channels=(), deconv_kernel_sizes=()),
    no_convs=dict(task='depth', conv_out_channels=(), conv_kernel_sizes=()),
    wide_kernels=dict(task='seg', conv_kernel_sizes=(3, 3, 1), deconv_kernel_sizes=(2, 4, 2)),
    two_losses=dict(task='depth', loss_decode=[dict(type='SapiensSiLogLoss'), dict(type='SiLogLoss')]))


def build(task='seg', **kwargs):
    torch.manual_seed(0)
    return MODELS.build({'task': task, **HEADS[canonical_name(task)], **kwargs})


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
    with pytest.raises(ValueError, match='mask_loss'):
        build('normal', mask_loss=True)
    with pytest.raises(ValueError, match='512, expected 8'):
        build(channels=512)
    with pytest.raises(ValueError, match='GN'):
        build(norm_cfg=dict(type='GN', num_groups=2))
    with pytest.raises(ValueError, match='deconv_kernel_sizes: got 1 .* 3'):
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
    entry, head = reference['heads'][task], build(task)
    head.load_state_dict({name.removeprefix('decode_head.'): value for name, value in entry['state_dict'].items()
                          if name.startswith('decode_head.')})
    with torch.no_grad():
        torch.testing.assert_close(head.eval()((entry['feat'], )), entry['out'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('name', SETTINGS)
def test_shapes_gradients_and_weights_of_every_setting(name, tmp_path):
    settings = {'task': name, **SETTINGS[name]}
    head, feats = build(**settings), (torch.randn(2, 32, 8, 6), )
    outputs = head(feats)
    stride = 2**len(head.deconv_layers[::3])
    channels = get_task(settings['task']).channels or settings.get('num_classes', 6) or settings['out_channels']
    assert outputs.shape == (2, channels, 8 * stride, 6 * stride)
    losses = head.loss(feats, samples(size=(128, 96), flip_indices=None), None)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    for name, param in head.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all(), name
        # The biases before an InstanceNorm cancel out.
        assert param.grad.any() or name.endswith('bias'), name
    torch.save(dict(state_dict={f'decode_head.{name}': value for name, value in head.state_dict().items()}),
               tmp_path / 'model.pth')
    loaded = build(**settings, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'model.pth')))
    torch.nn.init.ones_(loaded.conv_seg.weight)
    loaded.init_weights()
    assert torch.equal(loaded(feats), outputs)


@pytest.mark.parametrize('task', ['seg', 'depth', 'normal'])
def test_loss_is_that_of_outputs_at_the_size_of_the_labels(task):
    head, data = build(task), samples(size=(128, 96))
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


@pytest.mark.parametrize('task', ['seg', 'depth', 'normal'])
def test_loss_at_the_size_of_the_outputs(task):
    """Where a label fills each cell of outputs, the labels seen are those of the cells, whatever their size."""
    head, features = build(task, loss_size='outputs'), (torch.randn(2, 32, 8, 6), )
    size = head(features).shape[-2:]
    fine, same = samples(size=size), samples(size=size)
    for sample in fine:
        for field in ('gt_sem_seg', 'gt_depth_map', 'gt_normal_map'):
            label = getattr(sample, field).data
            delattr(sample, field)
            sample.set_data({field: PixelData(data=label.repeat_interleave(3, 1).repeat_interleave(3, 2))})
    torch.testing.assert_close(head.loss(features, fine, None), build(task).loss(features, same, None))


def test_several_losses():
    """Ours and mmseg's own for depth and parts."""
    feats, data = (torch.randn(2, 32, 8, 6), ), samples(size=(128, 96))
    losses = build('depth', loss_decode=[
        dict(type='SapiensSiLogLoss'), dict(type='SapiensSiLogLoss', loss_weight=2),
        dict(type='SiLogLoss', loss_name='loss_mmseg')]).loss(feats, data, None)
    torch.testing.assert_close(losses, dict(loss_silog=losses['loss_mmseg'] * 3, loss_mmseg=losses['loss_mmseg']))
    mmseg = build(loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)).loss(feats, data, None)
    ours = build().loss(feats, data, None)
    torch.testing.assert_close(mmseg['loss_ce'] * 123 / 128, ours['loss_ce'])  # 5 of 128 rows have no label


@pytest.mark.parametrize('logged', [True, False])
def test_accuracy_is_computed_where_it_is_logged(logged):
    hub = MessageHub.get_current_instance()
    hub.update_info('logged_iter', logged)
    losses = build().loss((torch.randn(2, 32, 8, 6), ), samples(size=(128, 96)), None)
    hub.update_info('logged_iter', True)
    assert ('acc_seg' in losses) == logged


def test_accuracy_equals_mmseg():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 9, 7), torch.randint(0, 4, (2, 9, 7))
    labels[:, 2] = 255
    torch.testing.assert_close(
        correct_pixels(logits, labels, 255), accuracy(logits, labels, ignore_index=255)[0], atol=1e-3, rtol=0)
    assert correct_pixels(logits, torch.full_like(labels, 255), 255) == 0


@pytest.mark.parametrize('loss_size', ['labels', 'outputs'])
def test_pixels_of_the_person_without_a_class(loss_size):
    head = build('seg', loss_size=loss_size, mask_loss=True)
    outputs = torch.randn(2, head.num_classes, 8, 6, requires_grad=True)
    labels = torch.full((1, 8, 6), 255)
    labels[:, :2] = 3
    mask = torch.zeros(1, 8, 6, dtype=torch.uint8)
    mask[:, :5] = 1
    with_mask, without = samples()
    for sample in (with_mask, without):
        sample.gt_sem_seg = PixelData(data=labels)
    with_mask.gt_person_mask = PixelData(data=mask)
    losses = head.loss_by_feat(outputs, [with_mask, without])
    unknown = torch.zeros(2, 8, 6)
    unknown[0, 2:5] = 1
    expected = -((1 - outputs.softmax(1)[:, 0]).log() * unknown).mean()
    torch.testing.assert_close(losses['loss_mask'], expected)
    losses['loss_mask'].backward()
    assert (outputs.grad.abs().sum(1) > 0).equal(unknown > 0)
    assert (outputs.grad[0, 0, 2:5] > 0).all()  # the background becomes less likely
    assert 'loss_mask' not in build('seg', loss_size=loss_size).loss_by_feat(outputs, [with_mask, without])


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
