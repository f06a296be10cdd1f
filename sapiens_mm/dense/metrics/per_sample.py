"""Evaluators that write something for each sample; after the metrics, whose ``sample['scores']`` they read."""
import csv
import json
import math
import os
import os.path as osp

import cv2
import mmengine
import numpy as np
from mmengine.dist import is_main_process
from mmseg.registry import METRICS

from ...tasks import Task, dense_tasks
from ...utils.alignment import fit_line
from ...visualization.maps import depth_limits, draw_map, legend
from ...vocabularies.body_parts import IGNORED_PART, PART_COLORS, PART_NAMES
from ..label_files import read_image
from ..visualization import color_bar
from .normal import angles_between
from .streaming import ScoringMetric, StreamingMetric, get_map, name_of

# Errors from here on have the brightest color.
_MAX_METERS, _MAX_DEGREES = 0.2, 60
_HEAT = cv2.COLORMAP_INFERNO


def _stem(sample: dict) -> str:
    if sample.get('sample_name'):
        return str(sample['sample_name']).replace('/', '_')
    return osp.splitext(osp.basename(name_of(sample)))[0]


def _no_scores(evaluator: StreamingMetric, sample: dict) -> ValueError:
    metrics = ', '.join(kind.__name__ for kind in ScoringMetric.__subclasses__())
    return ValueError(f"scores of sample '{name_of(sample)}': got none, expected those of a metric; put "
                      f'{type(evaluator).__name__} after {metrics} in test_evaluator')


@METRICS.register_module()
class SapiensSampleScores(StreamingMetric):
    """Writes each sample's scores to a ``.json`` or ``.csv`` ``out_file``, in the dataset's order; null if skipped."""

    default_prefix = 'scores'

    def __init__(self, out_file: str) -> None:
        if not out_file.endswith(('.json', '.csv')):
            raise ValueError(f"out_file: got '{out_file}', expected a .json or .csv file")
        self.out_file = out_file
        super().__init__()

    def measure(self, sample: dict, index: int) -> dict:
        if 'scores' not in sample:
            raise _no_scores(self, sample)
        row = dict(index=index, sample_name=name_of(sample), img_path=sample.get('img_path'))
        if sample.get('region') is not None:
            row['region'] = sample['region']
        return row | {name: float(value) if math.isfinite(value) else None for name, value in sample['scores'].items()}

    def summarize(self, states: list[list]) -> dict:
        if is_main_process():
            rows = sorted((row for state in states for row in state), key=lambda row: row['index'])
            mmengine.mkdir_or_exist(osp.dirname(osp.abspath(self.out_file)))
            with open(self.out_file, 'w', newline='') as file:
                if self.out_file.endswith('.json'):
                    json.dump(rows, file, indent=1)
                else:
                    writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row))
                    writer.writeheader()
                    writer.writerows(rows)
        return {}


