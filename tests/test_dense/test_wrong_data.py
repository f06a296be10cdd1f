"""Dense data that is wrong: each kind ends in an error that names the file, or in a warning with its count."""
import io
import shutil

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image, ImageOps

from sapiens_mm.dense.datasets import SapiensDenseDataset
from sapiens_mm.dense.transforms import SapiensLoadImage, SapiensLoadLabels, SapiensRandomWarp
from sapiens_mm.dense.transforms.loading import WARNED_AFTER
from sapiens_mm.utils.problems import DataError, collect_problems

from .conftest import write_people


def load(people, mmap=False, **options):
    return SapiensLoadLabels(mmap)(SapiensDenseDataset(data_root=str(people), check_sizes=0, **options)[0])


def parts_of(people):
    return cv2.imread(str(people / 'parts/a.png'), cv2.IMREAD_UNCHANGED)


def as_mask(people):
    cv2.imwrite(str(people / 'parts/a.png'), (parts_of(people) > 0).astype(np.uint8) * 255)


def as_full_mask(people):
    cv2.imwrite(str(people / 'parts/a.png'), np.full((40, 32), 255, np.uint8))


def as_mask_in_colors(people):
    cv2.imwrite(str(people / 'parts/a.png'), np.repeat((parts_of(people) > 0)[..., None] * np.uint8(255), 3, 2))


def as_mask_array(people):
    np.save(people / 'parts/a.npy', (parts_of(people) > 0).astype(np.uint8) * 255)
    (people / 'parts/a.png').unlink()


def as_1_bit(people):
    Image.fromarray(parts_of(people) > 0).save(people / 'parts/a.png')


def as_4_bits(people):
    pixels = b''.join(bytes([0]) + bytes(16) for _ in range(40))
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    (people / 'parts/a.png').write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 32, 40, 4, 0, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(pixels)) + chunk(b'IEND', b''))


@pytest.mark.parametrize('spoil', [as_mask, as_full_mask, as_mask_in_colors, as_mask_array, as_1_bit, as_4_bits])
@pytest.mark.parametrize('mmap', [False, True])
def test_masks_are_no_labels_of_parts(people, spoil, mmap):
    spoil(people)
    with pytest.raises(DataError, match=r'parts/a\.'):
        load(people, mmap)


def test_labels_with_an_ignored_border_are_fine(people):
    parts = parts_of(people)
    parts[:3] = 255
    cv2.imwrite(str(people / 'parts/a.png'), parts)
    assert load(people)['gt_seg_map'].max() == 255


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


def test_one_mask_among_labels_may_have_ignored_pixels_alone(people):
    parts = parts_of(people)
    cv2.imwrite(str(people / 'parts/b.png'), np.where(np.arange(40)[:, None] < 5, 255, 0 * parts).astype(np.uint8))
    dataset, transform = SapiensDenseDataset(data_root=str(people)), SapiensLoadLabels()
    assert [transform(dataset[i])['gt_seg_map'].max() for i in range(3)] == [15, 255, 15]


def test_lossless_webp_is_a_label(people):
    parts = parts_of(people)
    (people / 'parts/a.png').unlink()
    Image.fromarray(np.repeat(parts[..., None], 3, axis=2)).save(people / 'parts/a.webp', lossless=True)
    np.testing.assert_array_equal(load(people)['gt_seg_map'], parts)


@pytest.mark.parametrize('background', [1e10, 65504, 65535, np.finfo(np.float32).max, 1001., 100.])
@pytest.mark.parametrize('mmap', [False, True])
def test_numbers_for_the_background_of_depth(people, background, mmap):
    depth = np.load(people / 'depths/a.npy')
    np.save(people / 'depths/a.npy', np.where(depth > 0, depth, background).astype(np.float32))
    without = dict(data_prefix=dict(mask_path=None))
    with pytest.raises(DataError, match='depths/a.npy'):
        load(people, mmap, **without)
    with pytest.raises(DataError, match='depths/a.npy'):
        load(people, depth_scale=.5, **without)
    # Masks tell where the person is.
    person = load(people, mmap, mask_labels=True)['gt_depth_map']
    assert person.max() < 4
    assert load(people, mmap)['gt_person_mask'].any()


