"""Tests of safe reading of checkpoint files."""
import contextlib
import os
import pickle
import pickletools
import resource
import struct
import zipfile
from collections import Counter

import addict
import mmengine.config.config
import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim import MultiStepLR
from safetensors.torch import save_file
from torch.optim import SGD

from sapiens_mm.engine.checkpoint import CheckpointError, UnsafeCheckpointError, load_checkpoint_file

_GLOBAL, _NUMBER = b'c', b'\x8a\x05\x00\x00\x00\x80\x00'  # opcodes; 2 ** 31


@pytest.fixture(params=['torch', 'own'], autouse=True)
def unpickler(request, monkeypatch):
    """Runs tests with torch's unpickler and with ours for torch before 2.5."""
    if not hasattr(torch.serialization, 'safe_globals'):
        if request.param == 'torch':
            pytest.skip('this torch has no safe_globals')
    elif request.param == 'own':
        monkeypatch.delattr(torch.serialization, 'safe_globals')


def save_pickle(path, pickled):
    """A file as torch.save writes it, but around any pickle."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', pickled)
        archive.writestr('archive/version', '3\n')
        archive.writestr('archive/byteorder', 'little')


def error_of(path, kind=CheckpointError):
    with pytest.raises(kind) as info:
        load_checkpoint_file(path)
    message = str(info.value)
    assert os.path.basename(path) in message
    assert '\n' not in message
    return message


@pytest.mark.parametrize(('content', 'words'), [
    (b'', 'is empty'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', 'git lfs pull'),
    (b'\n<!DOCTYPE html><html></html>', 'web page'),
    (pickle.dumps({'weight': 1}), 'expected one of torch.save'),
    (b'PK\x03\x04 and no end', 'truncated'),
])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_not_a_checkpoint(tmp_path, content, words, suffix):
    if suffix == '.safetensors' and words.startswith(('truncated', 'expected')):
        words = 'not a safetensors file'
    path = tmp_path / f'bad{suffix}'
    path.write_bytes(content)
    assert words in error_of(str(path))


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('part', [.1, .5, .99])
def test_truncated(tmp_path, zipped, part):
    path = tmp_path / 'cut.pth'
    torch.save(nn.Linear(20, 20).state_dict(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * part)])
    assert 'get it again' in error_of(str(path))


def test_truncated_safetensors(tmp_path):
    path = tmp_path / 'cut.safetensors'
    save_file({'weight': torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    assert 'get it again' in error_of(str(path))


def test_other_zip(tmp_path):
    np.savez(tmp_path / 'weights.npz', a=np.zeros(2))
    assert 'not one of torch.save' in error_of(str(tmp_path / 'weights.npz'))


def test_no_dict(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / 'list.pth')
    assert 'got a list' in error_of(str(tmp_path / 'list.pth'))


@pytest.mark.parametrize('seed', range(30))
def test_damaged_is_not_unsafe(tmp_path, seed):
    """What is overwritten or cut off carries no code, in the old format too, where pickles come first."""
    torch.save({'state_dict': nn.Linear(5, 5).state_dict(), 'meta': {'a': np.float64(2)}}, tmp_path / 'damaged.pth',
               _use_new_zipfile_serialization=False)
    content, rng = bytearray((tmp_path / 'damaged.pth').read_bytes()), np.random.default_rng(seed)
    if seed % 3:
        content[rng.integers(20, 700)] = rng.integers(256)
    else:
        content = content[:rng.integers(1, len(content))]
    (tmp_path / 'damaged.pth').write_bytes(content)
    with contextlib.suppress(CheckpointError):  # what is changed may be a number
        load_checkpoint_file(tmp_path / 'damaged.pth')
        return
    with pytest.raises(CheckpointError, match='damaged.pth') as error:
        load_checkpoint_file(tmp_path / 'damaged.pth')
    assert error.type is CheckpointError


def bomb(path, **kwargs):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02]' + b'K\x00' * (64 << 20) + b'.')


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    bomb(tmp_path / 'bomb.pth')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 'compressed' in error_of(str(tmp_path / 'bomb.pth'))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_members_on_top_of_each_other_are_refused(tmp_path):
    save_pickle(tmp_path / 'a.pth', b'x' * 100)
    content = (tmp_path / 'a.pth').read_bytes()
    begin = content.index(b'PK\1\2')
    entry = content[begin:content.index(b'PK\1\2', begin + 1)]
    count, size = struct.unpack_from('<H', content, len(content) - 12)[0], len(content[begin:-22])
    end = content[-22:-14] + struct.pack('<HHI', count + 50, count + 50, size + 50 * len(entry)) + content[-6:]
    (tmp_path / 'a.pth').write_bytes(content[:begin] + entry * 50 + content[begin:-22] + end)
    assert 'larger than the file' in error_of(str(tmp_path / 'a.pth'))


def _tensor(shape, strides, storage=4):
    """A pickled checkpoint of one tensor over a storage of some floats."""
    sizes = [b'(' + b''.join(b'\x8a\x08' + struct.pack('<q', n) for n in numbers) + b't'
             for numbers in (shape, strides)]
    return (b'\x80\x02}' + _string('w') + _global('torch._utils._rebuild_tensor_v2') + b'((' + _string('storage') +
            _global('torch.FloatStorage') + _string('0') + _string('cpu') + b'J' + struct.pack('<i', storage) +
            b'tQK\x00' + sizes[0] + sizes[1] + b'\x89' + _global('collections.OrderedDict') + b')RtRs.')


def save_tensor(path, pickled, content, method=zipfile.ZIP_STORED):
    save_pickle(path, pickled)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('archive/data/0', content, method)


def test_compressed_tensors_are_refused(tmp_path):
    save_tensor(tmp_path / 'a.pth', _tensor([1 << 22], [1], 1 << 22), bytes(1 << 24), zipfile.ZIP_DEFLATED)
    assert 'compressed' in error_of(str(tmp_path / 'a.pth'))


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    save_tensor(tmp_path / 'a.pth', _tensor([1 << 20], [1]), bytes(16))
    error_of(str(tmp_path / 'a.pth'))
    save_tensor(tmp_path / 'b.pth', _tensor([1 << 40], [0]), bytes(16))  # one value, expanded
    assert load_checkpoint_file(tmp_path / 'b.pth')['w'].shape == (1 << 40, )


@pytest.mark.parametrize('pickled', [
    _NUMBER.join([_GLOBAL + b'builtins\nbytearray\n', b'\x85R']),
    _NUMBER.join([_GLOBAL + b'__builtin__\nbytearray\n', b'\x85R']),
    _NUMBER.join([_GLOBAL + b'torch\nTensor\n', b'\x85R']),
    _NUMBER.join([_GLOBAL + b'numpy\nndarray\n', b'\x85\x85\x81'])])
@pytest.mark.parametrize('legacy', [False, True])
def test_memory_by_a_number_is_refused(tmp_path, pickled, legacy):
    pickled = b'\x80\x02}' + _string('meta') + pickled + b's.'
    if legacy:
        torch.save({}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
        content = (tmp_path / 'a.pth').read_bytes()
        (tmp_path / 'a.pth').write_bytes(content.replace(b'\x80\x02}q\x00.', pickled))
        assert pickled in (tmp_path / 'a.pth').read_bytes()
    else:
        save_pickle(tmp_path / 'a.pth', pickled)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error_of(str(tmp_path / 'a.pth'))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_table_of_contents_that_is_shifted_is_refused(tmp_path):
    """zipfile finds the table that lies before the end mark, torch the one that the mark names."""
    save_tensor(tmp_path / 'a.pth', _tensor([4], [1]), bytes(16))
    content = (tmp_path / 'a.pth').read_bytes()
    begin = content.index(b'PK\1\2')
    (tmp_path / 'a.pth').write_bytes(content[:begin] + bytes(500) + content[begin:])
    error_of(str(tmp_path / 'a.pth'))


def test_two_pickles_in_a_file(tmp_path):
    with zipfile.ZipFile(tmp_path / 'two.pth', 'w') as archive:
        archive.writestr('a/data.pkl', b'cposix\nsystem\n.')
        archive.writestr('b/data.pkl', b'cposix\nsystem\n.')
    error_of(str(tmp_path / 'two.pth'))


class Runs:
    """What an attacker puts into a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path, )


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('wrap', [lambda x: x, lambda x: ConfigDict(a=[x]), lambda x: {'b': (x, )}])
def test_foreign_code_is_named_and_does_not_run(tmp_path, zipped, wrap):
    path, trace = tmp_path / 'evil.pth', tmp_path / 'trace'
    torch.save({'state_dict': {}, 'meta': wrap(Runs(trace))}, path, _use_new_zipfile_serialization=zipped)
    assert 'posix.mkdir' in error_of(str(path), UnsafeCheckpointError)
    assert not trace.exists()


