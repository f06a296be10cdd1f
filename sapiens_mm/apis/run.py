"""``sapiens-mm run``: inference from inputs to files, with progress, resuming and a summary."""
import argparse
import errno
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields

from tqdm import tqdm

from ..engine.checkpoint import CheckpointError
from ..tasks import canonical_name, is_pose
from ..utils.text import count, some, with_option
from .boxes import NMS_THRESHOLD, SCORE_THRESHOLD, BoxFile, have_area
from .detector import default_detector
from .frames import URL_TIMEOUT, InputError, Source
from .inferencer import SapiensInferencer
from .model_zoo import default_tasks
from .models import pair_weights
from .result import Result
from .smoothing import OneEuro
from .sources import find_sources
from .streams import prefetch
from .writer import KINDS, ResultWriter, kept_tasks, meta_differences


@dataclass
class RunOptions:
    inputs: Sequence[str]
    out: str = 'sapiens_out'
    tasks: Sequence[str] | None = None
    size: str = '1b'
    config: Sequence[str] = ()
    checkpoint: Sequence[str] = ()
    device: str | None = None
    dtype: str | None = None
    compile: bool = False
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
    save: Sequence[str] | None = None
    keypoint_format: str = 'model'
    keypoint_threshold: float = .3
    resume: bool = False
    allow_urls: bool = False
    url_timeout: float | None = None
    show: bool = False

    def __post_init__(self):
        if self.tasks:
            self.tasks = [canonical_name(task) for task in self.tasks]

    @property
    def one_euro(self) -> OneEuro | None:
        return OneEuro(self.smooth_min_cutoff, self.smooth_beta) if self.smooth else None

    @property
    def limits(self) -> dict:
        defaults = dict(score_threshold=None if self.boxes else SCORE_THRESHOLD,
                        nms_threshold=None if self.boxes else NMS_THRESHOLD, max_persons=None)
        return {name: default if getattr(self, name) is None else getattr(self, name)
                for name, default in defaults.items()}


@dataclass
class _Summary:
    done: dict[str, int] = field(default_factory=lambda: dict(image=0, frame=0))
    skipped: int = 0  # inputs that were done before
    unread: list[str] = field(default_factory=list)  # messages
    unwritten: dict[str, str] = field(default_factory=dict)  # messages by source
    without_people: int = 0  # images and frames without detected people
    no_area: int = 0  # given boxes without area in their frame
    stopped: str = ''  # why the run ended early

    def text(self, options: RunOptions, images_only: bool) -> str:
        done = {noun: number for noun, number in self.done.items() if number}
        done = done or {'image' if images_only else 'frame': 0}
        text = ' and '.join(count(number, noun) for noun, number in done.items()) + f' in {options.out}'
        if self.without_people:
            text += f', no people in {self.without_people if sum(done.values()) > 1 else "it"}'
            text += ' of them' if sum(done.values()) > 1 else ''
        if self.no_area:
            text += f', {count(self.no_area, "box", "boxes")} of {options.boxes} without area in the frame (score 0)'
        if self.skipped:
            text += f', {count(self.skipped, "input")} done before'
        if self.stopped:
            text += f'; {self.stopped}; continue with --resume'
        for messages, verb in ((self.unread, 'read'), (self.unwritten.values(), 'written')):
            if messages:
                text += f'; {len(messages)} could not be {verb}:\n  ' + '\n  '.join(messages)
        return text


def main(args: argparse.Namespace) -> int:
    return run(RunOptions(**{option.name: getattr(args, option.name) for option in fields(RunOptions)}))


def run(options: RunOptions) -> int:
    """Runs inference and writes the results; returns 0, 1 if an input failed, 2 for wrong options, 128 + signal."""
    summary = _Summary()

    def report(error: InputError) -> None:
        summary.unread.append(str(error))
        _warn(error)

    try:
        if options.show:
            check_display()
        timeout = URL_TIMEOUT if options.url_timeout is None else options.url_timeout
        if not 0 < timeout < threading.TIMEOUT_MAX:
            raise ValueError(f'url_timeout: got {timeout:g}, expected a number of seconds above 0')
        sources = find_sources(options.inputs, options.allow_urls, options.out, report, timeout)
        if not sources:
            return 2
        writer = ResultWriter(options.out, options.save, options.keypoint_format, options.keypoint_threshold,
                              resume=options.resume)
        before = _read_meta(writer) if options.resume else {}
        kinds = _kinds(options, writer, sources)
        planned = _planned_meta(options, before, kinds)
        todo = [source for source in sources
                if not (options.resume and writer.is_done(source, planned['models'][0]['tasks']))]
        summary.skipped = len(sources) - len(todo)
        boxes = _read_boxes(options, sources, todo) if options.boxes else None
        if not todo:
            writer.finish()
            return _report_all_done(options, before, planned, summary)
        inferencer = _load(options, kinds, all(source.kind == 'image' for source in sources))
        inferencer.check_keypoint_format(options.keypoint_format)
        writer.make_folder()
        _write_meta(options, inferencer, writer, before)
    except (CheckpointError, ImportError, OSError, ValueError) as error:
        _warn(with_option(error, {option.name for option in fields(RunOptions)} - {'inputs'}))
        return 2
    return _process(options, inferencer, todo, boxes, writer, summary)


def _warn(message) -> None:
    print(f'sapiens-mm: {message}', file=sys.stderr)


def _kinds(options: RunOptions, writer: ResultWriter, sources: Sequence[Source]) -> set[str]:
    return set().union(*map(writer.kinds_of, sources)) | ({'--show'} if options.show else set())


def _kept(tasks: Sequence[str], kinds: set[str]) -> list[str]:
    return kept_tasks(tasks, {'overlay' if kind == '--show' else kind for kind in kinds})


