"""Tests of the last steps of dense pipelines."""
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

import sapiens_mm.dense.datasets  # noqa: F401
from sapiens_mm.dense.transforms import SapiensNormalizeDepth


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def build(people, pipeline, **options):
    return DATASETS.build(dict(type='SapiensDenseDataset', data_root=str(people), pipeline=pipeline, **options))


def test_training_sample(people, tmp_path):
    pipeline = [
        dict(type='SapiensLoadLabels', mmap=True), dict(type='SapiensRandomWarp', size=(64, 48)),
        dict(type='SapiensRandomBackground', folder=str(people / 'images')), dict(type='SapiensPhotometricDistortion'),
        dict(type='SapiensNormalizeDepth'), dict(type='SapiensPackDense')]
    for out in (build(people, pipeline)[i] for i in range(3)):
        sample = out['data_samples']
        assert (out['inputs'].shape, out['inputs'].dtype) == ((3, 64, 48), torch.uint8)
        fields = {key: (tuple(sample.get(key).data.shape), sample.get(key).data.dtype) for key in sample.all_keys()
                  if key not in sample.metainfo}
        assert fields == dict(
            gt_sem_seg=((1, 64, 48), torch.uint8), gt_depth_map=((1, 64, 48), torch.float32),
            gt_normal_map=((3, 64, 48), torch.float32), gt_person_mask=((1, 64, 48), torch.uint8))
        assert out['inputs'].is_contiguous()
        assert sample.gt_normal_map.data.is_contiguous()
        assert (sample.img_shape, sample.pad_shape, sample.ori_shape) == ((64, 48), (64, 48), (40, 32))
        assert sample.gt_depth_map.data.max() <= 1


def test_test_sample_keeps_full_labels(people):
    whole = [dict(type='SapiensLoadImage'), dict(type='SapiensResize', size=(64, 48)), dict(type='SapiensLoadLabels'),
             dict(type='SapiensPackDense')]
    person = [dict(type='SapiensLoadImage'), dict(type='SapiensLoadLabels'),
              dict(type='SapiensCropPerson', size=(64, 48)), dict(type='SapiensPackDense')]
    outs = [build(people, pipeline, test_mode=True)[0] for pipeline in (whole, person)]
    for out in outs:
        assert out['inputs'].shape == (3, 64, 48)
        sample = out['data_samples']
        assert sample.gt_sem_seg.data.shape == (1, 40, 32)
        np.testing.assert_array_equal(sample.gt_depth_map.data[0], np.load(people / 'depths/a.npy'))
        np.testing.assert_array_equal(sample.gt_normal_map.data.permute(1, 2, 0), np.load(people / 'normals/a.npy'))
        assert sample.sample_name == 'a'
        assert sample.ori_shape == (40, 32)
    assert 'crop_box' not in outs[0]['data_samples']
    assert len(outs[1]['data_samples'].crop_box) == 4


def test_labels_on_disk_come_into_memory(people):
    pipeline = [dict(type='SapiensLoadImage'), dict(type='SapiensLoadLabels', mmap=True), dict(type='SapiensPackDense')]
    data = build(people, pipeline)[0]['data_samples'].gt_depth_map.data
    data[:] = 7  # would fail on a file that is open for reading
    assert np.load(people / 'depths/a.npy').max() < 7


@pytest.mark.parametrize('depth', [[[0., 0.]], [[2., 2.]], [[0., 3.]]])
def test_nothing_to_learn_from(depth):
    assert SapiensNormalizeDepth()(dict(gt_depth_map=np.float32(depth)))['gt_depth_map'].tolist() == [[0, 0]]


def test_samples_without_depth_stay_as_they_are():
    assert SapiensNormalizeDepth()(dict(gt_person_mask=1)) == dict(gt_person_mask=1)


def test_near_is_0_far_is_1():
    before = np.float32([[0, 2, 3, 4, 9]])
    out = SapiensNormalizeDepth()(dict(gt_depth_map=before))['gt_depth_map']
    np.testing.assert_allclose(out, [[0, 0, 1 / 7, 2 / 7, 1]], rtol=1e-6)
    masked = SapiensNormalizeDepth()(dict(gt_depth_map=before, gt_person_mask=np.uint8([[1, 1, 1, 1, 0]])))
    assert masked['gt_depth_map'].tolist() == [[0, 0, 0.5, 1, 0]]
    assert masked['gt_depth_map'].dtype == np.float32
    assert before.tolist() == [[0, 2, 3, 4, 9]]
