"""``sapiens-mm run``: inference from inputs to files, with progress, resuming and a summary."""
import argparse
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from multiprocessing import get_context

from tqdm import tqdm

from ..engine.checkpoint import CheckpointError
from ..names import DEPTH_ALIGNMENTS, KINDS, NEEDED_TASKS, NORMAL_CONVENTIONS, SPACE_KINDS
from ..tasks import canonical_name, is_pose
from ..utils.files import locked
from ..utils.text import some, with_option
from .boxes import NMS_THRESHOLD, SCORE_THRESHOLD, BoxFile
from .collect import Ended
from .detector import default_detector
from .features import FeatureOptions
from .frames import URL_TIMEOUT, InputError, Source
from .inferencer import SapiensInferencer, with_mask
from .job import Summary, process, process_on_devices, report_unwritten
from .meta import meta_differences, read_meta, write_meta
from .model_zoo import default_tasks
from .models import pair_weights
from .network import choose_devices
from .result import Result
from .result_files import kept_tasks
from .smoothing import OneEuro
from .sources import find_sources
from .space import Space
from .writer import ResultWriter


@dataclass
class RunOptions:
    inputs: Sequence[str]
    out: str = 'sapiens_out'
    tasks: Sequence[str] | None = None
    size: str = '1b'
    config: Sequence[str] = ()
    checkpoint: Sequence[str] = ()
    device: str | None = None
    devices: Sequence[str] | None = None
    shard: tuple[int, int] | None = None
    dtype: str | None = None
    compile: bool = False
    runtime: str = 'torch'
    batch_size: int = 4
    flip_test: bool = False
    detector: str = 'auto'
    detector_checkpoint: str | None = None
    boxes: str | None = None
    score_threshold: float | None = None
    nms_threshold: float | None = None
    max_persons: int | None = None
    per_person: bool = False
    track: bool = False
    detect_every: int = 1
    smooth: str | None = None
    smooth_min_cutoff: float = 1.
    smooth_beta: float = .05
    steady: bool = False
    mask: str | None = None
    save: Sequence[str] | None = None
    features_of: str = 'frame'
    features_pool: str | None = None
    features_layers: Sequence[int] = (-1, )
    normal_convention: str = NORMAL_CONVENTIONS[0]
    focal: float | None = None
    fov: float | None = None
    depth_range: Sequence[float] | None = None
    reference: str | None = None
    alignment: str = DEPTH_ALIGNMENTS[0]
    per_frame_scale: bool = False
    keypoint_format: str = 'model'
    keypoint_threshold: float = .3
    resume: bool = False
    allow_urls: bool = False
    url_timeout: float | None = None
    show: bool = False

    def __post_init__(self):
        if self.tasks:
            self.tasks = [canonical_name(task) for task in self.tasks]
        self.tasks = with_mask(self.tasks, self.mask, None if self.checkpoint else self.size)

    @property
    def one_euro(self) -> OneEuro | None:
        return OneEuro(self.smooth_min_cutoff, self.smooth_beta) if self.smooth else None

    @property
    def space(self) -> Space:
        return Space(self.focal, self.fov, self.depth_range and tuple(self.depth_range), self.reference,
                     self.alignment, self.per_frame_scale)

    def drawing(self, kinds: Collection[str]) -> dict:
        """Returns the settings, for ``meta.json``, by which maps become files of some kinds."""
        settings = dict(space=self.space.describe()) if set(kinds) & set(SPACE_KINDS) else {}
        return settings | (dict(normal_convention=self.normal_convention) if 'normal16' in kinds or (
            self.normal_convention != NORMAL_CONVENTIONS[0]) else {})

    @property
    def limits(self) -> dict:
        defaults = dict(score_threshold=None if self.boxes else SCORE_THRESHOLD,
                        nms_threshold=None if self.boxes else NMS_THRESHOLD, max_persons=None)
        return {name: default if getattr(self, name) is None else getattr(self, name)
                for name, default in defaults.items()}


def main(args: argparse.Namespace) -> int:
    return run(RunOptions(**{option.name: getattr(args, option.name) for option in fields(RunOptions)}))


