"""Datasets of people with dense labels: folders of images and of labels for each task, checked when opened."""
import os
import os.path as osp
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

from ..tasks import INSTANCE_LABEL, MASK_LABEL, canonical_name, dense_tasks, labels
from ..utils.problems import Problem, guide, report
from ..vocabularies.body_parts import FLIPPED_PARTS, PART_COLORS, PART_NAMES
from ..vocabularies.lip import CIHP_NAMES, FLIPPED_LIP, LIP_COLORS, LIP_NAMES
from ..vocabularies.mirror import check_mirror
from .label_files import ARRAY_SUFFIXES, IMAGE_SUFFIXES, file_size

__all__ = [
    'SapiensCIHPDataset', 'SapiensDenseDataset', 'SapiensHi4DDataset', 'SapiensLIPDataset', 'SapiensScanDataset',
    'SapiensSynthHumanDataset', 'SapiensSyntheticDataset', 'SapiensTHuman2Dataset'
]

_SPLITS = dict(train='Training', val='Validation')


@DATASETS.register_module()
class SapiensDenseDataset(BaseDataset):
    """People with labels for segmentation, depth, normals or several of them.

    ``images/``, ``masks/``, ``parts/``, ``depths/``, ``normals/`` (``instances/`` is optional) below ``data_root`` have
    files of the same names up to the suffix, in subfolders too. Samples are sorted by name. Images: png, jpg, webp,
    rotated by their EXIF orientation; labels: lossless formats only.

    * masks: an image, with the person above 127, or above 0 if no pixel is above 127.
    * parts: PNG with class ids (also as palette indices); 255 is ignored.
    * depth: npy, npz, exr (H, W), or 16-bit PNG. Positive along the optical axis, 0 for no label.
    * normals: npy, npz, exr (H, W, 3), unit vectors in camera space, x right, y up, z to the viewer, 0 for no label; or
      PNG with ``(n + 1) / 2`` of its range.

    Args:
        data_prefix: Folder of each kind of file, instead of the default; None for a kind that is missing.
        tasks: Labels to load: ``seg``, ``depth``, ``normal``; () for masks alone, which are also those of
            ``foreground``.
        ann_file: Text file with the name of one sample per line, to use only these; all by default.
        depth_scale: Unit of the depth files, in the dataset's unit (16-bit PNG in millimeters: 0.001 for meters).
        max_depth: Largest valid depth of a person, in the dataset's unit. By default 1000, and a constant background
            more than four times farther than the person is an error.
        normal_signs: Factors of x, y and z of the files (OpenCV's y down, z forward: ``(1, -1, -1)``).
        mask_labels: Drop depth and normals off the person, where files may have any value.
        check_sizes: Number of samples whose sizes in headers are compared on opening; ``'all'`` or 0.
        filter_cfg: ``dict(regions=('face', ...))`` keeps samples of these regions, where a dataset knows them.

    Raises a FileNotFoundError without a folder, a ValueError without samples, or for a lone file or unequal sizes.
    """

    METAINFO = dict(classes=PART_NAMES, palette=PART_COLORS, flip_indices=FLIPPED_PARTS)
    #: Folders of kinds of files that differ from the default of the label.
    FOLDERS = {}
    #: Prefix of the names of a kind of file, where several kinds share a folder.
    BEGINNINGS = {}
    TASKS = ('seg', 'depth', 'normal')

    def __init__(self, data_root: str = '', data_prefix: dict | None = None, tasks: Sequence[str] | None = None,
                 ann_file: str = '', depth_scale: float = 1., max_depth: float | None = None,
                 normal_signs: Sequence[int] = (1, 1, 1), mask_labels: bool = False, check_sizes: int | str = 64,
                 **kwargs):
        self.tasks = tuple(canonical_name(task) for task in (self.TASKS if tasks is None else tasks))
        known = dense_tasks()
        masked = {'mask_path': 'masks', **self.FOLDERS, **(data_prefix or {})}['mask_path'] is not None
        if not (self.tasks or masked) or not known.keys() >= set(self.tasks):
            raise ValueError(self._message(f'tasks: got {self.tasks}, expected some of {", ".join(known)}, or none '
                                           'with masks alone'))
        if check_sizes != 'all' and (not isinstance(check_sizes, int) or check_sizes < 0):
            raise ValueError(self._message(f"check_sizes: got {check_sizes!r}, expected a number of samples or 'all'"))
        for key, value in (('depth_scale', depth_scale), ('max_depth', max_depth)):
            if value is not None and not value > 0:
                raise ValueError(self._message(f'{key}: got {value}, expected a positive number'))
        if len(normal_signs) != 3 or any(abs(sign) != 1 for sign in normal_signs):
            raise ValueError(self._message(f'normal_signs: got {normal_signs}, expected three of 1 and -1'))
        defaults = {'img_path': 'images', **{label.path_key: label.folder for label in labels()}}
        unknown = sorted((data_prefix or {}).keys() - defaults.keys())
        if unknown:
            raise ValueError(self._message(f'data_prefix: got {", ".join(unknown)}, expected some of '
                                           f'{", ".join(defaults)}'))
        folders = {**defaults, **self.FOLDERS, **(data_prefix or {})}
        unused = {task.label.path_key for name, task in known.items()
                  if name not in self.tasks and task.label is not MASK_LABEL}
        folders = {kind: path for kind, path in folders.items() if path is not None and kind not in unused}
        missing = [known[task].label.path_key for task in self.tasks if known[task].label.path_key not in folders]
        if missing:
            raise ValueError(self._message(f'data_prefix: got no {", ".join(missing)}, expected the folders of '
                                           f'tasks={self.tasks}'))
        self.check_sizes = check_sizes
        self._shared = dict(depth_scale=depth_scale, max_depth=max_depth, normal_signs=tuple(normal_signs),
                            mask_labels=mask_labels)
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=folders, **kwargs)
        num_classes, flip_indices = len(self.metainfo['classes']), tuple(self.metainfo['flip_indices'])
        check_mirror(self.metainfo['classes'], flip_indices, f'metainfo of {type(self).__name__}')
        self._shared.update(num_classes=num_classes, flip_indices=flip_indices)

    def load_data_list(self) -> list[dict]:
        """Returns a sample for each image, sorted by name: ``sample_name``, paths of files, ``region`` if known."""
        files = {kind: self._files(kind) for kind in self.data_prefix}
        names = sorted(files['img_path'])
        if self.ann_file:
            names = self._listed(files['img_path'])
        if not names:
            raise ValueError(self._message(f"data_prefix['img_path']: got '{self.data_prefix['img_path']}' without "
                                           f"images, expected {self._pattern('img_path')}. {self._root_hint()}"))
        self._check_partners(files, names)
        data_list = []
        for name in names:
            info = {kind: osp.join(self.data_prefix[kind], paths[name]) for kind, paths in files.items()
                    if name in paths}
            info['sample_name'] = name
            region = self.region(name)
            if region is not None:
                info['region'] = region
            data_list.append(info)
        self._compare_sizes(data_list)
        return data_list

    def _check_partners(self, files: dict[str, dict[str, str]], names: list[str]) -> None:
        images = self.data_prefix['img_path']
        for kind, paths in files.items():
            if kind == INSTANCE_LABEL.path_key:
                continue
            missing = [name for name in names if name not in paths]
            extra = [] if self.ann_file else sorted(paths.keys() - files['img_path'].keys())
            folder, what = self.data_prefix[kind], kind.removesuffix('_path').removesuffix('_map')
            if missing:
                advice = '; without masks at all, set data_prefix=dict(mask_path=None)' if kind == 'mask_path' else ''
                report(Problem('missing files', folder, f'have no {what}', 'a file of the same name; add it, or remove '
                               f'the image{advice}', tuple(missing), total=len(names), unit='image'))
            if extra:
                report(Problem('missing files', folder, f"have no image in '{images}'", 'an image of the same name; '
                               'add it, remove the file, or list the samples to use in ann_file', tuple(extra),
                               total=len(paths), unit='file'))

    def region(self, name: str) -> str | None:
        """Returns the region that a sample shows (``face``, ``upper_body``, ``full_body``) if its name says so."""
        return None

    def filter_data(self) -> list[dict]:
        regions = (self.filter_cfg or {}).get('regions')
        if regions is None:
            return self.data_list
        kept = [info for info in self.data_list if info.get('region') in regions]
        if not kept:
            known = sorted({info.get('region') or 'no region' for info in self.data_list})
            raise ValueError(self._message(f'filter_cfg.regions: got {tuple(regions)}, expected some of the '
                                           f'{len(self.data_list)} samples\' regions, {", ".join(known)}'))
        return kept

    def get_data_info(self, idx: int) -> dict:
        # mmseg's LoadAnnotations reads the last two.
        return {**super().get_data_info(idx), **self._shared, 'seg_fields': [], 'reduce_zero_label': False}

    def _files(self, kind: str) -> dict[str, str]:
        folder = self.data_prefix[kind] or '.'
        if not osp.isdir(folder):
            if kind == INSTANCE_LABEL.path_key:
                return {}
            raise FileNotFoundError(self._message(f"data_prefix['{kind}']: got '{folder}', expected a folder. "
                                                  f'{self._root_hint()}'))
        beginning, suffixes, paths = self.BEGINNINGS.get(kind, ''), self._suffixes(kind), {}
        for below, file in self._walk(folder, {osp.realpath(path or '.') for path in self.data_prefix.values()}):
            stem, suffix = osp.splitext(file)
            if suffix.lower() in suffixes and stem.startswith(beginning) and not stem.startswith('.'):
                name, path = below + stem[len(beginning):], below + file
                if name in paths:
                    report(Problem('repeated names', folder, f'both {paths[name]} and {path}', 'one file of that name; '
                                   'remove the other'))
                paths[name] = path
        return paths

    @staticmethod
    def _walk(folder: str, others: set[str]) -> Iterator[tuple[str, str]]:
        """Yields subfolder (``''`` or ending in a slash) and name of each file that is not hidden or in ``others``."""
        subfolders = ['']
        while subfolders:
            below = subfolders.pop()
            with os.scandir(osp.join(folder, below)) as entries:
                for entry in entries:
                    if not entry.is_dir():
                        yield below, entry.name
                    elif not entry.name.startswith('.') and osp.realpath(entry.path) not in others:
                        subfolders.append(f'{below}{entry.name}/')

    @staticmethod
    def _suffixes(kind: str) -> tuple:
        arrays = any(label.arrays for label in labels() if label.path_key == kind)
        return IMAGE_SUFFIXES + ARRAY_SUFFIXES if arrays else IMAGE_SUFFIXES

    def _pattern(self, kind: str) -> str:
        return ', '.join(f'{self.BEGINNINGS.get(kind, "")}*{suffix}' for suffix in self._suffixes(kind))

    def _listed(self, images: dict) -> list[str]:
        if not osp.isfile(self.ann_file):
            raise FileNotFoundError(self._message(
                f"ann_file: got '{self.ann_file}', expected a file. {self._root_hint()}"))
        with open(self.ann_file, encoding='utf-8-sig') as file:
            lines = {osp.normpath(line.strip()) for line in file if line.strip()}
        # A name may have dots, and may be listed with its suffix or without.
        names = sorted({line if line in images else self._without_suffix(line) for line in lines})
        missing = [name for name in names if name not in images]
        if missing:
            report(Problem('missing files', self.ann_file, f"have no image in '{self.data_prefix['img_path']}'",
                           'names of images there; correct the list', tuple(missing), total=len(names), unit='name'))
        return [name for name in names if name in images]

    @staticmethod
    def _without_suffix(name: str) -> str:
        stem, suffix = osp.splitext(name)
        return stem if suffix.lower() in IMAGE_SUFFIXES + ARRAY_SUFFIXES else name

    def _compare_sizes(self, data_list: list[dict]) -> None:
        number = len(data_list) if self.check_sizes == 'all' else min(self.check_sizes, len(data_list))
        wrong = []
        for index in np.linspace(0, len(data_list) - 1, number).round().astype(int):
            info = data_list[index]
            sizes = {kind: file_size(path) for kind, path in info.items() if kind.endswith('_path')}
            other = [f'{info[kind]} is {size[1]}x{size[0]}' for kind, size in sizes.items()
                     if size != sizes['img_path']]
            if other:
                wrong.append(f'{info["img_path"]} is {sizes["img_path"][1]}x{sizes["img_path"][0]}, but '
                             + ' and '.join(other))
        if wrong:
            report(Problem('image sizes', self.data_prefix['img_path'], 'have labels of another size (width x height)',
                           'labels of the size of their image; take both from the same source', tuple(wrong),
                           total=number, unit='sample'))

    def _message(self, problem: str) -> str:
        return f'{type(self).__name__}: {problem}. {guide("cannot be opened")}'

    def _root_hint(self) -> str:
        return f"Set data_root (now '{getattr(self, 'data_root', '')}') in the config; docs/datasets.md has layouts"


