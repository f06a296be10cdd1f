"""``sapiens-mm app``: a page in the browser, from an image, webcam or short video to pictures and files.

Everything stays on this machine: the page is served to it alone unless told otherwise, and fetches nothing from others.
"""
import argparse
import html
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..backbones.model_zoo import RELEASED
from ..engine.checkpoint import CheckpointError
from ..engine.fetch import is_cached
from .clients import REFUSED, Clients, Gate, client_of
from .inferencer import SapiensInferencer
from .models import SIZES, TASKS, embedded_tasks, pair_weights
from .persons import DETECTORS, Finder
from .reading import IMAGES, InputError, Source, file_source, find_sources, pixels_of
from .result import Result
from .writing import KINDS, ResultWriter

#: What is caught and said in a line; the messages of all of them are written for users.
_EXPECTED = (CheckpointError, ImportError, OSError, ValueError)
_PICTURES = dict(overlay='Overlay', pose='Pose', parts='Parts', depth='Depth', normals='Normals', sheet='Sheet')
_LARGEST_SHOWN = 1600  # pixels; the files have all of them
_LEAST_SCORE = .05  # that the sliders go down to
_CSS = """
.legend span { display: inline-flex; align-items: center; margin: 0 1.2em .3em 0; }
.legend i { width: 1em; height: 1em; margin-right: .4em; border-radius: 3px; }
"""


@dataclass
class Outcome:
    """What a run puts on the page.

    Attributes:
        summary: A line.
        pictures: Those of `_PICTURES` that there are, (H, W, 3) uint8 RGB.
        legend: Names and RGB colours of the parts that are seen.
        json: What :meth:`Result.to_json` gives.
        archive: The zip.
        video: Overlays of a video, if they were asked for.
        folder: What the two lie in, where no other folder was given; it goes with this.
    """
    summary: str
    pictures: dict[str, np.ndarray]
    legend: list[tuple[str, Sequence[int]]]
    json: dict
    archive: str
    video: str | None = None
    folder: tempfile.TemporaryDirectory | None = None


