"""``sapiens-mm``, the command line: parses arguments and imports only the modules that a command needs.

It is a module outside the package, since importing the package loads torch, and ``--help`` must not wait for that.
"""
import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence

#: Command -> its module in `sapiens_mm.apis`, which has ``main(args)``, and its help.
_COMMANDS = {
    'run': ('run', 'run models on images, folders, videos and cameras'),
    'models': ('model_zoo', 'list available models'),
    'doctor': ('doctor', 'check the environment'),
    'app': ('app', 'serve a web page that runs models on images, webcam photos and short videos'),
    'export': ('export', 'export a model to ONNX or torch.export and compare it with the original'),
}
#: Commands whose modules have ``add_arguments(parser)``.
_ADD_THEIR_OWN = ('app', 'export')


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
    parser = argparse.ArgumentParser(
        prog='sapiens-mm', description='Predicts keypoints, body parts, depth and normals of people.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, (_, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == 'run':
            _add_run_arguments(command)
        elif name in _ADD_THEIR_OWN and argv[:1] == [name]:
            _import(name).add_arguments(command)
    args = parser.parse_args(argv)
    return _import(args.command).main(args) or 0


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


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('inputs', nargs='+', metavar='INPUT', help='image, video, folder, pattern, URL or camera number')
    add('--out', default='sapiens_out', help='output folder (%(default)s)')
    add('--tasks', type=_names, help='comma-separated: one of pose-308, pose-133, pose-17, and seg, depth, normal; by '
        'default all tasks of the models')
    add('--size', default='1b', choices=('tiny', '0.3b', '0.6b', '1b', '2b'), help='size of the released models; tiny '
        'is embedded in the package (%(default)s)')
    add('--config', action='append', default=[], help='config of your own model, for a --checkpoint; repeatable')
    add('--checkpoint', action='append', default=[], help='weights to use instead of released ones; repeatable')
    add('--device', help='such as cuda:0 or cpu; by default the GPU')
    add('--dtype', choices=('fp32', 'bf16', 'fp16'), help="by default the device's fastest")
    add('--compile', action='store_true', help='compile the models; the first batches are slow')
    add('--batch-size', type=int, default=4, help='people in a batch (%(default)s)')
    add('--flip-test', action='store_true', help='average with the mirror image, at twice the time; published results '
        'of keypoints use it, those of segmentation, depth and normals do not')
    add('--detector', default='auto', help='rtmdet-m, parts (foreground regions of the segmentation), none (the whole '
        'frame is one person), or a config of mmdet; auto is parts with --size tiny, else rtmdet-m (%(default)s)')
    add('--detector-checkpoint', help='weights of the detector')
    add('--boxes', help='JSON with boxes of people, used instead of a detector; all are used in their order')
    add('--score-threshold', type=float, help='minimum score of a person (0.3; with --boxes no minimum)')
    add('--nms-threshold', type=float, help='of boxes that overlap by more than this IoU only the best is kept (0.65; '
        'with --boxes all are kept)')
    add('--max-persons', type=int, help='maximum number of people in a frame, best scores first')
    add('--per-person', action='store_true', help="run segmentation, depth and normals on each person's crop instead "
        'of the whole frame')
    add('--track', action='store_true', help='track people in videos')
    add('--detect-every', type=int, default=1, help='with --track, detect people in every n-th frame (%(default)s)')
    add('--save', type=_names, help='comma-separated: json, npz, png, overlay, sheet, video; by default json, overlay '
        'and sheet of images, json and video of videos and cameras; tasks whose results are not kept are skipped')
    add('--keypoint-format', default='model', choices=('model', 'coco-17', 'wholebody-133', 'openpose'),
        help='keypoint set of the JSON files (%(default)s)')
    add('--keypoint-threshold', type=float, default=.3, help='minimum score of drawn keypoints (%(default)s)')
    add('--resume', action='store_true', help='skip inputs whose results exist')
    add('--allow-urls', action='store_true', help='download inputs that are http(s) URLs')
    add('--url-timeout', type=float, metavar='SECONDS', help='maximum time of a download (120)')
    add('--show', action='store_true', help='show results in a window')


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(',') if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError('got no names, expected some separated by commas')
    return names
