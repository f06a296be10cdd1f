"""Writing of results: files of each, videos, tables and archives; docs/outputs.md describes the formats."""
import copy
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from ..names import COLLECTED_KINDS, NORMAL_CONVENTIONS, SPACE_KINDS
from .collect import Collector, Ended
from .frames import Source
from .meta import meta_path, read_meta
from .result import Result
from .result_files import ResultFiles
from .space import Shot, Space
from .video_writer import VideoWriter


class ResultWriter:
    """Writes results below a folder under the names of their sources; ValueError for unknown kinds and formats.

    Args:
        kinds: What to write, some of :data:`~sapiens_mm.names.KINDS` (``'masks'`` are in the JSON); None for the
            `DEFAULT_KINDS` of each kind of source. JSON is always written, but with ``'parquet'`` or ``'tar'`` only on
            request. An archive (``'tar'``) has the files of the other kinds, by default JSON and PNG, in place of the
            folder.
        keypoint_format: As for :meth:`sapiens_mm.apis.result.Result.to_json`.
        threshold: Minimum score of drawn keypoints, and of those in ``coco.json`` and JSON for ControlNet.
        on_error: Called with a source and the error if a result cannot be written; other results are still written. By
            default the error is raised.
        resume: Keep the images of earlier tables, archives and ``coco.json``.
        space: Scale and camera of ``'ply'`` and ``'glb'``. Those of a video are written when it is closed, since all of
            its frames have one scale, unless ``per_frame_scale`` is set.
        normal_convention: Direction of green in images of normals, ``'opengl'`` (up) or ``'directx'`` (down).
        shard: (index, number) of a run that shares the folder with other shards: its ``meta.json``, tables, archives
            and ``coco.json`` have other names.

    Attributes:
        files: Files of single results.
        meta_path: Path of ``meta.json``.
        ended: Inputs that wait to be collected in tables, archives or ``coco.json``.
    """

    def __init__(self, folder: str | os.PathLike, kinds: Collection[str] | None = None, keypoint_format: str = 'model',
                 threshold: float = .3, on_error: Callable[[Source, OSError], None] | None = None,
                 resume: bool = False, shard: tuple[int, int] | None = None, space: Space | None = None,
                 normal_convention: str = NORMAL_CONVENTIONS[0]):
        self.folder, self.on_error = os.fspath(folder), on_error
        self.files = ResultFiles(self.folder, kinds, keypoint_format, threshold, space, normal_convention)
        self.meta_path = meta_path(self.folder, shard)
        collected = [kind for kind in COLLECTED_KINDS if kind in (kinds or ())]
        self.collector = Collector(self.folder, collected, shard, resume, threshold) if collected else None
        self.files.staging = self.collector and self.collector.staging
        self.ended: list[Ended] = []
        self._stopped = False
        self._broken: set[str] = set()  # names of sources that were not read or written completely
        self._unwritten: set[str] = set()  # names of tar files with images that could not be written
        self._video: VideoWriter | None = None
        self._source: Source | None = None
        self._shot: Shot | None = None
        self._frames, self._last, self._resume = 0, '', resume

    def __enter__(self) -> 'ResultWriter':
        return self

    def __exit__(self, *error) -> None:
        self.close(complete=error[0] is None)
        if not self._stopped:
            self.finish()

    def for_worker(self) -> 'ResultWriter':
        """Returns a copy for another process, which leaves its :attr:`ended` inputs to this one."""
        other = copy.copy(self)
        other.collector, other.on_error, other.ended = None, None, []
        return other

    def is_done(self, source: Source, tasks: Sequence[str] = ()) -> bool:
        """Returns whether a source has all files, see :meth:`.ResultFiles.has`, and is or waits to be collected."""
        if not self.files.has(source, tasks):
            return False
        return self.files.staging is None or self._is_collected(source) or self.files.is_staged(source, tasks)

    def _is_collected(self, source: Source) -> bool:
        return self.collector is not None and not source.tar and self.collector.has(source.name)

    def write(self, result: Result) -> bool:
        """Writes a result, and returns whether it succeeded; frames of a video must come in order."""
        if result.source is not self._source:
            self.close()
            self._source, self._frames = result.source, 0
            in_space = self.files.kinds_of(result.source) & set(SPACE_KINDS)
            if in_space and result.source.kind == 'video' and not self.files.space.per_frame_scale:
                self._shot = Shot(self.files.space)
        if 'video' in self.files.kinds_of(result.source):
            with self._reported(result.source):
                if self._video is None:
                    self._video = VideoWriter(self.files.video_path(result.source), result.rate)
                self._video.append(result.draw(self.files.threshold), result.time)
        with self._reported(result.source):
            self.files.write(result, self._shot)
            self._frames += 1
            self._last = result.name
            return True
        return False

    def make_folder(self) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise OSError(f"output folder '{self.folder}' is not writable ({error.strerror}); use another") from error

    def close(self, complete: bool = True) -> None:
        """Finishes the current source; ``complete``: all of its frames were written."""
        self._stopped |= not complete
        video, source, shot = self._video, self._source, self._shot
        self._video = self._source = self._shot = None
        if video is not None:
            with self._reported(source):
                video.close()
        if shot is not None:
            with self._reported(source):
                for name, surface in shot.finish():
                    self.files.write_surface(name, surface, self.files.kinds_of(source))
        if source is not None and complete and not source.tar:
            self._end(source, dict(video=dict(file=source.path, frames=self._frames)))

    def remaining(self, source: Source, tasks: Sequence[str] = ()) -> Source:
        """Returns a tar file as a source without its images that are done, if this run is resumed; others unchanged."""
        if source.kind != 'tar':
            return source
        self._last = ''  # image of the tar file that was written, as :meth:`is_done` looks for its files

        def skip(image: Source) -> bool:
            done = self._resume and self.is_done(image, tasks)
            self._last = image.name if done else self._last
            return done

        return replace(source, skip=skip)

    def end_tar(self, source: Source) -> None:
        """Records that all images of a tar file were written or are broken; else a resumed run reads it again."""
        if source.name in self._unwritten:
            self.mark_broken(source, 'some images could not be written')
        self._end(source, dict(tar=dict(file=source.path, last=self._last)))

    def _end(self, source: Source, content: dict) -> None:
        if source.name in self._broken:
            return
        if source.kind != 'image':
            with self._reported(source):
                self.files.write_record(source, content)
        if self.files.staging is not None and source.name not in self._broken:
            self.ended.append(Ended(replace(source, skip=None)))  # which cannot go to another process

    def take_ended(self, seconds: float | None = None) -> list[Ended]:
        """Returns the inputs that ended since the last call, for :meth:`collect`; ``seconds`` is for an image."""
        taken, self.ended = self.ended, []
        return [replace(ended, seconds=seconds) for ended in taken]

    def collect(self, ended: Iterable[Ended]) -> None:
        """Collects inputs that have ended, also in other processes."""
        with self._collecting():
            for entry in ended:
                self.collector.add(entry)

    def finish(self) -> None:
        """Completes tables, archives and ``coco.json``, also with the images of the run that is resumed."""
        if self.collector is not None:
            self.collect(self.take_ended())
            meta = {}
            with suppress(ValueError):
                meta = read_meta(self.meta_path)
            with self._collecting():
                self.collector.finish(meta)

    @contextmanager
    def _collecting(self):
        try:
            yield
        except (OSError, ValueError) as error:
            if self.on_error is None:
                raise
            self.on_error(Source('', ', '.join(sorted(self.collector.kinds))),
                          error if isinstance(error, OSError) else OSError(str(error)))

    def mark_broken(self, source: Source, reason: str) -> None:
        """Marks a source that was not read or written completely, so that it is not recorded as done."""
        if source.name not in self._broken and self.files.staging is not None:
            self.ended.append(Ended(replace(source, skip=None), reason))
        self._broken.add(source.name)

    @contextmanager
    def _reported(self, source: Source):
        try:
            yield
        except OSError as error:
            self.mark_broken(source, error.strerror or str(error))
            if source.tar:
                self._unwritten.add(source.tar)
            if self.on_error is None:
                raise
            self.on_error(source, error)