class App:
    """Runs models for the page: loaded when they are first asked for, kept for everyone, one run at a time.

    Args:
        weights: In place of the released ones, as :class:`SapiensInferencer` takes them; they are loaded at once.
        device: Such as ``'cuda:0'``; by default a GPU if there is one.
        detector: What finds people: as :class:`SapiensInferencer` takes it. None: the whole frame is one person.
        max_pixels: Of an image or a frame.
        max_frames: Of a video.
        max_video_pixels: Of all frames of a video together.

    Raises:
        ValueError, CheckpointError, ImportError, OSError: The weights cannot be used.
    """

    def __init__(self, weights: list | None = None, device: str | None = None,
                 detector: str | tuple | Finder | None = 'auto', max_pixels: int = 40_000_000,
                 max_frames: int = 300, max_video_pixels: int = 1_000_000_000):
        self.weights, self.device, self.detector = weights, device, detector
        self.max_pixels, self.max_frames, self.max_video_pixels = max_pixels, max_frames, max_video_pixels
        self._loaded: tuple = ()
        self._inferencer: SapiensInferencer | None = None
        if weights:
            self._load('own', None, detector is None)

    def sizes(self) -> list[str]:
        """The models to choose from."""
        return ['own'] if self.weights else [size for size in SIZES if self.tasks(size)]

    def default_size(self) -> str:
        """The model to begin with: a released one whose weights are on this machine, 1b before others, else the
        smallest.
        """
        sizes = self.sizes()
        cached = [size for (size, zoo), file in RELEASED.items()
                  if size in sizes and zoo in TASKS.values() and is_cached(*file)]
        return '1b' if '1b' in cached else cached[-1] if cached else sizes[0]

    def tasks(self, size: str) -> list[str]:
        """What a model can do."""
        if self.weights:
            return list(self._inferencer.tasks)
        return list(embedded_tasks()) if size == 'tiny' else [task for task, zoo in TASKS.items()
                                                             if (size, zoo) in RELEASED]

    def run(self, path: str, size: str, tasks: Sequence[str], whole: bool = True, person_threshold: float = .3,
            keypoint_threshold: float = .3, kinds: Sequence[str] = (), progress=None,
            folder: str | os.PathLike | None = None) -> Outcome:
        """Runs models on an image or video.

        Args:
            path: Of the file; its last part is what it is called. It is no pattern, folder or number.
            size: One of :meth:`sizes`.
            tasks: Some of :meth:`tasks`.
            whole: The whole frame is one person, nobody is looked for.
            person_threshold: Least score of a person.
            keypoint_threshold: Least score of a keypoint that is drawn.
            kinds: What the zip holds beside JSON, of :data:`sapiens_mm.apis.writing.KINDS`.
            progress: Called with the number of frames that are done, and of all.
            folder: Where the zip and the video go; None: a temporary one.

        Raises:
            ValueError, CheckpointError, ImportError, OSError: The file or the models cannot be used; the message is
                for users.
        """
        if not tasks:
            raise ValueError('nothing is to be done; choose a task')
        start = time.perf_counter()
        try:
            source = file_source(path)
        except InputError as error:
            raise InputError(_without(str(error), os.path.dirname(path.rstrip('/')))) from error
        shown = Source(source.name, source.name, source.kind)  # no one needs to know where the server keeps it
        own = tempfile.TemporaryDirectory(prefix='sapiens_mm_') if folder is None else None
        with ExitStack() as undo:
            undo.callback(own.cleanup if own else lambda: None)
            try:
                frames = self._check(source)
                inferencer = self._load(size, tasks, whole)
                inferencer.score_threshold = person_threshold
                base = Path(own.name if own else folder, f'{source.name}.sapiens')
                with ResultWriter(base, kinds, threshold=keypoint_threshold) as writer:
                    writer.write_meta(inferencer.describe())
                    pixels = 0
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
                raise InputError(_without(str(error), os.path.dirname(source.path))) from error
            archive = shutil.make_archive(str(base), 'zip', base)
            video = base / f'{source.name}.overlay.mp4'
            video = shutil.move(video, base.parent) if video.exists() else None
            shutil.rmtree(base)
            undo.pop_all()
        return Outcome(
            _summary(middle, number + 1, time.perf_counter() - start), _pictures(middle, keypoint_threshold),
            middle.seen_parts(), middle.to_json(), archive, video, own)

    def _check(self, source: Source) -> int:
        """The number of frames of a source that is within the limits, as far as its header tells."""
        width, height, frames = pixels_of(source)
        self._check_limits(source, width, height, frames, width * height * frames)
        return frames

    def _check_limits(self, source: Source, width: int, height: int, frames: int, pixels: int) -> None:
        if width * height > self.max_pixels:
            raise InputError(f'{source.path}: it has {width} x {height} pixels, more than {self.max_pixels / 1e6:g} '
                             'million; take a smaller one, or start the page with a larger --max-pixels')
        if frames > self.max_frames:
            raise InputError(f'{source.path}: it has more than {self.max_frames} frames; cut it, or start the page '
                             'with a larger --max-frames')
        if source.kind == 'video' and pixels > self.max_video_pixels:
            raise InputError(f'{source.path}: its frames have {pixels / 1e6:.0f} million pixels together, more than '
                             f'{self.max_video_pixels / 1e6:g} million; cut it or make it smaller, or start the page '
                             'with a larger --max-video-pixels')

    def _load(self, size: str, tasks: Sequence[str] | None, whole: bool) -> SapiensInferencer:
        """The models for some tasks; None: for all, of own weights.

        Others that were loaded before stay, as far as they are of the same size.
        """
        if self.weights:
            wanted = None
        elif size == 'tiny':
            wanted = tuple(embedded_tasks())  # most of them share a backbone
        else:
            kept = self._loaded[1] if self._loaded[:1] == (size, ) else ()
            if any(task.startswith('pose') for task in tasks):
                kept = [task for task in kept if not task.startswith('pose')]
            wanted = tuple(task for task in TASKS if task in {*kept, *tasks})
        detector = None if whole else self.detector
        # A detector that is there is kept.
        if self._loaded[:2] != (size, wanted) or detector not in (None, self._loaded[2]):
            self._loaded, self._inferencer = (), None  # room for the next ones
            self._inferencer = SapiensInferencer(wanted, size, self.weights, self.device, detector=detector,
                                                 score_threshold=_LEAST_SCORE)
            self._inferencer.describe()  # which adds up the weights' hashes once
            self._loaded = size, wanted, detector
        return self._inferencer.only(self._inferencer.tasks if tasks is None else tasks, whole)


