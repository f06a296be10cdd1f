"""``sapiens-mm``, the command line: parses arguments and imports only the modules that a command needs.

It is a module outside the package, since importing the package loads torch, and neither ``--help`` nor an error that
needs no model must wait for that.
"""
import argparse
import glob
import importlib.util
import os
import re
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

#: Command -> its module in `sapiens_mm.apis`, which has ``main(args)``, and its help.
_COMMANDS = {
    'run': ('run', 'run models on images, folders, videos and cameras'),
    'convert': ('convert', 'convert results to labels of COCO, Label Studio, CVAT or YOLO, and labels back'),
    'smooth': ('smooth', "smooth the keypoints of a video's results"),
    'models': ('model_zoo', 'list available models'),
    'doctor': ('doctor', 'check the environment'),
    'app': ('app', 'serve a web page that runs models on images, webcam photos and short videos'),
    'export': ('export', 'export a model to ONNX or torch.export and compare it with the original'),
}
#: Commands whose modules have ``add_arguments(parser)``.
_ADD_THEIR_OWN = ('app', 'export')


def _read(module: str) -> SimpleNamespace:
    """Returns the names in a module of the package that imports no other one."""
    folder, = importlib.util.find_spec('sapiens_mm').submodule_search_locations
    return SimpleNamespace(**runpy.run_path(os.path.join(folder, f'{module}.py')))


_known, _tasks = _read('names'), _read('tasks')
_DENSE_TASKS = [name for name, task in _tasks.TASKS.items() if task.label]
_TASKS = '|'.join([r'pose-\d+', *_DENSE_TASKS, *_tasks.ALIASES])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit code: 0 for success, 1 for a failure, 2 for wrong arguments, 130 or 143 if stopped, 141 for a closed
        pipe.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _command(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print('sapiens-mm: stopped', file=sys.stderr)
        code = 130
    except BrokenPipeError:  # as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again on exit
        code = 128 + signal.SIGPIPE
    return code


def _command(argv: list[str]) -> int:
    args = _parse(argv)
    return _import(args.command).main(args) or 0


def parse_without_torch(argv: Sequence[str]) -> None:
    """Ends the program for ``--help`` and wrong options of all commands but those whose modules add their options."""
    if not set(argv[:1]) & set(_ADD_THEIR_OWN):
        _parse(argv)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='sapiens-mm', description='Predicts keypoints, body parts, depth and normals of people.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, (_, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == 'run':
            _add_run_arguments(command)
        elif name == 'convert':
            _add_convert_arguments(command)
        elif name == 'smooth':
            _add_smooth_arguments(command)
        elif name in _ADD_THEIR_OWN and argv[:1] == [name]:
            _import(name).add_arguments(command)
    args = parser.parse_args(argv)
    problems = []
    if args.command == 'run':
        problems = _run_problems(args, commands.choices['run'].get_default)
    elif args.command == 'convert':
        problems = _convert_problems(args)
    if problems:
        parser.exit(2, ''.join(f'sapiens-mm: {problem}\n' for problem in problems))
    return args


def _import(command: str):
    """Imports the module of a command. Ctrl-C ends the process, since some modules swallow KeyboardInterrupt."""
    before = end_at_ctrl_c()
    try:
        return importlib.import_module(f'sapiens_mm.apis.{_COMMANDS[command][0]}')
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def end_at_ctrl_c():
    """Makes Ctrl-C end the process at once; returns the previous handler, or None if that was not the default one."""
    def end(*_) -> None:
        os.write(2, b'sapiens-mm: stopped\n')
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGINT, end)


def _checked(convert: Callable, is_valid: Callable, expected: str) -> Callable:
    """Returns a function for ``type`` of an option, whose error argparse puts behind the option's name."""
    def value(text: str):
        try:
            value = convert(text)
            if is_valid(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"got '{text}', expected {expected}")
    return value


