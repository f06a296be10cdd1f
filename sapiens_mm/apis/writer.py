"""Writing of results as files; docs/outputs.md describes the formats. Each file is complete or absent."""
import copy
import json
import os
import os.path as osp
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..tasks import canonical_name, dense_tasks
from ..utils.files import read_json, replacing
from ..utils.text import differences
from ..visualization.maps import bands, color_normals
from . import collect
from .collect import Collector, Ended
from .frames import Source
from .result import Result, check_keypoint_format, check_one_list, frame_name
from .video_writer import VideoWriter, import_av

KINDS = ('json', 'coco', 'parquet', 'npz', 'png', 'overlay', 'sheet', 'controlnet', 'masks', 'features', 'video', 'tar')
#: Those of single images and videos.
FILE_KINDS = tuple(kind for kind in KINDS if kind not in collect.KINDS)
#: Kinds of files that are written by default.
DEFAULT_KINDS = dict(image={'json', 'overlay', 'sheet'}, tar={'json', 'overlay', 'sheet'}, video={'json', 'video'},
                     camera={'json', 'video'})
_SUFFIXES = dict(json='.json', npz='.npz', overlay='.overlay.jpg', sheet='.sheet.jpg', controlnet='.controlnet.png',
                 features='.features.npz', video='.overlay.mp4')
#: Kinds that an archive has instead of the folder.
_ARCHIVED = {'json', 'npz', 'png', 'overlay', 'sheet', 'controlnet', 'features'}
_MAX_VALUE = 65535  # of a 16-bit depth PNG


