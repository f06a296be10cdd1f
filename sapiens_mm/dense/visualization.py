"""Parts, depth and normals as pictures: the panels, and the visualizer that mmseg's hook calls."""
import cv2
import mmcv
import numpy as np
from mmengine.dist import is_main_process
from mmengine.visualization import LocalVisBackend
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ..visualization.maps import color_normals, depth_limits, draw_depth, draw_parts, legend, titled

#: Pixels; larger images are shown smaller. Six panels of a 4K image would be 300 MB.
MAX_HEIGHT = 1024
TITLES = dict(sem_seg='parts', depth_map='depth', normal_map='normals')


def color_bar(height: int, limits: tuple[float, float] | None, unit: str = '',
              colormap: int = cv2.COLORMAP_VIRIDIS) -> np.ndarray:
    """The key of a colour map: a white column with the colours from bright to dark, and their values.

    Args:
        height: Pixels.
        limits: Value of the brightest colour, at the top, and of the darkest. None: an empty column of the same width.
        unit: Stands after the values.
        colormap: Of OpenCV.

    Returns:
        (height, W, 3) uint8 RGB; W depends on the height.
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
    """Draws whatever of parts, depth and normals a sample has: the image, its labels, and below them the predictions.

    Depth and normals are shown on the person: under the labelled mask, or the predicted parts where there is none. At
    the right stand the values of the colours of depth (of labels in metres, of predictions as the model has them) and
    the names of the parts that are seen.
    Arguments are those of mmengine's ``Visualizer``; pictures go to disk and TensorBoard alike. Every process draws its
    own samples on disk, TensorBoard gets those of the main process.
    """

    @property
    def dataset_meta(self) -> dict | None:
        """Metainfo of the data set, in every process; MMEngine's is for the main one."""
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
        """Draws one sample and gives the picture to the backends.

        Args:
            name: Of the picture.
            image: (H, W, 3) uint8 RGB.
            data_sample: With maps of the image's size.
            draw_gt: Whether to draw the labels.
            draw_pred: Whether to draw the predictions.
            show: Opens a window instead.
            wait_time: Seconds that the window stays; 0: until a key is pressed.
            out_file: Writes this file instead.
            step: Iteration, for the backends.
            with_labels: Whether to explain the colours of parts and depth.
        """
        picture = self.draw(image, data_sample, draw_gt, draw_pred, with_labels)
        if show and is_main_process():
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(picture), out_file)
        elif is_main_process():
            self.add_image(name, picture, step)
        else:
            # MMEngine leaves pictures to the main process, which in a test sees its own samples only.
            for backend in self._vis_backends.values():
                if isinstance(backend, LocalVisBackend):
                    backend.add_image(name, picture, step)

    def draw(self, image: np.ndarray, data_sample: SegDataSample | None, draw_gt: bool = True, draw_pred: bool = True,
             with_labels: bool = True) -> np.ndarray:
        """The picture that :meth:`add_datasample` stores, (H', W', 3) uint8 RGB, of panels of at most MAX_HEIGHT."""
        maps = {}
        for name in data_sample.keys() if data_sample is not None else ():  # noqa: SIM118 (no mapping)
            if name.startswith(('gt_', 'pred_')):
                data = data_sample.get(name).data.cpu().numpy()
                maps[name] = data.transpose(1, 2, 0) if name.endswith('normal_map') else data[0]
        if len(image) > MAX_HEIGHT:
            size = max(1, round(image.shape[1] * MAX_HEIGHT / len(image))), MAX_HEIGHT
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            maps = {name: cv2.resize(found.astype(np.float32 if found.dtype.kind == 'f' else np.uint8), size,
                                     interpolation=cv2.INTER_NEAREST) for name, found in maps.items()}
        sides = [side for side, wanted in (('gt', draw_gt), ('pred', draw_pred)) if wanted]
        tasks = [task for task in ('sem_seg', 'depth_map', 'normal_map')
                 if any(f'{side}_{task}' in maps for side in sides)]
        mask = self._persons(maps)
        palette = self.dataset_meta.get('palette') or []
        rows, seen = [], set()
        for side in sides:
            panels, bar = [], color_bar(len(image), None)
            for task in tasks:
                found = maps.get(f'{side}_{task}')
                if found is None:
                    panels.append(np.zeros_like(image))
                    continue
                if task == 'sem_seg':
                    panel = draw_parts(image, found, palette)
                    seen |= set(np.unique(found).tolist())
                elif task == 'depth_map':
                    there = mask if side == 'pred' else found > 0
                    panel = draw_depth(found, there)
                    bar = color_bar(len(image), depth_limits(found, there), ' m' if side == 'gt' else '')
                else:
                    panel = color_normals(found, mask if side == 'pred' else None)
                panels.append(titled(panel, f'{TITLES[task]}, {"label" if side == "gt" else "predicted"}'))
            if any(f'{side}_{task}' in maps for task in tasks):
                rows.append(np.hstack([image, *panels, *[bar] * (with_labels and 'depth_map' in tasks)]))
        if not rows:
            return image
        picture = np.vstack(rows)
        parts = sorted(label for label in seen if label < len(palette))
        if with_labels and parts:
            names = [self.dataset_meta['classes'][i] for i in parts]
            picture = np.hstack([picture, legend(len(picture), names, [palette[i] for i in parts])])
        return picture

    @staticmethod
    def _persons(maps: dict) -> np.ndarray | None:
        """(H, W) boolean mask of persons by what is known best, or None."""
        if 'gt_person_mask' in maps:
            return maps['gt_person_mask'] > 0
        if 'gt_depth_map' in maps:
            return maps['gt_depth_map'] > 0
        if 'gt_normal_map' in maps:
            return np.abs(maps['gt_normal_map']).sum(axis=-1) > 0
        return maps['pred_sem_seg'] > 0 if 'pred_sem_seg' in maps else None
