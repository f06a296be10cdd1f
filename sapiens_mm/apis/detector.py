"""Finds people with a detector of mmdet."""
import os
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from ..engine.checkpoint import load_checkpoint_file
from ..engine.weights import check_complete
from ..version import HOSTS, require
from .models import read_config, weights_of


class PersonDetector:
    """A detector of mmdet, of which only the class ``person`` is wanted.

    Args:
        config: A config of mmdet: a file, or one that mmdet brings as ``'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py'``.
        checkpoint: Its weights: a path, ``http(s)://`` or ``hf://``.
        device: Such as ``'cuda:0'``; by default a GPU if there is one, else the CPU.
        score_threshold: Boxes of lower scores (0 to 1) are left out.
        batch_size: Images that go through the network at a time. Where the config does not resize to one size, smaller
            images are padded to the largest of the batch.

    Raises:
        ImportError: There is no mmdet, or not in a version that works.
        FileNotFoundError: There is no such config or checkpoint.
        CheckpointError: The checkpoint cannot be read, or does not fill the detector.
        ValueError: ``batch_size`` is below 1, or the detector knows no class ``person``.
    """

    def __init__(self, config: str | os.PathLike, checkpoint: str | os.PathLike, device: str | None = None,
                 score_threshold: float = .3, batch_size: int = 8):
        try:
            require('mmdet')
        except ModuleNotFoundError as error:
            raise ImportError(f'people are found by mmdet ({error}): pip install mmdet=={HOSTS["mmdet"][2]}') from error
        from mmcv.transforms import Compose
        from mmdet.apis import init_detector
        from mmdet.registry import MODELS
        from mmdet.utils import get_test_pipeline_cfg
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size}, but a batch has at least 1 image')
        self.score_threshold, self.batch_size = score_threshold, batch_size
        cfg, checkpoint = _read_config(os.fspath(config)), os.fspath(checkpoint)
        # First, since its complaints are those of our reader.
        weights = weights_of(load_checkpoint_file(checkpoint), checkpoint)
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmdet'):  # mmdet would set it for good
            # Checked first: mmdet prints each tensor that does not fit and continues with random ones.
            check_complete(MODELS.build(cfg.model), weights, checkpoint)
            self.model = init_detector(cfg, checkpoint, palette='coco', device=device or get_device())
            pipeline = get_test_pipeline_cfg(cfg.copy())
            pipeline[0].type = 'mmdet.LoadImageFromNDArray'
            self._pipeline = Compose(pipeline)
        classes = self.model.dataset_meta['classes']
        classes = [name.lower() for name in ([classes] if isinstance(classes, str) else classes)]
        if 'person' not in classes:
            raise ValueError(f"the detector of {checkpoint} knows no class 'person' but {', '.join(classes[:5])}"
                             f"{' and more' if len(classes) > 5 else ''}; take one trained on COCO or on people")
        self._person = classes.index('person')

    @torch.no_grad()
    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Finds the people in images.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.

        Returns:
            For each image (N, 5) float32, highest score first: x0, y0, x1, y1 in pixels of that image, and the score.

        Raises:
            ValueError: An image has another shape or type.
        """
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(f'an image is {image.shape} {image.dtype}; expected (H, W, 3) uint8 RGB')
        found = []
        # mmdet's inference_detector makes batches of one image.
        for begin in range(0, len(images), self.batch_size):
            packed = [self._pipeline(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=0))  # BGR, as from files
                      for image in images[begin:begin + self.batch_size]]
            samples = self.model.test_step({name: [item[name] for item in packed] for name in packed[0]})
            found += [self._people(sample.pred_instances) for sample in samples]
        return found

    def _people(self, instances) -> np.ndarray:
        instances = instances[(instances.labels == self._person) & (instances.scores >= self.score_threshold)]
        boxes = torch.cat([instances.bboxes, instances.scores[:, None]], dim=1).float().cpu().numpy()
        return boxes[np.argsort(-boxes[:, 4], kind='stable')]


def _read_config(config: str) -> Config:
    try:
        return get_config(config) if config.startswith('mmdet::') else read_config(config)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no config file '{config}'; check the path, or name one that mmdet brings as "
                                "'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py'") from error
