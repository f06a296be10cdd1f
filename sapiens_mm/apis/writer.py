"""Writing of results as files; docs/outputs.md describes the formats. Each file is complete or absent."""
import json
import os
import os.path as osp
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..formats import results
from ..formats.coco import AnnotationLines
from ..formats.labels import select
from ..tasks import canonical_name, dense_tasks
from ..utils.files import read_json, replacing
from ..utils.text import differences
from ..visualization.maps import bands, color_normals
from .frames import Source
from .result import Result, check_keypoint_format, check_one_list, frame_name
from .video_writer import VideoWriter, import_av

KINDS = ('json', 'coco', 'npz', 'png', 'overlay', 'sheet', 'controlnet', 'masks', 'features', 'video')
#: Kinds of files that are written by default.
DEFAULT_KINDS = dict(image={'json', 'overlay', 'sheet'}, video={'json', 'video'}, camera={'json', 'video'})
_SUFFIXES = dict(json='.json', npz='.npz', overlay='.overlay.jpg', sheet='.sheet.jpg', controlnet='.controlnet.png',
                 features='.features.npz', video='.overlay.mp4')
_MAX_VALUE = 65535  # of a 16-bit depth PNG


class ResultWriter:
    """Writes results below a folder under the names of their sources; ValueError for unknown kinds and formats.

    Args:
        kinds: What to write besides JSON, some of `KINDS` (``'masks'`` are in the JSON); None for the `DEFAULT_KINDS`
            of each kind of source.
        keypoint_format: As for :meth:`sapiens_mm.apis.result.Result.to_json`.
        threshold: Minimum score of drawn keypoints, and of those in ``coco.json`` and JSON for ControlNet.
        on_error: Called with a source and the error if a result cannot be written; other results are still written. By
            default the error is raised.
        resume: Keep the images of an earlier ``coco.json``.
        shard: (index, number) of a run that shares the folder with other shards: its ``meta.json`` has another name.
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
        for kind in ('coco', 'masks'):
            if kinds and kind in kinds:
                check_one_list(keypoint_format, f'save {kind}')
        self.folder, self.kinds = os.fspath(folder), None if kinds is None else {'json', *kinds}
        self.keypoint_format, self.threshold = keypoint_format, threshold
        self.on_error = on_error
        self.meta_name = 'meta.json' if shard is None else f'meta-{shard[0]:05d}-of-{shard[1]:05d}.json'
        # A killed run leaves whole lines, from which `--resume` continues.
        self._lines = AnnotationLines(*(osp.join(self.folder, name) for name in ('coco.json', 'coco.jsonl')), resume) \
            if kinds and 'coco' in kinds else None
        self._stopped = False
        self._broken: set[str] = set()  # names of sources that were not read or written completely
        self._video: VideoWriter | None = None
        self._source: Source | None = None
        self._frames = 0

    def __enter__(self) -> 'ResultWriter':
        return self

    def __exit__(self, *error) -> None:
        self.close(complete=error[0] is None)
        if not self._stopped:
            self.finish()

    def kinds_of(self, source: Source) -> set[str]:
        kinds = DEFAULT_KINDS[source.kind] if self.kinds is None else self.kinds
        if source.kind == 'camera' and 'video' in kinds:
            import_av()
        return kinds - {'video'} if source.kind == 'image' else kinds

    def check_names(self, sources: Iterable[Source]) -> None:
        """Raises a ValueError if the files of two videos would have the same names."""
        if self.keypoint_format != 'pose2sim':
            return
        stems: dict[str, str] = {}
        for source in sources:
            other = stems.setdefault(osp.splitext(source.name)[0], source.name) if source.kind != 'image' else ''
            if other not in ('', source.name):
                raise ValueError(f'keypoint_format: got pose2sim for {other} and {source.name}, expected names that '
                                 'differ without their suffixes; rename one')

    def is_done(self, source: Source, tasks: Sequence[str] = ()) -> bool:
        """Returns whether a source has all files, none empty, with PNGs of some tasks; a video its last frame's."""
        kinds, name, frame = self.kinds_of(source), source.name, None
        files = [self._path(name, kind) for kind in kinds & {'json', 'video'}]
        if source.kind == 'video':
            with suppress(OSError, ValueError, LookupError, TypeError):
                frame = read_json(self._path(name, 'json'))['video']['frames'] - 1
                name = frame_name(name, frame)
        files += [self._path(name, kind) for kind in kinds & {'json', 'npz', 'overlay', 'sheet', 'controlnet',
                                                           'features'}]
        if 'png' in kinds:
            dense = dense_tasks()
            files += [f'{self._base(name)}.{dense[task].result}.png' for task in tasks if task in dense]
        if self._lines is not None and results.file_name(name, frame) not in self._lines.names:
            return False
        if source.kind == 'camera' or not all(osp.exists(file) and osp.getsize(file) for file in files):
            return False
        return 'masks' not in kinds or self._has_masks(name)

    def _has_masks(self, name: str) -> bool:
        with suppress(OSError, ValueError, LookupError, TypeError):
            return all('segmentation' in instance for instance in read_json(self._path(name, 'json'))['instances'])
        return False

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
                    self._video = VideoWriter(self._path(result.source.name, 'video'), result.rate)
                self._video.append(result.draw(self.threshold), result.time)
        with self._reported(result.source):
            writers = dict(npz=self._write_npz, overlay=self._write_overlay, sheet=self._write_sheet,
                           controlnet=self._write_controlnet, features=self._write_features)
            for kind in kinds & writers.keys():
                self._write(result.name, kind, writers[kind], result)
            if 'png' in kinds:
                content |= self._write_pngs(result)
            if self._lines is not None:
                self._append_line(result, content)
            self._write(result.name, 'json', _write_json, content)
            self._frames += 1
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
        if source is not None and source.kind != 'image' and complete and source.name not in self._broken:
            with self._reported(source):
                self._write(source.name, 'json', _write_json, dict(video=dict(file=source.path, frames=self._frames)))

    def finish(self) -> None:
        """Makes ``coco.json`` of all images that were written, also by the run that is resumed."""
        if self._lines is not None:
            with self._reported(Source('coco.json', 'coco.json')):
                self._lines.finish()

    def mark_broken(self, name: str) -> None:
        """Marks a source that was not read completely, so that it is not recorded as done."""
        self._broken.add(name)

    @contextmanager
    def _reported(self, source: Source):
        try:
            yield
        except OSError as error:
            self.mark_broken(source.name)
            if self.on_error is None:
                raise
            self.on_error(source, error)

    def _append_line(self, result: Result, content: dict) -> None:
        labels, = select([results.parse(content, result.name, result.name)], threshold=self.threshold)
        try:
            self._lines.append(labels)
        except ValueError as error:
            raise OSError(str(error)) from error

    def _path(self, name: str, kind: str) -> str:
        frame = re.fullmatch(r'(.*)\.frames/(\d+)', name, re.DOTALL)
        if kind == 'json' and self.keypoint_format == 'pose2sim' and frame:
            # Pose2Sim reads folders with 'json' in their names, and orders cameras by the last number there.
            stem = osp.splitext(frame[1])[0]
            name = f'{stem}_json/{osp.basename(stem)}_{frame[2]}'
        return self._base(name) + _SUFFIXES[kind]

    def _base(self, name: str) -> str:
        name = re.sub(r'^(meta(-\d+-of-\d+)?|coco)$', r'\1_', name)  # not meta.json
        return osp.join(self.folder, *name.split('/'))

    def _write(self, name: str, kind: str, write: Callable, *values) -> None:
        path = self._path(name, kind)
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
        base, content = self._base(result.name), {}
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


def save(result: Result, folder: str | os.PathLike, kinds: Collection[str] | None = None,
         keypoint_format: str = 'model', threshold: float = .3) -> None:
    """Writes the files of an image or a frame below a folder, as ``sapiens-mm run`` does.

    ``kinds`` are some of `KINDS` but those of a whole run or video; by default JSON, overlay and sheet. Raises a
    ValueError for others, and an OSError if a file cannot be written.
    """
    kinds = DEFAULT_KINDS['image'] if kinds is None else kinds
    if whole := [kind for kind in kinds if kind in ('coco', 'video')]:
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
