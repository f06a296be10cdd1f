"""Tests of scale and camera of depth, and of people's points and meshes in results."""
import numpy as np
import pytest

from sapiens_mm.apis.frames import Source
from sapiens_mm.apis.result import Result
from sapiens_mm.apis.space import PERSON_DEPTH, PERSON_SIZE, Shot, Space, median_fit

SIZE = (60, 50)


def true_depth() -> np.ndarray:
    """A ball 2 m away, 0 around it."""
    y, x = np.mgrid[:SIZE[0], :SIZE[1]]
    height = 20**2 - (y - 30)**2 - (x - 20)**2
    return np.where(height > 0, 2 - np.sqrt(np.maximum(height, 0)) / 100, 0).astype(np.float32)


def result_of(depth, index=None, parts=True) -> Result:
    maps = dict(depth=depth.astype(np.float32)) | (dict(parts=(depth > 0).astype(np.uint8)) if parts else {})
    return Result(Source('/data/a.jpg', 'a.jpg', 'image' if index is None else 'video'),
                  np.random.default_rng(0).integers(0, 256, (*depth.shape, 3), dtype=np.uint8), index,
                  boxes=np.array([[0, 0, *depth.shape[::-1], 1]], np.float32), maps=maps)


def relative(depth, scale=.2, shift=.1):
    return np.where(depth > 0, depth * scale + shift, 0)


def z_of(points: np.ndarray) -> np.ndarray:
    return -points[:, 2]


@pytest.mark.parametrize(('options', 'value'), [
    (dict(focal=1200, fov=50), '1200'), (dict(depth_range=(1, 2), reference='.'), r'\(1, 2\)'), (dict(focal=0), '0'),
    (dict(focal=float('nan')), 'nan'), (dict(fov=180), '180'), (dict(depth_range=(2, 1)), r'\(2, 1\)'),
    (dict(depth_range=(0, 1)), r'\(0, 1\)'), (dict(alignment='none'), 'none'),
    (dict(reference='/no/such.npy'), 'such')])
def test_invalid_options_are_refused(options, value):
    with pytest.raises(ValueError, match=value):
        Space(**options)
    with pytest.raises(ValueError, match=value):
        result_of(true_depth()).points(**options)


def test_results_without_depth_are_refused():
    result = result_of(true_depth())
    del result.maps['depth']
    with pytest.raises(ValueError, match='parts'):
        result.points()


@pytest.mark.parametrize(('content', 'value'), [
    (np.ones((5, 5)), r'\(5, 5\)'), (np.full(SIZE, 'a'), '<U1'), (np.full(SIZE, np.nan), '0 pixels'),
    (np.full(SIZE, 2.), 'got .* 0,'), (4 - true_depth(), '-5'), (true_depth() * 1e-4 + 1, '0.0005')],
    ids=['size', 'text', 'nothing', 'constant', 'swapped', 'scale near zero'])
def test_references_that_do_not_fit_are_refused(content, value, tmp_path):
    np.save(tmp_path / 'a.npy', content)
    with pytest.raises(ValueError, match=value):
        result_of(relative(true_depth())).points(reference=tmp_path / 'a.npy')


def test_files_that_are_no_arrays_are_refused(tmp_path):
    (tmp_path / 'a.npy').write_text('2.0')
    np.savez(tmp_path / 'b.npz', a=true_depth(), b=true_depth())
    for name in ('a.npy', 'b.npz'):
        with pytest.raises(ValueError, match=name):
            result_of(relative(true_depth())).points(reference=tmp_path / name)


def test_a_constant_prediction_does_not_fit_a_reference(tmp_path):
    np.save(tmp_path / 'a.npy', true_depth())
    with pytest.raises(ValueError, match='a.npy: got .* 0,'):
        result_of(np.where(true_depth() > 0, .5, 0)).points(reference=tmp_path / 'a.npy')


@pytest.mark.parametrize('depth', [np.zeros(SIZE), np.full((1, 1), .5), np.full(SIZE, .5)],
                         ids=['nobody', 'one pixel', 'constant'])
