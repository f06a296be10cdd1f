"""Inference on images, videos and cameras: sources -> boxes -> crops -> network -> decode -> result."""
import copy
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..engine.parallel import BLOCKS, blocks_of
from ..tasks import MASKING, TASKS, canonical_name, get_task
from ..version import __version__
from .boxes import (
    NMS_THRESHOLD,
    SCORE_THRESHOLD,
    BoxFile,
    FindBoxes,
    GivenBoxes,
    as_find_boxes,
    check_count,
    check_limits,
    have_area,
    locate_people,
)
from .crops import PADDING, Crop, crop_for_dense, crop_for_pose, resize_frame
from .decode import Size, decode_keypoints, finish_maps, paste_maps, run_dense
from .detector import default_detector, function_name, make_detector, whole_frames
from .features import FeatureOptions, features_of
from .frames import Frame, InputError, Source
from .hub import find_pretrained, push, write_folder
from .model_zoo import default_tasks
from .models import load_models
from .network import SapiensNetwork, TaskModel, choose_device, choose_dtype
from .openvino_model import choose_runtime, use_openvino
from .result import Result
from .smoothing import OneEuro, smooth, steady
from .sources import frames_of_inputs, known_sources
from .streams import MAX_WAITING, groups, prefetch
from .tracker import track

#: Tasks that a mask bounds.
_BOUNDED = {'depth', 'normal'}


@dataclass
class FrameCrops:
    """A frame with the crops to run; a crowded frame is split into several of these, which share its result and maps.

    ``maps`` are (C, H, W) on the device by task. ``people`` has the number of each box and its crop for the pose model;
    ``regions`` has the number of each box (None: the whole frame) and its crops by input size for the dense models. The
    ``last`` of them completes the result.
    """
    frame: Frame
    result: Result
    maps: dict[str, Tensor]
    people: list[tuple[int, Crop]]
    regions: list[tuple[int | None, dict[Size, Crop]]]
    last: bool