@METRICS.register_module(['SapiensWorstSamples', 'SapiensWorstPictures'])  # the latter in earlier configs
class SapiensWorstSamples(StreamingMetric):
    """Draws the samples with the worst scores: image, truth, prediction and error side by side, with legends.

    The worst are those by the first mIoU, RMSE of depth and mean angle that are measured. The error of depth is shown
    after the best scale and shift, whatever the metric's alignment; the predicted depth is shown unaligned.

    Args:
        out_dir: Gets a folder for each task, for example ``depth`` with ``01_0.4321_NAME.jpg`` for the worst.
        count: Images of each task, which each process keeps; ``height`` in pixels.
    """

    default_prefix = 'worst'

    def __init__(self, out_dir: str, count: int = 20, height: int = 384) -> None:
        if count < 1:
            raise ValueError(f'count: got {count}, expected at least 1')
        self.out_dir = out_dir
        self.count = count
        self.height = height
        super().__init__()

    def start(self) -> dict[str, list]:
        return {}

    def measure(self, sample: dict, index: int) -> dict[str, tuple]:
        metrics = {kind.default_prefix: kind for kind in ScoringMetric.__subclasses__()}
        chosen = {}
        for full_name in sample.get('scores', {}):
            prefix, *_, name = full_name.split('/')
            if prefix in metrics and name == metrics[prefix].worst_by[0]:
                chosen.setdefault(prefix, full_name)
        if not chosen:
            raise _no_scores(self, sample)
        record = {}
        for prefix, full_name in chosen.items():
            score = sample['scores'][full_name]
            if not math.isfinite(score):
                continue
            order = score if metrics[prefix].worst_by[1] else -score
            kept = self.state.get(prefix, [])
            if len(kept) < self.count or (order, index) < kept[-1][:2]:
                image = self._draw(sample, dense_tasks()[metrics[prefix].task], full_name)
                record[prefix] = (order, index, score, _stem(sample), image)
        return record

    def absorb(self, record: dict[str, tuple]) -> None:
        for prefix, entry in record.items():
            self.state[prefix] = sorted([*self.state.get(prefix, []), entry])[:self.count]

    def summarize(self, states: list[dict]) -> dict:
        for prefix in sorted({prefix for state in states for prefix in state}) if is_main_process() else ():
            entries = sorted(entry for state in states for entry in state.get(prefix, []))[:self.count]
            folder = osp.join(self.out_dir, prefix)
            mmengine.mkdir_or_exist(folder)
            for place, (_, _, score, stem, image) in enumerate(entries, 1):
                with open(osp.join(folder, f'{place:02d}_{score:.4g}_{stem}.jpg'), 'wb') as file:
                    file.write(image)
        return {}

    def _draw(self, sample: dict, task: Task, score: str) -> bytes:
        truth, predicted = get_map(sample, task.label.field), get_map(sample, task.pred_field)
        height, width = truth.shape[-2:]
        size = max(1, round(width * self.height / height)), self.height

        def shrink(array):
            array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
            array = array.astype(np.uint8 if task.is_integer else np.float32)
            return cv2.resize(array, size, interpolation=cv2.INTER_NEAREST)

        truth, predicted = shrink(truth), shrink(predicted)
        image = np.full((size[1], size[0], 3), 127, dtype=np.uint8)
        if sample.get('img_path') and osp.isfile(sample['img_path']):
            image = cv2.resize(read_image(sample['img_path'])[..., ::-1], size, interpolation=cv2.INTER_AREA)
        mask = np.ones(truth.shape[:2], dtype=bool)
        if sample.get('gt_person_mask') is not None:
            mask = cv2.resize(
                get_map(sample, 'gt_person_mask').astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        meta = self.dataset_meta or {}
        draw_panels = dict(
            classes=_class_panels, depth=_depth_panels, vectors=_vector_panels, values=_value_panels,
            mask=_mask_panels)[task.kind]
        panels = draw_panels(truth, predicted, mask, meta, lambda values, mask: draw_map(
            task.name, values, image, mask, meta.get('palette') or PART_COLORS))
        sheet = np.concatenate([image, *panels], axis=1)
        bar = np.zeros((24, sheet.shape[1], 3), dtype=np.uint8)
        text = f'{_stem(sample)}  {score} {sample["scores"][score]:.4g}  (image, truth, prediction, error)'
        cv2.putText(bar, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
        done, data = cv2.imencode('.jpg', np.concatenate([bar, sheet])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        if not done:
            raise RuntimeError(f"image of sample '{name_of(sample)}': OpenCV cannot encode it as JPEG")
        return data.tobytes()


def _class_panels(truth, predicted, mask, meta, draw):
    palette, names = meta.get('palette') or PART_COLORS, meta.get('classes') or PART_NAMES
    error = np.full((*truth.shape, 3), 60, np.uint8)
    error[truth != predicted] = (220, 40, 40)
    error[truth == IGNORED_PART] = 0
    visible = [i for i in np.union1d(truth, predicted) if i < min(len(names), len(palette))]
    key = legend(len(truth), [names[i] for i in visible], [palette[i] for i in visible])
    return draw(truth, mask), draw(predicted, mask), error, key


def _depth_panels(truth, predicted, mask, meta, draw):
    mask = mask & np.isfinite(truth) & (truth > 0)
    usable = mask & np.isfinite(predicted)
    error = np.full(truth.shape, 1e9, dtype=np.float64)
    if usable.any():
        scale, shift = fit_line(predicted[usable].astype(np.float64), truth[usable].astype(np.float64))
        error[usable] = np.abs(scale * predicted[usable] + shift - truth[usable])
    shown = np.where(usable, predicted, 0)
    height = len(truth)
    return (draw(truth, mask), color_bar(height, depth_limits(truth, mask), ' m'),
            draw(shown, usable), color_bar(height, depth_limits(shown, usable)),
            _heat(error / _MAX_METERS, mask), color_bar(height, (_MAX_METERS, 0), ' m', _HEAT))


def _value_panels(truth, predicted, mask, meta, draw):
    return draw(truth, mask), draw(predicted, mask), _heat(np.abs(predicted.astype(np.float32) - truth), mask)


def _mask_panels(truth, predicted, mask, meta, draw):
    return _value_panels(truth, predicted, np.ones_like(mask), meta, draw)


def _vector_panels(truth, predicted, mask, meta, draw):
    mask = mask & np.isfinite(truth).all(-1) & (np.abs(truth).sum(-1) > 0)
    angles, _, _ = angles_between(predicted.reshape(-1, 3).T, np.where(mask[..., None], truth, 1).reshape(-1, 3).T)
    return (draw(truth, mask), draw(np.nan_to_num(predicted, posinf=0, neginf=0), mask),
            _heat(angles.reshape(mask.shape) / _MAX_DEGREES, mask),
            color_bar(len(truth), (_MAX_DEGREES, 0), ' deg', _HEAT))


def _heat(share: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns (H, W, 3) RGB of shares, 0 dark to 1 bright; black outside of the mask."""
    heat = cv2.applyColorMap((share.clip(0, 1) * 255).astype(np.uint8), _HEAT)[..., ::-1].copy()
    heat[~mask] = 0
    return heat


@METRICS.register_module()
class SapiensDumpPredictions(StreamingMetric):
    """Writes the predictions of each sample as the model returns them, at the size of the original image.

    * ``npz``: ``000012_NAME.npz`` (12: place in the dataset) with ``pred_sem_seg`` and ``pred_foreground`` (H, W)
      uint8, ``pred_depth_map`` (H, W) float32 and ``pred_normal_map`` (3, H, W) float32, as far as predicted, and
      ``img_path``.
    * ``png16``: ``000012_NAME_parts.png`` and ``_foreground.png`` (8 bits), ``_depth.png`` (16 bits), ``_normal.png``
      (16 bits, RGB = x, y, z), and ``000012_NAME.json`` with ``scale`` and ``offset`` of
      ``value = code * scale + offset`` for the latter two, and the code of pixels that are not finite.

    ``out_dir`` is the folder for the files, ``format`` one of these two.
    """

    default_prefix = 'dump'

    def __init__(self, out_dir: str, format: str = 'npz') -> None:
        if format not in ('npz', 'png16'):
            raise ValueError(f"format: got {format!r}, expected 'npz' or 'png16'")
        self.out_dir = out_dir
        self.format = format
        super().__init__()

    def measure(self, sample: dict, index: int) -> list[str]:
        tasks = [task for task in dense_tasks().values() if sample.get(task.pred_field) is not None]
        if not tasks:
            fields = ', '.join(task.pred_field for task in dense_tasks().values())
            raise ValueError(f"predictions of sample '{name_of(sample)}': got none, expected one of {fields}")
        arrays = {task: get_map(sample, task.pred_field) for task in tasks}
        arrays = {task: array.astype(np.uint8) if task.is_integer else array for task, array in arrays.items()}
        mmengine.mkdir_or_exist(self.out_dir)
        path = osp.join(self.out_dir, f'{index:06d}_{_stem(sample)}')
        if self.format == 'npz':
            np.savez(f'{path}.npz', img_path=str(sample.get('img_path')),
                     **{task.pred_field: array for task, array in arrays.items()})
            return [f'{path}.npz']
        files, notes = [f'{path}.json'], dict(img_path=sample.get('img_path'), sample_name=name_of(sample))
        for task, array in arrays.items():
            file = f'{path}_{task.result}.png'
            codes, note = (array, {}) if task.is_integer else _to_16_bits(array, task)
            if not cv2.imwrite(file, codes):
                raise OSError(f'{file}: OpenCV cannot write it; check the disk')
            notes[task.result] = dict(file=osp.basename(file), **note)
            files.append(file)
        with open(files[0], 'w') as file:
            json.dump(notes, file, indent=1)
        return files

    def absorb(self, record: list[str]) -> None:
        """Keeps no record."""

    def discard(self, record: list[str]) -> None:
        for file in record:
            os.remove(file)


def _to_16_bits(array: np.ndarray, task: Task) -> tuple[np.ndarray, dict]:
    """Returns codes in OpenCV's channel order, and how to read them."""
    finite = np.isfinite(array)
    if task.kind == 'vectors':
        scale, offset, missing = 1 / 32767, -1.0, 65535
        array = array.clip(-1, 1)
    else:
        low, high = (float(array[finite].min()), float(array[finite].max())) if finite.any() else (0.0, 0.0)
        scale = (high - low) / 65534 or 1.0
        offset, missing = low - scale, 0
    values = np.where(finite, array, 0).astype(np.float64)
    codes = np.where(finite, np.rint((values - offset) / scale), missing).astype(np.uint16)
    note = dict(scale=scale, offset=offset, not_finite=missing)
    if task.kind != 'vectors':
        return codes, note
    return np.ascontiguousarray(np.moveaxis(codes, 0, -1)[..., ::-1]), dict(note, channels='x, y, z in R, G, B')
