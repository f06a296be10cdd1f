"""Web page (``sapiens-mm app``) that runs models on images, webcam photos and short videos."""
import argparse
import html
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..engine.checkpoint import CheckpointError
from ..engine.fetch import is_cached
from ..names import FILE_KINDS, SIZES
from ..tasks import canonical_name, dense_tasks, is_pose
from ..utils.files import cache_folder
from ..utils.text import count, with_option
from .boxes import FindBoxes
from .clients import Clients, client_of
from .detector import DETECTORS
from .frames import InputError, Source, pixels_of
from .inferencer import SapiensInferencer
from .meta import write_meta
from .model_zoo import RELEASED, RELEASED_TASKS, embedded_tasks, released_tasks
from .models import pair_weights
from .result import Result
from .result_files import ResultFiles
from .sources import IMAGES, file_source, find_sources
from .writer import ResultWriter

# Errors whose messages are for users.
_EXPECTED = (CheckpointError, ImportError, OSError, ValueError)
_TABS = dict(overlay='Overlay', pose='Pose',
             **{task.result: task.label.noun.capitalize() for task in dense_tasks().values()}, sheet='Sheet')
_MAX_SHOWN = 1600  # pixels; saved files have full size
_MIN_SCORE = .05  # lower end of the slider
_CSS = """
.legend span { display: inline-flex; align-items: center; margin: 0 1.2em .3em 0; }
.legend i { width: 1em; height: 1em; margin-right: .4em; border-radius: 3px; }
"""


@dataclass
class Outcome:
    """Output of a run: images (H, W, 3) uint8 RGB by key of `_TABS`, and paths of the zip and the video (if any)."""
    summary: str
    images: dict[str, np.ndarray]
    legend: list[tuple[str, Sequence[int]]]
    json: dict
    archive: str
    video: str | None = None


