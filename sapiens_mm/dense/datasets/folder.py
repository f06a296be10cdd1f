"""Folders of pictures with a folder of labels for each task: one base for every layout, checked when it is opened."""
import os
import os.path as osp
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

from ...utils.problems import Problem, guide, report
from ...vocabularies.body_parts import FLIPPED_PARTS, PART_COLORS, PART_NAMES
from ...vocabularies.mirror import check_mirror
from ..label_files import ARRAY_SUFFIXES, IMAGE_SUFFIXES, file_size

#: Folder that a task's labels come from, by task.
TASK_FOLDERS = dict(parts='seg_map_path', depth='depth_map_path', normal='normal_map_path')


@DATASETS.register_module()
class SapiensDenseDataset(BaseDataset):
    """People with labels for body parts, depth, normals or several of them.

    ``images/``, ``masks/``, ``parts/``, ``depths/``, ``normals/`` hold files of the same names up to the suffix, in
    subfolders too; an ``instances/`` folder is used where it exists. Samples are sorted by name, so that every process
    sees the same order. Subclasses state where a data set keeps things.

    * images: png, jpg, webp, turned as their EXIF orientation says. Labels: lossless formats only.
    * masks: an image; the person is where it is above 127, or above 0 where nothing is above 127.
    * parts: PNG with class ids (a palette is only its colours); 255 is ignored.
    * depth: npy, npz, exr (H, W), or 16-bit PNG. Positive along the optical axis, 0 for no label.
    * normals: npy, npz, exr (H, W, 3), unit vectors in the camera's space, x right, y up, z to the viewer, 0 for no
      label; or PNG with ``(n + 1) / 2`` of its range.

    Args:
        data_root: The folder of the folders.
        data_prefix: Folder of each kind of file, in place of `FOLDERS`; None for a kind that there is not.
        tasks: Labels to load: ``parts``, ``depth``, ``normal``.
        ann_file: Text file with one sample's name per line, to use only these; all by default.
        depth_scale: Unit of the depth files, in the unit wanted (16-bit PNG in millimetres: 0.001 for metres).
        max_depth: Largest valid depth of a person, in the unit wanted. If not set: 1000, and a constant background more
            than four times farther than the person is an error.
        normal_signs: What x, y and z of the files are multiplied by (OpenCV's y down, z forward: ``(1, -1, -1)``).
        mask_labels: Depth and normals off the person have no meaning, whatever the file says there; they are dropped.
        check_sizes: Samples, spread evenly, of which the sizes in all files' headers are compared when the dataset is
            opened; ``'all'`` or 0. (Those of each sample are compared when it is loaded, too.)
        filter_cfg: ``dict(regions=('face', ...))`` leaves samples of these regions, where a dataset knows them.
        kwargs: Those of ``mmengine.dataset.BaseDataset``: ``pipeline``, ``indices``, ``lazy_init``, ...

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If a file has no partner or another size (the first five are named), or there are no samples.
    """

    METAINFO = dict(classes=PART_NAMES, palette=PART_COLORS, flip_indices=FLIPPED_PARTS)
    FOLDERS = dict(img_path='images', mask_path='masks', seg_map_path='parts', depth_map_path='depths',
                   normal_map_path='normals', instance_map_path='instances')
    #: How the names of a kind of file begin, where several kinds share a folder.
    BEGINNINGS = {}
    TASKS = ('parts', 'depth', 'normal')

    def __init__(self, data_root: str = '', data_prefix: dict | None = None, tasks: Sequence[str] | None = None,
                 ann_file: str = '', depth_scale: float = 1., max_depth: float | None = None,
                 normal_signs: Sequence[int] = (1, 1, 1), mask_labels: bool = False, check_sizes: int | str = 64,
                 **kwargs):
        self.tasks = tuple(self.TASKS if tasks is None else tasks)
        unknown = [task for task in self.tasks if task not in TASK_FOLDERS]
        if unknown or not self.tasks:
            raise ValueError(self._says(f'tasks is {self.tasks}, but must be some of {", ".join(TASK_FOLDERS)}'))
        if check_sizes != 'all' and (not isinstance(check_sizes, int) or check_sizes < 0):
            raise ValueError(self._says(f"check_sizes is {check_sizes!r}, but must be a number of samples or 'all'"))
        for key, value in (('depth_scale', depth_scale), ('max_depth', max_depth)):
            if value is not None and not value > 0:
                raise ValueError(self._says(f'{key} is {value}, but must be positive'))
        if len(normal_signs) != 3 or any(abs(sign) != 1 for sign in normal_signs):
            raise ValueError(self._says(f'normal_signs is {normal_signs}, but must be three of 1 and -1'))
        folders = {**self.FOLDERS, **(data_prefix or {})}
        unknown = folders.keys() - SapiensDenseDataset.FOLDERS.keys()
        if unknown:
            raise ValueError(self._says(f'data_prefix has {", ".join(sorted(unknown))}; expected some of '
                                        f'{", ".join(SapiensDenseDataset.FOLDERS)}'))
        unused = {folder for task, folder in TASK_FOLDERS.items() if task not in self.tasks}
        folders = {kind: path for kind, path in folders.items() if path is not None and kind not in unused}
        lacking = [TASK_FOLDERS[task] for task in self.tasks if TASK_FOLDERS[task] not in folders]
        if lacking:
            raise ValueError(self._says(f'tasks={self.tasks} needs data_prefix {", ".join(lacking)}'))
        self.check_sizes = check_sizes
        self._of_all = dict(depth_scale=depth_scale, max_depth=max_depth, normal_signs=tuple(normal_signs),
                            mask_labels=mask_labels)
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=folders, **kwargs)
        num_classes, flip_indices = len(self.metainfo['classes']), tuple(self.metainfo['flip_indices'])
        check_mirror(self.metainfo['classes'], flip_indices, f'metainfo of {type(self).__name__}')
        self._of_all.update(num_classes=num_classes, flip_indices=flip_indices)

    def load_data_list(self) -> list[dict]:
        """A sample for each image, sorted by name: ``sample_name``, the paths of its files, ``region`` if known."""
        files = {kind: self._files(kind) for kind in self.data_prefix}
        names = sorted(files['img_path'])
        if self.ann_file:
            names = self._listed(files['img_path'])
        if not names:
            raise ValueError(self._says(f"no sample in '{self.data_prefix['img_path']}': expected images "
                                        f"({self._pattern('img_path')}). {self._root_hint()}"))
        self._check_partners(files, names)
        data_list = []
        for name in names:
            info = {kind: osp.join(self.data_prefix[kind], found[name]) for kind, found in files.items()
                    if name in found}
            info['sample_name'] = name
            region = self.region(name)
            if region is not None:
                info['region'] = region
            data_list.append(info)
        self._compare_sizes(data_list)
        return data_list

    def _check_partners(self, files: dict[str, dict[str, str]], names: list[str]) -> None:
        """Checks that every image has all its labels and every label its image."""
        images = self.data_prefix['img_path']
        for kind, found in files.items():
            if kind == 'instance_map_path':
                continue
            missing = [name for name in names if name not in found]
            extra = [] if self.ann_file else sorted(found.keys() - files['img_path'].keys())
            folder, what = self.data_prefix[kind], kind.removesuffix('_path').removesuffix('_map')
            if missing:
                advice = '; without masks at all, set data_prefix=dict(mask_path=None)' if kind == 'mask_path' else ''
                report(Problem('missing files', folder, f'have no {what}', 'a file of the same name; add it, or remove '
                               f'the image{advice}', tuple(missing), total=len(names), unit='image'))
            if extra:
                report(Problem('missing files', folder, f"have no image in '{images}'", 'an image of the same name; '
                               'add it, remove the file, or list the samples to use in ann_file', tuple(extra),
                               total=len(found), unit='file'))

    def region(self, name: str) -> str | None:
        """What a sample shows (``face``, ``upper_body``, ``full_body``), where its name tells."""
        return None

    def filter_data(self) -> list[dict]:
        """The samples that ``filter_cfg`` leaves."""
        regions = (self.filter_cfg or {}).get('regions')
        if regions is None:
            return self.data_list
        left = [info for info in self.data_list if info.get('region') in regions]
        if not left:
            known = sorted({info.get('region') or 'no region' for info in self.data_list})
            raise ValueError(self._says(f"filter_cfg's regions {tuple(regions)} leave none of {len(self.data_list)} "
                                        f'samples, which are of: {", ".join(known)}'))
        return left

    def get_data_info(self, idx: int) -> dict:
        """A sample with what all samples share, which is not stored with each."""
        # The last is for mmseg's own LoadAnnotations.
        return {**super().get_data_info(idx), **self._of_all, 'seg_fields': [], 'reduce_zero_label': False}

    def _files(self, kind: str) -> dict[str, str]:
        """File name by sample name."""
        folder = self.data_prefix[kind] or '.'
        if not osp.isdir(folder):
            if kind == 'instance_map_path':
                return {}
            raise FileNotFoundError(self._says(f"data_prefix['{kind}'] '{folder}' is not a folder. "
                                               f'{self._root_hint()}'))
        beginning, suffixes, found = self.BEGINNINGS.get(kind, ''), self._suffixes(kind), {}
        for below, file in self._walk(folder, {osp.realpath(path or '.') for path in self.data_prefix.values()}):
            stem, suffix = osp.splitext(file)
            if suffix.lower() in suffixes and stem.startswith(beginning) and not stem.startswith('.'):
                name, path = below + stem[len(beginning):], below + file
                if name in found:
                    report(Problem('repeated names', folder, f'both {found[name]} and {path}', 'one file of that name; '
                                   'remove the other'))
                found[name] = path
        return found

    @staticmethod
    def _walk(folder: str, others: set[str]) -> Iterator[tuple[str, str]]:
        """The files of a folder and those below it, but for hidden folders and those of other kinds of files.

        Yields the folder, ``''`` or with a slash at its end, and the name of each file.
        """
        waiting = ['']
        while waiting:
            below = waiting.pop()
            with os.scandir(osp.join(folder, below)) as entries:
                for entry in entries:
                    if not entry.is_dir():
                        yield below, entry.name
                    elif not entry.name.startswith('.') and osp.realpath(entry.path) not in others:
                        waiting.append(f'{below}{entry.name}/')

    @staticmethod
    def _suffixes(kind: str) -> tuple:
        return IMAGE_SUFFIXES if kind in ('img_path', 'mask_path') else IMAGE_SUFFIXES + ARRAY_SUFFIXES

    def _pattern(self, kind: str) -> str:
        return ', '.join(f'{self.BEGINNINGS.get(kind, "")}*{suffix}' for suffix in self._suffixes(kind))

    def _listed(self, images: dict) -> list[str]:
        if not osp.isfile(self.ann_file):
            raise FileNotFoundError(self._says(f"ann_file '{self.ann_file}' does not exist. {self._root_hint()}"))
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

    def _says(self, problem: str) -> str:
        return f'{type(self).__name__}: {problem}. {guide("cannot be opened")}'

    def _root_hint(self) -> str:
        return f"Set data_root (it is '{getattr(self, 'data_root', '')}') in the config; docs/datasets.md has layouts"

