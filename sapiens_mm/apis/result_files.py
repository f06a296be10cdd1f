"""Files of results: their names, content and presence; docs/outputs.md describes them. Each is complete or absent."""
import json
import os
import os.path as osp
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..formats.mesh import Surface, import_trimesh, write_glb, write_ply
from ..formats.png import write_png16
from ..names import COLLECTED_KINDS, KINDS, NEEDED_TASKS, NORMAL_CONVENTIONS, SPACE_KINDS
from ..tasks import dense_tasks
from ..utils.files import read_json, replacing
from ..visualization.maps import bands, color_normals
from .frames import Source
from .result import Result, check_keypoint_format, check_one_list, frame_name
from .space import Shot, Space
from .video_writer import import_av

#: Kinds of files that are written by default.
DEFAULT_KINDS = dict(image={'json', 'overlay', 'sheet'}, tar={'json', 'overlay', 'sheet'}, video={'json', 'video'},
                     camera={'json', 'video'})
_SUFFIXES = dict(json='.json', npz='.npz', overlay='.overlay.jpg', sheet='.sheet.jpg', controlnet='.controlnet.png',
                 features='.features.npz', normal16='.normal16.png', matte='.matte.png', ply='.ply', glb='.glb',
                 video='.overlay.mp4')
#: Kinds that an archive has instead of the folder.
_ARCHIVED = {'png', *_SUFFIXES} - {'video'}
_MAX_VALUE = 65535  # of a 16-bit depth PNG


class ResultFiles:
    """Files of images, frames, videos and tar files below a folder; ValueError for unknown kinds and formats.

    Args:
        kinds, keypoint_format, threshold, space, normal_convention: See :class:`~sapiens_mm.apis.writer.ResultWriter`.

    Attributes:
        staging: Folder of the files to be collected; None without kinds that are.
    """

    def __init__(self, folder: str, kinds: Collection[str] | None = None, keypoint_format: str = 'model',
                 threshold: float = .3, space: Space | None = None, normal_convention: str = NORMAL_CONVENTIONS[0]):
        unknown = [kind for kind in kinds or () if kind not in KINDS]
        if unknown:
            raise ValueError(f"save: got '{unknown[0]}', expected some of {', '.join(KINDS)}")
        check_keypoint_format(keypoint_format)
        if kinds and 'video' in kinds:
            import_av()
        if set(kinds or ()) & set(SPACE_KINDS):
            import_trimesh()
        if normal_convention not in NORMAL_CONVENTIONS:
            raise ValueError(f"normal_convention: got '{normal_convention}', expected one of "
                             f'{", ".join(NORMAL_CONVENTIONS)}')
        for kind in ('coco', 'masks', 'parquet'):
            if kinds and kind in kinds:
                check_one_list(keypoint_format, f'save {kind}')
        self.folder, self.kinds = folder, None if kinds is None else _with_implied(set(kinds))
        self.keypoint_format, self.threshold = keypoint_format, threshold
        self.space, self.normal_convention = space or Space(), normal_convention
        self.staging: str | None = None
        self._archives = 'tar' in (kinds or ())

    def kinds_of(self, source: Source) -> set[str]:
        kinds = DEFAULT_KINDS[source.kind] if self.kinds is None else self.kinds
        if source.kind == 'camera':
            if collected := set(kinds) & set(COLLECTED_KINDS):
                raise ValueError(f'save: got {min(collected)} for a camera, which has no end, expected '
                                 'other kinds; record a video')
            if set(kinds) & set(SPACE_KINDS) and not self.space.per_frame_scale:
                raise ValueError('per_frame_scale: got False for points in space of a camera, which has no end, '
                                 'expected True')
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

    def has(self, source: Source, tasks: Sequence[str] = ()) -> bool:
        """Returns whether a source has all files, none empty, with PNGs of some tasks; a video its last frame's."""
        kinds = {kind for kind in self.kinds_of(source) if self.folder in self._folders(kind)}
        return self._is_written(source, kinds, tasks, self.folder)

    def is_staged(self, source: Source, tasks: Sequence[str] = ()) -> bool:
        """Returns whether a source has all files to be collected."""
        if self.staging is None:
            return False
        kinds = {kind for kind in {'json', *self.kinds_of(source)}
                 if kind == 'masks' or self.staging in self._folders(kind)}
        return self._is_written(source, kinds, tasks, self.staging)

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
            files += [self._path(name, kind, folder) for kind in kinds & _SUFFIXES.keys() - {'video'}]
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
        staged = self.staging is not None and (kind == 'json' or archived and kind in self.kinds)
        return folders + [self.staging] * staged

    def write(self, result: Result, shot: Shot | None = None) -> None:
        """Writes the files of an image or frame, the JSON last; points in space are added to a shot instead."""
        kinds = self.kinds_of(result.source)
        content = result.to_json(self.keypoint_format, self.threshold, 'masks' in kinds)
        writers = dict(npz=self._write_npz, overlay=self._write_overlay, sheet=self._write_sheet,
                       controlnet=self._write_controlnet, features=self._write_features, matte=self._write_matte,
                       normal16=self._write_normal16)
        missing = {kind for kind in kinds for names in NEEDED_TASKS.get(kind, ())
                   if all(dense_tasks()[name].result not in result.maps for name in names)}
        for kind in kinds & writers.keys() - missing:
            self._write(result.name, kind, writers[kind], result)
        if kinds & set(SPACE_KINDS) - missing:
            if shot is None:
                self.write_surface(result.name, result.surface(**vars(self.space)), kinds)
            else:
                shot.add(result.name, *result.depth_of_people())
        if 'png' in kinds:
            content |= self._write_pngs(result)
        self._write(result.name, 'json', _write_json, content)

    def write_surface(self, name: str, surface: Surface, kinds: Collection[str]) -> None:
        for kind, write in (('ply', write_ply), ('glb', write_glb)):
            if kind in kinds:
                self._write(name, kind, write, surface)

    def write_record(self, source: Source, content: dict) -> None:
        """Writes the JSON of a whole video or tar file."""
        for folder in {self.folder, self.staging or self.folder}:
            self._write_to(self._path(source.name, 'json', folder), _write_json, content)

    def video_path(self, source: Source) -> str:
        return self._path(source.name, 'video', self.folder)

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
    def _write_matte(path: str, result: Result) -> None:
        alpha = result.mask * np.uint8(255)
        people = np.where(alpha[..., None] > 0, result.image, np.uint8(0))
        Image.fromarray(np.dstack([people, alpha])).save(path, 'PNG')

    def _write_normal16(self, path: str, result: Result) -> None:
        write_png16(path, encode_normals(self._directed(result.normal)), dict(convention=self.normal_convention))

    def _directed(self, normals: np.ndarray) -> np.ndarray:
        return normals if self.normal_convention == 'opengl' else normals * np.array([1, -1, 1], normals.dtype)

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
                image = Image.fromarray(color_normals(self._directed(values)))
                notes = dict(convention=self.normal_convention)
            else:
                image = Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))  # values, and masks
            info = PngInfo()
            for name, value in notes.items():
                info.add_text(name, str(value))
            with replacing(f'{base}.{task.result}.png', flush=False) as part:
                image.save(part, 'PNG', pnginfo=info)
        return content


