"""Loading of images and dense labels, with checks that name the file."""
import os.path as osp

import cv2
import numpy as np
from mmseg.registry import TRANSFORMS

from ...tasks import INSTANCE_LABEL, MASK_LABEL, dense_tasks
from ...utils.problems import DataError, Problem, report
from ...vocabularies.body_parts import IGNORED_PART
from ..label_files import file_size, has_alpha, read_array, read_image
from .base import SapiensTransform

#: Largest depth of a person, in the dataset's unit, unless it states max_depth.
MAX_DEPTH = 1000.
#: Number of labels after which a warning reports how many of them have a problem.
WARNED_AFTER = 16
_SENTINELS = (65504, 65535)  # the largest half float and 16-bit value, whatever the type of the file
#: Problems of single labels that are errors only in numbers: (got, expected).
MEANT = {
    'alpha channels': ('an alpha channel, which is dropped',
                       'labels without one; check that the mask was not saved in it'),
    'masks as labels': ('the values 0 and 255 alone', 'class ids; use 1 for the person, or save the file as a mask'),
    'empty masks': ('no pixel of a person', 'masks above 0 on the person; check how they were saved'),
    'full masks': ('no pixel of the background', 'masks of 0 off the person; check how they were saved'),
    'labels of background alone': ('no pixel of a part', 'class ids of the parts; check how they were saved'),
}
#: Rows of a label on disk that are checked before a crop is read from it.
SAMPLED_ROWS = 64


