"""Tests of heatmap losses."""
import pytest
import torch
from mmpose.models.losses import KeypointOHKMMSELoss
from mmpose.registry import MODELS

import sapiens_mm.pose  # noqa: F401
from sapiens_mm.pose import SapiensOHKMMSELoss


@pytest.mark.parametrize(('options', 'match'), [
    (dict(topk=0), 'topk: got 0'), (dict(topk=8), '5 keypoints'), (dict(topk=5, use_target_weight=True), 'weight')])
def test_bad_input(options, match):
    with pytest.raises(ValueError, match=match):
        SapiensOHKMMSELoss(**options)(torch.zeros(1, 5, 4, 4), torch.zeros(1, 5, 4, 4))


@pytest.mark.parametrize(('kind', 'name'), [('SapiensOHKMMSELoss', 'ohkm'), ('KeypointMSELoss', 'mse')])
def test_equals_public_implementation(kind, name, reference):
    """The public configs train with one of these; mmpose's ``KeypointMSELoss`` is used unchanged."""
    entry = reference[f'loss_{name}']
    options = dict(topk=entry['topk']) if name == 'ohkm' else {}
    loss = MODELS.build(dict(type=kind, use_target_weight=True, **options))(
        *(entry[key] for key in ('pred', 'target', 'weight')))
    torch.testing.assert_close(loss, entry['loss'], rtol=1e-5, atol=0)


@pytest.mark.parametrize('use_target_weight', [False, True])
def test_ohkm_and_its_gradient_equal_mmpose(use_target_weight):
    torch.manual_seed(0)
    pred, target = torch.randn(3, 20, 8, 6), torch.randn(3, 20, 8, 6)
    weights = torch.randint(0, 3, (3, 20)).float() * 0.7
    gradients = []
    for kind in (SapiensOHKMMSELoss, KeypointOHKMMSELoss):
        leaf = pred.clone().requires_grad_()
        loss = kind(use_target_weight=use_target_weight, topk=6, loss_weight=2.5)(leaf, target, weights)
        loss.backward()
        gradients.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0][1].abs().sum() > 0
