"""Tests of the preprocessor of dense batches."""
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import sapiens_mm.dense.preprocessor  # noqa: F401

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def build(kind='SapiensDensePreprocessor', **kwargs):
    return MODELS.build(dict(type=kind, mean=MEAN, std=STD, bgr_to_rgb=True, **kwargs))


def batch(*sizes, label_sizes=None):
    torch.manual_seed(0)
    samples = []
    for h, w in label_sizes or sizes:
        samples.append(SegDataSample())
        samples[-1].set_data(dict(
            gt_sem_seg=PixelData(data=torch.randint(0, 28, (1, h, w)).byte()),
            gt_depth_map=PixelData(data=torch.rand(1, h, w) + 1),
            gt_normal_map=PixelData(data=F.normalize(torch.randn(3, h, w), dim=0)),
            gt_person_mask=PixelData(data=torch.ones(1, h, w, dtype=torch.uint8)),
            gt_instance_map=PixelData(data=torch.ones(1, h, w, dtype=torch.uint8))))
    return dict(inputs=[torch.randint(0, 256, (3, h, w), dtype=torch.uint8) for h, w in sizes], data_samples=samples)


def test_bad_input():
    with pytest.raises(ValueError, match='data_samples: got None'):
        build()(dict(inputs=batch((8, 6))['inputs']), training=True)
    with pytest.raises(ValueError, match=r'an image: got size \(9, 6\), expected \(8, 6\)'):
        build()(batch((8, 6), label_sizes=[(9, 6)]), training=True)


def test_equals_mmseg_on_equal_sizes():
    ours = build(size=(8, 6))(batch((8, 6), (8, 6)), training=True)
    stock = build('SegDataPreProcessor', size=(8, 6))(batch((8, 6), (8, 6)), training=True)
    torch.testing.assert_close(ours['inputs'], stock['inputs'])
    for sample, other in zip(ours['data_samples'], stock['data_samples']):
        for key in ('gt_sem_seg', 'gt_depth_map', 'gt_normal_map'):
            assert (sample.get(key).data == other.get(key).data).all()
        assert sample.gt_sem_seg.data.dtype == torch.int64
        assert sample.img_shape == other.img_shape == (8, 6)


def test_padding_is_no_label():
    data = batch((8, 6), (10, 5))
    before = [{key: sample.get(key).data.clone() for key in sample.keys()} for sample in data['data_samples']]  # noqa: SIM118
    out = build(size_divisor=4)(data, training=True)
    assert out['inputs'].shape == (2, 3, 12, 8)
    assert not out['inputs'][0, :, 8:].any()
    assert not out['inputs'][0, :, :, 6:].any()
    values = dict(gt_sem_seg=255, gt_depth_map=0, gt_normal_map=0, gt_person_mask=0, gt_instance_map=0)
    for sample, labels, (h, w) in zip(out['data_samples'], before, [(8, 6), (10, 5)]):
        assert labels.keys() == values.keys()
        for key, value in values.items():
            padded = sample.get(key).data
            assert padded.shape[-2:] == (12, 8)
            assert padded.dtype == (torch.int64 if key == 'gt_sem_seg' else labels[key].dtype)
            assert (padded[:, :h, :w] == labels[key]).all()
            outside = torch.ones(12, 8, dtype=torch.bool)
            outside[:h, :w] = False
            assert (padded[:, outside] == value).all()
        assert (sample.img_shape, sample.pad_shape, sample.padding_size) == ((h, w), (12, 8), (0, 8 - w, 0, 12 - h))


def test_testing_keeps_the_labels():
    out = build(size=(16, 16))(batch((8, 6), (10, 5), label_sizes=[(40, 30), (50, 25)]))
    assert out['inputs'].shape == (2, 3, 10, 6)  # `size` is for training
    assert [tuple(sample.gt_depth_map.data.shape) for sample in out['data_samples']] == [(1, 40, 30), (1, 50, 25)]
    assert {sample.gt_sem_seg.data.dtype for sample in out['data_samples']} == {torch.uint8}
    assert [sample.img_shape for sample in out['data_samples']] == [(8, 6), (10, 5)]
    out = build(test_cfg=dict(size=(12, 4)))(batch((8, 6), (10, 5)))
    assert out['inputs'].shape == (2, 3, 12, 6)


def test_images_alone():
    images = torch.randint(0, 256, (2, 3, 8, 6), dtype=torch.uint8)
    out = build()(dict(inputs=images))
    assert out['data_samples'] is None
    rgb = images[:, [2, 1, 0]].float()
    expected = (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(out['inputs'], expected)
