"""Batches of images and dense labels."""
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS

# What padding holds in each field: no label.
PADDING = dict(gt_depth_map=0, gt_normal_map=0, gt_person_mask=0, gt_instance_map=0)


@MODELS.register_module()
class SapiensDensePreprocessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor``, whose padding is no label in any field, and which pads in testing too.

    mmseg pads depth with 255, which then counts as depth, knows neither normals nor masks, and refuses images of
    unequal size in testing. Here they are padded on the right and at the bottom; predictions leave the padding out.
    The arguments are those of mmseg: in training ``size`` or ``size_divisor``, in testing those of ``test_cfg``, say
    what to pad to at least; without them it is the largest image of the batch.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalises and stacks a batch.

        Args:
            data: ``inputs``, B images (3, H, W) or one tensor of them, and perhaps ``data_samples``.
            training: Whether labels belong to the inputs and are padded with them. In testing they stay as they are: of
                the size of the original image.

        Returns:
            ``inputs`` (B, 3, H', W') float32 and ``data_samples``, whose metainfo now has ``img_shape`` (H, W) without
            padding, ``pad_shape`` (H', W') and ``padding_size`` (left, right, top, bottom); in training
            ``gt_sem_seg`` is int64.
        """
        data = self.cast_data(data)
        images, samples = data['inputs'], data.get('data_samples')
        if training and samples is None:
            raise ValueError('there are no data_samples, but training needs labels')
        cfg = dict(size=self.size, size_divisor=self.size_divisor) if training else self.test_cfg or {}
        height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
        if cfg.get('size') is not None:
            height, width = max(height, cfg['size'][-2]), max(width, cfg['size'][-1])
        divisor = cfg.get('size_divisor') or 1
        height, width = -(-height // divisor) * divisor, -(-width // divisor) * divisor

        batch = images[0].new_full((len(images), len(images[0]), height, width), self.pad_val, dtype=torch.float32)
        for i, image in enumerate(images):
            h, w = image.shape[-2:]
            if self.channel_conversion and len(image) == 3:
                image = image.flip(0)
            image = image.float()
            batch[i, :, :h, :w] = (image - self.mean) / self.std if self._enable_normalize else image
            if samples is not None:
                padding = (0, width - w, 0, height - h)
                samples[i].set_metainfo(
                    dict(img_shape=(h, w), pad_shape=(height, width), padding_size=padding))
                if training:
                    self._pad_labels(samples[i], (h, w), padding)
        return dict(inputs=batch, data_samples=samples)

    def _pad_labels(self, sample, size: tuple[int, int], padding: tuple[int, ...]) -> None:
        for field, value in dict(gt_sem_seg=self.seg_pad_val, **PADDING).items():
            if field not in sample:
                continue
            label = sample.get(field).data
            if tuple(label.shape[-2:]) != size:
                raise ValueError(f"{sample.metainfo.get('img_path', 'an image')} is {size} (height, width) and its "
                                 f'{field} {tuple(label.shape[-2:])}, but in training both need the same size: load '
                                 'labels before the transforms that resize or crop')
            if field == 'gt_sem_seg':
                label = label.long()  # as losses want classes; packed samples have one byte a pixel
            sample.set_data({field: PixelData(data=F.pad(label, padding, value=value) if any(padding) else label)})
