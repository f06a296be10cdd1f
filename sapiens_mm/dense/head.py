"""The head of the public models for body parts, depth and surface normals."""
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

# What a task learns from: the field of a data sample, its channels, the loss by default.
TASKS = dict(
    parts=('gt_sem_seg', None, dict(type='mmseg.SapiensWeightedCrossEntropyLoss')),
    depth=('gt_depth_map', 1, dict(type='mmseg.SapiensSiLogLoss')),
    normal=('gt_normal_map', 3, dict(type='mmseg.SapiensNormalLoss')))


@MODELS.register_module()
class SapiensDenseHead(BaseDecodeHead):
    """Transposed convolutions, 1x1 convolutions, InstanceNorm, SiLU, and one value per channel and pixel at the end.

    The public models have three transposed convolutions and three convolutions of 768 channels for parts and normals,
    four and two of 384 for depth. At an input of 1024x768 the former put out 512x384, the latter 1024x768. Like the
    release, the losses by default compare outputs that are resized to the labels (bilinear, ``align_corners=False``).

    Args:
        in_channels: Channels of the backbone's map.
        num_classes: Number of classes of the parts.
        out_channels: The same by another name; needless for depth (1) and normals (3).
        task: ``'parts'``, ``'depth'`` or ``'normal'``. Our segmentors set it.
        channels: Channels before the last layer, as public configs state them; only checked.
        deconv_out_channels: Channels of the transposed convolutions; each doubles the size.
        deconv_kernel_sizes: Their kernel sizes.
        conv_out_channels: Channels of the convolutions that follow.
        conv_kernel_sizes: Their kernel sizes.
        loss_decode: Config of the loss or of several; by default that of the task. It is called with outputs and labels
            and returns a value or a dict of values.
        ignore_index: The label of pixels without a part.
        in_index: Which of the backbone's maps is taken.
        align_corners: How mmseg's segmentors resize the output; the public models need ``False``.
        norm_cfg: Config of the norm layers, as public configs state it; only checked, since the norm is InstanceNorm in
            every public model, whose configs name SyncBN.
        loss_size: What the losses compare: ``'labels'``, outputs resized to the labels; or ``'outputs'``, the labels of
            the pixels nearest to the outputs' centres, which is cheaper by the square of the outputs' stride.
        init_cfg: ``dict(type='Pretrained', checkpoint=..., prefix='decode_head.')`` reads the head of a whole model,
            every tensor of it (the prefix can be left out). By default the last layer is drawn with std 0.01, and for
            depth with a bias of 0.5: where a prediction is not positive, SiLog has no gradient.
    """

    def __init__(self,
                 in_channels: int,
                 num_classes: int | None = None,
                 out_channels: int | None = None,
                 task: str = 'parts',
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
                 init_cfg: dict | list[dict] | None = None):
        if task not in TASKS:
            raise ValueError(f"task is '{task}', but must be one of {', '.join(TASKS)}")
        if loss_size not in ('labels', 'outputs'):
            raise ValueError(f"loss_size is '{loss_size}', but must be 'labels' or 'outputs'")
        self_channels, default_loss = TASKS[task][1:]
        found = {value for value in (num_classes, out_channels, self_channels) if value is not None}
        if len(found) != 1:
            wanted = 'the number of classes as one of both' if self_channels is None else f'{self_channels} or nothing'
            raise ValueError(f'num_classes is {num_classes} and out_channels is {out_channels}, but '
                             f"task='{task}' needs {wanted}")
        outputs = found.pop()
        width = [in_channels, *deconv_out_channels, *conv_out_channels][-1]
        if channels not in (None, width):
            raise ValueError(f'channels is {channels}, but the last layer gets {width}: leave channels out')
        _check_norm(norm_cfg)
        super().__init__(
            in_channels,
            width,
            num_classes=outputs,
            out_channels=outputs,
            threshold=0.5 if outputs == 1 else None,  # mmseg wants one for a single channel
            dropout_ratio=0,
            in_index=in_index,
            loss_decode=default_loss if loss_decode is None else loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=init_cfg or dict(type='Normal', std=0.01, override=dict(
                name='conv_seg', type='Normal', std=0.01, bias=0.5 if task == 'depth' else 0)))
        self.task = task
        self.loss_size = loss_size
        self.deconv_layers = upsampling_layers(in_channels, deconv_out_channels, deconv_kernel_sizes)
        self.conv_layers = conv_layers([in_channels, *deconv_out_channels][-1], conv_out_channels, conv_kernel_sizes)

    def init_weights(self) -> None:
        """Reads the checkpoint that ``init_cfg`` names, else draws the weights.

        Raises:
            RuntimeError: A tensor of the head would stay random.
        """
        if not (isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained'):
            super().init_weights()
            return
        source, prefix = self.init_cfg['checkpoint'], self.init_cfg.get('prefix', 'decode_head')
        prefix = prefix.rstrip('.') + '.'
        content = load_checkpoint_file(source)
        state_dict = content.get('state_dict', content)
        own = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
        if not own:
            begins = sorted({key.partition('.')[0] for key in state_dict})
            raise RuntimeError(f"{source} has no tensor under '{prefix}': its names begin with {begins}. Set the "
                               'prefix in init_cfg to that of the head in it')
        fill_model(self, own, f'{source} under {prefix!r}', 'compare channels and task with those of the config')
        self._is_init = True
        print_log(f'{type(self).__name__} ({self.task}) reads {len(own)} tensors from {source}', logger='current')

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Outputs (B, out_channels, h, w) from feature maps, of which one (B, C, h', w') is taken."""
        return self.cls_seg(self.conv_layers(self.deconv_layers(self._transform_inputs(inputs))))

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Computes the losses and, for parts in iterations that are logged, ``acc_seg``: % of correct pixels.

        ``SapiensLoggedIterHook`` tells which ones are; without it all count.

        Args:
            seg_logits: Outputs (B, out_channels, h, w).
            batch_data_samples: B data samples with the task's label, all of one size: ``gt_sem_seg`` (1, H, W) int64,
                ``gt_depth_map`` (1, H, W) or ``gt_normal_map`` (3, H, W).
        """
        field = TASKS[self.task][0]
        without = [i for i, sample in enumerate(batch_data_samples) if field not in sample]
        if without:
            raise ValueError(f"data samples {without} of the batch have no {field}, which task='{self.task}' learns "
                             'from: load it in the pipeline, or train with SapiensMultiTask, which leaves them out')
        if self.task == 'parts':
            _check_vocabulary(batch_data_samples[0], self.num_classes)
        labels = torch.stack([sample.get(field).data for sample in batch_data_samples])
        outputs = seg_logits.float()  # before it is resized, lest a value be rounded twice
        if self.loss_size == 'labels':
            outputs = F.interpolate(outputs, labels.shape[-2:], mode='bilinear', align_corners=self.align_corners)
        else:
            labels = _labels_at_centers(labels, outputs.shape[-2:])
        kwargs = {}
        if self.task == 'parts':
            labels, kwargs = labels.squeeze(1).long(), dict(ignore_index=self.ignore_index)
        losses = {}
        for loss in self.loss_decode if isinstance(self.loss_decode, torch.nn.ModuleList) else [self.loss_decode]:
            terms = loss(outputs, labels, **kwargs)
            for name, value in (terms if isinstance(terms, dict) else {loss.loss_name: terms}).items():
                losses[name] = losses[name] + value if name in losses else value
        if self.task == 'parts' and MessageHub.get_current_instance().get_info('logged_iter', True):
            losses['acc_seg'] = correct_pixels(outputs.detach(), labels, self.ignore_index)
        return losses


def _check_norm(norm_cfg: dict | None) -> None:
    name = (norm_cfg or {}).get('type', 'IN')
    if name in ('BN', 'SyncBN'):
        print_log(f"norm_cfg names {name}, but the norm is InstanceNorm, as in every public model: leave norm_cfg out",
                  logger='current')
    elif name not in ('IN', 'IN2d', 'InstanceNorm2d'):
        raise ValueError(f"norm_cfg.type: got '{name}', expected 'IN', the public models' norm; leave it out")


def _labels_at_centers(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels (B, C, h, w) from (B, C, H, W): those of the pixels in or beside which the centres of h x w cells lie."""
    rows, columns = ((torch.arange(number, device=labels.device) * 2 + 1) * side // (2 * number)
                     for number, side in zip(size, labels.shape[-2:]))
    return labels[..., rows[:, None], columns]


def _check_vocabulary(sample, num_classes: int) -> None:
    """Refuses a data set of another vocabulary, whose labels fail in the loss without a word, on a GPU even later."""
    indices = sample.metainfo.get('flip_indices')
    if indices is not None and len(indices) != num_classes:
        raise ValueError(f'the head has num_classes={num_classes}, but the data set has {len(indices)} classes: set '
                         'num_classes in the head, or take the dataset class of its vocabulary')


def correct_pixels(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Share of labelled pixels whose class is right, in %, like mmseg's ``accuracy`` but without waiting for it.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W).
        ignore_index: The label of pixels without one.

    Returns:
        A scalar on the device of ``logits``; 0 when nothing is labelled.
    """
    valid = labels != ignore_index
    correct = (logits.argmax(1) == labels) & valid
    return correct.sum() * 100. / valid.sum().clamp(min=1)
