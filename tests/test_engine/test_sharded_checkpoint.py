"""Folders of shards, written by one process here; test_parallel.py has several."""
import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import metadata as dcp_types

from sapiens_mm.engine import CheckpointError, UnsafeCheckpointError, load_checkpoint_file
from sapiens_mm.engine.sharded_checkpoint import (
    _covers,
    check_sharded,
    is_sharded,
    load_sharded,
    read_table,
    save_sharded,
)


@pytest.fixture
def damaged(can_shard, tmp_path) -> Path:
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
    with pytest.raises(UnsafeCheckpointError, match='iter_1.pth/.metadata.*posix.mkdir'):
        load_checkpoint_file(damaged)
    assert not (tmp_path / 'evil').exists()


def test_values_that_are_no_tensors_are_refused(damaged):
    """torch would unpickle them."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata
    table = pickle.loads((damaged / '.metadata').read_bytes())
    table.state_dict_metadata['state_dict.weight'] = BytesStorageMetadata()
    (damaged / '.metadata').write_bytes(pickle.dumps(table))
    with pytest.raises(UnsafeCheckpointError, match='state_dict.weight'):
        load_checkpoint_file(damaged)


def test_foreign_rest(damaged):
    torch.save(dict(meta=Path('x')), damaged / 'rest.pth')
    with pytest.raises(UnsafeCheckpointError, match='rest.pth.*pathlib'):
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


def test_torch_that_is_too_old(tmp_path, monkeypatch):
    for name in ('.metadata', 'rest.pth'):
        (tmp_path / name).write_bytes(b'anything')
    monkeypatch.setattr(torch, '__version__', '2.1.2')
    with pytest.raises(CheckpointError, match=f'{tmp_path} .*got torch 2.1.2'):
        load_checkpoint_file(tmp_path)
    with pytest.raises(ImportError, match='got torch 2.1.2'):
        write(tmp_path / 'iter_1.pth')


@pytest.mark.usefixtures('can_shard')
def test_what_was_written_is_read(tmp_path):
    folder = tmp_path / 'iter_1.pth'
    assert not is_sharded(str(folder))
    write(folder)
    write(folder, 2.)  # in the place of the other
    assert is_sharded(str(folder))
    assert [path.name for path in tmp_path.iterdir()] == ['iter_1.pth']
    loaded = load_checkpoint_file(folder)
    assert loaded['meta'] == dict(iter=1)
    torch.testing.assert_close(dict(loaded['state_dict']),
                               dict(weight=torch.full((300, 2), 2.), bias=torch.arange(3)), rtol=0, atol=0)
    assert read_table(str(folder))['state_dict.bias'].size == (3, )


def test_tensors_that_are_not_there_are_named(damaged):
    with pytest.raises(CheckpointError, match=f'{damaged}.*scale'):
        load_sharded(str(damaged), dict(state_dict=dict(scale=torch.zeros(3))), alone=True)


def chunk(*boxes):
    return [dcp_types.ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in boxes]


def of_size(value):
    return lambda table: setattr(table.state_dict_metadata['state_dict.weight'], 'size', value)


def of_chunks(*boxes):

    def change(table):
        table.state_dict_metadata['state_dict.weight'].chunks = chunk(*boxes)
        info = next(iter(table.storage_data.values()))
        for offsets, _ in boxes:
            table.storage_data.setdefault(dcp_types.MetadataIndex('state_dict.weight', torch.Size(offsets)), info)

    return change


def of_info(**kwargs):
    return lambda table: [vars(info).update(kwargs) for info in table.storage_data.values()]


def of_all_infos(value):
    return lambda table: table.storage_data.update(dict.fromkeys(table.storage_data, value))


LIES = {
    'no chunks': of_chunks(), 'part': of_chunks(((0, 0), (299, 2))),
    'hole': of_chunks(((0, 0), (1, 2)), ((2, 0), (298, 2))),
    'overlap': of_chunks(((0, 0), (299, 2)), ((298, 0), (1, 2))),
    'overlap of columns': of_chunks(((0, 0), (300, 1)), ((1, 0), (299, 1)), ((0, 1), (1, 1))),
    'outside': of_chunks(((0, 0), (299, 2)), ((300, 0), (1, 2))), 'other axes': of_chunks(((0, ), (600, ))),
    'negative chunk': of_chunks(((0, 0), (301, 2)), ((300, 0), (-1, 2))),
    'huge': of_size(torch.Size([10**13])), 'negative': of_size(torch.Size([-3, 2])), 'text': of_size('abc'),
    'none': of_size(None),
    'huge and covered': lambda table: (of_size(torch.Size([10**13, 2]))(table),
                                       of_chunks(((0, 0), (10**13, 2)))(table)),
    'no dtype': lambda table: setattr(table.state_dict_metadata['state_dict.weight'], 'properties', None),
    'name': lambda table: table.state_dict_metadata.update({5: table.state_dict_metadata['state_dict.weight']}),
    'no storage': lambda table: setattr(table, 'storage_data', None),
    'empty storage': lambda table: table.storage_data.clear(),
    'no infos': of_all_infos(None), 'text offset': of_info(offset='a'), 'no path': of_info(relative_path=None),
    'path elsewhere': of_info(relative_path='../../etc/passwd'), 'absolute path': of_info(relative_path='/dev/zero'),
    'negative offset': of_info(offset=-1), 'negative length': of_info(length=-1), 'long': of_info(length=10**13),
}


@pytest.mark.parametrize('lie', LIES)
def test_tables_that_lie(damaged, lie):
    table = pickle.loads((damaged / '.metadata').read_bytes())
    LIES[lie](table)
    (damaged / '.metadata').write_bytes(pickle.dumps(table))
    for read in (load_checkpoint_file, check_sharded):
        with pytest.raises(CheckpointError, match='iter_1.pth') as error:
            read(str(damaged))
        assert '\n' not in str(error.value)


def test_pieces_of_any_order_cover():
    assert _covers((4, 4), {((0, 0), (2, 4)), ((2, 0), (2, 2)), ((2, 2), (1, 2)), ((3, 2), (1, 2)), ((4, 0), (0, 4))})
    assert _covers((), {((), ())})
    assert _covers((0, 3), set())
    assert not _covers((), set())