_count = _checked(int, lambda number: number >= 1, 'an integer of at least 1')
_fraction = _checked(float, lambda number: 0 <= number <= 1, 'a number from 0 to 1')
_seconds = _checked(float, lambda number: 0 < number < threading.TIMEOUT_MAX, 'a number of seconds above 0')
_positive = _checked(float, lambda number: 0 < number < float('inf'), 'a number above 0')
_not_negative = _checked(float, lambda number: 0 <= number < float('inf'), 'a number of at least 0')
_file = _checked(str, lambda path: os.path.exists(path) and not os.path.isdir(path), 'an existing file')


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if not match or not int(match[1]) < int(match[2]):
        raise argparse.ArgumentTypeError(f"got '{text}', expected I/N with 0 <= I < N, such as 0/4")
    return int(match[1]), int(match[2])


def _layers(text: str) -> list[int]:
    if not re.fullmatch(r'-?\d+(,-?\d+)*', text):
        raise argparse.ArgumentTypeError(f"got '{text}', expected numbers separated by commas, such as 11,-1")
    return [int(number) for number in text.split(',')]


def _names(pattern: str, expected: str) -> Callable:
    return _checked(lambda text: [name.strip() for name in text.split(',') if name.strip()],
                    lambda names: names and all(re.fullmatch(pattern, name) for name in names),
                    f'some of {expected}, separated by commas')


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add, kinds = parser.add_argument, ', '.join(_known.KINDS)
    add('inputs', nargs='+', metavar='INPUT', help='image, video, folder, pattern, tar file of images, URL or '
        'camera number')
    add('--out', default='sapiens_out', help='output folder (%(default)s)')
    add('--tasks', type=_names(_TASKS, ', '.join(['pose-<keypoints>', *_DENSE_TASKS])), help='comma-separated: one of '
        'pose-308, pose-133, pose-17, and seg, depth, normal, foreground (1b only); by default all tasks of the models '
        'but foreground')
    add('--mask', choices=_tasks.MASKING, help='task whose prediction bounds depth and normals; it is run, too; by '
        'default the first of these among the tasks')
    add('--size', default='1b', choices=_known.SIZES, help='size of the models; tiny is embedded (%(default)s)')
    add('--config', type=_file, action='append', default=[], help='config of your own model, for a --checkpoint; '
        'repeatable')
    add('--checkpoint', action='append', default=[], help='weights to use instead of released ones; repeatable')
    add('--device', help='such as cuda:0 or cpu; by default the GPU')
    add('--devices', type=_names(r'.+', 'names of devices, or all'), help='comma-separated: a process on each of '
        'these, such as cuda:0,cuda:1 or cpu,cpu; all is every GPU')
    add('--shard', type=_shard, metavar='I/N', help='run on every N-th input from the I-th (from 0), with other shards '
        'into one folder')
    add('--dtype', choices=('fp32', 'bf16', 'fp16'), help="by default the device's fastest")
    add('--compile', action='store_true', help='compile the models; the first batches are slow')
    add('--runtime', default='torch', choices=('torch', 'openvino', 'auto'), help='what runs the models; openvino, on '
        'the CPU, converts them at the first start; auto is openvino where it is installed (%(default)s)')
    add('--batch-size', type=_count, default=4, help='people in a batch (%(default)s)')
    add('--flip-test', action='store_true', help='average with the mirror image, at twice the time; published results '
        'of keypoints use it, those of segmentation, depth and normals do not')
    add('--detector', default='auto', help='rtmdet-m, parts (foreground regions of the segmentation), none (the whole '
        'frame is one person), or a config of mmdet; auto is parts with --size tiny, else rtmdet-m (%(default)s)')
    add('--detector-checkpoint', help='weights of the detector')
    add('--boxes', type=_file, help='JSON with boxes of people, used instead of a detector; all are used in their '
        'order')
    add('--score-threshold', type=_fraction, help='minimum score of a person (0.3; with --boxes no minimum)')
    add('--nms-threshold', type=_fraction, help='of boxes that overlap by more than this IoU only the best is kept '
        '(0.65; with --boxes all are kept)')
    add('--max-persons', type=_count, help='maximum number of people in a frame, best scores first')
    add('--per-person', action='store_true', help="run segmentation, depth and normals on each person's crop instead "
        'of the whole frame')
    _add_video_arguments(parser)
    add('--save', type=_names('|'.join(_known.KINDS), kinds), help=f'comma-separated: {kinds}; by '
        'default json, overlay and sheet of images, json and video of videos and cameras; tasks whose results are not '
        'kept are skipped')
    add('--features-of', default='frame', choices=('frame', 'person'), help='with --save features, of whole frames or '
        "of each person's crop (%(default)s)")
    add('--features-pool', choices=('mean', 'mask'), help='save vectors instead of maps: the mean, or that over the '
        'pixels of people by the segmentation')
    add('--features-layers', type=_layers, default=[-1], metavar='N,...', help='blocks of the backbone, from 0 or '
        'negative from the end (-1)')
    _add_space_arguments(parser)
    add('--keypoint-format', default='model', choices=(*_known.KEYPOINT_FORMATS, *_known.OPENPOSE_FILES),
        help=f"keypoint set of the JSON files (%(default)s); {', '.join(_known.OPENPOSE_FILES)}: in "
        "OpenPose's layout, for the program")
    add('--keypoint-threshold', type=_fraction, default=.3, help='minimum score of drawn keypoints, and of those in '
        'coco.json and for ControlNet (%(default)s)')
    add('--resume', action='store_true', help='skip inputs whose results exist')
    add('--allow-urls', action='store_true', help='download inputs that are http(s) URLs, or addresses such as s3://')
    add('--url-timeout', type=_seconds, metavar='SECONDS', help='maximum time of a download (120)')
    add('--show', action='store_true', help='show results in a window')