def run(options: RunOptions) -> int:
    """Runs inference and writes the results; returns 0, 1 if an input failed, 2 for wrong options, 128 + signal."""
    summary = Summary()

    def report(error: InputError) -> None:
        summary.unread.append(str(error))
        _warn(error)

    with ExitStack() as stack:
        try:
            if options.show:
                check_display()
            timeout = URL_TIMEOUT if options.url_timeout is None else options.url_timeout
            if not 0 < timeout < threading.TIMEOUT_MAX:
                raise ValueError(f'url_timeout: got {timeout:g}, expected a number of seconds above 0')
            devices = choose_devices(options.devices)
            if devices:
                options = replace(options, device=devices[0])
            sources = find_sources(options.inputs, options.allow_urls, options.out, report, timeout)
            if not sources:
                return 2
            if options.shard:
                sources = sources[options.shard[0]::options.shard[1]]
            # Before the writer, which repairs the coco.jsonl of a killed run.
            exists = os.path.isdir(options.out)
            if exists:
                stack.enter_context(locked(options.out, shared=options.shard is not None))
            writer = ResultWriter(options.out, options.save, options.keypoint_format, options.keypoint_threshold,
                                  resume=options.resume, shard=options.shard, space=options.space,
                                  normal_convention=options.normal_convention)
            writer.files.check_names(sources)
            before = _read_meta(writer, _warn if options.resume else lambda message: None)
            kinds = _kinds(options, writer, sources)
            planned = _planned_meta(options, before if options.resume else {}, kinds)
            tasks = planned['models'][0]['tasks']
            done = [source for source in sources if options.resume and writer.is_done(source, tasks)]
            names = {source.name for source in done}
            todo = [source for source in sources if source.name not in names]
            summary.skipped = len(done)
            boxes = _read_boxes(options, sources, todo) if options.boxes else None
            writer.ended += [Ended(source) for source in done if writer.files.is_staged(source, tasks)]
            if not todo:
                writer.finish()
                return _report_all_done(options, before, planned, summary)
            inferencer = _load(options, kinds, all(source.kind == 'image' for source in sources), _warn)
            _expect_keypoints(options, inferencer, writer, kinds)
            _expect_tasks(options, inferencer)
            writer.make_folder()
            if not exists:
                stack.enter_context(locked(options.out, shared=options.shard is not None))
            _write_meta(options, inferencer, writer, before, kinds)
        except (CheckpointError, ImportError, OSError, ValueError) as error:
            _warn(with_option(error, {option.name for option in fields(RunOptions)} - {'inputs'}))
            return 2
        if not devices:
            return _process(options, inferencer, todo, boxes, writer, summary)
        del inferencer  # its device is that of the first worker
        return _process_on_devices(options, devices, todo, writer, summary)


def _warn(message) -> None:
    print(f'sapiens-mm: {message}', file=sys.stderr)


def _kinds(options: RunOptions, writer: ResultWriter, sources: Sequence[Source]) -> set[str]:
    kinds = set().union(*map(writer.files.kinds_of, sources)) | ({'--show'} if options.show else set())
    return kinds | ({'masks'} if 'features' in kinds and options.features_pool == 'mask' else set())


def _kept(tasks: Sequence[str], kinds: set[str], mask: str | None) -> list[str]:
    """Returns the tasks whose results are kept, and that of the mask if it bounds some of these."""
    kept = kept_tasks(tasks, {'overlay' if kind == '--show' else kind for kind in kinds})
    needed = {'depth', 'normal'} & set(kept)
    return [task for task in tasks if task in kept or needed and task == mask]


def _read_meta(writer: ResultWriter, warn: Callable[[str], None]) -> dict:
    try:
        return read_meta(writer.meta_path)
    except ValueError as error:
        warn(f'{error}; they are not compared with this run')
        return {}


def _planned_meta(options: RunOptions, before: dict, kinds: set[str]) -> dict:
    tasks = options.tasks or (() if options.checkpoint else default_tasks(options.size))
    tasks = _kept(tasks, kinds, options.mask) or [canonical_name(task) for model in before.get('models', ())
                                    for task in model['tasks']]
    detector = options.detector
    if not options.per_person and not any(map(is_pose, tasks)):
        detector = 'none'
    elif options.detector_checkpoint:
        detector = f'{"rtmdet-m" if detector == "auto" else detector} {options.detector_checkpoint}'
    elif detector == 'auto':
        detector = default_detector(options.size, own_weights=bool(options.checkpoint))
    return dict(models=[dict(tasks=tasks)], boxes_of=options.boxes or detector, keypoint_format=options.keypoint_format,
                protocol=dict(
                    flip_test=options.flip_test, maps_of='persons' if options.per_person else 'frame',
                    **options.limits, track=options.track, detect_every=options.detect_every,
                    smooth=options.one_euro and asdict(options.one_euro), steady=options.steady,
                    mask=options.mask if options.mask in tasks else None, **options.drawing(kinds)))


