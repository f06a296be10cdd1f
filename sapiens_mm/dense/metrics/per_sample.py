"""What a test run writes of each sample: its figures, the worst as pictures, the predictions themselves.

They stand where metrics do, because there each sample of every process passes once, with its ground truth; they add no
figures. They come after the metrics in the config, which leave a sample's figures in ``sample['scores']``.
"""
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

from ...visualization.maps import color_normals, depth_limits, draw_depth, draw_parts, legend
from ...vocabularies.body_parts import IGNORED_PART, PART_COLORS, PART_NAMES
from ..label_files import read_image
from ..visualization import color_bar
from .depth import fit_line
from .normal import angles_between
from .streaming import StreamingMetric, get_map, name_of

_PREDICTIONS = dict(parts='pred_sem_seg', depth='pred_depth_map', normal='pred_normal_map')
_TRUTHS = dict(parts='gt_sem_seg', depth='gt_depth_map', normal='gt_normal_map')
#: The figure of a task by which samples are the worst, and whether a low one is bad.
_WORST_BY = dict(parts=('mIoU', True), depth=('RMSE', False), normal=('mean', False))

#: Errors from here on have the brightest colour.
_MOST_METRES, _MOST_DEGREES = 0.2, 60
_HEAT = cv2.COLORMAP_INFERNO


def _stem(sample: dict) -> str:
    """A name for the files of a sample; that of a sample in a subfolder has its folder in it."""
    if sample.get('sample_name'):
        return str(sample['sample_name']).replace('/', '_')
    return osp.splitext(osp.basename(name_of(sample)))[0]


@METRICS.register_module()
class SapiensSampleScores(StreamingMetric):
    """Writes the figures of each sample, in the order of the data set.

    Args:
        out_file: A ``.json`` or ``.csv`` file. Figures of skipped samples are null, or empty.
    """

    default_prefix = 'scores'

    def __init__(self, out_file: str) -> None:
        if not out_file.endswith(('.json', '.csv')):
            raise ValueError(f"out_file is '{out_file}', expected a .json or .csv file")
        self.out_file = out_file
        super().__init__()

    def start(self) -> list:
        return []

    def measure(self, sample: dict, index: int) -> dict:
        if 'scores' not in sample:
            raise ValueError(f"sample '{name_of(sample)}' has no scores: {type(self).__name__} comes after the metrics "
                             'SapiensPartsMetric, SapiensDepthMetric or SapiensNormalMetric in test_evaluator')
        scores = {name: float(value) if math.isfinite(value) else None for name, value in sample['scores'].items()}
        row = dict(index=index, sample_name=name_of(sample), img_path=sample.get('img_path'))
        if sample.get('region') is not None:
            row['region'] = sample['region']
        return {**row, **scores}

    def absorb(self, record: dict) -> None:
        self.state.append(record)

    def summarise(self, states: list[list]) -> dict:
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


