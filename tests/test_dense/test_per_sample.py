"""Tests of evaluators that write files for each sample."""
import json

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import METRICS

from sapiens_mm.dense.metrics import (
    SapiensDepthMetric,
    SapiensDumpPredictions,
    SapiensNormalMetric,
    SapiensPartsMetric,
    SapiensSampleScores,
    SapiensWorstSamples,
)
from sapiens_mm.dense.visualization import color_bar

HEIGHT, WIDTH = 61, 43


def sample(index=0, wrong=0.0, **meta):
    """A person in the middle of the image; a share of its pixels is predicted wrongly."""
    rng = np.random.default_rng(index)
    person = np.zeros((HEIGHT, WIDTH), bool)
    person[10:50, 8:36] = True
    bad = rng.random((HEIGHT, WIDTH)) < wrong
    depth = np.where(person, np.linspace(2, 3, HEIGHT)[:, None], 0).astype(np.float32)
    normal = np.where(person, np.array([0.6, 0, 0.8])[:, None, None], 0).astype(np.float32)
    parts = np.where(person, 2, 0).astype(np.uint8)
    maps = dict(
        gt_sem_seg=parts[None], pred_sem_seg=np.where(bad, 1, parts)[None].astype(np.uint8), gt_depth_map=depth[None],
        pred_depth_map=(depth + wrong * rng.normal(size=depth.shape))[None].astype(np.float32), gt_normal_map=normal,
        pred_normal_map=np.where(bad, np.float32([0, 1, 0])[:, None, None], normal),
        gt_person_mask=person[None].astype(np.uint8))
    maps = {key: dict(data=torch.from_numpy(np.ascontiguousarray(value))) for key, value in maps.items()}
    return dict(maps, sample_name=f'photo{index}', **meta)


def run(samples, *evaluators):
    metrics = [SapiensPartsMetric(), SapiensDepthMetric(), SapiensNormalMetric(), *evaluators]
    for metric in metrics:
        metric.dataset_meta = dict(classes=['back', 'hat', 'body'], palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0]])
        metric.process(None, samples)
    return [metric.evaluate(len(samples)) for metric in metrics]


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match='scores.txt'):
        SapiensSampleScores('scores.txt')
    with pytest.raises(ValueError, match='count: got 0'):
        SapiensWorstSamples(str(tmp_path), count=0)
    with pytest.raises(ValueError, match='exr'):
        SapiensDumpPredictions(str(tmp_path), 'exr')
    for evaluator in (SapiensSampleScores('scores.csv'), SapiensWorstSamples(str(tmp_path))):
        with pytest.raises(ValueError, match=f'{type(evaluator).__name__} after .*SapiensDepthMetric'):
            evaluator.process(None, [sample()])
    with pytest.raises(ValueError, match="'photo'.* pred_sem_seg, pred_depth_map, pred_normal_map"):
        SapiensDumpPredictions(str(tmp_path)).process(None, [dict(sample_name='photo')])


def test_worst_images(tmp_path):
    assert METRICS.get('SapiensWorstPictures') is SapiensWorstSamples  # in earlier configs
    image = np.full((2 * HEIGHT, 2 * WIDTH, 3), (0, 0, 200), np.uint8)  # red, and larger than the maps
    cv2.imwrite(str(tmp_path / 'red.png'), image)
    shares = [0.1, 0.5, 0.0, 0.3, 0.2]
    samples = [sample(i, share, img_path=str(tmp_path / 'red.png')) for i, share in enumerate(shares)]
    scores = run(samples, SapiensWorstSamples(str(tmp_path / 'worst'), count=3, height=122))
    assert scores[-1] == {}
    for task in ('parts', 'depth', 'normal'):
        names = sorted(path.name for path in (tmp_path / 'worst' / task).iterdir())
        assert [name[:2] for name in names] == ['01', '02', '03']
        assert [name.split('_')[-1] for name in names] == ['photo1.jpg', 'photo3.jpg', 'photo4.jpg']
        drawn = cv2.imread(str(tmp_path / 'worst' / task / names[0]))
        bar = color_bar(122, None).shape[1]
        places = dict(depth=[0, 86, 172 + bar, 258 + 2 * bar]).get(task, [0, 86, 172, 258])
        assert drawn.shape[0] == 122 + 24
        assert drawn.shape[1] > places[-1] + 86  # and the keys
        panels = [drawn[24:, place:place + 86] for place in places]
        assert abs(panels[0].astype(int) - (0, 0, 200)).mean() < 5
        # Truth and prediction differ, and the error is seen on the person only, or anywhere for parts.
        assert abs(panels[1].astype(int) - panels[2]).mean() > 5
        assert panels[3][30:90, 20:70].std() > 20
        if task != 'parts':
            assert panels[3][:16].max() < 20


def test_npz(tmp_path):
    first = sample(0, 0.3, img_path='a/photo0.png')
    run([first, sample(1)], SapiensDumpPredictions(str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['000000_photo0.npz', '000001_photo1.npz']
    with np.load(tmp_path / '000000_photo0.npz') as file:
        assert str(file['img_path']) == 'a/photo0.png'
        np.testing.assert_array_equal(file['pred_sem_seg'], first['pred_sem_seg']['data'][0])
        np.testing.assert_array_equal(file['pred_depth_map'], first['pred_depth_map']['data'][0])
        np.testing.assert_array_equal(file['pred_normal_map'], first['pred_normal_map']['data'])


def test_png16(tmp_path):
    one = sample(0, 0.3)
    one['pred_depth_map']['data'][0, 0, 0] = np.nan
    one['pred_normal_map']['data'][1, 0, 0] = np.inf
    dump = SapiensDumpPredictions(str(tmp_path), 'png16')
    dump.process(None, [one])
    dump.evaluate(1)
    notes = json.loads((tmp_path / '000000_photo0.json').read_text())
    parts = cv2.imread(str(tmp_path / notes['parts']['file']), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(parts, one['pred_sem_seg']['data'][0])
    for task, key in dict(depth='pred_depth_map', normal='pred_normal_map').items():
        codes = cv2.imread(str(tmp_path / notes[task]['file']), cv2.IMREAD_UNCHANGED)
        assert codes.dtype == np.uint16
        codes = codes[None] if task == 'depth' else np.moveaxis(codes[..., ::-1], -1, 0)
        values = np.where(codes == notes[task]['not_finite'], np.nan,
                          codes * notes[task]['scale'] + notes[task]['offset'])
        true = one[key]['data'].numpy()
        np.testing.assert_allclose(values, np.where(np.isfinite(true), true, np.nan), atol=0.51 * notes[task]['scale'])
