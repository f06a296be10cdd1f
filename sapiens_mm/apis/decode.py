"""Decoding: network outputs of crops become keypoints and maps in pixels of the frame, on the device."""
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..tasks import MASKING, dense_tasks, get_task
from .crops import Crop
from .network import TaskModel

Size = tuple[int, int]


@torch.inference_mode()
def decode_keypoints(model: TaskModel, images: Tensor, crops: Sequence[Crop], flip_test: bool = False
                     ) -> tuple[np.ndarray, np.ndarray]:
    """Returns keypoints (B, K, 2) in pixels of the frames and scores (B, K) of crops and their images (B, 3, H, W)."""
    heatmaps, = model(images).values()
    if flip_test:
        from mmpose.models.utils.tta import flip_heatmaps
        mirrored, = model(images.flip(-1)).values()
        indices = list(model.metainfo[model.tasks[0]]['flip_indices'])
        heatmaps = (heatmaps + flip_heatmaps(mirrored, indices, shift_heatmap=False)) / 2
    keypoints, scores = (array.cpu().numpy() for array in model.codec.decode_heatmaps(heatmaps))
    boxes = np.array([crop.box for crop in crops])[:, None]
    low, high = boxes[..., :2], boxes[..., 2:]
    # As in mmpose, the crop's size counts as the distance of its outer pixel centers.
    return keypoints / model.input_size[::-1] * (high - low) + low, scores


@torch.inference_mode()
def run_dense(model: TaskModel, images: Tensor, outputs: dict[str, Tensor] | None = None, flip_test: bool = False
              ) -> dict[str, Tensor]:
    """Returns head outputs (B, C, h, w) by task for images (B, 3, H, W); known ``outputs`` are not computed again."""
    outputs = model(images) if outputs is None else outputs
    if not flip_test:
        return outputs
    from ..dense.estimators import unmirror
    mirrored = model(images.flip(-1))
    return {task: (outputs[task] + unmirror(get_task(task), mirrored[task],
                                            model.metainfo[task].get('flip_indices'))) / 2 for task in model.tasks}


@torch.inference_mode()
def paste_maps(maps: dict[str, Tensor], outputs: dict[str, tuple[Tensor, Size]], crops: dict[Size, Crop],
               frame_size: Size, box: np.ndarray | None = None, masking: str | None = None) -> None:
    """Pastes a crop's decoded outputs into the frame's maps, within their own foreground, that of a task, or the box.

    Args:
        maps: Task -> map (C, H, W) of the frame of size (H, W), changed in place.
        outputs: Task -> head output (C, h, w) and the model's input size.
        crops: The crop by input size.
        box: x0, y0, x1, y1 of the person in pixels; None for the whole frame.
        masking: Task whose prediction bounds depth and normals, by default the first of `MASKING` among the outputs.
    """
    from ..dense.estimators import restore
    from ..dense.resize import placement
    mask, masking = None, masking or next((name for name in MASKING if name in outputs), None)
    for task in sorted(dense_tasks().values(), key=lambda task: task.name != masking):
        if task.name not in outputs:
            continue
        output, input_size = outputs[task.name]
        shown = np.asarray(crops[input_size].box)
        low = np.maximum(np.floor(shown[:2]), 0).astype(int)
        high = np.minimum(np.ceil(shown[2:]), frame_size[::-1]).astype(int)
        place = placement(
            dict(ori_shape=tuple(high - low)[::-1], img_shape=input_size, crop_box=shown - np.tile(low, 2)),
            output.shape[-2:], input_size)
        values = restore(task, output, place)
        window = slice(low[1], high[1]), slice(low[0], high[0])
        own = None
        if task.is_integer:
            own = torch.zeros(frame_size, dtype=torch.bool, device=values.device)
            own[window] = values[0] != 0
            mask = own if task.name == masking else mask
        if box is None:
            masked = mask is not None and task.kind in ('depth', 'vectors')
            maps[task.name] = values.mul_(mask) if masked else values
            continue
        if own is None and mask is None:
            mask = torch.zeros(frame_size, dtype=torch.bool, device=values.device)
            x0, y0, x1, y1 = np.maximum(np.rint(box[:4]), 0).astype(int)
            mask[y0:y1, x0:x1] = True
        if task.name not in maps:
            maps[task.name] = values.new_zeros((len(values), *frame_size))
        canvas = maps[task.name][:, window[0], window[1]]
        canvas.copy_(torch.where((mask if own is None else own)[window], values, canvas))


def finish_maps(maps: dict[str, Tensor], tasks: Sequence[str], frame_size: Size) -> dict[str, np.ndarray]:
    """Returns maps as NumPy arrays by their names in a result; tasks without a person get zeros."""
    arrays = {}
    for task in dense_tasks().values():
        if task.name not in tasks:
            continue
        values = maps.pop(task.name, None)
        if values is None:
            dtype = np.uint8 if task.is_integer else np.float32
            values = np.zeros((task.channels if task.kind == 'vectors' else 1, *frame_size), dtype)
        else:
            values = values.cpu().numpy()
        arrays[task.result] = values.transpose(1, 2, 0) if task.kind == 'vectors' else values[0]
    return arrays