def test_people_without_extent_have_points(depth):
    points, colors, normals = result_of(depth).points(depth_range=(1, 3))
    assert points.shape == colors.shape == ((depth > 0).sum(), 3)
    assert normals is None
    assert (z_of(points) == 2).all()  # the middle of the range


@pytest.mark.parametrize('alignment', ['scale-shift', 'scale-shift-inverse'])
def test_references_restore_meters(alignment, tmp_path):
    true = true_depth()
    depth = relative(true) if alignment == 'scale-shift' else np.where(true > 0, 1 - .5 / np.maximum(true, .1), 0)
    reference = true.astype(np.float64)
    reference[10:20] = np.nan  # unknown there
    np.save(tmp_path / 'a.npy', reference)
    result = result_of(depth)
    for parts in (True, False):
        surface = result_of(depth, parts=parts).surface(focal=80, reference=tmp_path / 'a.npy',
                                                                 alignment=alignment)
        at = true > 0
        np.testing.assert_array_equal(surface.owner, np.where(at, 0, -1))
        y, x = np.mgrid[:SIZE[0], :SIZE[1]]
        expected = np.stack([(x - 24.5) / 80 * true, (29.5 - y) / 80 * true, -true], axis=-1)
        np.testing.assert_allclose(surface.points[at], expected[at], atol=1e-5)
        assert alignment in surface.notes['depth_from']
        assert 'given' in surface.notes['focal_length_from']
    np.save(tmp_path / 'a.jpg.npy', true)
    points, colors, _ = result.points(focal=80, reference=tmp_path, alignment=alignment)  # a folder
    np.testing.assert_allclose(points, expected[at], atol=1e-5)
    np.testing.assert_array_equal(colors, result.image[at])


def test_assumptions_are_stated():
    surface = result_of(relative(true_depth())).surface()
    assert 'assumed' in surface.notes['focal_length_from']
    assert 'assumed' in surface.notes['depth_from']
    points = surface.cloud()[0]
    assert surface.notes['focal_length'] == max(SIZE)
    assert np.ptp(np.percentile(z_of(points), (1, 99))) == pytest.approx(PERSON_DEPTH, rel=.05)
    assert np.ptp(points[:, 1]) == pytest.approx(PERSON_SIZE, rel=.1)
    given = result_of(relative(true_depth())).surface(fov=90, depth_range=(2, 3))
    assert 'assumed' not in str(given.notes)
    assert given.notes['focal_length'] == pytest.approx(max(SIZE) / 2)


def test_meshes_export_themselves(tmp_path):
    trimesh = pytest.importorskip('trimesh')
    scene = result_of(relative(true_depth())).mesh(fov=60, depth_range=(1.8, 2))
    scene.export(tmp_path / 'a.glb')
    again = trimesh.load_scene(tmp_path / 'a.glb', process=False)
    assert len(again.geometry['person_000'].faces) == len(scene.geometry['person_000'].faces) > 1000
    assert again.metadata == scene.metadata
    assert len(result_of(relative(true_depth())).mesh(edge=1e-6).geometry) == 0


def test_frames_of_a_shot_have_the_median_scale():
    true = true_depth()
    shot, fits = Shot(Space(depth_range=(1, 2))), []
    depths = [relative(true, scale) for scale in (.2, .21, .5)] + [np.zeros(SIZE)]
    for number, depth in enumerate(depths):
        inputs = result_of(depth, number).depth_of_people()
        shot.add(f'{number}', *inputs)
        fits.append(shot.space.fit(*inputs[:2]))
    assert fits.pop() is None
    surfaces = dict(shot.finish())
    assert list(surfaces) == ['0', '1', '2', '3']
    middle = median_fit(fits)
    assert middle.scale == fits[1].scale
    for number, depth in enumerate(depths[:3]):
        np.testing.assert_allclose(-surfaces[f'{number}'].points[true > 0][:, 2],
                                   middle.meters(depth)[true > 0], rtol=1e-6)
        assert '3 frames' in surfaces[f'{number}'].notes['scale_of']
    assert len(surfaces['3'].cloud()[0]) == 0
