"""Scans rendered in the layout of THuman2.0, against values computed by hand."""
import json
import runpy

import cv2
import numpy as np
import pytest

pytest.importorskip('mitsuba')
pytest.importorskip('trimesh')

from sapiens_mm.synth import scans as S  # noqa: E402
from sapiens_mm.synth import writer  # noqa: E402
from sapiens_mm.synth.assets import Assets  # noqa: E402
from sapiens_mm.synth.scan_files import Placement, ScanError  # noqa: E402
from sapiens_mm.synth.writer import TEMPORARY  # noqa: E402

from .conftest import ELLIPSOID, camera_of, check_ellipsoid, write_hi4d, write_thuman  # noqa: E402

OPTIONS = dict(size=(96, 72), samples=2)


@pytest.fixture(scope='module')
def thuman(tmp_path_factory):
    return write_thuman(tmp_path_factory.mktemp('THuman2.0_Release'))


@pytest.fixture(scope='module')
def rendered(thuman, tmp_path_factory):
    out = tmp_path_factory.mktemp('rendered')
    assert S.render_scans(thuman, out, **OPTIONS) == 6
    return out


@pytest.mark.parametrize(('options', 'value'), [
    (dict(size=(96, 0)), '96 x 0'), (dict(samples=0), '0'), (dict(framings=('hands', )), 'hands'),
    (dict(framings=()), 'none'), (dict(yaws={'7777': 1}), '7777'), (dict(shard=(2, 2)), '2')])
def test_bad_options_are_refused(thuman, tmp_path, options, value):
    with pytest.raises(ValueError, match=value):
        S.render_scans(thuman, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_folders_without_scans_are_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'set/0000').mkdir(parents=True)
    (tmp_path / 'a.stl').touch()
    for source, error in (('nowhere', FileNotFoundError), ('empty', FileNotFoundError), ('set', FileNotFoundError),
                          ('a.stl', ScanError)):
        with pytest.raises(error, match=source) as caught:
            S.find_scans(tmp_path / source)
        assert '\n' not in str(caught.value)


def test_all_scans_without_textures_are_named_before_the_first_is_rendered(tmp_path):
    folder, out = write_thuman(tmp_path / 'set', 4, 8), tmp_path / 'out'
    (folder / '0001/material0.jpeg').unlink()
    (folder / '0003/material0.jpeg').write_bytes(b'no image')
    with pytest.raises(ScanError, match=r'0001\.obj.*0001/material0\.jpeg.* \(2 of 4 .*0003\.obj\)$'):
        S.render_scans(folder, out, **OPTIONS)
    assert not out.exists()
    with pytest.raises(ScanError, match=r'0003\.obj.*material0\.jpeg'):
        S.render_scans(folder, out, **OPTIONS, shard=(3, 4))
    assert S.render_scans(folder, out, **OPTIONS, shard=(0, 2), framings=('face',)) == 2


def test_a_broken_record_is_named(thuman, tmp_path):
    path = tmp_path / 'cameras/0000_face.json'
    path.parent.mkdir()
    path.write_text('{"id": ')
    with pytest.raises(ValueError, match=r'0000_face\.json'):
        S.render_scans(thuman, tmp_path, **OPTIONS, framings=('face',))


def test_three_images_per_scan_with_all_files(rendered, digests):
    names = [f'{scan}_{framing}' for scan in ('0000', '0001') for framing in S.FRAMINGS]
    assert set(digests(rendered)) == {f'{kind}/{name}.{suffix}' for name in names for kind, suffix in (
        ('images', 'png'), ('masks', 'png'), ('depth', 'npy'), ('normal', 'npy'), ('cameras', 'json'))}


@pytest.mark.parametrize('framing', S.FRAMINGS)
def test_labels_are_those_of_the_ellipsoid(rendered, framing):
    """The scan is 1 high; it becomes 1.7 m, stands on the ground and faces -y."""
    name = f'0001_{framing}'
    camera = camera_of(rendered, name)
    check_ellipsoid(rendered, name, ELLIPSOID[[0, 2, 1]] * 1.7, np.array([0, 0, 0.85]), camera)
    assert camera.center[1] < -0.3
    image = cv2.imread(str(rendered / f'images/{name}.png'))
    assert image.shape == (96, 72, 3)
    mask = cv2.imread(str(rendered / f'masks/{name}.png'), 0) > 0
    middle = image[mask & (np.abs(np.arange(72) - np.nonzero(mask)[1].mean()) < 5)].mean(axis=0)
    assert middle[2] > 1.5 * middle[0]  # red, the front (OpenCV gives BGR)


