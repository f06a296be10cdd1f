"""Geometry by hand, and against a 3D scene seen by a camera that was turned, mirrored or moved."""
import cv2
import numpy as np
import pytest

from sapiens_mm.dense.transforms import SapiensCropPerson, SapiensRandomWarp, SapiensResize
from sapiens_mm.dense.transforms.geometry import warp, warp_image
from sapiens_mm.vocabularies.body_parts import FLIPPED_PARTS

SIZE = (120, 88)


@pytest.mark.parametrize(('options', 'message'), [
    (dict(size=(0, 3)), r'\(0, 3\)'), (dict(size=(1, 2, 3)), 'size: got'), (dict(base_size=(1.5, 3)), 'size: got'),
    (dict(scale_range=(2, 1)), r'\(2, 1\)'), (dict(rotate_prob=2), 'rotate_prob: got 2'),
    (dict(flip_prob=-1), 'flip_prob: got -1'), (dict(cat_max_ratio=75), 'cat_max_ratio: got 75'),
    (dict(corner_label=1), 'corner_label: got 1, expected 255'),
    (dict(corner_label=0), 'corner_label: got 0 without stock_padding'),
    (dict(normal_interpolation='cubic'), "normal_interpolation: got 'cubic', expected 'linear' or 'nearest'")])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        SapiensRandomWarp(**options)


def test_crop_needs_a_mask():
    with pytest.raises(ValueError, match='gt_person_mask.*x.png'):
        SapiensCropPerson()(dict(img=np.zeros((4, 4, 3), np.uint8), img_path='x.png'))
    with pytest.raises(ValueError, match='padding: got 0.5'):
        SapiensCropPerson(padding=0.5)


def scene(mirrored=False):
    """Two balls: a larger one of the face, and a smaller one of the left hand at the viewer's right."""
    pytest.importorskip('mitsuba')
    from sapiens_mm.synth.mesh import Mesh
    theta, phi = np.meshgrid(np.linspace(0, np.pi, 61), np.linspace(0, 2 * np.pi, 121), indexing='ij')
    ball = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    first = np.arange(60)[:, None] * 121 + np.arange(120)
    faces = np.moveaxis(np.stack([[first, first + 121, first + 1], [first + 1, first + 121, first + 122]]), 1, -1)
    faces = faces.reshape(-1, 3).astype(np.int32)
    meshes = []
    for part, center, axes in ((2, (-0.1, 0, 0.1), (0.3, 0.3, 0.5)), (5, (0.35, -0.3, -0.2), (0.15, 0.2, 0.15))):
        points, normals = ball * axes + center, ball / axes
        if mirrored:
            points, normals, part = points * [-1, 1, 1], normals * [-1, 1, 1], FLIPPED_PARTS[part]
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        meshes.append(Mesh('ball', points.astype(np.float32), faces[:, ::-1 if mirrored else 1],
                           np.full(len(faces), part, np.uint8), instance=1, normals=normals.astype(np.float32)))
    return meshes


def camera(roll=0., size=SIZE):
    from sapiens_mm.synth.camera import Camera, intrinsics_of, view_rotation
    return Camera(intrinsics_of(1.6, size), view_rotation(roll=roll), [0, 0, 3], *size)


def labels(meshes, view) -> dict:
    from sapiens_mm.synth.render import label_buffers
    buffers = label_buffers(meshes, view)
    return dict(
        img=np.repeat(buffers.part[..., None], 3, axis=2), gt_seg_map=buffers.part, gt_depth_map=buffers.person_depth(),
        gt_normal_map=buffers.person_normal(), gt_person_mask=buffers.person.astype(np.uint8),
        flip_indices=FLIPPED_PARTS, seg_fields=['gt_seg_map', 'gt_depth_map', 'gt_normal_map', 'gt_person_mask'])


