"""Small dense models, data samples with labels, a folder of people with all labels, and outputs of the public heads."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

FLIP_INDICES = [0, 2, 1, 3, 5, 4]
BACKBONE = dict(
    type='SapiensViT', arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64), img_size=(64, 48))
HEADS = dict(
    seg=dict(deconv_out_channels=(8, 8, 8), conv_out_channels=(8, 8, 8), num_classes=6),
    depth=dict(deconv_out_channels=(8, 8, 8, 8), deconv_kernel_sizes=(4, 4, 4, 4), conv_out_channels=(8, 8),
               conv_kernel_sizes=(1, 1)),
    normal=dict(deconv_out_channels=(8, 8, 8), conv_out_channels=(8, 8, 8)))
HEADS = {task: dict(type='SapiensDenseHead', in_channels=32, **head) for task, head in HEADS.items()}
FIELDS = dict(seg='gt_sem_seg', depth='gt_depth_map', normal='gt_normal_map')


def samples(*tasks_of_each, num=2, size=(64, 48), **metainfo) -> list[SegDataSample]:
    """Returns data samples with random labels of some tasks, ``num`` of all by default; 5 rows have none."""
    torch.manual_seed(1)
    out = []
    for tasks in tasks_of_each or [FIELDS] * num:
        label = torch.randint(0, 6, (1, *size))
        label[:, :5] = 255
        labels = dict(seg=label, depth=torch.rand(1, *size) * (label < 5),
                      normal=F.normalize(torch.randn(3, *size), dim=0) * (label < 5))
        out.append(SegDataSample(metainfo=dict(
            dict(ori_shape=size, img_shape=size, pad_shape=size, flip_indices=FLIP_INDICES), **metainfo)))
        out[-1].set_data({FIELDS[task]: PixelData(data=labels[task]) for task in tasks})
    return out


def write_people(root: Path, names=('b', 'a', 'c'), size: tuple = (40, 32)) -> Path:
    """An ellipsoid of three parts (2, and the person's right 15 and left 6 arm) in each image."""
    height, width = size
    for folder in ('images', 'masks', 'parts', 'depths', 'normals'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    u, v = (x - width / 2) / (width * 0.3), (y - height / 2) / (height * 0.4)
    up = np.sqrt(np.maximum(1 - u**2 - v**2, 0))
    person = up > 0
    rng = np.random.default_rng(0)
    for name in names:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f'images/{name}.png'), image)
        cv2.imwrite(str(root / f'masks/{name}.png'), person.astype(np.uint8) * 255)
        parts = np.select([u < -0.5, u > 0.5], [15, 6], 2) * person
        cv2.imwrite(str(root / f'parts/{name}.png'), parts.astype(np.uint8))
        np.save(root / f'depths/{name}.npy', np.where(person, 3 - up, 0).astype(np.float32))
        np.save(root / f'normals/{name}.npy', np.where(person[..., None], np.stack([u, -v, up], -1), 0).astype('f4'))
    return root


@pytest.fixture
def people(tmp_path) -> Path:
    return write_people(tmp_path / 'people')
