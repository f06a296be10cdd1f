"""Frames of images, videos and cameras as RGB arrays."""
import os.path as osp
import re
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ..engine.fetch import Transfer
from ..utils.images import MAX_PIXELS, open_image
from ..utils.text import first_line

# FFmpeg's names of video containers. It also opens text, images, and playlists that name other files.
_CONTAINERS = ('asf', 'avi', 'flv', 'matroska', 'mov', 'mpeg', 'mpegts', 'mpegvideo', 'mxf', 'ogg')
#: Seconds that downloading a URL may take.
URL_TIMEOUT = 120.
_MAX_DOWNLOAD = dict(image=2**28, video=2**32)  # bytes


class InputError(ValueError):
    """An input cannot be read; the message names it and the reason."""


@dataclass
class Source:
    """A file, URL, number of a camera, or tar file of images.

    Attributes:
        name: Name of its outputs: its path relative to the common folder of all inputs, with slashes.
        kind: ``'image'``, ``'video'``, ``'camera'`` or ``'tar'``.
        timeout: Seconds that a download may take.
        tar: Of an image in a tar file, the name of that file's source.
        skip: Of a tar file, whether an image in it is left out.
    """
    path: str
    name: str
    kind: str = 'image'
    timeout: float = URL_TIMEOUT
    tar: str = ''
    skip: Callable[['Source'], bool] | None = field(default=None, repr=False, compare=False)


@dataclass
class Frame:
    """An image (H, W, 3) uint8 RGB, or a frame of a video or camera, with intermediate results of inference.

    Attributes:
        index, rate: Number of the frame (None for an image), and frames per second of the video.
        time: Seconds since the first frame; None if unknown.
        boxes: (N, 5) float32: x0, y0, x1, y1 in pixels, score.
        outputs: The network that detected people and its outputs by task for the whole image; None otherwise.
    """
    source: Source
    image: np.ndarray
    index: int | None = None
    rate: float = 0.
    time: float | None = None
    boxes: np.ndarray | None = None
    outputs: tuple[Any, dict] | None = None


def read_frames(source: Source) -> Iterator[Frame]:
    if source.kind == 'camera':
        yield from _read_camera(source)
    elif source.kind == 'video':
        yield from _read_video(source)
    else:
        yield Frame(source, read_image(source.path, source.timeout))


