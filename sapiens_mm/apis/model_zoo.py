"""Released and embedded checkpoints: addresses, licenses, parameter counts and configs by size and task.

The released weights are under CC-BY-NC 4.0, whatever the license of this code. Files are named as in the release; the
addresses are untested. ``hf://<owner>/<repo>/<file>`` names any other file wherever a checkpoint is expected.
"""
import argparse
import os
from pathlib import Path
from typing import NamedTuple

from ..backbones import SapiensViT
from ..engine.fetch import is_cached
from ..engine.licenses import CC_BY_NC, SAPIENS2_LICENSE
from ..names import SIZES
from ..tasks import canonical_name, get_task, is_pose
from ..utils.files import parse_json

__all__ = [
    'EMBEDDED', 'LICENSE', 'PADDED_TASKS', 'PARAMETERS', 'RELEASED', 'RELEASED_TASKS', 'SAPIENS2_PARAMETERS',
    'SAPIENS2_PRETRAINED', 'ReleasedFile', 'default_tasks', 'embedded_tasks', 'find_released', 'released_config',
    'released_file', 'released_tasks'
]

#: License of the released weights, and of the embedded ones, some of whose photos are for non-commercial research only.
LICENSE = CC_BY_NC
#: Folder of the embedded model, ``--size tiny``; the metadata of its files name their tasks.
EMBEDDED = Path(__file__).resolve().parents[1] / 'weights'
#: Released tasks whose backbones have `patch_cfg=dict(padding=2)`, which only TorchScript archives state.
PADDED_TASKS = ('pose-17', 'pose-133', 'pose-308', 'normal')
#: Task -> size -> number of parameters. Counting them would import the hosts and build every model.
PARAMETERS = {
    'pose-308': {'0.3b': 329_682_740, '0.6b': 661_180_980, '1b': 1_168_893_236},
    'pose-133': {'0.3b': 329_548_165, '0.6b': 661_046_405, '1b': 1_168_758_661, '2b': 2_166_256_645},
    'pose-17': {'0.3b': 329_458_961, '0.6b': 660_957_201, '1b': 1_168_669_457, '2b': 2_166_167_441},
    'seg': {'0.3b': 339_495_196, '0.6b': 670_993_436, '1b': 1_178_705_692},
    'depth': {'0.3b': 319_910_017, '0.6b': 649_835_393, '1b': 1_155_974_785, '2b': 2_151_113_473},
    'normal': {'0.3b': 339_475_971, '0.6b': 670_974_211, '1b': 1_178_686_467, '2b': 2_176_184_451},
    'foreground': {'1b': 1_178_685_698},
}
#: How the names of TorchScript archives end, which were also released of most models.
_TORCHSCRIPT = '_torchscript.pt2'
#: Arch of ``Sapiens2ViT`` -> its number of parameters, and the repository of its pretrained weights.
SAPIENS2_PARAMETERS = {'sapiens2_0.1b': 113_993_472, 'sapiens2_0.4b': 395_450_368, 'sapiens2_0.8b': 814_283_520,
                       'sapiens2_1b': 1_455_474_176, 'sapiens2_5b': 5_066_902_976}
SAPIENS2_PRETRAINED = {arch: f'hf://facebook/sapiens2-pretrain-{arch[9:]}' for arch in SAPIENS2_PARAMETERS}
#: Released tasks that run on images, the preferred keypoint set first.
RELEASED_TASKS = tuple(PARAMETERS)


class ReleasedFile(NamedTuple):
    repo: str
    path: str

    @property
    def source(self) -> str:
        return f'hf://{self.repo}/{self.path}'


# task -> size -> what follows `sapiens_<size>_` in the file's name. Seg and pose-308 were not released for 2b.
_NAMES = {
    'pretrain': {'0.3b': 'epoch_1600_clean', '0.6b': 'epoch_1600_clean', '1b': 'epoch_173_clean',
                 '2b': 'epoch_660_clean'},
    'pose-17': {size: f'coco_best_coco_AP_{ap}'
                for size, ap in (('0.3b', 796), ('0.6b', 812), ('1b', 821), ('2b', 822))},
    'pose-133': {size: f'coco_wholebody_best_coco_wholebody_AP_{ap}'
                 for size, ap in (('0.3b', 620), ('0.6b', 695), ('1b', 727), ('2b', 745))},
    'pose-308': {size: f'goliath_best_goliath_AP_{ap}' for size, ap in (('0.3b', 573), ('0.6b', 609), ('1b', 639))},
    'seg': {size: f'goliath_best_goliath_mIoU_{miou}_epoch_{epoch}'
            for size, miou, epoch in (('0.3b', 7673, 194), ('0.6b', 7777, 178), ('1b', 7994, 151))},
    'depth': {size: f'render_people_epoch_{epoch}'
              for size, epoch in (('0.3b', 100), ('0.6b', 70), ('1b', 88), ('2b', 25))},
    'normal': {size: f'normal_render_people_epoch_{epoch}'
               for size, epoch in (('0.3b', 66), ('0.6b', 200), ('1b', 115), ('2b', 70))},
    'foreground': {'1b': 'seg_foreground_epoch_8'},
}