def test_framings_show_their_region(rendered):
    for framing, (share, *_) in S.FRAMINGS.items():
        uv, _ = camera_of(rendered, f'0000_{framing}').project([[0, 0, 1.7], [0, 0, 1.7 * share], [0, 0, 0]])
        assert ((uv[:2] > -1) & (uv[:2] < [72, 96])).all()
        assert (uv[2, 1] > 100) == (framing != 'full_body')  # the feet are far below the image


def test_an_interrupted_run_continues_to_the_same_bytes(thuman, rendered, tmp_path, digests, monkeypatch):
    write, count = writer.write_json, []

    def stop(path, content):
        count.append(path)
        if len(count) == 3:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(writer, 'write_json', stop)
        with pytest.raises(KeyboardInterrupt):
            S.render_scans(thuman, tmp_path, **OPTIONS)
    assert len(list(tmp_path.glob('cameras/*'))) == 2
    (tmp_path / f'depth/0000_face.npy{TEMPORARY}123').write_bytes(b'half')
    before = (tmp_path / 'images/0000_face.png').stat().st_mtime_ns
    # The rest in two shards.
    progress = []
    made = [S.render_scans(thuman, tmp_path, **OPTIONS, shard=(i, 2), progress=lambda *a: progress.append(a))
            for i in range(2)]
    assert made == [1, 3]
    assert progress[:3] == [(k + 1, 3, f'0000_{framing}') for k, framing in enumerate(S.FRAMINGS)]
    assert (tmp_path / 'images/0000_face.png').stat().st_mtime_ns == before
    assert digests(tmp_path) == digests(rendered)
    assert S.render_scans(thuman, tmp_path, **OPTIONS) == 0
    with pytest.raises(ValueError, match='samples 2 instead of 3'):
        S.render_scans(thuman, tmp_path, size=(96, 72), samples=3)


def test_photos_lie_behind_the_scan(thuman, tmp_path):
    (tmp_path / 'photos').mkdir()
    cv2.imwrite(str(tmp_path / 'photos/green.png'), np.full((60, 80, 3), (0, 180, 0), np.uint8))
    options = dict(OPTIONS, framings=('full_body',), placement=Placement(height=1.7))
    S.render_scans(thuman / '0000/0000.obj', tmp_path / 'out', **options, assets=Assets.find(tmp_path / 'photos'))
    image = cv2.imread(str(tmp_path / 'out/images/0000_full_body.png'))
    np.testing.assert_array_equal(image[2, 2], [0, 180, 0])
    with pytest.raises(ValueError, match=r'backgrounds 1 files \(.*\) instead of None'):
        S.render_scans(thuman / '0000/0000.obj', tmp_path / 'out', **options)


@pytest.mark.parametrize(('yaw', 'yaws'), [(180, {}), (0, {'0000': 180.0})])
def test_yaw_shows_the_back(thuman, tmp_path, yaw, yaws):
    S.render_scans(thuman, tmp_path, **OPTIONS, framings=('upper_body',), shard=(0, 2), placement=Placement(yaw=yaw),
                   yaws=yaws)
    image = cv2.imread(str(tmp_path / 'images/0000_upper_body.png'))
    assert image[60, 36, 0] > 1.5 * image[60, 36, 2]


def test_records_of_version_0_1_0_had_width_first(tmp_path):
    (tmp_path / 'cameras').mkdir()
    (tmp_path / 'cameras/a.json').write_text(json.dumps(dict(settings=dict(size=[72, 96], seed=1))))
    assert S.finished(tmp_path, 'a', dict(size_hw=[96, 72], seed=1))
    with pytest.raises(ValueError, match=r'size_hw \[96, 72\] instead of \[72, 96\]'):
        S.finished(tmp_path, 'a', dict(size_hw=[72, 96], seed=1))


def test_the_tool(thuman, root, tmp_path, capsys):
    main = runpy.run_path(str(root / 'tools/dataset_converters/render_scans.py'))['main']
    arguments = [str(thuman / '0000/0000.obj'), str(tmp_path / 'out'), '--size', '48', '36', '--samples', '1',
                 '--height', '1.7']

    def refused(value, *options):
        assert main([*arguments, *options]) == 1
        error = capsys.readouterr().err
        assert error.startswith('error: ')
        assert value in error
        assert error.count('\n') == 1

    refused('nowhere', '--backgrounds', str(tmp_path / 'nowhere'))
    for content in ('90', '{', '["0000"]'):
        (tmp_path / 'yaws.json').write_text(content)
        refused(f'{tmp_path}/yaws.json', '--yaws', str(tmp_path / 'yaws.json'))
    for made in (3, 0):
        assert main(arguments) == 0
        assert f'{made} new images' in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'out/images/0000_face.png')).shape == (48, 36, 3)
    write_hi4d(tmp_path / 'Hi4D', 37, frames=(1,))
    assert main([str(tmp_path / 'Hi4D'), str(tmp_path / 'hi4d'), '--layout', 'hi4d', '--pairs', '37']) == 0
