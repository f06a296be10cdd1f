"""Results as files: ``docs/outputs.md`` has the formats.

Everything is written to a temporary name in its folder and moved, so that a file that is there is whole.
"""
import errno
import json
import os
import os.path as osp
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..utils.files import read_json
from ..visualization.maps import bands, color_normals
from .reading import Source
from .result import DENSE, KEYPOINT_FORMATS, Result, frame_name

KINDS = ('json', 'npz', 'png', 'overlay', 'sheet', 'video')
#: What is written of an image, a video or a camera if nothing else is asked for.
DEFAULT_KINDS = dict(image={'json', 'overlay', 'sheet'}, video={'json', 'video'}, camera={'json', 'video'})
_TICK = Fraction(1, 90000)  # seconds, in which times of videos are counted
#: The largest value of a 16-bit depth PNG, whose 0 means no depth.
_FARTHEST = 65535


class ResultWriter:
    """Writes results below a folder, under the names of their sources.

    Args:
        folder: The folder.
        kinds: What to write, some of `KINDS`; JSON is always written. None: by kind of source, `DEFAULT_KINDS`.
        keypoint_format: One of :data:`sapiens_mm.apis.result.KEYPOINT_FORMATS`.
        threshold: Keypoints with a lower score are not drawn.
        on_error: Called with a source of which something cannot be written and the reason, after which the others go
            on. By default that is raised.

    Raises:
        ValueError: A kind or format is none of these.
    """

    def __init__(self, folder: str | os.PathLike, kinds: Collection[str] | None = None, keypoint_format: str = 'model',
                 threshold: float = .3, on_error: Callable[[Source, OSError], None] | None = None):
        unknown = [kind for kind in kinds or () if kind not in KINDS]
        if unknown:
            raise ValueError(f"'{unknown[0]}' cannot be saved; choose some of {', '.join(KINDS)}")
        if keypoint_format not in KEYPOINT_FORMATS:
            raise ValueError(f"keypoint_format is '{keypoint_format}', but must be one of "
                             f'{", ".join(KEYPOINT_FORMATS)}')
        if kinds and 'video' in kinds:
            _import_av()
        self.folder, self.kinds = os.fspath(folder), None if kinds is None else {'json', *kinds}
        self.keypoint_format, self.threshold = keypoint_format, threshold
        self.on_error = on_error
        self.broken: set[str] = set()  # names of sources that could not be read or written to their end
        self._video: VideoWriter | None = None
        self._source: Source | None = None
        self._frames = 0

    def __enter__(self) -> 'ResultWriter':
        return self

    def __exit__(self, *error) -> None:
        self.close(complete=error[0] is None)

    def kinds_of(self, source: Source) -> set[str]:
        """What is written of a source.

        Raises:
            ValueError: It is a camera, whose frames become a video, and there is no PyAV for that.
        """
        kinds = DEFAULT_KINDS[source.kind] if self.kinds is None else self.kinds
        if source.kind == 'camera' and 'video' in kinds:  # which is read without
            _import_av()
        return kinds - {'video'} if source.kind == 'image' else kinds

    def is_done(self, source: Source, tasks: Sequence[str] = ()) -> bool:
        """Whether a source has been written, as far as its files tell, of a video those of its last frame.

        Args:
            source: The source; a camera never ends.
            tasks: Those of which PNGs are looked for.
        """
        kinds, name = self.kinds_of(source), source.name
        files = [self._path(name, kind) for kind in kinds & {'json', 'video'}]
        if source.kind == 'video':
            with suppress(OSError, ValueError, LookupError, TypeError):
                name = frame_name(name, read_json(self._path(name, 'json'))['video']['frames'] - 1)
        files += [self._path(name, kind) for kind in kinds & {'json', 'npz', 'overlay', 'sheet'}]
        if 'png' in kinds:
            files += [f'{self._base(name)}.{task}.png' for task in tasks if task in DENSE]
        return source.kind != 'camera' and all(map(osp.exists, files))

    def write(self, result: Result) -> bool:
        """Writes what there is of a result; the frames of a video have to come in order.

        Returns:
            Whether it is there, to its JSON, which comes last.
        """
        if result.source is not self._source:
            self.close()
            self._source, self._frames = result.source, 0
        content, kinds = result.to_json(self.keypoint_format), self.kinds_of(result.source)
        if 'video' in kinds:
            with self._told(result.source):
                self._append(result)
        with self._told(result.source):
            for kind in kinds & {'npz', 'overlay', 'sheet'}:
                self._write(result.name, kind, getattr(self, f'_write_{kind}'), result)
            if 'png' in kinds:
                content |= self._write_pngs(result)
            self._write(result.name, 'json', _write_json, content)
            self._frames += 1
            return True
        return False

    def make_folder(self) -> None:
        """Makes the folder, or raises an OSError that says why it cannot be written to."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise OSError(f"'{self.folder}' cannot be the folder of the results ({error.strerror}); give another "
                          'one') from error

    def read_meta(self) -> dict:
        """What ``meta.json`` says of the results that are there; empty without.

        Raises:
            ValueError: It is none of ours.
        """
        path = osp.join(self.folder, 'meta.json')
        try:
            content = read_json(path)
            _facts(content), list(content.get('earlier', ()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(f'{path} does not tell how the results in its folder came about') from error
        return content

    def write_meta(self, content: dict) -> None:
        """Writes ``meta.json``: how all this came about."""
        path = osp.join(self.folder, 'meta.json')
        try:
            with _moved(path) as part:
                _write_json(part, content, indent=2)
        except OSError as error:
            raise OSError(f'{path} cannot be written: {error.strerror}') from error

    def close(self, complete: bool = True) -> None:
        """Ends the source at hand.

        Args:
            complete: Whether it came to its end.
        """
        video, source = self._video, self._source
        self._video = self._source = None
        if video is not None:
            with self._told(source):
                video.close()
        if source is not None and source.kind != 'image' and complete and source.name not in self.broken:
            with self._told(source):
                self._write(source.name, 'json', _write_json, dict(video=dict(file=source.path, frames=self._frames)))

    @contextmanager
    def _told(self, source: Source):
        """Within it, errors go to ``on_error``."""
        try:
            yield
        except OSError as error:
            self.broken.add(source.name)
            if self.on_error is None:
                raise
            self.on_error(source, error)

    def _path(self, name: str, kind: str) -> str:
        ending = dict(json='.json', npz='.npz', overlay='.overlay.jpg', sheet='.sheet.jpg', video='.overlay.mp4')[kind]
        return self._base(name) + ending

    def _base(self, name: str) -> str:
        return osp.join(self.folder, *('meta_' if name == 'meta' else name).split('/'))  # meta.json is another file

    def _write(self, name: str, kind: str, write: Callable, *values) -> None:
        with _moved(self._path(name, kind)) as path:
            write(path, *values)

    @staticmethod
    def _write_npz(path: str, result: Result) -> None:
        maps = dict(parts=result.parts, depth=result.depth, normal=result.normal)
        with open(path, 'wb') as file:  # given a name, NumPy changes it
            np.savez_compressed(file, **{name: value for name, value in maps.items() if value is not None})

    def _write_overlay(self, path: str, result: Result) -> None:
        Image.fromarray(result.draw(self.threshold)).save(path, 'JPEG', quality=92)

    def _write_sheet(self, path: str, result: Result) -> None:
        Image.fromarray(result.sheet(self.threshold)).save(path, 'JPEG', quality=92)

    def _write_pngs(self, result: Result) -> dict:
        """Writes a PNG for each map; what JSON says about them."""
        base, content = self._base(result.name), {}
        if result.parts is not None:
            image = Image.fromarray(result.parts)
            image.putpalette(np.array(result.metainfo['parts']['palette'], np.uint8).tobytes())
            _save_png(f'{base}.parts.png', image)
            content['part_names'] = list(result.metainfo['parts']['classes'])
        if result.depth is not None:
            values, near, step = encode_depth(result.depth)
            _save_png(f'{base}.depth.png', Image.fromarray(values), near=near, step=step)
            content['depth'] = dict(near=near, step=step)
        if result.normal is not None:
            _save_png(f'{base}.normal.png', Image.fromarray(color_normals(result.normal)))
        return content

    def _append(self, result: Result) -> None:
        if self._video is None:
            self._video = VideoWriter(self._path(result.source.name, 'video'), result.rate)
        self._video.append(result.draw(self.threshold), result.time)


def kept_tasks(tasks: Sequence[str], kinds: Collection[str]) -> list[str]:
    """The tasks of which files of some kinds keep anything: JSON the keypoints, overlays the first of the maps."""
    first = [task for task in DENSE if task in tasks][:1]
    maps = DENSE if {'npz', 'png', 'sheet'} & set(kinds) else first if {'overlay', 'video'} & set(kinds) else ()
    return [task for task in tasks if task not in DENSE or task in maps]


def differences(before: dict, now: dict) -> list[str]:
    """In what two contents of ``meta.json`` differ that makes results differ."""
    before, now = _facts(before), _facts(now)
    return [f'{name} ({value}, now {now[name]})' for name, value in before.items() if now.get(name, value) != value]


def _facts(meta: dict) -> dict:
    models = {task: model for model in meta.get('models', ()) for task in model['tasks']}
    facts = {'tasks': ', '.join(sorted(models))} if models else {}
    facts |= {f'weights of {task}': (model['sha256'] or '')[:8] or model['source']
              for task, model in models.items() if 'source' in model}
    facts |= {name: value for name, value in meta.get('protocol', {}).items() if name != 'batch_size'}
    return facts | {name: meta[name] for name in ('boxes_of', 'keypoint_format') if name in meta}


class VideoWriter:
    """Writes pictures as an H.264 video, at its name once it is closed.

    Args:
        path: The file, ``.mp4``.
        rate: Frames per second, on average.
    """

    def __init__(self, path: str, rate: float):
        self.path, self.rate = path, Fraction(rate).limit_denominator(1001)
        self.part = f'{path}.part'
        self.container = self.stream = None
        self.failed, self.count, self.ticks = False, 0, -1

    def append(self, picture: np.ndarray, time: float | None = None) -> None:
        """Adds a picture; after an error, further ones are passed over.

        Args:
            picture: (H, W, 3) uint8 RGB. H.264 wants even sides: an odd last row or column is left out, a single one
                comes twice.
            time: When it is shown, in seconds; None: by the rate.

        Raises:
            OSError: It cannot be written; what was is removed.
        """
        if self.failed:
            return
        picture = np.pad(picture, [(0, int(side == 1)) for side in picture.shape[:2]] + [(0, 0)], 'edge')
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        with self._given_up():
            if self.stream is None:
                os.makedirs(osp.dirname(osp.abspath(self.path)), exist_ok=True)
                self.container = _import_av().open(self.part, 'w', format='mp4')
                self.stream = self.container.add_stream('libx264', rate=self.rate)
                self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, 'yuv420p'
                self.stream.codec_context.time_base = _TICK
            frame = _import_av().VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format='rgb24')
            # Of frames that come at the same time, or back in time, none is lost.
            self.ticks = max(round((self.count / self.rate if time is None else time) / _TICK), self.ticks + 1)
            self.count += 1
            frame.pts, frame.time_base, frame.duration = self.ticks, _TICK, round(1 / self.rate / _TICK)
            self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Ends the file; without a picture, or after an error, there is none.

        Raises:
            OSError: As :meth:`append` does.
        """
        if self.stream is None or self.failed:
            return
        with self._given_up():
            self.container.mux(self.stream.encode())
            self.container.close()
            os.replace(self.part, self.path)

    @contextmanager
    def _given_up(self):
        """Within it, errors are OSErrors, and leave nothing behind."""
        av = _import_av()
        try:
            yield
        except (OSError, ValueError, av.FFmpegError) as error:
            self.failed = True
            with suppress(AttributeError, OSError, ValueError, av.FFmpegError):  # the end is not written either
                self.container.close()
            with suppress(OSError, ValueError):
                os.remove(self.part)
            if isinstance(error, OSError):
                raise
            raise OSError(errno.EINVAL, f'as a video: {error}') from error