def _add_video_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--track', action='store_true', help='track people in videos')
    add('--detect-every', type=_count, default=1, help='with --track, detect people in every n-th frame (%(default)s)')
    add('--smooth', choices=('one-euro', ), help='with --track, smooth the keypoints of videos')
    add('--smooth-min-cutoff', type=_positive, default=1., metavar='HZ', help='cutoff of a keypoint at rest; a lower '
        'one smooths more (%(default)s)')
    add('--smooth-beta', type=_not_negative, default=.05, metavar='BETA', help='growth of the cutoff, in Hz, with the '
        'speed in pixels per second; a higher one lags less (%(default)s)')
    add('--steady', action='store_true', help='fit the depth of each frame of a video to that of the frame before')


def _add_space_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--normal-convention', default=_known.NORMAL_CONVENTIONS[0], choices=_known.NORMAL_CONVENTIONS, help='with '
        '--save png or normal16, whether green is up (opengl) or down (directx) (%(default)s)')
    add('--focal', type=_positive, metavar='PIXELS', help='with --save ply or glb, the focal length; by default the '
        "image's longer side")
    add('--fov', type=_checked(float, lambda angle: 0 < angle < 180, 'degrees between 0 and 180'), metavar='DEGREES',
        help='instead, the field of view over the longer side')
    add('--depth-range', type=_positive, nargs=2, metavar=('NEAR', 'FAR'), help='with --save ply or glb, meters from '
        'the camera to the nearest and farthest points of people; by default the largest person measures 1.7 m')
    add('--reference', type=_checked(str, os.path.exists, 'an existing file or folder'), help='instead, true depth in '
        'meters, a .npy file or a folder of them by output names, to which depth is fitted on people')
    add('--alignment', default=_known.DEPTH_ALIGNMENTS[0], choices=_known.DEPTH_ALIGNMENTS, help='what is fitted: '
        'depth, or its inverse (%(default)s)')
    add('--per-frame-scale', action='store_true', help='with --save ply or glb, scale each frame of a video by itself '
        'instead of all by the median')


