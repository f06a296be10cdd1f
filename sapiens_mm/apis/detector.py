"""Detectors of people: mmdet's models, regions of a segmentation, or whole frames."""
import os
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from ..engine.checkpoint import CheckpointError, load_checkpoint_file
from ..engine.weights import check_complete
from ..version import HOSTS, require
from .boxes import FindBoxes, check_count
from .crops import resize_frame
from .frames import Frame
from .model_config import read_config
from .models import load_released, weights_of
from .network import TaskModel
from .openvino_model import use_openvino

#: Name -> mmdet's config and the URL of the weights.
DETECTORS = {
    'rtmdet-m': ('mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py',
                 'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_m_8xb32-300e_coco/'
                 'rtmdet_m_8xb32-300e_coco_20220719_112220-229f527c.pth')
}


def default_detector(size: str, own_weights: bool) -> str:
    """Returns the name of the default detector; with the embedded model it works offline."""
    return 'parts' if size == 'tiny' and not own_weights else 'rtmdet-m'


def make_detector(detector: str | tuple | FindBoxes, models: Sequence[TaskModel], score_threshold: float,
                  batch_size: int, device: torch.device, dtype: torch.dtype, runtime: str = 'torch'
                  ) -> tuple[str, FindBoxes]:
    """Returns the name of a detector and its function from frames to boxes.

    The detector ``parts`` uses the segmentation of ``models``, or loads the embedded one.

    Raises:
        ValueError: ``detector`` is unknown.
        ImportError: mmdet is missing or of an unsupported version.
        CheckpointError: The weights cannot be fetched or are invalid.
    """
    if callable(detector):
        return function_name(detector), detector
    if detector == 'parts':
        model = next((model for model in models if 'seg' in model.tasks), None)
        if model is None:
            model = load_released('tiny', 'seg', device=device,
                                  dtype=torch.float32 if runtime == 'openvino' else dtype)
            if runtime == 'openvino':
                use_openvino(model, dtype)
        return 'parts', SegDetector(model)
    if isinstance(detector, str) and detector not in DETECTORS:
        raise ValueError(f"detector: got '{detector}', expected {', '.join(DETECTORS)}, parts, none, or a config and "
                         'checkpoint of mmdet')
    if not isinstance(detector, str) and not (isinstance(detector, (tuple, list)) and len(detector) == 2):
        raise ValueError(f'detector: got {detector!r}, expected a name, a pair of config and checkpoint, a function '
                         'from frames to boxes, or None')
    config, checkpoint = DETECTORS[detector] if isinstance(detector, str) else detector
    name = detector if isinstance(detector, str) else f'{config} {checkpoint}'
    config = DETECTORS[config][0] if config in DETECTORS else config
    try:
        find = PersonDetector(config, checkpoint, device, score_threshold, batch_size)
    except (ImportError, CheckpointError) as error:
        raise type(error)(f'detector {name} is not available: {error}; or pass boxes (--boxes FILE), detect people by '
                          'segmentation (--detector parts), or process whole frames (--detector none)') from error
    return name, lambda frames: find([frame.image for frame in frames])


def function_name(function: FindBoxes) -> str:
    return getattr(function, '__name__', type(function).__name__)


def whole_frames(frames: Sequence[Frame]) -> list[np.ndarray]:
    return [np.array([[0, 0, *frame.image.shape[1::-1], 1]], np.float32) for frame in frames]


