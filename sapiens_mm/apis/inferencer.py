"""All tasks on anything: images, folders, videos, cameras."""
import copy
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..engine.checkpoint import CheckpointError
from ..engine.compile import blocks_of
from ..tasks import get_task
from ..version import __version__
from .crops import PADDING, Crop, cut_person, cut_person_evenly, resize_frame
from .models import (
    SapiensNetwork,
    TaskModel,
    choose_device,
    choose_dtype,
    default_tasks,
    embedded_tasks,
    load_model,
    load_released,
    released_source,
)
from .persons import (
    DETECTORS,
    NMS_THRESHOLD,
    SCORE_THRESHOLD,
    BoxFile,
    Finder,
    GivenBoxes,
    PartsFinder,
    Tracker,
    can_be_cut,
    check_found,
    check_limits,
    default_detector,
    keep_best,
    whole_frames,
)
from .reading import ROOM, Frame, InputError, Source, frames_of_inputs, known_sources, prefetch
from .result import DENSE, Result

_OTHER_WAYS = ('or give the boxes (--boxes FILE), take the regions of a map of body parts (--detector parts), or the '
               'whole frame as one person (--detector none)')


@dataclass
class _Job:
    """A frame and what remains to be done for it."""
    frame: Frame
    result: Result
    left: int = 0
    maps: dict[str, Tensor] = field(default_factory=dict)


class _Sample(NamedTuple):
    """A person, or a whole frame, for the pose model or for all dense ones.

    Attributes:
        kind: ``'pose'`` or ``'dense'``.
        job: Its frame.
        person: Number of its box; None: the whole frame.
        crops: By the models' input sizes.
    """
    kind: str
    job: _Job
    person: int | None
    crops: dict[tuple[int, int], Crop]