def sure(sample: dict) -> np.ndarray:
    """Pixels whose neighbors show the same surface."""
    parts, depth = sample['gt_seg_map'], sample['gt_depth_map']
    kernel = np.ones((5, 5), np.uint8)
    same = (cv2.erode(parts, kernel) == cv2.dilate(parts, kernel)) & (parts > 0)
    return same & (cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) < 0.15)


def compare(actual: dict, true: dict, depth: float, angle: float, least: int = 1000):
    """Labels agree where no silhouette is near."""
    assert actual['gt_seg_map'].shape == true['gt_seg_map'].shape
    where = sure(true)
    assert len(np.unique(true['gt_seg_map'][where])) == 2
    assert where.sum() > least
    np.testing.assert_array_equal(actual['gt_seg_map'][where], true['gt_seg_map'][where])
    assert np.abs(actual['gt_depth_map'] - true['gt_depth_map'])[where].max() <= depth
    cosine = (actual['gt_normal_map'] * true['gt_normal_map']).sum(-1)[where]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() <= angle
    length = np.linalg.norm(actual['gt_normal_map'], axis=-1)
    assert np.all((length == 0) | (np.abs(length - 1) < 1e-5))
    # Whole silhouettes agree too, up to a pixel.
    mask, again = actual['gt_person_mask'], true['gt_person_mask']
    kernel = np.ones((3, 3), np.uint8)
    assert (mask <= cv2.dilate(again, kernel)).all()
    assert (cv2.erode(again, kernel) <= mask).all()


def transform(sample, zoom=1., place=(0.5, 0.5), angle=0., flip=False, size=SIZE):
    """A `SapiensRandomWarp` of known numbers."""
    matrix = SapiensRandomWarp(size).matrix(sample['img'].shape[:2], zoom, np.array(place), angle, flip)
    return warp(sample, matrix, size)


def test_flip_is_the_mirrored_scene():
    """Exactly: no pixel lies between others."""
    actual, true = transform(labels(scene(), camera()), flip=True), labels(scene(mirrored=True), camera())
    assert set(np.unique(true['gt_seg_map'])) == {0, 2, FLIPPED_PARTS[5]}
    compare(actual, true, 1e-4, 0.2)
    np.testing.assert_array_equal(actual['gt_seg_map'], true['gt_seg_map'])
    np.testing.assert_array_equal(actual['img'][..., 0] > 0, true['img'][..., 0] > 0)


@pytest.mark.parametrize('angle', [-45, 20, 90])
def test_rotation_is_the_rolled_camera(angle):
    """Roll turns the content counter-clockwise, as the warp's angle does."""
    true = labels(scene(), camera(roll=angle))
    actual = transform(labels(scene(), camera()), angle=angle)
    compare(actual, true, 0.05, 4)
    # The other direction would be far off.
    wrong = transform(labels(scene(), camera()), angle=-angle)
    cosine = (wrong['gt_normal_map'] * true['gt_normal_map']).sum(-1)
    assert np.degrees(np.arccos(np.clip(cosine[sure(true)], -1, 1))).max() > 15


def test_flip_after_rotation_is_the_mirrored_scene_rolled_the_other_way():
    actual = transform(labels(scene(), camera()), angle=30, flip=True)
    compare(actual, labels(scene(mirrored=True), camera(roll=-30)), 0.05, 4)


@pytest.mark.parametrize('size', [(180, 132), (240, 176), (60, 44)])
def test_zoom_is_the_finer_or_coarser_camera(size):
    small = size[0] < SIZE[0]
    actual = transform(labels(scene(), camera()), zoom=size[0] / SIZE[0], size=size)
    compare(actual, labels(scene(), camera(size=size)), 0.08, 12 if small else 4, 200 if small else 1000)


def test_values_of_depth_stay():
    sample = labels(scene(), camera())
    before = set(np.unique(sample['gt_depth_map']))
    assert set(np.unique(transform(sample, 1.7, angle=13)['gt_depth_map'])) <= before


