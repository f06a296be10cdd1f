import cv2
import numpy as np
import pytest

from sapiens_mm.dense.datasets import SapiensDenseDataset
from sapiens_mm.dense.transforms import SapiensLoadImage, SapiensLoadLabels, SapiensRandomWarp


def load(people, mmap=False, name='a', **options):
    dataset = SapiensDenseDataset(data_root=str(people), check_sizes=0, **options)
    info = next(info for info in map(dataset.get_data_info, range(len(dataset))) if info['sample_name'] == name)
    return SapiensLoadLabels(mmap)(info)


@pytest.mark.parametrize('error', ['missing', 'damaged'])
def test_image_errors_name_the_file(people, error):
    path = people / 'images/a.png'
    info = SapiensDenseDataset(data_root=str(people))[0]
    if error == 'missing':
        path.unlink()
        with pytest.raises(FileNotFoundError, match="images/a.png' does not exist"):
            SapiensLoadImage()(info)
    else:
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(ValueError, match="images/a.png' cannot be read"):
            SapiensLoadImage()(info)


def test_label_outside_of_the_vocabulary(people):
    parts = cv2.imread(str(people / 'parts/a.png'), 0)
    parts[0, :3] = 28
    parts[1, 0] = 200
    parts[2] = 255
    cv2.imwrite(str(people / 'parts/a.png'), parts)
    with pytest.raises(ValueError, match=r"parts/a.png'.* 28 \(3 pixels\), 200 \(1 pixels\), expected 0 to 27"):
        load(people)


def test_parts_in_colours(people):
    cv2.imwrite(str(people / 'parts/a.png'), np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"parts/a.png': got shape \(40, 32, 3\)"):
        load(people)


@pytest.mark.parametrize('mmap', [False, True])
@pytest.mark.parametrize(('value', 'message'), [
    (np.inf, r"depths/a.npy': got \d+ pixels of 1280 with inf or NaN"), (np.nan, 'inf or NaN'),
    (-1, "depths/a.npy': got negative depth down to -1")])
def test_bad_depth(people, mmap, value, message):
    depth = np.load(people / 'depths/a.npy')
    depth[:5, :5] = value
    np.save(people / 'depths/a.npy', depth)
    with pytest.raises(ValueError, match=message):
        load(people, mmap)


@pytest.mark.parametrize('kind', ['parts', 'depth', 'normal'])
def test_what_the_sampled_rows_miss_is_found_in_the_crop(people, kind, tmp_path):
    from .conftest import write_people
    folder = write_people(tmp_path / 'high', ('a', ), (256, 32))
    path = folder / f'{kind.removesuffix("s")}s/a.npy'
    if kind == 'parts':
        np.save(path, cv2.imread(str(path.with_suffix('.png')), 0))
        path.with_suffix('.png').unlink()
    array = np.load(path)
    array[129, 16] = 99 if kind == 'parts' else np.inf  # of 256 rows every fourth is looked at
    np.save(path, array)
    info = load(folder, mmap=True)
    warp = SapiensRandomWarp((256, 32), (1, 1), rotate_prob=0, flip_prob=0)
    with pytest.raises(ValueError, match=r"s/a.npy': got .*(inf or NaN|99 \(1 pixels\))"):
        warp(info)


def sphere(like):
    """Normals (H, W, 3) of a sphere that fills the picture."""
    y, x = np.mgrid[-1:1:like.shape[0] * 1j, -1:1:like.shape[1] * 1j]
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    return np.where(z[..., None] > 0, np.stack([x, -y, z], -1), 0)


@pytest.mark.parametrize('mmap', [False, True])
@pytest.mark.parametrize(('change', 'message'), [
    (lambda n: np.moveaxis(n, 2, 0), r"a.npy': got shape \(3, 40, 32\).*moveaxis"),
    (lambda n: (n * 127 + 128).astype(np.uint8), "a.npy': got uint8"),
    (lambda n: n[..., 0], r"a.npy': got shape \(40, 32\)"),
    (lambda n: n * 2, r"a.npy': got normals of length (1.99|2) to 2 .*divide"),
    (lambda n: (n + 1) / 2, 'n = 2'),
    (lambda n: n * [1, -1, -1], r"a.npy': got z < 0 at .*normal_signs=\(1, -1, -1\)"),
    (lambda n: sphere(n)[..., ::-1], r"a.npy': got z < 0 at .*\.\.\., ::-1\]"),
    (lambda n: np.where(n > 0.99, np.nan, n), 'inf or NaN')])
def test_bad_normals(people, mmap, change, message):
    normals = change(np.load(people / 'normals/a.npy'))
    np.save(people / 'normals/a.npy', normals.astype(np.float32) if normals.dtype == np.float64 else normals)
    with pytest.raises(ValueError, match=message):
        load(people, mmap)


