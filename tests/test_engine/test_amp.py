"""Tests of mixed precision in bfloat16."""
import torch
from mmengine.optim import build_optim_wrapper

import sapiens_mm  # noqa: F401


def test_bf16_forward_float32_weights():
    model = torch.nn.Linear(4, 4)
    wrapper = build_optim_wrapper(model, dict(type='SapiensBF16OptimWrapper', optimizer=dict(type='SGD', lr=1.)))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(before, model.weight)
    assert model(torch.randn(2, 4)).dtype == torch.float32