def _read_meta(writer: ResultWriter) -> dict:
    try:
        return writer.read_meta()
    except ValueError as error:
        _warn(f'{error}; they are not compared with this run')
        return {}


def _planned_meta(options: RunOptions, before: dict, kinds: set[str]) -> dict:
    tasks = options.tasks or (() if options.checkpoint else default_tasks(options.size))
    tasks = _kept(tasks, kinds) or [canonical_name(task) for model in before.get('models', ())
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
                    smooth=options.one_euro and asdict(options.one_euro), steady=options.steady))


def _report_all_done(options: RunOptions, before: dict, planned: dict, summary: _Summary) -> int:
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


def _load(options: RunOptions, kinds: set[str], images_only: bool) -> SapiensInferencer:
    weights = pair_weights(options.config, options.checkpoint)
    tasks = options.tasks or (default_tasks(options.size) if weights is None else None)
    kept = _check_kept(tasks, kinds, images_only) if tasks else None
    detector = None if options.boxes else options.detector
    if detector and options.detector_checkpoint:
        detector = 'rtmdet-m' if detector == 'auto' else detector, options.detector_checkpoint
    # Detection by segmentation uses the model of a task whose results are dropped.
    extra = ['seg'] if detector == 'parts' and 'seg' in set(tasks or ()) - set(kept or ()) else []
    inferencer = SapiensInferencer(
        kept and [*kept, *extra], options.size, weights, options.device, options.dtype, options.compile, detector,
        per_person=options.per_person, flip_test=options.flip_test, batch_size=options.batch_size,
        track=options.track, detect_every=options.detect_every, smooth=options.one_euro, steady=options.steady,
        **({} if options.boxes else options.limits))
    if options.compile:
        _warn('compiling the models; the first batches take minutes')
    kept = kept or _check_kept(inferencer.tasks, kinds, images_only)
    return inferencer if set(kept) == set(inferencer.tasks) else inferencer.only(kept)


def _check_kept(tasks: Sequence[str], kinds: set[str], images_only: bool) -> list[str]:
    kept = _kept(tasks, kinds)
    dropped = [task for task in tasks if task not in kept]
    if dropped:
        keeping = [kind for kind in (*KINDS, '--show') if kind in kinds]
        ways = [kind for kind in KINDS if set(dropped) <= set(kept_tasks(tasks, {kind}))
                and not (images_only and kind == 'video')]
        text = (f'{", ".join(dropped)}: results are not kept by {" and ".join(keeping)}; add '
                f'{", ".join(ways[:-1])} or {ways[-1]} to --save')
        if not kept:
            raise ValueError(f'nothing to do for {text}')
        _warn(f'skipping {text}')
    return kept


def _write_meta(options: RunOptions, inferencer: SapiensInferencer, writer: ResultWriter, before: dict) -> None:
    meta = {**inferencer.describe(), 'python': platform.python_version(), 'inputs': list(options.inputs),
            'keypoint_format': options.keypoint_format}
    if options.boxes:
        meta |= dict(boxes_of=options.boxes, protocol={**meta['protocol'], **options.limits})
    differ = meta_differences(before, meta)
    if differ:
        _warn(f'finished inputs in {options.out} keep their files, but the earlier run had {differ}')
    earlier = list(before.pop('earlier', ())) + [before] * bool(differ)
    writer.write_meta({**meta, **(dict(earlier=earlier) if earlier else {})})


def _process(options: RunOptions, inferencer: SapiensInferencer, sources: Sequence[Source], boxes: BoxFile | None,
             writer: ResultWriter, summary: _Summary) -> int:
    # The number of images is known, that of a video's frames is not.
    images_only = all(source.kind == 'image' for source in sources)
    bar = tqdm(total=len(sources) if images_only else None, unit='image' if images_only else 'frame', disable=None)
    stop = StopOnSignal()

    def not_read(source: Source, error: InputError) -> None:
        summary.unread.append(str(error))
        writer.mark_broken(source.name)
        bar.write(f'sapiens-mm: {error}', file=sys.stderr)
        bar.update(images_only)

    def not_written(source: Source, error: OSError) -> None:
        if source.name not in summary.unwritten:  # once for all frames of a video
            summary.unwritten[source.name] = f'{source.name}: {error.strerror or error}'
            bar.write(f'sapiens-mm: cannot write {summary.unwritten[source.name]}', file=sys.stderr)
        summary.stopped = summary.stopped or _disk_problem(writer, error)

    writer.on_error = not_written
    with bar, stop, writer:
        results = prefetch(inferencer.stream(sources, boxes, not_read, stop.event), 2, lambda result: result.nbytes)
        try:
            for result in results:
                summary.done['image' if result.index is None else 'frame'] += writer.write(result)
                summary.without_people += boxes is None and not len(result.boxes)
                summary.no_area += sum(~have_area(result.boxes, result.image.shape[:2]))
                bar.update()
                if options.show and not show(result, options.keypoint_threshold):
                    stop.code = 130
                if stop.code or summary.stopped:
                    break
        finally:
            results.close()
        if stop.code:
            summary.stopped = summary.stopped or 'stopped'
        if summary.stopped:
            writer.close(complete=False)
    print(summary.text(options, images_only))
    return stop.code or int(bool(summary.unread or summary.unwritten))


def _disk_problem(writer: ResultWriter, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 'disk full; free some space'
    try:
        writer.make_folder()
    except OSError as error:
        return str(error)
    return ''


class StopOnSignal:
    """Context in which the first Ctrl-C or SIGTERM sets ``code`` and ``event``, and the second one raises."""

    def __init__(self):
        self.code, self.event = 0, threading.Event()
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