def _without(text: str, folder: str) -> str:
    """A text without a folder: no one needs to know where the server keeps files."""
    return text.replace(f'{folder.rstrip("/")}/', '') if folder else text


def _pictures(result: Result, threshold: float) -> dict[str, np.ndarray]:
    pictures = dict(overlay=result.draw(threshold))
    if result.keypoints is not None:
        pictures['pose'] = result.draw_skeletons(result.image, threshold)
    return {**pictures, **result.draw_maps(), 'sheet': result.sheet(threshold)}


def _summary(result: Result, frames: int, seconds: float) -> str:
    people = len(result.boxes)
    height, width = result.image.shape[:2]
    text = f'{people} {"person" if people == 1 else "people"}, {width} x {height} pixels, {seconds:.1f} s'
    return text if result.index is None else f'{frames} frames; pictures and JSON are of frame {result.index}: {text}'


def build_page(app: App, clients: Clients, examples: Sequence[str] = (), max_queue: int = 8,
               kinds: Sequence[str] = (), size: str | None = None):
    """The page, a ``gradio.Blocks``; :func:`launch_page` serves it.

    Args:
        app: What runs.
        clients: Who may name which file.
        examples: Paths of images to begin with.
        max_queue: At most so many runs wait.
        kinds: What the zip holds at first.
        size: The model to begin with; by default :meth:`App.default_size`.
    """
    import gradio as gr

    def run(image, video, kind, size, tasks, whole, person, keypoint, kinds, request: gr.Request,
            progress=gr.Progress()):  # noqa: B008  (how Gradio finds it)
        file, client = image if kind == 'image' else video, client_of(request.headers)
        if not file:
            raise gr.Error(f'There is no {kind}: drop one, or take it with the webcam.', print_exception=False)
        path = file.get('path') if isinstance(file, dict) else None
        if not clients.owns(client, path):
            raise gr.Error(REFUSED, print_exception=False)
        try:
            with clients.run(client, path) as folder:
                _check_choices(app, size, tasks, whole, person, keypoint, kinds)
                found = app.run(path, size, tasks, whole, person, keypoint, kinds,
                                lambda done: progress(done, unit='frames'), folder)
                pictures = {name: _save_picture(found.pictures[name], folder, name) if name in found.pictures else None
                            for name in _PICTURES}
        except _EXPECTED as error:
            text = _without(_without(str(error), os.path.dirname(path)), clients.folder)
            raise gr.Error(html.escape(text), print_exception=False) from error
        pictures['overlay'] = gr.Image(pictures['overlay'], visible=not found.video)
        legend = ''.join(f'<span><i style="background: rgb{tuple(map(int, color))}"></i>{html.escape(name)}</span>'
                         for name, color in found.legend)
        return (found.summary, *pictures.values(), gr.Video(found.video, visible=bool(found.video)), legend, found.json,
                gr.DownloadButton(value=found.archive, interactive=True),
                *(gr.Tab(interactive=name in found.pictures) for name in _PICTURES))

    def tasks_of(size: str):
        tasks = app.tasks(size) if size in app.sizes() else []
        poses = [task for task in tasks if task.startswith('pose')]
        return gr.CheckboxGroup(tasks, value=[task for task in tasks if task not in poses[1:]], label='Tasks')

    def picture(name: str):
        return gr.Image(show_label=False, format='jpeg', interactive=False, height=560, elem_id=name,
                        buttons=['download', 'fullscreen'])

    sizes, size = app.sizes(), size or app.default_size()
    with gr.Blocks(title='sapiens_mm', analytics_enabled=False) as page:
        gr.Markdown('# Sapiens\nKeypoints, body parts, depth and normals of people.')
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                kind = gr.State('image')
                with gr.Tab('Image') as image_tab:
                    image = gr.Image(show_label=False, sources=['upload', 'webcam', 'clipboard'], type='filepath',
                                     height=360, elem_id='image')
                    if examples:
                        gr.Examples([[path] for path in examples], image, label='Examples')
                with gr.Tab('Video') as video_tab:
                    video = gr.Video(show_label=False, sources=['upload', 'webcam'], height=360, elem_id='video')
                start = gr.Button('Run', variant='primary', elem_id='run')
                sizes = gr.Dropdown(sizes, value=size, label='Model', visible=not app.weights)
                tasks = tasks_of(size)
                whole = gr.Checkbox(app.detector is None, label='The whole image is one person: no detector',
                                    interactive=app.detector is not None)
                with gr.Accordion('Thresholds and files', open=False):
                    person = gr.Slider(_LEAST_SCORE, 1, .3, step=.05, label='Least score of a person')
                    keypoint = gr.Slider(0, 1, .3, step=.05, label='Least score of a keypoint that is drawn')
                    kinds = gr.CheckboxGroup([name for name in KINDS if name != 'json'], value=list(kinds),
                                             label='In the zip, beside JSON')
            with gr.Column(scale=3, min_width=320):
                pictures, tabs = [], []
                with gr.Tabs():
                    for name, title in _PICTURES.items():
                        with gr.Tab(title) as tab:
                            pictures.append(picture(name))
                            if name == 'overlay':
                                clip = gr.Video(show_label=False, visible=False, interactive=False, height=560,
                                                elem_id='clip')
                            if name == 'parts':
                                legend = gr.HTML(elem_classes='legend')
                        tabs.append(tab)
                    with gr.Tab('JSON'):
                        content = gr.JSON(show_label=False, max_height=560)
                summary = gr.Markdown(elem_id='summary')
                archive = gr.DownloadButton('Download all as zip', interactive=False, elem_id='zip')
        image_tab.select(lambda: 'image', None, kind, api_visibility='private', show_progress='hidden')
        video_tab.select(lambda: 'video', None, kind, api_visibility='private', show_progress='hidden')
        sizes.change(tasks_of, sizes, tasks, api_visibility='private', show_progress='hidden')
        # Gradio opens images before it hands them over, and what is wrong with one comes out as "Error": so unopened.
        start.click(run, [image, video, kind, sizes, tasks, whole, person, keypoint, kinds],
                    [summary, *pictures, clip, legend, content, archive, *tabs], preprocess=False, concurrency_limit=1,
                    api_visibility='private', show_progress_on=[pictures[0], summary])
    return page.queue(max_size=max_queue)


