"""Folders of shards, written by one process here; test_fsdp.py has several."""
import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch

from sapiens_mm.engine import CheckpointError, UnsafeCheckpointError, load_checkpoint_file
from sapiens_mm.engine.sharded_checkpoint import is_sharded, load_sharded, read_table, save_sharded


@pytest.fixture
def damaged(tmp_path) -> Path:
    """A checkpoint, to be damaged."""
    folder = tmp_path / 'iter_1.pth'
    write(folder)
    return folder


def write(folder, value=1.):
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'torch.distributed is')
        save_sharded(str(folder), dict(state_dict=dict(weight=torch.full((300, 2), value), bias=torch.arange(3))),
                     dict(meta=dict(iter=1)))


class Evil:

    def __reduce__(self):
        return os.mkdir, ('evil', )


def test_a_table_cannot_run_code(damaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pickle.loads((damaged / '.metadata').read_bytes())
    table.planner_data = Evil()
    (damaged / '.metadata').write_bytes(pickle.dumps(table))
    with pytest.raises(UnsafeCheckpointError, match=r'iter_1.pth/.metadata is more than a list .*\(posix.mkdir'):
        load_checkpoint_file(damaged)
    assert not (tmp_path / 'evil').exists()


def test_values_that_are_no_tensors_are_refused(damaged):
    """torch would unpickle them."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata
    table = pickle.loads((damaged / '.metadata').read_bytes())
    table.state_dict_metadata['state_dict.weight'] = BytesStorageMetadata()
    (damaged / '.metadata').write_bytes(pickle.dumps(table))
    with pytest.raises(UnsafeCheckpointError, match="lists 'state_dict.weight', which is no tensor"):
        load_checkpoint_file(damaged)


def test_foreign_rest(damaged):
    torch.save(dict(meta=Path('x')), damaged / 'rest.pth')
    with pytest.raises(UnsafeCheckpointError, match='rest.pth carries pathlib'):
        load_checkpoint_file(damaged)


@pytest.mark.parametrize('file', ['.metadata', '__0_0.distcp', 'rest.pth'])
def test_damaged_folders(damaged, file):
    content = (damaged / file).read_bytes()
    (damaged / file).write_bytes(content[:len(content) // 20])
    with pytest.raises(CheckpointError, match=str(damaged)):
        load_checkpoint_file(damaged)
    (damaged / file).unlink()
    with pytest.raises(CheckpointError, match=str(damaged)):
        load_checkpoint_file(damaged)


def test_what_was_written_is_read(tmp_path):
    folder = tmp_path / 'iter_1.pth'
    assert not is_sharded(str(folder))
    write(folder)
    write(folder, 2.)  # in the place of the other
    assert is_sharded(str(folder))
    assert [path.name for path in tmp_path.iterdir()] == ['iter_1.pth']
    found = load_checkpoint_file(folder)
    assert found['meta'] == dict(iter=1)
    torch.testing.assert_close(dict(found['state_dict']),
                               dict(weight=torch.full((300, 2), 2.), bias=torch.arange(3)), rtol=0, atol=0)
    assert read_table(str(folder))['state_dict.bias'].size == (3, )


def test_tensors_that_are_not_there_are_named(damaged):
    with pytest.raises(CheckpointError, match=f'{damaged}.*scale'):
        load_sharded(str(damaged), dict(state_dict=dict(scale=torch.zeros(3))), alone=True)