class App:
    """Models of the page, loaded at their first use (``weights`` at once) and shared by all clients.

    Without a ``detector`` the whole frame is one person; see :class:`SapiensInferencer`. ``max_pixels`` limits a frame,
    ``max_frames`` and ``max_video_pixels`` a video. Raises the errors of :func:`sapiens_mm.apis.models.load_models`
    for ``weights``.
    """

    def __init__(self, weights: list | None = None, device: str | None = None,
                 detector: str | tuple | FindBoxes | None = 'auto', max_pixels: int = 40_000_000,
                 max_frames: int = 300, max_video_pixels: int = 1_000_000_000):
        self.weights, self.device, self.detector = weights, device, detector
        self.max_pixels, self.max_frames, self.max_video_pixels = max_pixels, max_frames, max_video_pixels
        self._loaded: tuple = ()
        self._inferencer: SapiensInferencer | None = None
        if weights:
            self._load('own', None, detector is None)

    def sizes(self) -> list[str]:
        return ['own'] if self.weights else [size for size in SIZES if self.tasks(size)]

    def default_size(self) -> str:
        sizes = self.sizes()
        cached = [size for (size, task), file in RELEASED.items()
                  if size in sizes and task in RELEASED_TASKS and is_cached(*file)]
        return '1b' if '1b' in cached else cached[-1] if cached else sizes[0]

    def tasks(self, size: str) -> list[str]:
        if self.weights:
            return list(self._inferencer.tasks)
        return released_tasks(size)

    def run(self, path: str, folder: str | os.PathLike, size: str, tasks: Sequence[str], whole: bool = True,
            person_threshold: float = .3, keypoint_threshold: float = .3, kinds: Sequence[str] = (), progress=None
            ) -> Outcome:
        """Runs models on an image or video; results get the base name of its path.

        Args:
            path: A file, not a pattern, folder or number.
            folder: An existing folder for the zip and the video.
            whole: Whether the whole frame is one person, without a detector.
            person_threshold, keypoint_threshold: Minimum scores of a person and of a drawn keypoint, 0 to 1.
            kinds: Content of the zip besides JSON, see :data:`sapiens_mm.names.FILE_KINDS`.
            progress: Called with a pair, the numbers of finished frames and of all.

        Raises:
            InputError: The file cannot be read, or exceeds a limit of the page.
            ValueError: ``tasks`` is empty, or a task or kind is unknown.
            OSError: A result cannot be written.
            CheckpointError, ImportError: As for :class:`SapiensInferencer`.
        """
        tasks = [canonical_name(task) for task in tasks]
        if not tasks:
            raise ValueError('tasks: got none, expected at least one; choose a task')
        start, pixels = time.perf_counter(), 0
        try:
            source = file_source(path)
            shown = Source(source.name, source.name, source.kind)  # hides the server's folder
            frames = self._check(source)
            inferencer = self._load(size, tasks, whole)
            inferencer.score_threshold = person_threshold
            base = Path(folder, f'{source.name}.sapiens')
            with ResultWriter(base, kinds, threshold=keypoint_threshold) as writer:
                write_meta(writer.meta_path, inferencer.describe())
                for number, result in enumerate(inferencer.stream(source)):
                    pixels += result.image.shape[0] * result.image.shape[1]
                    self._check_limits(source, *result.image.shape[1::-1], number + 1, pixels)
                    result.source = shown
                    writer.write(result)
                    if number <= frames // 2:
                        middle = result
                    if progress is not None:
                        progress((number + 1, max(frames, number + 1)))
        except InputError as error:
            raise InputError(_without(str(error), os.path.dirname(path.rstrip('/')))) from error
        archive = shutil.make_archive(str(base), 'zip', base)
        video = base / f'{source.name}.overlay.mp4'
        video = shutil.move(video, folder) if video.exists() else None
        shutil.rmtree(base)
        return Outcome(
            _summary(middle, number + 1, time.perf_counter() - start), _draw(middle, keypoint_threshold),
            middle.seen_parts(), middle.to_json(), archive, video)

    def _check(self, source: Source) -> int:
        width, height, frames = pixels_of(source)
        self._check_limits(source, width, height, frames, width * height * frames)
        return frames

    def _check_limits(self, source: Source, width: int, height: int, frames: int, pixels: int) -> None:
        if width * height > self.max_pixels:
            raise InputError(f'{source.path}: got {width} x {height} pixels, more than {self.max_pixels / 1e6:g} '
                             'million; use a smaller image, or start the page with a larger --max-pixels')
        if frames > self.max_frames:
            raise InputError(f'{source.path}: got more than {self.max_frames} frames; trim it, or start the page '
                             'with a larger --max-frames')
        if source.kind == 'video' and pixels > self.max_video_pixels:
            raise InputError(f'{source.path}: got {pixels / 1e6:.0f} million pixels together in its frames, more '
                             f'than {self.max_video_pixels / 1e6:g} million; trim or shrink it, or start the page with '
                             'a larger --max-video-pixels')

    def _load(self, size: str, tasks: Sequence[str] | None, whole: bool) -> SapiensInferencer:
        """Returns an inferencer for tasks (None: all of ``weights``); loaded models of the same size are kept."""
        if self.weights:
            loading = None
        elif size == 'tiny':
            loading = tuple(embedded_tasks())  # most of them share a backbone
        else:
            kept = self._loaded[1] if self._loaded[:1] == (size, ) else ()
            if any(map(is_pose, tasks)):
                kept = [task for task in kept if not is_pose(task)]
            loading = tuple(task for task in RELEASED_TASKS if task in {*kept, *tasks})
        detector = None if whole else self.detector
        # A loaded detector stays.
        if self._loaded[:2] != (size, loading) or detector not in (None, self._loaded[2]):
            self._loaded, self._inferencer = (), None  # frees memory for the next models
            self._inferencer = SapiensInferencer(loading, size, self.weights, self.device, detector=detector,
                                                 score_threshold=_MIN_SCORE)
            self._inferencer.describe()  # hashes the weights once
            self._loaded = size, loading, detector
        return self._inferencer.only(self._inferencer.tasks if tasks is None else tasks, whole)


def _without(text: str, folder: str) -> str:
    return text.replace(f'{folder.rstrip("/")}/', '') if folder else text


def _draw(result: Result, threshold: float) -> dict[str, np.ndarray]:
    images = dict(overlay=result.draw(threshold))
    if result.keypoints is not None:
        images['pose'] = result.draw_skeletons(result.image, threshold)
    return {**images, **result.draw_maps(), 'sheet': result.sheet(threshold)}