@pytest.mark.parametrize('dtype', ['float16', 'uint16'])
def test_the_largest_number_of_the_type_is_no_depth(people, dtype):
    depth = np.load(people / 'depths/a.npy') * (1000 if dtype == 'uint16' else 1)
    depth[:2] = np.finfo(dtype).max if dtype == 'float16' else np.iinfo(dtype).max
    np.save(people / 'depths/a.npy', depth.astype(dtype))
    with pytest.raises(DataError, match='depths/a.npy'):
        load(people, depth_scale=.001 if dtype == 'uint16' else 1, data_prefix=dict(mask_path=None))


def test_one_pixel_of_background_on_the_person_is_found(people):
    depth = np.load(people / 'depths/a.npy')
    depth[20, 16] = 1e6
    np.save(people / 'depths/a.npy', depth)
    with pytest.raises(DataError, match='1 pixels'):
        load(people)


def test_far_depth_is_an_option(people):
    depth = np.load(people / 'depths/a.npy') * 1000
    np.save(people / 'depths/a.npy', depth)
    with pytest.raises(DataError):
        load(people)
    assert load(people, max_depth=1e4)['gt_depth_map'].max() > 1000
    assert load(people, depth_scale=.001)['gt_depth_map'].max() < 4
    with pytest.raises(ValueError, match='max_depth'):
        load(people, max_depth=0)


def test_flat_walls_are_fine_where_the_largest_depth_is_stated(people):
    depth = np.load(people / 'depths/a.npy')
    np.save(people / 'depths/a.npy', np.where(depth > 0, depth, 20).astype(np.float32))
    without = dict(data_prefix=dict(mask_path=None))
    with pytest.raises(DataError):
        load(people, **without)
    assert load(people, max_depth=50, **without)['gt_depth_map'].max() == 20


@pytest.mark.parametrize('mask', [
    lambda person: np.dstack([0 * person, 200 * person, 0 * person]), lambda person: (person * 40000).astype('u2'),
    lambda person: (person * 60000 + 5000).astype('u2'), lambda person: person])
def test_masks_in_color_and_of_16_bits(people, mask):
    person = (cv2.imread(str(people / 'masks/a.png'), -1) > 0).astype(np.uint16)
    image = mask(person)
    cv2.imwrite(str(people / 'masks/a.png'), image.astype(np.uint8) if image.ndim == 3 else image)
    np.testing.assert_array_equal(load(people)['gt_person_mask'], person)


def test_background_that_only_a_crop_sees(tmp_path):
    folder = write_people(tmp_path / 'high', ('a', ), (256, 32))
    depth = np.load(folder / 'depths/a.npy')
    depth[129, 16] = 1e6  # of 256 rows every fourth is looked at
    np.save(folder / 'depths/a.npy', depth)
    with pytest.raises(DataError, match='depths/a.npy'):
        SapiensRandomWarp((256, 32), (1, 1), rotate_prob=0, flip_prob=0)(load(folder, mmap=True))


@pytest.mark.parametrize(('what', 'change'), [
    ('empty masks', lambda mask: mask * 0), ('full masks', lambda mask: mask * 0 + 255),
    ('alpha channels', lambda mask: np.dstack([mask] * 3 + [mask * 0 + 255]))])
def test_what_is_wrong_in_every_mask_is_counted_once(people, what, change):
    mask = cv2.imread(str(people / 'masks/a.png'), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(people / 'masks/a.png'), change(mask))
    dataset, transform = SapiensDenseDataset(data_root=str(people), mask_labels=False), SapiensLoadLabels()
    with collect_problems() as problems:
        for _ in range(2 * WARNED_AFTER):
            transform(dataset[0])
    found, = (problem for problem in problems if problem.kind == what)
    assert found.level == 'warning'
    assert found.total == WARNED_AFTER
    assert found.count == WARNED_AFTER
    assert found.where == str(people / 'masks')
    with collect_problems() as problems:  # now and then an empty mask is nobody's fault
        for i in range(2 * WARNED_AFTER):
            transform(dataset[i % 2])
    assert problems == []


