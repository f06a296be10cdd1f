from types import SimpleNamespace

import pytest
import torch.nn as nn

from sapiens_mm.engine import CheckpointError, SapiensCompleteWeightsHook


class Model(nn.Module):

    def __init__(self, classes=3):
        super().__init__()
        self.backbone, self.head = nn.Linear(2, 2), nn.Linear(2, classes)


def load(checkpoint):
    SapiensCompleteWeightsHook().after_load_checkpoint(SimpleNamespace(model=Model()), checkpoint)


def test_lacking_and_misshaped_tensors_are_named():
    state_dict = Model(classes=5).state_dict()
    with pytest.raises(CheckpointError, match=r'head.weight \(5, 2\) instead of \(3, 2\)'):
        load(dict(state_dict=state_dict))
    del state_dict['head.bias']
    with pytest.raises(CheckpointError, match=r'it lacks head.bias; it has head.weight \(5, 2\)'):
        load(state_dict)


def test_complete_weights_pass():
    state_dict = Model().state_dict()
    load(dict(state_dict=state_dict, meta={}))
    load({f'module.{key}': value for key, value in state_dict.items()})
    load({**{key: value for key, value in state_dict.items() if 'backbone' not in key}, 'more': 1})
