"""Tests of reading weights from TorchScript archives."""
import shutil
import struct
import zipfile

import pytest
import torch
import torch.nn as nn
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from sapiens_mm.engine.checkpoint import CheckpointError, UnsafeCheckpointError, load_checkpoint_file
from sapiens_mm.engine.checkpoint_file import check_whole
from sapiens_mm.engine.torchscript import is_torchscript


class Net(nn.Module):
    """Parameters, a buffer, a number, a tied weight and a view."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 16, 16, padding=2)
        self.norm = nn.BatchNorm2d(4)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.layers[1].weight = self.layers[0].weight
        self.register_buffer('view', torch.arange(12.).view(3, 4).t()[1:])
        self.scale = 3

    def forward(self, x):
        x = self.norm(self.patch(x)).mean((2, 3))
        for layer in self.layers:
            x = layer(x) * self.scale
        return x + self.view.sum()


def trace(path, net=None, dtype=torch.float32):
    torch.manual_seed(0)
    net = (net or Net()).eval().to(dtype)
    torch.jit.trace(net, torch.randn(1, 3, 32, 32, dtype=dtype), check_trace=False).save(str(path))
    return net.state_dict()


@pytest.fixture
def traced(tmp_path):
    trace(tmp_path / 'net.pt2')
    return tmp_path / 'net.pt2'


def rewrite(source, target, changes, left_out=()):
    """Copies a zip with other contents of some members, by their names behind the folder."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for member in old.infolist():
            name = member.filename.partition('/')[2]
            if name not in left_out:
                new.writestr(member, changes.get(name, old.read(member)))
    return target


def pickle_of(path):
    with zipfile.ZipFile(path) as archive:
        return archive.read(f'{path.stem}/data.pkl')


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


MODULE = b'c__torch__\nNet\n)\x81}'


@pytest.mark.parametrize('part', [.1, .5, .9, .99])
def test_a_truncated_archive(traced, part):
    traced.write_bytes(traced.read_bytes()[:int(traced.stat().st_size * part)])
    with pytest.raises(CheckpointError, match=r'net\.pt2'):
        load_checkpoint_file(traced)
    assert not is_torchscript(str(traced))


def test_changed_weights(traced):
    content = bytearray(traced.read_bytes())
    with zipfile.ZipFile(traced) as archive:
        place = archive.getinfo('net/data/0').header_offset + 200
    content[place] ^= 255
    traced.write_bytes(content)
    with pytest.raises(CheckpointError, match='BadZipFile'):
        load_checkpoint_file(traced)
    with pytest.raises(CheckpointError, match=r'data/\d'):
        check_whole(str(traced), contents=True)


@pytest.mark.parametrize(('member', 'content'), [('data/0', b'1234'), ('byteorder', b'big'), ('data.pkl', b'\x80\x02'),
                                                 ('data.pkl', b'\x80\x02)b.'), ('data.pkl', b'')])
def test_contents_that_do_not_agree(traced, tmp_path, member, content):
    path = rewrite(traced, tmp_path / 'bad.pt2', {member: content})
    with pytest.raises(CheckpointError, match=r'bad\.pt2') as error:
        load_checkpoint_file(path)
    assert error.type is CheckpointError


def test_a_missing_storage(traced, tmp_path):
    path = rewrite(traced, tmp_path / 'bad.pt2', {}, left_out=['data/1'])
    with pytest.raises(CheckpointError, match='data/1'):
        load_checkpoint_file(path)


def test_compressed_tensors(traced, tmp_path):
    with zipfile.ZipFile(traced) as old, zipfile.ZipFile(tmp_path / 'bomb.pt2', 'w', zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(1 << 24) if name == 'net/data/0' else old.read(name))
    with pytest.raises(CheckpointError, match='compressed'):
        load_checkpoint_file(tmp_path / 'bomb.pt2')


@pytest.mark.parametrize(('pickled', 'value'), [
    (b'cposix\nmkdir\n' + text('TRACE') + b'\x85R', 'posix.mkdir'),
    (b'c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R', 'bytearray'),
    (b'c__torch__x\nNet\n)\x81', '__torch__x.Net'),
    (b'ctorch.jit._pickle\nbuild_intlist\n]\x85R', 'build_intlist'),
    (b'c__torch__\nNet\n)\x81]b', 'list'),
    (b'ctorch._utils\n_rebuild_tensor_v2\n(' + text('a') + b'K\x00))\x89)tR', 'str'),
    (b'(' + text('module') + b'NNNNtQ', 'module'),
])
@pytest.mark.parametrize('within', [True, False])
def test_foreign_objects_are_named_and_nothing_runs(traced, tmp_path, pickled, value, within):
    folder = tmp_path / 'made'
    pickled = pickled.replace(text('TRACE'), text(str(folder)))
    pickled = MODULE + text('a') + pickled + b'sb.' if within else pickled + b'.'
    path = rewrite(traced, tmp_path / 'evil.pt2', {'data.pkl': b'\x80\x02' + pickled})
    with pytest.raises(UnsafeCheckpointError, match=value):
        load_checkpoint_file(path)
    assert not folder.exists()