class ResultWriter:
    """Writes results below a folder under the names of their sources; ValueError for unknown kinds and formats.

    Args:
        kinds: What to write, some of `KINDS` (``'masks'`` are in the JSON); None for the `DEFAULT_KINDS` of each kind
            of source. JSON is always written, but with ``'parquet'`` or ``'tar'`` only on request. An archive
            (``'tar'``) has the files of the other kinds, by default JSON and PNG, in place of the folder.
        keypoint_format: As for :meth:`sapiens_mm.apis.result.Result.to_json`.
        threshold: Minimum score of drawn keypoints, and of those in ``coco.json`` and JSON for ControlNet.
        on_error: Called with a source and the error if a result cannot be written; other results are still written. By
            default the error is raised.
        resume: Keep the images of earlier tables, archives and ``coco.json``.
        shard: (index, number) of a run that shares the folder with other shards: its ``meta.json``, tables, archives
            and ``coco.json`` have other names.

    Attributes:
        ended: Inputs that wait to be collected in tables, archives or ``coco.json``.
    """

    def __init__(self, folder: str | os.PathLike, kinds: Collection[str] | None = None, keypoint_format: str = 'model',
                 threshold: float = .3, on_error: Callable[[Source, OSError], None] | None = None,
                 resume: bool = False, shard: tuple[int, int] | None = None):
        unknown = [kind for kind in kinds or () if kind not in KINDS]
        if unknown:
            raise ValueError(f"save: got '{unknown[0]}', expected some of {', '.join(KINDS)}")
        check_keypoint_format(keypoint_format)
        if kinds and 'video' in kinds:
            import_av()
        collected = [kind for kind in collect.KINDS if kind in (kinds or ())]
        for kind in ('coco', 'masks', 'parquet'):
            if kinds and kind in kinds:
                check_one_list(keypoint_format, f'save {kind}')
        self.folder, self.kinds = os.fspath(folder), None if kinds is None else _with_implied(set(kinds))
        self.keypoint_format, self.threshold = keypoint_format, threshold
        self.on_error = on_error
        self.meta_name = 'meta.json' if shard is None else f'meta-{shard[0]:05d}-of-{shard[1]:05d}.json'
        self.collector = Collector(self.folder, collected, shard, resume, threshold) if collected else None
        self._staging = self.collector and self.collector.staging
        self._archives = 'tar' in collected
        self.ended: list[Ended] = []
        self._stopped = False
        self._broken: set[str] = set()  # names of sources that were not read or written completely
        self._unwritten: set[str] = set()  # names of tar files with images that could not be written
        self._video: VideoWriter | None = None
        self._source: Source | None = None
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

    def kinds_of(self, source: Source) -> set[str]:
        kinds = DEFAULT_KINDS[source.kind] if self.kinds is None else self.kinds
        if source.kind == 'camera':
            if self._staging is not None:
                raise ValueError(f'save: got {min(self.collector.kinds)} for a camera, which has no end, expected '
                                 'other kinds; record a video')
            if 'video' in kinds:
                import_av()
        return kinds - {'video'} if source.kind in ('image', 'tar') else kinds

    def check_names(self, sources: Iterable[Source]) -> None:
        """Raises a ValueError if the files of two videos would have the same names."""
        if self.keypoint_format != 'pose2sim':
            return
        stems: dict[str, str] = {}
        for source in sources:
            other = stems.setdefault(osp.splitext(source.name)[0], source.name) if source.kind == 'video' else ''
            if other not in ('', source.name):
                raise ValueError(f'keypoint_format: got pose2sim for {other} and {source.name}, expected names that '
                                 'differ without their suffixes; rename one')

    def is_done(self, source: Source, tasks: Sequence[str] = ()) -> bool:
        """Returns whether a source has all files, none empty, with PNGs of some tasks; a video its last frame's."""
        kinds = {kind for kind in self.kinds_of(source) if self.folder in self._folders(kind)}
        if not self._is_written(source, kinds, tasks, self.folder):
            return False
        return self._staging is None or self._is_collected(source) or self.is_staged(source, tasks)

    def is_staged(self, source: Source, tasks: Sequence[str] = ()) -> bool:
        """Returns whether a source waits to be collected, as a killed run leaves it."""
        if self._staging is None:
            return False
        kinds = {kind for kind in {'json', *self.kinds_of(source)}
                 if kind == 'masks' or self._staging in self._folders(kind)}
        return self._is_written(source, kinds, tasks, self._staging)

    def _is_collected(self, source: Source) -> bool:
        return self.collector is not None and not source.tar and self.collector.has(source.name)

    def _is_written(self, source: Source, kinds: set[str], tasks: Sequence[str], folder: str) -> bool:
        name = source.name
        files = [self._path(name, kind, folder) for kind in kinds & {'json', 'video'}]
        if source.kind in ('video', 'tar'):
            files.append(self._path(name, 'json', folder))
            with suppress(OSError, ValueError, LookupError, TypeError):
                content = read_json(files[-1])
                name = content['tar']['last'] if source.kind == 'tar' else \
                    frame_name(name, content['video']['frames'] - 1)
        if name:  # else all images of a tar file are broken
            files += [self._path(name, kind, folder)
                      for kind in kinds & {'json', 'npz', 'overlay', 'sheet', 'controlnet', 'features'}]
            if 'png' in kinds:
                dense = dense_tasks()
                files += [f'{self._base(name, folder)}.{dense[task].result}.png' for task in tasks if task in dense]
        if source.kind == 'camera' or not all(osp.exists(file) and osp.getsize(file) for file in files):
            return False
        return not (name and {'json', 'masks'} <= kinds) or self._has_masks(self._path(name, 'json', folder))

    @staticmethod
    def _has_masks(path: str) -> bool:
        with suppress(OSError, ValueError, LookupError, TypeError):
            return all('segmentation' in instance for instance in read_json(path)['instances'])
        return False

    def _folders(self, kind: str) -> list[str]:
        """Returns the folders that get files of a kind: the output folder, the staging folder of the collector."""
        archived = self._archives and kind in _ARCHIVED
        folders = [] if archived or kind not in (self.kinds or KINDS) else [self.folder]
        staged = self._staging is not None and (kind == 'json' or archived and kind in self.kinds)
        return folders + [self._staging] * staged

    def write(self, result: Result) -> bool:
        """Writes a result, the JSON last, and returns whether it succeeded; frames of a video must come in order."""
        if result.source is not self._source:
            self.close()
            self._source, self._frames = result.source, 0
        kinds = self.kinds_of(result.source)
        content = result.to_json(self.keypoint_format, self.threshold, 'masks' in kinds)
        if 'video' in kinds:
            with self._reported(result.source):
                if self._video is None:
                    self._video = VideoWriter(self._path(result.source.name, 'video', self.folder), result.rate)
                self._video.append(result.draw(self.threshold), result.time)
        with self._reported(result.source):
            writers = dict(npz=self._write_npz, overlay=self._write_overlay, sheet=self._write_sheet,
                           controlnet=self._write_controlnet, features=self._write_features)
            for kind in kinds & writers.keys():
                self._write(result.name, kind, writers[kind], result)
            if 'png' in kinds:
                content |= self._write_pngs(result)
            self._write(result.name, 'json', _write_json, content)
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

    def read_meta(self) -> dict:
        """Returns the content of ``meta.json``, empty without the file; raises a ValueError for other content."""
        path = osp.join(self.folder, self.meta_name)
        try:
            content = read_json(path)
            _facts(content), list(content.get('earlier', ()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(f'{path} does not describe the results in its folder') from error
        return content

    def _meta_or_nothing(self) -> dict:
        with suppress(ValueError):
            return self.read_meta()
        return {}

    def write_meta(self, content: dict) -> None:
        path = osp.join(self.folder, self.meta_name)
        try:
            os.makedirs(self.folder, exist_ok=True)
            with replacing(path) as part:
                _write_json(part, content, indent=2)
        except OSError as error:
            raise OSError(f'{path} cannot be written: {error.strerror}') from error

    def close(self, complete: bool = True) -> None:
        """Finishes the current source; ``complete``: all of its frames were written."""
        self._stopped |= not complete
        video, source = self._video, self._source
        self._video = self._source = None
        if video is not None:
            with self._reported(source):
                video.close()
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
                for folder in {self.folder, self._staging or self.folder}:
                    self._write_to(self._path(source.name, 'json', folder), _write_json, content)
        if self._staging is not None and source.name not in self._broken:
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
            with self._collecting():
                self.collector.finish(self._meta_or_nothing())

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
        if source.name not in self._broken and self._staging is not None:
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

    def _path(self, name: str, kind: str, folder: str) -> str:
        frame = re.fullmatch(r'(.*)\.frames/(\d+)', name, re.DOTALL)
        if kind == 'json' and self.keypoint_format == 'pose2sim' and frame and folder == self.folder:
            # Pose2Sim reads folders with 'json' in their names, and orders cameras by the last number there.
            stem = osp.splitext(frame[1])[0]
            name = f'{stem}_json/{osp.basename(stem)}_{frame[2]}'
        return self._base(name, folder) + _SUFFIXES[kind]

    def _base(self, name: str, folder: str) -> str:
        if folder == self.folder:
            name = re.sub(r'^((meta|coco)(-\d+-of-\d+)?)$', r'\1_', name)  # not meta.json
        return osp.join(folder, *name.split('/'))

    def _write(self, name: str, kind: str, write: Callable, *values) -> None:
        for folder in self._folders(kind):
            self._write_to(self._path(name, kind, folder), write, *values)

    @staticmethod
    def _write_to(path: str, write: Callable, *values) -> None:
        os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
        with replacing(path, flush=False) as part:  # milliseconds for each file; is_done skips empty ones
            write(part, *values)

    @staticmethod
    def _write_npz(path: str, result: Result) -> None:
        with open(path, 'wb') as file:  # np.savez_compressed would append a suffix to a path
            np.savez_compressed(file, **result.maps)

    def _write_overlay(self, path: str, result: Result) -> None:
        Image.fromarray(result.draw(self.threshold)).save(path, 'JPEG', quality=92)

    def _write_sheet(self, path: str, result: Result) -> None:
        Image.fromarray(result.sheet(self.threshold)).save(path, 'JPEG', quality=92)

    def _write_controlnet(self, path: str, result: Result) -> None:
        Image.fromarray(result.draw_openpose(self.threshold)).save(path, 'PNG')

    @staticmethod
    def _write_features(path: str, result: Result) -> None:
        with open(path, 'wb') as file:
            np.savez(file, **{f'layer_{layer}': array.astype(np.float16)
                              for layer, array in (result.features or {}).items()})

    def _write_pngs(self, result: Result) -> dict:
        (folder, ), content = self._folders('png'), {}
        base = self._base(result.name, folder)
        os.makedirs(osp.dirname(osp.abspath(base)), exist_ok=True)
        for task in dense_tasks().values():
            values, notes = result.maps.get(task.result), {}
            if values is None:
                continue
            if task.kind == 'classes':
                image, meta = Image.fromarray(values), result.metainfo[task.name]
                image.putpalette(np.array(meta['palette'], np.uint8).tobytes())
                content['part_names'] = list(meta['classes'])
            elif task.kind == 'depth':
                encoded, near, step = encode_depth(values)
                image, notes = Image.fromarray(encoded), dict(near=near, step=step)
                content[task.result] = notes
            elif task.kind == 'vectors':
                image = Image.fromarray(color_normals(values))
            else:
                image = Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))
            info = PngInfo()
            for name, value in notes.items():
                info.add_text(name, repr(value))
            with replacing(f'{base}.{task.result}.png', flush=False) as part:
                image.save(part, 'PNG', pnginfo=info)
        return content