@pytest.mark.parametrize('protocol', [2, 4])
def test_foreign_code_in_any_protocol(tmp_path, protocol):
    path, trace = tmp_path / 'evil.pth', tmp_path / 'trace'
    save_pickle(path, pickle.dumps({'meta': Runs(trace)}, protocol=protocol))
    assert 'posix.mkdir' in error_of(str(path), UnsafeCheckpointError)
    assert not trace.exists()


def test_pickled_model(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / 'model.pth')
    assert 'torch.nn.modules.linear.Linear' in error_of(str(tmp_path / 'model.pth'), UnsafeCheckpointError)


def test_object_array(tmp_path):
    torch.save({'meta': np.array([1, None], dtype=object)}, tmp_path / 'objects.pth')
    assert 'numpy.dtypes.ObjectDType' in error_of(str(tmp_path / 'objects.pth'), UnsafeCheckpointError)



def _global(name):
    module, _, name = name.rpartition('.')
    return f'c{module}\n{name}\n'.encode()


def _string(text):
    return b'X' + struct.pack('<I', len(text)) + text.encode()


_BUFFER = _global('mmengine.logging.history_buffer.HistoryBuffer')


@pytest.mark.parametrize('pickled', [
    # getattr(OrderedDict, 'fromkeys')
    _global('__builtin__.getattr') + _global('collections.OrderedDict') + _string('fromkeys') + b'\x86R',
    # ConfigDict(set())
    _global('mmengine.config.config.ConfigDict') + _global('__builtin__.set') + b')R\x85R',
    # setattr(HistoryBuffer, 'mean', OrderedDict)
    _BUFFER + b'N}' + _string('mean') + _global('collections.OrderedDict') + b's\x86b',
], ids=['getattr', 'ConfigDict', 'setattr on a class'])
def test_allowed_types_have_one_use(tmp_path, pickled):
    mean = HistoryBuffer.mean
    save_pickle(tmp_path / 'twisted.pth', b'\x80\x02}' + _string('meta') + pickled + b's.')
    error_of(str(tmp_path / 'twisted.pth'), UnsafeCheckpointError)
    assert HistoryBuffer.mean is mean


