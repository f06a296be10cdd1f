"""Last steps of a pipeline: relative depth, and packing for models and metrics."""
import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

from ...tasks import labels
from .base import SapiensTransform


@TRANSFORMS.register_module()
class SapiensNormalizeDepth(SapiensTransform):
    """Makes depth, if present, relative: ``(d - min) / (max - min)`` over the person in the crop, 0 near, 1 far.

    After all geometry. Pixels without a label, or off ``gt_person_mask`` if present, become 0, which is no label; so
    the loss skips the nearest pixel too, as in the release. Modified: ``gt_depth_map`` (H, W) float32.
    """

    def transform(self, results: dict) -> dict:
        if 'gt_depth_map' not in results:
            return results
        depth = results['gt_depth_map']
        person = depth > 0
        if 'gt_person_mask' in results:
            person &= results['gt_person_mask'] > 0
        values = depth[person]
        out = np.zeros(depth.shape, np.float32)
        if len(values) and values.max() > values.min():
            near = values.min()
            out[person] = (values - near) / (values.max() - near)
        results['gt_depth_map'] = out
        return results


@TRANSFORMS.register_module()
class SapiensPackDense(SapiensTransform):
    """Packs a sample as ``inputs``, (3, H, W) uint8 BGR, and a ``SegDataSample`` with ``meta_keys`` if present.

    Labels, if present: ``gt_depth_map`` (1, H, W) float32, ``gt_normal_map`` (3, H, W) float32, ``gt_sem_seg`` (int64
    only on the device), ``gt_person_mask`` and ``gt_instance_map`` (1, H, W) uint8.
    """

    def __init__(self, meta_keys: tuple = ('img_path', 'sample_name', 'region', 'ori_shape', 'img_shape', 'pad_shape',
                                           'scale_factor', 'flip', 'flip_direction', 'flip_indices',
                                           'crop_box')):
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        sample = SegDataSample()
        for label in labels():
            if label.key in results:
                # Reads a label that is still on disk.
                data = _channels_first(np.require(results[label.key], requirements=['C', 'W']))
                sample.set_data({label.field: PixelData(data=data)})
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        return dict(inputs=_channels_first(np.ascontiguousarray(results['img'])), data_samples=sample)


def _channels_first(array: np.ndarray) -> torch.Tensor:
    # OpenCV separates channels several times as fast as NumPy and torch.
    return torch.from_numpy(np.stack(cv2.split(array)) if array.ndim == 3 else array[None])