@DATASETS.register_module()
class SapiensSyntheticDataset(SapiensDenseDataset):
    """Data of ``tools/synthesize.py``: segmentation, depth in meters, and normals."""

    FOLDERS = dict(depth_map_path='depth', normal_map_path='normal')


@DATASETS.register_module()
class SapiensScanDataset(SapiensSyntheticDataset):
    """Data of ``render_scans.py``: depth in meters, and normals; names (not Hi4D's) end in their ``region``."""

    TASKS = ('depth', 'normal')
    REGIONS = ('face', 'upper_body', 'full_body')

    def region(self, name: str) -> str | None:
        return next((region for region in self.REGIONS if name.endswith(f'_{region}')), None)


@DATASETS.register_module()
class SapiensTHuman2Dataset(SapiensScanDataset):
    """THuman2.0 rendered by the paper's protocol: three images of each scan, each with its ``region``."""


@DATASETS.register_module()
class SapiensHi4DDataset(SapiensScanDataset):
    """Hi4D's photos with labels rendered from its scans."""

    METAINFO = dict(**SapiensScanDataset.METAINFO, dataset_name='Hi4D')


@DATASETS.register_module()
class SapiensSynthHumanDataset(SapiensDenseDataset):
    """Microsoft's SynthHuman as downloaded: depth (files in cm, here in meters), normals, ``region`` by number."""

    FOLDERS = dict(img_path='', mask_path='', depth_map_path='', normal_map_path='', instance_map_path=None,
                   seg_map_path=None)
    BEGINNINGS = dict(img_path='rgb_', mask_path='alpha_', depth_map_path='depth_', normal_map_path='normal_')
    TASKS = ('depth', 'normal')
    #: Region, and the first number after its last.
    REGION_ENDS = (('face', 98040), ('full_body', 198016), ('upper_body', 298008))

    def __init__(self, *args, depth_scale: float = 0.01, mask_labels: bool = True, **kwargs):
        super().__init__(*args, depth_scale=depth_scale, mask_labels=mask_labels, **kwargs)

    def region(self, name: str) -> str | None:
        return next((region for region, end in self.REGION_ENDS if name.isdigit() and int(name) < end), None)