def launch_page(page, clients: Clients, max_upload: int, **options) -> None:
    """Serves a page such that requests reach no files but those of their client.

    Args:
        page: Of :func:`build_page`.
        clients: Those of the page.
        max_upload: Bytes of a file.
        **options: Of Gradio's ``launch``.
    """
    from starlette.middleware import Middleware
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
    """What the page may send for a component of which a value is chosen; None for others."""
    import gradio as gr
    if isinstance(component, gr.Dataset):
        return range(len(component.samples))
    return [value for _, value in component.choices] if isinstance(component, gr.Dropdown) else None


def _check_choices(app: App, size, tasks, whole, person, keypoint, kinds) -> None:
    """Raises a ValueError where a request has other values than the page can send."""
    numbers = all(isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 1
                  for value in (person, keypoint))
    if not (isinstance(size, str) and size in app.sizes() and isinstance(whole, bool) and numbers
            and all(isinstance(names, list) and all(isinstance(name, str) for name in names)
                    for names in (tasks, kinds)) and set(tasks) <= set(app.tasks(size)) and set(kinds) <= set(KINDS)):
        raise ValueError('got values that the page does not offer; reload it')


def _save_picture(picture: np.ndarray, folder: str, name: str) -> str:
    """The path of a picture as JPEG, at a size that is shown."""
    scale = _LARGEST_SHOWN / max(picture.shape)
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    path = os.path.join(folder, f'{name}.jpeg')
    Image.fromarray(picture).save(path, 'JPEG', quality=92)
    return path


