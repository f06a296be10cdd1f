"""Head of the public models for dense tasks: segmentation, depth and surface normals."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub, print_log
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor

from ..backbones.head_layers import conv_layers, upsampling_layers
from ..engine.checkpoint import load_checkpoint_file
from ..engine.weights import fill_model
from ..tasks import canonical_name, dense_tasks


@MODELS.register_module()
class SapiensDenseHead(BaseDecodeHead):
    """Transposed convolutions, then 1x1 convolutions, both with InstanceNorm and SiLU, and a linear last layer.

    The public models for segmentation and normals (three and three layers of 768 channels) output 512x384 for an input
    of 1024x768, those for depth (four and two of 384) 1024x768. As in the release, losses by default compare outputs
    resized to the labels (bilinear, ``align_corners=False``).

    Args:
        in_channels: Channels of the backbone's map, number ``in_index``.
        num_classes: Number of classes, also as ``out_channels``; other tasks need neither.
        task: ``'seg'``, ``'depth'``, ``'normal'`` or ``'foreground'``. Our estimators set it.
        deconv_out_channels: Channels of the transposed convolutions (``deconv_kernel_sizes``); each doubles the size.
        conv_out_channels: Channels of the convolutions after them (``conv_kernel_sizes``).
        loss_decode: Config of the loss, or a list of them; by default the task's. A loss takes outputs and labels and
            returns a value or a dict of values.
        ignore_index: Label of pixels without a class.
        align_corners: How mmseg's segmentors resize the output; the public models need ``False``.
        channels, norm_cfg: Only checked: public models have InstanceNorm, although their configs name SyncBN.
        loss_size: Size at which losses compare: ``'labels'``, outputs resized to the labels; or ``'outputs'``, the
            labels of the pixels nearest to the outputs' centers, cheaper by the square of the outputs' stride.
        mask_loss: Whether pixels of ``gt_person_mask`` without a class are learned as any class but 0, the background
            (``loss_mask``); for labels of clothes or hair that leave out the rest of the person.
        init_cfg: ``dict(type='Pretrained', checkpoint=..., prefix='decode_head.')`` loads every tensor of the head; the
            prefix is optional. By default the last layer is drawn with std 0.01 and gets the task's bias.
    """

    def __init__(self,
                 in_channels: int,
                 num_classes: int | None = None,
                 out_channels: int | None = None,
                 task: str = 'seg',
                 channels: int | None = None,
                 deconv_out_channels: Sequence[int] = (768, 768, 768),
                 deconv_kernel_sizes: Sequence[int] = (4, 4, 4),
                 conv_out_channels: Sequence[int] = (768, 768, 768),
                 conv_kernel_sizes: Sequence[int] = (1, 1, 1),
                 loss_decode: dict | Sequence[dict] | None = None,
                 ignore_index: int = 255,
                 in_index: int = -1,
                 align_corners: bool = False,
                 norm_cfg: dict | None = None,
                 loss_size: str = 'labels',
                 mask_loss: bool = False,
                 init_cfg: dict | list[dict] | None = None):
        task = canonical_name(task)
        if task not in dense_tasks():
            raise ValueError(f"task: got '{task}', expected one of {', '.join(dense_tasks())}")
        if loss_size not in ('labels', 'outputs'):
            raise ValueError(f"loss_size: got '{loss_size}', expected 'labels' or 'outputs'")
        spec = dense_tasks()[task]
        if mask_loss and spec.kind != 'classes':
            raise ValueError(f"mask_loss: got True for task='{task}', expected False for a task without classes")
        numbers = {value for value in (num_classes, out_channels, spec.channels) if value is not None}
        if len(numbers) != 1:
            expected = spec.channels or 'the number of classes in either one'
            raise ValueError(f"num_classes, out_channels: got {num_classes}, {out_channels}, expected {expected} for "
                             f"task='{task}'")
        outputs = numbers.pop()
        width = [in_channels, *deconv_out_channels, *conv_out_channels][-1]
        if channels not in (None, width):
            raise ValueError(f'channels: got {channels}, expected {width}, the input of the last layer; remove it')
        _check_norm(norm_cfg)
        super().__init__(
            in_channels,
            width,
            num_classes=outputs,
            out_channels=outputs,
            threshold=0.5 if outputs == 1 else None,  # mmseg requires one for a single channel
            dropout_ratio=0,
            in_index=in_index,
            loss_decode=dict(type=spec.loss) if loss_decode is None else loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=init_cfg or dict(type='Normal', std=0.01, override=dict(
                name='conv_seg', type='Normal', std=0.01, bias=spec.bias)))
        self.task = task
        self.loss_size = loss_size
        self.mask_loss = mask_loss
        self.deconv_layers = upsampling_layers(in_channels, deconv_out_channels, deconv_kernel_sizes)
        self.conv_layers = conv_layers([in_channels, *deconv_out_channels][-1], conv_out_channels, conv_kernel_sizes)

    def init_weights(self) -> None:
        """Loads ``init_cfg``'s checkpoint (RuntimeError unless it has exactly the head's tensors), or draws weights."""
        if not (isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained'):
            super().init_weights()
            return
        source, prefix = self.init_cfg['checkpoint'], self.init_cfg.get('prefix', 'decode_head')
        prefix = prefix.rstrip('.') + '.'
        content = load_checkpoint_file(source)
        state_dict = content.get('state_dict', content)
        weights = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
        if not weights:
            prefixes = sorted({key.partition('.')[0] for key in state_dict})
            raise RuntimeError(f"init_cfg.prefix: got '{prefix}', expected one of {prefixes} for {source}")
        fill_model(self, weights, f'{source} under {prefix!r}', 'compare channels and task with those of the config')
        self._is_init = True
        print_log(f'{type(self).__name__} ({self.task}): loaded {len(weights)} tensors from {source}', logger='current')

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Returns outputs (B, out_channels, h, w) for the feature maps (B, C, h', w') of a backbone."""
        return self.cls_seg(self.conv_layers(self.deconv_layers(self._transform_inputs(inputs))))

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Computes the losses and, for classes in logged iterations, ``acc_seg``: % of correct pixels.

        ``seg_logits`` are outputs (B, out_channels, h, w); the B data samples of one size have ``gt_sem_seg`` (1, H, W)
        int64, ``gt_depth_map`` or ``gt_person_mask`` (1, H, W), or ``gt_normal_map`` (3, H, W).
        """
        task = dense_tasks()[self.task]
        field, classes = task.label.field, task.is_integer
        missing = [i for i, sample in enumerate(batch_data_samples) if field not in sample]
        if missing:
            raise ValueError(f"data samples {missing} of the batch: got no {field}, expected the label of "
                             f"task='{self.task}'; load it in the pipeline, or train with SapiensMultiTask, which "
                             'skips them')
        if task.kind == 'classes':
            _check_vocabulary(batch_data_samples[0], self.num_classes)
        labels = torch.stack([sample.get(field).data for sample in batch_data_samples])
        outputs = seg_logits.float()  # before resizing, so that values are not rounded twice
        masks = self._stack_masks(batch_data_samples, labels) if self.mask_loss else None
        if self.loss_size == 'labels':
            outputs = F.interpolate(outputs, labels.shape[-2:], mode='bilinear', align_corners=self.align_corners)
        else:
            labels = _labels_at_centers(labels, outputs.shape[-2:])
            masks = None if masks is None else _labels_at_centers(masks, outputs.shape[-2:])
        kwargs = {}
        if classes:
            labels, kwargs = labels.squeeze(1).long(), dict(ignore_index=self.ignore_index)
        losses = {}
        for loss in self.loss_decode if isinstance(self.loss_decode, torch.nn.ModuleList) else [self.loss_decode]:
            terms = loss(outputs, labels, **kwargs)
            for name, value in (terms if isinstance(terms, dict) else {loss.loss_name: terms}).items():
                losses[name] = losses[name] + value if name in losses else value
        if masks is not None:
            unknown = (labels == self.ignore_index) & (masks.squeeze(1) > 0)
            losses['loss_mask'] = ((outputs.logsumexp(1) - outputs[:, 1:].logsumexp(1)) * unknown).mean()
        if classes and MessageHub.get_current_instance().get_info('logged_iter', True):
            losses['acc_seg'] = correct_pixels(outputs.detach(), labels, self.ignore_index)
        return losses

    @staticmethod
    def _stack_masks(batch_data_samples: list, labels: Tensor) -> Tensor:
        none = torch.zeros_like(labels[0], dtype=torch.uint8)
        return torch.stack([sample.gt_person_mask.data if 'gt_person_mask' in sample else none
                            for sample in batch_data_samples])


def _check_norm(norm_cfg: dict | None) -> None:
    name = (norm_cfg or {}).get('type', 'IN')
    if name in ('BN', 'SyncBN'):
        print_log(f'norm_cfg.type: got {name}; the head uses InstanceNorm, as every public model does', 'current')
    elif name not in ('IN', 'IN2d', 'InstanceNorm2d'):
        raise ValueError(f"norm_cfg.type: got '{name}', expected 'IN', the public models' norm; leave it out")


def _labels_at_centers(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Returns labels (B, C, h, w) of (B, C, H, W) at the pixels nearest to the centers of h x w cells."""
    rows, columns = ((torch.arange(number, device=labels.device) * 2 + 1) * side // (2 * number)
                     for number, side in zip(size, labels.shape[-2:]))
    return labels[..., rows[:, None], columns]


def _check_vocabulary(sample, num_classes: int) -> None:
    indices = sample.metainfo.get('flip_indices')
    if indices is not None and len(indices) != num_classes:
        raise ValueError(f'num_classes: got {num_classes}, expected {len(indices)}, the classes of the dataset; set '
                         'num_classes in the head, or use the dataset class of its vocabulary')


def correct_pixels(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Returns % of labeled pixels with the correct class, 0 without labels, for (B, C, H, W) and (B, H, W); no sync."""
    valid = labels != ignore_index
    correct = (logits.argmax(1) == labels) & valid
    return correct.sum() * 100. / valid.sum().clamp(min=1)
