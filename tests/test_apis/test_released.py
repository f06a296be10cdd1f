"""The command on checkpoints as they were released, from a hub cache on this machine and without a network.

Their weights are random: what is held is that names resolve, that the public layout loads, and that the results are
those of mmpose and mmseg with the configs of this repository.
"""
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from sapiens_mm.apis.model_zoo import RELEASED
from sapiens_mm.tasks import get_task

WIDTH, LAYERS, PATCHES = 1024, 24, 3072  # of sapiens_0.3b at 1024x768
PHOTO, BOX = '000000000785.jpg', [280.79, 44.73, 218.7, 346.68]
# Task -> config, and of the head: prefix, channels and number of its deconvolutions, number of its convolutions, name
# and channels of the last layer.
TASKS = {
    'pose-308': ('sapiens_pose/goliath/sapiens_0.3b-210e_goliath-1024x768.py', 'head', 768, 2, 2,
                 'final_layer', 308),
    'seg': ('sapiens_seg/goliath/sapiens_0.3b-200e_goliath-1024x768.py', 'decode_head', 768, 3, 3,
              'conv_seg', 28),
    'depth': ('sapiens_depth/render_people/sapiens_0.3b-200e_render_people-1024x768.py', 'decode_head', 384, 4,
              2, 'conv_seg', 1),
    'normal': ('sapiens_normal/render_people/sapiens_0.3b-200e_render_people-1024x768.py', 'decode_head', 768,
               3, 3, 'conv_seg', 3),
}


def public_shapes(prefix, channels, deconvs, convs, last, outputs):
    """Name -> shape of each tensor in a released file."""
    shapes = {'backbone.patch_embed.projection': (WIDTH, 3, 16, 16), 'backbone.ln1': (WIDTH, )}
    for i in range(LAYERS):
        shapes |= {f'backbone.layers.{i}.{name}': shape for name, shape in {
            'ln1': (WIDTH, ), 'ln2': (WIDTH, ), 'attn.qkv': (3 * WIDTH, WIDTH), 'attn.proj': (WIDTH, WIDTH),
            'ffn.layers.0.0': (4 * WIDTH, WIDTH), 'ffn.layers.1': (WIDTH, 4 * WIDTH)}.items()}
    shapes |= {f'{prefix}.conv_layers.{3 * i}': (channels, channels, 1, 1) for i in range(convs)}
    shapes[f'{prefix}.{last}'] = outputs, channels, 1, 1
    shapes = {f'{name}.{kind}': shape if kind == 'weight' else shape[:1] for name, shape in shapes.items()
              for kind in ('weight', 'bias')}
    shapes |= {f'{prefix}.deconv_layers.{3 * i}.weight': (channels if i else WIDTH, channels, 4, 4)
               for i in range(deconvs)}
    return shapes | {'backbone.pos_embed': (1, PATCHES, WIDTH)}


def write_released(cache, task):
    """Random weights in a hub cache, in the place and layout of the released file."""
    _, *head = TASKS[task]
    generator = torch.Generator().manual_seed(len(task))
    weights = {}
    for name, shape in public_shapes(*head).items():
        fan_in = math.prod(shape[1:]) / (4 if 'deconv' in name else 1)  # of 4 x 4 taps a pixel sees 2 x 2
        tensor = torch.randn(shape, generator=generator)
        if len(shape) == 4 or 'layers' in name and len(shape) == 2:
            tensor *= fan_in**-.5
        elif name.endswith('weight'):
            tensor = 1 + .1 * tensor  # of a norm
        else:
            tensor *= .1
        weights[name] = tensor
    meta = {}
    if task == 'pose-308':
        meta |= dict(cfg=ConfigDict(model=dict(type='TopdownPoseEstimator')), AP=np.float64(.573))
    file = RELEASED['0.3b', task]
    folder = cache / f'models--{file.repo.replace("/", "--")}'
    path = folder / 'snapshots' / ('0' * 40) / file.path
    path.parent.mkdir(parents=True)
    (folder / 'refs').mkdir()
    (folder / 'refs/main').write_text('0' * 40)
    torch.save(dict(meta=meta, state_dict=weights), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize('task', TASKS)
def test_released_checkpoints_by_name(root, coco_real, host_results, tmp_path, task):
    checkpoint = write_released(tmp_path / 'cache', task)
    boxes, out = tmp_path / 'boxes.json', tmp_path / 'out'
    boxes.write_text(json.dumps({PHOTO: [[BOX[0], BOX[1], BOX[0] + BOX[2], BOX[1] + BOX[3]]]}))
    command = [sys.executable, '-m', 'sapiens_mm', 'run', str(coco_real / PHOTO), '--size', '0.3b', '--tasks', task,
               '--device', 'cpu', '--dtype', 'fp32', '--boxes', str(boxes), '--save', 'npz,png,sheet', '--out',
               str(out)]
    subprocess.run(command, check=True, cwd=tmp_path, env={
        **os.environ, 'PYTHONPATH': str(root), 'HF_HUB_CACHE': str(tmp_path / 'cache'), 'HF_HUB_OFFLINE': '1'})
    box = np.array([[*BOX[:2], BOX[0] + BOX[2], BOX[1] + BOX[3], 1]], np.float32)
    sample, = host_results(root / 'configs' / TASKS[task][0], checkpoint, str(coco_real / PHOTO), box)
    content = json.loads((out / f'{PHOTO}.json').read_text())
    meta = json.loads((out / 'meta.json').read_text())
    assert meta['models'][0]['source'] == RELEASED['0.3b', task].source
    assert meta['models'][0]['input_size'] == [1024, 768]
    if task == 'pose-308':
        actual = np.array(content['instances'][0]['keypoints']).reshape(-1, 3)
        expected = sample.pred_instances
        assert len(actual) == 308
        assert np.ptp(actual[:, :2], axis=0).min() > 100  # not all in one place
        assert np.abs(actual[:, :2] - expected.keypoints[0]).max() < .05
        np.testing.assert_allclose(actual[:, 2], expected.keypoint_scores[0], atol=2e-3)  # JSON has three digits
        return
    with np.load(out / f'{PHOTO}.npz') as maps:
        actual = maps[get_task(task).result]
    expected = getattr(sample, get_task(task).pred_field).data
    if task == 'seg':
        expected = expected[0].numpy()
        assert len(np.unique(expected)) > 10
        assert (actual == expected).mean() > .999
    else:
        np.testing.assert_allclose(actual, expected.permute(1, 2, 0).numpy().reshape(actual.shape), atol=1e-3)
