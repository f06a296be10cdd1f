"""Stock configs: where they are, what their heads get."""
import copy
import math
import os
import os.path as osp
import re
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import get_installed_path

from .plan import DropInError, as_list, parts_of, type_name

HOSTS = ('mmdet', 'mmpose', 'mmpretrain', 'mmseg')
_OWN_PATHS = 'is a whole network with paths of its own, of which nothing is left without it'
_REFUSED_BACKBONES = dict.fromkeys(
    ('BiSeNetV1', 'BiSeNetV2', 'ICNet', 'STDCContextPathNet', 'FastSCNN', 'CGNet', 'ERFNet', 'DDRNet', 'PIDNet', 'UNet',
     'STDCNet'), _OWN_PATHS)
_REFUSED_HEADS = {
    'DPTHead': 'reads a cls token beside each map, which the fine-tuned Sapiens backbones do not have',
    'IterativeDecodeHead': 'wraps a head whose maps and kernels must have one width',
    'CPMHead': 'supervises the stages of its own backbone',
    'MSPNHead': 'supervises the stages of its own backbone',
}


def find_config(config: str) -> tuple[str, str]:
    """The path of a config, and what ``_base_`` calls it.

    Args:
        config: See :func:`drop_in`.
    """
    host, _, name = config.rpartition('::')
    if not host:
        if not osp.isfile(config):
            raise FileNotFoundError(f"'{config}' is no file; expected a config's path, or HOST::FILE of an installed "
                                    f"host ({', '.join(HOSTS)})")
        path = osp.abspath(config)
        owner = re.search(r'[\\/](\w+)[\\/]\.mim[\\/]configs[\\/](.*)$', path)
        return path, f'{owner[1]}::{owner[2]}' if owner else path
    if host not in HOSTS:
        raise ValueError(f"'{config}' names the host '{host}', expected one of {', '.join(HOSTS)}")
    try:
        root = osp.join(get_installed_path(host), '.mim', 'configs')
    except Exception as error:
        raise FileNotFoundError(f"'{config}' needs {host}, which is not installed; install it (mim install {host})"
                                ) from error
    name = name.removesuffix('.py')
    found = sorted(osp.relpath(osp.join(place, file), root) for place, _, files in os.walk(root) for file in files
                   if file.endswith('.py') and f'/{osp.join(place, file)[:-3]}'.endswith(f'/{name}'))
    if not found:
        raise FileNotFoundError(f"'{config}': {host} has no such config under {root}")
    if len(found) > 1:
        raise ValueError(f"'{config}' fits {len(found)} configs, expected one; name its folder too: {', '.join(found)}")
    return osp.join(root, found[0]), f'{host}::{found[0]}'


def load_stock(path: str, name: str) -> Config:
    """Reads a stock config that trains a model with a backbone."""
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        raise DropInError(f'{name}: the stock config does not load ({brief(error)})') from error
    if not isinstance(cfg.get('model'), dict):
        raise DropInError(f'{name}: it has no `model`; name a config that trains one')
    scope = cfg.get('default_scope')
    if scope not in HOSTS:
        raise DropInError(f"{name}: its default_scope is {scope!r}; expected one of {', '.join(HOSTS)}")
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    if dataset is None or dataset.get('pipeline') == []:
        raise DropInError(f'{name}: train_dataloader: got no training data, expected some, since a new backbone must '
                          'be trained')
    if cfg.model.get('backbone') is None and cfg.model.get('image_encoder') is None:
        nested = [key for key, value in cfg.model.items() if isinstance(value, dict) and 'backbone' in value]
        hint = f'; put the backbone into the config of its {nested[0]}' if nested else ''
        raise DropInError(f'{name}: {cfg.model.type} has no backbone of its own{hint}')
    return cfg


@dataclass
class Measured:
    """Maps of the stock model as (channels, stride): those of its backbone, and those that its head gets."""
    backbone: list[tuple[int, float]]
    maps: list[tuple[int, float]]
    first_maps: list[tuple[int, float]]  # those after the first of several necks
    head_strides: list[float] | None
    depths: list[float]  # how deep in the backbone each of its maps comes from, in (0, 1]


def measure(cfg: Config, name: str) -> Measured:
    """Builds the stock model and measures the maps of its backbone and neck."""
    _check_parts(cfg, name)
    size = (320, 320) if cfg.default_scope == 'mmdet' else input_size(cfg)
    try:
        model = build_model(cfg)
        features, maps = model_maps(model, size)
        necks = model.neck if isinstance(cfg.model.get('neck'), list) else None
        first_maps = _only_maps(necks[0](features)) if necks else maps
    except Exception as error:
        raise DropInError(f'{name}: the stock backbone and neck make no maps of an image ({brief(error)})') from error
    found = [[(fmap.shape[1], stride_of(size, fmap)) for fmap in out] for out in (features, maps, first_maps)]
    if cfg.default_scope != 'mmpretrain' and not found[0]:
        raise DropInError(f'{name}: the stock backbone puts out no maps')
    backbone = backbone_of(model)
    blocks = getattr(backbone, 'layers', ())
    indices = getattr(backbone, 'out_indices', ())
    indices = [indices] if isinstance(indices, int) else list(indices)
    if len(blocks) > len(found[0]) == len(indices):  # a ViT's
        depths = [((i % len(blocks)) + 1) / len(blocks) for i in indices]
    else:
        depths = [(i + 1) / len(found[0]) for i in range(len(found[0]))]
    return Measured(*found, _head_strides(model, found[1], name), depths)


