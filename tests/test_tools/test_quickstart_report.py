"""tools/quickstart_report.py on a folder made by hand."""
import base64
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('matplotlib')


@pytest.fixture
def write_report(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / 'tools')
    from quickstart_report import write_report
    yield write_report
    sys.modules.pop('quickstart_report')


def test_the_page_has_metrics_times_curves_and_images(write_report, tmp_path):
    data, dense, pose = (tmp_path / name for name in ('data/test', 'images_dense', 'images_pose'))
    for folder in (data / 'images', data / 'annotations', dense / 'vis_image', pose):
        folder.mkdir(parents=True)
    for run, names in (('run_dense', ('seg.loss_ce', 'depth.loss_silog', 'normal.loss_cos')),
                       ('run_pose', ('loss', 'acc_pose'))):
        log = tmp_path / run / 'start/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(json.dumps({'step': step, **dict.fromkeys(names, 1 / step)}) for step in (1, 2, 3)))
    (data / 'settings.json').write_text(json.dumps(dict(size=[40, 30], sapiens_mm='<1>')))
    keypoints = [15, 20, 2] + [0, 0, 0] * 16
    content = dict(images=[dict(id=i, file_name=f'{i}.png') for i in range(3)],
                   annotations=[dict(image_id=0, keypoints=keypoints)])
    (data / 'annotations/person_keypoints.json').write_text(json.dumps(content))
    for i in range(3):
        cv2.imwrite(str(data / f'images/{i}.png'), np.zeros((40, 30, 3), np.uint8))
        cv2.imwrite(str(dense / f'vis_image/test_{i}.png_0.png'), np.full((80, 120, 3), i, np.uint8))
        cv2.imwrite(str(pose / f'{i}.jpg'), np.full((40, 30, 3), 200, np.uint8))
    write_report(tmp_path / 'report.html', ['', 'untrained', 'trained'], [['AP', '0.000', '0.250']],
                 dict(train=60., test=5.), tmp_path, num_images=2)
    page = (tmp_path / 'report.html').read_text()
    assert '<tr><td>AP</td><td>0.000</td><td>0.250</td></tr>' in page
    assert '<tr><td>all</td><td>65</td></tr>' in page
    assert '40 x 30' in page
    assert '&lt;1&gt;' in page
    images = [cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
                for encoded in re.findall('base64,([^"]+)"', page)]
    assert len(images) == 2 + 2 + 2
    for curves in images[:2]:
        assert len(np.unique(curves)) > 2
    for i, image in enumerate(images[2:4]):
        np.testing.assert_array_equal(image, np.full((80, 120, 3), i))
    first, second = images[4:]
    assert first[20, 15].tolist() == [255, 255, 255]  # the labeled point, on the left
    assert not second[:, :30].any()
    assert np.abs(first[:, 30:].astype(int) - 200).max() < 5
