"""Reconstructions of masked images (figure 3 of the Sapiens paper), and a hook that visualizes them."""
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor

from ..visualization.sheet import sheet
from .mae import SapiensMAE, patchify, unpatchify

_MASKED = 128  # gray of masked patches


@torch.no_grad()
def reconstruct(model: SapiensMAE, inputs: Tensor, mask_ratio: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Fills in the masked patches of normalized images (B, 3, H, W), on the device of a model in evaluation mode.

    If the model has ``norm_target``, mean and contrast of masked patches are interpolated from the visible patches with
    inverse squared distances as weights. ``mask_ratio`` is in (0, 1); the mask depends on ``seed``, not on the device.
    Returns the images, and the mask (B, 1, H, W), 1 for masked pixels.
    """
    size = model.backbone.patch_size
    grid = tuple(side // size for side in inputs.shape[-2:])
    noise = torch.rand(len(inputs), grid[0] * grid[1], generator=torch.Generator().manual_seed(seed))
    dtype = model.backbone.pos_embed.dtype  # DeepSpeed's model is bfloat16 as a whole
    pred, mask = model.predict(inputs.to(dtype), mask_ratio, noise.to(inputs.device))
    patches, pred = patchify(inputs.float(), size), pred.float()
    if model.norm_target:
        mean, std = (_from_around(values, mask, grid) for values in (patches.mean(-1), patches.std(-1)))
        pred = pred * std[..., None] + mean[..., None]
    hidden = mask[..., None]
    filled = unpatchify(torch.where(hidden > 0, pred, patches), grid, size)
    return filled, unpatchify(hidden.expand(-1, -1, size**2), grid, size)


def _from_around(values: Tensor, mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Interpolates values (B, N), of which those of visible patches are used, at all patches."""
    rows, columns = torch.meshgrid(*(torch.arange(side, device=values.device) for side in grid), indexing='ij')
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    near = 1 / (torch.cdist(places, places)**2 + 1e-3)
    # One image at a time, since the weights have the size of the squared number of patches.
    return torch.stack([(near * (1 - hidden)) @ value / (near @ (1 - hidden)) for value, hidden in zip(values, mask)])


def reconstruction_sheet(model: SapiensMAE, inputs: Tensor, mask_ratios: Sequence[float] = (0.75, 0.85, 0.95),
                         seed: int = 0) -> np.ndarray:
    """Draws normalized images (B, 3, H, W) with the masked and filled ones of each ratio: (H', W', 3) uint8 RGB."""
    was_training = model.training
    model.eval()
    columns = [('image', _pixels(model, inputs))]
    for ratio in mask_ratios:
        filled, hidden = reconstruct(model, inputs, ratio, seed)
        masked = np.where(hidden.permute(0, 2, 3, 1).cpu().numpy() > 0, np.uint8(_MASKED), columns[0][1])
        columns += [(f'{ratio:.0%} hidden', masked), ('reconstructed', _pixels(model, filled))]
    model.train(was_training)

    rows = zip(*([(title, image) for image in images] for title, images in columns))
    return sheet(itertools.chain(*rows), len(columns))


def _pixels(model: SapiensMAE, images: Tensor) -> np.ndarray:
    """Converts normalized images to (B, H, W, 3) uint8 RGB."""
    preprocessor = model.data_preprocessor
    images = images.float() * preprocessor.std + preprocessor.mean
    return images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


@HOOKS.register_module()
class SapiensReconstructionHook(Hook):
    """Adds reconstructions of the first ``num_images`` of a batch to the visualizer every ``interval`` iterations.

    ``mask_ratios``: see :func:`reconstruction_sheet`. Raises a ValueError if a ratio masks all or no patches.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1000, num_images: int = 4, mask_ratios: Sequence[float] = (0.75, 0.85, 0.95)):
        self.interval, self.num_images, self.mask_ratios = interval, num_images, mask_ratios
        self._checked = False

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if self._checked:
            return
        # Now instead of at the first visualization, hours later.
        model = _unwrapped(runner.model)
        height, width = data_batch['inputs'][0].shape[-2:]
        num_patches = (height // model.backbone.patch_size) * (width // model.backbone.patch_size)
        for ratio in self.mask_ratios:
            try:
                # With given noise: drawing random numbers would change the first masks of a resumed run.
                model.random_mask(1, num_patches, ratio, noise=torch.zeros(1, num_patches))
            except ValueError as error:
                raise ValueError(f'SapiensReconstructionHook, mask_ratios={tuple(self.mask_ratios)}: {error}') from None
        self._checked = True

    def after_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None, outputs=None) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        model = _unwrapped(runner.model)
        images = dict(data_batch, inputs=data_batch['inputs'][:self.num_images])
        inputs = model.data_preprocessor(images, False)['inputs']
        image = reconstruction_sheet(model, inputs, self.mask_ratios)  # on every rank: FSDP's forward needs all
        if runner.rank == 0:
            runner.visualizer.add_image('reconstruction', image, runner.iter + 1)


def _unwrapped(model: torch.nn.Module) -> SapiensMAE:
    return model.module if is_model_wrapper(model) else model
