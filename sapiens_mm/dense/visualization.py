"""Visualizer of dense labels and predictions, for mmseg's hook."""
import itertools

import cv2
import mmcv
import numpy as np
from mmengine.dist import is_main_process
from mmengine.visualization import LocalVisBackend
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ..tasks import MASK_LABEL, Task, dense_tasks
from ..visualization.maps import depth_limits, draw_map, legend
from ..visualization.sheet import MAX_HEIGHT, resize_to_height, sheet


def color_bar(height: int, limits: tuple[float, float] | None, unit: str = '',
              colormap: int = cv2.COLORMAP_VIRIDIS) -> np.ndarray:
    """Draws the key of a color map, (height, W, 3) uint8 RGB: a white column, colors from bright to dark, values.

    ``limits`` are the values of the brightest color, at the top, and of the darkest; with None the column is empty.
    """
    line = min(max(12, height // 28), max(1, height // 2))
    scale, margin = line / 34, line // 2
    width = cv2.getTextSize('-00.00 m', cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
    column = np.full((height, width + 2 * line, 3), 255, np.uint8)
    if limits is None:
        return column
    shades = np.linspace(255, 0, max(1, height - 2 * margin)).astype(np.uint8)
    column[margin:margin + len(shades), line // 4:line] = cv2.applyColorMap(shades, colormap)[..., ::-1]
    for share in np.linspace(0, 1, min(5, max(2, height // (2 * line)))):
        text = f'{limits[0] + share * (limits[1] - limits[0]):.2f}{unit}'
        place = line * 5 // 4, round(margin + share * (len(shades) - 1) + line * 0.3)
        cv2.putText(column, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return column


@VISUALIZERS.register_module()
class SapiensDenseVisualizer(SegLocalVisualizer):
    """Draws the image with dense labels beside it, and a row of predictions below.

    Depth and normals are drawn on the person: under the labeled mask, or else the predicted segmentation. On the right
    are the values of depth colors (labels in meters, predictions in the model's unit) and the names of visible classes.
    Every process writes its own samples to disk; TensorBoard gets those of the main process.
    """

    @property
    def dataset_meta(self) -> dict | None:
        """Metainfo of the dataset, in every process; MMEngine sets it in the main process only."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta

    def add_datasample(self,
                       name: str,
                       image: np.ndarray,
                       data_sample: SegDataSample | None = None,
                       draw_gt: bool = True,
                       draw_pred: bool = True,
                       show: bool = False,
                       wait_time: float = 0,
                       out_file: str | None = None,
                       step: int = 0,
                       with_labels: bool = True) -> None:
        """Draws an image (H, W, 3) uint8 RGB with maps of its size, and passes the result to the backends at ``step``.

        ``show`` opens a window instead, for ``wait_time`` seconds (0: until a key is pressed); ``out_file`` is written
        instead. ``with_labels`` adds the keys of depth and classes.
        """
        drawn = self.draw(image, data_sample, draw_gt, draw_pred, with_labels)
        if show and is_main_process():
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(drawn), out_file)
        elif is_main_process():
            self.add_image(name, drawn, step)
        else:
            # MMEngine writes images in the main process only, which in a test has a part of the samples.
            for backend in self._vis_backends.values():
                if isinstance(backend, LocalVisBackend):
                    backend.add_image(name, drawn, step)

    def draw(self, image: np.ndarray, data_sample: SegDataSample | None, draw_gt: bool = True, draw_pred: bool = True,
             with_labels: bool = True) -> np.ndarray:
        """Returns what :meth:`add_datasample` stores, (H', W', 3) uint8 RGB; panels at most MAX_HEIGHT pixels high."""
        image, maps = _resized(image, _numpy_maps(data_sample))
        # The mask of people, the label of the foreground, is there for other tasks too.
        tasks = [task for task in dense_tasks().values() if task.label is not MASK_LABEL or task.pred_field in maps]
        sides = [side for side, draws in (('label', draw_gt), ('predicted', draw_pred)) if draws and any(
            _field(task, side) in maps for task in tasks)]
        tasks = [task for task in tasks if any(_field(task, side) in maps for side in sides)]
        rows = [self._draw_row(image, maps, side, tasks, with_labels) for side in sides]
        return sheet(itertools.chain(*rows), columns=len(rows[0])) if rows else image

    def _draw_row(self, image: np.ndarray, maps: dict, side: str, tasks: list[Task], with_labels: bool
                  ) -> list[tuple[str, np.ndarray]]:
        palette, classes = (self.dataset_meta.get(key) or [] for key in ('palette', 'classes'))
        panels, keys = [('', image)], []
        for task in tasks:
            values = maps.get(_field(task, side))
            mask = self._persons(maps) if side == 'predicted' else None
            if side == 'label' and task.kind == 'depth' and values is not None:
                mask = values > task.label.fill
            panels.append(('', np.zeros_like(image)) if values is None else
                          (f'{task.title}, {side}', draw_map(task.name, values, image, mask, palette)))
            if task.kind == 'depth':
                limits = None if values is None else depth_limits(values, mask)
                keys.append(('', color_bar(len(image), limits, ' m' if side == 'label' else '')))
            elif task.kind == 'classes':
                visible = [] if values is None else [label for label in np.unique(values) if label < len(palette)]
                keys.append(('', legend(len(image), [classes[i] for i in visible], [palette[i] for i in visible])))
        return panels + keys if with_labels else panels

    @staticmethod
    def _persons(maps: dict) -> np.ndarray | None:
        """Returns an (H, W) boolean mask of persons from the best available map, or None."""
        if 'gt_person_mask' in maps:
            return maps['gt_person_mask'] > 0
        if 'gt_depth_map' in maps:
            return maps['gt_depth_map'] > 0
        if 'gt_normal_map' in maps:
            return np.abs(maps['gt_normal_map']).sum(axis=-1) > 0
        return maps['pred_sem_seg'] > 0 if 'pred_sem_seg' in maps else None


def _field(task: Task, side: str) -> str:
    return task.label.field if side == 'label' else task.pred_field


def _numpy_maps(data_sample: SegDataSample | None) -> dict[str, np.ndarray]:
    """Returns the labels and predictions of a sample by field, (H, W) or (H, W, C)."""
    maps = {}
    for name in data_sample.keys() if data_sample is not None else ():  # noqa: SIM118 (no mapping)
        if name.startswith(('gt_', 'pred_')):
            data = data_sample.get(name).data.cpu().numpy()
            maps[name] = data[0] if len(data) == 1 else data.transpose(1, 2, 0)
    return maps


def _resized(image: np.ndarray, maps: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if len(image) <= MAX_HEIGHT:
        return image, maps
    return resize_to_height(image, MAX_HEIGHT), {
        name: resize_to_height(values.astype(np.float32 if values.dtype.kind == 'f' else np.uint8), MAX_HEIGHT,
                               cv2.INTER_NEAREST) for name, values in maps.items()}