def _summary(result: Result, frames: int, seconds: float) -> str:
    height, width = result.image.shape[:2]
    text = f'{count(len(result.boxes), "person", "people")}, {width} x {height} pixels, {seconds:.1f} s'
    return text if result.index is None else f'{frames} frames; images and JSON show frame {result.index}: {text}'


def build_page(app: App, clients: Clients, examples: Sequence[str] = (), max_queue: int = 8,
               kinds: Sequence[str] = (), size: str | None = None):
    """Builds the page, a ``gradio.Blocks``, for :func:`launch_page`; ``kinds`` and ``size`` are initial values."""
    import gradio as gr
    with gr.Blocks(title='sapiens_mm', analytics_enabled=False) as page:
        gr.Markdown('# Sapiens\nKeypoints, body parts, depth and normals of people.')
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs, start = _add_inputs(app, examples, kinds, size or app.default_size())
            with gr.Column(scale=3, min_width=320):
                outputs = _add_outputs()
        # Gradio's preprocessing opens images and reports a broken one as "Error" only.
        start.click(_runner(app, clients), inputs, outputs, preprocess=False, concurrency_limit=1,
                    api_visibility='private', show_progress_on=outputs[:2])
    return page.queue(max_size=max_queue)


def _add_inputs(app: App, examples: Sequence[str], kinds: Sequence[str], size: str) -> tuple[list, Any]:
    import gradio as gr
    quiet = dict(api_visibility='private', show_progress='hidden')

    def tasks_of(size: str):
        tasks = app.tasks(size) if size in app.sizes() else []
        poses = [task for task in tasks if is_pose(task)]
        chosen = [task for task in tasks if task not in (*poses[1:], 'foreground')]
        return gr.CheckboxGroup(tasks, value=chosen or tasks, label='Tasks')

    kind = gr.State('image')
    with gr.Tab('Image') as image_tab:
        image = gr.Image(show_label=False, sources=['upload', 'webcam', 'clipboard'], type='filepath', height=360,
                         elem_id='image')
        if examples:
            gr.Examples([[path] for path in examples], image, label='Examples')
    with gr.Tab('Video') as video_tab:
        video = gr.Video(show_label=False, sources=['upload', 'webcam'], height=360, elem_id='video')
    start = gr.Button('Run', variant='primary', elem_id='run')
    sizes = gr.Dropdown(app.sizes(), value=size, label='Model', visible=not app.weights)
    tasks = tasks_of(size)
    whole = gr.Checkbox(app.detector is None, label='The whole image is one person: no detector',
                        interactive=app.detector is not None)
    with gr.Accordion('Thresholds and files', open=False):
        person = gr.Slider(_MIN_SCORE, 1, .3, step=.05, label='Minimum score of a person')
        keypoint = gr.Slider(0, 1, .3, step=.05, label='Minimum score of a drawn keypoint')
        kinds = gr.CheckboxGroup([name for name in FILE_KINDS if name != 'json'], value=list(kinds),
                                 label='Content of the zip, besides JSON')
    image_tab.select(lambda: 'image', None, kind, **quiet)
    video_tab.select(lambda: 'video', None, kind, **quiet)
    sizes.change(tasks_of, sizes, tasks, **quiet)
    return [image, video, kind, sizes, tasks, whole, person, keypoint, kinds], start


def _add_outputs() -> list:
    import gradio as gr
    images, tabs = [], []
    with gr.Tabs():
        for name, title in _TABS.items():
            with gr.Tab(title) as tab:
                images.append(gr.Image(show_label=False, format='jpeg', interactive=False, height=560, elem_id=name,
                                       buttons=['download', 'fullscreen']))
                if name == 'overlay':
                    clip = gr.Video(show_label=False, visible=False, interactive=False, height=560, elem_id='clip')
                if name == 'parts':
                    legend = gr.HTML(elem_classes='legend')
            tabs.append(tab)
        with gr.Tab('JSON'):
            content = gr.JSON(show_label=False, max_height=560)
    summary = gr.Markdown(elem_id='summary')
    archive = gr.DownloadButton('Download all as zip', interactive=False, elem_id='zip')
    return [summary, *images, clip, legend, content, archive, *tabs]


