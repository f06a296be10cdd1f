"""Images of predicted skeletons, written while testing."""
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


@METRICS.register_module(['SapiensSkeletonImages', 'SapiensSkeletonPictures'])  # the latter in earlier configs
class SapiensSkeletonImages(BaseMetric):
    """Draws the predictions of a test: one image with all of its persons per input image.

    A metric without values, since a metric gathers the persons of an image, which are separate samples, on any process.

    Args:
        out_dir: Folder of the drawn images, which have the names of the input images.
        kpt_thr: Minimum score of keypoints; ``bbox_thr``: minimum box score of persons.
        max_images: Maximum number of images; None for all.
    """

    default_prefix = 'images'

    def __init__(self, out_dir: str, kpt_thr: float = 0.3, bbox_thr: float = 0.3, max_images: int | None = None,
                 collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device, prefix)
        self.out_dir = out_dir
        self.kpt_thr = kpt_thr
        self.bbox_thr = bbox_thr
        self.max_images = max_images

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            pred = {name: np.asarray(sample['pred_instances'][name])
                    for name in ('keypoints', 'keypoint_scores', 'bbox_scores')}
            self.results.append(dict(pred, img_path=sample['img_path']))

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
            drawn = draw_skeleton(image, keypoints, scores, self.dataset_meta, self.kpt_thr)
            name = osp.splitext(osp.basename(path))[0]
            if name in names:  # the same name in another folder
                name = re.sub(r'[^\w.-]+', '_', osp.splitext(path)[0]).strip('_')
            names.add(name)
            mmcv.imwrite(mmcv.rgb2bgr(drawn), osp.join(self.out_dir, f'{name}.jpg'))
        return {}
