"""Tests of tools/draw_landmarks.py."""
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('anny', reason='the extra synth is not installed')
pytest.importorskip('mitsuba', reason='the extra synth is not installed')

from sapiens_mm.synth.landmarks import LANDMARK_NAMES  # noqa: E402

SCRIPT = Path(__file__).parents[2] / 'tools' / 'draw_landmarks.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('draw_landmarks', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_bad_input(tool, tmp_path, capsys):
    with pytest.raises(SystemExit) as info:
        tool.main([str(tmp_path), '--groups', 'elbow'])
    assert info.value.code == 2
    assert "'elbow'" in capsys.readouterr().err
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match='FileExistsError'):
        tool.main([str(tmp_path / 'file')])


def test_every_landmark_is_in_a_group(tool):
    shown = [name for group in tool.GROUPS.values() for name in group.names]
    assert set(shown) == set(LANDMARK_NAMES)
    assert set(tool.GROUPS['left_ear'].names).isdisjoint(tool.GROUPS['left_eye'].names)


def test_the_page_shows_every_group(tool, root):
    page = (root / 'docs' / 'synthetic_humans.md').read_text()
    for name in tool.GROUPS:
        assert f'(images/landmarks/{name}.png)' in page
        assert (root / 'docs' / 'images' / 'landmarks' / f'{name}.png').stat().st_size < 250_000


@pytest.mark.parametrize('count', [1, 2, 41])
def test_names_do_not_overlap(tool, count):
    points = np.random.default_rng(0).uniform([tool.MARGIN, 150], [tool.MARGIN + 300, 250], (count, 2))
    right, tops = tool.place_names(points, (440, 2 * tool.MARGIN + 300))
    assert abs(right.sum() - (~right).sum()) <= 1
    assert ((tops > 0) & (tops < 440)).all()
    for side in (right, ~right):
        assert (np.diff(np.sort(tops[side])) > tool.STEP - 2).all()


def test_draws_a_group(tool, tmp_path):
    from PIL import Image
    tool.main([str(tmp_path), '--groups', 'left_foot', '--scale', '0.3', '--samples', '1'])
    assert [path.name for path in tmp_path.iterdir()] == ['left_foot.png']
    image = np.asarray(Image.open(tmp_path / 'left_foot.png').convert('RGB'))
    assert image.shape == (108, 165 + 2 * tool.MARGIN, 3)
    assert (image[:, :tool.MARGIN] < 200).any()  # names on both sides
    assert (image[:, -tool.MARGIN:] < 200).any()