class SapiensInferencer:
    """Keypoints, parts, depth and normals of people in images and videos.

    Each frame goes through one list of stages: it is read, people are found, they are cut out in one interpolation,
    the models run on batches over people and frames, and what they put out is decoded and pasted on their device.
    Reading and cutting out run ahead in threads; what is in memory at a time depends on ``batch_size`` alone.

    Args:
        tasks: At most one of ``'pose-308'``, ``'pose-133'``, ``'pose-17'``, and ``'parts'``, ``'depth'``, ``'normal'``.
            By default all that the weights can do; of the released ones pose-308 (2b: pose-133) and the maps.
        size: Of the released models: ``'0.3b'``, ``'0.6b'``, ``'1b'``, ``'2b'``; ``'tiny'`` is the embedded one.
        weights: In place of these a checkpoint, a pair of config and checkpoint, or a list of both: see
            :func:`sapiens_mm.apis.models.load_model`.
        device: Such as ``'cuda:0'``; by default a GPU if there is one.
        dtype: What is computed in: ``'fp32'``, ``'bf16'``, ``'fp16'``, or torch's; by default bfloat16 where that is
            faster.
        compile: Compile the transformer blocks; the first batches are slow.
        detector: ``'rtmdet-m'``, a config and checkpoint of mmdet, a function from frames to boxes, ``'parts'``: the
            regions of a map of body parts (that of the models, else of the embedded one), or None: the whole frame is
            one person. ``'auto'`` is RTMDet, but parts for the embedded model, which works without a network.
        score_threshold: Of a detector's boxes, those of lower scores are left out.
        nms_threshold: Of a detector's boxes that overlap by more than this IoU one stays.
        max_persons: At most so many of a detector's boxes in a frame, those of the highest scores.
        per_person: Parts, depth and normals of each person's crop instead of the whole frame.
        flip_test: Average with the mirror image, in twice the time. The published keypoint results use it, those of
            parts, depth and normals do not.
        batch_size: Crops that go through a model at a time.
        track: Number the people of a video.
        detect_every: With ``track``, look for people in every n-th frame; boxes stay in between.

    Raises:
        ValueError: An argument is none of these.
        CheckpointError: Weights cannot be had, or are not those of the model.
    """

    def __init__(self,
                 tasks: Sequence[str] | None = None,
                 size: str = '1b',
                 weights: str | os.PathLike | tuple | list | None = None,
                 device: str | torch.device | None = None,
                 dtype: str | torch.dtype | None = None,
                 compile: bool = False,
                 detector: str | tuple | Finder | None = 'auto',
                 score_threshold: float = SCORE_THRESHOLD,
                 nms_threshold: float = NMS_THRESHOLD,
                 max_persons: int | None = None,
                 per_person: bool = False,
                 flip_test: bool = False,
                 batch_size: int = 4,
                 track: bool = False,
                 detect_every: int = 1):
        for name, value in (('batch_size', batch_size), ('detect_every', detect_every)):
            if not (isinstance(value, (int, np.integer)) and value >= 1):
                raise ValueError(f'{name} is {value!r}, but must be 1 or more, a whole number')
        for name, value in (('score_threshold', score_threshold), ('nms_threshold', nms_threshold)):
            if value is None:
                raise ValueError(f'{name} is None, but must be a number from 0 to 1')
        check_limits(score_threshold, nms_threshold, max_persons)
        if detect_every > 1 and not track:
            raise ValueError(f'detect_every is {detect_every}, but boxes are kept over frames with track=True only')
        tasks = [tasks] if isinstance(tasks, str) else tasks
        if tasks is not None and not tasks:
            raise ValueError('no task is given; name some, or leave tasks out for all that the models do')
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.score_threshold, self.nms_threshold, self.max_persons = score_threshold, nms_threshold, max_persons
        self.per_person, self.flip_test, self.batch_size = per_person, flip_test, batch_size
        self.track, self.detect_every = track, detect_every
        self._take(_load_models(tasks, size, weights, dict(device=self.device, dtype=self.dtype)))
        self.metainfo = {task.partition('-')[0]: model.metainfo[task] for model in self.models for task in model.tasks}
        for model in self.models if flip_test else ():
            unknown = [task for task in model.tasks if task.startswith(('pose', 'parts'))
                       and model.metainfo[task].get('flip_indices') is None]
            if unknown:
                raise ValueError(f'flip_test: {model.source} does not say which outputs of {", ".join(unknown)} are '
                                 "each other's mirror images; set the dataset of test_dataloader in its config, or "
                                 'leave flip_test out')
        if compile:
            for model in self.models:
                if isinstance(model.network, SapiensNetwork):  # ONNX Runtime has its own ways
                    for block in blocks_of(model.network, ('Block', )):
                        block.compile()
        if detector == 'auto':
            detector = default_detector(size, own_weights=weights is not None)
        self.boxes_of, self.finder = self._choose_finder(detector)

    def _take(self, models: list[TaskModel]) -> None:
        self.models = models
        self.tasks = tuple(task for model in models for task in model.tasks)
        poses = [model for model in models if model.codec is not None]
        if len(poses) > 1 or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f'the models do {", ".join(self.tasks)}, but each task may come once, and one kind of '
                             'keypoints')
        self.pose = poses[0] if poses else None
        self.dense = [model for model in models if model.codec is None]
        self.dense.sort(key=lambda model: 'parts' not in model.tasks)  # they tell the others where people are

    def only(self, tasks: Sequence[str], whole: bool = False) -> 'SapiensInferencer':
        """Another one with the same weights in memory, for some of the tasks.

        Args:
            tasks: Those of :attr:`tasks` that it does.
            whole: Whether it takes the whole frame as one person.

        Raises:
            ValueError: It does not do one of the tasks, or there is none.
        """
        tasks = [tasks] if isinstance(tasks, str) else tasks
        missing = [task for task in tasks if task not in self.tasks]
        if missing or not tasks:
            raise ValueError(f'tasks are {", ".join(tasks) or "none"}, but must be some of {", ".join(self.tasks)}')
        chosen = copy.copy(self)
        models = [copy.copy(model) for model in self.models]
        for model in models:
            model.tasks = tuple(task for task in model.tasks if task in tasks)
        chosen._take([model for model in models if model.tasks])
        if whole or not (chosen.pose or chosen.per_person):
            chosen.boxes_of, chosen.finder = 'none', whole_frames
        return chosen

    def _choose_finder(self, detector: str | tuple | Finder | None) -> tuple[str, Finder]:
        """What finds people, by name and as a function."""
        if detector in (None, 'none') or not (self.pose or self.per_person):
            return 'none', whole_frames
        if callable(detector):
            return _function_name(detector), detector
        if detector == 'parts':
            return 'parts', self._parts_finder()
        if isinstance(detector, str) and detector not in DETECTORS:
            raise ValueError(f"detector is '{detector}', but must be {', '.join(DETECTORS)}, parts, none, or a config "
                             'and checkpoint of mmdet')
        if not (isinstance(detector, str) or isinstance(detector, (tuple, list)) and len(detector) == 2):
            raise ValueError(f'detector is {detector!r}, but must be a name, a pair of config and checkpoint, a '
                             'function from frames to boxes, or None')
        config, checkpoint = DETECTORS[detector] if isinstance(detector, str) else detector
        name = detector if isinstance(detector, str) else f'{config} {checkpoint}'
        if config in DETECTORS:  # with weights from elsewhere
            config = DETECTORS[config][0]
        from .detector import PersonDetector
        try:
            found = PersonDetector(config, checkpoint, self.device, self.score_threshold, self.batch_size)
        except (ImportError, CheckpointError) as error:
            raise type(error)(f'there is no person detector: {error}; {_OTHER_WAYS}') from error
        return name, lambda frames: found([frame.image for frame in frames])

    def _parts_finder(self) -> PartsFinder:
        model = next((model for model in self.dense if 'parts' in model.tasks), None)
        if model is None:
            model = load_released('tiny', 'parts', device=self.device, dtype=self.dtype)
        return PartsFinder(model)

    def __call__(self, inputs, boxes: Iterable[np.ndarray] | Finder | str | os.PathLike | None = None) -> list[Result]:
        """Runs everything on inputs that fit into memory; see :meth:`stream`."""
        return list(self.stream(inputs, boxes))

    def stream(self, inputs, boxes: Iterable[np.ndarray] | Finder | str | os.PathLike | None = None,
               on_error: Callable[[Source, InputError], None] | None = None,
               stop: threading.Event | None = None) -> Iterator[Result]:
        """Runs everything on inputs of any number and length, in order.

        Args:
            inputs: One or several of: an image, (H, W, 3) uint8 RGB or of Pillow; a path of an image, folder or video,
                a pattern; the number of a camera; a :class:`~sapiens_mm.apis.reading.Source`. An iterator over them is
                read as the frames are worked on. Arrays are called by their place, ``'000000'`` and so on.
            boxes: (N, 4) or (N, 5) x0, y0, x1, y1, score, one array for each frame; a path of a file of boxes, or a
                :class:`~sapiens_mm.apis.persons.BoxFile`; a function from frames to boxes. They are used as they are,
                all, in their order. One without an area in its frame keeps its place, with scores of 0. By default
                people are found by the detector, whose boxes are those that pass its thresholds, highest score first.
            on_error: Called with a source that cannot be read and the reason; by default that is raised, after the
                results of what came before it.
            stop: Once it is set, no other frame is waited for, even if one is just being read.

        Yields:
            A result for each frame.

        Raises:
            InputError: An input cannot be read.
            ValueError: Boxes are not in pixels, not finite, or not as many as the frames, or the name of an image in a
                file of boxes fits several inputs.
        """
        finder = self.finder if boxes is None else _choose_boxes(boxes)
        if isinstance(finder, GivenBoxes) and on_error is not None:
            raise ValueError('boxes go by the order of the frames, which a file that cannot be read would change: with '
                             'on_error, give a BoxFile, or a function from frames to boxes')
        if isinstance(finder, BoxFile):
            finder.check(known_sources(inputs))
        # Closed here, since the traceback of an error keeps generators alive, and with them their threads and files.
        with closing(prefetch(frames_of_inputs(inputs, on_error), 2, _bytes_of, stop)) as frames, \
                closing(prefetch(self._samples(self._find_persons(frames, finder, stop)), 2 * self.batch_size,
                                 _bytes_of)) as items:
            yield from self._run(items)

    def _find_persons(self, frames: Iterable[Frame], finder: Finder,
                      stop: threading.Event | None = None) -> Iterator[Frame]:
        """Frames with their ``boxes`` and, where people are tracked, their ``track_ids``."""
        given = finder is not self.finder or isinstance(finder, (BoxFile, GivenBoxes))
        every = 1 if given else self.detect_every  # boxes that are given are there for each frame
        tracker, name, number = Tracker() if self.track else None, self._name_of(finder), 0
        # Only a detector gains from several frames at once.
        for group in _groups(_flushed(frames), 1 if given or finder is whole_frames else self.batch_size):
            asked = [frame for frame in group if not frame.index or frame.index % every == 0]
            boxes_of = check_found(finder(asked) if asked else [], asked, name, number)
            found = dict(zip(map(id, asked), boxes_of, strict=True))
            number += len(group)
            for frame in group:
                if tracker is not None and not frame.index:
                    tracker.reset()
                if id(frame) in found:
                    boxes = found[id(frame)]
                    if not given:
                        boxes = keep_best(boxes, frame.image.shape[:2], self.score_threshold, self.nms_threshold,
                                          self.max_persons)
                    ids = tracker.update(boxes) if tracker is not None and frame.index is not None else None
                frame.boxes, frame.track_ids = boxes, ids
                yield frame
        if isinstance(finder, GivenBoxes) and not (stop is not None and stop.is_set()):
            finder.finish()

    def _name_of(self, finder: Finder) -> str:
        if finder is self.finder:
            return f'the detector {self.boxes_of}'
        return 'boxes' if isinstance(finder, (BoxFile, GivenBoxes)) else f'boxes={_function_name(finder)}'

    def _samples(self, frames: Iterable[Frame]) -> Iterator[_Job | _Sample | None]:
        """Of each frame a job, then its samples: people for the pose model, people or the frame for the others.

        None says that what has come must not wait for more.
        """
        for frame in frames:
            if self.per_person or not self.dense:
                frame.outputs = None  # which are large, and which no one asks for
            job = _Job(frame, Result(frame.source, frame.image, frame.index, frame.rate, frame.boxes, frame.track_ids,
                                     metainfo=self.metainfo, time=frame.time))
            people = np.flatnonzero(can_be_cut(frame.boxes, frame.image.shape[:2]))
            if self.pose is not None:
                shape = len(frame.boxes), len(self.metainfo['pose']['keypoint_id2name'])
                job.result.keypoints = np.zeros((*shape, 2), np.float32)
                job.result.keypoint_scores = np.zeros(shape, np.float32)
                job.left += len(people)
            # The highest score comes last, on top of the others.
            by_score = people[np.argsort(-frame.boxes[people, 4], kind='stable')[::-1]]
            shown = ([None] if not self.per_person else by_score) if self.dense else ()
            job.left += len(shown)
            yield job
            for person in people if self.pose is not None else ():
                yield _Sample('pose', job, person, {self.pose.input_size: cut_person(
                    frame.image, frame.boxes[person, :4], self.pose.input_size)})
            sizes = {model.input_size for model in self.dense}
            for person in shown:
                yield _Sample('dense', job, person, {
                    size: resize_frame(frame.image, size) if person is None else
                    cut_person_evenly(frame.image, frame.boxes[person, :4], size) for size in sizes})
            if frame.source.kind == 'camera':
                yield None

    def _run(self, items: Iterable[_Job | _Sample | None]) -> Iterator[Result]:
        """Gathers samples to batches, runs them, and hands out frames in order as soon as they are complete."""
        waiting: deque[_Job] = deque()
        batches = dict(pose=[], dense=[])

        def run(*kinds: str) -> Iterator[Result]:
            for kind in kinds:
                batch, batches[kind] = batches[kind], []
                for _ in getattr(self, f'_run_{kind}')(batch) if batch else ():
                    yield from complete()

        def complete() -> Iterator[Result]:
            while waiting and waiting[0].left == 0:
                yield self._finish(waiting.popleft())

        for item in _flushed(items):
            if isinstance(item, _Job):
                waiting.append(item)
                yield from complete()
            many = len(waiting) > 2 * self.batch_size or sum(map(_bytes_of, waiting)) > ROOM
            if item is None or many:  # many frames with few people, or large ones
                yield from run('pose', 'dense')
            if not isinstance(item, _Sample):
                continue
            batches[item.kind].append(item)
            if len(batches[item.kind]) == self.batch_size:
                # Maps wait for the keypoints of their frame, and are large: keypoints first.
                yield from run(*(('pose', ) if item.kind == 'pose' else ('pose', 'dense')))
        yield from run('pose', 'dense')
        yield from complete()

    def _run_pose(self, batch: list[_Sample]) -> Iterator[None]:
        size = self.pose.input_size
        keypoints, scores = self._keypoints(self._images(batch, size))
        for sample, points, heights in zip(batch, keypoints, scores, strict=True):
            x0, y0, x1, y1 = sample.crops[size].box
            # mmpose's: the crop's pixels are as wide as if its centres' distance were its width.
            sample.job.result.keypoints[sample.person] = points / size[::-1] * (x1 - x0, y1 - y0) + (x0, y0)
            sample.job.result.keypoint_scores[sample.person] = heights
            sample.job.left -= 1
            yield

    @torch.inference_mode()
    def _keypoints(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (B, K, 2) in pixels of the input, and scores (B, K)."""
        heatmaps, = self.pose(images).values()
        if self.flip_test:
            from mmpose.models.utils.tta import flip_heatmaps
            mirrored, = self.pose(images.flip(-1)).values()
            indices = list(self.metainfo['pose']['flip_indices'])
            heatmaps = (heatmaps + flip_heatmaps(mirrored, indices, shift_heatmap=False)) / 2
        keypoints, scores = self.pose.codec.decode_heatmaps(heatmaps)
        return keypoints.cpu().numpy(), scores.cpu().numpy()

    def _run_dense(self, batch: list[_Sample]) -> Iterator[None]:
        outputs = self._outputs(batch)
        for i, sample in enumerate(batch):
            self._paste(sample, {task: (output[i], size) for task, (output, size) in outputs.items()})
            sample.job.left -= 1
            yield

    @torch.inference_mode()
    def _outputs(self, batch: list[_Sample]) -> dict[str, tuple[Tensor, tuple[int, int]]]:
        """Of each task what the head puts out (B, C, h, w), on the device, and the model's input size."""
        from ..dense.estimators import unmirror
        images, outputs = {}, {}
        for model in self.dense:
            found = _found_already(batch, model)
            if model.input_size not in images and (found is None or self.flip_test):
                images[model.input_size] = self._images(batch, model.input_size)
            found = found or model(images[model.input_size])
            mirrored = model(images[model.input_size].flip(-1)) if self.flip_test else {}
            for task in model.tasks:
                output = found[task]
                if self.flip_test:
                    flipped = unmirror(get_task(task), mirrored[task], model.metainfo[task].get('flip_indices'))
                    output = (output + flipped) / 2
                outputs[task] = output, model.input_size
        return outputs

    @torch.inference_mode()
    def _paste(self, sample: _Sample, outputs: dict[str, tuple[Tensor, tuple[int, int]]]) -> None:
        """Brings the outputs of a sample to the size of its frame, and on top of what is there.

        With parts, depth and normals are kept where these are not background; else in the person's box.
        """
        from ..dense.estimators import restore
        from ..dense.resize import placement
        height, width = sample.job.frame.image.shape[:2]
        mask = None
        for task in sorted(outputs, key=DENSE.index):
            output, input_size = outputs[task]
            box = np.asarray(sample.crops[input_size].box)
            # Of a crop, only the part of the frame that it shows is filled.
            low = np.maximum(np.floor(box[:2]), 0).astype(int)
            high = np.minimum(np.ceil(box[2:]), (width, height)).astype(int)
            place = placement(
                dict(ori_shape=tuple(high - low)[::-1], img_shape=input_size, crop_box=box - np.tile(low, 2)),
                output.shape[-2:], input_size)
            found = restore(get_task(task), output, place)
            window = slice(low[1], high[1]), slice(low[0], high[0])
            if sample.person is not None and mask is None:
                mask = torch.zeros((height, width), dtype=torch.bool, device=found.device)
                x0, y0, x1, y1 = np.maximum(np.rint(sample.job.frame.boxes[sample.person, :4]), 0).astype(int)
                mask[y0:y1, x0:x1] = True
            if task == 'parts':
                mask = torch.zeros((height, width), dtype=torch.bool, device=found.device)
                mask[window] = found[0] != 0
            if sample.person is None:
                sample.job.maps[task] = found if mask is None or task == 'parts' else found.mul_(mask)
                continue
            if task not in sample.job.maps:
                sample.job.maps[task] = found.new_zeros((len(found), height, width))
            canvas = sample.job.maps[task][:, window[0], window[1]]
            canvas.copy_(torch.where(mask[window], found, canvas))

    def _images(self, batch: list[_Sample], size: tuple[int, int]) -> Tensor:
        images = torch.from_numpy(np.stack([sample.crops[size].image for sample in batch]))
        if self.device.type == 'cuda':
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def _finish(self, job: _Job) -> Result:
        for task in DENSE:
            if task not in self.tasks:
                continue
            if task in job.maps:
                found = job.maps.pop(task).cpu().numpy()
            else:  # nobody is there
                found = np.zeros((3 if task == 'normal' else 1, *job.frame.image.shape[:2]),
                                 np.uint8 if task == 'parts' else np.float32)
            setattr(job.result, task, found.transpose(1, 2, 0) if task == 'normal' else found[0])
        return job.result

    def check_keypoint_format(self, keypoint_format: str) -> None:
        """Raises a ValueError where there are no keypoints that convert to a format of :meth:`Result.to_json`."""
        if self.pose is not None:
            number = len(self.metainfo['pose']['keypoint_id2name'])
            Result(Source('', ''), np.zeros((1, 1, 3), np.uint8), keypoints=np.zeros((0, number, 2)),
                   keypoint_scores=np.zeros((0, number)), metainfo=self.metainfo).to_json(keypoint_format)
        elif keypoint_format != 'model':
            raise ValueError(f"keypoint_format is '{keypoint_format}', but no keypoints are found: the tasks are "
                             f'{", ".join(self.tasks)}; add one of pose-..., or leave the format out')

    def describe(self) -> dict:
        """What was run, for ``meta.json``."""
        return dict(
            sapiens_mm=__version__, torch=torch.__version__, device=str(self.device),
            dtype=str(self.dtype).removeprefix('torch.'),
            models=[dict(tasks=list(model.tasks), source=model.source, sha256=model.sha256,
                         input_size=list(model.input_size)) for model in self.models],
            protocol=dict(
                box_padding=PADDING, flip_test=self.flip_test, maps_of='persons' if self.per_person else 'frame',
                score_threshold=self.score_threshold, nms_threshold=self.nms_threshold, max_persons=self.max_persons,
                track=self.track, detect_every=self.detect_every, batch_size=self.batch_size),
            boxes_of=self.boxes_of)


def _found_already(batch: list[_Sample], model: TaskModel) -> dict[str, Tensor] | None:
    """What the model put out of whole frames when people were looked for in them."""
    known = [sample.job.frame.outputs for sample in batch if sample.person is None]
    if len(known) < len(batch) or any(outputs is None or outputs[0] is not model.network for outputs in known):
        return None
    return {task: torch.stack([found[task] for _, found in known]) for task in model.tasks}


def _load_models(tasks: Sequence[str] | None, size: str, weights, options: dict) -> list[TaskModel]:
    if weights is None:
        if tasks is None:
            tasks = default_tasks(size)
        if sum(task.startswith('pose') for task in set(tasks)) > 1:  # before gigabytes are fetched
            raise ValueError(f'tasks are {", ".join(tasks)}, but one kind of keypoints at a time can be found')
        if size != 'tiny':
            for task in tasks:
                released_source(size, task)  # what there is not, likewise
            return [load_released(size, task, **options) for task in dict.fromkeys(tasks)]
        there = embedded_tasks()
        missing = [task for task in tasks if task not in there]
        if missing or not there:
            load_released(size, (missing or ['pose-17'])[0])  # says what there is
        files = {there[task]: None for task in tasks}
        return [load_model(file, tasks=[task for task in tasks if there[task] == file], **options) for file in files]
    found = []
    for entry in weights if isinstance(weights, list) else [weights]:
        config, checkpoint = entry if isinstance(entry, tuple) and len(entry) == 2 else (None, entry)
        if not isinstance(checkpoint, (str, os.PathLike)):
            raise ValueError(f'weights are {checkpoint!r}, but must be a checkpoint, a pair of config and checkpoint, '
                             'or a list of these')
        found.append(load_model(checkpoint, config, **options))
    if not found:
        raise ValueError('weights is an empty list; leave it out for the released ones')
    there = {task for model in found for task in model.tasks}
    missing = [task for task in tasks or () if task not in there]
    if missing:
        raise ValueError(f'the weights do {", ".join(sorted(there))}, but not {", ".join(missing)}')
    for model in found:
        model.keep(tasks or model.tasks)
    return [model for model in found if model.tasks]


def _choose_boxes(boxes) -> Finder:
    if isinstance(boxes, (str, os.PathLike)):
        return BoxFile(boxes)
    if isinstance(boxes, BoxFile):
        return boxes.for_run()
    return boxes if callable(boxes) else GivenBoxes(boxes)


def _function_name(function: Callable) -> str:
    return getattr(function, '__name__', type(function).__name__)


def _flushed(items: Iterable) -> Iterator:
    """The items; None after them where an error follows, so that what has come is not lost by it."""
    try:
        yield from items
    except Exception:
        yield None
        raise


def _bytes_of(item: Frame | _Job | _Sample | None) -> int:
    """Of the image that comes with a frame, or with the job that is made of it."""
    frame = getattr(item, 'frame', item)
    return frame.image.nbytes if isinstance(frame, Frame) else 0


def _groups(frames: Iterable[Frame | None], size: int) -> Iterator[list[Frame]]:
    """Lists of so many frames; a camera's are not waited for, and None ends a list."""
    group = []
    for frame in frames:
        if frame is not None:
            group.append(frame)
        full = len(group) == size or sum(map(_bytes_of, group)) > ROOM
        if group and (full or frame is None or frame.source.kind == 'camera'):
            yield group
            group = []
    if group:
        yield group