def _locate(task: str, size: str, name: str) -> ReleasedFile:
    filename = f'sapiens_{size}_{name}.pth'
    if task == 'foreground':  # released as TorchScript only
        return ReleasedFile(f'facebook/sapiens-seg-foreground-{size}-torchscript',
                            f'sapiens_{size}_{name}{_TORCHSCRIPT}')
    if task in ('pose-17', 'pose-133'):
        # One repository holds both tasks and all sizes; its folder names are unverified.
        return ReleasedFile('noahcao/sapiens-pose-coco', f'sapiens_host/pose/checkpoints/sapiens_{size}/{filename}')
    return ReleasedFile(f'facebook/sapiens-{task.split("-")[0]}-{size}', filename)


#: (size, task) -> its checkpoint.
RELEASED = {(size, task): _locate(task, size, name) for task, names in _NAMES.items() for size, name in names.items()}


def released_file(size: str, task: str) -> ReleasedFile:
    """Looks up a released checkpoint of a size, such as ``'0.3b'`` or ``'sapiens_0.3b'``.

    ``task`` is ``'pretrain'``, one of `RELEASED_TASKS`, or an alias. Raises a ValueError if it was not released.
    """
    size, task = size.lower().removeprefix('sapiens_'), canonical_name(task)
    for name, value, known in (('size', size, SIZES[1:]), ('task', task, _NAMES)):
        if value not in known:
            raise ValueError(f"{name}: got '{value}', expected one of {', '.join(known)}")
    if (size, task) not in RELEASED:
        raise ValueError(f'{task} was not released for {size}; choose from {", ".join(_NAMES[task])}')
    return RELEASED[size, task]


def find_released(source: str) -> tuple[str, str] | None:
    """Returns size and task of a released model for images, by its file name; None for other files."""
    size, task = find_public(source) or (None, None)
    return (size, task) if task in RELEASED_TASKS else None


def find_public(source: str) -> tuple[str, str] | None:
    """Returns size and task of a released file, also of the TorchScript archive of a model, by its name."""
    name = os.path.basename(source)
    names = name, f'{name.removesuffix(_TORCHSCRIPT)}.pth'
    return next((key for key, file in RELEASED.items() if os.path.basename(file.path) in names), None)


def released_tasks(size: str) -> list[str]:
    if size not in SIZES:
        raise ValueError(f"size: got '{size}', expected one of {', '.join(SIZES)}")
    return list(embedded_tasks()) if size == 'tiny' else [task for task in RELEASED_TASKS if (size, task) in RELEASED]


def default_tasks(size: str) -> list[str]:
    """Returns the preferred keypoint task and all dense tasks but the foreground, which is for ``mask``."""
    tasks = released_tasks(size)
    keypoints = [task for task in tasks if get_task(task).kind == 'keypoints']
    return [*keypoints[:1], *(task for task in tasks if task not in (*keypoints, 'foreground'))]


def embedded_tasks() -> dict[str, Path]:
    from safetensors import safe_open
    tasks = {}
    for path in sorted(EMBEDDED.glob('*.safetensors')):
        with safe_open(path, 'pt') as file:
            tasks |= {canonical_name(task): path for task in parse_json(file.metadata()['tasks'])}
    return tasks


def released_config(size: str, task: str, padding: int | None = None) -> dict:
    """Returns the config of a released model without config files, which an installed package may lack.

    ``padding`` is that of the patch embedding, by default that of `PADDED_TASKS`.
    """
    if padding is None:
        padding = 2 if task in PADDED_TASKS else 0
    width = SapiensViT.arch_zoo[f'sapiens_{size}']['embed_dims']
    backbone = dict(type='SapiensViT', arch=f'sapiens_{size}', img_size=(1024, 768), patch_size=16,
                    patch_cfg=dict(padding=padding))
    model = dict(type=get_task(task).estimator, backbone=backbone, data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True))
    if is_pose(task):
        codec = dict(type='SapiensUDPHeatmap', input_size=(768, 1024), heatmap_size=(192, 256), sigma=6)
        head = dict(type='SapiensPoseHead', in_channels=width, out_channels=int(task[5:]), decoder=codec)
        return dict(default_scope='mmpose', model=dict(model, head=head))
    head = dict(type='SapiensDenseHead', in_channels=width)
    if task == 'depth':
        head |= dict(deconv_out_channels=(384, ) * 4, deconv_kernel_sizes=(4, ) * 4, conv_out_channels=(384, ) * 2,
                     conv_kernel_sizes=(1, ) * 2)
    if task == 'seg':
        head |= dict(num_classes=28)
    return dict(default_scope='mmseg', model=dict(model, decode_head=head))


def main(args: argparse.Namespace) -> int:
    row = '{:6} {:10} {:>8} {:>8}  {:16} {:7} {}'.format
    print(row('size', 'task', 'params', 'file', 'license', 'cached', 'weights'))
    for task, path in embedded_tasks().items():
        print(row('tiny', task, '', f'{path.stat().st_size / 1e6:.1f} MB', LICENSE, 'yes', path.name))
    for task, counts in PARAMETERS.items():
        for size, parameters in counts.items():
            file = RELEASED[size, task]
            print(row(size, task, f'{parameters / 1e6:.0f} M', f'{parameters * 4 / 1e9:.1f} GB', LICENSE,
                      'yes' if is_cached(*file) else 'no', file.source))
    for arch, parameters in SAPIENS2_PARAMETERS.items():
        source = SAPIENS2_PRETRAINED[arch]
        print(row(arch[7:].replace('_', '-'), 'pretrain', f'{parameters / 1e6:.0f} M', f'{parameters * 4 / 1e9:.1f} GB',
                  SAPIENS2_LICENSE, 'yes' if is_cached(source[5:], 'model.safetensors') else 'no', source))
    return 0
