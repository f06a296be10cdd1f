"""Loading of images and labels; what is wrong with a file is said, with its name."""
import os.path as osp

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...utils.problems import DataError, Problem, report
from ...vocabularies.body_parts import IGNORED_PART
from ..label_files import file_size, has_alpha, read_array, read_image

#: What the files of a sample are called in messages.
KINDS = dict(mask_path='mask', instance_map_path='instances', seg_map_path='parts', depth_map_path='depth',
             normal_map_path='normals')
#: The largest depth, in the unit wanted, that is taken for that of a person.
MAX_DEPTH = 1000.
#: Labels after which a warning tells how many of them have what is wrong.
WARNED_AFTER = 16
_SENTINELS = (65504, 65535)  # the largest numbers of half floats and of 16-bit PNGs, whatever the type of the file
MEANT = {
    'alpha channels': ('an alpha channel, which is dropped',
                       'labels without one; check that the mask was not saved in it'),
    'masks as labels': ('the values 0 and 255 alone', 'class ids; use 1 for the person, or save the file as a mask'),
    'empty masks': ('no pixel of a person', 'masks above 0 on the person; check how they were saved'),
    'full masks': ('no pixel of the background', 'masks of 0 off the person; check how they were saved'),
    'labels of background alone': ('no pixel of a part', 'class ids of the parts; check how they were saved'),
}
#: Rows of a label that are looked at before a crop is read from it.
SAMPLED_ROWS = 64


