"""Tests of the pose estimator."""
import copy
import json
import time

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, MODELS
from mmpose.structures import PoseDataSample

from sapiens_mm.pose.metainfo import METAINFO_308, get_metainfo

MODEL = dict(
    type='SapiensPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True),
    backbone=dict(
        type='SapiensViT', arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
        img_size=(128, 96), patch_cfg=dict(padding=2)),
    head=dict(
        type='SapiensPoseHead', in_channels=32, out_channels=17, deconv_out_channels=(8, 8), conv_out_channels=(8, 8),
        decoder=dict(type='SapiensUDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=2)),
    test_cfg=dict(flip_test=True, output_heatmaps=True))


def build(kind='SapiensPoseEstimator', **test_cfg):
    init_default_scope('mmpose')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy({**MODEL, 'type': kind, 'test_cfg': {**MODEL['test_cfg'], **test_cfg}}))
    model.init_weights()
    torch.nn.init.normal_(model.head.final_layer.weight)
    return model.eval()


def samples(num=3):
    out = []
    for i in range(num):
        sample = PoseDataSample(metainfo=dict(
            flip_indices=list(range(17))[::-1], input_size=(96, 128), input_center=np.array([100. + i, 200.]),
            input_scale=np.array([48., 64.])))
        sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
        out.append(sample)
    return out


def test_flip_test_in_one_batch_equals_two_passes():
    x = torch.randn(3, 3, 128, 96)
    with torch.no_grad():
        ours = build().predict(x, samples())
        stock = build('TopdownPoseEstimator').predict(x, samples())
        plain = build(flip_test=False).predict(x, samples())
    for ours_i, stock_i, plain_i in zip(ours, stock, plain):
        torch.testing.assert_close(ours_i.pred_fields.heatmaps, stock_i.pred_fields.heatmaps, atol=1e-5, rtol=1e-4)
        np.testing.assert_allclose(ours_i.pred_instances.keypoint_scores, stock_i.pred_instances.keypoint_scores,
                                   rtol=1e-3)
        assert not torch.allclose(ours_i.pred_fields.heatmaps, plain_i.pred_fields.heatmaps, atol=1e-3)


def test_keypoints_are_in_pixels_of_the_image():
    x = torch.randn(1, 3, 128, 96)
    model = build(flip_test=False)
    with torch.no_grad():
        sample, = model.predict(x, samples(1))
        inside, _ = model.head.decoder.decode_heatmaps(model.head(model.extract_feat(x)))
    # The crop of 96 x 128 pixels shows 48 x 64 pixels around (100, 200).
    np.testing.assert_allclose(sample.pred_instances.keypoints[0], inside[0] / 2 + torch.tensor([76., 168.]), atol=1e-3)


#: Keypoints that the sets of a mix label: all, the 12 of the body without the face, and those of the face alone.
LABELED = dict(all=range(17), body=range(5, 17), face=range(5))
CODEC = MODEL['head']['decoder']
AUGMENT = [
    dict(type='SapiensLoadImage'), dict(type='GetBBoxCenterScale'), dict(type='RandomFlip'),
    dict(type='RandomBBoxTransform', rotate_factor=30), dict(type='TopdownAffine', input_size=(96, 128), use_udp=True),
    dict(type='GenerateTarget', encoder=CODEC), dict(type='PackPoseInputs')]


@pytest.fixture
def mixed(tiny_coco, tmp_path):
    """Config of a mix of three sets, which label all keypoints, 12 of them, and 5."""
    init_default_scope('mmpose')
    content = json.loads((tiny_coco / 'annotations/person_keypoints_train2017.json').read_text())
    sets = []
    for name, labeled in LABELED.items():
        annotations = copy.deepcopy(content['annotations'])
        for entry in annotations:
            points = np.array(entry['keypoints']).reshape(17, 3)
            points[[i for i in range(17) if i not in labeled]] = 0
            entry.update(keypoints=points.ravel().tolist(), num_keypoints=len(labeled))
        (tmp_path / f'{name}.json').write_text(json.dumps({**content, 'annotations': annotations}))
        sets.append(dict(type='SapiensCocoDataset', ann_file=str(tmp_path / f'{name}.json'), pipeline=AUGMENT,
                         data_prefix=dict(img=str(tiny_coco / 'train2017')), serialize_data=False))
    return dict(type='SapiensMixedDataset', datasets=sets, weights=[2, 1, 1], length=8)


@pytest.mark.parametrize('loss', [dict(type='KeypointMSELoss'), dict(type='SapiensOHKMMSELoss', topk=14)])
def test_a_keypoint_without_label_gives_no_gradient(mixed, loss):
    mixed['weights'] = [0, 1, 0]
    batch = pseudo_collate(list(DATASETS.build(mixed)))
    head = dict(MODEL['head'], loss=dict(loss, use_target_weight=True))
    model = MODELS.build(copy.deepcopy(dict(MODEL, head=head))).train()
    data = model.data_preprocessor(batch, training=True)
    gradients = []
    for place in (float('nan'), 3.):  # the codec's value for missing keypoints, and another
        for sample in data['data_samples']:
            sample.gt_instance_labels.keypoint_labels[:, :5] = place
        model.zero_grad()
        model.loss(**data)['loss_kpt'].backward()
        gradients.append([param.grad for param in model.parameters()])
    for param in model.head.final_layer.parameters():
        assert param.grad.reshape(17, -1).any(1).nonzero().flatten().tolist() == list(LABELED['body'])
    assert all(torch.equal(one, two) and one.isfinite().all() for one, two in zip(*gradients))


def train(folder, dataset, epochs=2, resume=False):
    backbone = dict(MODEL['backbone'], drop_path_rate=0.2)
    runner = Runner(
        model={**copy.deepcopy(MODEL), 'backbone': backbone},
        work_dir=str(folder),
        train_dataloader=dict(batch_size=3, num_workers=0, dataset=dataset,
                              sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        custom_hooks=[dict(type='SapiensSeedHook')],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        default_scope='mmpose', randomness=dict(seed=0), resume=resume, log_level='ERROR',
        experiment_name=f'mixed_{folder}_{time.time()}')
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    after = runner.model.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    name = 'head.final_layer.weight'
    assert (before[name] != after[name]).flatten(1).any(1).all()
    return after


def test_trains_from_a_mix_and_resumes_to_the_bit(mixed, tmp_path):
    unbroken = train(tmp_path / 'a', mixed)
    train(tmp_path / 'b', mixed, epochs=1)
    resumed = train(tmp_path / 'b', mixed, resume=True)
    for name, value in unbroken.items():
        assert torch.equal(value, resumed[name]), name


def test_a_mix_of_keypoint_sets_must_be_converted(mixed, tiny_coco):
    """COCO's 17 keypoints become goliath's by mmpose's own means, before the augmentation."""
    coco, goliath = (get_metainfo(name)['keypoint_name2id'] for name in ('coco', 'goliath'))
    all_of_308 = dict(
        type='SapiensCocoStyleDataset', ann_file=mixed['datasets'][0]['ann_file'], lazy_init=True, pipeline=[])
    with pytest.raises(ValueError, match=r'datasets\[1\], SapiensCocoDataset: got 17 .*, expected 308'):
        DATASETS.build(dict(mixed, datasets=[all_of_308, *mixed['datasets'][1:]], lazy_init=True))
    convert = dict(type='KeypointConverter', num_keypoints=308, mapping=[
        (number, goliath[name]) for name, number in coco.items()])
    sets = [dict(type='CombinedDataset', metainfo=METAINFO_308, pipeline=AUGMENT,
                 datasets=[dict(one, pipeline=[convert])]) for one in mixed['datasets']]
    dataset = DATASETS.build(dict(mixed, datasets=sets))
    assert len(dataset.metainfo['keypoint_id2name']) == 308
    for sample in dataset:
        labels = sample['data_samples'].gt_instance_labels
        labeled = (labels.keypoint_weights[0] > 0).nonzero().flatten().tolist()
        assert labels.keypoint_labels.shape == (1, 308, 2)
        assert labeled
        assert set(labeled) <= {goliath[name] for name in coco}
        assert len(sample['data_samples'].flip_indices) == 308
