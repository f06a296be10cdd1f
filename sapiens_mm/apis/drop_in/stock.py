"""Stock configs of the hosts: their files, their models, and the maps that their heads receive."""
import copy
import math
import os.path as osp
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import get_installed_path

from ..config_report import ConfigError
from .plan import as_list, parts_of, type_name

HOSTS = ('mmdet', 'mmpose', 'mmpretrain', 'mmseg')
_BRANCHES = 'is a network of several branches, which a plain backbone cannot replace'
_OWN_STAGES = 'supervises the stages of its own backbone'
_REFUSED_BACKBONES = ('BiSeNetV1', 'BiSeNetV2', 'ICNet', 'STDCContextPathNet', 'FastSCNN', 'CGNet', 'ERFNet', 'DDRNet',
                      'PIDNet', 'UNet', 'STDCNet')
_REFUSED_HEADS = {
    'DPTHead': 'reads a cls token beside each map, which the fine-tuned Sapiens backbones do not have',
    'IterativeDecodeHead': 'wraps a head whose maps and kernels must have one width',
    'CPMHead': _OWN_STAGES, 'MSPNHead': _OWN_STAGES}


def find_config(config: str) -> tuple[str, str]:
    """Returns the path of a config, and its name for ``_base_``; see :func:`drop_in` for its arguments and errors."""
    host, _, name = config.rpartition('::')
    if not host:
        if not osp.isfile(config):
            raise FileNotFoundError(f"config: got '{config}', which is no file; expected a path, or HOST::FILE of an "
                                    f"installed host ({', '.join(HOSTS)})")
        path = osp.abspath(config)
        owner = re.search(r'[\\/](\w+)[\\/]\.mim[\\/]configs[\\/](.*)$', path)
        return path, f'{owner[1]}::{owner[2]}' if owner else path
    if host not in HOSTS:
        raise ValueError(f"config: got '{config}' of the host '{host}', expected one of {', '.join(HOSTS)}")
    try:
        root = Path(get_installed_path(host), '.mim', 'configs')
    except Exception as error:
        raise FileNotFoundError(f"config: got '{config}', but {host} is not installed; install it (mim install {host})"
                                ) from error
    name = name.removesuffix('.py')
    paths = [path.relative_to(root).as_posix() for path in sorted(root.rglob('*.py'))]
    paths = [path for path in paths if f'/{path.removesuffix(".py")}'.endswith(f'/{name}')]
    if not paths:
        raise FileNotFoundError(f"config: got '{config}', but {host} has no such config under {root}")
    if len(paths) > 1:
        raise ValueError(f"config: got '{config}', which matches {len(paths)} configs, expected one; add its folder: "
                         f"{', '.join(paths)}")
    return str(root / paths[0]), f'{host}::{paths[0]}'


def load_stock(path: str, name: str) -> Config:
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        raise ConfigError(f'{name}: the stock config does not load ({brief(error)})') from error
    if not isinstance(cfg.get('model'), dict):
        raise ConfigError(f'{name}: model: got none, expected one; name a config that trains a model')
    scope = cfg.get('default_scope')
    if scope not in HOSTS:
        raise ConfigError(f"{name}: default_scope: got {scope!r}, expected one of {', '.join(HOSTS)}")
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    if dataset is None or dataset.get('pipeline') == []:
        raise ConfigError(f'{name}: train_dataloader: got no training data, expected some, since a new backbone must '
                          'be trained')
    model = cfg.model
    if model.get('backbone') is None and model.get('image_encoder') is None:
        nested = [key for key, value in model.items() if isinstance(value, dict) and 'backbone' in value]
        hint = f'; put the backbone into the config of its {nested[0]}' if nested else ''
        raise ConfigError(f'{name}: model.backbone: got none in {model.type}, expected one{hint}')
    return cfg


@dataclass
class Measured:
    """Maps as (channels, stride): of the stock backbone, for its head, and after the first of several necks.

    ``depths`` are the positions of the maps in the backbone, in (0, 1]; ``head_strides``: see :class:`Plan`.
    """
    backbone: list[tuple[int, float]]
    maps: list[tuple[int, float]]
    first_maps: list[tuple[int, float]]
    head_strides: list[float] | None
    depths: list[float]


def measure(cfg: Config, name: str) -> Measured:
    _check_parts(cfg, name)
    size = (320, 320) if cfg.default_scope == 'mmdet' else input_size(cfg)
    try:
        model = build_model(cfg)
        features, maps = model_maps(model, size)
        first_maps = _only_maps(model.neck[0](features)) if isinstance(cfg.model.get('neck'), list) else maps
    except Exception as error:
        raise ConfigError(f'{name}: the stock backbone and neck fail on an image ({brief(error)})') from error
    backbone, *necks = [[(fmap.shape[1], stride_of(size, fmap)) for fmap in out]
                        for out in (features, maps, first_maps)]
    if cfg.default_scope != 'mmpretrain' and not backbone:
        raise ConfigError(f'{name}: the stock backbone outputs no maps')
    network = backbone_of(model)
    blocks, indices = getattr(network, 'layers', ()), as_list(getattr(network, 'out_indices', ()))
    if len(blocks) > len(backbone) == len(indices):  # a ViT's
        depths = [((i % len(blocks)) + 1) / len(blocks) for i in indices]
    else:
        depths = [(i + 1) / len(backbone) for i in range(len(backbone))]
    return Measured(backbone, *necks, _head_strides(model, necks[0], name), depths)


