"""``sapiens-mm``: runs models, lists them, looks at the environment.

It lies beside the package, whose import brings torch: so ``--help`` comes at once, and commands import what they need.
"""
import argparse
import errno
import importlib
import os
import platform
import signal
import sys
import threading
from collections.abc import Sequence

#: Commands that live in modules of their own, each with ``add_arguments(parser)`` and ``main(args)``.
_ELSEWHERE = {
    'app': 'a page in the browser: image, webcam or short video in, pictures and files out',
    'export': 'a model as ONNX or torch.export, compared with the original',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0 done, 1 something failed, 2 wrong arguments, 130 or 143 stopped, 141
    where nobody reads what is printed."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _command(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print('sapiens-mm: stopped', file=sys.stderr)
        code = 130
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again at its end
        code = 128 + signal.SIGPIPE
    return code


def _command(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog='sapiens-mm', description='Keypoints, body parts, depth and normals of people in images and videos.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    _add_run(commands.add_parser('run', help='run models on images, folders, videos, cameras'))
    commands.add_parser('models', help='list the models that can be had')
    commands.add_parser('doctor', help='look at the environment, and say what is wrong with it')
    for name, text in _ELSEWHERE.items():
        command = commands.add_parser(name, help=text)
        if argv[:1] == [name]:
            _import(name).add_arguments(command)
    args = parser.parse_args(argv)
    module = _import(dict(run='inferencer').get(args.command, args.command))
    if args.command in _ELSEWHERE:
        return module.main(args) or 0
    return dict(run=_run, models=_models, doctor=_doctor)[args.command](args)


def _import(name: str):
    """Imports a module, and what that imports; Ctrl-C then ends the process, since not every module hands it on."""
    before = end_at_ctrl_c()
    try:
        return importlib.import_module(f'sapiens_mm.apis.{name}')
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def end_at_ctrl_c():
    """Makes Ctrl-C end the process at once; returns what it did before, None if that stays."""
    def end(*_) -> None:
        os.write(2, b'sapiens-mm: stopped\n')
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGINT, end)


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('inputs', nargs='+', metavar='INPUT', help='image, video, folder, pattern, or number of a camera')
    add('--out', default='sapiens_out', help='folder for the results (%(default)s)')
    add('--tasks', type=_names, help='some of pose-308, pose-133, pose-17, parts, depth, normal; all that the model '
        'does if left out')
    add('--size', default='1b', choices=('tiny', '0.3b', '0.6b', '1b', '2b'), help='of the released models; tiny comes '
        'with the package (%(default)s)')
    add('--config', action='append', default=[], help='config of a model of your own, for a --checkpoint; repeatable')
    add('--checkpoint', action='append', default=[], help='weights in place of the released ones; repeatable')
    add('--device', help='such as cuda:0 or cpu; a GPU if there is one')
    add('--dtype', choices=('fp32', 'bf16', 'fp16'), help='bf16 where that is faster')
    add('--compile', action='store_true', help='compile the models: slow first batches')
    add('--batch-size', type=int, default=4, help='people at a time (%(default)s)')
    add('--flip-test', action='store_true', help='average with the mirror image, in twice the time: the '
        'published keypoint results use it, those of parts, depth and normals do not')
    add('--detector', default='auto', help='rtmdet-m, parts (regions of a map of body parts), none (the whole frame is '
        'one person), or a config of mmdet; auto is parts with --size tiny, else rtmdet-m (%(default)s)')
    add('--detector-checkpoint', help='weights for a config of mmdet')
    add('--boxes', help='JSON with the boxes of people, in place of a detector; all are used, in their order')
    add('--score-threshold', type=float, help='least score of a person (0.3; with --boxes none unless given)')
    add('--nms-threshold', type=float, help='of boxes that overlap by more (IoU), one stays (0.65; with --boxes none '
        'unless given)')
    add('--max-persons', type=int, help='at most so many in a frame, those of the highest scores')
    add('--per-person', action='store_true', help='parts, depth and normals of each person instead of the whole frame')
    add('--track', action='store_true', help='number the people of a video')
    add('--detect-every', type=int, default=1, help='with --track, look for people in every n-th frame (%(default)s)')
    add('--save', type=_names, help='some of json, npz, png, overlay, sheet, video, of every input; if left out json, '
        'overlay and sheet of images, json and video of videos and cameras. Maps that none of them keeps are not '
        'computed')
    add('--keypoint-format', default='model', choices=('model', 'coco-17', 'wholebody-133', 'openpose'),
        help='keypoints in the JSON files (%(default)s)')
    add('--keypoint-threshold', type=float, default=.3, help='least score of a keypoint that is drawn (%(default)s)')
    add('--resume', action='store_true', help='skip what is in the folder')
    add('--allow-urls', action='store_true', help='fetch inputs that are http(s) addresses')
    add('--url-timeout', type=float, metavar='SECONDS', help='with --allow-urls, how long fetching an address may take '
        '(120)')
    add('--show', action='store_true', help='show the pictures in a window')


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(',') if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError('no name is given; separate several by commas')
    return names


def _run(args: argparse.Namespace) -> int:
    from sapiens_mm.apis.reading import URL_TIMEOUT, find_sources
    from sapiens_mm.apis.writing import ResultWriter, differences
    from sapiens_mm.engine.checkpoint import CheckpointError
    failures = []

    def refused(error) -> None:
        failures.append(str(error))
        print(f'sapiens-mm: {error}', file=sys.stderr)

    try:
        if args.show:
            _check_display()
        timeout = URL_TIMEOUT if args.url_timeout is None else args.url_timeout
        if not 0 < timeout < threading.TIMEOUT_MAX:
            raise ValueError(f'--url-timeout is {timeout:g}, but must be a number of seconds above 0')
        found = find_sources(args.inputs, args.allow_urls, args.out, refused, timeout)
        if not found:
            return 2
        writer = ResultWriter(args.out, args.save, args.keypoint_format, args.keypoint_threshold)
        before = _read_meta(writer) if args.resume else {}
        now = _settings(args, before, writer, found)
        tasks = now['models'][0]['tasks']
        sources = [source for source in found if not (args.resume and writer.is_done(source, tasks))]
        boxes = _read_boxes(args, found, sources) if args.boxes else None
        if not sources:
            print(f'{"the only input is" if len(found) == 1 else f"all {len(found)} inputs are"} done in {args.out}', *(
                f'{", ".join(model["tasks"])} of {model["source"]}' for model in before.get('models', ())), sep='\n  ')
            if failures:
                print(f'{len(failures)} could not be read:', *failures, sep='\n  ')
            changed = differences(before, now)
            if changed:
                print(f'sapiens-mm: nothing is left to do, but what is asked for differs from how they were done: '
                      f'{", ".join(changed)} (weights are not compared)', file=sys.stderr)
            return int(bool(failures))
        inferencer = _load(args, found, writer)
        inferencer.check_keypoint_format(args.keypoint_format)
        writer.make_folder()
        _write_meta(args, inferencer, writer, before)
    except (CheckpointError, ImportError, OSError, ValueError) as error:
        print(f'sapiens-mm: {error}', file=sys.stderr)
        return 2
    return _write_results(args, inferencer, sources, boxes, writer, len(found) - len(sources), failures)


def _read_meta(writer) -> dict:
    try:
        return writer.read_meta()
    except ValueError as error:
        print(f'sapiens-mm: {error}; they are not compared with this run', file=sys.stderr)
        return {}


def _settings(args: argparse.Namespace, before: dict, writer, sources: Sequence) -> dict:
    """What ``meta.json`` would say, as far as it is known before models are loaded; without tasks, those before."""
    from sapiens_mm.apis.models import default_tasks
    from sapiens_mm.apis.persons import default_detector
    from sapiens_mm.apis.writing import kept_tasks
    tasks = args.tasks or (() if args.checkpoint else default_tasks(args.size))
    tasks = kept_tasks(tasks, set().union(*map(writer.kinds_of, sources)) | ({'overlay'} if args.show else set()))
    tasks = tasks or [task for model in before.get('models', ()) for task in model['tasks']]
    finder = args.detector
    if not args.per_person and not any(task.startswith('pose') for task in tasks):
        finder = 'none'
    elif args.detector_checkpoint:
        finder = f'{"rtmdet-m" if finder == "auto" else finder} {args.detector_checkpoint}'
    elif finder == 'auto':
        finder = default_detector(args.size, own_weights=bool(args.checkpoint))
    return dict(models=[dict(tasks=tasks)], boxes_of=args.boxes or finder, keypoint_format=args.keypoint_format,
                protocol=dict(
                    flip_test=args.flip_test, maps_of='persons' if args.per_person else 'frame', **_limits(args),
                    track=args.track, detect_every=args.detect_every))


def _limits(args: argparse.Namespace) -> dict:
    """The limits of boxes. Without ``--boxes``, those that are not given are the detector's own."""
    from sapiens_mm.apis.persons import NMS_THRESHOLD, SCORE_THRESHOLD
    own = dict(score_threshold=None if args.boxes else SCORE_THRESHOLD,
               nms_threshold=None if args.boxes else NMS_THRESHOLD, max_persons=None)
    return {name: value if getattr(args, name) is None else getattr(args, name) for name, value in own.items()}


def _read_boxes(args: argparse.Namespace, found: Sequence, sources: Sequence):
    """The boxes of a file that has some of what was found; says which of the sources it has not."""
    from sapiens_mm.apis.persons import BoxFile
    path = args.boxes
    boxes = BoxFile(path, **_limits(args))
    boxes.check(found)
    if not any(map(boxes.knows, found)):
        raise ValueError(f'{path} has none of the inputs: it has {_some(boxes.boxes)}, but the inputs are '
                         f'{_some(source.name for source in found)}')
    unknown = [source.name for source in sources if not boxes.knows(source)]
    if unknown:
        print(f'sapiens-mm: {path} has no boxes for {len(unknown)} of {len(sources)} inputs, and nobody is looked for '
              f'there: {_some(unknown)}', file=sys.stderr)
    return boxes


def _load(args: argparse.Namespace, sources: Sequence, writer):
    """The inferencer of the tasks of which something is kept; without weights that only the others need."""
    from sapiens_mm.apis.inferencer import SapiensInferencer
    from sapiens_mm.apis.models import default_tasks, pair_weights
    weights = pair_weights(args.config, args.checkpoint)
    tasks = args.tasks or (default_tasks(args.size) if weights is None else None)
    kept = _kept(tasks, sources, writer, args.show) if tasks else None
    detector = None if args.boxes else args.detector
    if detector and args.detector_checkpoint:
        detector = 'rtmdet-m' if detector == 'auto' else detector, args.detector_checkpoint
    finds = ['parts'] if detector == 'parts' and 'parts' in set(tasks or ()) - set(kept or ()) else []
    limits = {} if args.boxes else _limits(args)
    inferencer = SapiensInferencer(
        kept and [*kept, *finds], args.size, weights, args.device, args.dtype, args.compile, detector,
        per_person=args.per_person, flip_test=args.flip_test, batch_size=args.batch_size, track=args.track,
        detect_every=args.detect_every, **limits)
    if args.compile:
        print('sapiens-mm: compiling the models: the first batches take minutes', file=sys.stderr)
    kept = kept or _kept(inferencer.tasks, sources, writer, args.show)  # what weights do is known when they are there
    return inferencer if set(kept) == set(inferencer.tasks) else inferencer.only(kept)


def _kept(tasks: Sequence[str], sources: Sequence, writer, show: bool) -> list[str]:
    """The tasks of which a file or window keeps anything; says what the others would need.

    Raises:
        ValueError: None is left.
    """
    from sapiens_mm.apis.writing import KINDS, kept_tasks
    kinds = set().union(*map(writer.kinds_of, sources))
    kept = kept_tasks(tasks, kinds | {'overlay'} if show else kinds)
    lost = [task for task in tasks if task not in kept]
    if lost:
        keeping = [kind for kind in KINDS if kind in kinds] + ['--show'] * show
        ways = [kind for kind in KINDS if set(lost) <= set(kept_tasks(tasks, {kind}))]
        if all(source.kind == 'image' for source in sources):
            ways = [kind for kind in ways if kind != 'video']
        text = f'nothing of {", ".join(lost)} is kept by {" and ".join(keeping)}; add '
        text += f'{", ".join(ways[:-1])} or {ways[-1]} to --save'
        if not kept:
            raise ValueError(f'there is nothing to do: {text}')
        print(f'sapiens-mm: not computed: {text}', file=sys.stderr)
    return kept


def _write_meta(args: argparse.Namespace, inferencer, writer, before: dict) -> None:
    """Writes ``meta.json``; says in what it differs from that of the run before, if this one resumes it."""
    from sapiens_mm.apis.writing import differences
    meta = {**inferencer.describe(), 'python': platform.python_version(), 'inputs': args.inputs,
            'keypoint_format': args.keypoint_format}
    if args.boxes:
        meta |= dict(boxes_of=args.boxes, protocol={**meta['protocol'], **_limits(args)})
    changed = differences(before, meta)
    if changed:
        print(f'sapiens-mm: inputs that are done in {args.out} keep their files, the others are written anew, but this '
              f'run differs from that one: {", ".join(changed)}', file=sys.stderr)
    earlier = list(before.pop('earlier', ())) + [before] * bool(changed)
    writer.write_meta({**meta, **(dict(earlier=earlier) if earlier else {})})


def _write_results(args: argparse.Namespace, inferencer, sources: Sequence, boxes, writer, there: int,
                   failures: list[str]) -> int:
    """Runs the models, writes what comes, and ends with a summary.

    Args:
        args: Those of the command.
        inferencer: The models.
        sources: What they are run on.
        boxes: Of people; None: they are looked for.
        writer: Where results go.
        there: How many inputs are not among the sources, since they are done.
        failures: What is wrong with inputs that are not among them either.

    Returns:
        The exit code.
    """
    from tqdm import tqdm

    from sapiens_mm.apis.persons import can_be_cut
    from sapiens_mm.apis.reading import prefetch
    # Images are counted, the frames of videos are not known beforehand.
    images = all(source.kind == 'image' for source in sources)
    bar = tqdm(total=len(sources) if images else None, unit='image' if images else 'frame', disable=None)
    unwritten, done, empty, uncut, stopped, full = {}, dict(image=0, frame=0), 0, 0, _StopsOnce(), ''

    def failed(source, error) -> None:
        failures.append(str(error))
        writer.broken.add(source.name)
        bar.write(f'sapiens-mm: {error}', file=sys.stderr)
        bar.update(images)

    def not_written(source, error) -> None:
        nonlocal full
        if source.name not in unwritten:  # the other frames of a video likewise
            unwritten[source.name] = f'{source.name}: {error.strerror or error}'
            bar.write(f'sapiens-mm: cannot be written: {unwritten[source.name]}', file=sys.stderr)
        full = full or _why_nothing_can_be_written(writer, error)

    writer.on_error = not_written
    with bar, stopped, writer:
        results = prefetch(inferencer.stream(sources, boxes, failed, stopped.event), 2, lambda result: result.nbytes)
        try:
            for result in results:
                done['image' if result.index is None else 'frame'] += writer.write(result)
                empty += boxes is None and not len(result.boxes)
                uncut += sum(~can_be_cut(result.boxes, result.image.shape[:2]))
                bar.update()
                if args.show and not _show(result, args.keypoint_threshold):
                    stopped.code = 130
                if stopped.code or full:
                    break
        finally:
            results.close()
        if stopped.code or full:
            writer.close(complete=False)
    text = _counted(args, done if any(done.values()) else dict(image=0) if images else dict(frame=0), empty, uncut)
    if there:
        text += f', {_count(there, "input")} {"was" if there == 1 else "were"} there'
    if stopped.code or full:
        text += f'; {full or "stopped"}, --resume goes on'
    if failures:
        text += f'; {len(failures)} could not be read:\n  ' + '\n  '.join(failures)
    if unwritten:
        text += f'; {len(unwritten)} could not be written:\n  ' + '\n  '.join(unwritten.values())
    print(text)
    return stopped.code or int(bool(failures or unwritten))


def _counted(args: argparse.Namespace, done: dict[str, int], empty: int, uncut: int) -> str:
    """How many images and frames were written, and what is to be known about their people."""
    text = ' and '.join(_count(number, what) for what, number in done.items() if number or len(done) == 1)
    text += f' in {args.out}'
    if empty:
        text += f', nobody was found in {f"{empty} of them" if sum(done.values()) > 1 else "it"}'
    if uncut:
        text += (f', {_count(uncut, "box", "boxes")} of {args.boxes} {"has" if uncut == 1 else "have"} no area in the '
                 'frame: scores are 0')
    return text


def _why_nothing_can_be_written(writer, error: OSError) -> str:
    """Why no other result can be written either, and what to do, or nothing where one alone could not."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 'make room'
    try:
        writer.make_folder()
    except OSError as error:
        return str(error)
    return ''


def _count(number: int, what: str, several: str = '') -> str:
    return f'{number} {what if number == 1 else several or what + "s"}'


def _some(names) -> str:
    names = list(names)
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '') if names else 'nothing'


def _check_display() -> None:
    if sys.platform == 'linux' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise ValueError('--show needs a display, and there is none (DISPLAY is not set); leave it out, --save overlay '
                         'writes the pictures')


class _StopsOnce:
    """Within it, the first Ctrl-C or SIGTERM is remembered, the second one raises.

    Attributes:
        code: The exit code then, 0 before.
        event: Set then.
    """

    def __init__(self):
        self.code, self.event = 0, threading.Event()

    def __enter__(self) -> '_StopsOnce':
        self.before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _) -> None:
        if self.code:
            raise KeyboardInterrupt
        self.code = 128 + number
        self.event.set()
        print('\nsapiens-mm: stopping after this one; again to stop at once', file=sys.stderr)


def _show(result, threshold: float) -> bool:
    """Shows a result in a window; False once q or Escape is pressed there."""
    import cv2
    cv2.imshow('sapiens-mm', result.draw(threshold)[..., ::-1])
    return cv2.waitKey(1 if result.index is not None else 0) not in (27, ord('q'))


def _models(args: argparse.Namespace) -> int:
    from sapiens_mm.apis.models import PARAMETERS, TASKS, embedded_tasks
    from sapiens_mm.backbones.model_zoo import EMBEDDED_LICENSE, LICENSE, released_file
    from sapiens_mm.engine.fetch import is_cached
    row = '{:6} {:9} {:>8} {:>8}  {:13} {:7} {}'.format
    print(row('size', 'task', 'params', 'file', 'license', 'cached', 'weights'))
    for task, path in embedded_tasks().items():
        print(row('tiny', task, '', f'{os.path.getsize(path) / 1e6:.1f} MB', EMBEDDED_LICENSE, 'yes', path.name))
    for task, counts in PARAMETERS.items():
        for size, parameters in counts.items():
            file = released_file(size, TASKS[task])
            print(row(size, task, f'{parameters / 1e6:.0f} M', f'{parameters * 4 / 1e9:.1f} GB', LICENSE,
                      'yes' if is_cached(*file) else 'no', file.source))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from sapiens_mm.apis.doctor import examine
    problems = 0
    for name, found, advice in examine():
        print(f'{"wrong" if advice else "ok":5}  {name:22} {found}' + (f'\n       {advice}' if advice else ''))
        problems += bool(advice)
    print(f'{_count(problems, "thing")} {"is" if problems == 1 else "are"} wrong' if problems else 'nothing is wrong')
    return int(problems > 0)
