"""Images, folders, videos and cameras as one stream of frames."""
import glob
import hashlib
import os
import os.path as osp
import tempfile
import threading
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ..utils.files import read_json
from ..utils.images import MAX_PIXELS, open_image

IMAGES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif')
VIDEOS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.mts', '.m2ts', '.3gp', '.wmv',
          '.flv', '.ogv', '.mxf')  # .ts only where it is named: in folders it may be TypeScript
# FFmpeg's names of what these are. It takes text and images for videos, too, and playlists, which name other files.
_CONTAINERS = {'mov', 'avi', 'matroska', 'mpeg', 'mpegts', 'mpegvideo', 'asf', 'flv', 'ogg', 'mxf'}
#: Endings of what :class:`~sapiens_mm.apis.writing.ResultWriter` writes that are images or videos themselves.
WRITTEN = ('.overlay.jpg', '.sheet.jpg', '.parts.png', '.depth.png', '.normal.png', '.overlay.mp4')
#: While more bytes of images than these wait for the next step of the work, no other image is read or made.
ROOM = 2**27
#: Seconds that fetching an address may take.
URL_TIMEOUT = 120.
_MAX_DOWNLOAD = dict(image=2**28, video=2**32)  # bytes


class InputError(ValueError):
    """An input cannot be read; the message names it and says why."""


@dataclass
class Source:
    """An input.

    Attributes:
        path: File, address, or the number of a camera.
        name: What its outputs are called: its path below the folder that all inputs share, with slashes.
        kind: ``'image'``, ``'video'`` or ``'camera'``.
        timeout: Seconds that fetching an address may take.
    """
    path: str
    name: str
    kind: str = 'image'
    timeout: float = URL_TIMEOUT


