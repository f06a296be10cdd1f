"""Tests of `run` and its options."""
import json

import cv2
import numpy as np
import pytest

from sapiens_mm.apis.run import RunOptions, run


@pytest.mark.parametrize('options', [dict(size='3b'), dict(tasks=['hair']), dict(url_timeout=0), dict(save=['gif'])])
def test_invalid_options(tmp_path, capsys, options):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))
    assert run(RunOptions([str(tmp_path / 'a.png')], str(tmp_path / 'out'), **{'size': 'tiny', **options})) == 2
    (_, value), = options.items()
    assert str(value[0] if isinstance(value, list) else value) in capsys.readouterr().err


def test_controlnet_without_keypoints(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))
    assert run(RunOptions([str(tmp_path / 'a.png')], str(tmp_path / 'out'), ['seg'], 'tiny', device='cpu',
                          save=['controlnet', 'png'])) == 2
    error = capsys.readouterr().err
    assert '--save: got controlnet' in error
    assert 'seg' in error


def test_former_task_names(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))
    out = tmp_path / 'out'
    assert run(RunOptions([str(tmp_path / 'a.png')], str(out), ['parts'], 'tiny', device='cpu', save=['npz'])) == 0
    meta = json.loads((out / 'meta.json').read_text())
    assert [model['tasks'] for model in meta['models']] == [['seg']]
    with np.load(out / 'a.png.npz') as maps:
        assert list(maps) == ['parts']