@pytest.fixture
def full():
    """A sample with a label everywhere."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(40, 30, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return dict(img=np.full((40, 30, 3), 200, np.uint8), gt_seg_map=np.full((40, 30), 3, np.uint8),
                gt_depth_map=np.full((40, 30), 2, np.float32), gt_normal_map=normals.astype(np.float32),
                gt_person_mask=np.ones((40, 30), np.uint8), gt_instance_map=np.ones((40, 30), np.uint8),
                flip_indices=FLIPPED_PARTS, seg_fields=['gt_seg_map', 'gt_depth_map', 'gt_normal_map', 'gt_person_mask',
                                                        'gt_instance_map'])


@pytest.mark.parametrize('seed', range(5))
def test_padding_is_no_label(full, seed):
    np.random.seed(seed)
    out = SapiensRandomWarp((64, 48), (0.3, 0.9))(full)
    inside = out['gt_person_mask'] > 0
    assert 0 < inside.sum() < inside.size
    assert (out['gt_seg_map'][~inside] == 255).all()
    assert (out['gt_seg_map'][inside] == 3).all()
    assert not out['gt_depth_map'][~inside].any()
    assert not out['gt_instance_map'][~inside].any()
    far = cv2.dilate(out['gt_person_mask'], np.ones((3, 3), np.uint8)) == 0
    assert not out['gt_normal_map'][far].any()
    assert (out['img'][far] == (104, 116, 124)).all()
    assert (out['img'][cv2.erode(out['gt_person_mask'], np.ones((5, 5), np.uint8), borderValue=0) > 0] == 200).all()


def test_nothing_of_the_source_in_view(full):
    out = warp(full, np.array([[1, 0, 500], [0, 1, 0.]]), (20, 20))
    assert (out['gt_seg_map'] == 255).all()
    assert not out['gt_normal_map'].any()
    assert (out['img'] == (104, 116, 124)).all()


def test_ranges_and_probabilities(full):
    np.random.seed(0)
    warps = SapiensRandomWarp((64, 48), (0.5, 1.5), rotate_prob=0.3, flip_prob=0.7)
    angles, zooms, flips = [], [], []
    matrix = warps.matrix
    warps.matrix = lambda shape, zoom, place, angle, flip: (
        angles.append(angle), zooms.append(zoom), flips.append(flip), matrix(shape, zoom, place, angle, flip))[-1]
    for _ in range(300):
        seen = len(angles)
        warps(dict(full))
        del angles[seen + 1:], zooms[seen + 1:], flips[seen + 1:]
    angles = np.array(angles)
    assert 0.22 < np.mean(angles != 0) < 0.38
    assert 40 < angles.max() <= 45
    assert -45 <= angles.min() < -40
    fit = min(64 / 40, 48 / 30)
    assert min(zooms) == pytest.approx(0.5 * fit, abs=0.02)
    assert max(zooms) == pytest.approx(1.5 * fit, abs=0.02)
    assert 0.62 < np.mean(flips) < 0.78


def turned(sample, **options):
    """`SapiensRandomWarp` to 64 x 48 that takes the middle of an image, at its own size, and turns it by 40 degrees."""
    zoom = max(max(sample['img'].shape[:2]) / 64, min(sample['img'].shape[:2]) / 48)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('numpy.random.uniform', lambda low, high: {-1: 40., 0.2: zoom}[low])
        patch.setattr('numpy.random.rand', lambda *shape: np.full(shape, 0.5)[()])
        return SapiensRandomWarp((64, 48), rotate_prob=1, rotate_range=1, cat_max_ratio=1, **options)(dict(sample))


@pytest.mark.parametrize('shape', [(38, 29), (80, 40), (96, 72)])
@pytest.mark.parametrize('flip', [0, 1])
@pytest.mark.parametrize('corner', [0, 255])
def test_stock_padding_is_that_of_the_chain_of_mmseg(corner, flip, shape):
    from mmseg.datasets.transforms import RandomRotate
    parts = cv2.resize(np.random.default_rng(3).choice([1, 3, 23, 255], (9, 7)).astype(np.uint8), shape[::-1],
                       interpolation=cv2.INTER_NEAREST)
    sample = dict(img=np.full((*shape, 3), 200, np.uint8), gt_seg_map=parts, gt_depth_map=np.ones(shape, np.float32),
                  flip_indices=range(28), seg_fields=['gt_seg_map', 'gt_depth_map'])
    out = turned(sample, corner_label=corner, stock_padding=True, flip_prob=flip)
    top, left = np.maximum(np.array(shape) - (64, 48), 0) // 2
    crop = parts[top:top + 64, left:left + 48]
    stock = RandomRotate(prob=1., degree=(-40., -40.), seg_pad_val=corner)(
        dict(img=np.full((*crop.shape, 3), 200, np.uint8), gt_seg_map=crop, seg_fields=['gt_seg_map']))
    missing = [(0, 64 - crop.shape[0]), (0, 48 - crop.shape[1])]
    true, seen = (np.pad(image[:, ::-1] if flip else image, missing, constant_values=value)
                  for image, value in ((stock['gt_seg_map'], 255), (stock['img'][..., 0], 0)))
    assert set(np.unique(true)) == {corner, 1, 3, 23, 255}
    assert (out['gt_seg_map'] == true).mean() > 0.99  # ties of the rounding
    inside, near = seen == 200, cv2.dilate(seen, np.ones((3, 3))) > 0
    assert (out['img'][inside] == 200).all()
    assert (out['img'][~near] == (104, 116, 124)).all()
    assert (out['gt_depth_map'][inside] == 1).all()
    assert not out['gt_depth_map'][~near].any()


def test_nearest_normals_are_of_one_surface():
    """Of two walls at a right angle, no pixel looks between them."""
    normals = np.zeros((40, 30, 3), np.float32)
    normals[:, :15] = 1, 0, 0
    normals[:, 15:] = 0, 0, 1
    sample = dict(img=np.zeros((40, 30, 3), np.uint8), gt_normal_map=normals, seg_fields=['gt_normal_map'])

    def between(interpolation):
        np.random.seed(0)
        warps = SapiensRandomWarp((64, 48), (0.9, 0.9), rotate_prob=0, flip_prob=0, cat_max_ratio=1,
                                  normal_interpolation=interpolation)
        out = warps(dict(sample))['gt_normal_map']
        assert {*np.linalg.norm(out, axis=-1).round(5).ravel().tolist()} == {0, 1}
        return ((out[..., 0] > 0.01) & (out[..., 2] > 0.01)).sum()

    assert between('linear') > 20
    assert between('nearest') == 0


@pytest.mark.parametrize('key', ['gt_seg_map', 'gt_person_mask', 'gt_depth_map', 'gt_normal_map'])
def test_crops_are_not_of_one_class(key):
    """The person is in one corner; most places show background alone."""
    person = np.zeros((400, 400), np.uint8)
    person[:130, :130] = 1
    label = dict(gt_seg_map=person * 2, gt_person_mask=person, gt_depth_map=person * np.float32(3),
                 gt_normal_map=person[..., None] * np.float32([0, 0, 1]))[key]

    def varied(cat_max_ratio):
        np.random.seed(1)
        warps = SapiensRandomWarp((100, 100), (4, 4), cat_max_ratio=cat_max_ratio)
        count = 0
        for _ in range(40):
            out = warps(dict(img=np.zeros((400, 400, 3), np.uint8), flip_indices=FLIPPED_PARTS, seg_fields=[key],
                             **{key: label}))
            share = np.mean(out[key].reshape(100, 100, -1).any(-1))
            count += 0.25 < share < 0.75
        return count

    assert varied(0.75) > 2 * varied(1) > 0


def test_lazy_image_and_labels_equal_loaded_ones(tmp_path):
    """JPEGs decoded at a fraction of their size, labels from the disk in steps: within what sampling leaves open."""
    y, x = np.mgrid[:320, :240].astype(np.float32)
    image = np.stack([x, y / 2, 255 - x], -1).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'a.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    np.save(tmp_path / 'a.npy', x + y + 1)
    for zoom in (0.1, 0.2, 0.3, 0.6, 1, 1.5):
        for flip in (False, True):
            matrix = SapiensRandomWarp((64, 48)).matrix((320, 240), zoom, np.array([0.4, 0.6]), 20, flip)
            shared = dict(seg_fields=['gt_depth_map'], flip_indices=FLIPPED_PARTS)
            lazy = warp(dict(img_path=str(tmp_path / 'a.jpg'), gt_depth_map=np.load(tmp_path / 'a.npy', mmap_mode='r'),
                             **shared), matrix, (64, 48))
            plain = cv2.warpAffine(image.astype(np.float32), matrix, (48, 64))
            true = cv2.warpAffine(x + y + 1, matrix, (48, 64), flags=cv2.INTER_LINEAR)
            inside = cv2.erode((cv2.warpAffine(np.ones_like(x), matrix, (48, 64)) == 1).astype(np.uint8),
                               np.ones((5, 5), np.uint8)) > 0
            assert inside.any()
            # A ramp is the same at any resolution: what is shifted by half a pixel of the output shows.
            assert np.abs(lazy['img'] - plain)[inside].mean() < 0.8
            assert np.abs(lazy['img'] - plain)[inside].mean(0).max() < 0.35 / zoom + 0.8
            assert np.abs(lazy['gt_depth_map'] - true)[inside].max() < 1.1 / min(zoom, 1) + 0.1


def test_shrinking_averages():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    matrix = np.array([[0.1, 0, -0.45], [0, 0.1, -0.45]])
    expected = cv2.resize(noise, (40, 40), interpolation=cv2.INTER_AREA)
    assert np.abs(warp_image(noise, matrix, (40, 40)).astype(int) - expected).max() <= 1


def test_resize_leaves_values(full):
    full['gt_depth_map'][3, 4] = 5
    out = SapiensResize((80, 90))(full)
    assert out['img'].shape == (80, 90, 3)
    assert np.unique(out['gt_depth_map']).tolist() == [2, 5]
    np.testing.assert_allclose(np.linalg.norm(out['gt_normal_map'], axis=-1), 1, atol=1e-5)
    assert out['img_shape'] == (80, 90)
    assert SapiensResize((10, 10))(dict(img=out['img']))['img'].shape == (10, 10, 3)


def test_crop_of_a_person():
    image = np.zeros((100, 200, 3), np.uint8)
    mask = np.zeros((100, 200), np.uint8)
    mask[20:60, 100:120] = 1
    image[mask > 0] = 255
    out = SapiensCropPerson((80, 80), padding=1.)(dict(img=image, gt_person_mask=mask, seg_fields=['gt_person_mask']))
    assert out['crop_box'] == (90, 20, 130, 60)
    assert out['gt_person_mask'] is mask
    assert out['img'].shape == (80, 80, 3)
    assert (out['img'][2:-2, 22:58] == 255).all()
    assert not out['img'][:, :18].any()
    assert not out['img'][:, 62:].any()
    assert SapiensCropPerson((80, 80), padding=2.)(dict(img=image, gt_person_mask=mask))['crop_box'] == (70, 0, 150, 80)
    # Without a person, the image's box with the input's aspect.
    out = SapiensCropPerson((80, 80))(dict(img=image, gt_person_mask=mask * 0))
    assert out['crop_box'] == (0, -50, 200, 150)
    assert (out['img'][:19] == (104, 116, 124)).all()
