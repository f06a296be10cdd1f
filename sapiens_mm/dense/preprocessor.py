"""Preprocessor of batches of images with dense labels."""
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS

from ..tasks import get_task, labels


@MODELS.register_module()
class SapiensDensePreprocessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor`` that pads every label with "no label", and pads in testing too.

    mmseg pads depth with 255, which counts as depth, has neither normals nor masks, and refuses images of unequal size
    in testing. Images are padded on the right and at the bottom, to at least ``size`` or a multiple of ``size_divisor``
    (in testing: of ``test_cfg``), by default to the batch's largest image; predictions exclude the padding.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalizes and stacks ``inputs``, B images (3, H, W) or one tensor of them, with optional ``data_samples``.

        In training labels have the inputs' size and are padded too; in testing they keep the original size. Returns
        ``inputs`` (B, 3, H', W') float32 and ``data_samples``, with ``img_shape`` (H, W) without padding, ``pad_shape``
        (H', W') and ``padding_size`` (left, right, top, bottom) in their metainfo; in training ``gt_sem_seg`` is int64.
        """
        data = self.cast_data(data)
        images, samples = data['inputs'], data.get('data_samples')
        if training and samples is None:
            raise ValueError('data_samples: got None, expected labels for training')
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
        classes = get_task('seg').label
        for label in labels():
            if label.field not in sample:
                continue
            data = sample.get(label.field).data
            if tuple(data.shape[-2:]) != size:
                raise ValueError(f"{label.field} of {sample.metainfo.get('img_path', 'an image')}: got size "
                                 f'{tuple(data.shape[-2:])}, expected {size}, that of the image; load labels before '
                                 'transforms that resize or crop')
            if label is classes:
                data = data.long()  # for losses; packed samples have one byte per pixel
            value = self.seg_pad_val if label is classes else label.fill
            sample.set_data({label.field: PixelData(data=F.pad(data, padding, value=value) if any(padding) else data)})
