"""Codec of unbiased (UDP) heatmaps, which renders and decodes in batches on the model's device.

Results equal those of mmpose's ``UDPHeatmap`` (Huang et al., CVPR 2020, https://arxiv.org/abs/1911.07524; refinement of
Zhang et al., CVPR 2020, https://arxiv.org/abs/1910.06278).
"""
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

# Bounds the memory of the rare keypoints that need a blur of the whole map.
_BLUR_CHUNK = 64
# Since torch 2.7; sapiens_mm.apis.export refuses older ones.
_is_exporting = getattr(torch.compiler, 'is_exporting', bool)


@KEYPOINT_CODECS.register_module()
class SapiensUDPHeatmap(BaseKeypointCodec):
    """Converts keypoints to and from Gaussian heatmaps, which the head renders and decodes on its device.

    Args:
        input_size: Size (W, H) of the model's input in pixels.
        heatmap_size: Size (w, h) of its heatmaps.
        sigma: Standard deviation of the Gaussian in heatmap pixels.
        blur_kernel_size: Side (odd) in heatmap pixels of the Gaussian blur before the sub-pixel refinement.
    """

    label_mapping_table = dict(keypoint_labels='keypoint_labels', keypoint_weights='keypoint_weights')

    def __init__(self, input_size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float = 2.,
                 blur_kernel_size: int = 11):
        super().__init__()
        if blur_kernel_size % 2 == 0:
            raise ValueError(f'blur_kernel_size: got {blur_kernel_size}, expected an odd number')
        self.input_size = tuple(input_size)
        self.heatmap_size = tuple(heatmap_size)
        self.sigma = sigma
        self.blur_kernel_size = blur_kernel_size
        self.scale_factor = ((np.array(input_size) - 1) / (np.array(heatmap_size) - 1)).astype(np.float32)

    @property
    def support_batch_decoding(self) -> bool:
        return True

    def encode(self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None) -> dict:
        """Prepares the target of keypoints (1, K, 2) in input pixels; labeled where ``keypoints_visible`` (1, K) > 0.

        Returns ``keypoint_labels`` (1, K, 2) float32 in heatmap pixels, NaN for keypoints that are not rendered, and
        ``keypoint_weights`` (1, K), 0 where the whole Gaussian is outside of the heatmap.
        """
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        labels = (keypoints / self.scale_factor).astype(np.float32)
        weights = np.nan_to_num(keypoints_visible).clip(0)

        center, radius = (labels + 0.5).astype(np.int64), self.sigma * 3
        outside = ((center - radius).astype(np.int64) >= self.heatmap_size) | \
            ((center + radius + 1).astype(np.int64) < 0)
        labeled = weights > 0
        weights[labeled & outside.any(-1)] = 0
        labels[~labeled | outside.any(-1)] = np.nan
        return dict(keypoint_labels=labels, keypoint_weights=weights)

    def render(self, keypoint_labels: Tensor) -> Tensor:
        """Renders (B, K, 2) in heatmap pixels, NaN: none, as Gaussians (B, K, h, w) of height 1, cut off at 3 sigma."""
        # The Gaussian and its cut-off are separable: two vectors and one outer product per keypoint.
        radius = self.sigma * 3
        keypoint_labels = keypoint_labels.float()
        center = (keypoint_labels + 0.5).trunc()
        first, last = (center - radius).trunc(), (center + radius + 1).trunc() - 1
        # mmpose counts the peak from the first pixel, which differs where 3 sigma is not an integer.
        peak = first + (2 * radius + 1) // 2 + (keypoint_labels - center)
        profiles = []
        for axis, size in enumerate(self.heatmap_size):
            pixels = torch.arange(size, device=keypoint_labels.device, dtype=torch.float32)
            low, high, mean = (bound[..., axis, None] for bound in (first, last, peak))
            gaussian = torch.exp(-(pixels - mean)**2 / (2 * self.sigma**2))
            profiles.append(torch.where((pixels >= low) & (pixels <= high), gaussian, 0.))
        x, y = profiles
        return y[..., :, None] * x[..., None, :]

    def batch_decode(self, batch_encoded: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Decodes heatmaps (B, K, h, w) to keypoints (1, K, 2) in input pixels and scores (1, K) of B persons."""
        keypoints, scores = self.decode_heatmaps(batch_encoded)
        return list(keypoints.cpu().numpy()[:, None]), list(scores.cpu().numpy()[:, None])

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decodes the heatmaps (K, h, w) of one person; see :meth:`batch_decode`."""
        keypoints, scores = self.batch_decode(torch.as_tensor(encoded)[None])
        return keypoints[0], scores[0]

    @torch.no_grad()
    def decode_heatmaps(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the peaks of heatmaps (B, K, h, w), refined by a Newton step on the blurred log heatmap.

        Keypoints (B, K, 2) float32 in pixels of the model's input, always finite, and scores (B, K) float32, the
        heights of the peaks. A heatmap without a positive value gives its unrefined maximum and a score <= 0.
        """
        B, K, h, w = heatmaps.shape
        if (w, h) != self.heatmap_size:
            raise ValueError(f'heatmaps: got {w}x{h} (WxH), expected heatmap_size={self.heatmap_size} of the codec')
        maps = heatmaps.reshape(B * K, h, w)
        with torch.autocast(heatmaps.device.type, enabled=False):  # the refinement needs full precision
            peaks, scores = heatmap_maximum(maps)
            refined = peaks + self._refine(maps, peaks, scores)
        usable = refined.isfinite().all(-1, keepdim=True) & (scores > 0)[:, None]
        keypoints = torch.where(usable, refined, peaks.float())
        keypoints = keypoints / keypoints.new_tensor([w - 1, h - 1]) * keypoints.new_tensor(self.input_size)
        return keypoints.reshape(B, K, 2), scores.reshape(B, K)

    def _refine(self, maps: Tensor, peaks: Tensor, scores: Tensor) -> Tensor:
        """Returns the Newton step (N, 2) from the integer ``peaks`` (N, 2) of ``maps`` (N, h, w)."""
        n, h, w = maps.shape
        kernel = _gaussian_kernel(self.blur_kernel_size, maps.device)
        # Not in float32: second differences of flat, noisy peaks magnify its rounding to hundredths of a pixel.
        blurred = _blur_around(maps, peaks, kernel)

        # mmpose scales the blurred map back to the height of the peak and clips it to [1e-3, 50] before the logarithm.
        # The scale is a constant in the logarithm, so it (and the blur of the whole map for it) matters only where
        # something is clipped. It is between 1 and `score / blurred peak`.
        low, high = blurred.flatten(1).amin(-1), blurred.flatten(1).amax(-1)
        clipped = ((low <= 1e-3) | (high * scores > 50 * blurred[:, 1, 1])) & (scores > 0)
        if _is_exporting():  # an exported graph cannot have sizes that depend on values
            blurred = blurred * (scores / _highest_blurred(maps, kernel))[:, None, None]
        else:
            for index in clipped.nonzero().squeeze(-1).split(_BLUR_CHUNK):
                blurred[index] *= (scores[index] / _highest_blurred(maps[index], kernel))[:, None, None]
        z = blurred.clamp(1e-3, 50.).log()

        # Replicates the border of the map.
        steps = torch.tensor([-1, 0, 1], device=maps.device)
        for dim, size in ((2, w), (1, h)):
            position = peaks[:, 2 - dim, None]
            inside = (position + steps).clamp(0, size - 1) - position + 1
            inside = inside[:, :, None] if dim == 1 else inside[:, None, :]
            z = z.gather(dim, inside.expand(n, 3, 3))
        dx = (z[:, 1, 2] - z[:, 1, 0]) / 2
        dy = (z[:, 2, 1] - z[:, 0, 1]) / 2
        eps = torch.finfo(torch.float32).eps
        dxx = z[:, 1, 2] - 2 * z[:, 1, 1] + z[:, 1, 0] + eps
        dyy = z[:, 2, 1] - 2 * z[:, 1, 1] + z[:, 0, 1] + eps
        dxy = (z[:, 2, 2] - z[:, 1, 2] - z[:, 2, 1] + 2 * z[:, 1, 1] - z[:, 1, 0] - z[:, 0, 1] + z[:, 0, 0]) / 2
        determinant = dxx * dyy - dxy * dxy
        step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1) / determinant[:, None]
        return step.float()


def heatmap_maximum(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Returns integer (x, y) (..., 2) and value (...) float32 of the first maximum of maps (..., h, w)."""
    # Rows first: a maximum without its position is several times faster than one with it.
    rows = maps.amax(-1)
    scores, y = rows.max(-1)
    row = maps.gather(-2, y[..., None, None].expand(*y.shape, 1, maps.shape[-1])).squeeze(-2)
    x = row.argmax(-1)
    return torch.stack([x, y], dim=-1), scores.float()


def _gaussian_kernel(size: int, device: torch.device) -> Tensor:
    """The (size, ) kernel of ``cv2.GaussianBlur`` with its default sigma, float64 where the device supports it."""
    dtype = torch.float32 if device.type == 'mps' else torch.float64
    return torch.as_tensor(cv2.getGaussianKernel(size, 0).ravel(), dtype=dtype, device=device)


def _highest_blurred(maps: Tensor, kernel: Tensor) -> Tensor:
    """The maximum (N, ) of each blurred map (N, h, w), zero outside; in float32."""
    rows, columns = (_blur_matrix(kernel.float(), size) for size in maps.shape[1:])
    # More products than a convolution, but 12 times as fast on a CPU, where convolutions of one channel are slow.
    return (rows @ (maps.float() @ columns)).flatten(1).amax(-1)


def _blur_matrix(kernel: Tensor, size: int) -> Tensor:
    """The symmetric matrix (size, size) that blurs columns, zero outside."""
    border = len(kernel) // 2
    place = torch.arange(size, device=kernel.device)
    distance = (place[:, None] - place).abs()
    return torch.where(distance <= border, kernel[border + distance.clamp(max=border)], 0.)


def _blur_around(maps: Tensor, peaks: Tensor, kernel: Tensor) -> Tensor:
    """The values (N, 3, 3) of the blurred ``maps`` (N, h, w) around ``peaks`` (N, 2), in the kernel's dtype."""
    n, h, w = maps.shape
    reach = len(kernel) // 2 + 1
    offsets = torch.arange(-reach, reach + 1, device=maps.device)
    x, y = peaks[:, 0, None] + offsets, peaks[:, 1, None] + offsets
    inside = ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None, :]
    index = y.clamp(0, h - 1)[:, :, None] * w + x.clamp(0, w - 1)[:, None, :]
    patches = maps.flatten(1).gather(1, index.flatten(1)).view(n, len(offsets), len(offsets)).to(kernel.dtype)
    patches = torch.where(inside, patches, 0.)
    band = torch.stack([F.pad(kernel, (i, 2 - i)) for i in range(3)])
    return band @ patches @ band.T