def test_functions_of_a_history_buffer_stay_in_the_file(tmp_path):
    state = b'}(' + b''.join([
        _string('_log_history'), b']', _string('_count_history'), b']', _string('max_length'), b'K\x05',
        _string('statistics_methods'), b'}' + _string('mean') + _global('collections.OrderedDict') + b's']) + b'u'
    save_pickle(tmp_path / 'buffer.pth', b'\x80\x02}' + _string('hub') + _BUFFER + b')\x81' + state + b'bs.')
    hub = load_checkpoint_file(tmp_path / 'buffer.pth')['hub']
    assert type(hub) is HistoryBuffer
    assert hub.max_length == 5
    assert HistoryBuffer._statistics_methods['mean'] is HistoryBuffer.mean


def test_what_checkpoints_hold(tmp_path):
    content = {
        'state_dict': nn.BatchNorm2d(3).half().state_dict(),
        'meta': {
            'scalar': np.float64(.5), 'flag': np.bool_(True), 'text': np.str_('AP'), 'bytes': b'\xff\x00',
            'array': np.arange(6.).reshape(2, 3), 'names': np.array(['nose', 'eye']), 'set': {1, 2},
            'config': ConfigDict(a=1, b={'c': [ConfigDict(d=np.int64(2))]}, empty={}), 'none': None, 'tuple': (1, 'x'),
        },
    }
    for zipped in True, False:
        torch.save(content, tmp_path / 'good.pth', _use_new_zipfile_serialization=zipped)
        loaded = load_checkpoint_file(tmp_path / 'good.pth')
        meta, expected = loaded['meta'], content['meta']
        for key in 'array', 'names':
            np.testing.assert_array_equal(meta[key], expected[key])
        rest = expected.keys() - {'array', 'names'}
        assert {key: meta[key] for key in rest} == {key: expected[key] for key in rest}
        assert type(meta['config'].b.c[0]) is ConfigDict
        assert type(meta['scalar']) is np.float64
        assert loaded['state_dict']['running_var'].dtype == torch.half
        assert loaded['state_dict']._metadata == content['state_dict']._metadata


def test_config_dict_of_old_mmengine(tmp_path, monkeypatch):
    old = type('ConfigDict', (addict.Dict, ), {'__module__': 'mmengine.config.config'})
    with monkeypatch.context() as patch:
        patch.setattr(mmengine.config.config, 'ConfigDict', old)
        torch.save({'meta': old(a=1, b={'c': 2})}, tmp_path / 'old.pth')
    assert load_checkpoint_file(tmp_path / 'old.pth')['meta'] == {'a': 1, 'b': {'c': 2}}


def test_milestones_of_a_scheduler(tmp_path):
    scheduler = MultiStepLR(SGD(nn.Linear(1, 1).parameters(), lr=1.), milestones=[2, 2, 5])
    torch.save({'param_schedulers': [scheduler.state_dict()]}, tmp_path / 'a.pth')
    loaded, = load_checkpoint_file(tmp_path / 'a.pth')['param_schedulers']
    assert loaded['milestones'] == Counter([2, 2, 5])


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_arrays_of_numpy_1_and_2(tmp_path, module):
    pickled = pickle.dumps({'array': np.arange(3), 'scalar': np.float32(2)}, protocol=2)
    names = {arg for op, arg, _ in pickletools.genops(pickled) if op.name == 'GLOBAL'}
    here = next(name for name in names if name.endswith('_reconstruct')).split(' ')[0]
    save_pickle(tmp_path / 'numpy.pth', pickled.replace(here.encode() + b'\n', module.encode() + b'\n'))
    loaded = load_checkpoint_file(tmp_path / 'numpy.pth')
    assert loaded['array'].tolist() == [0, 1, 2]
    assert loaded['scalar'] == 2


def test_torch_allows_no_more_than_before(tmp_path):
    if not hasattr(torch.serialization, 'get_safe_globals'):
        pytest.skip('this torch has no list of its own')
    torch.save({'meta': np.zeros(2)}, tmp_path / 'a.pth')
    torch.serialization.add_safe_globals([np.ndarray])
    try:
        before = set(torch.serialization.get_safe_globals())
        load_checkpoint_file(tmp_path / 'a.pth')
        assert set(torch.serialization.get_safe_globals()) == before
    finally:
        torch.serialization.clear_safe_globals()