def _add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('source', type=_checked(str, os.path.exists, 'an existing file or folder'), metavar='SOURCE', help='folder of '
        'results of `sapiens-mm run`, or the file or folder of --from')
    add('--from', dest='source_format', default='results', choices=('results', *_known.LABEL_FORMATS),
        help='format of the source (%(default)s)')
    add('--to', dest='target_format', required=True, choices=(*_known.LABEL_FORMATS, 'parts'),
        help='format to write; parts: PNGs of class ids')
    add('--out', required=True, help='file to write, or new folder for yolo and parts')
    add('--split-parts', action='store_true', help='of cvat, write one skeleton each for body, face and hands')
    add('--image-root', help='of label-studio, what precedes file names in the URLs of images; of yolo, their folder')
    add('--keypoints', type=_file, metavar='FILE', help='names of your own keypoints: a config with metainfo, COCO '
        'annotations, or a JSON list')
    add('--keypoint-format', choices=_known.KEYPOINT_FORMATS, help='keypoint set to write ('
        'model, which keeps it; for cvat wholebody-133 instead of 308 keypoints)')
    add('--keypoint-threshold', type=_fraction, default=.3, help='minimum score of labeled keypoints (%(default)s)')
    add('--min-score', type=_fraction, default=0., help='minimum score of people (%(default)s)')


def _add_smooth_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('folder', type=_checked(str, os.path.isdir, 'a folder'), metavar='FOLDER', help='folder of JSON files of a '
        'video that was run with --track: OUT/clip.mp4.frames')
    add('--out', required=True, help='output folder')
    add('--cutoff', type=_positive, default=6., metavar='HZ', help='cutoff of the Butterworth filter, which runs '
        'forwards and backwards (%(default)s)')
    add('--order', type=_count, default=4, help='order of both passes together, even (%(default)s)')
    add('--rate', type=_positive, help="frames per second; by default that of the files' times")


def _convert_problems(args: argparse.Namespace) -> list[str]:
    problems = []
    if args.split_parts and args.target_format != 'cvat':
        problems.append(f'--split-parts: got --to {args.target_format}, expected cvat')
    if args.image_root and not {args.source_format, args.target_format} & set(_known.WITH_IMAGE_ROOT):
        problems.append(f'--image-root: got --from {args.source_format} --to {args.target_format}, expected '
                        f'{" or ".join(_known.WITH_IMAGE_ROOT)}')
    return problems


def _run_problems(args: argparse.Namespace, default: Callable) -> list[str]:
    """Returns what is wrong with the options of ``run`` together, and with the inputs if none can be read."""
    problems, tasks = _without_effect(args, default), args.tasks or ()
    poses = sorted({task for task in tasks if task.startswith('pose-')})
    if args.devices and (args.device or args.show):
        problems.append(f'--devices: got {",".join(args.devices)} with {"--device" if args.device else "--show"}, '
                        'expected one of them')
    if args.compile and args.runtime == 'openvino':
        problems.append(f'--compile: got it with --runtime {args.runtime}, expected --runtime torch; omit one of them')
    if args.config and len(args.config) != len(args.checkpoint):
        problems.append(f'--config, --checkpoint: got {len(args.config)} and {len(args.checkpoint)}, expected pairs, '
                        'or only checkpoints that contain their configs')
    if len(poses) > 1:
        problems.append(f'--tasks: got {", ".join(poses)}, expected at most one keypoint set')
    if tasks and not poses and args.keypoint_format != 'model':
        problems.append(f"--keypoint-format: got '{args.keypoint_format}' without a keypoint set in --tasks, expected "
                        'model; add a task such as pose-17')
    if tasks and not poses and args.save and set(args.save) <= {'json', 'coco', 'parquet', 'controlnet'} \
            and not args.show:
        problems.append(f'--save: got {", ".join(args.save)}, which does not keep {", ".join(tasks)}; add npz, png, '
                        'overlay or sheet')
    one_list = sorted({'coco', 'masks', 'parquet'} & set(args.save or ()))
    if one_list and args.keypoint_format in _known.OPENPOSE_FILES:
        problems.append(f'--save: got {", ".join(one_list)} with --keypoint-format {args.keypoint_format}, expected '
                        f'one of {", ".join(_known.KEYPOINT_FORMATS)}')
    problems += _space_problems(args)
    unusable = [_input_problem(entry, args.allow_urls) for entry in args.inputs]
    return problems or (unusable if all(unusable) else [])