def _runner(app: App, clients: Clients) -> Callable:
    import gradio as gr

    from .gate import REFUSED

    def run(image, video, kind, size, tasks, whole, person, keypoint, kinds, request: gr.Request,
            progress=gr.Progress()):  # noqa: B008  (how Gradio finds it)
        file, client = image if kind == 'image' else video, client_of(request.headers)
        if not file:
            raise gr.Error(f'{kind}: got none; upload one, or use the webcam.', print_exception=False)
        path = file.get('path') if isinstance(file, dict) else None
        if not clients.owns(client, path):
            raise gr.Error(REFUSED, print_exception=False)
        try:
            with clients.run(client, path) as folder:
                _check_choices(app, size, tasks, whole, person, keypoint, kinds)
                outcome = app.run(path, folder, size, tasks, whole, person, keypoint, kinds,
                                  lambda done: progress(done, unit='frames'))
                images = {name: _save_image(outcome.images[name], folder, name) if name in outcome.images else None
                          for name in _TABS}
        except _EXPECTED as error:
            text = _without(_without(str(error), os.path.dirname(path)), clients.folder)
            raise gr.Error(html.escape(text), print_exception=False) from error
        images['overlay'] = gr.Image(images['overlay'], visible=not outcome.video)
        legend = ''.join(f'<span><i style="background: rgb{tuple(map(int, color))}"></i>{html.escape(name)}</span>'
                         for name, color in outcome.legend)
        return (outcome.summary, *images.values(), gr.Video(outcome.video, visible=bool(outcome.video)), legend,
                outcome.json, gr.DownloadButton(value=outcome.archive, interactive=True),
                *(gr.Tab(interactive=name in outcome.images) for name in _TABS))

    return run