@METRICS.register_module()
class SapiensWorstPictures(StreamingMetric):
    """Draws the samples with the worst figures: image, truth, prediction and error side by side, with their keys.

    The worst are those by the first mIoU, RMSE of depth and mean angle that are measured. The picture of the error of
    depth is that after the scale and shift that fit best, whatever the alignment of the figure; the predicted depth is
    shown as the model has it, so that near and far can be told apart. Each process keeps as
    many finished pictures as are wanted, so memory doesn't grow with the data set.

    Args:
        out_dir: Gets a folder for each task, ``depth``, say, with ``01_0.4321_NAME.jpg`` for the worst.
        count: Pictures of each task.
        height: Of the pictures, in pixels.
    """

    default_prefix = 'worst'

    def __init__(self, out_dir: str, count: int = 20, height: int = 384) -> None:
        if count < 1:
            raise ValueError(f'count is {count}, expected at least 1')
        self.out_dir = out_dir
        self.count = count
        self.height = height
        super().__init__()

    def start(self) -> dict[str, list]:
        return {}

    def measure(self, sample: dict, index: int) -> dict[str, tuple]:
        record = {}
        for task, figure in self._figures(sample).items():
            score = sample['scores'][figure]
            if not math.isfinite(score):
                continue
            badness = -score if _WORST_BY[task][1] else score
            kept = self.state.get(task, [])
            if len(kept) < self.count or (-badness, index) < kept[-1][:2]:
                record[task] = (-badness, index, score, _stem(sample), self._draw(sample, task, figure))
        return record

    def absorb(self, record: dict[str, tuple]) -> None:
        for task, entry in record.items():
            self.state[task] = sorted([*self.state.get(task, []), entry])[:self.count]

    def summarise(self, states: list[dict]) -> dict:
        for task in sorted({task for state in states for task in state}) if is_main_process() else ():
            entries = sorted(entry for state in states for entry in state.get(task, []))[:self.count]
            folder = osp.join(self.out_dir, task)
            mmengine.mkdir_or_exist(folder)
            for place, (_, _, score, stem, picture) in enumerate(entries, 1):
                with open(osp.join(folder, f'{place:02d}_{score:.4g}_{stem}.jpg'), 'wb') as file:
                    file.write(picture)
        return {}

    def _figures(self, sample: dict) -> dict[str, str]:
        """By task, the name of the figure to choose by."""
        found = {}
        for figure in sample.get('scores', {}):
            task, *_, name = figure.split('/')
            if task in _WORST_BY and name == _WORST_BY[task][0]:
                found.setdefault(task, figure)
        if not found:
            raise ValueError(f"sample '{name_of(sample)}' has no scores to choose by: {type(self).__name__} comes "
                             'after SapiensPartsMetric, SapiensDepthMetric or SapiensNormalMetric in test_evaluator')
        return found

    def _draw(self, sample: dict, task: str, figure: str) -> bytes:
        """The picture of a sample, as the bytes of a JPEG file."""
        truth, predicted = get_map(sample, _TRUTHS[task]), get_map(sample, _PREDICTIONS[task])
        height, width = truth.shape[-2:]
        size = max(1, round(width * self.height / height)), self.height

        def shrink(array):
            array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
            array = array.astype(np.uint8 if task == 'parts' else np.float32)
            return cv2.resize(array, size, interpolation=cv2.INTER_NEAREST)

        truth, predicted = shrink(truth), shrink(predicted)
        image = np.full((size[1], size[0], 3), 127, dtype=np.uint8)
        if sample.get('img_path') and osp.isfile(sample['img_path']):
            image = cv2.resize(read_image(sample['img_path'])[..., ::-1], size, interpolation=cv2.INTER_AREA)
        mask = np.ones(truth.shape[:2], dtype=bool)
        if sample.get('gt_person_mask') is not None:
            mask = cv2.resize(
                get_map(sample, 'gt_person_mask').astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        panels = dict(parts=self._parts, depth=_depth, normal=_normals)[task](image, truth, predicted, mask)
        sheet = np.concatenate([image, *panels], axis=1)
        bar = np.zeros((24, sheet.shape[1], 3), dtype=np.uint8)
        text = f'{_stem(sample)}  {figure} {sample["scores"][figure]:.4g}  (image, truth, prediction, error)'
        cv2.putText(bar, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
        done, data = cv2.imencode('.jpg', np.concatenate([bar, sheet])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        if not done:
            raise RuntimeError(f"the picture of sample '{name_of(sample)}' could not be encoded")
        return data.tobytes()

    def _parts(self, image, truth, predicted, mask):
        palette = (self.dataset_meta or {}).get('palette') or PART_COLORS
        error = np.full_like(image, 60)
        error[truth != predicted] = (220, 40, 40)
        error[truth == IGNORED_PART] = 0
        names = (self.dataset_meta or {}).get('classes') or PART_NAMES
        seen = [i for i in np.union1d(truth, predicted) if i < min(len(names), len(palette))]
        key = legend(len(image), [names[i] for i in seen], [palette[i] for i in seen])
        return draw_parts(image, truth, palette), draw_parts(image, predicted, palette), error, key


def _depth(image, truth, predicted, mask):
    mask = mask & np.isfinite(truth) & (truth > 0)
    usable = mask & np.isfinite(predicted)
    error = np.full(truth.shape, 1e9, dtype=np.float64)
    if usable.any():
        scale, shift = fit_line(predicted[usable].astype(np.float64), truth[usable].astype(np.float64))
        error[usable] = np.abs(scale * predicted[usable] + shift - truth[usable])
    shown = np.where(usable, predicted, 0)
    height = len(image)
    return (draw_depth(truth, mask), color_bar(height, depth_limits(truth, mask), ' m'),
            draw_depth(shown, usable), color_bar(height, depth_limits(shown, usable)),
            _heat(error / _MOST_METRES, mask), color_bar(height, (_MOST_METRES, 0), ' m', _HEAT))


def _normals(image, truth, predicted, mask):
    mask = mask & np.isfinite(truth).all(-1) & (np.abs(truth).sum(-1) > 0)
    angles, _, _ = angles_between(predicted.reshape(-1, 3).T, np.where(mask[..., None], truth, 1).reshape(-1, 3).T)
    shown = np.nan_to_num(predicted, posinf=0, neginf=0)
    heat = _heat(angles.reshape(mask.shape) / _MOST_DEGREES, mask)
    return (color_normals(truth, mask), color_normals(shown, mask), heat,
            color_bar(len(image), (_MOST_DEGREES, 0), ' deg', _HEAT))


def _heat(share: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB from shares, 0 dark to 1 bright; black outside of the mask."""
    heat = cv2.applyColorMap((share.clip(0, 1) * 255).astype(np.uint8), _HEAT)[..., ::-1].copy()
    heat[~mask] = 0
    return heat


@METRICS.register_module()
class SapiensDumpPredictions(StreamingMetric):
    """Writes the predictions of each sample as they come out of the model, at the size of the original image.

    A sample's files begin with its place in the data set, so neither images of one name nor processes collide.

    * ``npz``: ``000012_NAME.npz`` with ``pred_sem_seg`` (H, W) uint8, ``pred_depth_map`` (H, W) float32,
      ``pred_normal_map`` (3, H, W) float32, those that are predicted, and ``img_path``.
    * ``png16``: ``000012_NAME_parts.png`` (8 bits), ``_depth.png`` (16 bits), ``_normal.png`` (16 bits, RGB = x, y, z),
      and ``000012_NAME.json``, which has for each of the latter the ``scale`` and ``offset`` by which
      ``value = code * scale + offset``, and the code of pixels that aren't finite.

    Args:
        out_dir: Folder for the files.
        format: ``'npz'`` or ``'png16'``.
    """

    default_prefix = 'dump'

    def __init__(self, out_dir: str, format: str = 'npz') -> None:
        if format not in ('npz', 'png16'):
            raise ValueError(f"format is {format!r}, expected 'npz' or 'png16'")
        self.out_dir = out_dir
        self.format = format
        super().__init__()

    def start(self) -> None:
        return None

    def measure(self, sample: dict, index: int) -> list[str]:
        maps = {task: get_map(sample, key) for task, key in _PREDICTIONS.items() if sample.get(key) is not None}
        if not maps:
            raise ValueError(f"sample '{name_of(sample)}' has none of {', '.join(_PREDICTIONS.values())}")
        if 'parts' in maps:
            maps['parts'] = maps['parts'].astype(np.uint8)
        mmengine.mkdir_or_exist(self.out_dir)
        path = osp.join(self.out_dir, f'{index:06d}_{_stem(sample)}')
        if self.format == 'npz':
            arrays = {_PREDICTIONS[task]: array for task, array in maps.items()}
            np.savez(f'{path}.npz', img_path=str(sample.get('img_path')), **arrays)
            return [f'{path}.npz']
        files, notes = [f'{path}.json'], dict(img_path=sample.get('img_path'), sample_name=name_of(sample))
        for task, array in maps.items():
            file = f'{path}_{task}.png'
            codes, note = (array, {}) if task == 'parts' else _to_16_bits(array, task)
            if not cv2.imwrite(file, codes):
                raise OSError(f'{file} could not be written')
            notes[task] = dict(file=osp.basename(file), **note)
            files.append(file)
        with open(files[0], 'w') as file:
            json.dump(notes, file, indent=1)
        return files

    def absorb(self, record: list[str]) -> None:
        pass

    def discard(self, record: list[str]) -> None:
        for file in record:
            os.remove(file)

    def summarise(self, states: list) -> dict:
        return {}


def _to_16_bits(array: np.ndarray, task: str) -> tuple[np.ndarray, dict]:
    """Codes as OpenCV writes them, and how to read them."""
    finite = np.isfinite(array)
    if task == 'normal':
        scale, offset, missing, order = 1 / 32767, -1.0, 65535, 'x, y, z in R, G, B'
        array = array.clip(-1, 1)
    else:
        low, high = (float(array[finite].min()), float(array[finite].max())) if finite.any() else (0.0, 0.0)
        scale = (high - low) / 65534 or 1.0
        offset, missing, order = low - scale, 0, None
    values = np.where(finite, array, 0).astype(np.float64)
    codes = np.where(finite, np.rint((values - offset) / scale), missing).astype(np.uint16)
    note = dict(scale=scale, offset=offset, not_finite=missing)
    if order is None:
        return codes, note
    return np.ascontiguousarray(np.moveaxis(codes, 0, -1)[..., ::-1]), dict(note, channels=order)