@DATASETS.register_module()
class SapiensLIPDataset(SapiensDenseDataset):
    """LIP: single persons, 20 classes; ``split`` is ``train`` or ``val``, other arguments as `SapiensDenseDataset`."""

    METAINFO = dict(classes=LIP_NAMES, palette=LIP_COLORS, flip_indices=FLIPPED_LIP)
    TASKS = ('seg', )

    def __init__(self, *args, split: str = 'train', data_prefix: dict | None = None, **kwargs):
        if split not in _SPLITS:
            raise ValueError(self._message(f"split: got {split!r}, expected 'train' or 'val'"))
        super().__init__(*args, data_prefix={**self.folders(split), **(data_prefix or {})}, **kwargs)

    @staticmethod
    def folders(split: str) -> dict:
        return dict(img_path=f'TrainVal_images/{split}_images',
                    seg_map_path=f'TrainVal_parsing_annotations/{split}_segmentations', mask_path=None,
                    instance_map_path=None)


@DATASETS.register_module()
class SapiensCIHPDataset(SapiensLIPDataset):
    """CIHP: several persons per image, 20 classes, of which class 10 differs from LIP's; arguments as LIP's."""

    METAINFO = dict(classes=CIHP_NAMES, palette=LIP_COLORS, flip_indices=FLIPPED_LIP)

    @staticmethod
    def folders(split: str) -> dict:
        return dict(img_path=f'{_SPLITS[split]}/Images', seg_map_path=f'{_SPLITS[split]}/Category_ids', mask_path=None,
                    instance_map_path=f'{_SPLITS[split]}/Human_ids')
