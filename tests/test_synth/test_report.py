import base64
import json
import re

import cv2
import numpy as np
import pytest

from sapiens_mm.synth.report import write_report

pytest.importorskip('matplotlib')


def test_the_page_has_figures_times_curves_and_pairs_of_pictures(tmp_path):
    data, shown, log = tmp_path / 'test', tmp_path / 'shown', tmp_path / 'run/start/vis_data/scalars.json'
    for folder in (data / 'images', data / 'annotations', shown, log.parent):
        folder.mkdir(parents=True)
    log.write_text('\n'.join(json.dumps(dict(step=step, loss=1 / step, acc_pose=0.1)) for step in (1, 2, 3)))
    (data / 'settings.json').write_text(json.dumps(dict(size=[40, 30], sapiens_mm='<1>')))
    keypoints = [15, 20, 2] + [0, 0, 0] * 16
    content = dict(images=[dict(id=i, file_name=f'{i}.png') for i in range(3)],
                   annotations=[dict(image_id=0, keypoints=keypoints)])
    (data / 'annotations/person_keypoints.json').write_text(json.dumps(content))
    for i in range(3):
        cv2.imwrite(str(data / f'images/{i}.png'), np.zeros((40, 30, 3), np.uint8))
        cv2.imwrite(str(shown / f'{i}.jpg'), np.full((40, 30, 3), 200, np.uint8))
    write_report(tmp_path / 'report.html', dict(untrained=dict(AP=0.), trained=dict(AP=0.25)), dict(train=60., test=5.),
                 tmp_path / 'run', data, shown, num_pictures=2)
    page = (tmp_path / 'report.html').read_text()
    assert '<tr><td>AP</td><td>0.000</td><td>0.250</td></tr>' in page
    assert '<tr><td>all</td><td>65</td></tr>' in page
    assert '40 x 30' in page
    assert '&lt;1&gt;' in page
    curves, first, second = (cv2.imdecode(np.frombuffer(base64.b64decode(found), np.uint8), cv2.IMREAD_COLOR)
                             for found in re.findall('base64,([^"]+)"', page))
    assert len(np.unique(curves)) > 2
    assert first[20, 15].tolist() == [255, 255, 255]  # the labelled point, on the left
    assert not second[:, :30].any()
    assert np.abs(first[:, 30:].astype(int) - 200).max() < 5
