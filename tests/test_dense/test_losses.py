"""Tests of dense losses."""
import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from sapiens_mm.dense.losses import SapiensNormalLoss, SapiensSiLogLoss, SapiensWeightedCrossEntropyLoss


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=1)


def test_shapes_and_weights_must_agree():
    with pytest.raises(ValueError, match=r'\(2, 4, 4\), expected \(2, 4, 5\)'):
        SapiensSiLogLoss()(torch.rand(2, 4, 4), torch.rand(2, 4, 5))
    with pytest.raises(ValueError, match=r'\(1, 3, 4, 4\)'):
        SapiensNormalLoss()(torch.rand(1, 3, 4, 4), torch.rand(1, 4, 4, 3))
    with pytest.raises(ValueError, match='class_weight: got 2 entries, expected 3'):
        SapiensWeightedCrossEntropyLoss([1, 2])(torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 4).long())


@pytest.mark.parametrize('weights', [[1, -1], [1, float('nan')], [float('inf'), 1]])
def test_class_weights_out_of_range(weights):
    with pytest.raises(ValueError, match='class_weight'):
        MODELS.build(dict(type='SapiensWeightedCrossEntropyLoss', class_weight=weights))


def test_cross_entropy_equals_public_implementation(reference):
    entry = reference['loss_wce']
    loss = MODELS.build(dict(type='SapiensWeightedCrossEntropyLoss', class_weight=entry['class_weight']))
    assert (entry['labels'] == 255).any()
    torch.testing.assert_close(loss(entry['logits'], entry['labels']), entry['loss'], rtol=1e-5, atol=0)
    assert not loss.state_dict()  # public checkpoints have no weights of classes


def test_silog_equals_public_implementation(reference):
    entry = reference['loss_silog']
    loss = MODELS.build(dict(type='SapiensSiLogLoss'))
    assert ((entry['pred'] <= 0) & (entry['target'] > 0)).any()
    torch.testing.assert_close(loss(entry['pred'], entry['target']), entry['loss'], rtol=1e-5, atol=0)


def test_normal_loss_equals_public_implementation(reference):
    entry = reference['loss_normal']
    losses = MODELS.build(dict(type='SapiensNormalLoss'))(entry['pred'], entry['target'])
    for name in ('loss_cos', 'loss_l1'):
        torch.testing.assert_close(losses[name], entry[name], rtol=1e-5, atol=0)
    zeroed = torch.where(entry['target'] < -1, 0, entry['target'])  # 0 means no label
    assert SapiensNormalLoss()(entry['pred'], zeroed) == losses


def test_cross_entropy_takes_weights_of_pixels_and_ignores_labels():
    pred, label = torch.randn(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 7]]])
    plain = F.cross_entropy(pred, label.where(label < 3, 0), reduction='none') * (label < 3)
    loss = SapiensWeightedCrossEntropyLoss([2, 3, 4], loss_weight=0.5)
    weight = torch.rand(1, 2, 2)
    expected = (plain * torch.tensor([[[2, 3], [4, 0]]]) * weight).sum() / 8
    torch.testing.assert_close(loss(pred, label, weight=weight, ignore_index=7), expected)


MASKS = dict(
    all=torch.ones(8, 6), none=torch.zeros(8, 6), pixel=torch.eye(8, 6) * torch.eye(8)[0, :, None],
    half=(torch.arange(6) < 3).expand(8, 6).float())


@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize('kind', ['random', 'zero', 'negative', 'exact', 'huge'])
def test_silog_has_finite_gradients(mask, kind):
    torch.manual_seed(0)
    target = torch.rand(2, 1, 8, 6) * MASKS[mask]
    target[1] = target[1] if mask != 'half' else 0  # one image of the batch without a label
    pred = dict(random=torch.randn(2, 1, 8, 6), zero=torch.zeros(2, 1, 8, 6), negative=-torch.rand(2, 1, 8, 6),
                exact=target.clamp(min=1e-3), huge=torch.full((2, 1, 8, 6), 1e30))[kind].clone().requires_grad_()
    loss = SapiensSiLogLoss()(pred, target)
    loss.backward()
    assert loss.isfinite()
    assert pred.grad.isfinite().all()
    assert not pred.grad[target == 0].any()
    if mask == 'none':
        assert loss == 0


def test_silog_is_that_of_each_image():
    torch.manual_seed(0)
    pred, target = torch.rand(3, 1, 8, 6) + 0.1, torch.rand(3, 1, 8, 6) + 0.1
    target[0, 0, :4] = 0
    target[2] = 0
    target[1, 0, 0, 0] = torch.nan
    pred[0, 0, 0, 0] = torch.nan  # no label there
    values = []
    for i in range(2):
        valid = target[i] > 0
        error = target[i][valid].log() - pred[i][valid].log()
        values.append((error.square().mean() - 0.5 * error.mean() ** 2).sqrt())
    torch.testing.assert_close(SapiensSiLogLoss(loss_weight=3)(pred, target), 3 * (values[0] + values[1]) / 2)


@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize('kind', ['random', 'zero', 'exact', 'nan_outside'])
def test_normal_loss_has_finite_gradients(mask, kind):
    torch.manual_seed(0)
    target = unit(2, 3, 8, 6) * MASKS[mask]
    pred = dict(random=torch.randn(2, 3, 8, 6), zero=torch.zeros(2, 3, 8, 6), exact=target,
                nan_outside=torch.where(target == 0, torch.nan, torch.randn(2, 3, 8, 6)))[kind].clone().requires_grad_()
    losses = SapiensNormalLoss()(pred, target)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert pred.grad.isfinite().all()
    assert not pred.grad[target.abs().sum(1, keepdim=True).expand_as(target) == 0].any()
    if mask == 'none' or kind == 'exact':
        assert sum(losses.values()).item() == pytest.approx(0, abs=1e-5)
    elif kind == 'zero':
        assert losses['loss_cos'].item() == pytest.approx(1)


def test_losses_compute_in_float32():
    torch.manual_seed(0)
    label, depth, normals = torch.randint(0, 4, (2, 16, 12)), torch.rand(2, 1, 16, 12), unit(2, 3, 16, 12)
    logits, vectors = torch.randn(2, 4, 16, 12).bfloat16(), torch.randn(2, 3, 16, 12).bfloat16()
    cases = [(SapiensWeightedCrossEntropyLoss([1., 2, 3, 4]), logits, label),
             (SapiensSiLogLoss(), vectors[:, :1].abs(), depth), (SapiensNormalLoss(), vectors, normals)]
    for loss, pred, target in cases:
        expected = loss(pred.float(), target)
        with torch.autocast('cpu', torch.bfloat16):
            assert loss(pred, target) == expected
