"""Tests of device, data type and batches of a model."""
import pytest
import torch

from sapiens_mm.apis.models import load_model
from sapiens_mm.apis.network import choose_device, fastest_dtype

IMAGES = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_missing_device():
    with pytest.raises(ValueError, match='cuda:99'):
        choose_device('cuda:99')


def test_default_device_and_dtype(monkeypatch):
    assert choose_device('cpu') == torch.device('cpu')
    assert choose_device(None).type in ('cpu', 'cuda', 'mps')
    assert fastest_dtype(torch.device('mps')) == torch.float32
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
            monkeypatch.setattr(torch.cpu, name, lambda supported=supported: supported, raising=False)
        assert fastest_dtype(torch.device('cpu')) == dtype


@pytest.mark.parametrize('name', ['pose-17', 'multi'])
def test_bfloat16(small_models, name):
    config, checkpoint = small_models[name]
    exact, rough = load_model(checkpoint, config)(IMAGES), load_model(checkpoint, config, dtype=torch.bfloat16)(IMAGES)
    last = load_model(checkpoint, config, dtype=torch.bfloat16).network.last_layers()
    for layer, expected in zip(last, load_model(checkpoint, config).network.last_layers()):
        assert torch.equal(layer.weight, expected.weight)
    for task in exact:
        assert rough[task].dtype == torch.float32
        assert 0 < (rough[task] - exact[task]).abs().mean() < .1 * exact[task].std()
