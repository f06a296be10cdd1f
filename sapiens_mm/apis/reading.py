"""Images, folders, videos and cameras as one stream of frames."""
import glob
import hashlib
import json
import os
import os.path as osp
import threading
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps

IMAGES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif')
VIDEOS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.ts', '.mts', '.m2ts', '.3gp', '.wmv',
          '.flv', '.ogv')
#: Endings of what :class:`~sapiens_mm.apis.writing.ResultWriter` writes that are images or videos themselves.
WRITTEN = ('.overlay.jpg', '.sheet.jpg', '.parts.png', '.depth.png', '.normal.png', '.overlay.mp4')
#: While more bytes of images than these wait for the next step of the work, no other image is read or made.
ROOM = 2**27
_MAX_DOWNLOAD = 256 * 2**20
# Pillow warns from half as many pixels on, and refuses more than these. Its warning can be silenced for all threads
# only, so it is told to warn later, unless someone has told it other things; `read_image` refuses the same as before.
_MAX_PIXELS = 178_956_970
Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS and max(Image.MAX_IMAGE_PIXELS, _MAX_PIXELS)


class InputError(ValueError):
    """An input cannot be read; the message names it and says why."""


@dataclass
class Source:
    """An input.

    Attributes:
        path: File, address, or the number of a camera.
        name: What its outputs are called: its path below the folder that all inputs share, with slashes.
        kind: ``'image'``, ``'video'`` or ``'camera'``.
    """
    path: str
    name: str
    kind: str = 'image'


@dataclass
class Frame:
    """An image on its way through the models.

    Attributes:
        source: Where it comes from.
        image: (H, W, 3) uint8 RGB.
        index: Its number in a video or of a camera; None for an image.
        rate: Frames per second of the video.
        time: Seconds from its first frame; None where that is not known.
        boxes: (N, 5) float32, highest score first: x0, y0, x1, y1 in pixels and the score.
        track_ids: (N, ) int64.
        outputs: A network that people were found by, and what it put out of the whole image, by task; else None.
    """
    source: Source
    image: np.ndarray
    index: int | None = None
    rate: float = 0.
    time: float | None = None
    boxes: np.ndarray | None = None
    track_ids: np.ndarray | None = None
    outputs: tuple[Any, dict] | None = None


def find_sources(inputs: Sequence[str | os.PathLike], allow_urls: bool = False,
                 without: str | os.PathLike | None = None,
                 on_error: Callable[[str, InputError], None] | None = None) -> list[Source]:
    """Files, folders (with the folders in them), patterns, numbers of cameras and addresses as sources.

    Those of a folder or pattern are sorted by name, and what is no image or video by its suffix is left out, as are the
    pictures among the results of this package.

    Args:
        inputs: What there is to read.
        allow_urls: Whether ``http(s)://`` addresses may be among them.
        without: The folder of the results. Pictures there do not count as files of a folder or pattern, even where
            there is no ``meta.json`` yet.
        on_error: Called with an input that cannot be had and the reason; by default that is raised.

    Raises:
        InputError: There is no such input, a folder cannot be read, a folder or pattern has nothing in it, or addresses
            are not allowed.
    """
    files, others = [], []  # the former with the folder that their name is relative to
    for entry in map(os.fspath, inputs):
        try:
            if entry.startswith(('http://', 'https://')):
                others.append(_address(entry, allow_urls))
            elif entry.isdecimal() and not osp.exists(entry):
                others.append(Source(entry, f'camera{entry}', 'camera'))
            elif osp.isdir(entry):
                files += [(path, osp.abspath(entry)) for path in _known(_walk(entry), entry, without)]
            elif osp.isfile(entry):
                files.append((entry, osp.dirname(osp.abspath(entry))))
            elif glob.has_magic(entry):
                found = [path for path in glob.glob(entry, recursive=True) if osp.isfile(path)]
                files += [(path, osp.dirname(osp.abspath(path))) for path in _known(found, entry, without)]
            else:
                raise InputError(f"there is no '{entry}'; an input is an image, a video, a folder, a pattern or the "
                                 'number of a camera')
        except InputError as error:
            if on_error is None:
                raise
            on_error(entry, error)
    root = osp.commonpath([folder for _, folder in files]) if files else ''
    sources = [Source(path, osp.relpath(osp.abspath(path), root).replace(os.sep, '/'), _kind(path))
               for path, _ in files]
    return list({source.name: source for source in sources + others}.values())  # the same file twice is one