@TRANSFORMS.register_module()
class SapiensLoadImage(BaseTransform):
    """Reads ``img_path`` into ``img`` (H, W, 3) uint8 BGR, with ``img_shape`` and ``ori_shape`` (H, W).

    A training pipeline does without: `SapiensRandomWarp` reads the image at the size that its crop needs. An ``img``
    that is there already stays.

    Raises:
        FileNotFoundError, ValueError: If the file is missing or cannot be decoded; it is named.
    """

    def transform(self, results: dict) -> dict:
        if 'img' not in results:
            results['img'] = read_image(results['img_path'])
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class SapiensLoadLabels(BaseTransform):
    """Reads the labels that a sample has files of, and checks them.

    ===================== ================= ==========================================================================
    file                  key               value
    ===================== ================= ==========================================================================
    ``seg_map_path``      gt_seg_map        (H, W) uint8 class ids, 255 ignored
    ``depth_map_path``    gt_depth_map      (H, W) float32 along the optical axis, times ``depth_scale``; 0: no label
    ``normal_map_path``   gt_normal_map     (H, W, 3) float32, x right, y up, z to the viewer; 0: no label
    ``mask_path``         gt_person_mask    (H, W) uint8, 0 or 1
    ``instance_map_path`` gt_instance_map   (H, W) uint8 number of the person, 0: none
    ===================== ================= ==========================================================================

    In a test pipeline it stands after the resize of the image, so that labels keep their original size.

    Args:
        mmap: For a `SapiensRandomWarp` that follows: leave ``.npy`` labels (float32; parts: uint8) on disk, for it to
            read its crop from. Of all labels 64 rows are checked here, and the crop by the warp.
        mask: Read the mask. Without it the person is where the other labels are, and a training on large images is
            spared decoding a PNG.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file holds something else than it should; the message names it and says what to do.
    """

    def __init__(self, mmap: bool = False, mask: bool = True):
        self.mmap = mmap
        self.mask = mask
        self._seen = {}  # kind of warning -> labels checked so far, and how many of them have it
        self.has_classes = False

    def transform(self, results: dict) -> dict:
        results.setdefault('seg_fields', [])
        if 'ori_shape' not in results:
            results['ori_shape'] = file_size(results['img_path'])
        for path_key, key, load in (('mask_path', 'gt_person_mask', self._mask),
                                    ('instance_map_path', 'gt_instance_map', self._instances),
                                    ('seg_map_path', 'gt_seg_map', self._parts),
                                    ('depth_map_path', 'gt_depth_map', self._depth),
                                    ('normal_map_path', 'gt_normal_map', self._normals)):
            if results.get(path_key) is None or (key == 'gt_person_mask' and not self.mask):
                continue
            path = results[path_key]
            try:
                label = load(path, results)
            except DataError:
                raise
            except ValueError as error:
                raise DataError(str(error), f'invalid {KINDS[path_key]}') from error
            if path.lower().endswith('.png') and self._seen.get(('alpha channels', path_key), (0, 0))[0] < WARNED_AFTER:
                self._count('alpha channels', path, has_alpha(path), path_key)
            if label.shape[:2] != results['ori_shape']:
                height, width = results['ori_shape']
                raise DataError(f"'{path}' is {label.shape[1]}x{label.shape[0]}, but its image "
                                f"'{results['img_path']}' is {width}x{height}. Labels must have its size",
                                'image sizes')
            results[key] = label
            if key not in results['seg_fields']:
                results['seg_fields'].append(key)
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

    def _parts(self, path: str, results: dict) -> np.ndarray:
        parts = read_array(path, self.mmap)
        if not (_on_disk(parts) and parts.dtype == np.uint8 and parts.ndim == 2):
            parts = _class_ids(path, parts, 'class ids')
        counts = count_classes(self._checked(parts))
        check_parts(counts, path, results.get('num_classes'))
        if results.get('num_classes') is not None:
            if is_mask(counts) and self.mmap:  # the rows that were looked at may lie off the person
                counts = count_classes(np.asarray(parts))
            self._check_classes(counts, path)
        self._count('labels of background alone', path, not counts[1:].any())
        return parts

    def _check_classes(self, counts: np.ndarray, path: str) -> None:
        """Refuses a mask, of which nothing but background would be learned.

        Where other labels have classes, one of background and ignored pixels is valid.
        """
        mask = is_mask(counts)
        self._count('masks as labels', path, mask)
        self.has_classes |= bool(counts[1:IGNORED_PART].any())
        if mask and not self.has_classes:
            report(Problem('masks as labels', path, f'the values 0 and 255 alone ({counts[IGNORED_PART]} pixels of '
                           '255, which are ignored)', MEANT['masks as labels'][1]))

    def _depth(self, path: str, results: dict) -> np.ndarray:
        scale = results.get('depth_scale', 1.)
        masked = results.get('mask_labels', False)
        depth = read_array(path, self.mmap and scale == 1 and not masked)
        if depth.dtype == np.uint8:
            raise ValueError(f"'{path}' has 8 bits, which hold 256 depths. Expected npy, npz, exr or 16-bit PNG")
        if depth.ndim == 3 and depth.shape[2] in (1, 3) and path.lower().endswith('.exr'):
            depth = depth[..., 0]  # one channel, which OpenCV may give three times
        if depth.ndim != 2 or depth.dtype.kind not in 'fu':
            raise ValueError(f"'{path}' holds {depth.dtype} {depth.shape}; expected depth (H, W) as floats or as "
                             '16-bit PNG')
        if masked:
            depth = np.where(self._person(results, path, depth.shape), depth, depth.dtype.type(0))
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
        if normals.ndim == 3 and normals.shape[0] == 3 and normals.shape[2] != 3:
            raise ValueError(f"'{path}' has shape {normals.shape}: its channels come first. Expected (H, W, 3); save "
                             'numpy.moveaxis(normals, 0, -1)')
        if normals.ndim != 3 or normals.shape[2] != 3:
            raise ValueError(f"'{path}' has shape {normals.shape}; expected normals (H, W, 3)")
        if normals.dtype.kind == 'u' and not path.lower().endswith(('.npy', '.npz')):
            # 0 is the middle of the range; what lies near it is no direction.
            normals = normals.astype(np.float32) * np.float32(2 / np.iinfo(normals.dtype).max) - 1
            length = np.linalg.norm(normals, axis=2, keepdims=True)
            black = (normals == -1).all(axis=2, keepdims=True)
            normals = np.where((length > 0.5) & ~black, normals / np.maximum(length, 0.5), np.float32(0))
        if normals.dtype.kind != 'f':
            raise ValueError(f"'{path}' holds {normals.dtype}; expected unit vectors as float32 or float16. Normals "
                             'that are encoded as colours belong in a PNG; an array of them is n = 2 * v / 255 - 1')
        if masked:
            person = self._person(results, path, normals.shape[:2])
            normals = np.where(person[..., None], normals, normals.dtype.type(0))
        if signs != (1, 1, 1):
            normals = normals * np.asarray(signs, normals.dtype)
        check_normals(self._checked(normals), path)
        return normals if normals.dtype == np.float32 else normals.astype(np.float32)

    def _checked(self, label: np.ndarray) -> np.ndarray:
        return np.asarray(label[::max(1, len(label) // SAMPLED_ROWS)]) if self.mmap else label

    @staticmethod
    def _person(results: dict, path: str, shape: tuple[int, int]) -> np.ndarray:
        if 'gt_person_mask' not in results:
            raise ValueError(f"'{path}' is to be masked (mask_labels=True), but the sample has no mask_path, or "
                             'SapiensLoadLabels has mask=False')
        if results['gt_person_mask'].shape != shape:
            raise ValueError(f"'{path}' and '{results['mask_path']}' have different sizes")
        return results['gt_person_mask'] > 0

    def _count(self, what: str, path: str, has_it: bool, kind: str = '') -> None:
        """Warns once in each worker, after some labels of a kind, of what is only wrong where many have it."""
        seen, having = self._seen.get((what, kind), (0, 0))
        self._seen[what, kind] = seen + 1, having + has_it
        if seen + 1 == WARNED_AFTER and (having + has_it == WARNED_AFTER or having + has_it and 'alpha' in what):
            report(Problem(what, osp.dirname(path), f'have {MEANT[what][0]}', MEANT[what][1], number=having + has_it,
                           total=WARNED_AFTER, unit='file', level='warning'))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(mmap={self.mmap}, mask={self.mask})'


def count_classes(parts: np.ndarray) -> np.ndarray:
    """(256, ) pixels of each class of (H, W) uint8 labels."""
    # OpenCV counts 4K labels in 5 ms, NumPy in 60.
    return cv2.calcHist([np.ascontiguousarray(parts)], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def is_mask(counts: np.ndarray) -> bool:
    """Whether labels, counted by :func:`count_classes`, are 255 somewhere and 0 or 255 everywhere."""
    return bool(counts[IGNORED_PART]) and not counts[1:IGNORED_PART].any()


def check_parts(counts: np.ndarray, path: str, num_classes: int | None) -> None:
    """Refuses labels, counted by :func:`count_classes`, outside of the vocabulary, if its size is known."""
    if num_classes is None:
        return
    wrong = [value for value in np.flatnonzero(counts) if num_classes <= value != IGNORED_PART]
    if wrong:
        shown = ', '.join(f'{value} ({counts[value]} pixels)' for value in wrong[:5])
        raise ValueError(f"'{path}' has the labels {shown}, but the vocabulary has {num_classes} classes: 0 to "
                         f'{num_classes - 1}, and {IGNORED_PART} to ignore. Use the dataset class of its vocabulary, '
                         'or correct the file')


def check_background(depth: np.ndarray, mask: np.ndarray | None, path: str, max_depth: float | None,
                     scale: float = 1.) -> None:
    """Refuses depth of persons that holds a number for the background.

    Args:
        depth: (H, W), or some rows of it, in the file's unit.
        mask: Of the same shape, above 0 on the person.
        path: For the message.
        max_depth: Largest valid depth in the unit wanted; None: `MAX_DEPTH`, and no constant background.
        scale: The file's unit, in the unit wanted.
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
        wrong = rest.size > 0 and largest > 4 * rest.max()  # no wall in view is that flat and that far
    if wrong:
        report(Problem('depth of the background', path, f'depth up to {largest:.6g} ({count} pixels of that value)',
                       f'depth of the person alone, at most {most:.6g} in the unit of the file, and 0 elsewhere; give '
                       'masks (masks/, with mask_labels=True in the dataset), set depth_scale (0.001 for millimeters), '
                       'or state max_depth'))


def check_depth(depth: np.ndarray, path: str) -> None:
    """Refuses depth that is not finite or is negative."""
    if depth.dtype.kind != 'f':
        return
    if not np.isfinite(depth).all():
        wrong = int((~np.isfinite(depth)).sum())
        raise ValueError(f"'{path}' has {wrong} pixels of {depth.size} with inf or NaN. Expected 0 where there is no "
                         'depth; or set mask_labels=True in the dataset, to take depth from the person alone')
    if depth.min(initial=0) < 0:
        raise ValueError(f"'{path}' has negative depth (least {depth.min():.4g}). Expected distances along the "
                         'optical axis, positive on the person and 0 where there is none; negate the z of a camera '
                         'that looks to -z')


def check_normals(normals: np.ndarray, path: str) -> None:
    """Refuses normals that are not finite, not of unit length, or in many places turned away from the viewer."""
    normals = normals.astype(np.float32, copy=False)
    length = np.sqrt(np.einsum('hwc,hwc->hw', normals, normals))
    if not np.isfinite(length).all():
        raise ValueError(f"'{path}' has {int((~np.isfinite(length)).sum())} normals with inf or NaN. Expected "
                         '(0, 0, 0) where there is no normal')
    labelled = length > 0
    total = np.count_nonzero(labelled)
    if not total:
        return
    wrong = labelled & (np.abs(length - 1) > 0.05)
    if np.count_nonzero(wrong) > 0.01 * total:
        hint = ('They look like colours: n = 2 * v - 1' if normals.min() >= 0 else 'Divide them by their length')
        raise ValueError(f"'{path}' has normals of length {length[wrong].min():.3g} to {length[wrong].max():.3g} at "
                         f'{np.count_nonzero(wrong)} of {total} pixels. Expected unit vectors. {hint}')
    away = np.count_nonzero(normals[..., 2] < 0)
    if away > 0.95 * total:
        raise ValueError(f"'{path}' has z < 0 at {away} of {total} pixels: its normals point away from the viewer, as "
                         'with OpenCV\'s axes (y down, z forward). Expected x right, y up, z to the viewer. Set '
                         'normal_signs=(1, -1, -1) in the dataset (or (1, 1, -1), where y is up)')
    if away > 0.25 * total:
        raise ValueError(f"'{path}' has z < 0 at {away} of {total} pixels, though what a camera sees is turned to it: "
                         'its channels have another order than x, y, z (saved as B, G, R, they need '
                         'normals[..., ::-1]), or it has normals of the scene instead of those of the camera')


def _class_ids(path: str, ids: np.ndarray, what: str) -> np.ndarray:
    if ids.ndim == 3 and ids.shape[2] == 3 and (ids[..., 1:] == ids[..., :1]).all():
        ids = ids[..., 0]
    if ids.ndim != 2:
        raise ValueError(f"'{path}' has shape {ids.shape}, as a picture in colours; expected (H, W) {what}. Convert "
                         'the colours to ids, or save it with a palette')
    if ids.dtype.kind not in 'ui':
        raise ValueError(f"'{path}' holds {ids.dtype}; expected {what} as uint8")
    if ids.dtype != np.uint8:
        if ids.min(initial=0) < 0 or ids.max(initial=0) > 255:
            raise ValueError(f"'{path}' has values from {ids.min()} to {ids.max()}; expected {what}, 0 to 255")
        ids = ids.astype(np.uint8)
    return np.ascontiguousarray(ids)


def _on_disk(array: np.ndarray) -> bool:
    return isinstance(array, np.memmap)