@pytest.mark.parametrize('share', [.3, .9, -2, -1])
@pytest.mark.parametrize('suffix', ['jpg', 'webp', 'png'])
@pytest.mark.parametrize('progressive', [False, True])
def test_images_that_are_cut_off(people, share, suffix, progressive):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 320, 3), dtype=np.uint8)).save(
        file, dict(jpg='JPEG', webp='WEBP', png='PNG')[suffix], **(dict(progressive=progressive) if suffix == 'jpg'
                                                                     else {}))
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
    dense = TRANSFORMS.build(dict(type='SapiensLoadImage'))
    for load_image in (pose, dense):
        image = load_image(dict(img_path=str(path)))['img']
        assert image.shape == shown.shape
        assert np.abs(image.astype(int) - shown).max() <= (8 if form == 'JPEG' else 0)
    warped = SapiensRandomWarp(shown.shape[:2], (1, 1), rotate_prob=0, flip_prob=0)(
        dict(img_path=str(path), seg_fields=[]))['img']
    assert np.abs(warped.astype(int) - shown).max() <= (8 if form == 'JPEG' else 0)
    with pytest.raises(DataError, match=str(path)):
        pose(dict(img_path=str(path), annotated_shape=(shown.shape[0] + 1, shown.shape[1])))


def test_a_label_is_turned_like_its_image(people):
    exif = Image.Exif()
    exif[274] = 6
    for kind in ('images', 'parts'):
        with Image.open(people / kind / 'a.png') as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(people / kind / 'a.png', exif=exif)
    np.testing.assert_array_equal(load(people)['gt_seg_map'], cv2.imread(str(people / 'parts/b.png'), -1))


def test_names_with_dots_and_subfolders(people, tmp_path):
    for kind in ('images', 'masks', 'parts', 'depths', 'normals'):
        source, = people.glob(f'{kind}/a.*')
        for name in ('frame.0001', 'walk/frame.0001', 'walk/left.cam/x'):
            target = people / kind / f'{name}{source.suffix}'
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    names = [info['sample_name'] for info in SapiensDenseDataset(data_root=str(people))]
    assert names == ['a', 'b', 'c', 'frame.0001', 'walk/frame.0001', 'walk/left.cam/x']
    (people / 'some.txt').write_text('frame.0001\nwalk/frame.0001.png\nwalk/left.cam/x\na.png\n')
    dataset = SapiensDenseDataset(data_root=str(people), ann_file='some.txt')
    assert [info['sample_name'] for info in dataset] == ['a', 'frame.0001', 'walk/frame.0001', 'walk/left.cam/x']
    assert dataset[2]['seg_map_path'].endswith('parts/walk/frame.0001.png')
    (people / 'parts/walk/frame.0001.png').unlink()
    with pytest.raises(ValueError, match='walk/frame.0001'):
        SapiensDenseDataset(data_root=str(people))


def test_label_folders_inside_of_the_image_folder(people):
    for path in people.glob('images/*.png'):
        shutil.move(path, people / path.name)
    dataset = SapiensDenseDataset(data_root=str(people), data_prefix=dict(img_path=''))
    assert [info['sample_name'] for info in dataset] == ['a', 'b', 'c']


@pytest.mark.parametrize(('table', 'named'), [
    ((0, 2, 2), ('left_arm', 'right_arm')), ((1, 0, 2), ('background', 'left_arm')),
    ((0, 1, 2), ('left_arm', 'right_arm')),
    ((1, 2, 0), ('left_arm', 'right_arm')), ((0, 2, 5), ('5', '2'))])
def test_mirror_tables_that_are_no_pairs(people, table, named):
    metainfo = dict(classes=('background', 'left_arm', 'right_arm'), palette=[[0, 0, 0]] * 3, flip_indices=table)
    with pytest.raises(DataError) as error:
        DATASETS.build(dict(type='SapiensDenseDataset', data_root=str(people), metainfo=metainfo))
    assert all(name in str(error.value) for name in named)


@pytest.mark.parametrize('weights', [[1, -1], [1, float('nan')], [float('inf'), 1]])
def test_class_weights_out_of_range(weights):
    with pytest.raises(ValueError, match='class_weight'):
        MODELS.build(dict(type='SapiensWeightedCrossEntropyLoss', class_weight=weights))
