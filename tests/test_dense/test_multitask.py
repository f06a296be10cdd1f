"""Tests of multi-task dense models."""
import copy
import socket
import time
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from mmseg.registry import DATASETS, MODELS

import sapiens_mm.dense  # noqa: F401
from sapiens_mm.engine.weights import check_complete
from sapiens_mm.tasks import dense_tasks

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


def test_a_missing_label_gives_no_gradient():
    model, x = build().train(), torch.randn(4, 3, 64, 48, requires_grad=True)
    data = samples(['seg', 'depth', 'normal'], ['seg'], ['depth', 'normal'], [])
    for task, labeled in dict(seg=[0, 1], depth=[0, 2], normal=[0, 2]).items():
        other = single(model, task).train()
        gradients = []
        for net, prefix, rows in ((model, task, range(4)), (other, 'decode', labeled)):
            model.zero_grad()
            x.grad = None
            losses = net(x[list(rows)], [data[row] for row in rows], mode='loss')
            sum(value for name, value in losses.items() if name.startswith(f'{prefix}.loss')).backward()
            gradients.append([x.grad, *(param.grad for param in net.backbone.parameters()),
                              *(param.grad for param in (net.heads[task] if net is model else net.decode_head)
                                .parameters())])
        # Exactly none for these samples, and for the rest the same as if they alone were trained on.
        assert gradients[0][0].any(dim=(1, 2, 3)).nonzero().flatten().tolist() == labeled
        torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_labels_without_a_labeled_pixel_give_no_gradient():
    model, data = build().train(), samples(num=2)
    for sample in data:
        for task in HEADS:
            sample.get(FIELDS[task]).data.fill_(dense_tasks()[task].label.fill)
    losses = model(torch.randn(2, 3, 64, 48), data, mode='loss')
    assert all(value == 0 for name, value in losses.items() if 'loss' in name)
    model.parse_losses(losses)[0].backward()
    assert not any(param.grad.any() for param in model.parameters())  # NaN would be True


# In each step a process has other labels than the other one, or none.
TWO_PROCESSES = """
import conftest
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
import sapiens_mm.dense

init_default_scope('mmseg')
dist.init_process_group('gloo')
torch.manual_seed(0)
model = MODELS.build(dict(type='SapiensMultiTask', backbone=conftest.BACKBONE, heads=conftest.HEADS))
net = MMDistributedDataParallel(model)
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
for step in range(4):
    tasks = [['seg'], ['depth', 'normal'], [], []][(step + dist.get_rank()) % 4]
    loss, _ = model.parse_losses(net(torch.randn(1, 3, 64, 48), conftest.samples(tasks), mode='loss'))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    weights = torch.cat([param.detach().flatten() for param in model.parameters()])
    other = weights.clone()
    dist.broadcast(other, 0)
    assert weights.isfinite().all() and torch.equal(weights, other), step
"""


def test_processes_with_labels_of_different_tasks(start_tool, tmp_path):
    (tmp_path / 'ranks.py').write_text(TWO_PROCESSES)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    ranks = [start_tool(tmp_path / 'ranks.py', path=[Path(__file__).parent], RANK=str(rank), WORLD_SIZE='2',
                        MASTER_ADDR='127.0.0.1', MASTER_PORT=port) for rank in range(2)]
    for rank in ranks:
        done = rank.wait()
        assert done.returncode == 0, done.stderr[-3000:]


def mixed(people):
    """All labels, parts alone, and masks alone, which teach the background."""
    pipeline = [dict(type='SapiensSeedSample'), dict(type='SapiensLoadLabels', background=True),
                dict(type='SapiensRandomWarp', size=(64, 48)), dict(type='SapiensNormalizeDepth'),
                dict(type='SapiensPackDense')]
    drawn = dict(type='SapiensDenseDataset', data_root=str(people), pipeline=pipeline, serialize_data=False)
    parts = dict(drawn, tasks=('seg', ), data_prefix=dict(mask_path=None))
    return dict(type='SapiensMixedDataset', datasets=[drawn, parts, dict(drawn, tasks=())], weights=[2, 1, 1], length=8)


def test_samples_of_a_mix_have_the_labels_of_their_set(people):
    init_default_scope('mmseg')
    labels = [[task for task, field in FIELDS.items() if field in sample['data_samples']]
              for sample in DATASETS.build(mixed(people))]
    assert sorted(labels, key=len) == [['seg']] * 4 + [['seg', 'depth', 'normal']] * 4


def train(folder, people, epochs=2, resume=False):
    heads = dict(HEADS, seg=dict(HEADS['seg'], num_classes=28))
    runner = Runner(
        model=dict(type='SapiensMultiTask', backbone=dict(BACKBONE, drop_path_rate=0.2), heads=heads,
                   data_preprocessor=dict(type='SapiensDensePreprocessor', mean=[120.] * 3, std=[60.] * 3)),
        work_dir=str(folder),
        train_dataloader=dict(batch_size=3, num_workers=0, dataset=mixed(people),
                              sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        custom_hooks=[dict(type='SapiensSeedHook')],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        default_scope='mmseg', randomness=dict(seed=0), resume=resume, log_level='ERROR',
        experiment_name=f'mixed_{folder}_{time.time()}')
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    after = runner.model.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert all(not torch.equal(before[f'heads.{task}.conv_seg.weight'], after[f'heads.{task}.conv_seg.weight'])
               for task in HEADS)
    return after


def test_trains_from_a_mix_and_resumes_to_the_bit(people, tmp_path):
    unbroken = train(tmp_path / 'a', people)
    train(tmp_path / 'b', people, epochs=1)
    resumed = train(tmp_path / 'b', people, resume=True)
    for name, value in unbroken.items():
        assert torch.equal(value, resumed[name]), name


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
