import pytest
import torch
from mmpose.models.losses import KeypointOHKMMSELoss
from mmpose.registry import MODELS

from sapiens_mm.pose import SapiensOHKMMSELoss


def test_bad_topk():
    with pytest.raises(ValueError, match='topk is 0'):
        SapiensOHKMMSELoss(topk=0)
    with pytest.raises(ValueError, match='only 5 keypoints'):
        SapiensOHKMMSELoss(topk=8)(torch.zeros(1, 5, 4, 4), torch.zeros(1, 5, 4, 4))


def test_ohkm_equals_public_implementation(reference):
    entry = reference['loss_ohkm']
    loss = MODELS.build(dict(type='SapiensOHKMMSELoss', use_target_weight=True, topk=entry['topk']))
    found = loss(entry['pred'], entry['target'], entry['weight'])
    torch.testing.assert_close(found, entry['loss'], rtol=1e-5, atol=0)


def test_mse_equals_public_implementation(reference):
    """mmpose's loss is used as it is."""
    entry = reference['loss_mse']
    loss = MODELS.build(dict(type='KeypointMSELoss', use_target_weight=True))
    torch.testing.assert_close(loss(entry['pred'], entry['target'], entry['weight']), entry['loss'], rtol=1e-5, atol=0)


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
