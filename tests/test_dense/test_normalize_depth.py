import numpy as np
import pytest

from sapiens_mm.dense.transforms import SapiensNormalizeDepth


@pytest.mark.parametrize('depth', [[[0., 0.]], [[2., 2.]], [[0., 3.]]])
def test_nothing_to_learn_from(depth):
    assert SapiensNormalizeDepth()(dict(gt_depth_map=np.float32(depth)))['gt_depth_map'].tolist() == [[0, 0]]


def test_near_is_0_far_is_1():
    before = np.float32([[0, 2, 3, 4, 9]])
    out = SapiensNormalizeDepth()(dict(gt_depth_map=before))['gt_depth_map']
    np.testing.assert_allclose(out, [[0, 0, 1 / 7, 2 / 7, 1]], rtol=1e-6)
    masked = SapiensNormalizeDepth()(dict(gt_depth_map=before, gt_person_mask=np.uint8([[1, 1, 1, 1, 0]])))
    assert masked['gt_depth_map'].tolist() == [[0, 0, 0.5, 1, 0]]
    assert masked['gt_depth_map'].dtype == np.float32
    assert before.tolist() == [[0, 2, 3, 4, 9]]