@pytest.mark.parametrize('kind', ['masks', 'parts', 'depths', 'normals'])
def test_sizes_differ(people, kind):
    path, = people.glob(f'{kind}/a.*')
    if path.suffix == '.npy':
        np.save(path, np.load(path)[:, 1:])
    else:
        cv2.imwrite(str(path), cv2.imread(str(path), 0)[:, 1:])
    with pytest.raises(ValueError, match=f"{kind}/a.*: got 31x40, expected 32x40.*a.png"):
        load(people)


def test_8_bit_depth(people):
    (people / 'depths/a.npy').unlink()
    cv2.imwrite(str(people / 'depths/a.png'), np.zeros((40, 32), np.uint8))
    with pytest.raises(ValueError, match="a.png': got 8 bits"):
        load(people)


def test_mask_labels_without_masks(people):
    with pytest.raises(ValueError, match='mask_labels=True: got no mask'):
        load(people, data_prefix=dict(mask_path=None), mask_labels=True)


def test_all_labels(people):
    info = load(people)
    assert info['seg_fields'] == ['gt_person_mask', 'gt_seg_map', 'gt_depth_map', 'gt_normal_map']
    assert {key: info[key].dtype.name for key in info['seg_fields']} == dict(
        gt_person_mask='uint8', gt_seg_map='uint8', gt_depth_map='float32', gt_normal_map='float32')
    assert np.unique(info['gt_person_mask']).tolist() == [0, 1]
    assert np.unique(info['gt_seg_map']).tolist() == [0, 2, 6, 15]
    assert info['ori_shape'] == (40, 32)
    np.testing.assert_array_equal(info['gt_depth_map'], np.load(people / 'depths/a.npy'))


@pytest.mark.parametrize('form', ['npz', 'float64', 'float16', 'exr', 'png'])
def test_depth_files(people, form, monkeypatch):
    monkeypatch.setenv('OPENCV_IO_ENABLE_OPENEXR', '1')
    depth, path, scale = np.load(people / 'depths/a.npy'), people / 'depths/a.npy', 1
    if form in ('float64', 'float16'):
        np.save(path, depth.astype(form))
    else:
        path.unlink()
        if form == 'npz':
            np.savez_compressed(path.with_suffix('.npz'), depth=depth)
        elif form == 'exr':
            cv2.imwrite(str(path.with_suffix('.exr')), depth)
        else:
            scale = 0.001
            cv2.imwrite(str(path.with_suffix('.png')), np.rint(depth * 1000).astype(np.uint16))
    found = load(people, depth_scale=scale)['gt_depth_map']
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, depth, atol=dict(png=6e-4, float16=1e-3).get(form, 0))


@pytest.mark.parametrize('form', ['npz', 'float16', 'exr', 'png', 'signs'])
def test_normal_files(people, form, monkeypatch):
    monkeypatch.setenv('OPENCV_IO_ENABLE_OPENEXR', '1')
    normals, path, options = np.load(people / 'normals/a.npy'), people / 'normals/a.npy', {}
    if form == 'float16':
        np.save(path, normals.astype(np.float16))
    elif form == 'signs':
        np.save(path, normals * np.float32([1, -1, -1]))
        options = dict(normal_signs=(1, -1, -1))
    else:
        path.unlink()
        if form == 'npz':
            np.savez_compressed(path.with_suffix('.npz'), normal=normals)
        elif form == 'exr':
            cv2.imwrite(str(path.with_suffix('.exr')), normals[..., ::-1])
        else:
            coded = np.rint((normals + 1) / 2 * 65535).astype(np.uint16)
            cv2.imwrite(str(path.with_suffix('.png')), coded[..., ::-1])
    found = load(people, **options)['gt_normal_map']
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normals, atol=dict(float16=1e-3, png=1e-4).get(form, 0))


def test_masks_of_0_and_1_and_soft_ones(people):
    mask = cv2.imread(str(people / 'masks/a.png'), 0)
    cv2.imwrite(str(people / 'masks/b.png'), mask // 255)
    soft = cv2.cvtColor(np.where(mask > 0, 140, 90).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    cv2.imwrite(str(people / 'masks/c.png'), soft)
    for name in 'bc':
        np.testing.assert_array_equal(load(people, name=name)['gt_person_mask'], mask // 255)


def test_labels_on_disk(people):
    info = load(people, mmap=True)
    assert isinstance(info['gt_depth_map'], np.memmap)
    assert isinstance(info['gt_normal_map'], np.memmap)
    assert not isinstance(load(people, mmap=True, depth_scale=0.1)['gt_depth_map'], np.memmap)