def find_examples(folder: str | None, number: int = 5) -> list[str]:
    """Images to begin with: the first ones of a folder, else synthetic people, drawn once into the user's cache.

    Raises:
        InputError: There is no image in the folder.
    """
    if folder is None:
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'sapiens_mm', 'examples')
        try:
            from ..synth.generate import Settings, generate
            print(f'examples: {number} pictures of synthetic people in {cache}, drawn when the page first starts')
            for _ in generate(cache, number, Settings(seed=6, size=(640, 480), samples=24, tasks=('pose', ))):
                pass
        except (ImportError, OSError, ValueError) as error:
            print(f'no examples: {error}')
            return []
        folder = cache / 'images'
    return [source.path for source in find_sources([folder]) if source.path.lower().endswith(IMAGES)][:number]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``sapiens-mm app``."""
    add = parser.add_argument
    add('--config', action='append', default=[], help='config of a model of your own, for a --checkpoint; repeatable')
    add('--checkpoint', action='append', default=[], help='weights in place of the released ones; repeatable')
    add('--device', help='such as cuda:0 or cpu; a GPU if there is one')
    add('--size', choices=SIZES, help='the model to begin with; if left out a released one whose weights are on this '
        'machine, else tiny')
    add('--detector', default='auto', choices=('auto', *DETECTORS, 'parts', 'none'), help='what finds people; none: '
        'the whole image is one person; parts: the regions of a map of body parts; auto is parts with the tiny model, '
        'else rtmdet-m (%(default)s)')
    add('--save', default='png,overlay,sheet,video', help='what the zip holds at first (%(default)s)')
    add('--examples', metavar='FOLDER', help='images to begin with, or none; synthetic people if left out')
    add('--host', default='127.0.0.1', help='address to serve at; 0.0.0.0 lets everyone in who reaches this machine '
        '(%(default)s)')
    add('--port', type=int, help='the first free one from 7860 on if left out')
    add('--max-upload', type=int, default=100, metavar='MB', help='of a file (%(default)s)')
    add('--max-pixels', type=int, default=40, metavar='MILLIONS', help='of an image or a frame (%(default)s)')
    add('--max-frames', type=int, default=300, help='of a video (%(default)s)')
    add('--max-video-pixels', type=int, default=1000, metavar='MILLIONS', help='of all frames of a video together '
        '(%(default)s)')
    add('--max-queue', type=int, default=8, help='runs that wait for others (%(default)s)')


def _made(folder: str | None) -> str | None:
    if folder:
        os.makedirs(folder, exist_ok=True)
    return folder or None


def _exit_on_signals() -> None:
    """Makes the signals that end a program raise SystemExit; one that is ignored (``nohup``) stays so."""
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
            raise ValueError('--size chooses a released model, and --checkpoint another; give one of them')
        kinds = [kind for kind in args.save.split(',') if kind not in ('', 'json')]
        ResultWriter('', kinds)  # which says what cannot be saved
        app = App(weights, args.device, None if args.detector == 'none' else args.detector,
                  args.max_pixels * 1_000_000, args.max_frames, args.max_video_pixels * 1_000_000)
        examples = find_examples(args.examples) if args.examples != 'none' else []
        _exit_on_signals()  # by which the folder is removed
        # Gradio keeps uploads here, by default where other programs keep theirs.
        with tempfile.TemporaryDirectory(prefix='sapiens_mm_', dir=_made(os.environ.get('GRADIO_TEMP_DIR'))) as folder:
            os.environ['GRADIO_TEMP_DIR'] = folder
            examples = [gradio.processing_utils.save_file_to_cache(path, folder) for path in examples]
            clients = Clients(folder, examples)
            page = build_page(app, clients, examples, args.max_queue, kinds, args.size)
            launch_page(page, clients, args.max_upload << 20, server_name=args.host, server_port=args.port,
                        theme=gradio.themes.Default(font='system-ui', font_mono='monospace'))
            print(f'the page is at {page.local_url}; Ctrl-C ends it', flush=True)
            with clients.expiring():
                page.block_thread()
    except _EXPECTED as error:
        print(f'sapiens-mm: {error}', file=sys.stderr)
        return 2
    return 0