@dataclass
class Frame:
    """An image on its way through the models.

    Attributes:
        source: Where it comes from.
        image: (H, W, 3) uint8 RGB.
        index: Its number in a video or of a camera; None for an image.
        rate: Frames per second of the video.
        time: Seconds from its first frame; None where that is not known.
        boxes: (N, 5) float32: x0, y0, x1, y1 in pixels and the score.
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
                 without: str | os.PathLike | None = None, on_error: Callable[[InputError], None] | None = None,
                 url_timeout: float = URL_TIMEOUT) -> list[Source]:
    """Files, folders (with the folders in them), patterns, numbers of cameras and addresses as sources.

    Those of a folder or pattern are sorted by name, and what is no image or video by its suffix is left out, as are
    results (`WRITTEN`) below a ``meta.json`` of ours.

    Args:
        inputs: What there is to read.
        allow_urls: Whether ``http(s)://`` addresses may be among them.
        without: The folder of the results. What was written there does not count as a file of a folder or pattern.
        on_error: Called with what is wrong with an input, after which the next one follows. None: that is raised.
        url_timeout: Seconds that fetching an address may take.

    Raises:
        InputError: There is no such input, a folder cannot be read, a folder or pattern has nothing in it, or addresses
            are not allowed.
    """
    files, others = [], []  # files with the folders that their names begin below
    for entry in map(os.fspath, inputs):
        try:
            if _is_address(entry):
                others.append(replace(_address(entry, allow_urls), timeout=url_timeout))
            elif entry.isdecimal() and not osp.exists(entry):
                others.append(Source(entry, f'camera{entry}', 'camera'))
            elif osp.isdir(entry):
                files += [(path, osp.abspath(entry)) for path in _known(_walk(entry, on_error), entry, without)]
            elif osp.isfile(entry):
                files.append((entry, osp.dirname(osp.abspath(entry))))
            elif glob.has_magic(entry):
                found = (path for path in glob.glob(entry, recursive=True) if osp.isfile(path))
                files += [(path, osp.dirname(osp.abspath(path))) for path in _known(found, entry, without)]
            else:
                raise InputError(f"there is no '{entry}'; an input is an image, a video, a folder, a pattern or the "
                                 'number of a camera')
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
    root = osp.commonpath([folder for _, folder in files]) if files else ''
    sources = [Source(path, osp.relpath(osp.abspath(path), root).replace(os.sep, '/'), _kind(path))
               for path, _ in files]
    return list({source.name: source for source in sources + others}.values())  # the same file twice is one


def _is_address(entry: str) -> bool:
    return entry.lower().startswith(('http://', 'https://'))


def _address(entry: str, allow_urls: bool) -> Source:
    if not allow_urls:
        raise InputError(f'{entry} is an address; to fetch it, add --allow-urls (allow_urls=True)')
    try:
        address = urllib.parse.urlsplit(entry)
    except ValueError as error:
        raise InputError(f'{entry} is no address: {error}') from error
    name = _safe(f'{address.netloc}{address.path}')
    if address.query:  # which may be all that tells two addresses apart, and too long for a file's name
        folder, slash, base = name.rpartition('/')
        name = f'{folder}{slash}{hashlib.sha256(address.query.encode()).hexdigest()[:8]}_{base}'
    return Source(entry, name, _kind(address.path))


def _walk(entry: str, on_error: Callable[[InputError], None] | None) -> Iterator[str]:
    """The files in a folder and those below it, of which links lead to none twice, so not in circles either."""
    def refuse(error: OSError) -> None:
        refused = InputError(f"'{error.filename}' cannot be read: {error.strerror}")
        if on_error is None:
            raise refused from error
        on_error(refused)

    waiting, seen = deque([entry]), set()
    while waiting:  # links last
        for folder, folders, names in os.walk(waiting.popleft(), onerror=refuse):
            real = osp.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            waiting += sorted(path for path in (osp.join(folder, name) for name in folders) if osp.islink(path))
            yield from (osp.join(folder, name) for name in names)


def _known(paths: Iterable[str], entry: str, without: str | os.PathLike | None) -> list[str]:
    results = {osp.abspath(without): True} if without is not None else {}

    def is_result(folder: str) -> bool:
        if folder not in results:
            above = osp.dirname(folder)
            results[folder] = _is_ours(osp.join(folder, 'meta.json')) or (above != folder and is_result(above))
        return results[folder]

    found = sorted(path for path in paths if path.lower().endswith(IMAGES + VIDEOS)
                   and not (path.endswith(WRITTEN) and is_result(osp.dirname(osp.abspath(path)))))
    if not found:
        raise InputError(f"'{entry}' has no image ({', '.join(IMAGES)}) or video ({', '.join(VIDEOS)}) in it")
    return found


def _is_ours(meta: str) -> bool:
    with suppress(OSError, ValueError):
        content = read_json(meta)
        return isinstance(content, dict) and 'sapiens_mm' in content
    return False


def _kind(path: str) -> str:
    """What a file is by its suffix, or where that says nothing, by what FFmpeg finds in it."""
    name = path.lower()
    unknown = not name.endswith(IMAGES) and osp.isfile(path)
    return 'video' if name.endswith(VIDEOS) or unknown and _has_video(path) else 'image'


def file_source(path: str) -> Source:
    """A file as a source called by its own name; the path is no pattern, folder, number or address.

    Raises:
        InputError: There is no such file, or it is a link.
    """
    if not osp.isfile(path) or osp.islink(path):
        raise InputError(f'{path}: there is no such file')
    path = osp.abspath(path)
    return Source(path, osp.basename(path), _kind(path))


def pixels_of(source: Source) -> tuple[int, int, int]:
    """Width, height and number of frames of a file, as its header says; zeros where that does not tell.

    Raises:
        InputError: It is no video.
    """
    if source.kind == 'image':
        with suppress(OSError, ValueError, SyntaxError), open_image(source.path, max_pixels=None) as image:
            return *image.size, 1
        return 0, 0, 1
    with _video(source) as (container, stream):
        frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        return stream.codec_context.width, stream.codec_context.height, frames


def _has_video(path: str) -> bool:
    try:
        import av
    except ImportError:  # then it counts as an image, and is said to be none
        return False
    with suppress(av.FFmpegError, OSError, ValueError), _open_container(path) as container:
        return bool(container.duration and container.streams.video)  # HEIC has no duration
    return False


def _open_container(file: str | BinaryIO):
    """Opens a video by FFmpeg, which has no way from there to other files or the network."""
    import av
    file = f'file:{osp.abspath(file)}' if isinstance(file, str) else file  # 'concat:a.mp4' may be a file's name
    return av.open(file, options=dict(protocol_whitelist='file', format_whitelist=','.join(sorted(_CONTAINERS))))


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
        yield Frame(source, read_image(source.path, source.timeout))


def read_image(path: str, timeout: float = URL_TIMEOUT) -> np.ndarray:
    """An image as people see it, (H, W, 3) uint8 RGB.

    It is turned as its camera says (EXIF). Grey becomes RGB, CMYK is converted, of 16 bits the upper 8 are taken, what
    is transparent lies on white, of an animation the first image is taken.

    Args:
        path: File or address.
        timeout: Seconds that fetching an address may take.

    Raises:
        InputError: It is missing, damaged, truncated, too large or no image.
    """
    try:
        with _local(path, 'image', timeout) as file, open_image(file, MAX_PIXELS) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            return _to_rgb(opened)
    except FileNotFoundError as error:
        raise InputError(f'{path}: there is no such file') from error
    except Image.UnidentifiedImageError as error:
        size = osp.getsize(path) if osp.isfile(path) else None
        video = ', but a video: rename it to .mp4 or the like' if size and _has_video(path) else ''
        raise InputError(f'{path}: {"the file is empty" if size == 0 else f"this is no image{video}"}') from error
    except Image.DecompressionBombError as error:
        raise InputError(f'{path}: it has more than {MAX_PIXELS / 1e6:.0f} million pixels, the most that are read; '
                         'make it smaller') from error
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


@contextmanager
def _local(path: str, kind: str, timeout: float) -> Iterator[str | BinaryIO]:
    """A path, or the content of an address in a temporary file."""
    if not _is_address(path):
        yield path
        return
    with tempfile.TemporaryFile() as file:
        _download(path, file, _MAX_DOWNLOAD[kind], timeout)
        file.seek(0)
        yield file


def _download(address: str, file: BinaryIO, most: int, timeout: float) -> None:
    """Fetches an address. The time of sockets is that of one read, so another thread reads, and is given up."""
    errors, given_up = [], threading.Event()

    def work() -> None:
        try:
            _copy(address, file, most, given_up)
        except BaseException as error:  # raised where the file is waited for
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        given_up.set()
        raise TimeoutError(f'fetching took more than {timeout:g} s; try again, or allow more (--url-timeout)')
    if errors:
        raise errors[0]


def _copy(address: str, file: BinaryIO, most: int, given_up: threading.Event) -> None:
    address = urllib.parse.quote(address, safe=':/?#[]@!$&\'()*+,;=%~')
    request = urllib.request.Request(address, headers={'User-Agent': 'sapiens_mm'})
    with urllib.request.urlopen(request, timeout=30) as response:
        length = 0
        while not given_up.is_set() and (chunk := response.read1(2**16)):
            length += len(chunk)
            if length > most:
                raise ValueError(f'it is larger than {most >> 20} MB')
            file.write(chunk)
        if response.length:
            raise ValueError(f'it broke off after {length} bytes, {response.length} are missing')


@contextmanager
def _video(source: Source) -> Iterator[tuple]:
    """The container and the video stream of a source; FFmpeg's errors become InputErrors."""
    try:
        import av
    except ImportError as error:
        raise InputError(f'{source.path}: videos are read by PyAV ({error}): pip install av') from error
    try:
        with _local(source.path, 'video', source.timeout) as file, _open_container(file) as container:
            if not container.streams.video:
                raise InputError(f'{source.path}: there is no video in it')
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            stream.codec_context.options = dict(max_pixels=str(MAX_PIXELS))
            yield container, stream
    except InputError:
        raise
    except (av.InvalidDataError, av.ArgumentError) as error:  # the latter where it is of a format that is not allowed
        raise InputError(f'{source.path}: this is no video, or it is cut off or damaged') from error
    except (av.FFmpegError, OSError, ValueError, HTTPException) as error:
        raise InputError(f'{source.path}: {_first_line(error)}') from error