def _space_problems(args: argparse.Namespace) -> list[str]:
    tasks = {_tasks.canonical_name(task) for task in args.tasks or ()}
    tasks |= {args.mask} - {None} if tasks else set()
    problems = [f'--save: got {kind} with --tasks {",".join(args.tasks)}, expected {" or ".join(names)} among them'
                for kind, needed in _known.NEEDED_TASKS.items() for names in needed
                if tasks and kind in (args.save or ()) and tasks.isdisjoint(names)]
    if args.focal is not None and args.fov is not None:
        problems.append(f'--focal, --fov: got {args.focal:g} and {args.fov:g}, expected at most one of them')
    if args.depth_range and args.reference:
        problems.append('--depth-range, --reference: got both, expected at most one of them')
    if args.depth_range and args.depth_range[0] >= args.depth_range[1]:
        problems.append('--depth-range: got {:g} and {:g}, expected the nearer one first'.format(*args.depth_range))
    return problems


def _without_effect(args: argparse.Namespace, default: Callable) -> list[str]:
    """Returns what is wrong with options that differ from their defaults, but have no effect beside the others."""
    save, tasks = set(args.save or ()), set(args.tasks or ())
    poses = {task for task in tasks if task.startswith('pose-')}
    limits = 'score_threshold', 'nms_threshold', 'max_persons'
    shown = {'coco', 'overlay', 'sheet', 'controlnet', 'video'}
    idle = [
        (not args.track, 'without --track', ('detect_every', 'smooth')),
        (not args.smooth, 'without --smooth', ('smooth_min_cutoff', 'smooth_beta')),
        ('features' not in save, 'without --save features', ('features_of', 'features_pool', 'features_layers')),
        (not {'png', 'normal16'} & save, 'without --save png or normal16', ('normal_convention', )),
        (not args.reference, 'without --reference', ('alignment', )),
        (not set(_known.SPACE_KINDS) & save, f'without --save {" or ".join(_known.SPACE_KINDS)}',
         ('focal', 'fov', 'depth_range', 'reference', 'alignment', 'per_frame_scale')),
        (not args.allow_urls, 'without --allow-urls', ('url_timeout', )),
        (args.checkpoint, 'with --checkpoint', ('size', )),
        (args.boxes, 'with --boxes', ('detector', 'detector_checkpoint')),
        (args.detector in ('none', 'parts'), f'with --detector {args.detector}', ('detector_checkpoint', )),
        (args.detector == 'none' and not args.boxes, 'with --detector none', limits),
        (tasks and not poses and not args.per_person and args.detector != 'none',
         'without --per-person or a keypoint set in --tasks', ('detector', 'detector_checkpoint')),
        (tasks and tasks == poses, 'without seg, depth, normal or foreground in --tasks', ('per_person', )),
        (tasks and not tasks & {'depth', 'normal'}, 'without depth or normal in --tasks', ('mask', )),
        (tasks and 'depth' not in tasks, 'without depth in --tasks', ('steady', )),
        (save and not (save & shown or args.keypoint_format == 'controlnet' or args.show),
         f'with --save {",".join(sorted(save))}', ('keypoint_threshold', )),
    ]
    problems = {name: (getattr(args, name), why) for is_idle, why, names in idle if is_idle for name in names
                if getattr(args, name) != default(name)}
    return [f'--{name.replace("_", "-")}: got {"it" if value is True else value} {why}, where it has no effect; omit it'
            for name, (value, why) in problems.items()]


def _input_problem(entry: str, allow_urls: bool) -> str:
    if re.match('[a-z][a-z0-9+.-]*://', entry.lower()):
        return '' if allow_urls else f'input: got the URL {entry}, expected a file; to download it, add --allow-urls'
    braces = '{' in entry and entry.endswith('.tar')
    if entry.isdecimal() or glob.has_magic(entry) or braces or os.path.exists(entry):
        return ''
    return (f"input: got '{entry}', which does not exist, expected an image, video, folder, pattern or camera number; "
            'check the path')
