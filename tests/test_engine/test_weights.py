"""Tests of strict weight loading and saving."""
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn

from sapiens_mm.engine import CheckpointError, SapiensCompleteWeightsHook, load_checkpoint_file
from sapiens_mm.engine.weights import check_complete, fill_model, save_weights


class Model(nn.Module):

    def __init__(self, classes=3):
        super().__init__()
        self.backbone, self.norm, self.head = nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, classes)


def weights(**changes):
    """Weights of a model that is already trained, with changes; a change to None removes the tensor."""
    values = {name: torch.full_like(value, 2) for name, value in Model().state_dict().items()}
    values.update({name.replace('__', '.'): value for name, value in changes.items()})
    return {name: value for name, value in values.items() if value is not None}


MISFITS = {
    'missing': (dict(head__bias=None), 'head.bias'),
    'shape': (dict(head__weight=torch.zeros(5, 2)), r'head.weight.*5, 2.*3, 2'),
    'integers': (dict(head__bias=torch.zeros(3, dtype=torch.int64)), r'head.bias \(int64\)'),
    'list': (dict(head__bias=[1., 2.]), r'head.bias \(list\)'),
    'complex': (dict(head__bias=torch.zeros(3, dtype=torch.complex64)), r'head.bias \(complex64\)'),
}


@pytest.mark.parametrize(('changes', 'says'), MISFITS.values(), ids=MISFITS)
@pytest.mark.parametrize('function', [fill_model, check_complete])
def test_misfits(function, changes, says):
    with pytest.raises(CheckpointError, match=says) as error:
        function(Model(), weights(**changes), 'file.pth', 'use another')
    assert str(error.value).startswith('file.pth ')
    assert '\n' not in str(error.value)


def test_unexpected_tensors():
    surplus = weights(neck__weight=torch.zeros(1))
    with pytest.raises(CheckpointError, match='neck.weight.*; use another'):
        fill_model(Model(), surplus, 'file.pth', 'use another')
    check_complete(Model(), surplus, 'file.pth')


def test_a_model_is_filled():
    model = Model()
    fill_model(model, weights(head__bias=torch.full((3, ), 2, dtype=torch.float16)), 'file.pth')
    assert all((value == 2).all() for value in model.state_dict().values())
    assert model.head.bias.dtype == torch.float32
    with torch.device('meta'):
        model = Model()
    fill_model(model, weights(), 'file.pth', assign=True)
    assert all((value == 2).all() for value in model.state_dict().values())


def test_ignored_and_prefixed_tensors():
    partial = weights(backbone__weight=None, norm__num_batches_tracked=None)
    partial = {f'module.{name}': value for name, value in partial.items()}
    check_complete(Model(), partial, 'file.pth', ignore=('backbone.', ))
    with pytest.raises(CheckpointError, match='backbone.weight'):
        check_complete(Model(), partial, 'file.pth')


@pytest.mark.parametrize('wrap', [dict, lambda values: dict(state_dict=values, meta={})])
def test_hook(wrap):
    runner, hook = SimpleNamespace(model=Model()), SapiensCompleteWeightsHook()
    hook.after_load_checkpoint(runner, wrap(weights(backbone__weight=None)))
    with pytest.raises(CheckpointError, match='head.bias'):
        hook.after_load_checkpoint(runner, wrap(weights(head__bias=None)))


def test_weights_are_written_as_two_kinds_of_file(tmp_path):
    with pytest.raises(ValueError, match='weights.bin'):
        save_weights({}, 'weights.bin')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_written_weights_are_read(tmp_path, suffix):
    whole = torch.randn(1000, 4)
    path = tmp_path / f'new/folder/weights{suffix}'
    save_weights(dict(a=whole[:2], b=whole.T[:1]), str(path))
    loaded = load_checkpoint_file(path)
    assert torch.equal(loaded['a'], whole[:2])
    assert torch.equal(loaded['b'], whole.T[:1])
    assert path.stat().st_size < 8000  # not the whole that they are views of
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_writing_leaves_no_file(tmp_path, monkeypatch):

    def full(state_dict, path):
        open(path, 'wb').close()
        raise OSError('No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError, match='No space left'):
        save_weights(dict(a=torch.zeros(1)), str(tmp_path / 'weights.pth'))
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'weights.pth').mkdir()
    with pytest.raises(OSError, match='weights.pth'):
        save_weights(dict(a=torch.zeros(1)), str(tmp_path / 'weights.pth'))