def save(result: Result, folder: str | os.PathLike, kinds: str | Collection[str] | None = None,
         keypoint_format: str = 'model', threshold: float = .3) -> None:
    """Writes the files of an image or a frame below a folder, as ``sapiens-mm run`` does.

    ``kinds`` are some of `KINDS` but those of a whole run or video; by default JSON, overlay and sheet. Raises a
    ValueError for others, and an OSError if a file cannot be written.
    """
    kinds = DEFAULT_KINDS['image'] if kinds is None else [kinds] if isinstance(kinds, str) else kinds
    if whole := [kind for kind in kinds if kind in (*COLLECTED_KINDS, 'video')]:
        raise ValueError(f'save: got {whole[0]}, which is a file of several images, expected other kinds; use a '
                         'ResultWriter')
    ResultFiles(os.fspath(folder), kinds, keypoint_format, threshold).write(result)


Result.save = save  # here, since this imports results


def _with_implied(kinds: set[str]) -> set[str]:
    if 'tar' in kinds and not kinds & (_ARCHIVED | {'masks'}):
        return kinds | {'json', 'png'}
    return kinds if kinds & {'parquet', 'tar'} and 'masks' not in kinds else kinds | {'json'}


def kept_tasks(tasks: Sequence[str], kinds: Collection[str]) -> list[str]:
    """Returns the tasks whose results are kept by kinds of files: JSON has keypoints, overlays the first dense task."""
    dense = dense_tasks()
    first = [name for name in dense if name in tasks][:1]
    maps = dense if {'npz', 'png', 'sheet'} & set(kinds) else first if {'overlay', 'video'} & set(kinds) else ()
    maps = {*maps, *(name for kind in kinds for names in NEEDED_TASKS.get(kind, ()) for name in names),
            *(['normal'] if set(SPACE_KINDS) & set(kinds) else []), *(tasks[:1] if 'features' in kinds else [])}
    return [task for task in tasks if task not in dense or task in maps]


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Encodes normals (H, W, 3) as uint16, ``n = value / 32767.5 - 1``; 0 where they are 0."""
    encoded = np.zeros(normals.shape, np.uint16)
    for band in bands(normals.shape):
        values = np.rint((normals[band].astype(np.float64) + 1) * (_MAX_VALUE / 2)).clip(0, _MAX_VALUE)
        encoded[band] = np.where((normals[band] != 0).any(axis=-1, keepdims=True), np.nan_to_num(values), 0)
    return encoded


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


def _write_json(path: str, content: dict) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(content, file)