def _report_all_done(options: RunOptions, before: dict, planned: dict, summary: Summary) -> int:
    inputs = 'the only input is' if summary.skipped == 1 else f'all {summary.skipped} inputs are'
    print(f'{inputs} done in {options.out}', *(
        f'{", ".join(model["tasks"])} of {model["source"]}' for model in before.get('models', ())), sep='\n  ')
    if summary.unread:
        print(f'{len(summary.unread)} could not be read:', *summary.unread, sep='\n  ')
    if differ := meta_differences(before, planned):
        _warn(f'nothing to do, but the finished run had {differ} (weights are not compared)')
    return int(bool(summary.unread))


def _read_boxes(options: RunOptions, sources: Sequence[Source], todo: Sequence[Source]) -> BoxFile:
    path = options.boxes
    boxes = BoxFile(path, **options.limits)
    boxes.check(sources)
    if not any(map(boxes.knows, sources)):
        raise ValueError(f'boxes of {path}: got {some(boxes.boxes, 3)}, expected names of the inputs '
                         f'({some((source.name for source in sources), 3)}); list each input by its path')
    missing = [source.name for source in todo if not boxes.knows(source)]
    if missing:
        _warn(f'{path} has no boxes for {len(missing)} of {len(todo)} inputs, which get no people: {some(missing, 3)}')
    return boxes


def _load(options: RunOptions, kinds: set[str], images_only: bool, warn: Callable[[str], None]) -> SapiensInferencer:
    weights = pair_weights(options.config, options.checkpoint)
    tasks = options.tasks or (default_tasks(options.size) if weights is None else None)
    kept = _check_kept(tasks, kinds, options.mask, images_only, warn) if tasks else None
    detector = None if options.boxes else options.detector
    if detector and options.detector_checkpoint:
        detector = 'rtmdet-m' if detector == 'auto' else detector, options.detector_checkpoint
    runtime = 'torch' if options.runtime == 'auto' and 'features' in kinds else options.runtime
    # Detection by segmentation uses the model of a task whose results are dropped.
    extra = ['seg'] if detector == 'parts' and 'seg' in set(tasks or ()) - set(kept or ()) else []
    inferencer = SapiensInferencer(
        kept and [*kept, *extra], options.size, weights, options.device, options.dtype, options.compile, detector,
        per_person=options.per_person, flip_test=options.flip_test, batch_size=options.batch_size,
        track=options.track, detect_every=options.detect_every, smooth=options.one_euro, steady=options.steady,
        runtime=runtime, mask=options.mask, **({} if options.boxes else options.limits))
    if options.compile:
        warn('compiling the models; the first batches take minutes')
    kept = kept or _check_kept(inferencer.tasks, kinds, options.mask, images_only, warn)
    inferencer = inferencer if set(kept) == set(inferencer.tasks) else inferencer.only(kept)
    if 'features' in kinds:
        inferencer.add_features(FeatureOptions(tuple(options.features_layers), options.features_of,
                                               options.features_pool))
    return inferencer


def _expect_keypoints(options: RunOptions, inferencer: SapiensInferencer, writer: ResultWriter, kinds: set[str]
                      ) -> None:
    if 'controlnet' in kinds:
        try:
            inferencer.check_keypoint_format('controlnet')
        except ValueError as error:
            raise ValueError(f'save: got controlnet with the tasks {", ".join(inferencer.tasks)}, expected pose-17, '
                             'pose-133 or pose-308 among them') from error
    names = inferencer.check_keypoint_format(options.keypoint_format)
    if writer.collector is not None:
        own = names is not None and options.keypoint_format == 'model'
        writer.collector.expect(names, inferencer.metainfo['pose']['skeleton_links'] if own else None)


def _expect_tasks(options: RunOptions, inferencer: SapiensInferencer) -> None:
    for kind in options.save or ():
        for names in NEEDED_TASKS.get(kind, ()):
            if not set(names) & set(inferencer.tasks):
                raise ValueError(f'save: got {kind} with the tasks {", ".join(inferencer.tasks)}, expected '
                                 f'{" or ".join(names)} among them')


def _check_kept(tasks: Sequence[str], kinds: set[str], mask: str | None, images_only: bool,
                warn: Callable[[str], None]) -> list[str]:
    kept = _kept(tasks, kinds, mask)
    dropped = [task for task in tasks if task not in kept]
    if dropped:
        keeping = [kind for kind in (*KINDS, '--show') if kind in kinds]
        ways = [kind for kind in KINDS if kind not in SPACE_KINDS and set(dropped) <= set(kept_tasks(tasks, {kind}))
                and not (images_only and kind == 'video')]
        text = (f'{", ".join(dropped)}: results are not kept by {", ".join(keeping)}; add '
                f'{", ".join(ways[:-1])} or {ways[-1]} to --save')
        if not kept:
            raise ValueError(f'nothing to do for {text}')
        warn(f'skipping {text}')
    return kept


