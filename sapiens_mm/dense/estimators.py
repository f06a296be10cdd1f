"""Dense estimators: mmseg models with one prediction per pixel of the original image."""
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..backbones import Sapiens2ViT, SapiensViT
from ..tasks import Task, get_task
from .resize import placement, resize_argmax, resize_map


def unmirror(task: Task, outputs: Tensor, flip_indices: Sequence[int] | None = None) -> Tensor:
    """Converts outputs (B, C, h, w) for mirror images to those for images; a ValueError unless classes are permuted."""
    if task.kind == 'classes':
        if flip_indices is None:
            raise ValueError('flip_indices: got None, expected the mirror class of each class; set them in test_cfg, '
                             "or in the dataset's METAINFO and the meta_keys of the packing transform")
        if sorted(flip_indices) != list(range(outputs.shape[1])):
            raise ValueError(f'flip_indices: got {list(flip_indices)}, expected a permutation of the '
                             f'{outputs.shape[1]} classes; set those of the model, or flip_test=False, in test_cfg')
        return outputs.flip(-1)[:, list(flip_indices)]
    outputs = outputs.flip(-1)
    return outputs * outputs.new_tensor(task.flip_signs)[:, None, None] if task.flip_signs else outputs


def restore(task: Task, outputs: Tensor, place: dict) -> Tensor:
    """Returns the prediction at the size of the original image, from head outputs (C, h, w) of one image.

    ``place`` is from :func:`sapiens_mm.dense.resize.placement`. Returns class indices (1, H, W) uint8, of a mask 1 on
    people, values (1, H, W)
    float32, or unit vectors (3, H, W) float32; 0 outside of the crop.
    """
    if task.is_integer:
        return resize_argmax(outputs, **place)[None]
    values = resize_map(outputs, **place)
    if task.kind == 'vectors':
        x, y, z = values
        # In place, because a 4K copy takes 100 MB. `norm(dim=0)` is hundreds of times slower on a CPU.
        length = x.square().addcmul_(y, y).addcmul_(z, z).sqrt_()
        values = values.div_(length.clamp_(min=1e-12))
    return values


@MODELS.register_module()
class SapiensDenseEstimator(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` with predictions at the size of the original image, computed on the device.

    ``test_cfg.flip_test`` averages the outputs for each image and its mirror image; ``test_cfg.mode='slide'`` uses
    mmseg's windows. With ``crop_box`` in the metainfo, the input shows that part of the image, and the rest becomes 0.
    """
    task: str | None = None

    @property
    def pred_field(self) -> str:
        return get_task(self.task).pred_field

    def _init_decode_head(self, decode_head: dict) -> None:
        default = 'seg'  # the task of mmseg's own heads
        super()._init_decode_head(decode_head if self.task in (None, default) else {'task': self.task, **decode_head})
        task = getattr(self.decode_head, 'task', default)
        if self.task is None:
            self.task = task
        if task != self.task:
            raise ValueError(f"decode_head.task: got '{task}', expected '{self.task}' for {type(self).__name__}")

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        """Predicts a batch of normalized images (B, 3, H, W).

        The data samples have the metainfo that :func:`sapiens_mm.dense.resize.placement` reads (default: size of the
        inputs) and get the result of :func:`restore` in the ``pred_field`` of the task.
        """
        data_samples = with_samples(inputs, data_samples)
        test_cfg = self.test_cfg or {}
        metainfo = data_samples[0].metainfo
        images = batch_of_test(inputs, self.backbone, test_cfg)
        if test_cfg.get('mode', 'whole') == 'slide':
            outputs = self.slide_inference(images, [dict(metainfo) for _ in images])
        else:
            outputs = self._forward(images)
        write_predictions(self.task, outputs, inputs.shape[-2:], images.shape[-2:], data_samples, test_cfg)
        return data_samples


@MODELS.register_module()
class SapiensPartsSegmentor(SapiensDenseEstimator):
    """Body parts, ``pred_sem_seg`` (1, H, W) uint8; ``flip_indices`` are of ``test_cfg`` or the data samples."""
    task = 'seg'


@MODELS.register_module()
class SapiensDepthEstimator(SapiensDenseEstimator):
    """Relative depth, ``pred_depth_map`` (1, H, W) float32, unscaled; small is near."""
    task = 'depth'


@MODELS.register_module()
class SapiensNormalEstimator(SapiensDenseEstimator):
    """Unit surface normals, ``pred_normal_map`` (3, H, W) float32, in camera space: x right, y up, z to the viewer."""
    task = 'normal'


@MODELS.register_module()
class SapiensForegroundSegmentor(SapiensDenseEstimator):
    """People with clothes, hair and what they carry, ``pred_foreground`` (1, H, W) uint8, 1 on people."""
    task = 'foreground'


def with_samples(inputs: Tensor, data_samples: list | None) -> list:
    """Returns the data samples, or new ones of the size of images (B, 3, H, W)."""
    if data_samples is not None:
        return data_samples
    size = tuple(inputs.shape[-2:])
    return [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size)) for _ in inputs]


def batch_of_test(inputs: Tensor, backbone: nn.Module, test_cfg: dict) -> Tensor:
    """Pads images (B, 3, H, W) to whole patches and, with ``flip_test``, appends their mirror images.

    The backbone would pad mirror images on the wrong side, so padding comes before mirroring.
    """
    patch = backbone.patch_size if isinstance(backbone, (SapiensViT, Sapiens2ViT)) else 1
    images = F.pad(inputs, (0, -inputs.shape[-1] % patch, 0, -inputs.shape[-2] % patch))
    return torch.cat([images, images.flip(-1)]) if test_cfg.get('flip_test', False) else images


def write_predictions(name: str, outputs: Tensor, input_size: Sequence[int], covered: Sequence[int],
                      data_samples: list, test_cfg: dict) -> None:
    """Writes predictions of a task into B data samples, from head outputs (B, C, h, w); (2B, ...) with ``flip_test``.

    ``input_size`` (H, W) is that of the model's input, ``covered`` that of the images from :func:`batch_of_test`.
    """
    task, outputs = get_task(name), outputs.float()
    if test_cfg.get('flip_test', False):
        outputs, mirrored = outputs.chunk(2)
        flip_indices = test_cfg.get('flip_indices', data_samples[0].metainfo.get('flip_indices'))
        outputs = (outputs + unmirror(task, mirrored, flip_indices)) / 2
    for output, sample in zip(outputs, data_samples):
        place = placement(sample.metainfo, output.shape[-2:], input_size, covered)
        sample.set_data({task.pred_field: PixelData(data=restore(task, output, place))})
