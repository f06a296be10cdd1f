"""What the segmentors of all tasks share, and the one for body parts."""
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..backbones import SapiensViT
from .resize import placement, resize_argmax


class DenseSegmentor(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` with predictions at the size of the original image, made on the device.

    Training, ``mode='tensor'``, ``encode_decode`` and ``inference`` are those of mmseg. A subclass says what a
    prediction is and how a mirrored image's becomes that of the image.

    With ``test_cfg.flip_test`` image and mirrored image go through the model in one batch. The image is taken whole, or
    with ``test_cfg.mode='slide'`` in windows as mmseg does. If the metainfo has a ``crop_box``, the input is a part
    of the image and the prediction is 0 outside of it (background; no depth; no normal).
    """
    task: str
    pred_field: str

    @staticmethod
    def unmirror(outputs: Tensor, metainfo: dict, test_cfg: dict) -> Tensor:
        """The head's outputs (B, C, h, w) for mirrored images, as they would be for the images."""
        raise NotImplementedError

    @staticmethod
    def restore(outputs: Tensor, place: dict) -> Tensor:
        """The prediction at the size of an image from the head's outputs (C, h, w).

        Args:
            outputs: Of one image.
            place: See :func:`sapiens_mm.dense.resize.placement`.
        """
        raise NotImplementedError

    def _init_decode_head(self, decode_head: dict) -> None:
        if self.task != 'parts':
            decode_head = {'task': self.task, **decode_head}
        super()._init_decode_head(decode_head)
        task = getattr(self.decode_head, 'task', 'parts')
        if task != self.task:
            raise ValueError(f"decode_head has task='{task}', but {type(self).__name__} needs '{self.task}'")

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        """Predicts B images.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: B data samples with the metainfo that :func:`sapiens_mm.dense.resize.placement` reads; without
                them predictions have the size of the inputs.

        Returns:
            The data samples with ``pred_sem_seg`` (1, H, W) uint8, ``pred_depth_map`` (1, H, W) or ``pred_normal_map``
            (3, H, W) float32, at the size of the original image.
        """
        data_samples = with_samples(inputs, data_samples)
        test_cfg = self.test_cfg or {}
        metainfo = data_samples[0].metainfo
        images = batch_of_test(inputs, self.backbone, test_cfg)
        if test_cfg.get('mode', 'whole') == 'slide':
            outputs = self.slide_inference(images, [dict(metainfo) for _ in images])
        else:
            outputs = self._forward(images)
        write_predictions(type(self), outputs, inputs.shape[-2:], images.shape[-2:], data_samples, test_cfg)
        return data_samples


@MODELS.register_module()
class SapiensPartsSegmentor(DenseSegmentor):
    """Body parts: ``pred_sem_seg`` (1, H, W) uint8. Its head may be any of mmseg's.

    For the flip test the class that each class becomes in a mirrored image is read from ``test_cfg.flip_indices`` or
    the data samples' ``flip_indices``.
    """
    task = 'parts'
    pred_field = 'pred_sem_seg'

    @staticmethod
    def unmirror(outputs: Tensor, metainfo: dict, test_cfg: dict) -> Tensor:
        """Swaps left and right classes of mirrored logits."""
        indices = test_cfg.get('flip_indices', metainfo.get('flip_indices'))
        if indices is None:
            raise ValueError('flip_test needs to know which class is which in a mirrored image, but there are no '
                             'flip_indices: set them in test_cfg, or in the METAINFO of the dataset and the meta_keys '
                             'of the transform that packs the sample')
        if sorted(indices) != list(range(outputs.shape[1])):
            raise ValueError(f'flip_indices is {list(indices)}, but must name each of the {outputs.shape[1]} classes '
                             'once. For a data set of another vocabulary set those of the model, or flip_test=False, '
                             'in test_cfg')
        return outputs.flip(-1)[:, list(indices)]

    @staticmethod
    def restore(outputs: Tensor, place: dict) -> Tensor:
        """Classes (1, H, W) uint8 from logits (C, h, w)."""
        return resize_argmax(outputs, **place)[None]


def with_samples(inputs: Tensor, data_samples: list | None) -> list:
    """The data samples, or new ones for images (B, 3, H, W) that have none."""
    if data_samples is not None:
        return data_samples
    size = tuple(inputs.shape[-2:])
    return [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size)) for _ in inputs]


def batch_of_test(inputs: Tensor, backbone: nn.Module, test_cfg: dict) -> Tensor:
    """Images (B, 3, H, W) in whole patches and with ``flip_test``, after them, their mirror images.

    Our backbone itself pads to whole patches, on the right and at the bottom of what it gets, which of a mirrored image
    is the other side. So the padding has to be there before.
    """
    patch = backbone.patch_size if isinstance(backbone, SapiensViT) else 1
    images = F.pad(inputs, (0, -inputs.shape[-1] % patch, 0, -inputs.shape[-2] % patch))
    return torch.cat([images, images.flip(-1)]) if test_cfg.get('flip_test', False) else images


def write_predictions(task: type[DenseSegmentor], outputs: Tensor, input_size: Sequence[int], covered: Sequence[int],
                      data_samples: list, test_cfg: dict) -> None:
    """Writes one task's predictions into B data samples.

    Args:
        task: The segmentor that knows the task.
        outputs: The head's (B, C, h, w); with ``flip_test`` (2B, C, h, w), those of the mirrored images last.
        input_size: Size (H, W) of the model's input.
        covered: Size of what :func:`batch_of_test` made of it.
        data_samples: B data samples.
        test_cfg: ``flip_test``, ``flip_indices``.
    """
    outputs = outputs.float()
    if test_cfg.get('flip_test', False):
        outputs, mirrored = outputs.chunk(2)
        outputs = (outputs + task.unmirror(mirrored, data_samples[0].metainfo, test_cfg)) / 2
    for output, sample in zip(outputs, data_samples):
        place = placement(sample.metainfo, output.shape[-2:], input_size, covered)
        sample.set_data({task.pred_field: PixelData(data=task.restore(output, place))})