def _write_meta(options: RunOptions, inferencer: SapiensInferencer, writer: ResultWriter, before: dict,
                kinds: set[str]) -> None:
    meta = {**inferencer.describe(), 'python': platform.python_version(), 'inputs': list(options.inputs),
            'keypoint_format': options.keypoint_format}
    meta['protocol'] |= options.drawing(kinds)
    if options.boxes:
        meta |= dict(boxes_of=options.boxes, protocol={**meta['protocol'], **options.limits})
    differ = meta_differences(before, meta)
    if differ and options.resume:
        _warn(f'finished inputs in {options.out} keep their files, but the earlier run had {differ}')
    earlier = list(before.pop('earlier', ())) + [before] * bool(differ)
    write_meta(writer.meta_path, {**meta, **(dict(earlier=earlier) if earlier else {})})


def _process(options: RunOptions, inferencer: SapiensInferencer, sources: Sequence[Source], boxes: BoxFile | None,
             writer: ResultWriter, summary: Summary) -> int:
    # The number of images is known, that of a video's frames is not.
    images_only = all(source.kind == 'image' for source in sources)
    bar = tqdm(total=len(sources) if images_only else None, unit='image' if images_only else 'frame', disable=None)
    stop = StopOnSignal()

    def advance(result: Result | None) -> None:
        bar.update(images_only or result is not None)
        if options.show and result is not None and not show(result, options.keypoint_threshold):
            stop.code = 130
            stop.event.set()

    with bar, stop:
        summary.add(process(inferencer, sources, boxes, writer, stop.event,
                            lambda message: bar.write(message, file=sys.stderr), advance))
    return _finish(options, summary, stop, images_only)


def _process_on_devices(options: RunOptions, devices: Sequence[str], sources: Sequence[Source], writer: ResultWriter,
                        summary: Summary) -> int:
    images_only = all(source.kind == 'image' for source in sources)
    bar = tqdm(total=len(sources), unit='input', disable=None)
    event = get_context('spawn').Event()
    stop = StopOnSignal(event)
    kinds = _kinds(options, writer, sources)
    makes = [partial(_Worker, replace(options, device=device), kinds, writer.for_worker(), event)
             for device in devices]
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    report_unwritten(writer, summary, lambda message: bar.write(message, file=sys.stderr))
    with bar, stop:
        for chunk, part in process_on_devices(makes, sources, options.batch_size, threads,
                                              lambda: bool(stop.code or summary.stopped)):
            for message in (*part.unread, *(f'cannot write {message}' for message in part.unwritten.values())):
                bar.write(f'sapiens-mm: {message}', file=sys.stderr)
            if writer.collector is not None:
                writer.collect([*writer.take_ended(), *part.ended])
                part.ended = []
            summary.add(part)
            bar.update(len(chunk))
            if summary.stopped:
                event.set()
        if not (stop.code or summary.stopped):
            writer.finish()
    return _finish(options, summary, stop, images_only)


class _Worker:
    """Inference of one process; loads the models."""

    def __init__(self, options: RunOptions, kinds: set[str], writer: ResultWriter, stop: threading.Event):
        self.writer, self.stop = writer, stop
        self.boxes = BoxFile(options.boxes, **options.limits) if options.boxes else None
        self.inferencer = _load(options, kinds, images_only=False, warn=lambda message: None)

    def __call__(self, sources: list[Source]) -> tuple[list[Source], Summary]:
        return sources, process(self.inferencer, sources, self.boxes, self.writer, self.stop)


def _finish(options: RunOptions, summary: Summary, stop: 'StopOnSignal', images_only: bool) -> int:
    if stop.code:
        summary.stopped = summary.stopped or 'stopped'
    print(summary.text(options.out, options.boxes, images_only))
    return stop.code or int(bool(summary.unread or summary.unwritten))


class StopOnSignal:
    """Context in which the first Ctrl-C or SIGTERM sets ``code`` and ``event``, and the second one raises."""

    def __init__(self, event: threading.Event | None = None):
        self.code, self.event = 0, event or threading.Event()
        self._before: dict[int, Callable] = {}

    def __enter__(self) -> 'StopOnSignal':
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _) -> None:
        if self.code:
            raise KeyboardInterrupt
        self.code = 128 + number
        self.event.set()
        print('\nsapiens-mm: finishing the current frame; press Ctrl-C again to abort', file=sys.stderr)


def check_display() -> None:
    if sys.platform == 'linux' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise ValueError('--show: got no display, expected one in DISPLAY; use --save overlay instead')


def show(result: Result, threshold: float) -> bool:
    import cv2
    cv2.imshow('sapiens-mm', result.draw(threshold)[..., ::-1])
    return cv2.waitKey(1 if result.index is not None else 0) not in (27, ord('q'))