class SapiensInferencer:
    """Predicts keypoints, body parts, depth and normals of people in images and videos.

    Its stages are those of MMEngine's inferencers: :meth:`preprocess` reads inputs, detects people and crops them,
    :meth:`forward` runs the models and decodes their outputs, :meth:`visualize` draws results, and :meth:`postprocess`
    assembles the output. Memory depends on ``batch_size``, not on the number of inputs.

    Args:
        tasks: At most one of ``'pose-308'``, ``'pose-133'``, ``'pose-17'``, and dense tasks: ``'seg'``, ``'depth'``,
            ``'normal'``, ``'foreground'``. By default all tasks of the weights; of the released models pose-308 (2b:
            pose-133) and the dense tasks but the foreground.
        size: Size of the released models: ``'0.3b'``, ``'0.6b'``, ``'1b'``, ``'2b'``; ``'tiny'`` is the embedded one.
        weights: Used instead of released models: a checkpoint, a pair of config and checkpoint, or a list of both; see
            :func:`sapiens_mm.apis.models.load_model`.
        device: Such as ``'cuda:0'``; by default the GPU.
        dtype: ``'fp32'``, ``'bf16'``, ``'fp16'`` or torch's; by default the device's fastest.
        compile: Whether to compile the transformer blocks; the first batches are slow.
        runtime: ``'torch'``, or ``'openvino'`` on the CPU, which also runs the detector ``'parts'``; its conversion of
            a model is cached. ``'auto'`` is OpenVINO where it is installed and supports the options. ONNX files are run
            by ONNX Runtime.
        detector: ``'rtmdet-m'``; a config and checkpoint of mmdet; a function from frames to boxes; ``'parts'``, the
            foreground regions of the segmentation (of the embedded model if no other is loaded); or None: each whole
            frame is one person. ``'auto'`` is ``'parts'`` with the embedded model, else ``'rtmdet-m'``.
        score_threshold: Minimum score of detected boxes, 0 to 1.
        nms_threshold: Of detected boxes that overlap by more than this IoU only the best score is kept.
        max_persons: Maximum number of detected boxes in a frame, the best scores first.
        per_person: Whether dense tasks run on each person's crop instead of the whole frame.
        flip_test: Whether to average with the mirror image, which doubles the time. Published results of keypoints use
            it, those of dense tasks do not.
        batch_size: Crops in a batch.
        track: Whether to track people in videos.
        detect_every: With ``track``, detect people in every n-th frame and keep their boxes in between.
        smooth: With ``track``, smooths the keypoints of videos: a :class:`~sapiens_mm.apis.smoothing.OneEuro`.
        steady: Whether to fit the depth of each frame of a video to that of the frame before.
        mask: Task whose prediction bounds depth and normals, ``'foreground'`` or ``'seg'``; it is added to these.
            By default the first of these among the tasks, if any.

    Raises:
        ValueError: An argument is invalid.
        CheckpointError: Weights cannot be fetched, or do not fill the model.
        ImportError: A host library of a model or of the detector is missing.
    """

    def __init__(self,
                 tasks: Sequence[str] | None = None,
                 size: str = '1b',
                 weights: str | os.PathLike | tuple | list | None = None,
                 device: str | torch.device | None = None,
                 dtype: str | torch.dtype | None = None,
                 compile: bool = False,
                 detector: str | tuple | FindBoxes | None = 'auto',
                 score_threshold: float = SCORE_THRESHOLD,
                 nms_threshold: float = NMS_THRESHOLD,
                 max_persons: int | None = None,
                 per_person: bool = False,
                 flip_test: bool = False,
                 batch_size: int = 4,
                 track: bool = False,
                 detect_every: int = 1,
                 smooth: OneEuro | None = None,
                 steady: bool = False,
                 runtime: str = 'torch',
                 mask: str | None = None):
        check_count('batch_size', batch_size)
        check_count('detect_every', detect_every)
        for name, value in (('score_threshold', score_threshold), ('nms_threshold', nms_threshold)):
            if value is None:
                raise ValueError(f'{name}: got None, expected a number from 0 to 1')
        check_limits(score_threshold, nms_threshold, max_persons)
        if detect_every > 1 and not track:
            raise ValueError(f'detect_every: got {detect_every}, expected 1 without track=True')
        if smooth is not None and not track:
            raise ValueError(f'smooth: got {smooth}, expected None without track=True')
        tasks = _task_names(tasks)
        if tasks is not None and not tasks:
            raise ValueError('tasks: got none, expected some; pass None to run every available task')
        self.mask = canonical_name(mask) if mask else None
        tasks = with_mask(tasks, self.mask, size if weights is None else None)
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.runtime = choose_runtime(runtime, self.device, self.dtype, compile)
        self.score_threshold, self.nms_threshold, self.max_persons = score_threshold, nms_threshold, max_persons
        self.per_person, self.flip_test, self.batch_size = per_person, flip_test, batch_size
        self.track, self.detect_every, self.smooth, self.steady = track, detect_every, smooth, steady
        self.feature_options: FeatureOptions | None = None
        loaded = torch.float32 if self.runtime == 'openvino' else self.dtype
        self._set_models(load_models(tasks, size, weights, device=self.device, dtype=loaded))
        self._check_mask()
        for model in self.models if self.runtime == 'openvino' else ():
            if runtime != 'auto' or model.runtime == 'torch':
                use_openvino(model, self.dtype)
        self.metainfo = {get_task(task).name: model.metainfo[task] for model in self.models for task in model.tasks}
        if flip_test:
            self._check_flip_indices()
        if compile:
            self._compile()
        if detector == 'auto':
            detector = default_detector(size, own_weights=weights is not None)
        self.boxes_of, self.find_boxes = 'none', whole_frames
        if detector not in (None, 'none') and (self.pose or self.per_person):
            self.boxes_of, self.find_boxes = make_detector(detector, self.dense, score_threshold, batch_size,
                                                           self.device, self.dtype, self.runtime)

    def _check_mask(self) -> None:
        if self.mask not in (None, *self.tasks) and _BOUNDED & set(self.tasks):
            raise ValueError(f"mask: got '{self.mask}' for weights of {', '.join(self.tasks)}, expected it among them; "
                             'add a checkpoint of it')

    def _compile(self) -> None:
        for model in self.models:
            if isinstance(model.network, SapiensNetwork):
                for block in blocks_of(model.network, BLOCKS):
                    block.compile()

    def _set_models(self, models: list[TaskModel]) -> None:
        self.models = models
        self.tasks = tuple(task for model in models for task in model.tasks)
        poses = [model for model in models if model.codec is not None]
        if len(poses) > 1 or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f'models: got the tasks {", ".join(self.tasks)}, expected each once and at most one '
                             'keypoint set')
        self.pose = poses[0] if poses else None
        self.dense = [model for model in models if model.codec is None]

    def _check_flip_indices(self) -> None:
        for model in self.models:
            unknown = [task for task in model.tasks if get_task(task).kind in ('keypoints', 'classes')
                       and model.metainfo[task].get('flip_indices') is None]
            if unknown:
                raise ValueError(f'flip_test: got {model.source} without flip_indices for {", ".join(unknown)}, '
                                 'expected mirror pairs; set the dataset of test_dataloader in its config, or turn it '
                                 'off')

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, revision: str | None = None, **options) -> 'SapiensInferencer':
        """Loads a folder of :meth:`save_pretrained`, or a repository of the Hugging Face Hub.

        Args:
            name: The folder, or ``'owner/name'``: a repository of :meth:`push_to_hub`, or of a released model, such as
                ``'facebook/sapiens-pose-1b'``.
            revision: Branch, tag or commit of the repository; released models have none.
            options: Arguments of the class but ``size`` and ``weights``, which precede those of the folder.

        Raises a FileNotFoundError if there is no such folder, and errors as the class.
        """
        if taken := {'size', 'weights'} & options.keys():
            raise ValueError(f'from_pretrained: got {min(taken)}, which {name} determines, expected other options; '
                             'call SapiensInferencer for other weights')
        weights, saved = find_pretrained(name, revision)
        return cls(weights=weights, **{**saved, **options})

    def save_pretrained(self, folder: str | os.PathLike, license: str | None = None) -> None:
        """Writes the weights in float32, the options that determine results, and a model card.

        ``license`` is that of the weights, as the Hub names it (``'cc-by-nc-4.0'``); released and embedded weights have
        one. Raises a ValueError for own weights without a license, for ONNX, and for weights in another dtype.
        """
        write_folder(folder, self.models, self.describe(), license)

    def push_to_hub(self, repo: str, license: str | None = None, private: bool | None = None,
                    revision: str | None = None, commit_message: str = 'Upload models of sapiens_mm',
                    token: str | None = None) -> str:
        """Uploads what :meth:`save_pretrained` writes to ``'owner/name'`` and returns the commit's address.

        The repository is created if it does not exist. Errors are those of huggingface_hub.
        """
        return push(repo, self.models, self.describe(), license, private, revision, commit_message, token)

    def only(self, tasks: Sequence[str], whole: bool = False) -> 'SapiensInferencer':
        """Returns an inferencer with the same weights for some of :attr:`tasks`.

        With ``whole`` each frame is one person. The task of ``mask`` is kept for depth and normals. Raises a ValueError
        if a task is unavailable, or the list is empty.
        """
        tasks = _task_names(tasks)
        if not tasks or set(tasks) - set(self.tasks):
            raise ValueError(f'tasks: got {", ".join(tasks) or "none"}, expected some of {", ".join(self.tasks)}')
        tasks = with_mask(tasks, self.mask)
        chosen = copy.copy(self)
        models = [copy.copy(model) for model in self.models]
        for model in models:
            model.tasks = tuple(task for task in model.tasks if task in tasks)
        chosen._set_models([model for model in models if model.tasks])
        if whole or not (chosen.pose or chosen.per_person):
            chosen.boxes_of, chosen.find_boxes = 'none', whole_frames
        return chosen

    def __call__(self, inputs, boxes: Iterable[np.ndarray] | FindBoxes | str | os.PathLike | None = None,
                 return_vis: bool = False) -> list[Result] | dict:
        """Runs :meth:`stream` on inputs that fit into memory; returns the output of :meth:`postprocess`."""
        preds = list(self.stream(inputs, boxes))
        visualization = self.visualize(inputs, preds) if return_vis else None
        return self.postprocess(preds, visualization)

    def stream(self, inputs, boxes: Iterable[np.ndarray] | FindBoxes | str | os.PathLike | None = None,
               on_error: Callable[[Source, InputError], None] | None = None,
               stop: threading.Event | None = None) -> Iterator[Result]:
        """Runs on inputs of any number and length, in order, and yields a result for each frame.

        Args:
            inputs: One or a list of: an image, (H, W, 3) uint8 RGB or Pillow's; a path of an image, folder or video; a
                pattern; the number of a camera; a :class:`~sapiens_mm.apis.frames.Source`. An iterator of these is
                read during the run. Arrays are named by their index: ``'000000'``, ...
            boxes: (N, 4) or (N, 5) of x0, y0, x1, y1, score, one array for each frame; the path of a file of boxes or
                a :class:`~sapiens_mm.apis.boxes.BoxFile`; a function from frames to boxes. All of them are used in
                their order; a box without area in its frame gets scores of 0. By default people are detected; their
                boxes are filtered by the thresholds and sorted by score.
            on_error: Called with an unreadable source and its error. By default the error is raised after the results
                of earlier inputs.
            stop: Once it is set, the run ends without waiting for the next frame.

        Raises:
            InputError: An input cannot be read.
            ValueError: Boxes are not in pixels, not finite, or not one array for each frame; or an image's name in a
                file of boxes matches several inputs.
        """
        with closing(self.preprocess(inputs, boxes, on_error, stop)) as batches:
            yield from self._over_time(result for batch in batches for result in self.forward(batch))

    def _over_time(self, results: Iterable[Result]) -> Iterator[Result]:
        if self.track:
            results = track(results)
        if self.smooth is not None:
            results = smooth(results, self.smooth)
        if self.steady:
            results = steady(results)
        return iter(results) if self.feature_options is None else self._with_features(results)

    def preprocess(self, inputs, boxes: Iterable[np.ndarray] | FindBoxes | str | os.PathLike | None = None,
                   on_error: Callable[[Source, InputError], None] | None = None,
                   stop: threading.Event | None = None) -> Iterator[list[FrameCrops]]:
        """Reads inputs, detects people and crops them, in threads that run ahead; see :meth:`stream`.

        Yields batches for :meth:`forward`; a batch has several frames if these have few people.
        """
        find_boxes = self.find_boxes if boxes is None else as_find_boxes(boxes)
        if isinstance(find_boxes, GivenBoxes) and on_error is not None:
            raise ValueError('boxes: got arrays in the order of the frames, which unreadable inputs would shift; with '
                             'on_error, pass a BoxFile or a function from frames to boxes')
        if isinstance(find_boxes, BoxFile):
            find_boxes.check(known_sources(inputs))
        # Closed explicitly, since an error's traceback would keep the generators and their threads alive.
        with closing(prefetch(frames_of_inputs(inputs, on_error), 2, _nbytes, stop)) as frames, \
                closing(prefetch(groups(self._frame_crops(frames, find_boxes, stop), self._is_full), 1)) as batches:
            yield from batches

    def _frame_crops(self, frames: Iterable[Frame], find_boxes: FindBoxes, stop: threading.Event | None
                 ) -> Iterator[FrameCrops]:
        given = find_boxes is not self.find_boxes or isinstance(find_boxes, (BoxFile, GivenBoxes))
        if find_boxes is self.find_boxes:
            origin = f'detector {self.boxes_of}'
        else:
            origin = 'boxes' if isinstance(find_boxes, (BoxFile, GivenBoxes)) else f'boxes={function_name(find_boxes)}'
        located = locate_people(
            frames, find_boxes, origin, 1 if given or find_boxes is whole_frames else self.batch_size,
            1 if given else self.detect_every,
            None if given else (self.score_threshold, self.nms_threshold, self.max_persons))
        for frame in located:
            yield from self._crop(frame)
        if isinstance(find_boxes, GivenBoxes) and not (stop is not None and stop.is_set()):
            find_boxes.finish()

    def _crop(self, frame: Frame) -> Iterator[FrameCrops]:
        result = Result(frame.source, frame.image, frame.index, frame.rate, frame.boxes, metainfo=self.metainfo,
                        time=frame.time)
        image, boxes = frame.image, frame.boxes
        people = np.flatnonzero(have_area(boxes, image.shape[:2])).tolist()
        # Regions are pasted in ascending order of their scores, so the best one is on top.
        regions = sorted(people, key=lambda person: (boxes[person, 4], -person)) if self.per_person else [None]
        regions = regions if self.dense else []
        if self.pose is not None:
            shape = len(boxes), len(self.metainfo['pose']['keypoint_id2name'])
            result.keypoints, result.keypoint_scores = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
        else:
            people = []
        if self.per_person or not self.dense:
            frame.outputs = None  # frees memory
        sizes = {model.input_size for model in self.dense}
        maps, number = {}, max(len(people), len(regions), 1)
        for start in range(0, number, self.batch_size):
            part = slice(start, start + self.batch_size)
            yield FrameCrops(
                frame, result, maps,
                [(person, crop_for_pose(image, boxes[person, :4], self.pose.input_size)) for person in people[part]],
                [(person, {size: resize_frame(image, size) if person is None else
                           crop_for_dense(image, boxes[person, :4], size) for size in sizes})
                 for person in regions[part]], part.stop >= number)

    def _is_full(self, batch: list[FrameCrops]) -> bool:
        return (sum(len(entry.regions) for entry in batch) >= self.batch_size
                or sum(len(entry.people) for entry in batch) >= 4 * self.batch_size
                or len(batch) >= 2 * self.batch_size or batch[-1].frame.source.kind == 'camera'
                or sum(_nbytes(entry.frame) for entry in batch) > MAX_WAITING)

    def forward(self, batch: list[FrameCrops]) -> Iterator[Result]:
        """Runs the models on a batch of :meth:`preprocess` and decodes their outputs.

        Yields the results of the frames that the batch completes, in order and one at a time, since maps are large.
        """
        for part in _split([(entry, *crop) for entry in batch for crop in entry.people], self.batch_size):
            crops = [crop for _, _, crop in part]
            decoded = decode_keypoints(self.pose, self._to_device(crops), crops, self.flip_test)
            for (entry, person, _), keypoints, scores in zip(part, *decoded, strict=True):
                entry.result.keypoints[person], entry.result.keypoint_scores[person] = keypoints, scores
        outputs = self._dense_outputs([(entry, *region) for entry in batch for region in entry.regions])
        for entry in batch:
            frame_size = entry.frame.image.shape[:2]
            for person, crops in entry.regions:
                box = None if person is None else entry.frame.boxes[person]
                paste_maps(entry.maps, next(outputs), crops, frame_size, box, self.mask)
            if entry.last:
                entry.result.maps = finish_maps(entry.maps, self.tasks, frame_size)
                yield entry.result

    def _dense_outputs(self, regions: list[tuple[FrameCrops, int | None, dict[Size, Crop]]]
                       ) -> Iterator[dict[str, tuple[Tensor, Size]]]:
        """Returns for each region the outputs (C, h, w) and the model's input size by task."""
        for part in _split(regions, self.batch_size):
            outputs, images = {}, {}
            for model in self.dense:
                size, known = model.input_size, _known_outputs(part, model)
                if size not in images and (known is None or self.flip_test):
                    images[size] = self._to_device([crops[size] for _, _, crops in part])
                batch = run_dense(model, images.get(size), known, self.flip_test)
                outputs |= {task: (batch[task], size) for task in model.tasks}
            for i in range(len(part)):
                yield {task: (output[i], size) for task, (output, size) in outputs.items()}

    def _to_device(self, crops: Sequence[Crop]) -> Tensor:
        images = torch.from_numpy(np.stack([crop.image for crop in crops]))
        if self.device.type == 'cuda':
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def visualize(self, inputs, preds: Sequence[Result], threshold: float = .3) -> list[np.ndarray]:
        """Draws each result over its image, (H, W, 3) uint8 RGB, with keypoints of at least the threshold."""
        return [pred.draw(threshold) for pred in preds]

    def postprocess(self, preds: list[Result], visualization: list[np.ndarray] | None = None) -> list[Result] | dict:
        """Returns the output of a call: results, or with visualizations ``predictions`` and ``visualization``."""
        return preds if visualization is None else dict(predictions=preds, visualization=visualization)

    def features(self, inputs, layers: int | Sequence[int] = -1, of: str = 'frame', pool: str | None = None,
                 boxes: Iterable[np.ndarray] | FindBoxes | str | os.PathLike | None = None
                 ) -> Iterator[tuple[Result, dict[int, np.ndarray]]]:
        """Yields each result with features of the first model's backbone by layer, float32.

        Arrays are (h, w, C), or (C, ) with ``pool``; of people (N, h, w, C), or (N, C). Features of whole frames
        without a mask need no predictions: these results have no people and maps.

        Args:
            inputs, boxes: As for :meth:`stream`.
            layers, of, pool: See :class:`~sapiens_mm.apis.features.FeatureOptions`.

        Raises an InputError for an unreadable input, and a ValueError for invalid options, for a model without our
        backbone in PyTorch, or if ``pool='mask'`` lacks the task seg.
        """
        options = FeatureOptions((layers, ) if isinstance(layers, int) else tuple(layers), of, pool)
        options.check(self.models[0], self.tasks)
        if of == 'frame' and pool != 'mask':
            results = (Result(frame.source, frame.image, frame.index, frame.rate, metainfo=self.metainfo,
                              time=frame.time) for frame in frames_of_inputs(inputs))
        else:
            results = self.stream(inputs, boxes)
        return ((result, features_of(self.models[0], result, options, self._to_device)) for result in results)

    def add_features(self, options: FeatureOptions) -> None:
        """Makes :meth:`stream` set ``features`` of results; a ValueError as for :meth:`features`."""
        options.check(self.models[0], self.tasks)
        number = self.models[0].network.number_of_layers
        self.feature_options = replace(options, layers=tuple(layer % number for layer in options.layers))

    def _with_features(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            result.features = features_of(self.models[0], result, self.feature_options, self._to_device)
            yield result

    def check_keypoint_format(self, keypoint_format: str) -> list[str] | None:
        """Returns the keypoint names of results in a format, None without them; a ValueError if it is impossible."""
        if self.pose is not None:
            number = len(self.metainfo['pose']['keypoint_id2name'])
            result = Result(Source('', ''), np.zeros((1, 1, 3), np.uint8), keypoints=np.zeros((0, number, 2)),
                            keypoint_scores=np.zeros((0, number)), metainfo=self.metainfo)
            return result.to_json(keypoint_format).get('keypoint_names')
        if keypoint_format != 'model':
            raise ValueError(f"keypoint_format: got '{keypoint_format}' for {', '.join(self.tasks)}, expected 'model' "
                             'without a pose task; add one, or omit the format')
        return None

    def describe(self) -> dict:
        return dict(
            sapiens_mm=__version__, torch=torch.__version__, device=str(self.device),
            dtype=str(self.dtype).removeprefix('torch.'),
            models=sorted((dict(tasks=sorted(model.tasks, key=_place), source=model.source, sha256=model.sha256,
                                license=model.license,
                                input_size=list(model.input_size), runtime=model.runtime,
                                dtype=str(model.dtype).removeprefix('torch.')) for model in self.models),
                          key=lambda model: _place(model['tasks'][0])),
            protocol=dict(
                box_padding=PADDING, flip_test=self.flip_test, maps_of='persons' if self.per_person else 'frame',
                score_threshold=self.score_threshold, nms_threshold=self.nms_threshold, max_persons=self.max_persons,
                track=self.track, detect_every=self.detect_every, smooth=self.smooth and asdict(self.smooth),
                steady=self.steady, mask=self.mask if self.mask in self.tasks else None, batch_size=self.batch_size,
                **({} if self.feature_options is None else dict(features=asdict(self.feature_options)))),
            boxes_of=self.boxes_of)


def _task_names(tasks: Sequence[str] | str | None) -> list[str] | None:
    tasks = [tasks] if isinstance(tasks, str) else tasks
    return tasks if tasks is None else [canonical_name(task) for task in tasks]


def with_mask(tasks: Sequence[str] | None, mask: str | None, size: str | None = None) -> list[str] | None:
    """Returns tasks and, with depth or normals, the one that bounds these; of none the default tasks of a given size.

    Raises a ValueError if the task is no mask.
    """
    if mask is None:
        return tasks
    if mask not in MASKING:
        raise ValueError(f"mask: got '{mask}', expected one of {', '.join(MASKING)}")
    if tasks is None and size is not None:
        tasks = default_tasks(size)
    if tasks is None or mask in tasks or not _BOUNDED & set(tasks):
        return tasks
    return [*tasks, mask]


def _place(task: str) -> int:
    """Returns the position of a task in the table of tasks."""
    return list(TASKS).index(get_task(task).name)


def _known_outputs(regions: list[tuple[FrameCrops, int | None, dict]], model: TaskModel
                   ) -> dict[str, Tensor] | None:
    known = [entry.frame.outputs for entry, person, _ in regions if person is None]
    if len(known) < len(regions) or any(outputs is None or outputs[0] is not model.network for outputs in known):
        return None
    return {task: torch.stack([outputs[task] for _, outputs in known]) for task in model.tasks}


def _split(items: list, size: int) -> list[list]:
    return [items[start:start + size] for start in range(0, len(items), size)]


def _nbytes(frame: Frame) -> int:
    return frame.image.nbytes