def encode_depth(depth: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Depth as 16-bit numbers: ``depth = near + (value - 1) * step``, and 0 where there is none.

    Args:
        depth: (H, W) float32, 0 where there is none.

    Returns:
        (H, W) uint16, ``near`` and ``step``.
    """
    there = (depth != 0) & np.isfinite(depth)
    encoded = np.zeros(depth.shape, np.uint16)
    if not there.any():
        return encoded, 0., 0.
    near, far = float(depth[there].min()), float(depth[there].max())
    step = (far - near) / (_FARTHEST - 1)
    for band in bands(depth.shape):
        values = np.rint((depth[band] - near) / (step or 1.)).clip(0, _FARTHEST - 1) + 1
        encoded[band] = np.where(there[band], values, 0)
    return encoded, near, step


def _save_png(path: str, image: Image.Image, **notes: float) -> None:
    info = PngInfo()
    for name, value in notes.items():
        info.add_text(name, repr(value))
    with _moved(path) as part:
        image.save(part, 'PNG', pnginfo=info)


def _write_json(path: str, content: dict, indent: int | None = None) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(content, file, indent=indent)


@contextmanager
def _moved(path: str):
    """A name to write to, from which the file is moved when it is whole."""
    os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
    part = f'{path}.part'
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.remove(part)
        raise


def _import_av():
    try:
        import av
    except ImportError as error:
        raise ValueError(f'videos are written by PyAV ({error}): pip install av') from error
    return av