def build_model(cfg: Config) -> torch.nn.Module:
    """Builds the model of a config for one process, without reading weights, in evaluation mode."""
    init_default_scope(cfg.default_scope)
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    return revert_sync_batchnorm(MODELS.build(model)).eval()


def _check_parts(cfg: Config, name: str) -> None:
    backbone = type_name(cfg.model.get('backbone'))
    if backbone.startswith('Sapiens'):
        raise ConfigError(f'{name}: model.backbone: got {backbone}, expected one of another library')
    if backbone in _REFUSED_BACKBONES:
        raise ConfigError(f'{name}: {backbone} {_BRANCHES}')
    if cfg.default_scope == 'mmpretrain' and cfg.model.type not in ('ImageClassifier', 'ImageToImageRetriever'):
        raise ConfigError(f'{name}: model.type: got {cfg.model.type}, expected ImageClassifier or ImageToImageRetriever'
                          '; SapiensMAE pretrains')
    for head in map(type_name, parts_of(cfg.model)):
        if head in _REFUSED_HEADS:
            raise ConfigError(f'{name}: {head} {_REFUSED_HEADS[head]}')


def backbone_of(model: torch.nn.Module) -> torch.nn.Module:
    return model.backbone if hasattr(model, 'backbone') else model.image_encoder[0]


def model_maps(model: torch.nn.Module, size: tuple[int, int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Returns the maps (1, C, h, w) of a backbone, and those after its neck, for a black image of ``size`` (H, W)."""
    with torch.no_grad():
        features = backbone_of(model)(torch.zeros(1, 3, *size))
        outputs = model.neck(features) if getattr(model, 'neck', None) is not None else features
    return _only_maps(features), _only_maps(outputs)


def _only_maps(outputs) -> list[torch.Tensor]:
    return [out for out in as_list(outputs) if isinstance(out, torch.Tensor) and out.ndim == 4]


def stride_of(size: tuple[int, int], fmap: torch.Tensor) -> float:
    """Returns the pixels per cell, rounded to a power of two if rounding at the border explains the difference."""
    stride = size[0] / fmap.shape[-2]
    return _power(stride) if abs(size[0] / _power(stride) - fmap.shape[-2]) < 1 else stride


def _power(stride: float) -> int:
    return 2**round(math.log2(stride))


def _head_strides(model: torch.nn.Module, maps: list[tuple[int, float]], name: str) -> list[float] | None:
    stated, strides = None, [stride for _, stride in maps]
    # The generators of mask heads are for other maps: SOLO resizes its maps, CondInst merges them.
    tops = [getattr(model, top, None) for top in ('rpn_head', 'bbox_head', 'head')]
    for head in (module for top in tops if top is not None for module in top.modules()
                 if hasattr(module, 'prior_generator')):
        exact = [as_list(stride)[0] for stride in head.prior_generator.strides]
        stated = list(map(_power, exact))  # YOLACT's are 7.97, 15.71 and so on
        if stated != list(map(_power, strides)):
            raise ConfigError(f'{name}: {type(head).__name__} is set for strides {exact}, but the stock neck gives '
                              f'it maps of strides {strides}; correct its generator first')
    return stated


def input_size(cfg: Config) -> tuple[int, int]:
    if cfg.default_scope == 'mmdet':
        return 1024, 1024  # of the pretrained position embedding; detectors take images of any size
    if cfg.default_scope == 'mmseg':
        return tuple((cfg.model.get('data_preprocessor') or {}).get('size') or cfg.get('crop_size') or (512, 512))
    pipeline = train_pipeline(cfg)
    if cfg.default_scope == 'mmpose':
        sizes = [part.get('input_size') for part in parts_of([cfg.model, pipeline])]
        width, height = next((size for size in sizes if size is not None), (192, 256))[:2]
        return height, width
    scales = [step.get('crop_size') or step.get('scale') for step in pipeline if 'Crop' in str(step.get('type'))]
    scale = ([scale for scale in scales if scale is not None] or [224])[-1]
    return (scale, scale) if isinstance(scale, int) else tuple(scale[:2])


def train_pipeline(cfg: Config) -> list[dict]:
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while dataset.get('pipeline') is None and isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return list(dataset.get('pipeline') or cfg.get('train_pipeline') or [])


def brief(error: Exception) -> str:
    return f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'
