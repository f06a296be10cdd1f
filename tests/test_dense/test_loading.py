"""Loading of images and labels: what is refused or warned about, by the file's name, and all formats."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image, ImageOps

from sapiens_mm.dense.datasets import SapiensDenseDataset
from sapiens_mm.dense.transforms import SapiensLoadImage, SapiensLoadLabels, SapiensRandomWarp
from sapiens_mm.dense.transforms.loading import WARNED_AFTER
from sapiens_mm.utils.problems import DataError, collect_problems

from .conftest import write_people

NO_MASK = dict(data_prefix=dict(mask_path=None))


@pytest.fixture(autouse=True)
def _exr(monkeypatch):
    monkeypatch.setenv('OPENCV_IO_ENABLE_OPENEXR', '1')


def load(people, mmap=False, **options):
    """Returns the first sample, 'a', with its labels."""
    return SapiensLoadLabels(mmap)(SapiensDenseDataset(data_root=str(people), check_sizes=0, **options)[0])


def read(people, kind):
    path, = people.glob(f'{kind}/a.*')
    return np.load(path) if path.suffix == '.npy' else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def write(people, kind, array, suffix=None):
    """Replaces a label of 'a', in another format if there is a suffix."""
    path, = people.glob(f'{kind}/a.*')
    path.unlink()
    path = path.with_suffix(suffix or path.suffix)
    if path.suffix == '.npz':
        np.savez_compressed(path, array)
    elif path.suffix == '.npy':
        np.save(path, array)
    else:
        assert cv2.imwrite(str(path), array[..., ::-1] if array.shape[2:] == (3, ) else array)


def sphere(like):
    """Returns normals (H, W, 3) of a sphere that fills the image."""
    y, x = np.mgrid[-1:1:like.shape[0] * 1j, -1:1:like.shape[1] * 1j]
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    return np.where(z[..., None] > 0, np.stack([x, -y, z], -1), 0)


def with_values(value, *place):
    def change(array):
        array[place] = value
        return array
    return change


@pytest.mark.parametrize('mmap', [False, True])
@pytest.mark.parametrize(('kind', 'change', 'message'), [
    ('parts', lambda parts: with_values(255, 2)(with_values(28, 0, slice(3))(with_values(200, 1, 0)(parts))),
     r'28 \(3 pixels\), 200 \(1 pixels\), expected 0 to 27'),
    ('parts', lambda parts: np.arange(40 * 32 * 3).reshape(40, 32, 3).astype(np.uint8), r'\(40, 32, 3\)'),
    ('parts', lambda parts: (parts > 0) * np.uint8(255), '0 and 255'),
    ('parts', lambda parts: parts * 0 + 255, '0 and 255'),
    ('parts', lambda parts: np.repeat((parts > 0)[..., None] * np.uint8(255), 3, 2), '0 and 255'),
    ('depths', with_values(np.inf, slice(5), slice(5)), 'got .* pixels of 1280 with inf or NaN'),
    ('depths', with_values(np.nan, slice(5)), 'inf or NaN'),
    ('depths', with_values(-1, slice(5)), 'negative depth down to -1'),
    ('normals', lambda n: np.moveaxis(n, 2, 0), r'\(3, 40, 32\).*moveaxis'),
    ('normals', lambda n: (n * 127 + 128).astype(np.uint8), 'uint8'),
    ('normals', lambda n: n[..., 0], r'\(40, 32\)'),
    ('normals', lambda n: n * 2, 'length (1.99|2) to 2 .*divide'),
    ('normals', lambda n: (n + 1) / 2, 'n = 2'),
    ('normals', lambda n: n * np.float32([1, -1, -1]), r'normal_signs=\(1, -1, -1\)'),
    ('normals', lambda n: sphere(n).astype('f4')[..., ::-1], r'z < 0 .*\.\.\., ::-1\]'),
    ('normals', lambda n: np.where(n > 0.99, np.float32(np.nan), n), 'inf or NaN')])
def test_bad_labels(people, kind, change, message, mmap):
    write(people, kind, change(read(people, kind)))
    with pytest.raises(DataError, match=rf'(?s){kind}/a\.(png|npy).*{message}'):
        load(people, mmap)


def as_array(people):
    write(people, 'parts', (read(people, 'parts') > 0).astype(np.uint8) * 255, '.npy')


def as_1_bit(people):
    Image.fromarray(read(people, 'parts') > 0).save(people / 'parts/a.png')


def as_4_bits(people):
    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
    pixels = b''.join(bytes([0]) + bytes(16) for _ in range(40))
    (people / 'parts/a.png').write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 32, 40, 4, 0, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(pixels)) + chunk(b'IEND', b''))


@pytest.mark.parametrize('spoil', [as_array, as_1_bit, as_4_bits])
@pytest.mark.parametrize('mmap', [False, True])
def test_masks_in_other_formats_are_no_class_labels(people, spoil, mmap):
    spoil(people)
    with pytest.raises(DataError, match=r'parts/a\.'):
        load(people, mmap)


@pytest.mark.parametrize('kind', ['parts', 'masks', 'normals'])
@pytest.mark.parametrize(('name', 'options'), [
    ('a.jpg', dict(format='JPEG', quality=100)), ('a.png', dict(format='JPEG')),
    ('a.webp', dict(format='WEBP', quality=90)), ('a.png', dict(format='WEBP'))])
def test_lossy_labels(people, kind, name, options):
    for path in people.glob(f'{kind}/a.*'):
        path.unlink()
    Image.fromarray(np.zeros((40, 32, 3), np.uint8)).save(people / kind / name, **options)
    with pytest.raises(DataError, match=f'{kind}/{name}'):
        load(people)


@pytest.mark.parametrize('kind', ['masks', 'parts', 'depths', 'normals'])
def test_sizes_differ(people, kind):
    write(people, kind, read(people, kind)[:, 1:])
    with pytest.raises(ValueError, match=f'{kind}/a.*: got 31x40, expected 32x40.*a.png'):
        load(people)


def test_bad_depth_options(people):
    with pytest.raises(ValueError, match='mask_labels=True: got no mask'):
        load(people, mask_labels=True, **NO_MASK)
    with pytest.raises(ValueError, match='max_depth'):
        load(people, max_depth=0)
    write(people, 'depths', np.zeros((40, 32), np.uint8), '.png')
    with pytest.raises(ValueError, match="a.png': got 8 bits"):
        load(people)


@pytest.mark.parametrize('kind', ['parts', 'depths', 'normals', 'background'])
def test_errors_that_the_checked_rows_miss_are_found_in_the_crop(kind, tmp_path):
    folder = write_people(tmp_path / 'high', ('a', ), (256, 32))
    value, kind = dict(parts=99, background=1e6).get(kind, np.inf), 'depths' if kind == 'background' else kind
    write(folder, kind, with_values(value, 129, 16)(read(folder, kind)), '.npy')  # every fourth of 256 rows is checked
    info = load(folder, mmap=True)
    with pytest.raises(ValueError, match=rf'{kind}/a.npy.*(inf or NaN|99 \(1 pixels\)|1e\+06)'):
        SapiensRandomWarp((256, 32), (1, 1), rotate_prob=0, flip_prob=0)(info)


@pytest.mark.parametrize('background', [1e10, 65504, 65535, np.finfo(np.float32).max, 1001., 100.])
@pytest.mark.parametrize('mmap', [False, True])
def test_numbers_for_the_background_of_depth(people, background, mmap):
    depth = read(people, 'depths')
    write(people, 'depths', np.where(depth > 0, depth, np.float32(background)))
    for options in (dict(mmap=mmap), dict(depth_scale=.5)):
        with pytest.raises(DataError, match='depths/a.npy'):
            load(people, **options, **NO_MASK)
    assert load(people, mmap, mask_labels=True)['gt_depth_map'].max() < 4
    assert load(people, mmap)['gt_person_mask'].any()  # the mask alone excludes the background from the check


@pytest.mark.parametrize('dtype', ['float16', 'uint16'])
def test_the_largest_number_of_the_type_is_no_depth(people, dtype):
    depth = read(people, 'depths') * (1000 if dtype == 'uint16' else 1)
    depth[:2] = np.finfo(dtype).max if dtype == 'float16' else np.iinfo(dtype).max
    write(people, 'depths', depth.astype(dtype))
    with pytest.raises(DataError, match='depths/a.npy'):
        load(people, depth_scale=.001 if dtype == 'uint16' else 1, **NO_MASK)


def test_far_depth(people):
    depth = read(people, 'depths')
    write(people, 'depths', with_values(1e6, 20, 16)(depth.copy()))
    with pytest.raises(DataError, match='1 pixels'):
        load(people)
    write(people, 'depths', depth * 1000)
    with pytest.raises(DataError):
        load(people)
    assert load(people, max_depth=1e4)['gt_depth_map'].max() > 1000
    assert load(people, depth_scale=.001)['gt_depth_map'].max() < 4
    write(people, 'depths', np.where(depth > 0, depth, np.float32(20)))  # a flat wall
    with pytest.raises(DataError):
        load(people, **NO_MASK)
    assert load(people, max_depth=50, **NO_MASK)['gt_depth_map'].max() == 20


@pytest.mark.parametrize(('what', 'change'), [
    ('empty masks', lambda mask: mask * 0), ('full masks', lambda mask: mask * 0 + 255),
    ('alpha channels', lambda mask: np.dstack([mask] * 3 + [mask * 0 + 255]))])
def test_a_problem_of_every_mask_is_one_warning(people, what, change):
    write(people, 'masks', change(read(people, 'masks')))
    dataset, transform = SapiensDenseDataset(data_root=str(people), mask_labels=False), SapiensLoadLabels()
    with collect_problems() as problems:
        for _ in range(2 * WARNED_AFTER):
            transform(dataset[0])
    problem, = (problem for problem in problems if problem.kind == what)
    assert (problem.level, problem.total, problem.count) == ('warning', WARNED_AFTER, WARNED_AFTER)
    assert problem.where == str(people / 'masks')
    with collect_problems() as problems:  # some empty masks are normal
        for i in range(2 * WARNED_AFTER):
            transform(dataset[i % 2])
    assert problems == []


@pytest.mark.parametrize('share', [.3, .9, -2, -1])
@pytest.mark.parametrize(('suffix', 'form', 'options'), [
    ('jpg', 'JPEG', {}), ('jpg', 'JPEG', dict(progressive=True)), ('webp', 'WEBP', {}), ('png', 'PNG', {})])
def test_images_that_are_cut_off(people, share, suffix, form, options):
    file, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (400, 320, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, form, **options)
    data = file.getvalue()
    (people / 'images/a.png').unlink()
    (people / f'images/a.{suffix}').write_bytes(data[:int(share * len(data)) if share > 0 else share])
    info = SapiensDenseDataset(data_root=str(people), check_sizes=0)[0]
    with pytest.raises(ValueError, match=f'images/a.{suffix}'):
        SapiensLoadImage()(dict(info))
    with pytest.raises(ValueError, match=f'images/a.{suffix}'):
        SapiensRandomWarp((40, 32), (.1, .1))({**info, 'ori_shape': (400, 320)})


def test_a_copy_that_ends_in_zeros_is_cut_off(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(file, 'JPEG')
    data = file.getvalue()
    (tmp_path / 'a.jpg').write_bytes(data[:len(data) // 2] + bytes(len(data) // 2))
    with pytest.raises(ValueError, match=r'a\.jpg'):
        SapiensLoadImage()(dict(img_path=str(tmp_path / 'a.jpg')))


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
def test_orientation_is_applied_in_every_format_by_pose_and_dense(tmp_path, orientation, form):
    import mmpose.registry

    import sapiens_mm.pose  # noqa: F401
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8), np.ones((16, 16, 1), 'u1'))
    path = tmp_path / f'a.{form.lower()}'.replace('jpeg', 'jpg')
    options = dict(quality=100, subsampling=0) if form == 'JPEG' else dict(lossless=True) if form == 'WEBP' else {}
    Image.fromarray(pixels).save(path, form, exif=exif, **options)
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))[..., ::-1]
    pose = mmpose.registry.TRANSFORMS.build(dict(type='SapiensLoadImage'))
    warp = SapiensRandomWarp(shown.shape[:2], (1, 1), rotate_prob=0, flip_prob=0)
    for transform in (pose, TRANSFORMS.build(dict(type='SapiensLoadImage')), warp):
        image = transform(dict(img_path=str(path), seg_fields=[]))['img']
        assert image.shape == shown.shape
        assert np.abs(image.astype(int) - shown).max() <= (8 if form == 'JPEG' else 0)
    with pytest.raises(DataError, match=str(path)):
        pose(dict(img_path=str(path), annotated_shape=(shown.shape[0] + 1, shown.shape[1])))


def test_a_label_is_rotated_like_its_image(people):
    exif = Image.Exif()
    exif[274] = 6
    parts = read(people, 'parts')
    for kind in ('images', 'parts'):
        with Image.open(people / kind / 'a.png') as image:
            rotated = image.transpose(Image.Transpose.ROTATE_90)
        rotated.save(people / kind / 'a.png', exif=exif)
    np.testing.assert_array_equal(load(people)['gt_seg_map'], parts)


def test_all_labels(people):
    info = load(people)
    assert {key: info[key].dtype.name for key in info['seg_fields']} == dict(
        gt_person_mask='uint8', gt_seg_map='uint8', gt_depth_map='float32', gt_normal_map='float32')
    assert np.unique(info['gt_person_mask']).tolist() == [0, 1]
    assert np.unique(info['gt_seg_map']).tolist() == [0, 2, 6, 15]
    assert info['ori_shape'] == (40, 32)
    np.testing.assert_array_equal(info['gt_depth_map'], read(people, 'depths'))


@pytest.mark.parametrize(('change', 'suffix', 'options', 'tolerance'), [
    (lambda depth: depth, '.npz', {}, 0), (lambda depth: depth.astype('f8'), '.npy', {}, 0),
    (lambda depth: depth.astype('f2'), '.npy', {}, 1e-3), (lambda depth: depth, '.exr', {}, 0),
    (lambda depth: np.rint(depth * 1000).astype('u2'), '.png', dict(depth_scale=0.001), 6e-4)])
def test_depth_files(people, change, suffix, options, tolerance):
    depth = read(people, 'depths')
    write(people, 'depths', change(depth), suffix)
    loaded = load(people, **options)['gt_depth_map']
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, depth, atol=tolerance)


@pytest.mark.parametrize(('change', 'suffix', 'options', 'tolerance'), [
    (lambda normals: normals, '.npz', {}, 0), (lambda normals: normals.astype('f2'), '.npy', {}, 1e-3),
    (lambda normals: normals, '.exr', {}, 0),
    (lambda normals: np.rint((normals + 1) / 2 * 65535).astype('u2'), '.png', {}, 1e-4),
    (lambda normals: normals * np.float32([1, -1, -1]), '.npy', dict(normal_signs=(1, -1, -1)), 0)])
def test_normal_files(people, change, suffix, options, tolerance):
    normals = read(people, 'normals')
    write(people, 'normals', change(normals), suffix)
    loaded = load(people, **options)['gt_normal_map']
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, normals, atol=tolerance)


@pytest.mark.parametrize('change', [
    lambda person: person, lambda person: person.astype('u2') * 40000,
    lambda person: person.astype('u2') * 60000 + 5000, lambda person: np.dstack([0 * person, 200 * person, 0 * person]),
    lambda person: np.dstack([np.where(person, 140, 90).astype('u1')] * 3)])
def test_masks_of_any_range_and_in_color(people, change):
    person = (read(people, 'masks') > 0).astype(np.uint8)
    write(people, 'masks', change(person))
    np.testing.assert_array_equal(load(people)['gt_person_mask'], person)


def test_ignored_pixels_and_lossless_webp(people):
    parts = read(people, 'parts')
    cv2.imwrite(str(people / 'parts/b.png'), np.where(np.arange(40)[:, None] < 5, 255, 0 * parts).astype(np.uint8))
    dataset, transform = SapiensDenseDataset(data_root=str(people)), SapiensLoadLabels()
    # One label of ignored pixels and background among others is fine.
    assert [transform(dataset[i])['gt_seg_map'].max() for i in range(3)] == [15, 255, 15]
    write(people, 'parts', with_values(255, slice(3))(parts.copy()))
    assert load(people)['gt_seg_map'].max() == 255
    (people / 'parts/a.png').unlink()
    Image.fromarray(np.repeat(parts[..., None], 3, axis=2)).save(people / 'parts/a.webp', lossless=True)
    np.testing.assert_array_equal(load(people)['gt_seg_map'], parts)


def test_labels_on_disk(people):
    info = load(people, mmap=True)
    assert isinstance(info['gt_depth_map'], np.memmap)
    assert isinstance(info['gt_normal_map'], np.memmap)
    assert not isinstance(load(people, mmap=True, depth_scale=0.1)['gt_depth_map'], np.memmap)


def test_background_of_a_mask(people):
    with pytest.raises(ValueError, match='mask=True'):
        SapiensLoadLabels(mask=False, background=True)
    dataset = SapiensDenseDataset(data_root=str(people), tasks=())
    sample = SapiensLoadLabels(background=True)(dataset[0])
    assert sample['gt_seg_map'].dtype == np.uint8
    np.testing.assert_array_equal(sample['gt_seg_map'], np.where(sample['gt_person_mask'], 255, 0))
    assert 'gt_seg_map' not in SapiensLoadLabels()(dataset[0])
    # Samples with classes keep them, and without a mask there is nothing to fill in.
    labeled = SapiensDenseDataset(data_root=str(people))[0]
    classes = SapiensLoadLabels(background=True)(dict(labeled))['gt_seg_map']
    np.testing.assert_array_equal(classes, read(people, 'parts'))
    unmasked = SapiensDenseDataset(data_root=str(people), tasks=('depth', ), **NO_MASK)[0]
    assert 'gt_seg_map' not in SapiensLoadLabels(background=True)(unmasked)


def test_background_of_a_mask_moves_no_crop(people):
    """Crops show person and background, also where the person has no class; padding stays without a label."""
    dataset = SapiensDenseDataset(data_root=str(people), tasks=())
    for seed in range(8):
        crops = []
        for background in (True, False):
            np.random.seed(seed)
            sample = SapiensLoadLabels(background=background)(dataset[0])
            crops.append(SapiensRandomWarp((24, 16), rotate_prob=1.)(sample))
        np.testing.assert_array_equal(crops[0]['img'], crops[1]['img'])
        padding = SapiensRandomWarp((24, 16)).pad_val == crops[0]['img']
        inside = ~padding.all(axis=2)
        classes, mask = crops[0]['gt_seg_map'], crops[0]['gt_person_mask']
        np.testing.assert_array_equal(classes == 0, (mask == 0) & (classes != 255))
        assert (classes[mask > 0] == 255).all()
        assert (classes[inside & (mask == 0)] == 0).mean() > 0.8