def read_image(path: str, timeout: float = URL_TIMEOUT, file: BinaryIO | None = None) -> np.ndarray:
    """Reads an image, of an open file if one is given, upright (by EXIF) as (H, W, 3) uint8 RGB.

    Gray and CMYK are converted, 16 bits are reduced to 8, transparency is composited on white, and animations give
    their first image. Raises an InputError if it is missing, damaged, truncated, too large or not an image.
    """
    try:
        with _local_file(path, 'image', timeout) if file is None else nullcontext(file) as opened, \
                open_image(opened, MAX_PIXELS) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image)
    except FileNotFoundError as error:
        raise InputError(f'{path}: file does not exist') from error
    except Image.UnidentifiedImageError as error:
        size = osp.getsize(path) if osp.isfile(path) else None
        reason = 'file is empty' if size == 0 else 'not an image'
        if size and has_video(path):
            reason = 'not an image but a video; rename it to .mp4 or similar'
        raise InputError(f'{path}: {reason}') from error
    except Image.DecompressionBombError as error:
        raise InputError(f'{path}: more than {MAX_PIXELS / 1e6:.0f} million pixels; use a smaller image') from error
    except (OSError, ValueError, SyntaxError, EOFError, HTTPException) as error:
        raise InputError(f'{path}: {first_line(error)}') from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image of any mode but floating-point ones to (H, W, 3) uint8 RGB."""
    if image.mode.startswith('I'):
        return np.repeat((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        white.alpha_composite(image)
        image = white
    if image.mode == 'F':
        raise ValueError('got floating-point pixels, expected 8 or 16 bits')
    return np.array(image if image.mode == 'RGB' else image.convert('RGB'))


def pixels_of(source: Source) -> tuple[int, int, int]:
    """Returns width, height and number of frames in the header of a file, zeros for unreadable images."""
    if source.kind == 'image':
        with suppress(OSError, ValueError, SyntaxError), open_image(source.path, max_pixels=None) as image:
            return *image.size, 1
        return 0, 0, 1
    with _open_video(source) as (container, stream):
        frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        return stream.codec_context.width, stream.codec_context.height, frames


def has_video(path: str) -> bool:
    try:
        import av
    except ImportError:
        return False
    with suppress(av.FFmpegError, OSError, ValueError), _open_container(path) as container:
        return bool(container.duration and container.streams.video)  # HEIC images have no duration
    return False


def _open_container(file: str | BinaryIO):
    """Opens a video with FFmpeg without access to other files or the network."""
    import av
    file = f'file:{osp.abspath(file)}' if isinstance(file, str) else file  # 'concat:a.mp4' may be a file name
    return av.open(file, options=dict(protocol_whitelist='file', format_whitelist=','.join(_CONTAINERS)))


@contextmanager
def _open_video(source: Source) -> Iterator[tuple]:
    try:
        import av
    except ImportError as error:
        raise InputError(f'{source.path}: videos need PyAV ({error}): pip install av') from error
    try:
        with _local_file(source.path, 'video', source.timeout) as file, _open_container(file) as container:
            if not container.streams.video:
                raise InputError(f'{source.path}: no video stream')
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            stream.codec_context.options = dict(max_pixels=str(MAX_PIXELS))
            yield container, stream
    except InputError:
        raise
    except (av.InvalidDataError, av.ArgumentError) as error:  # ArgumentError: of a format that is not whitelisted
        raise InputError(f'{source.path}: not a video, or truncated or damaged') from error
    except (av.FFmpegError, OSError, ValueError, HTTPException) as error:
        raise InputError(f'{source.path}: {first_line(error)}') from error


def _read_video(source: Source) -> Iterator[Frame]:
    with _open_video(source) as (container, stream):
        import av
        rate, number, start, damaged = float(stream.average_rate or 25), 0, None, False
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                break
            except av.InvalidDataError:  # only older PyAV raises this at a truncated end
                if not number:
                    raise
                damaged = True
                break
            image = frame.to_ndarray(format='rgb24')
            turns = round(getattr(frame, 'rotation', 0) / 90) % 4
            time = frame.time
            start = time if start is None else start
            yield Frame(source, np.ascontiguousarray(np.rot90(image, turns)), number, rate,
                        None if time is None else time - start)
            number += 1
        if not number:
            raise InputError(f'{source.path}: no frame can be decoded; the video is truncated, damaged or empty')
        # A trimmed video has fewer frames than its header states, but ends at the stated time.
        end = stream.duration and float(stream.duration * stream.time_base)
        if damaged or (number < .9 * stream.frames and end and time is not None and time < .9 * end):
            raise InputError(f'{source.path}: truncated or damaged after {number} of about {stream.frames} frames')


def _read_camera(source: Source) -> Iterator[Frame]:
    import cv2
    camera = cv2.VideoCapture(int(source.path))
    try:
        if not camera.isOpened():
            raise InputError(f'camera {source.path} cannot be opened; check its number, and that no other program '
                             'uses it')
        rate, index = camera.get(cv2.CAP_PROP_FPS) or 25., 0
        while (read := camera.read())[0]:
            yield Frame(source, cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), index, rate)
            index += 1
    finally:
        camera.release()


def is_url(entry: str) -> bool:
    return re.match('[a-z][a-z0-9+.-]*://', entry.lower()) is not None


def is_web(url: str) -> bool:
    return url.lower().startswith(('http://', 'https://'))


def open_store(url: str):
    """Opens an address other than http(s) for reading by fsspec; an OSError for all that fails."""
    try:
        import fsspec
        return fsspec.open(url, 'rb').open()
    except ImportError as error:  # of fsspec, or of the library that it needs for a store
        raise OSError(f"{first_line(error)}; addresses other than http(s) need pip install 'sapiens_mm[scale]' and the "
                      'library of the store, such as s3fs') from error
    except Exception as error:  # of the store's library
        raise OSError(f'{type(error).__name__}: {first_line(error)}') from error


class _StoreTransfer(Transfer):
    """A :class:`Transfer` by fsspec."""

    def _copy(self) -> None:
        with open_store(self.request.full_url) as store:
            while not self._given_up and (chunk := store.read(1 << 20)):
                self.done += len(chunk)
                if self.done > self.max_bytes:
                    raise ValueError(f'got more than {self.max_bytes / 2**20:.0f} MB')
                self.file.write(chunk)


@contextmanager
def _local_file(path: str, kind: str, timeout: float) -> Iterator[str | BinaryIO]:
    if not is_url(path):
        yield path
        return
    with tempfile.TemporaryFile() as file:
        try:
            if is_web(path):
                url = urllib.parse.quote(path, safe=':/?#[]@!$&\'()*+,;=%~')
                Transfer(url, file, _MAX_DOWNLOAD[kind]).run(timeout)
            else:
                _StoreTransfer(path, file, _MAX_DOWNLOAD[kind]).run(timeout)
        except TimeoutError as error:
            raise TimeoutError(f'{error}; try again or raise --url-timeout') from error
        file.seek(0)
        yield file
