"""Features of the backbone: maps or vectors of frames and of people."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from .boxes import have_area
from .crops import Crop, crop_for_dense, crop_for_pose, resize_frame
from .network import SapiensNetwork, TaskModel
from .result import Result


@dataclass(frozen=True)
class FeatureOptions:
    """Which features to return.

    Args:
        layers: Blocks (0-based, negative from the end) whose maps to return; the last is the backbone's output.
        of: ``'frame'``: the whole frame, resized as for dense tasks; ``'person'``: the crop of each person.
        pool: None: maps (h, w, C); ``'mean'``: their mean (C, ); ``'mask'``: the mean over the pixels of people, or of
            the person, by the segmentation. An empty mask gives NaN, and so does a person's box without area.
    """
    layers: tuple[int, ...] = (-1, )
    of: str = 'frame'
    pool: str | None = None

    def check(self, model: TaskModel, tasks: Sequence[str]) -> None:
        """Raises a ValueError if the options are invalid, or the model has no such features."""
        if not isinstance(model.network, SapiensNetwork):
            raise ValueError(f'features: got {model.source}, run by {model.runtime}, expected a model in PyTorch; load '
                             'its checkpoint with the runtime torch')
        for name, value, known in (('of', self.of, ('frame', 'person')), ('pool', self.pool, (None, 'mean', 'mask'))):
            if value not in known:
                raise ValueError(f'features_{name}: got {value!r}, expected one of {", ".join(map(str, known))}')
        number = model.network.number_of_layers
        if wrong := [layer for layer in self.layers if not -number <= layer < number]:
            raise ValueError(f'features_layers: got {wrong[0]}, expected {-number} to {number - 1}')
        if not self.layers:
            raise ValueError('features_layers: got none, expected some; -1 is the last')
        if self.pool == 'mask' and 'seg' not in tasks:
            raise ValueError(f"features_pool: got 'mask' with the tasks {', '.join(tasks)}, expected seg among them")


@torch.inference_mode()
def features_of(model: TaskModel, result: Result, options: FeatureOptions, to_device: Callable[[Sequence[Crop]], Tensor]
                ) -> dict[int, np.ndarray]:
    """Returns float32 arrays by layer: maps (h, w, C) or vectors (C, ) of the frame, or (N, ...) of its people.

    Crops run one by one, so that the values do not depend on the batch.
    """
    image, boxes = result.image, result.boxes
    if options.of == 'frame':
        crops = [resize_frame(image, model.input_size)]
    else:
        known = have_area(boxes, image.shape[:2])
        # Without people a black image tells the shapes.
        black = Crop(np.zeros((*model.input_size, 3), np.uint8), (0., 0., 1., 1.))
        crops = [_crop_person(model, image, box) if has_area else black
                 for box, has_area in zip(boxes, known)] or [black]
    maps = []
    for crop in crops:
        outputs = model.network.features(to_device([crop]), options.layers)
        maps.append([output[0].permute(1, 2, 0).cpu().numpy() for output in outputs])
    arrays = [np.stack(layer) for layer in zip(*maps)]
    if options.of == 'person':
        arrays = [array[:len(boxes)] for array in arrays]
        for array in arrays:
            array[~known] = np.nan
    if options.pool is not None:
        arrays = [_pooled(array, result, options, model) for array in arrays]
    return {layer: array[0] if options.of == 'frame' else array for layer, array in zip(options.layers, arrays)}


def _crop_person(model: TaskModel, image: np.ndarray, box: np.ndarray, outside: tuple | None = None) -> Crop:
    if model.codec is None:
        return crop_for_dense(image, box[:4], model.input_size, outside)
    return crop_for_pose(image, box[:4], model.input_size)


def _pooled(maps: np.ndarray, result: Result, options: FeatureOptions, model: TaskModel) -> np.ndarray:
    """Averages maps (N, h, w, C) to (N, C)."""
    if options.pool == 'mean':
        return maps.mean((1, 2))
    size = maps.shape[2], maps.shape[1]
    if options.of == 'frame':
        masks = [result.parts != 0]
    else:
        masks = [_crop_person(model, mask.astype(np.uint8) * 255, box, (0, 0, 0)).image if has_area else mask
                 for mask, box, has_area in zip(result.person_masks, result.boxes, have_area(
                     result.boxes, result.image.shape[:2]))]
    vectors = np.full((len(maps), maps.shape[3]), np.nan, np.float32)
    for vector, features, mask in zip(vectors, maps, masks, strict=True):
        weights = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        if weights.any():
            vector[:] = (features * weights[..., None]).sum((0, 1)) / weights.sum()
    return vectors
