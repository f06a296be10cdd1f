"""Collection of the results of many images in a few files: Parquet tables, tar archives, COCO annotations.

Processes write the results of each image as files below a staging folder. One process, the run's, collects those of
finished inputs and removes them. A killed run leaves them, and the one that resumes it collects them.
"""
import glob
import json
import os
import os.path as osp
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..formats import results, tables
from ..formats.coco import AnnotationLines
from ..formats.labels import keypoint_set, select
from ..tasks import dense_tasks
from ..utils.files import read_json, remove, replacing
from ..utils.text import some
from .frames import Source
from .result import frame_name
from .sources import IMAGES

#: Results and bytes of files that are collected at once. An archive has about as many.
_MOST_RESULTS, _MOST_BYTES = 4096, 2**29
_STAGING = '.unfinished'
_SHARD = r'(-\d{5,}-of-\d{5,})?'
_TABLES, _ARCHIVES = rf'(people|images){_SHARD}\.parquet', rf'samples{_SHARD}-\d{{5,}}\.tar'


def _shard_of(path: str) -> tuple[int, int] | None:
    match = re.search(r'-(\d{5,})-of-(\d{5,})', osp.basename(path))
    return match and (int(match[1]), int(match[2]))


def _names_in_lines(path: str) -> Iterator[str]:
    """Yields the file names in the lines of COCO annotations, which another shard may be writing."""
    with open(path, 'rb') as file:
        for line in file:
            with suppress(ValueError):
                yield json.loads(line)['image']['file_name']


@dataclass
class Ended:
    """An input all of whose images were written, or its error; ``seconds`` is the mean time of an image."""
    source: Source
    error: str = ''
    seconds: float | None = None