def launch_page(page, clients: Clients, max_upload: int, **options) -> None:
    """Serves a page behind a :class:`~.gate.Gate`; ``max_upload`` in bytes, ``options`` go to Gradio's ``launch``."""
    from starlette.middleware import Middleware

    from .gate import Gate
    number = next(number for number, function in page.fns.items() if function.name == 'run')
    queue = page._queue

    def waiting() -> list[tuple[str | None, list[str]]]:
        events = [event for of_function in list(queue.event_queue_per_concurrency_id.values())
                  for event in list(of_function.queue) if event.fn.name == 'run']
        return [(client_of(event.request.headers), [
            file['path'] for file in event.data.data[:2] if file]) for event in events]

    clients.waiting = waiting
    gate = Middleware(Gate, clients=clients, run_index=number, max_upload=max_upload,
                      inputs={number: [None if function.name == 'run' else _values_of(component)
                              for component in function.inputs] for number, function in page.fns.items()},
                      max_waiting=max(1, queue.max_size // 2))
    page.launch(share=False, footer_links=[], run_history=False, ssr_mode=False, css=_CSS, quiet=True,
                prevent_thread_lock=True, app_kwargs=dict(middleware=[gate]), **options)


def _values_of(component) -> Sequence | None:
    import gradio as gr
    if isinstance(component, gr.Dataset):
        return range(len(component.samples))
    return [value for _, value in component.choices] if isinstance(component, gr.Dropdown) else None


def _check_choices(app: App, size, tasks, whole, person, keypoint, kinds) -> None:
    numbers = all(isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 1
                  for value in (person, keypoint))
    if not (isinstance(size, str) and size in app.sizes() and isinstance(whole, bool) and numbers
            and all(isinstance(names, list) and all(isinstance(name, str) for name in names)
                    for names in (tasks, kinds))
            and set(tasks) <= set(app.tasks(size)) and set(kinds) <= set(FILE_KINDS)):
        raise ValueError('got values that the page does not offer; reload it')


def _save_image(image: np.ndarray, folder: str, name: str) -> str:
    image = Image.fromarray(image)
    image.thumbnail((_MAX_SHOWN, _MAX_SHOWN), Image.Resampling.BOX)
    path = os.path.join(folder, f'{name}.jpeg')
    image.save(path, 'JPEG', quality=92)
    return path


def find_examples(folder: str | None, number: int = 5) -> list[str]:
    """Returns the images of a folder (InputError without any), by default synthetic people, which are cached."""
    if folder is None:
        cache = cache_folder('examples')
        try:
            from ..synth.generate import Settings, generate
            print(f'examples: {number} images of synthetic people in {cache}, drawn at the first start')
            for _ in generate(cache, number, Settings(seed=6, size=(640, 480), samples=24, tasks=('pose', ))):
                pass
        except (ImportError, OSError, ValueError) as error:
            print(f'no examples: {error}')
            return []
        folder = cache / 'images'
    return [source.path for source in find_sources([folder]) if source.path.lower().endswith(IMAGES)][:number]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--config', action='append', default=[], help='config of your own model, for a --checkpoint; repeatable')
    add('--checkpoint', action='append', default=[], help='weights in place of the released ones; repeatable')
    add('--device', help='such as cuda:0 or cpu (default: a GPU if available)')
    add('--size', choices=SIZES, help='initial model (default: a released one whose weights are on this machine, '
        'else tiny)')
    add('--detector', default='auto', choices=('auto', *DETECTORS, 'parts', 'none'), help='person detector; '
        'none: the whole image is one person; parts: connected regions of the segmentation; auto: parts with the tiny '
        'model, else rtmdet-m (%(default)s)')
    add('--save', default='png,overlay,sheet,video', help='initial content of the zip (%(default)s)')
    add('--examples', metavar='FOLDER', help='folder of example images, or none (default: synthetic people)')
    add('--host', default='127.0.0.1', help='address to serve at; 0.0.0.0 admits everyone who can reach this machine '
        '(%(default)s)')
    add('--port', type=int, help='port (default: the first free one from 7860)')
    add('--max-upload', type=int, default=100, metavar='MB', help='limit for a file (%(default)s)')
    add('--max-pixels', type=int, default=40, metavar='MILLIONS', help='limit for an image or a frame (%(default)s)')
    add('--max-frames', type=int, default=300, help='limit for a video (%(default)s)')
    add('--max-video-pixels', type=int, default=1000, metavar='MILLIONS', help='limit for all frames of a '
        'video together (%(default)s)')
    add('--max-queue', type=int, default=8, help='limit of queued runs (%(default)s)')


def _exit_on_signals() -> None:
    """Makes terminating signals raise SystemExit, unless they are ignored (``nohup``)."""
    for name in ('SIGTERM', 'SIGHUP'):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def main(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C; returns 0, or 2 for wrong arguments."""
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read when it is imported
    try:
        import gradio
    except ImportError as error:
        print(f"sapiens-mm: the page needs Gradio ({error}): pip install 'sapiens_mm[app]'", file=sys.stderr)
        return 2
    try:
        weights = pair_weights(args.config, args.checkpoint)
        if weights and args.size:
            raise ValueError('--size and --checkpoint: got both, expected one of them; --size chooses a released model')
        kinds = [kind for kind in args.save.split(',') if kind not in ('', 'json')]
        ResultFiles('', kinds)  # checks them
        app = App(weights, args.device, None if args.detector == 'none' else args.detector,
                  args.max_pixels * 1_000_000, args.max_frames, args.max_video_pixels * 1_000_000)
        examples = find_examples(args.examples) if args.examples != 'none' else []
        _exit_on_signals()  # so that the folder is removed
        # Gradio keeps uploads here; its default folder is shared with other programs.
        if parent := os.environ.get('GRADIO_TEMP_DIR') or None:
            os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='sapiens_mm_', dir=parent) as folder:
            os.environ['GRADIO_TEMP_DIR'] = folder
            examples = [gradio.processing_utils.save_file_to_cache(path, folder) for path in examples]
            clients = Clients(folder, examples)
            page = build_page(app, clients, examples, args.max_queue, kinds, args.size)
            launch_page(page, clients, args.max_upload << 20, server_name=args.host, server_port=args.port,
                        theme=gradio.themes.Default(font='system-ui', font_mono='monospace'))
            print(f'the page is at {page.local_url}; press Ctrl-C to stop it', flush=True)
            with clients.expiring():
                page.block_thread()
    except _EXPECTED as error:
        print(f'sapiens-mm: {with_option(error, vars(args))}', file=sys.stderr)
        return 2
    return 0