def _with_implied(kinds: set[str]) -> set[str]:
    if 'tar' in kinds and not kinds & (_ARCHIVED | {'masks'}):
        return kinds | {'json', 'png'}
    return kinds if kinds & {'parquet', 'tar'} and 'masks' not in kinds else kinds | {'json'}


def save(result: Result, folder: str | os.PathLike, kinds: str | Collection[str] | None = None,
         keypoint_format: str = 'model', threshold: float = .3) -> None:
    """Writes the files of an image or a frame below a folder, as ``sapiens-mm run`` does.

    ``kinds`` are some of `KINDS` but those of a whole run or video; by default JSON, overlay and sheet. Raises a
    ValueError for others, and an OSError if a file cannot be written.
    """
    kinds = DEFAULT_KINDS['image'] if kinds is None else [kinds] if isinstance(kinds, str) else kinds
    if whole := [kind for kind in kinds if kind in (*collect.KINDS, 'video')]:
        raise ValueError(f'save: got {whole[0]}, which is a file of several images, expected other kinds; use a '
                         'ResultWriter')
    writer = ResultWriter(folder, kinds, keypoint_format, threshold)
    writer.write(result)
    writer.close(complete=False)  # of a video, other frames may follow


Result.save = save  # here, since a writer imports results


def kept_tasks(tasks: Sequence[str], kinds: Collection[str]) -> list[str]:
    """Returns the tasks whose results are kept by kinds of files: JSON has keypoints, overlays the first dense task."""
    dense = dense_tasks()
    first = [name for name in dense if name in tasks][:1]
    maps = dense if {'npz', 'png', 'sheet'} & set(kinds) else first if {'overlay', 'video'} & set(kinds) else ()
    maps = {*maps, *(['seg'] if 'masks' in kinds else []), *(tasks[:1] if 'features' in kinds else [])}
    return [task for task in tasks if task not in dense or task in maps]