@TRANSFORMS.register_module()
class SapiensLoadImage(SapiensTransform):
    """Reads ``img_path``, unless done, into ``img`` (H, W, 3) uint8 BGR; sets ``img_shape``, ``ori_shape`` (H, W)."""

    def transform(self, results: dict) -> dict:
        if 'img' not in results:
            results['img'] = read_image(results['img_path'])
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class SapiensLoadLabels(SapiensTransform):
    """Reads and checks the labels that a sample has files for.

    * ``seg_map_path``: ``gt_seg_map`` (H, W) uint8 class ids, 255 ignored
    * ``depth_map_path``: ``gt_depth_map`` (H, W) float32 along the optical axis, times ``depth_scale``; 0: no label
    * ``normal_map_path``: ``gt_normal_map`` (H, W, 3) float32, x right, y up, z to the viewer; 0: no label
    * ``mask_path``: ``gt_person_mask`` (H, W) uint8, 0 or 1
    * ``instance_map_path``: ``gt_instance_map`` (H, W) uint8 number of the person, 0: none

    Labels of other tasks are read by their kind: class ids, values (integers are divided by the largest of their type),
    or vectors. In a test pipeline it comes after the resize of the image, so labels keep the original size.

    Args:
        mmap: Leave ``.npy`` labels (float32; class ids: uint8) on disk, for a later `SapiensRandomWarp` to read its
            crop from. Only 64 rows of each label are checked here, and the crop by the warp.
        mask: Read the mask. Without it the person is where other labels are, which spares decoding a PNG.
        background: Make the mask of a sample without ``seg_map_path`` its ``gt_seg_map``: 0, the background, off the
            person, and 255 on it, whose classes are unknown.

    Raises a FileNotFoundError, or a ValueError if a file holds something else than its label.
    """

    def __init__(self, mmap: bool = False, mask: bool = True, background: bool = False):
        if background and not mask:
            raise ValueError('background: got True with mask=False, expected mask=True, from which it is taken')
        self.mmap = mmap
        self.mask = mask
        self.background = background
        self._counts = {}  # kind of warning -> labels checked so far, and how many of them have it
        self.has_classes = False

    def transform(self, results: dict) -> dict:
        results.setdefault('seg_fields', [])
        if 'ori_shape' not in results:
            results['ori_shape'] = file_size(results['img_path'])
        readers = {MASK_LABEL: self._mask, INSTANCE_LABEL: self._instances}
        by_kind = dict(classes=self._classes, values=self._values, vectors=self._normals, mask=self._mask)
        for task in dense_tasks().values():
            readers[task.label] = self._depth if task.name == 'depth' else by_kind[task.kind]
        for label, read in readers.items():
            path = results.get(label.path_key)
            if path is None or label is MASK_LABEL and not self.mask:
                continue
            try:
                array = read(path, results)
            except DataError:
                raise
            except ValueError as error:
                raise DataError(str(error), f'invalid {label.noun}') from error
            checked, _ = self._counts.get(('alpha channels', label.path_key), (0, 0))
            if path.lower().endswith('.png') and checked < WARNED_AFTER:
                self._count('alpha channels', path, has_alpha(path), label.path_key)
            if array.shape[:2] != results['ori_shape']:
                height, width = results['ori_shape']
                raise DataError(f"'{path}': got {array.shape[1]}x{array.shape[0]}, expected {width}x{height}, the size "
                                f"of its image '{results['img_path']}'", 'image sizes')
            results[label.key] = array
            if label.key not in results['seg_fields']:
                results['seg_fields'].append(label.key)
        if self.background and results.get('seg_map_path') is None and MASK_LABEL.key in results:
            results['gt_seg_map'] = results[MASK_LABEL.key] * np.uint8(IGNORED_PART)
            results['classes_from_mask'] = True
            if 'gt_seg_map' not in results['seg_fields']:
                results['seg_fields'].append('gt_seg_map')
        return results

    def _mask(self, path: str, results: dict) -> np.ndarray:
        mask = read_array(path)
        if mask.ndim == 3:
            mask = mask.max(axis=2)  # a person in any color
        middle = 127 if mask.dtype == np.uint8 else np.iinfo(mask.dtype).max // 2 if mask.dtype.kind == 'u' else .5
        mask = (mask > (middle if mask.max() > middle else 0)).astype(np.uint8)
        self._count('empty masks', path, not mask.any())
        self._count('full masks', path, bool(mask.all()))
        return mask

    @staticmethod
    def _instances(path: str, results: dict) -> np.ndarray:
        return _class_ids(path, read_array(path), 'numbers of persons')

    def _classes(self, path: str, results: dict) -> np.ndarray:
        parts = read_array(path, self.mmap)
        if not (isinstance(parts, np.memmap) and parts.dtype == np.uint8 and parts.ndim == 2):
            parts = _class_ids(path, parts, 'class ids')
        counts = count_classes(self._checked(parts))
        check_parts(counts, path, results.get('num_classes'))
        if results.get('num_classes') is not None:
            if is_mask(counts) and self.mmap:  # the checked rows may lie off the person
                counts = count_classes(np.asarray(parts))
            self._check_no_mask(counts, path)
        self._count('labels of background alone', path, not counts[1:].any())
        return parts

    def _check_no_mask(self, counts: np.ndarray, path: str) -> None:
        """Refuses a mask, unless other labels have classes: then one of background and ignored pixels is valid."""
        mask = is_mask(counts)
        self._count('masks as labels', path, mask)
        self.has_classes |= bool(counts[1:IGNORED_PART].any())
        if mask and not self.has_classes:
            report(Problem('masks as labels', path, f'the values 0 and 255 alone ({counts[IGNORED_PART]} pixels of '
                           '255, which are ignored)', MEANT['masks as labels'][1]))

    def _values(self, path: str, results: dict) -> np.ndarray:
        values = read_array(path, self.mmap)
        if values.ndim != 2 or values.dtype.kind not in 'fu':
            raise ValueError(f"'{path}': got {values.dtype} {values.shape}, expected values (H, W)")
        if not np.isfinite(self._checked(values)).all():
            raise ValueError(f"'{path}': got inf or NaN, expected finite values")
        if values.dtype.kind == 'u':
            return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
        return values if values.dtype == np.float32 else values.astype(np.float32)

    def _depth(self, path: str, results: dict) -> np.ndarray:
        scale = results.get('depth_scale', 1.)
        masked = results.get('mask_labels', False)
        depth = read_array(path, self.mmap and scale == 1 and not masked)
        if depth.dtype == np.uint8:
            raise ValueError(f"'{path}': got 8 bits, which hold 256 depths, expected npy, npz, exr or 16-bit PNG")
        if depth.ndim == 3 and depth.shape[2] in (1, 3) and path.lower().endswith('.exr'):
            depth = depth[..., 0]  # OpenCV may return a single channel three times
        if depth.ndim != 2 or depth.dtype.kind not in 'fu':
            raise ValueError(f"'{path}': got {depth.dtype} {depth.shape}, expected depth (H, W) as floats or as "
                             '16-bit PNG')
        if masked:
            depth = np.where(_person(results, path, depth.shape), depth, depth.dtype.type(0))
        sampled = self._checked(depth)
        check_depth(sampled, path)
        mask = results.get('gt_person_mask')
        check_background(sampled, None if mask is None else self._checked(mask), path, results.get('max_depth'), scale)
        if depth.dtype != np.float32 or scale != 1:
            depth = depth.astype(np.float32) * np.float32(scale)
        return depth

    def _normals(self, path: str, results: dict) -> np.ndarray:
        signs = results.get('normal_signs', (1, 1, 1))
        masked = results.get('mask_labels', False)
        normals = read_array(path, self.mmap and signs == (1, 1, 1) and not masked)
        if normals.ndim != 3 or normals.shape[2] != 3:
            advice = '; save numpy.moveaxis(normals, 0, -1)' if normals.ndim == 3 and normals.shape[0] == 3 else ''
            raise ValueError(f"'{path}': got shape {normals.shape}, expected normals (H, W, 3){advice}")
        if normals.dtype.kind == 'u' and not path.lower().endswith(('.npy', '.npz')):
            # 0 is the middle of the range; vectors near it have no direction.
            normals = normals.astype(np.float32) * np.float32(2 / np.iinfo(normals.dtype).max) - 1
            length = np.linalg.norm(normals, axis=2, keepdims=True)
            black = (normals == -1).all(axis=2, keepdims=True)
            normals = np.where((length > 0.5) & ~black, normals / np.maximum(length, 0.5), np.float32(0))
        if normals.dtype.kind != 'f':
            raise ValueError(f"'{path}': got {normals.dtype}, expected unit vectors as float32 or float16; save "
                             'normals encoded as colors as a PNG, or convert them: n = 2 * v / 255 - 1')
        if masked:
            person = _person(results, path, normals.shape[:2])
            normals = np.where(person[..., None], normals, normals.dtype.type(0))
        if signs != (1, 1, 1):
            normals = normals * np.asarray(signs, normals.dtype)
        check_normals(self._checked(normals), path)
        return normals if normals.dtype == np.float32 else normals.astype(np.float32)

    def _checked(self, label: np.ndarray) -> np.ndarray:
        return np.asarray(label[::max(1, len(label) // SAMPLED_ROWS)]) if self.mmap else label

    def _count(self, what: str, path: str, has_it: bool, kind: str = '') -> None:
        seen, having = self._counts.get((what, kind), (0, 0))
        seen, having = self._counts[what, kind] = seen + 1, having + has_it
        if seen == WARNED_AFTER and (having == WARNED_AFTER or having and 'alpha' in what):
            report(Problem(what, osp.dirname(path), f'have {MEANT[what][0]}', MEANT[what][1], number=having,
                           total=WARNED_AFTER, unit='file', level='warning'))


def _person(results: dict, path: str, shape: tuple[int, int]) -> np.ndarray:
    if 'gt_person_mask' not in results:
        raise ValueError(f"'{path}' with mask_labels=True: got no mask, expected a mask_path in the sample and "
                         'mask=True in SapiensLoadLabels')
    if results['gt_person_mask'].shape != shape:
        raise ValueError(f"'{results['mask_path']}': got {results['gt_person_mask'].shape}, expected {shape}, the size "
                         f"of '{path}'")
    return results['gt_person_mask'] > 0


def count_classes(parts: np.ndarray) -> np.ndarray:
    """Returns the number of pixels (256, ) of each class in (H, W) uint8 labels."""
    # OpenCV counts 4K labels in 5 ms, NumPy in 60.
    return cv2.calcHist([np.ascontiguousarray(parts)], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def is_mask(counts: np.ndarray) -> bool:
    """Returns whether labels, given as :func:`count_classes`, are 255 somewhere and 0 or 255 everywhere."""
    return bool(counts[IGNORED_PART]) and not counts[1:IGNORED_PART].any()


def check_parts(counts: np.ndarray, path: str, num_classes: int | None) -> None:
    """Refuses labels, given as :func:`count_classes`, outside of the vocabulary, if its size is known."""
    if num_classes is None:
        return
    wrong = [value for value in np.flatnonzero(counts) if num_classes <= value != IGNORED_PART]
    if wrong:
        shown = ', '.join(f'{value} ({counts[value]} pixels)' for value in wrong[:5])
        raise ValueError(f"'{path}': got the labels {shown}, expected 0 to {num_classes - 1}, or {IGNORED_PART} to "
                         'ignore; use the dataset class of its vocabulary, or correct the file')


def check_background(depth: np.ndarray, mask: np.ndarray | None, path: str, max_depth: float | None,
                     scale: float = 1.) -> None:
    """Refuses depth (H, W), or some rows, of persons (``mask`` above 0) with a value for the background.

    ``max_depth`` is in the dataset's unit, to which ``scale`` converts; None: `MAX_DEPTH`, and no constant background.
    """
    depth = depth[mask > 0] if mask is not None and mask.shape == depth.shape else depth
    largest, most = depth.max(initial=0), (max_depth or MAX_DEPTH) / scale
    if not largest > 0:
        return
    limit = np.finfo(depth.dtype).max if depth.dtype.kind == 'f' else np.iinfo(depth.dtype).max
    wrong = largest > most or largest in (limit, *_SENTINELS)
    count = np.count_nonzero(depth == largest)
    if not wrong and max_depth is None and count > 0.01 * depth.size:
        rest = depth[(depth < largest) & (depth > 0)]
        wrong = rest.size > 0 and largest > 4 * rest.max()  # no visible wall is that flat and that far
    if wrong:
        report(Problem('depth of the background', path, f'depth up to {largest:.6g} ({count} pixels of that value)',
                       f'depth of the person alone, at most {most:.6g} in the unit of the file, and 0 elsewhere; give '
                       'masks (masks/, with mask_labels=True in the dataset), set depth_scale (0.001 for millimeters), '
                       'or state max_depth'))


def check_depth(depth: np.ndarray, path: str) -> None:
    if depth.dtype.kind != 'f':
        return
    if not np.isfinite(depth).all():
        raise ValueError(f"'{path}': got {int((~np.isfinite(depth)).sum())} pixels of {depth.size} with inf or NaN, "
                         'expected 0 for no label; or set mask_labels=True in the dataset')
    if depth.min(initial=0) < 0:
        raise ValueError(f"'{path}': got negative depth down to {depth.min():.4g}, expected distances along the "
                         'optical axis, 0 for no label; negate z if the camera looks to -z')


def check_normals(normals: np.ndarray, path: str) -> None:
    """Refuses normals that are not finite, not of unit length, or in many places turned away from the viewer."""
    normals = normals.astype(np.float32, copy=False)
    length = np.sqrt(np.einsum('hwc,hwc->hw', normals, normals))
    if not np.isfinite(length).all():
        raise ValueError(f"'{path}': got {int((~np.isfinite(length)).sum())} normals with inf or NaN, expected "
                         '(0, 0, 0) for no label')
    labeled = length > 0
    total = np.count_nonzero(labeled)
    if not total:
        return
    wrong = labeled & (np.abs(length - 1) > 0.05)
    if np.count_nonzero(wrong) > 0.01 * total:
        advice = 'convert colors by n = 2 * v - 1' if normals.min() >= 0 else 'divide them by their length'
        raise ValueError(f"'{path}': got normals of length {length[wrong].min():.3g} to {length[wrong].max():.3g} at "
                         f'{np.count_nonzero(wrong)} of {total} pixels, expected unit vectors; {advice}')
    away = np.count_nonzero(normals[..., 2] < 0)
    if away > 0.95 * total:
        raise ValueError(f"'{path}': got z < 0 at {away} of {total} pixels, expected x right, y up, z to the viewer; "
                         'for OpenCV\'s axes (y down, z forward) set normal_signs=(1, -1, -1) in the dataset, or '
                         '(1, 1, -1) where y is up')
    if away > 0.25 * total:
        raise ValueError(f"'{path}': got z < 0 at {away} of {total} pixels, expected normals that face the camera; "
                         'reorder channels saved as B, G, R by normals[..., ::-1], or rotate normals of the scene to '
                         'the camera')


def _class_ids(path: str, ids: np.ndarray, what: str) -> np.ndarray:
    if ids.ndim == 3 and ids.shape[2] == 3 and (ids[..., 1:] == ids[..., :1]).all():
        ids = ids[..., 0]
    if ids.ndim != 2:
        raise ValueError(f"'{path}': got shape {ids.shape}, expected {what} (H, W); convert colors to ids, or save the "
                         'file with a palette')
    if ids.dtype.kind not in 'ui':
        raise ValueError(f"'{path}': got {ids.dtype}, expected {what} as uint8")
    if ids.dtype != np.uint8:
        if ids.min(initial=0) < 0 or ids.max(initial=0) > 255:
            raise ValueError(f"'{path}': got values from {ids.min()} to {ids.max()}, expected {what}, 0 to 255")
        ids = ids.astype(np.uint8)
    return np.ascontiguousarray(ids)
