"""Masked autoencoder (He et al., CVPR 2022, https://arxiv.org/abs/2111.06377), as used to pretrain Sapiens."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from ..backbones.sapiens_vit import run_block


@MODELS.register_module()
class SapiensMAE(BaseModel):
    """Encodes the visible patches of an image and predicts the pixels of the masked ones.

    Parameters have the public names, ``backbone.*`` and ``neck.*``. The backbone's position embedding is frozen.

    Args:
        backbone: Config of a ``SapiensViT``; ``with_cls_token`` is set here.
        neck: Config of a ``SapiensMAEDecoder`` (the default type); sizes and ``in_channels`` come from the backbone.
        mask_ratio: Share of masked patches, in (0, 1), else a ValueError.
        norm_target: Whether to normalize the pixels of each target patch by their own mean and variance.
        data_preprocessor: Config of a preprocessor for images (B, 3, H, W) or a list of them.
    """

    def __init__(self,
                 backbone: dict,
                 neck: dict | None = None,
                 mask_ratio: float = 0.75,
                 norm_target: bool = True,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.mask_ratio = _checked_ratio(mask_ratio)
        self.norm_target = norm_target
        self.backbone = MODELS.build({**backbone, 'with_cls_token': True})
        self.backbone.pos_embed.requires_grad_(False)
        self.neck = MODELS.build({
            'type': 'SapiensMAEDecoder',
            **(neck or {}), 'in_channels': self.backbone.embed_dims,
            'grid_size': self.backbone.grid_size,
            'patch_size': self.backbone.patch_size
        })

    def init_weights(self) -> None:
        """Initializes backbone and neck by their ``init_cfg``, and the patch projection as in MAE."""
        super().init_weights()
        settings = self.backbone.init_cfg
        if not (isinstance(settings, dict) and settings['type'] == 'Pretrained'):
            # As a linear layer over a patch: the fan-out of a convolution would count each pixel.
            nn.init.xavier_uniform_(self.backbone.patch_embed.projection.weight.data.flatten(1))
            nn.init.zeros_(self.backbone.patch_embed.projection.bias)

    def forward(self, inputs: Tensor, data_samples: dict | None = None,
                mode: str = 'tensor') -> dict | tuple[Tensor, Tensor]:
        """Runs :meth:`loss` or, with mode ``'tensor'``, :meth:`predict` on normalized images (B, 3, H, W)."""
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.predict(inputs)
        raise ValueError(f"mode: got '{mode}', expected 'loss' or 'tensor'")

    def loss(self, inputs: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the mean squared error over the masked patches as ``dict(loss=...)``; see :meth:`predict`."""
        pred, mask = self.predict(inputs, noise=noise)
        error = F.mse_loss(pred.float(), self.target(inputs), reduction='none').mean(dim=-1)
        return dict(loss=(error * mask).sum() / mask.sum())

    def predict(self, inputs: Tensor, mask_ratio: float | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predicts all patches of normalized images (B, 3, H, W) from the visible ones; see :meth:`random_mask`.

        Returns (B, N, patch_size ** 2 * 3), normalized if ``norm_target`` is set, and the mask (B, N) float, 1 for
        masked. Raises a ValueError if the image size is not a multiple of the patch size, or all or no patches are
        masked.
        """
        latent, mask, ids_restore, grid = self.encode(inputs, mask_ratio, noise)
        return self.neck(latent, ids_restore, grid), mask

    def encode(self, inputs: Tensor, mask_ratio: float | None = None,
               noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
        """Returns the encoded visible patches (B, 1 + V, C), mask (B, N), ``ids_restore`` (B, N) and grid (h, w)."""
        size = self.backbone.patch_size
        if any(side % size for side in inputs.shape[-2:]):
            raise ValueError(f'images: got {inputs.shape[-2]} x {inputs.shape[-1]} pixels (H x W), expected multiples '
                             f'of the patch size {size}; crop or resize them')
        tokens, grid = self.backbone.embed(inputs)
        ids_keep, mask, ids_restore = self.random_mask(len(tokens), tokens.shape[1] - 1, mask_ratio, noise,
                                                       tokens.device)
        visible = tokens[:, 1:].gather(1, ids_keep[..., None].expand(-1, -1, tokens.shape[-1]))
        x = torch.cat([tokens[:, :1], visible], dim=1)
        for block in self.backbone.layers:
            x = run_block(block, x, self.backbone.with_cp)
        return self.backbone.ln1(x), mask, ids_restore, grid

    def random_mask(self, batch: int, num_patches: int, mask_ratio: float | None = None, noise: Tensor | None = None,
                    device: torch.device | str = 'cpu') -> tuple[Tensor, Tensor, Tensor]:
        """Draws the visible patches of each of ``batch`` images.

        Args:
            mask_ratio: Share of masked patches, in (0, 1); by default the model's.
            noise: (B, N); the patches with the smallest noise stay visible. Uniform random numbers by default.
        Returns the indices of the V visible patches (B, V) int64; the mask (B, N) float, 1 for masked; and (B, N)
        int64, each patch's index among the visible patches followed by the masked ones.
        """
        ratio = self.mask_ratio if mask_ratio is None else _checked_ratio(mask_ratio)
        num_visible = int(num_patches * (1 - ratio))
        if not 0 < num_visible < num_patches:
            raise ValueError(f'mask_ratio: got {ratio}, which leaves {num_visible} of {num_patches} patches visible, '
                             'expected some visible and some masked; change the ratio or use larger images')
        if noise is None:
            noise = torch.rand(batch, num_patches, device=device)
        elif noise.shape != (batch, num_patches):
            raise ValueError(f'noise: got shape {tuple(noise.shape)}, expected {(batch, num_patches)}: images, patches')
        ids_shuffle = noise.argsort(dim=1)
        ids_restore = ids_shuffle.argsort(dim=1)
        return ids_shuffle[:, :num_visible], (ids_restore >= num_visible).float(), ids_restore

    def target(self, inputs: Tensor) -> Tensor:
        """Returns the target patches (B, N, patch_size ** 2 * 3) float32 of normalized images (B, 3, H, W)."""
        patches = patchify(inputs.float(), self.backbone.patch_size)
        if self.norm_target:
            patches = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        return patches


def _checked_ratio(mask_ratio: float) -> float:
    if not 0 < mask_ratio < 1:
        raise ValueError(f'mask_ratio: got {mask_ratio}, expected a number between 0 and 1, both excluded')
    return mask_ratio


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Splits images (B, C, H, W) into patches (B, h * w, patch_size ** 2 * C) in row-major order, channels last."""
    B, C, H, W = images.shape
    h, w = H // patch_size, W // patch_size
    patches = images.reshape(B, C, h, patch_size, w, patch_size).permute(0, 2, 4, 3, 5, 1)
    return patches.reshape(B, h * w, patch_size**2 * C)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """Joins patches (B, h * w, patch_size ** 2 * C) to images (B, C, h * patch_size, w * patch_size)."""
    B, _, values = patches.shape
    h, w = grid
    channels = values // patch_size**2
    images = patches.reshape(B, h, w, patch_size, patch_size, channels).permute(0, 5, 1, 3, 2, 4)
    return images.reshape(B, channels, h * patch_size, w * patch_size)