def meta_differences(before: dict, now: dict) -> str:
    """Returns the :func:`differences` between two contents of ``meta.json`` that change results."""
    before, now = _facts(before), _facts(now)
    return differences(before, {name: now[name] for name in before if name in now})


def _facts(meta: dict) -> dict:
    models = {canonical_name(task): model for model in meta.get('models', ()) for task in model['tasks']}
    facts = {'tasks': ', '.join(sorted(models))} if models else {}
    facts |= {f'weights of {task}': (model['sha256'] or '')[:8] or model['source']
              for task, model in models.items() if 'source' in model}
    facts |= {name: value for name, value in meta.get('protocol', {}).items() if name != 'batch_size'}
    return facts | {name: meta[name] for name in ('boxes_of', 'keypoint_format') if name in meta}


def encode_depth(depth: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Encodes depth (H, W): uint16, ``near`` and ``step``; ``depth = near + (value - 1) * step``, 0 without depth."""
    valid = (depth != 0) & np.isfinite(depth)
    encoded = np.zeros(depth.shape, np.uint16)
    if not valid.any():
        return encoded, 0., 0.
    near, far = float(depth[valid].min()), float(depth[valid].max())
    step = (far - near) / (_MAX_VALUE - 1)
    for band in bands(depth.shape):
        values = np.rint((depth[band] - near) / (step or 1.)).clip(0, _MAX_VALUE - 1) + 1
        encoded[band] = np.where(valid[band], values, 0)
    return encoded, near, step


def _write_json(path: str, content: dict, indent: int | None = None) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(content, file, indent=indent)