@pytest.mark.parametrize('module', [
    b'c__torch__\nNet\nq\x00)\x81q\x01}' + text('a') + b'h\x01sb.',  # contains itself
    b'c__torch__\nNet\n)\x81q\x00' + b''.join(  # 2 ** 40 names of one module
        b'c__torch__\nNet\n)\x81}(' + text('a') + b'h' + bytes([i]) + text('b') + b'h' + bytes([i]) + b'ubq'
        + bytes([i + 1]) for i in range(40)) + b'.'])
def test_endless_modules(traced, tmp_path, module):
    path = rewrite(traced, tmp_path / 'endless.pt2', {'data.pkl': b'\x80\x02' + module})
    with pytest.raises(CheckpointError, match='ValueError'):
        load_checkpoint_file(path)


def test_a_tensor_beyond_its_storage(traced, tmp_path):
    pickled = pickle_of(traced)
    shape = b'(K\x04K\x03K\x10K\x10t'
    assert pickled.count(shape) == 1
    path = rewrite(traced, tmp_path / 'large.pt2', {'data.pkl': pickled.replace(shape, b'(K\x05K\x03K\x10K\x10t')})
    with pytest.raises(CheckpointError, match='out of bounds'):
        load_checkpoint_file(path)


def test_frozen_modules_have_no_names(tmp_path):
    frozen = torch.jit.freeze(torch.jit.trace(Net().eval(), torch.randn(1, 3, 32, 32)))
    frozen.save(str(tmp_path / 'frozen.pt'))
    with pytest.raises(CheckpointError, match='freeze'):
        load_checkpoint_file(tmp_path / 'frozen.pt')


@pytest.mark.parametrize('member', ['a/archive_format', 'a/models/model.json', 'serialized_exported_program.json'])
def test_programs_of_torch_export_by_all_their_layouts(tmp_path, member):
    with zipfile.ZipFile(tmp_path / 'program.pt2', 'w') as archive:
        archive.writestr(member, b'pt2')
    with pytest.raises(CheckpointError, match=r'torch\.export'):
        load_checkpoint_file(tmp_path / 'program.pt2')


def test_a_program_of_torch_export(tmp_path):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2), )), tmp_path / 'program.pt2')
    with pytest.raises(CheckpointError, match=r'torch\.export'):
        load_checkpoint_file(tmp_path / 'program.pt2')


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('suffix', ['pt2', 'pt', 'pth'])
def test_tensors_equal_the_bits_of_the_model(tmp_path, dtype, suffix):
    expected = trace(tmp_path / f'net.{suffix}', dtype=dtype)
    assert is_torchscript(str(tmp_path / f'net.{suffix}'))
    weights = load_checkpoint_file(tmp_path / f'net.{suffix}')['state_dict']
    assert list(weights) == list(expected)
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype
        assert torch.equal(weights[name], value)
    assert weights['view'].stride() == expected['view'].stride()
    assert weights['layers.0.weight'].data_ptr() == weights['layers.1.weight'].data_ptr()  # read once


def test_code_is_not_run_or_needed(traced, tmp_path):
    with zipfile.ZipFile(traced) as archive:
        code = [name.partition('/')[2] for name in archive.namelist() if '/code/' in name]
    path = rewrite(traced, tmp_path / 'net2.pt2', dict.fromkeys(code, b'raise SystemExit'))
    content = load_checkpoint_file(path)
    assert content['meta'] == {}
    assert torch.equal(content['state_dict']['view'], load_checkpoint_file(traced)['state_dict']['view'])


@pytest.mark.parametrize('padding', [0, 2])
def test_padding_of_the_patch_embedding(tmp_path, padding):
    net = Net()
    net.patch.padding = (padding, padding)
    trace(tmp_path / 'net.pt', net)
    assert load_checkpoint_file(tmp_path / 'net.pt')['meta'] == dict(patch_padding=padding)


def test_buffers_that_models_do_not_save(tmp_path):
    net = Net()
    net.data_preprocessor = nn.Module()
    net.data_preprocessor.register_buffer('mean', torch.ones(3), persistent=False)
    trace(tmp_path / 'net.pt', net)
    assert load_checkpoint_file(tmp_path / 'net.pt')['state_dict'].keys() == net.state_dict().keys()


def test_a_scripted_module(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    torch.jit.script(net).save(str(tmp_path / 'script.pt'))
    weights = load_checkpoint_file(tmp_path / 'script.pt')['state_dict']
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert weights.keys() == net.state_dict().keys()


def test_mmengine_reads_archives(traced, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')  # with which torch.load would run the archive
    net = Net()
    assert set(CheckpointLoader.load_checkpoint(str(traced))) == {'state_dict', 'meta'}
    load_checkpoint(net, str(traced), map_location='cpu', strict=True)
    expected = load_checkpoint_file(traced)['state_dict']
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_a_copy_under_another_name(traced, tmp_path):
    shutil.copy(traced, tmp_path / 'other.pth')  # the folder in the archive keeps the first name
    assert load_checkpoint_file(tmp_path / 'other.pth')['state_dict'].keys() == Net().state_dict().keys()


def test_meta_tensors_need_no_reading(traced):
    weights = load_checkpoint_file(traced, 'meta')['state_dict']
    assert weights['patch.weight'].is_meta
    assert weights['patch.weight'].shape == (4, 3, 16, 16)
