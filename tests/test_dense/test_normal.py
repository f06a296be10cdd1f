import pytest
import torch

from sapiens_mm.dense.normal import SapiensNormalEstimator


def test_normals_get_their_length_after_the_resize():
    vectors = torch.tensor([[2., 0], [0., 2], [0, 0]])[:, None]  # to the right, up
    found = SapiensNormalEstimator.restore(vectors, dict(size=(1, 6)))
    torch.testing.assert_close(found.norm(dim=0), torch.ones(1, 6))
    assert found[:, 0, 0].tolist() == [1, 0, 0]
    assert found[:, 0, -1].tolist() == [0, 1, 0]
    x, y, _ = found[:, 0, 2].tolist()
    assert x / y == pytest.approx(2)  # at a third of the way, before lengths


def test_no_vector_stays_none():
    found = SapiensNormalEstimator.restore(torch.zeros(3, 2, 2), dict(size=(4, 4)))
    assert torch.equal(found, torch.zeros(3, 4, 4))


def test_right_becomes_left_in_a_mirror():
    vectors = torch.zeros(1, 3, 1, 2)
    vectors[0, :, 0, 0] = torch.tensor([0.6, 0.5, 0.4])
    found = SapiensNormalEstimator.unmirror(vectors, {}, {})
    torch.testing.assert_close(found[0, :, 0, 1], torch.tensor([-0.6, 0.5, 0.4]))
    assert not found[0, :, 0, 0].any()