def _address(entry: str, allowed: bool) -> Source:
    if not allowed:
        raise InputError(f'{entry} is an address; to fetch it, add --allow-urls (allow_urls=True)')
    try:
        address = urllib.parse.urlsplit(entry)
    except ValueError as error:
        raise InputError(f'{entry} is no address: {error}') from error
    name = _safe(f'{address.netloc}{address.path}')
    if address.query:  # which may be all that tells two addresses apart, and too long for a file's name
        folder, slash, base = name.rpartition('/')
        name = f'{folder}{slash}{hashlib.sha256(address.query.encode()).hexdigest()[:8]}_{base}'
    return Source(entry, name, 'video' if address.path.lower().endswith(VIDEOS) else 'image')


def _walk(root: str) -> Iterator[str]:
    """The files below a folder, also by links, but of each folder once."""
    seen = set()
    for folder, folders, names in os.walk(root, onerror=_raise, followlinks=True):
        real = osp.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (osp.join(folder, name) for name in names)


def _raise(error: OSError) -> None:
    raise InputError(f"'{error.filename}' cannot be read: {error.strerror}") from error


def _known(paths: Iterable[str], entry: str, without: str | os.PathLike | None) -> list[str]:
    results = {osp.abspath(without): True} if without is not None else {}
    found = sorted(path for path in paths if path.lower().endswith(IMAGES + VIDEOS)
                   and not (path.endswith(WRITTEN) and _is_below_results(osp.dirname(osp.abspath(path)), results)))
    if not found:
        raise InputError(f"'{entry}' has no image ({', '.join(IMAGES)}) or video ({', '.join(VIDEOS)}) in it")
    return found


def _is_below_results(folder: str, known: dict[str, bool]) -> bool:
    """Whether a folder or one around it has results of ours; what is found goes into ``known``."""
    if folder not in known:
        parent = osp.dirname(folder)
        known[folder] = _has_results(folder) or (parent != folder and _is_below_results(parent, known))
    return known[folder]


