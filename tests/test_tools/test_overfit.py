"""Training end to end on real photos: two processes overfit them, which the evaluation shows."""
import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(('dataset', 'metric', 'least'), [('coco', 'coco/AP', 0.90),
                                                          ('coco_wholebody', 'coco_wholebody/AP', 0.80)])
def test_overfits_photos(root, coco_real, tmp_path, dataset, metric, least):
    config = f'configs/sapiens_pose/{dataset}/sapiens_tiny-overfit_{dataset}-256x192.py'
    env = {**os.environ, 'COCO_REAL_ROOT': str(coco_real), 'PYTHON': sys.executable}

    def run(*command):
        subprocess.run([str(part) for part in command], cwd=root, env=env, check=True)

    run('tools/dist_train.sh', config, 2, '--work-dir', tmp_path)
    checkpoint, = tmp_path.glob('best_*.pth')
    run(sys.executable, 'tools/test.py', config, checkpoint, '--out', tmp_path / 'metrics.json', '--show-dir',
        tmp_path / 'images', '--work-dir', tmp_path / 'test')
    assert json.loads((tmp_path / 'metrics.json').read_text())['metrics'][metric] >= least
    assert len(list((tmp_path / 'images').glob('*.jpg'))) == 4
