"""Drawings of a config's samples: with their annotations, and as the model gets them after the pipeline."""
from collections.abc import Iterator

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from ..tasks import MASK_LABEL, dense_tasks
from ..utils.images import decode
from ..visualization.maps import draw_label, draw_text, legend
from ..visualization.sheet import sheet
from ..visualization.skeleton import draw_skeleton

_HEIGHT = 512  # of a panel, in pixels
_MAX_NAMED = 40  # larger keypoint sets are drawn without names


def browse(cfg: Config, split: str = 'train', number: int = 16, mode: str = 'both'
           ) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a name and the panels of a sample side by side, (H, W, 3) uint8 RGB.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``; ValueError if the config does not have it.
        number: Number of samples, spread evenly over the dataset.
        mode: ``'original'``: as annotated; ``'transformed'``: after the pipeline; ``'both'``.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader or not loader.get('dataset'):
        raise ValueError(f'split: got {split!r}, expected a split with a dataloader in the config')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        dataset = DATASETS.build(_with_transformed(loader['dataset']))
        if not hasattr(dataset, 'get_data_info'):
            for index, sample in zip(range(number), dataset):
                yield f'{index:04d}', sheet({sample['data_samples']['key']: _to_rgb(sample['inputs'], 'RGB')})
            return
        length = getattr(dataset, '_ori_len', len(dataset))  # that of RepeatDataset without the repetitions
        for index in dict.fromkeys(np.linspace(0, length - 1, min(number, length)).astype(int)):
            info = dataset.get_data_info(int(index))
            name = info.get('sample_name') or info['img_path'].rpartition('/')[2].rpartition('.')[0]
            panels = _annotated(dataset, info, name) if mode != 'transformed' else {}
            if mode != 'original':
                panels.update(_transformed(dataset, dataset[int(index)]))
            yield f'{index:06d}_{name.replace("/", "_")}', sheet(panels)


def _with_transformed(cfg: dict) -> dict:
    if isinstance(cfg, dict):
        extra = dict(pack_transformed=True) if str(cfg.get('type')).rpartition('.')[2] == 'PackPoseInputs' else {}
        return {**{key: _with_transformed(value) for key, value in cfg.items()}, **extra}
    return [_with_transformed(value) for value in cfg] if isinstance(cfg, (list, tuple)) else cfg


def _annotated(dataset, info: dict, name: str) -> dict[str, np.ndarray]:
    with open(info['img_path'], 'rb') as file:
        image = decode(file.read(), cv2.IMREAD_COLOR)[..., ::-1]
    if 'keypoints' in info:
        box = np.asarray(info['bbox'])
        return {name: _draw_keypoints(image, np.asarray(info['keypoints']), _visible(info['keypoints_visible']),
                                      dataset.metainfo, box)}
    from ..dense.transforms import SapiensLoadLabels
    sample = SapiensLoadLabels()({**info, 'ori_shape': image.shape[:2], 'seg_fields': []})
    return {name: _scaled(image),
            **_label_panels(image, {key: sample[key] for key in sample['seg_fields']}, dataset.metainfo)}


def _transformed(dataset, packed: dict) -> dict[str, np.ndarray]:
    image, sample = _to_rgb(packed['inputs'], 'BGR'), packed['data_samples']
    instances = getattr(sample, 'gt_instances', None)
    if instances is not None and 'transformed_keypoints' in instances:
        visible = _visible(instances.keypoints_visible)
        weights = getattr(getattr(sample, 'gt_instance_labels', None), 'keypoint_weights', None)
        if weights is not None and tuple(weights.shape) == visible.shape:  # 0 where the target lies outside of the map
            visible &= np.asarray(weights) > 0
        points = np.asarray(instances.transformed_keypoints)
        return {'after the pipeline': _draw_keypoints(image, points, visible, dataset.metainfo)}
    maps = {label.key: _at_size(getattr(sample, label.field).data.numpy(), image.shape[:2])
            for label in (MASK_LABEL, *(task.label for task in dense_tasks().values())) if label.field in sample}
    return {'after the pipeline': _scaled(image), **{
        f'{title} after': panel for title, panel in _label_panels(image, maps, dataset.metainfo).items()}}


def _at_size(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a label (C, h, w), which a test pipeline keeps at the original image's size, to (H, W) or (H, W, C)."""
    label = np.moveaxis(label, 0, -1)
    label = label[..., 0] if label.shape[2] == 1 else label
    return label if label.shape[:2] == size else cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)


def _visible(visible) -> np.ndarray:
    visible = np.asarray(visible)
    return (visible[..., 0] if visible.ndim == 3 else visible) > 0


def _to_rgb(inputs, order: str) -> np.ndarray:
    image = np.moveaxis(np.asarray(inputs), 0, -1).astype(np.uint8)
    return np.ascontiguousarray(image if order == 'RGB' else image[..., ::-1])


def _scaled(image: np.ndarray, nearest: bool = False) -> np.ndarray:
    scale = _HEIGHT / len(image)
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=how)


def _draw_keypoints(image: np.ndarray, points: np.ndarray, visible: np.ndarray, metainfo: dict,
                    boxes: np.ndarray | None = None) -> np.ndarray:
    scale = _HEIGHT / len(image)
    panel = draw_skeleton(_scaled(image), points * scale, visible.astype(float), metainfo, .5,
                          None if boxes is None else boxes * scale)
    if len(metainfo['keypoint_id2name']) <= _MAX_NAMED:
        for person, mask in zip(points * scale, visible):
            for index in np.flatnonzero(mask):
                place = tuple(int(value) for value in person[index] + 4)
                draw_text(panel, metainfo['keypoint_id2name'][index], place, .35)
    return panel


def _label_panels(image: np.ndarray, maps: dict[str, np.ndarray], metainfo: dict) -> dict[str, np.ndarray]:
    panels = {}
    for task in dense_tasks().values():
        if task.label.key in maps and task.label is not MASK_LABEL:
            values = maps[task.label.key]
            panel = _scaled(draw_label(task, values, image, metainfo.get('palette')), True)
            panels[task.title] = _with_legend(panel, values, metainfo) if task.kind == 'classes' else panel
    if MASK_LABEL.key in maps:
        panels[MASK_LABEL.noun] = _scaled(np.repeat(maps[MASK_LABEL.key][..., None] * np.uint8(255), 3, axis=2), True)
    return panels


def _with_legend(panel: np.ndarray, parts: np.ndarray, metainfo: dict) -> np.ndarray:
    names, palette = metainfo['classes'], metainfo['palette']
    seen = [index for index in np.unique(parts) if 0 < index < len(names)]
    return np.hstack([panel, legend(len(panel), [names[i] for i in seen], [palette[i] for i in seen])])
