"""Tests of the image stream for pretraining."""
import collections
import io
import itertools

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

import sapiens_mm.pretrain  # noqa: F401  (registers)
from sapiens_mm.pretrain.images import decode
from sapiens_mm.utils.tar_files import SourceError

from .conftest import encode


def make_image(height=60, width=40):
    """Red above blue, with a green left edge."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:height // 2, :, 0] = image[height // 2:, :, 2] = 255
    image[:, :width // 4] = 0, 255, 0
    return Image.fromarray(image)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for i in range(50):
        make_image(20 + i, 30).save(folder / f'{i:02}.png')
    return folder


def dataset(folder, chunk=4, **kwargs):
    return DATASETS.build(
        dict(type='SapiensImages', source=dict(type='folder', path=folder, chunk=chunk), size=(16, 12), **kwargs))


def streams(folder, num_ranks, num_workers, resume=None, **kwargs):
    """Streams of each data worker of each rank, in one process."""
    result = []
    for rank in range(num_ranks):
        for worker in range(num_workers):
            data = dataset(folder, **kwargs)
            data.rank, data.num_ranks = rank * num_workers + worker, num_ranks * num_workers  # a rank of one worker
            if resume:
                data.resume(resume, 1)
            result.append(iter(data))
    return result


def position_of(sample):
    return tuple(sample['data_samples']['position'].tolist())


def key_of(sample):
    return sample['data_samples']['key']


@pytest.mark.parametrize(('ranks', 'workers', 'remedy'), [(2, 7, 'num_workers to .* 6'), (14, 1, ' 13 ranks')])
def test_refuses_more_workers_than_shards(folder, ranks, workers, remedy):
    data = dataset(folder)
    data.num_ranks = ranks
    with pytest.raises(SourceError, match=f'13 shards.* {ranks} ranks x {workers} .*{remedy}'):
        data.check_workers(workers)


def test_refuses_more_workers_than_shards_in_a_loader_too(folder):
    batches = iter(DataLoader(dataset(folder, chunk=25), batch_size=2, num_workers=3))
    with pytest.raises(SourceError, match='2 shards.* 1 ranks x 3 '):
        next(batches)
    batches._shutdown_workers()  # the garbage collector would wait 5 s for each


def bad_folder(tmp_path, bad, good=8):
    for i in range(good):
        make_image().save(tmp_path / f'good{i}.jpg')
    whole = encode(make_image(), 'JPEG')
    faults = itertools.cycle([b'', b'<html>', whole[:len(whole) // 2], encode(make_image(), 'PNG')[:100]])
    for i, data in zip(range(bad), faults):
        (tmp_path / f'bad{i}.jpg').write_bytes(data)
    return tmp_path


def test_skips_and_names_unreadable_images(tmp_path):
    data = dataset(bad_folder(tmp_path, 4), chunk=3)
    samples = list(itertools.islice(data, 8 * 3))
    assert {key_of(sample) for sample in samples} == {f'good{i}.jpg' for i in range(8)}
    bad = [line for sample in samples for line in sample['data_samples']['bad'].splitlines()]
    # Those at the end of an epoch come with the next sample.
    names = collections.Counter(line.partition(' ')[0] for line in bad)
    assert set(names) == {f'bad{i}.jpg' for i in range(4)}
    assert {2, 3} >= set(names.values())
    reasons = dict(line.split(' ', 1) for line in bad)
    assert reasons['bad0.jpg'] == reasons['bad1.jpg'] == '(cannot identify image file)'
    assert 'truncated' in reasons['bad2.jpg'].lower()
    # They count as taken from their shard, which a resumed run relies on.
    for epoch, shard in itertools.product(range(2), range(4)):
        order = [key for key, _ in data.source.read(shard, epoch, 0)]
        for sample in samples:
            if position_of(sample)[:2] == (epoch, shard):
                assert order[position_of(sample)[2] - 1] == key_of(sample)


def test_stops_after_many_unreadable_images(tmp_path):
    with pytest.raises(SourceError, match=r'40 unreadable .*bad\d.jpg \(') as error:
        next(iter(dataset(bad_folder(tmp_path, 7, good=0), min_images=40)))
    assert '\n' not in str(error.value)


EXIF = Image.Exif()
EXIF[0x112] = 6  # rotated by 90 degrees
TURNED = make_image().transpose(Image.Transpose.ROTATE_90)
GRAY = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(6, 4) * 10)


@pytest.mark.parametrize(('data', 'image'), [
    (encode(make_image(), 'PNG'), make_image()),
    (encode(make_image(), 'JPEG', quality=95, subsampling=0), make_image()),
    (encode(make_image(), 'WEBP', lossless=True), make_image()),
    (encode(make_image().convert('CMYK'), 'JPEG', quality=95, subsampling=0), make_image()),
    (encode(make_image().convert('P'), 'PNG'), make_image()),
    (encode(make_image().convert('RGBA'), 'PNG'), make_image()),
    (encode(make_image().convert('RGBA'), 'WEBP', lossless=True), make_image()),
    (encode(TURNED, 'JPEG', exif=EXIF, quality=95, subsampling=0), make_image()),
    (encode(GRAY, 'PNG'), GRAY.convert('RGB')),
    (encode(GRAY, 'JPEG', quality=95), GRAY.convert('RGB')),
    (encode(GRAY.convert('LA'), 'PNG'), GRAY.convert('RGB')),
    (encode(Image.fromarray(np.asarray(GRAY).astype(np.uint16) * 257), 'PNG'), GRAY.convert('RGB')),
    (encode(make_image(), 'BMP'), make_image()),  # by another name
    (encode(make_image(), 'GIF', save_all=True, append_images=[TURNED.resize((40, 60))]), make_image()),
], ids=['png', 'jpeg', 'webp', 'cmyk', 'palette', 'rgba', 'webp-rgba', 'exif', 'gray', 'gray-jpeg', 'gray-alpha',
        '16-bit', 'bmp', 'animation'])
def test_decodes_to_rgb(data, image):
    decoded = decode(data)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert decoded.shape == expected.shape
    assert decoded.dtype == torch.uint8
    # A few levels off for lossy formats.
    assert (decoded.int() - expected.int()).abs().float().mean() < 4


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_is_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    data = encode(make_image(), kind, exif=exif, **dict(JPEG=dict(quality=95, subsampling=0)).get(kind, {}))
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert('RGB'))
    assert np.abs(decode(data).permute(1, 2, 0).numpy().astype(int) - expected).mean() < 1


def test_samples(folder):
    sample = next(iter(dataset(folder)))
    assert sample['inputs'].shape == (3, 16, 12)
    assert sample['inputs'].dtype == torch.uint8
    assert set(sample['data_samples']) == {'key', 'position', 'bad'}


def test_crops(folder):
    image = torch.from_numpy(np.array(make_image(90, 70))).permute(2, 0, 1)
    data = dataset(folder, scale=(.2, .2), flip=0.)
    crops = [data.augment(image, 0, str(i)) for i in range(50)]
    # A fifth of the image, so some crops miss the green edge.
    assert 5 < sum(bool((crop[1] > 128).any()) for crop in crops) < 45
    whole = dataset(folder, scale=(1., 1.), flip=.5)
    square = image[:, :60, :60]
    edges = [bool(whole.augment(square, 0, str(i))[1, :, 0].float().mean() > 128) for i in range(50)]
    assert 10 < sum(edges) < 40  # else it was flipped


def test_augmentation_depends_on_seed_epoch_and_key_only(folder):
    image = torch.randint(256, (3, 90, 70), dtype=torch.uint8)
    augmented = dataset(folder).augment(image, 1, 'a')
    state = torch.get_rng_state()
    torch.rand(3)
    assert dataset(folder).augment(image, 1, 'a').equal(augmented)
    torch.set_rng_state(state)
    dataset(folder).augment(image, 1, 'a')
    assert torch.get_rng_state().equal(state)  # the run's random numbers stay
    assert not dataset(folder).augment(image, 2, 'a').equal(augmented)
    assert not dataset(folder).augment(image, 1, 'b').equal(augmented)
    assert not dataset(folder, seed=1).augment(image, 1, 'a').equal(augmented)


@pytest.mark.parametrize(('ranks', 'workers'), [(1, 1), (1, 3), (2, 2), (3, 4)])
def test_every_image_once_an_epoch(folder, ranks, workers):
    seen = collections.Counter()
    orders = []
    for stream in streams(folder, ranks, workers):
        samples = list(itertools.takewhile(lambda sample: position_of(sample)[0] < 3, stream))
        seen.update((position_of(sample)[0], key_of(sample)) for sample in samples)
        orders.append([key_of(sample) for sample in samples if position_of(sample)[0] == 0])
    assert seen == dict.fromkeys(itertools.product(range(3), (f'{i:02}.png' for i in range(50))), 1)
    assert orders == [[key_of(sample) for sample in itertools.takewhile(
        lambda sample: position_of(sample)[0] < 1, stream)] for stream in streams(folder, ranks, workers)]


def test_orders_differ(folder):
    def first(seed, skip=0):
        return [key_of(sample) for sample in itertools.islice(dataset(folder, seed=seed), skip, skip + 50)]
    assert len({tuple(order) for order in (first(0), first(1), first(0, skip=50))}) == 3


def test_loader_with_and_without_workers(folder):
    alone = next(iter(DataLoader(dataset(folder), batch_size=5)))
    loader = DataLoader(dataset(folder), batch_size=5, num_workers=2)
    batches = [batch for batch, _ in zip(loader, range(4))]
    assert [batch['data_samples']['position'][:, 3].unique().tolist() for batch in batches] == [[0], [1], [0], [1]]
    shared = set(alone['data_samples']['key']) & set(batches[0]['data_samples']['key'])
    for key in shared:
        a, b = (batch['inputs'][batch['data_samples']['key'].index(key)] for batch in (alone, batches[0]))
        assert a.equal(b)
    assert shared


@pytest.mark.parametrize('then', [(2, 2), (1, 3), (3, 1), (1, 1), (2, 4)])
@pytest.mark.parametrize('bad', [0, 5])
def test_position_with_as_many_and_other_workers(tmp_path, folder, then, bad):
    """Slots stop at different positions, also in the next epoch; the rest of both epochs comes once."""
    if bad:
        folder = bad_folder(tmp_path, bad, good=45)
    used, latest, rests = collections.Counter(), {}, []
    for slot, (stream, number) in enumerate(zip(streams(folder, 2, 2), (20, 0, 2, 15))):
        for sample in itertools.islice(stream, number):
            epoch, shard, taken, _ = position_of(sample)
            latest[slot] = epoch, shard, taken
            used[epoch, key_of(sample)] += 1
        rests.append(stream)
    assert {epoch for epoch, _ in used} == {0, 1}
    data = dataset(folder)
    data.num_ranks = 2
    position = data.position(latest, num_workers=2)
    resumed = streams(folder, *then, resume=position)
    if then == (2, 2):
        for stream, rest in zip(resumed, rests):
            for sample, expected in zip(itertools.islice(stream, 30), rest):
                assert position_of(sample)[:3] == position_of(expected)[:3]
                assert key_of(sample) == key_of(expected)
                assert sample['inputs'].equal(expected['inputs'])
    else:
        # Interrupted again and resumed with yet another number of workers.
        data, latest = dataset(folder), {}
        data.num_ranks = then[0] * then[1]
        data.resume(position, 1)
        for slot, stream in enumerate(resumed):
            for sample in itertools.islice(stream, 3 + slot):
                epoch, shard, taken, _ = position_of(sample)
                latest[slot] = epoch, shard, taken
                used[epoch, key_of(sample)] += 1
        for stream in streams(folder, 1, 2, resume=data.position(latest, 1)):
            for sample in itertools.takewhile(lambda sample: position_of(sample)[0] < 2, stream):
                used[position_of(sample)[0], key_of(sample)] += 1
        names = [path.name for path in folder.iterdir() if 'bad' not in path.name]
        assert set(used.values()) == {1}  # some are in the third epoch
        assert {entry for entry in used if entry[0] < 2} == set(itertools.product(range(2), names))


def test_complete_epochs_are_dropped_from_the_position(folder):
    data = dataset(folder)
    for sample in itertools.islice(data, 50 * 3 + 7):
        latest = {0: position_of(sample)[:3]}
    position = data.position(latest, 1)
    assert position['epoch'] == 3
    assert list(position['taken']) == [3]
    assert len(position['taken'][3]) == 2  # 4 and 3 images


def test_resuming_reads_no_file_again(folder, monkeypatch):
    data = dataset(folder)
    latest = {0: position_of(list(itertools.islice(data, 11))[-1])[:3]}
    resumed = dataset(folder)
    assert resumed.resume(data.position(latest, 1), 1)
    reads = []
    monkeypatch.setattr('sapiens_mm.pretrain.images.decode', lambda data: reads.append(data) or decode(data))
    list(itertools.islice(resumed, 39))
    assert len(reads) == 39


@pytest.mark.parametrize('changed', [dict(seed=1), dict(chunk=5)])
def test_a_position_of_other_data_starts_a_new_epoch(folder, changed):
    data = dataset(folder)
    latest = {0: position_of(list(itertools.islice(data, 60))[-1])[:3]}
    other = dataset(folder, **changed)
    assert not other.resume(data.position(latest, 1), 1)
    assert position_of(next(iter(other)))[0] == 2


def test_postscript_is_skipped(postscript, tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images/a.jpg').write_bytes(postscript)
    make_image().save(tmp_path / 'images/b.png')
    stream = iter(dataset(tmp_path / 'images'))
    samples = [next(stream)['data_samples'] for _ in range(2)]
    assert {sample['key'] for sample in samples} == {'b.png'}
    assert any('a.jpg' in sample['bad'] for sample in samples)


def test_a_name_of_several_lines_counts_once(tmp_path):
    (tmp_path / 'a\nb\x0bc\u2028d.jpg').write_bytes(b'none')
    make_image().save(tmp_path / 'e.png')
    stream = iter(dataset(tmp_path))
    bad = [line for _ in range(2) for line in next(stream)['data_samples']['bad'].splitlines()]
    assert [line.partition(' (')[0] for line in bad] == ['a b c d.jpg'] * len(bad) != []


def test_sizes_are_checked_before_decoding(monkeypatch):
    """Decoders allocate what a JPEG header says, and torchvision decodes all frames of a GIF."""
    monkeypatch.setattr('sapiens_mm.pretrain.images.decode_image', lambda *args, **kwargs: pytest.fail('decoded'))
    data = bytearray(encode(make_image(), 'JPEG'))
    begin = data.index(b'\xff\xc0')
    data[begin + 5:begin + 9] = b'\xff\x00\xff\x00'
    with pytest.raises(ValueError, match='65280 x 65280'):
        decode(bytes(data))
    assert decode(encode(make_image(), 'GIF')).shape[0] == 3
