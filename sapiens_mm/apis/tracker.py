"""Tracking of people over the frames of a video."""
import numpy as np
import torch


class Tracker:
    """Matches boxes greedily by IoU from frame to frame; keeps undetected people for ``max_age`` updates."""

    def __init__(self, iou_threshold: float = .3, max_age: int = 30):
        self.iou_threshold, self.max_age = iou_threshold, max_age
        self.reset()

    def reset(self) -> None:
        self.boxes, self.ids, self.ages = np.zeros((0, 5), np.float32), np.zeros(0, int), np.zeros(0, int)
        self.count = 0

    def update(self, boxes: np.ndarray) -> np.ndarray:
        """Returns the track ids (N, ), from 1 on, of the boxes (N, 5) of the next frame."""
        from torchvision.ops import box_iou
        iou = box_iou(torch.from_numpy(self.boxes[:, :4]), torch.from_numpy(boxes[:, :4])).numpy()
        iou = np.nan_to_num(iou)  # NaN for boxes without area
        ids = np.zeros(len(boxes), int)
        while iou.size and iou.max() >= self.iou_threshold:
            old, new = np.unravel_index(iou.argmax(), iou.shape)
            ids[new] = self.ids[old]
            iou[old], iou[:, new] = -1, -1
        for new in np.flatnonzero(ids == 0):
            self.count += 1
            ids[new] = self.count
        lost = ~np.isin(self.ids, ids) & (self.ages < self.max_age)
        self.boxes = np.concatenate([boxes, self.boxes[lost]])
        self.ages = np.concatenate([np.zeros(len(boxes), int), self.ages[lost] + 1])
        self.ids = np.concatenate([ids, self.ids[lost]])
        return ids
