"""Follows docs/human_in_the_loop.md on synthetic people, whose truth is the correction."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from sapiens_mm.formats import coco, label_studio


def correct(folder):
    """Writes what Label Studio exports after each task was replaced by the truth."""
    label_studio.write(coco.read(folder / 'truth.json'), folder / 'truth_tasks.json')
    truth = {task['data']['file_name']: task['predictions'][0]['result']
             for task in json.loads((folder / 'truth_tasks.json').read_text())}
    tasks = json.loads((folder / 'tasks.json').read_text())
    assert {task['data']['file_name'] for task in tasks} == set(truth)
    (folder / 'export.json').write_text(json.dumps([
        dict(task, id=number, annotations=[dict(result=truth[task['data']['file_name']], was_cancelled=False)])
        for number, task in enumerate(tasks)]))


@pytest.mark.slow
def test_corrected_labels_train(root, tmp_path):
    def run(*lines):
        functions = 'python() { "$PYTHON" "$@"; }; sapiens-mm() { python -m sapiens_mm "$@"; }'
        process = subprocess.run(
            ['bash', '-ec', '\n'.join([functions, *lines])], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'})
        assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
        return process.stdout

    for name in ('configs', 'tools', 'sapiens_mm'):
        (tmp_path / name).symlink_to(root / name)
    people = '--size 256 192 --samples 2 --framing full_body --max-persons 1 --tasks pose --preview 0'
    run(f'python tools/synthesize.py data/loop/train --num 60 --seed 11 {people}',
        f'python tools/synthesize.py data/loop/test --num 30 --seed 12 {people}')
    shutil.move(tmp_path / 'data/loop/train/annotations/person_keypoints.json', tmp_path / 'truth.json')
    text = (root / 'docs/human_in_the_loop.md').read_text()
    predict, label, train = re.findall('```bash\n(.*?)```', text, re.DOTALL)
    run(predict)
    assert 'label-studio start' in label
    correct(tmp_path)
    metrics = [float(value) for value in re.findall(r'coco/AP: +([\d.]+)', run(train))]
    # Not compared: 140 corrected images of the kind that the model was trained on changed AP from 0.225 to 0.213.
    assert len(metrics) >= 2  # before and after
    assert sum(len(image.people) for image in coco.read(tmp_path / 'data/loop/train/annotations/person_keypoints.json')
               ) == sum(len(image.people) for image in coco.read(tmp_path / 'truth.json'))