def build_model(cfg: Config) -> torch.nn.Module:
    """Builds the model of a config for one process, without reading weights, in evaluation mode."""
    init_default_scope(cfg.default_scope)
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    return revert_sync_batchnorm(MODELS.build(model)).eval()


def _check_parts(cfg: Config, name: str) -> None:
    kind = type_name(cfg.model.get('backbone'))
    if kind.startswith('Sapiens'):
        raise DropInError(f'{name}: its backbone is {kind} already')
    if kind in _REFUSED_BACKBONES:
        raise DropInError(f'{name}: {kind} {_REFUSED_BACKBONES[kind]}')
    if cfg.default_scope == 'mmpretrain' and cfg.model.type not in ('ImageClassifier', 'ImageToImageRetriever'):
        raise DropInError(f'{name}: model.type: got {cfg.model.type}, expected ImageClassifier or ImageToImageRetriever'
                          '; SapiensMAE pretrains')
    for head in parts_of(cfg.model):
        kind = type_name(head)
        if kind in _REFUSED_HEADS:
            raise DropInError(f'{name}: {kind} {_REFUSED_HEADS[kind]}')


def backbone_of(model: torch.nn.Module) -> torch.nn.Module:
    """The backbone of a host's model; mmpretrain's retrievers have it in a sequence."""
    return model.backbone if hasattr(model, 'backbone') else model.image_encoder[0]


def model_maps(model: torch.nn.Module, size: tuple[int, int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The maps (1, C, h, w) of a backbone, and those after its neck, for a black image of ``size`` (H, W)."""
    with torch.no_grad():
        features = backbone_of(model)(torch.zeros(1, 3, *size))
        outputs = model.neck(features) if getattr(model, 'neck', None) is not None else features
    return _only_maps(features), _only_maps(outputs)


def _only_maps(outputs) -> list[torch.Tensor]:
    return [out for out in as_list(outputs) if isinstance(out, torch.Tensor) and out.ndim == 4]


def stride_of(size: tuple[int, int], fmap: torch.Tensor) -> float:
    """Pixels per cell: the power of two beside it, since a map's border rounds up or down."""
    stride = size[0] / fmap.shape[-2]
    return _power(stride) if abs(size[0] / _power(stride) - fmap.shape[-2]) < 1 else stride


def _power(stride: float) -> int:
    """The nearest power of two."""
    return 2**round(math.log2(stride))


def _head_strides(model: torch.nn.Module, maps: list[tuple[int, float]], name: str) -> list[float] | None:
    """Strides that the anchor or point generators of the heads state, as powers of two; None if there are none."""
    stated = None
    found = [stride for _, stride in maps]
    # Mask heads have generators for maps of their own: SOLO's resize theirs, CondInst's merges them.
    tops = [getattr(model, name, None) for name in ('rpn_head', 'bbox_head', 'head')]
    for head in (module for top in tops if top is not None for module in top.modules()
                 if hasattr(module, 'prior_generator')):
        strides = [stride[0] if isinstance(stride, (tuple, list)) else stride
                   for stride in head.prior_generator.strides]
        if list(map(_power, strides)) != list(map(_power, found)):  # YOLACT's are 7.97, 15.71 and so on
            raise DropInError(f'{name}: {type(head).__name__} is set for strides {strides}, but the stock neck gives '
                              f'it maps of strides {found}; correct its generator first')
        stated = list(map(_power, strides))
    return stated


def input_size(cfg: Config) -> tuple[int, int]:
    """Height and width that the model trains on, in pixels."""
    if cfg.default_scope == 'mmdet':
        return 1024, 1024  # of the pretrained position embedding; detectors take images of any size
    if cfg.default_scope == 'mmseg':
        size = (cfg.model.get('data_preprocessor') or {}).get('size') or cfg.get('crop_size') or (512, 512)
        return tuple(size)
    pipeline = train_pipeline(cfg)
    if cfg.default_scope == 'mmpose':
        sizes = [part.get('input_size') for part in parts_of([cfg.model, pipeline])]
        width, height = next((size for size in sizes if size is not None), (192, 256))[:2]
        return height, width
    scales = [step.get('crop_size') or step.get('scale') for step in pipeline if 'Crop' in str(step.get('type'))]
    scales = [scale for scale in scales if scale is not None]
    scale = scales[-1] if scales else 224
    return (scale, scale) if isinstance(scale, int) else tuple(scale[:2])


def train_pipeline(cfg: Config) -> list[dict]:
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while dataset.get('pipeline') is None and isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return list(dataset.get('pipeline') or cfg.get('train_pipeline') or [])


def brief(error: Exception) -> str:
    """Type and first line of an error."""
    return f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'