def _has_results(folder: str) -> bool:
    try:
        with open(osp.join(folder, 'meta.json'), encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and 'sapiens_mm' in content


def _kind(path: str) -> str:
    """By the suffix of a file, or, where that is of neither kind, by what is in it."""
    name = path.lower()
    return 'video' if name.endswith(VIDEOS) or not name.endswith(IMAGES) and _holds_video(path) else 'image'


def _holds_video(path: str) -> bool:
    """Whether a file is a video, and no image."""
    try:
        import av
    except ImportError:
        return False
    try:
        with suppress(Image.UnidentifiedImageError), Image.open(path):
            return False
        with av.open(path) as container:
            return bool(container.streams.video)
    except (av.FFmpegError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _safe(name: str) -> str:
    return '/'.join(part for part in name.replace(':', '_').split('/') if part not in ('', '.', '..'))


def read_frames(source: Source) -> Iterator[Frame]:
    """The frames of a source; of an image one.

    Raises:
        InputError: It cannot be read.
    """
    if source.kind == 'camera':
        yield from _read_camera(source)
    elif source.kind == 'video':
        yield from _read_video(source)
    else:
        yield Frame(source, read_image(source.path))


def read_image(path: str) -> np.ndarray:
    """An image as people see it, (H, W, 3) uint8 RGB.

    It is turned as its camera says (EXIF). Grey becomes RGB, CMYK is converted, of 16 bits the upper 8 are taken, what
    is transparent lies on white, of an animation the first image is taken.

    Args:
        path: File or address.

    Raises:
        InputError: It is missing, damaged, truncated, too large or no image.
    """
    try:
        file = BytesIO(_download(path)) if path.startswith(('http://', 'https://')) else path
        with Image.open(file) as opened:
            if Image.MAX_IMAGE_PIXELS and opened.width * opened.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            ImageOps.exif_transpose(opened, in_place=True)
            return _to_rgb(opened)
    except FileNotFoundError as error:
        raise InputError(f'{path}: there is no such file') from error
    except Image.UnidentifiedImageError as error:
        size = osp.getsize(path) if osp.isfile(path) else None
        reason = 'the file is empty' if size == 0 else 'this is no image'
        if size and _holds_video(path):
            reason += ', but a video; give its name an ending of one, such as .mp4'
        raise InputError(f'{path}: {reason}') from error
    except Image.DecompressionBombError as error:  # of Pillow only from twice as many on
        raise InputError(f'{path}: it has more than {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels, the most that '
                         'are read; make it smaller') from error
    except (OSError, ValueError, SyntaxError, EOFError, HTTPException) as error:
        raise InputError(f'{path}: {_first_line(error)}') from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith('I'):
        return np.repeat((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        white.alpha_composite(image)
        image = white
    if image.mode == 'F':
        raise ValueError('its pixels are floating-point numbers; save it with 8 or 16 bits')
    return np.array(image if image.mode == 'RGB' else image.convert('RGB'))


def _download(address: str) -> bytes:
    address = urllib.parse.quote(address, safe=':/?#[]@!$&\'()*+,;=%~')
    request = urllib.request.Request(address, headers={'User-Agent': 'sapiens_mm'})
    with urllib.request.urlopen(request, timeout=30) as response:
        content = response.read(_MAX_DOWNLOAD + 1)
    if len(content) > _MAX_DOWNLOAD:
        raise ValueError(f'it is larger than {_MAX_DOWNLOAD >> 20} MB')
    return content


def _read_video(source: Source) -> Iterator[Frame]:
    try:
        import av
    except ImportError as error:
        raise InputError(f'{source.path}: videos are read by PyAV ({error}): pip install av') from error
    try:
        with av.open(source.path) as container:
            if not container.streams.video:
                raise InputError(f'{source.path}: there is no video in it')
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            rate, found, start = float(stream.average_rate or 25), 0, None
            for index, frame in enumerate(container.decode(stream)):
                image = frame.to_ndarray(format='rgb24')
                turns = round(getattr(frame, 'rotation', 0) / 90) % 4
                found, time = index + 1, frame.time
                start = time if start is None else start
                yield Frame(source, np.ascontiguousarray(np.rot90(image, turns)), index, rate,
                            None if time is None else time - start)
            if not found:
                raise InputError(f'{source.path}: no frame of it can be decoded; it is cut off, damaged or empty')
            # Not all frames of a video that was trimmed are to be shown, but they last as long as it says.
            end = stream.duration and float(stream.duration * stream.time_base)
            if found < .9 * stream.frames and end and time is not None and time < .9 * end:
                raise InputError(f'{source.path}: it broke off after {found} of about {stream.frames} frames; it is '
                                 'cut off or damaged')
    except av.InvalidDataError as error:
        raise InputError(f'{source.path}: this is no video, or it is cut off or damaged') from error
    except (av.FFmpegError, OSError) as error:
        raise InputError(f'{source.path}: {_first_line(error)}') from error


def _read_camera(source: Source) -> Iterator[Frame]:
    import cv2
    camera = cv2.VideoCapture(int(source.path))
    try:
        if not camera.isOpened():
            raise InputError(f'camera {source.path} cannot be opened; check its number, and that no one else uses it')
        rate, index = camera.get(cv2.CAP_PROP_FPS) or 25., 0
        while (read := camera.read())[0]:
            yield Frame(source, cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), index, rate)
            index += 1
    finally:
        camera.release()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def prefetch(items: Iterable, depth: int, size: Callable[[Any], int] = lambda item: 0) -> Iterator:
    """Runs an iterator in a thread, ahead of who takes the items.

    What it raises is raised here. When the taker stops early, the iterator is closed and the thread ends.

    Args:
        items: The iterator.
        depth: At most so many items wait to be taken.
        size: Bytes of an item. While more than `ROOM` of them wait, no other is made.
    """
    waiting: deque = deque()
    changed = threading.Condition()
    stopped = False

    def put(*entry) -> bool:
        with changed:
            waiting.append(entry)
            changed.notify_all()
            changed.wait_for(lambda: stopped or (len(waiting) < depth and sum(held for *_, held in waiting) <= ROOM))
            return not stopped

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item, None, size(item)):
                    break
            else:
                put(None, StopIteration(), 0)
        except BaseException as error:  # raised where the items are taken
            put(None, error, 0)
        finally:
            if hasattr(iterator, 'close'):
                iterator.close()

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()  # where Ctrl-C may come already
        while True:
            with changed:
                changed.wait_for(lambda: waiting)
                item, error, _ = waiting.popleft()
                changed.notify_all()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        with changed:
            stopped = True
            changed.notify_all()
        if thread.is_alive():
            thread.join()


def frames_of(sources: Iterable[Source], on_error: Callable[[Source, InputError], None] | None = None
              ) -> Iterator[Frame]:
    """The frames of sources, one after the other.

    Args:
        sources: The sources.
        on_error: Called with a source that cannot be read and the reason, after which the next one follows. None: that
            is raised.
    """
    for source in sources:
        try:
            yield from read_frames(source)
        except InputError as error:
            if on_error is None:
                raise
            on_error(source, error)


def frames_of_inputs(inputs, on_error: Callable[[Source, InputError], None] | None = None) -> Iterator[Frame]:
    """The frames of what Python gives: see :meth:`sapiens_mm.apis.SapiensInferencer.stream`.

    Args:
        inputs: Images, paths, numbers of cameras, sources; one, a list of them, or an iterator over them.
        on_error: As in :func:`frames_of`.

    Raises:
        InputError: There is no such path, an image cannot be used, or something is none of these.
    """
    lazy = isinstance(inputs, Iterator)
    entries = inputs if lazy or isinstance(inputs, (list, tuple)) else [inputs]
    paths = [] if lazy else [entry for entry in entries if isinstance(entry, (str, os.PathLike))]
    # Together, so that no two have the same name; but each where it stands, also twice, as the boxes do.
    quiet, told = (None, None) if on_error is None else (
        lambda *_: None, lambda entry, error: on_error(Source(entry, entry), error))
    names = {source.path: source.name for source in find_sources(paths, on_error=quiet)} if len(paths) > 1 else {}
    taken: dict[str, str] = {}  # name -> path, of an iterator, whose paths are not known together
    for number, entry in enumerate(entries):
        if isinstance(entry, (np.ndarray, Image.Image)):
            source = Source('', f'{number:06d}')
            try:
                frame = Frame(source, _to_array(entry, number))
            except InputError as error:
                if on_error is None:
                    raise
                on_error(source, error)
            else:
                yield frame
            continue
        if isinstance(entry, Source):
            sources = [entry]
        elif isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
            sources = [Source(str(entry), f'camera{entry}', 'camera')]
        elif isinstance(entry, (str, os.PathLike)):
            sources = [replace(source, name=names.get(source.path, source.name))
                       for source in find_sources([entry], on_error=told)]
            for source in sources if lazy else ():
                if taken.setdefault(source.name, source.path) != source.path:
                    source.name = f'{number:06d}/{source.name}'
        else:
            raise InputError(f'input {number} is a {type(entry).__name__}; expected an image (H, W, 3) uint8 RGB or of '
                             'Pillow, a path, the number of a camera, a Source, or a list or iterator of them')
        yield from frames_of(sources, on_error)


def _to_array(image: np.ndarray | Image.Image, number: int) -> np.ndarray:
    if isinstance(image, Image.Image):
        try:
            return _to_rgb(ImageOps.exif_transpose(image))  # as from files, but it stays as it is
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f'image {number}: {_first_line(error)}') from error
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f'image {number} is {image.shape} {image.dtype}; expected (H, W, 3) uint8 RGB')
    return image
