"""The released Sapiens checkpoints by size and task.

Their weights are under CC-BY-NC 4.0, whatever the license of this code. File names are those of the release; the
addresses could not be tried when this table was written. If one has moved, ``hf://<owner>/<repo>/<file>`` names any
other wherever a checkpoint is asked for, and ``tools/fetch_weights.py --source`` takes the same.
"""
from typing import NamedTuple

__all__ = ['EMBEDDED_LICENSE', 'LICENSE', 'PADDED_TASKS', 'RELEASED', 'ReleasedFile', 'released_file']

LICENSE = 'CC-BY-NC 4.0'
#: Released tasks whose backbones were trained with `patch_cfg=dict(padding=2)`, which their files do not tell.
PADDED_TASKS = ('pose-17', 'pose-133', 'pose-308', 'normal')
#: Of the tiny weights that come with the package, which are not of the release.
EMBEDDED_LICENSE = 'Apache-2.0'


class ReleasedFile(NamedTuple):
    """A file in a repository of the Hugging Face Hub."""
    repo: str
    path: str

    @property
    def source(self) -> str:
        """Its address, which every checkpoint option takes."""
        return f'hf://{self.repo}/{self.path}'


# task -> size -> what follows `sapiens_<size>_` in the file's name. Seg-28 and pose-308 were not released for 2b.
_NAMES = {
    'pretrain': {'0.3b': 'epoch_1600_clean', '0.6b': 'epoch_1600_clean', '1b': 'epoch_173_clean',
                 '2b': 'epoch_660_clean'},
    'pose-17': {size: f'coco_best_coco_AP_{ap}'
                for size, ap in (('0.3b', 796), ('0.6b', 812), ('1b', 821), ('2b', 822))},
    'pose-133': {size: f'coco_wholebody_best_coco_wholebody_AP_{ap}'
                 for size, ap in (('0.3b', 620), ('0.6b', 695), ('1b', 727), ('2b', 745))},
    'pose-308': {size: f'goliath_best_goliath_AP_{ap}' for size, ap in (('0.3b', 573), ('0.6b', 609), ('1b', 639))},
    'seg-28': {size: f'goliath_best_goliath_mIoU_{miou}_epoch_{epoch}'
               for size, miou, epoch in (('0.3b', 7673, 194), ('0.6b', 7777, 178), ('1b', 7994, 151))},
    'depth': {size: f'render_people_epoch_{epoch}'
              for size, epoch in (('0.3b', 100), ('0.6b', 70), ('1b', 88), ('2b', 25))},
    'normal': {size: f'normal_render_people_epoch_{epoch}'
               for size, epoch in (('0.3b', 66), ('0.6b', 200), ('1b', 115), ('2b', 70))},
}


def _locate(task: str, size: str, name: str) -> ReleasedFile:
    filename = f'sapiens_{size}_{name}.pth'
    if task in ('pose-17', 'pose-133'):
        # One repository for both tasks and all sizes; the folders in it are from hearsay.
        return ReleasedFile('noahcao/sapiens-pose-coco', f'sapiens_host/pose/checkpoints/sapiens_{size}/{filename}')
    return ReleasedFile(f'facebook/sapiens-{task.split("-")[0]}-{size}', filename)


#: (size, task) -> where its checkpoint is.
RELEASED = {(size, task): _locate(task, size, name) for task, names in _NAMES.items() for size, name in names.items()}


def released_file(size: str, task: str) -> ReleasedFile:
    """Looks up a released checkpoint.

    Args:
        size: ``'0.3b'``, ``'0.6b'``, ``'1b'``, ``'2b'``, also with ``'sapiens_'`` in front.
        task: ``'pretrain'``, ``'pose-17'``, ``'pose-133'``, ``'pose-308'``, ``'seg-28'``, ``'depth'``, ``'normal'``.

    Raises:
        ValueError: There is no such size or task, or this one was not released for that size.
    """
    size = size.lower()
    size = size[len('sapiens_'):] if size.startswith('sapiens_') else size
    if (size, task) in RELEASED:
        return RELEASED[size, task]
    sizes, tasks = _choices(0), _choices(1)
    if size not in sizes:
        raise ValueError(f"size is '{size}', but must be one of {', '.join(sizes)}")
    if task not in tasks:
        raise ValueError(f"task is '{task}', but must be one of {', '.join(tasks)}")
    there = ', '.join(name for name, other in RELEASED if other == task)
    raise ValueError(f'{task} was not released for {size}, only for {there}')


def _choices(field: int) -> list[str]:
    return list(dict.fromkeys(key[field] for key in RELEASED))
