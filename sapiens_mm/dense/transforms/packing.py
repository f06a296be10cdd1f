"""From a sample of arrays to what models and metrics take."""
import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

#: Key of the sample, and of the data sample: mmseg's name for parts.
FIELDS = dict(gt_seg_map='gt_sem_seg', gt_depth_map='gt_depth_map', gt_normal_map='gt_normal_map',
              gt_person_mask='gt_person_mask', gt_instance_map='gt_instance_map')


@TRANSFORMS.register_module()
class SapiensPackDense(BaseTransform):
    """Packs a sample as ``inputs`` and a ``SegDataSample``.

    ``inputs``: (3, H, W) uint8 in BGR order. Of the data sample, each with ``data``: ``gt_depth_map`` (1, H, W)
    float32, ``gt_normal_map`` (3, H, W) float32, ``gt_sem_seg``, ``gt_person_mask`` and ``gt_instance_map`` (1, H, W)
    uint8, those there are. In training `SapiensDensePreprocessor` makes int64 of the classes, on the device: the
    loader's pipes and the host's memory carry a byte a pixel instead of eight.

    Args:
        meta_keys: Keys that become meta information, those there are.
    """

    def __init__(self, meta_keys: tuple = ('img_path', 'sample_name', 'region', 'ori_shape', 'img_shape', 'pad_shape',
                                           'scale_factor', 'flip', 'flip_direction', 'flip_indices',
                                           'crop_box')):
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        sample = SegDataSample()
        for key, field in FIELDS.items():
            if key in results:
                # A label that was left on disk becomes an array in memory here.
                data = _channels_first(np.require(results[key], requirements=['C', 'W']))
                sample.set_data({field: PixelData(data=data)})
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        return dict(inputs=_channels_first(np.ascontiguousarray(results['img'])), data_samples=sample)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'


def _channels_first(array: np.ndarray) -> torch.Tensor:
    # OpenCV separates channels several times as fast as NumPy and torch.
    return torch.from_numpy(np.stack(cv2.split(array)) if array.ndim == 3 else array[None])
