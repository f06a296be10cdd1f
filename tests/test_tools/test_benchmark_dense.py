"""tools/benchmarks/dense.py: that both sides do the same and the scores are what they say, whatever the time."""
import importlib.util
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

from sapiens_mm.dense.datasets import SapiensDenseDataset

PATH = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks' / 'dense.py'


@pytest.fixture(scope='module')
def dense():
    spec = importlib.util.spec_from_file_location('benchmarks_dense', PATH)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PATH.parent))  # where a script finds its neighbors
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def _scope():
    """Leaves OpenCV's threads as they were; the default scope is mmseg."""
    threads = cv2.getNumThreads()
    init_default_scope('mmseg')
    yield
    cv2.setNumThreads(threads)


@pytest.mark.parametrize('argv', [['--only', 'encode'], ['--size', '64'], ['--rounds', 'many']])
def test_usage(dense, argv):
    with pytest.raises(SystemExit) as info:
        dense.parse_args(argv)
    assert info.value.code == 2


@pytest.mark.usefixtures('_scope')
def test_loader_prints_all_cases(dense, capsys, tmp_path):
    rows = dense.main(['--quick', '--only', 'loader', '--out', str(tmp_path / 'dense.json')])
    assert json.loads((tmp_path / 'dense.json').read_text()) == rows
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert [entry['case'].split(':')[0] for entry in rows] == ['parts', 'parts, depth, normals', 'all as npy']
    for entry, line in zip(rows, lines):
        assert entry['part'] == line.split()[0] == 'loader'
        assert entry['goal'] == 3
        assert 0 < entry['ours'] < math.inf
        assert entry['ratio'] == pytest.approx(entry['plain'] / entry['ours'])
        assert entry['ours_per_s'] / entry['plain_per_s'] == pytest.approx(entry['ratio'])
        assert f'{entry["ratio"]:.2f}x' in line


@pytest.mark.usefixtures('_scope')
def test_both_pipelines_give_samples_of_the_same_kind(dense, tmp_path):
    """Same sizes and types; the person, depth and normals in both, with labels in the same ranges."""
    dense.write_dataset(tmp_path, 2, (256, 192))
    pipelines = (dense.our_pipeline(str(tmp_path / 'photos'), (64, 48), True),
                 dense.plain_pipeline(str(tmp_path / 'photos'), (64, 48)))
    for pipeline in pipelines:
        dataset = SapiensDenseDataset(data_root=str(tmp_path), pipeline=pipeline)
        np.random.seed(0)
        for i in range(8):
            packed = dataset[i % 2]
            assert packed['inputs'].shape == (3, 64, 48)
            sample = packed['data_samples']
            assert sample.gt_sem_seg.data.shape == sample.gt_depth_map.data.shape == (1, 64, 48)
            assert 0 <= sample.gt_depth_map.data.min() <= sample.gt_depth_map.data.max() <= 1
            normals = sample.gt_normal_map.data if 'gt_normal_map' in sample else packed['normals']
            length = normals.norm(dim=0)
            assert ((length == 0) | ((length - 1).abs() < 1e-4)).all()


def test_both_evaluators_give_the_same_metrics(dense):
    sample = dense.measured_sample((64, 48))
    for metric, plain, tolerance in ((dense.SapiensDepthMetric(), dense.plain_depth, 1e-9),
                                     (dense.SapiensNormalMetric(), dense.plain_normals, 1e-5)):
        metric.process(None, [sample])
        scores = metric.evaluate(1)
        name = metric.report['name']
        for score, value in plain(sample).items():
            limit = 0.01 if score == 'median' else 0
            assert scores[f'{name}/{score}'] == pytest.approx(value, rel=tolerance, abs=limit), score


def test_both_postprocessors_give_the_same_labels(dense):
    args = dense.parse_args(['--size', '512', '384', '--source', '700', '500'])
    logits = dense.part_logits()
    ours, plain = (function(logits) for function in dense.postprocessors(args).values())
    assert ours.shape == plain.shape == (700, 500)
    assert len(ours.unique()) > 10
    assert (ours != plain).float().mean() < 1e-4