def _read_video(source: Source) -> Iterator[Frame]:
    with _video(source) as (container, stream):
        import av
        rate, found, start, damaged = float(stream.average_rate or 25), 0, None, False
        frames = enumerate(container.decode(stream))
        while True:
            try:
                index, frame = next(frames)
            except StopIteration:
                break
            except av.InvalidDataError:  # older PyAV tells that a file ends too early, others just stop there
                if not found:
                    raise
                damaged = True
                break
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
        if damaged or (found < .9 * stream.frames and end and time is not None and time < .9 * end):
            raise InputError(f'{source.path}: it broke off after {found} of about {stream.frames} frames; it is '
                             'cut off or damaged')


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


def prefetch(items: Iterable, depth: int, size: Callable[[Any], int] = lambda item: 0,
             stop: threading.Event | None = None) -> Iterator:
    """Runs an iterator in a thread, ahead of who takes the items.

    What it raises is raised here. When the taker stops early, the iterator is closed and the thread ends.

    Args:
        items: The iterator.
        depth: At most so many items wait to be taken.
        size: Bytes of an item. While more than `ROOM` of them wait, no other is made.
        stop: Once it is set, the items end, and what the iterator waits for is waited for no longer.
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
                # No one notifies of a stop.
                while not changed.wait_for(lambda: waiting, None if stop is None else .2):
                    if stop.is_set():
                        return
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
            thread.join(1 if stop is not None and stop.is_set() else None)


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


def known_sources(inputs) -> list[Source]:
    """The sources among what Python gives, as far as they are known before it is read: not those of an iterator."""
    if isinstance(inputs, Iterator):
        return []
    entries = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    paths = [entry for entry in entries if isinstance(entry, (str, os.PathLike))]
    return [entry for entry in entries if isinstance(entry, Source)] + find_sources(paths, on_error=lambda error: None)


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
    quiet = on_error and (lambda error: None)  # each is told about where it stands
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
            path = os.fspath(entry)
            told = on_error and (lambda error, path=path: on_error(Source(path, path), error))
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
