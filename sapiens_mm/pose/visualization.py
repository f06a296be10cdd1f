"""Pictures of predicted skeletons."""
import os.path as osp
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import mmengine
import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

from ..utils.images import decode
from ..visualization.skeleton import draw_skeleton


@METRICS.register_module()
class SapiensSkeletonPictures(BaseMetric):
    """Draws the predictions of a test run: one picture per image, with all of its persons.

    It takes the place of a metric because that is where the persons of one image come together again: a top-down
    model sees each of them in a sample of its own, on any of the processes. It adds no figures.

    Args:
        out_dir: Folder for the pictures; they take their names from the images.
        kpt_thr: Keypoints with a lower score are left out.
        bbox_thr: Persons whose box has a lower score are left out.
        max_images: At most so many pictures are drawn; None for all.
        collect_device: See :class:`mmengine.evaluator.BaseMetric`.
        prefix: See :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'pictures'

    def __init__(self, out_dir: str, kpt_thr: float = 0.3, bbox_thr: float = 0.3, max_images: int | None = None,
                 collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device, prefix)
        self.out_dir = out_dir
        self.kpt_thr = kpt_thr
        self.bbox_thr = bbox_thr
        self.max_images = max_images

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            pred = sample['pred_instances']
            self.results.append(
                dict(
                    img_path=sample['img_path'],
                    keypoints=np.asarray(pred['keypoints']),
                    keypoint_scores=np.asarray(pred['keypoint_scores']),
                    bbox_scores=np.asarray(pred['bbox_scores'])))

    def compute_metrics(self, results: list[dict]) -> dict:
        persons = defaultdict(list)
        for result in results:
            if result['bbox_scores'].max() >= self.bbox_thr:
                persons[result['img_path']].append(result)
        mmengine.mkdir_or_exist(self.out_dir)
        names = set()
        for path in sorted(persons)[:self.max_images]:
            image = decode(Path(path).read_bytes(), cv2.IMREAD_COLOR)[..., ::-1]
            keypoints, scores = (np.concatenate([person[name] for person in persons[path]])
                                 for name in ('keypoints', 'keypoint_scores'))
            picture = draw_skeleton(image, keypoints, scores, self.dataset_meta, self.kpt_thr)
            name = osp.splitext(osp.basename(path))[0]
            if name in names:  # the same name in another folder
                name = re.sub(r'[^\w.-]+', '_', osp.splitext(path)[0]).strip('_')
            names.add(name)
            mmcv.imwrite(mmcv.rgb2bgr(picture), osp.join(self.out_dir, f'{name}.jpg'))
        return {}