class Collector:
    """Collects results below a folder; a ValueError if it has those of a run that is not resumed.

    Args:
        kinds: Some of :data:`sapiens_mm.names.COLLECTED_KINDS`.
        shard: (index, number) of a run that shares the folder with other shards: its files have other names.
        threshold: Minimum score of keypoints that are labeled in COCO annotations.
    """

    def __init__(self, folder: str, kinds: Collection[str], shard: tuple[int, int] | None = None, resume: bool = False,
                 threshold: float = .3):
        self.folder, self.kinds, self.threshold = folder, set(kinds), threshold
        self.shard, self._suffix = shard, '' if shard is None else f'-{shard[0]:05d}-of-{shard[1]:05d}'
        self.staging = osp.join(folder, _STAGING + self._suffix, 'results')
        self._parts = osp.join(folder, _STAGING + self._suffix, 'tables')
        self._check_folder(resume)
        self._pending: list[Ended] = []
        self._results = self._bytes = 0
        self._done: dict[str, set[str]] = {kind: set() for kind in self.kinds}
        self._keys: set[str] = set()
        self._names: list[str] | None = None
        self._links: Sequence[Sequence[int]] | None = None
        if 'parquet' in self.kinds:
            tables.import_pyarrow()
            finished = [path for path in self._find(_TABLES) if osp.basename(path).startswith('images')]
            for path in (*finished, *(images for _, images in self._part_files())):
                self._note('parquet', tables.done_images(path))
        for path in self._find(_ARCHIVES) if 'tar' in self.kinds else ():
            self._note_archive(f'{path[:-4]}.jsonl')
        self._lines = AnnotationLines(*(self._path(f'coco{self._suffix}{ending}') for ending in ('.json', '.jsonl')),
                                      resume) if 'coco' in self.kinds else None
        if self._lines is not None:
            others = (name for path in self._find(rf'coco{_SHARD}\.jsonl') if resume and _shard_of(path) != shard
                      for name in _names_in_lines(path))
            self._note('coco', (re.sub(r'\.frames/\d{6,}\.jpg$', '', name) for name in (*self._lines.names, *others)))

    def has(self, name: str) -> bool:
        """Returns whether all kinds have an input."""
        return all(name in done for done in self._done.values())

    def expect(self, names: Sequence[str] | None, links: Sequence[Sequence[int]] | None = None) -> None:
        """States the keypoint names and links of the results to come; a ValueError if earlier ones have others."""
        known = [self._lines.keypoint_names] if self._lines is not None else []
        if 'parquet' in self.kinds:
            files = [people for people, _ in self._all_tables() if tables.has_people(people)]
            known += [tables.keypoint_names_of(files) or []] if files else []
        for earlier in known:
            if earlier is not None and list(earlier) != list(names or ()):
                raise ValueError(f'save: got {len(names or ())} keypoints, expected the {len(earlier)} of earlier '
                                 f'images in {self.folder}; use another folder')
        self._names, self._links = names, links

    def add(self, ended: Ended) -> None:
        """Collects an input, at the latest with :meth:`finish`; OSError or ValueError if a file cannot be written."""
        self._pending.append(ended)
        for name, _ in self._results_of(ended):
            self._results += 1
            if 'tar' in self.kinds:
                self._bytes += sum(map(osp.getsize, self._files(name).values()))
        if self._results >= _MOST_RESULTS or self._bytes >= _MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        whole = [ended for ended in self._pending if not ended.error]
        if self._pending and 'parquet' in self.kinds:
            self._write_tables()
        if 'tar' in self.kinds:
            self._write_archive([ended for ended in whole if ended.source.name not in self._done['tar']])
        if self._lines is not None:
            for name, _ in (result for ended in whole for result in self._results_of(ended)):
                labels = results.parse(read_json(self._files(name)['.json']), name, name)
                self._lines.append(*select([labels], threshold=self.threshold))
        for ended in self._pending:
            for kind in self.kinds if not ended.error else ():
                self._note(kind, (image for _, image in self._results_of(ended)))
                self._note(kind, [ended.source.name])
            if not (ended.error and 'tar' in self.kinds):  # images before the error stay for the run that resumes
                self._remove(ended)
        self._pending, self._results, self._bytes = [], 0, 0

    def finish(self, meta: dict) -> None:
        """Collects the rest and completes all files; ``meta`` is written into the tables."""
        self.flush()
        if 'parquet' in self.kinds and (parts := self._part_files()):
            files = self._all_tables()
            names = tables.keypoint_names_of(people for people, _ in files)
            links = self._links if self._links is not None or names is None else keypoint_set(tuple(names)).links
            tables.merge(files, *self._tables(), skeleton=links and [list(map(int, link)) for link in links],
                         sapiens_mm=meta)
            for part in parts:
                for path in part:
                    remove(path)
        if self._lines is not None:
            self._lines.finish()
        for folder, _, _ in os.walk(osp.dirname(self.staging), topdown=False):
            if not os.listdir(folder):
                os.rmdir(folder)

    def _check_folder(self, resume: bool) -> None:
        def count(shard: tuple[int, int] | None) -> int:
            return 0 if shard is None else shard[1]

        unfinished = self._find(re.escape(_STAGING) + _SHARD)
        if foreign := [path for path in unfinished if count(_shard_of(path)) != count(self.shard)]:
            raise ValueError(f'out: got unfinished results of another number of shards ({osp.basename(foreign[0])} in '
                             f'{self.folder}), expected none; resume that run first')
        finished = [path for kind, pattern in (('parquet', _TABLES), ('tar', _ARCHIVES)) if kind in self.kinds
                    for path in self._find(pattern)]
        mine = [path for path in unfinished + finished
                if _shard_of(path) == self.shard or count(_shard_of(path)) != count(self.shard)]
        if mine and not resume:
            raise ValueError(f'out: got {some(map(osp.basename, mine), 2)} of an earlier run in {self.folder}, '
                             'expected none; add --resume to continue it, or use another folder')

    def _path(self, name: str) -> str:
        return osp.join(self.folder, name)

    def _find(self, pattern: str) -> list[str]:
        names = os.listdir(self.folder) if osp.isdir(self.folder) else []
        return [self._path(name) for name in sorted(names) if re.fullmatch(pattern, name)]

    def _tables(self) -> tuple[str, str]:
        return self._path(f'people{self._suffix}.parquet'), self._path(f'images{self._suffix}.parquet')

    def _part_files(self) -> list[tuple[str, str]]:
        images = sorted(glob.glob(osp.join(glob.escape(self._parts), '*.images.parquet')))
        return [(path.replace('.images.parquet', '.people.parquet'), path) for path in images]

    def _all_tables(self) -> list[tuple[str, str]]:
        finished = [self._tables()] if all(map(osp.exists, self._tables())) else []
        return finished + self._part_files()

    def _note(self, kind: str, names: Iterable[str]) -> None:
        for name in names:
            self._done[kind].add(name)
            self._done[kind].update(tables.folders(name))  # a tar file is the folder of its images

    def _note_archive(self, path: str) -> None:
        with open(path, encoding='utf-8') as file:
            for line in map(json.loads, file):
                self._keys.add(line['key'])
                self._note('tar', [line['image']])

    def _results_of(self, ended: Ended) -> Iterator[tuple[str, str]]:
        """Yields name and image of the staged results of an input; frames have the name of the video as image."""
        source = ended.source
        if source.kind == 'image':
            names = [] if ended.error else [(source.name, source.name)]
        elif source.kind == 'tar':
            folder = osp.join(self.staging, *source.name.split('/'))
            paths = sorted(glob.iglob(osp.join(glob.escape(folder), '**', '*.json'), recursive=True))
            names = ((name, name) for name in (osp.relpath(path, self.staging).replace(os.sep, '/')[:-5]
                                               for path in paths))
        else:
            names = ((frame_name(source.name, index), source.name) for index in self._frames_of(ended))
        yield from names

    def _frames_of(self, ended: Ended) -> Iterable[int]:
        if not ended.error:
            return range(read_json(self._base(ended.source.name) + '.json')['video']['frames'])
        # Frames may be missing, if they could not be written.
        paths = glob.iglob(osp.join(glob.escape(osp.dirname(self._base(frame_name(ended.source.name, 0)))), '*.json'))
        return sorted(int(osp.basename(path)[:-5]) for path in paths)

    def _base(self, name: str) -> str:
        return osp.join(self.staging, *name.split('/'))

    def _files(self, name: str) -> dict[str, str]:
        """Returns the staged files of a result by their suffixes, the JSON first."""
        base = self._base(name)
        suffixes = ('.json', '.npz', '.overlay.jpg', '.sheet.jpg', '.controlnet.png', '.features.npz', '.normal16.png',
                    '.matte.png', '.ply', '.glb',
                    *(f'.{task.result}.png' for task in dense_tasks().values()))
        return {suffix: base + suffix for suffix in suffixes if osp.exists(base + suffix)}

    def _remove(self, ended: Ended) -> None:
        for name, _ in self._results_of(ended):
            for path in self._files(name).values():
                remove(path)
        if ended.source.kind != 'image':
            remove(self._base(ended.source.name) + '.json')

    def _write_tables(self) -> None:
        os.makedirs(self._parts, exist_ok=True)
        number = 1 + max((int(osp.basename(path).partition('.')[0]) for _, path in self._part_files()), default=-1)
        people, images = (osp.join(self._parts, f'{number:06d}.{table}.parquet') for table in ('people', 'images'))
        if self._names is None:
            self._names = next((row.content.get('keypoint_names') for row in self._rows() if row.content), None)
        tables.write_part(people, images, self._rows(), self._names)

    def _rows(self) -> Iterator[tables.Row]:
        for ended in self._pending:
            for name, image in self._results_of(ended):
                yield tables.Row(image, read_json(self._files(name)['.json']), ended.seconds)
            if ended.error:
                yield tables.Row(ended.source.name, error=ended.error)

    def _write_archive(self, pending: Sequence[Ended]) -> None:
        """Writes an archive of WebDataset and the list of its samples, which is complete if the archive exists."""
        if not pending:
            return
        start, number = f'samples{self._suffix}-', 0
        while osp.exists(path := self._path(f'{start}{number:05d}.tar')):
            number += 1
        with replacing(path) as part, replacing(f'{path[:-4]}.jsonl') as listing, \
                tarfile.open(part, 'w') as archive, open(listing, 'w', encoding='utf-8') as lines:
            for name, image in (result for ended in pending for result in self._results_of(ended)):
                key = self._key(name)
                for suffix, file in self._files(name).items():
                    member = tarfile.TarInfo(key + suffix)
                    with open(file, 'rb') as content:
                        member.size = osp.getsize(file)
                        archive.addfile(member, content)
                lines.write(json.dumps(dict(key=key, image=image, **({} if name == image else dict(
                    frame=int(name.rpartition('/')[2]))))) + '\n')

    def _key(self, name: str) -> str:
        """Returns a new key of WebDataset: the name without suffix, dots and hidden files' mark; unlike all others."""
        folder, slash, base = name.rpartition('/')
        stem = base[:-len(osp.splitext(base)[1])] if base.lower().endswith(IMAGES) else base
        full = folder + slash + base.replace('.', '_')
        key, number = folder + slash + stem.replace('.', '_') if stem else full, 1
        while key in self._keys:
            key, number = full if number == 1 else f'{full}_{number}', number + 1
        self._keys.add(key)
        return key
