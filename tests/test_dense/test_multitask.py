"""Tests of multi-task dense models."""
import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from mmseg.registry import MODELS

import sapiens_mm.dense.multitask  # noqa: F401
from sapiens_mm.engine.weights import check_complete

from .conftest import BACKBONE, FIELDS, HEADS, samples

SINGLE = dict(seg='SapiensPartsSegmentor', depth='SapiensDepthEstimator', normal='SapiensNormalEstimator')


def build(**kwargs):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    cfg = dict(type='SapiensMultiTask', backbone=BACKBONE, heads=HEADS, test_cfg=dict(mode='whole', flip_test=True))
    model = MODELS.build(copy.deepcopy({**cfg, **kwargs}))
    model.init_weights()
    return model.eval()


def single(model, task):
    """The segmentor of one task with the weights of the model."""
    other = MODELS.build(dict(
        type=SINGLE[task], backbone=BACKBONE, decode_head=HEADS[task], test_cfg=dict(mode='whole', flip_test=True)))
    other.backbone.load_state_dict(model.backbone.state_dict())
    other.decode_head.load_state_dict(model.heads[task].state_dict())
    return other.eval()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"\['pose'\], .* seg, depth, normal"):
        build(heads=dict(pose=HEADS['seg']))
    with pytest.raises(ValueError, match=r"\['depth'\], .*\['seg'\]"):
        build(heads=dict(seg=HEADS['seg']), loss_weights=dict(depth=1))
    with pytest.raises(ValueError, match='depth.: 0'):
        build(loss_weights=dict(depth=0))
    with pytest.raises(ValueError, match="normal.*'depth'"):
        build(heads=dict(normal=dict(HEADS['depth'], task='depth')))
    with pytest.raises(ValueError, match='slide'):
        build(test_cfg=dict(mode='slide'))


def test_equals_the_segmentors_of_each_task():
    model, x = build(loss_weights=dict(depth=3, seg=0.5)), torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        predictions = model(x, samples(ori_shape=(91, 67)), mode='predict')
        losses = model(x, samples(ori_shape=(91, 67)), mode='loss')
        outputs = model(x)
    assert outputs.keys() == HEADS.keys()
    for task in HEADS:
        other = single(model, task)
        with torch.no_grad():
            expected = other(x, samples(ori_shape=(91, 67)), mode='predict')
            expected_losses = other(x, samples(ori_shape=(91, 67)), mode='loss')
            torch.testing.assert_close(outputs[task], other(x))
        field = other.pred_field
        for one, two in zip(predictions, expected):
            torch.testing.assert_close(one.get(field).data, two.get(field).data)
            assert one.get(field).data.shape == (3 if task == 'normal' else 1, 91, 67)
        weight = dict(depth=3, seg=0.5).get(task, 1)
        for name, value in expected_losses.items():
            torch.testing.assert_close(
                losses[name.replace('decode', task)], value * weight if 'loss' in name else value)
    assert losses.keys() == {'seg.loss_ce', 'seg.acc_seg', 'depth.loss_silog', 'normal.loss_cos', 'normal.loss_l1'}


def test_one_pass_of_the_backbone():
    model, sizes = build(), []
    model.backbone.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 48), samples(ori_shape=(91, 67)), mode='predict')
        model(torch.randn(2, 3, 64, 48), None, mode='tensor')
    assert sizes == [4, 2]


def test_samples_without_a_label_count_for_the_other_tasks():
    model, x = build(), torch.randn(3, 3, 64, 48)
    data = samples(['seg', 'depth'], ['seg'], ['depth', 'seg'])
    losses = model(x, data, mode='loss')
    depth = single(model, 'depth')(x[[0, 2]], [data[0], data[2]], mode='loss')
    torch.testing.assert_close(losses['depth.loss_silog'], depth['decode.loss_silog'])
    seg = single(model, 'seg')(x, data, mode='loss')
    torch.testing.assert_close(losses['seg.loss_ce'], seg['decode.loss_ce'])
    assert losses['normal.loss_none'] == 0


@pytest.mark.parametrize('tasks', [list(FIELDS), ['seg'], ['normal'], []])
def test_every_parameter_gets_a_gradient(tasks):
    """Also those of tasks without a label, or training on several processes would stop."""
    model = build().train()
    total, _ = model.parse_losses(model(torch.randn(2, 3, 64, 48), samples(tasks, tasks), mode='loss'))
    total.backward()
    assert all(param.grad is not None and param.grad.isfinite().all() for param in model.parameters())
    for task, head in model.heads.items():
        assert bool(head.conv_seg.weight.grad.any()) == (task in tasks)


def test_former_name_overrides_an_inherited_head():
    """As in a config that was written for bases with the former name."""
    model = build(heads=dict(HEADS, parts=dict(num_classes=4)), loss_weights=dict(seg=1., parts=2.))
    assert list(model.heads.keys()) == list(HEADS)
    assert model.heads.seg.num_classes == 4
    assert model.loss_weights['seg'] == 2


@pytest.mark.parametrize('loader', ['torch', 'mmengine'])
def test_former_name_of_a_task_in_config_and_checkpoint(loader):
    model = build(heads=dict(parts=HEADS['seg'], depth=HEADS['depth']), loss_weights=dict(parts=2.))
    assert list(model.heads.keys()) == ['seg', 'depth']
    assert model.loss_weights == dict(seg=2., depth=1.)
    former = {name.replace('heads.seg.', 'heads.parts.'): value + 1 for name, value in model.state_dict().items()}
    assert former.keys() != model.state_dict().keys()
    check_complete(model, former, 'a checkpoint')
    if loader == 'torch':
        model.load_state_dict(former, strict=True)
    else:
        load_state_dict(model, former, strict=True)
    assert 'heads.parts.conv_seg.weight' in former
    for name, value in model.state_dict().items():
        assert torch.equal(value, former[name.replace('heads.seg.', 'heads.parts.')]), name


def test_begins_with_public_checkpoints(reference, tmp_path):
    """Each head from the public model of its task, the backbone from one of them."""
    heads, backbone = copy.deepcopy(HEADS), dict(BACKBONE, arch=reference['arch'], img_size=reference['img_size'])
    for task in heads:
        path = tmp_path / f'{task}.pth'
        torch.save(dict(state_dict=reference[task]['state_dict']), path)
        heads[task]['init_cfg'] = dict(type='Pretrained', checkpoint=str(path), prefix='decode_head.')
    backbone['init_cfg'] = dict(type='Pretrained', checkpoint=str(tmp_path / 'seg.pth'))
    model = build(backbone=backbone, heads=heads)
    with torch.no_grad():
        out = model(reference['input'])['seg']
    torch.testing.assert_close(out, reference['seg']['out'], atol=1e-4, rtol=0)
    for task, head in model.heads.items():
        state = reference[task]['state_dict']
        for name, value in head.state_dict().items():
            assert torch.equal(value, state[f'decode_head.{name}'])