class SegDetector:
    """Detects people as connected foreground regions of a segmentation; it merges touching people, misses small ones.

    Args:
        min_area: Minimum area of a region as a fraction of the frame.
        min_score: Minimum mean foreground probability of a region, from 0.5. With the embedded model, false regions in
            plain and noisy images had 0.53 to 0.74, large people 0.8 and more.
    """

    def __init__(self, model: TaskModel, min_area: float = .005, min_score: float = .77):
        self.model, self.min_area, self.min_score = model, min_area, min_score

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        images = np.stack([resize_frame(frame.image, self.model.input_size).image for frame in frames])
        outputs = self.model(torch.from_numpy(images).to(self.model.device).permute(0, 3, 1, 2))
        for i, frame in enumerate(frames):  # reused if the frame's segmentation is requested
            frame.outputs = self.model.network, {task: output[i] for task, output in outputs.items()}
        person = 1 - outputs['seg'].float().softmax(dim=1)[:, 0].cpu().numpy()
        return [self._regions(probability, frame.image.shape[:2])
                for probability, frame in zip(person, frames, strict=True)]

    def _regions(self, probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        mask = (probability > .5).astype(np.uint8)
        # Dilation joins shoes and caps to the body.
        joined = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=max(1, len(mask) // 48))
        number, labels, statistics, _ = cv2.connectedComponentsWithStats(joined)
        scale = np.divide(size, mask.shape)[::-1]  # x, y
        boxes = []
        for label in range(1, number):
            if statistics[label, cv2.CC_STAT_AREA] < self.min_area * mask.size:
                continue  # skips the many specks of noise early
            rows, columns = np.nonzero(mask * (labels == label))
            if len(rows) < self.min_area * mask.size:
                continue
            score = probability[rows, columns].mean()
            if score >= self.min_score:
                low, high = (columns.min(), rows.min()) * scale, (columns.max() + 1, rows.max() + 1) * scale
                boxes.append([*low, *high, score])
        return np.array(boxes, np.float32).reshape(-1, 5)


class PersonDetector:
    """Detects people with a model of mmdet.

    Args:
        config: A config file, or one of mmdet's as ``'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py'``.
        checkpoint: Its weights: a path, ``http(s)://`` or ``hf://``.
        device: Such as ``'cuda:0'``; by default the GPU, else the CPU.
        score_threshold: Minimum score of boxes, 0 to 1.
        batch_size: Images in a batch, at least 1; padded to the largest if the config does not resize to one size.

    Raises:
        ImportError: mmdet is missing or of an unsupported version.
        FileNotFoundError: The config or the checkpoint is missing.
        CheckpointError: The checkpoint is unreadable or does not fill the model.
        ValueError: ``batch_size`` is below 1, or the detector has no class ``person``.
    """

    def __init__(self, config: str | os.PathLike, checkpoint: str | os.PathLike, device: str | None = None,
                 score_threshold: float = .3, batch_size: int = 8):
        try:
            require('mmdet')
        except ModuleNotFoundError as error:
            raise ImportError(f'detection needs mmdet ({error}): pip install mmdet=={HOSTS["mmdet"][2]}') from error
        from mmcv.transforms import Compose
        from mmdet.apis import init_detector
        from mmdet.registry import MODELS
        from mmdet.utils import get_test_pipeline_cfg
        check_count('batch_size', batch_size)
        self.score_threshold, self.batch_size = score_threshold, batch_size
        cfg, checkpoint = _read_detector_config(os.fspath(config)), os.fspath(checkpoint)
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
            raise ValueError(f"classes of {checkpoint}: got {', '.join(classes[:5])}"
                             f"{' and more' if len(classes) > 5 else ''}, expected 'person' among them; use a detector "
                             'of COCO or of people')
        self._person = classes.index('person')

    @torch.no_grad()
    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns boxes (N, 5) float32, best score first, for each image, (H, W, 3) uint8 RGB of any size."""
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(f'image: got {image.shape} {image.dtype}, expected (H, W, 3) uint8 RGB')
        boxes = []
        # mmdet's inference_detector runs one image at a time.
        for begin in range(0, len(images), self.batch_size):
            packed = [self._pipeline(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=0))  # BGR, as from files
                      for image in images[begin:begin + self.batch_size]]
            samples = self.model.test_step({name: [item[name] for item in packed] for name in packed[0]})
            boxes += [self._people(sample.pred_instances) for sample in samples]
        return boxes

    def _people(self, instances) -> np.ndarray:
        instances = instances[(instances.labels == self._person) & (instances.scores >= self.score_threshold)]
        boxes = torch.cat([instances.bboxes, instances.scores[:, None]], dim=1).float().cpu().numpy()
        return boxes[np.argsort(-boxes[:, 4], kind='stable')]


def _read_detector_config(config: str) -> Config:
    try:
        return get_config(config) if config.startswith('mmdet::') else read_config(config)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"config file '{config}' does not exist; check the path, or name one of mmdet's as "
                                "'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py'") from error
