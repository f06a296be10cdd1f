"""A Sapiens backbone in a config of mmdet, mmseg, mmpose or mmpretrain."""
import copy
import inspect
import os
import os.path as osp
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import get_installed_path

from ..backbones import SapiensViT
from ..backbones.model_zoo import RELEASED
from ..utils.config_text import format_value

HOSTS = ('mmdet', 'mmpose', 'mmpretrain', 'mmseg')
#: Normalization of the public models, RGB.
_NORMALIZATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
#: Tasks whose public backbones were trained with `patch_cfg=dict(padding=2)`.
_PADDED_TASKS = ('pose-17', 'pose-133', 'pose-308', 'normal')
_WIDTH = 256  # channels of the pyramid where the stock maps differ in theirs
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
#: Heads that also take the first map, though `in_index` does not say so.
_FIRST_MAP_HEADS = ('DepthwiseSeparableASPPHead', )
#: Learning rate where the stock optimizer is not AdamW or its rate is for a convolutional net, by host.
_LEARNING_RATE = dict(mmdet=1e-4, mmseg=1e-4, mmpose=5e-4, mmpretrain=5e-4)


#: Custom keys for what the optimizer constructor has rules of its own.
_RULED = ('norm', 'bias', 'pos_embed', 'cls_token', 'absolute_pos_embed', 'relative_position_bias_table', 'pos_block')


class Refused(ValueError):
    """A config that cannot take a plain ViT."""


@dataclass
class DropIn:
    """A stock config with a Sapiens backbone.

    Attributes:
        base: What ``_base_`` of the new config is: ``'mmdet::...'``, or an absolute path.
        stock: The stock config.
        cfg: The new config, whole.
        strides: Strides of the maps that the head gets from the new backbone and neck, in pixels.
        head_strides: Those that the head states in its anchor or point generator; None if it states none.
        reasons: What was chosen, and why.
    """
    base: str
    stock: Config
    cfg: Config
    strides: list[float] = field(default_factory=list)
    head_strides: list[float] | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.cfg.default_scope

    def text(self, folder: str = '.') -> str:
        """The new config as Python: ``_base_``, and what differs from it.

        Args:
            folder: Where it is to lie. A base that is a file is named from there.
        """
        base = self.base if '::' in self.base else osp.relpath(self.base, folder).replace(os.sep, '/')
        stock, new = self.stock.to_dict(), self.cfg.to_dict()
        order = ['custom_imports', 'model', *new]
        changes = {key: _difference(stock.get(key), new[key]) for key in dict.fromkeys(order)
                   if key not in stock or stock[key] != new[key]}
        changes['optim_wrapper'] = {'_delete_': True, **new['optim_wrapper']}
        head = [f'{osp.basename(base)} with a Sapiens backbone, as tools/drop_in.py chose it:', '']
        for reason in self.reasons:
            head += textwrap.wrap(f'* {reason}', 120, subsequent_indent='  ', break_long_words=False)
        lines = [f'{name} = {format_value(value, 0, len(name) + 3)}' for name, value in changes.items()]
        return '\n'.join(['"""', *head, '"""', f'_base_ = {base!r}', *lines, '']).replace('"""\n', '"""', 1)


def drop_in(config: str, arch: str | dict = 'sapiens_0.3b', checkpoint: str | None = None) -> DropIn:
    """Puts a Sapiens backbone into a config, with the neck, strides and optimizer that its head needs.

    The stock model is built with its own backbone, without weights, and its maps are measured: their channels and
    strides are what the head must get from the new backbone.

    Args:
        config: A path, or ``HOST::FILE`` of an installed host: ``'mmdet::faster-rcnn_r50_fpn_1x_coco'``, with or
            without folders and suffix.
        arch: Architecture of :class:`SapiensViT`.
        checkpoint: Weights of the backbone: a path, ``http(s)://`` or ``hf://`` address; by default the public
            pretrained ones of the size, where there are any.

    Raises:
        Refused: The config cannot take a plain ViT, or does not build with its own backbone.
        FileNotFoundError: There is no such config.
        ValueError: Several fit, or ``arch`` is unknown.
    """
    width = SapiensViT._arch_settings(arch)['embed_dims']
    path, base = find_config(config)
    stock = _load(path, config)
    plan = DropIn(base, stock, copy.deepcopy(stock))
    measured = _measure(stock, config)
    plan.head_strides = measured.head_strides
    _put_backbone(plan, arch, checkpoint)
    dict(mmdet=_fit_detector, mmpose=_fit_pose, mmseg=_fit_segmentor, mmpretrain=_fit_classifier)[plan.host](
        plan, measured, width)
    _normalize(plan)
    _optimize(plan)
    return plan


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


def _load(path: str, name: str) -> Config:
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        raise Refused(f'{name}: the stock config does not load ({_brief(error)})') from error
    if not isinstance(cfg.get('model'), dict):
        raise Refused(f'{name}: it has no `model`; name a config that trains one')
    scope = cfg.get('default_scope')
    if scope not in HOSTS:
        raise Refused(f"{name}: its default_scope is {scope!r}; expected one of {', '.join(HOSTS)}")
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    if dataset is None or dataset.get('pipeline') == []:
        raise Refused(f'{name}: it only tests, without a train_dataloader or its pipeline, and a new backbone needs '
                      'training')
    if cfg.model.get('backbone') is None and cfg.model.get('image_encoder') is None:
        nested = [key for key, value in cfg.model.items() if isinstance(value, dict) and 'backbone' in value]
        hint = f'; put the backbone into the config of its {nested[0]}' if nested else ''
        raise Refused(f'{name}: {cfg.model.type} has no backbone of its own{hint}')
    return cfg


# ---------------------------------------------------------------------------------------------------------------------
# What the stock head gets


@dataclass
class _Measured:
    """Maps of the stock model as (channels, stride): those of its backbone, and those that its head gets."""
    backbone: list[tuple[int, float]]
    maps: list[tuple[int, float]]
    head_strides: list[float] | None
    depths: list[float]  # how deep in the backbone each of its maps comes from, in (0, 1]


def _measure(cfg: Config, name: str) -> _Measured:
    """Builds the stock model and measures the maps of its backbone and neck."""
    _check_parts(cfg, name)
    size = (320, 320) if cfg.default_scope == 'mmdet' else input_size(cfg)
    images = torch.zeros(1, 3, *size)
    try:
        model = build_model(cfg)
        backbone = getattr(model, 'backbone', None) or model.image_encoder[0]
        with torch.no_grad():
            features = backbone(images)
            maps = model.neck(features) if getattr(model, 'neck', None) is not None else features
    except Exception as error:
        raise Refused(f'{name}: the stock model does not run with its own backbone ({_brief(error)})') from error
    found = [[(fmap.shape[1], stride_of(size, fmap)) for fmap in maps_of(out)] for out in (features, maps)]
    if cfg.default_scope != 'mmpretrain' and not found[0]:
        raise Refused(f'{name}: its backbone puts out no maps of images')
    blocks = getattr(backbone, 'layers', ())
    indices = getattr(backbone, 'out_indices', ())
    indices = [indices] if isinstance(indices, int) else list(indices)
    if len(blocks) > len(found[0]) == len(indices):  # a ViT's
        depths = [((i % len(blocks)) + 1) / len(blocks) for i in indices]
    else:
        depths = [(i + 1) / len(found[0]) for i in range(len(found[0]))]
    return _Measured(*found, _head_strides(model, found[1]), depths)


def build_model(cfg: Config) -> torch.nn.Module:
    """Builds the model of a config for one process, without reading weights, in evaluation mode."""
    init_default_scope(cfg.default_scope)
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    return revert_sync_batchnorm(MODELS.build(model)).eval()


def _check_parts(cfg: Config, name: str) -> None:
    backbone = (cfg.model.get('backbone') or {}).get('type')
    kind = str(backbone).rpartition('.')[2]
    if kind.startswith('Sapiens'):
        raise Refused(f'{name}: its backbone is {kind} already')
    if kind in _REFUSED_BACKBONES:
        raise Refused(f'{name}: {kind} {_REFUSED_BACKBONES[kind]}')
    for head in parts_of(cfg.model):
        kind = str(head.get('type')).rpartition('.')[2]
        if kind in _REFUSED_HEADS:
            raise Refused(f'{name}: {kind} {_REFUSED_HEADS[kind]}')


def maps_of(outputs) -> list[torch.Tensor]:
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    return [out for out in outputs if isinstance(out, torch.Tensor) and out.ndim == 4]


def stride_of(size: tuple[int, int], fmap: torch.Tensor) -> float:
    """Pixels per cell: the power of two beside it, since a map's border rounds up or down."""
    stride = size[0] / fmap.shape[-2]
    power = 2**round(torch.tensor(stride).log2().item())
    return power if abs(size[0] / power - fmap.shape[-2]) < 1 else stride


def _head_strides(model: torch.nn.Module, maps: list[tuple[int, float]]) -> list[float] | None:
    """Strides that the head's generator states, where they are those of its maps.

    SOLO's heads resize their maps first, so that the generator is of others.
    """
    for head in (getattr(model, name, None) for name in ('rpn_head', 'bbox_head', 'mask_head', 'head')):
        generator = getattr(head, 'prior_generator', None)
        if generator is None:
            continue
        strides = [stride[0] if isinstance(stride, (tuple, list)) else stride for stride in generator.strides]
        if len(strides) == len(maps) and all(abs(a / b - 1) < 0.05 for a, (_, b) in zip(strides, maps)):
            return strides
    return None


# ---------------------------------------------------------------------------------------------------------------------
# The backbone


def _put_backbone(plan: DropIn, arch: str | dict, checkpoint: str | None) -> None:
    cfg = plan.cfg
    size = input_size(cfg)
    backbone = dict(type='SapiensViT', arch=arch, img_size=size if size[0] != size[1] else size[0])
    if size[0] * size[1] >= 512**2:
        backbone['with_cp'] = True
        plan.reasons.append('with_cp=True recomputes activations, since images are 512 x 512 or larger')
    public = {file.source: (task, file) for (_, task), file in RELEASED.items()}
    if checkpoint is None and isinstance(arch, str):
        file = RELEASED.get((arch.removeprefix('sapiens_'), 'pretrain'))
        checkpoint = file and file.source
    if checkpoint is None:
        plan.reasons.append(f'the backbone starts from random weights: there are no public ones of {arch}')
    else:
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
        names = {osp.basename(source): task for source, (task, _) in public.items()}
        task = names.get(osp.basename(checkpoint))
        if task in _PADDED_TASKS:
            backbone['patch_cfg'] = dict(padding=2)
            plan.reasons.append(f'patch_cfg=dict(padding=2), with which the public {task} models were trained')
    if cfg.model.get('backbone') is None:
        cfg.model.image_encoder = [ConfigDict(backbone), *cfg.model.image_encoder[1:]]
    else:
        cfg.model.backbone = ConfigDict(backbone)
    for key in ('pretrained', 'init_cfg'):
        if cfg.model.get(key) is not None:
            cfg.model[key] = None
            plan.reasons.append(f'model.{key}=None: those weights are of the stock backbone')
    if cfg.get('load_from'):
        cfg.load_from = None
        plan.reasons.append('load_from=None: those weights are of the stock model')
    imports = (cfg.get('custom_imports') or {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    cfg.custom_imports = ConfigDict(imports=[*imports, 'sapiens_mm'], allow_failed_imports=False)


def _backbone(plan: DropIn) -> ConfigDict:
    model = plan.cfg.model
    return model.image_encoder[0] if model.get('backbone') is None else model.backbone


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


# ---------------------------------------------------------------------------------------------------------------------
# The neck and the head


def _pyramid(plan: DropIn, width: int, strides: list[float], out_channels: int, why: str) -> ConfigDict:
    """A feature pyramid, or an error where a ViT cannot give these strides."""
    rounded = [round(stride) for stride in strides]
    listed = ', '.join(f'{stride:g}' for stride in strides)
    near = all(whole in (4, 8, 16, 32, 64, 128) and abs(stride / whole - 1) < 0.05
               for stride, whole in zip(strides, rounded))
    if not near or rounded != sorted(set(rounded)):
        raise Refused(f'{plan.base}: its head takes maps of strides {listed}, but SapiensFeaturePyramid gives 4 to '
                      '128, ascending')
    plan.strides = rounded
    plan.reasons.append(f'SapiensFeaturePyramid of strides {listed} with {out_channels} channels: {why}')
    return ConfigDict(type='SapiensFeaturePyramid', in_channels=width, out_channels=out_channels, strides=rounded)


def _fit_detector(plan: DropIn, measured: _Measured, width: int) -> None:
    model = plan.cfg.model
    neck = model.get('neck')
    kind = str((neck or {}).get('type')).rpartition('.')[2] if isinstance(neck, dict) else None
    channels = [count for count, _ in measured.maps]
    strides = measured.head_strides or [stride for _, stride in measured.maps]
    source = ('the anchor or point generator of the head states these strides' if measured.head_strides else
              'the stock neck gives its head these strides')
    if kind == 'ChannelMapper' and len(measured.maps) == 1:
        neck.in_channels = [width]
        plan.strides = [16]
        plan.reasons.append('ChannelMapper on the one map of stride 16: the head is a DETR of one level')
    elif kind in ('ChannelMapper', 'DilatedEncoder'):
        inner = [stride for _, stride in measured.backbone][-len(measured.maps):]
        pyramid = _pyramid(plan, width, inner, _WIDTH, f'{kind} stays and takes maps of these strides')
        neck.in_channels = _WIDTH if isinstance(neck.in_channels, int) else [_WIDTH] * len(neck.in_channels)
        model.neck = [pyramid, neck]
        plan.strides = strides
    elif len(set(channels)) == 1:
        model.neck = _pyramid(plan, width, strides, channels[0], source)
    else:
        model.neck = _pyramid(plan, width, strides, _WIDTH, source)
        _replace_channels(plan, channels, [_WIDTH] * len(channels))


def _replace_channels(plan: DropIn, old: list[int], new: list[int]) -> None:
    """Sets `in_channels` of every head that takes all the maps."""
    heads = [part for key, value in plan.cfg.model.items() if key not in ('backbone', 'neck')
             for part in parts_of(value)]
    heads = [head for head in heads if list(head.get('in_channels') or [] if not isinstance(
        head.get('in_channels'), int) else []) == old]
    if not heads:
        raise Refused(f'{plan.base}: its head takes maps of {old} channels, but states them nowhere as in_channels')
    for head in heads:
        head.in_channels = new
    plan.reasons.append(f'in_channels={new} in the head, as wide as the pyramid')


def _fit_segmentor(plan: DropIn, measured: _Measured, width: int) -> None:
    model = plan.cfg.model
    heads = [head for key in ('decode_head', 'auxiliary_head') for head in _list(model.get(key))]
    number = len(measured.maps)
    wants = [list(range(number)) if _takes_all(head) else [i % number for i in _list(head.get('in_index', -1))]
             for head in heads]
    firsts = [str(head.type).rpartition('.')[2] in _FIRST_MAP_HEADS for head in heads]
    used = sorted({i for indices, first in zip(wants, firsts) for i in (*indices, *([0] if first else []))})
    strides = [measured.maps[i][1] for i in used]
    distinct = sorted(set(strides))
    neck = model.get('neck')
    if len(distinct) > 1:
        channels = {measured.maps[i][0] for i in used}
        keep = neck is not None and len(channels) == 1
        out_channels = channels.pop() if keep else _WIDTH
        model.neck = _pyramid(plan, width, distinct, out_channels, 'the stock maps of the heads have these strides')
        places = {i: distinct.index(stride) for i, stride in zip(used, strides)}
        in_channels = dict.fromkeys(used, out_channels)
    else:
        last = SapiensViT._arch_settings(_backbone(plan).arch)['num_layers']
        blocks = [max(round(depth * last), 1) - 1 for depth in (
            measured.depths if len(measured.depths) == number else [(i + 1) / number for i in range(number)])]
        indices = sorted({blocks[i] for i in used} | {last - 1})
        places = {i: indices.index(blocks[i]) for i in used}
        plan.strides = [16] * len(indices)
        if indices != [last - 1]:
            _backbone(plan).out_indices = indices
            plan.reasons.append(f'out_indices={indices}: the heads take maps of one stride from several depths')
        if neck is not None:
            neck.in_channels = [width] * len(indices) if isinstance(neck.in_channels, (list, tuple)) else width
            plan.reasons.append(f'{neck.type} stays, with in_channels={neck.in_channels}')
            in_channels = {i: measured.maps[i][0] for i in used}
        else:
            in_channels = dict.fromkeys(used, width)
            plan.reasons.append('no neck: each head takes one stride, and gets 16')
        if strides[0] < 16 and any('dilations' in head for head in heads):
            plan.reasons.append(f'dilations stay: at stride 16 they reach {16 / strides[0]:g} times as far as at the '
                                f'stock {strides[0]:g}')
    for head, indices, first in zip(heads, wants, firsts):
        if not _takes_all(head):
            new = [places[i] for i in indices]
            head.in_index = new if isinstance(head.get('in_index', -1), (list, tuple)) else new[0]
        if head.get('in_channels') is not None:
            widths = [in_channels[i] for i in indices]
            head.in_channels = widths if isinstance(head.in_channels, (list, tuple)) else widths[0]
        if first:
            head.c1_in_channels = in_channels[0]


def _takes_all(head: dict) -> bool:
    """Whether a head of mmseg takes every map without naming them, as Mask2Former's does."""
    return isinstance(head.get('in_channels'), (list, tuple)) and 'in_index' not in head


def _fit_pose(plan: DropIn, measured: _Measured, width: int) -> None:
    model = plan.cfg.model
    if model.get('head') is None:
        raise Refused(f'{plan.base}: {model.type} has no head')
    neck = model.get('neck')
    kind = str((neck or {}).get('type')).rpartition('.')[2]
    if measured.maps and (len(measured.maps) > 1 or neck is not None):
        channels = [count for count, _ in measured.maps]
        strides = measured.head_strides or [stride for _, stride in measured.maps]
        if len(set(channels)) > 1:
            raise Refused(f'{plan.base}: its head takes maps of {channels} channels, but SapiensFeaturePyramid gives '
                          'one width')
        if len(strides) > 1 and len(set(strides)) == 1:
            raise Refused(f'{plan.base}: its head supervises {len(strides)} stages of the stock backbone')
        why = ('the point generator of the head states these strides' if measured.head_strides else
               f'in place of {kind}, whose output has them')
        model.neck = _pyramid(plan, width, strides, channels[0], why)
        return
    plan.strides = [16]
    stock_stride = measured.backbone[-1][1]
    plan.reasons.append('no pyramid: the head takes one map, and gets stride 16 instead of '
                        f'{stock_stride:g}' + (f'; {kind} stays' if neck else ''))
    for head in parts_of(model.head):
        if head.get('in_channels') == measured.backbone[-1][0]:
            head.in_channels = width
        if head.get('in_featuremap_size') is not None:
            head.in_featuremap_size = tuple(-(-side // 16) for side in reversed(input_size(plan.cfg)))
            plan.reasons.append(f'in_featuremap_size={head.in_featuremap_size} of stride 16')
        _fit_deconvolutions(plan, head, stock_stride)


def _fit_deconvolutions(plan: DropIn, head: ConfigDict, stock_stride: float) -> None:
    """As many transposed convolutions as lead from stride 16 to the stride of the stock heatmaps."""
    settings = _arguments(plan.host, head)
    if 'deconv_out_channels' not in settings:
        return
    stock = list(settings['deconv_out_channels'] or [])
    number = round(torch.tensor(16 / (stock_stride / 2**len(stock))).log2().item())
    if number < 0:
        raise Refused(f'{plan.base}: its head works at stride {stock_stride / 2**len(stock):g}, but a ViT has 16')
    if number == len(stock):
        return
    head.deconv_out_channels = (stock or [_WIDTH])[:1] * number if number else None
    head.deconv_kernel_sizes = [4] * number if number else None
    if 'deconv_num_groups' in settings:
        head.deconv_num_groups = (list(settings['deconv_num_groups'] or [1])[:1]) * number if number else None
    plan.reasons.append(f'{number} transposed convolutions lead from stride 16 to the stock {16 / 2**number:g} '
                        f'(there were {len(stock)})')


def _fit_classifier(plan: DropIn, measured: _Measured, width: int) -> None:
    model = plan.cfg.model
    head = model.get('head')
    if head is None or model.type not in ('ImageClassifier', 'ImageToImageRetriever'):
        raise Refused(f'{plan.base}: {model.type} is no classifier; expected ImageClassifier or ImageToImageRetriever')
    backbone = _backbone(plan)
    kind = str(head.type).rpartition('.')[2]
    neck = model.get('neck') if model.get('backbone') is not None else (model.image_encoder[1:] or [None])[0]
    if kind == 'DeiTClsHead':
        raise Refused(f'{plan.base}: {kind} reads a distillation token, which SapiensViT does not have')
    if kind == 'VisionTransformerClsHead':
        backbone.update(out_type='cls_token', with_cls_token=True)
        plan.reasons.append(f"out_type='cls_token': {kind} reads the cls token")
    elif neck is None:
        backbone.out_type = 'avg_featmap'
        plan.reasons.append(f"out_type='avg_featmap': {kind} takes one vector, and there is no neck")
    elif str(neck.type).rpartition('.')[2] == 'GlobalAveragePooling':
        plan.strides = [16]
        plan.reasons.append("out_type='featmap': GlobalAveragePooling stays and takes the map")
    else:
        raise Refused(f'{plan.base}: {neck.type} is a neck for the stock maps; expected GlobalAveragePooling or none')
    head.in_channels = width


# ---------------------------------------------------------------------------------------------------------------------
# Normalization and optimizer


def _normalize(plan: DropIn) -> None:
    """Images as the Sapiens weights know them."""
    cfg = plan.cfg
    place = cfg.model if cfg.model.get('data_preprocessor') is not None else cfg
    settings = place.get('data_preprocessor')
    if settings is None:
        settings = place['data_preprocessor'] = ConfigDict()
    to_rgb = 'to_rgb' if plan.host == 'mmpretrain' else 'bgr_to_rgb'
    wanted = dict(_NORMALIZATION, **{to_rgb: True})
    old = {key: settings.get(key) for key in wanted}
    same = bool(old[to_rgb]) and all(
        old[key] is not None and [round(float(x), 3) for x in old[key]] == wanted[key] for key in _NORMALIZATION)
    if not same:
        settings.update(wanted)
        settings.pop('rgb_to_bgr', None)
        plan.reasons.append(f'data_preprocessor: mean, std and {to_rgb} of the Sapiens weights (stock: mean '
                            f'{old["mean"]}, std {old["std"]}, {to_rgb} {old[to_rgb]})')


def _optimize(plan: DropIn) -> None:
    """AdamW with layer decay, and schedules that leave the decayed rates alone."""
    cfg = plan.cfg
    stock = cfg.get('optim_wrapper') or ConfigDict(type='OptimWrapper', optimizer=dict(type='SGD'))
    optimizer = stock.optimizer
    adam = str(optimizer.type) == 'AdamW'
    lr, decay = _LEARNING_RATE[plan.host], 0.1
    if adam and optimizer.lr <= 5e-4:
        lr, decay = optimizer.lr, optimizer.get('weight_decay', decay)
        plan.reasons.append(f'AdamW stays, with lr {lr:g} and weight_decay {decay:g}')
    else:
        plan.reasons.append(f'AdamW with lr {lr:g} and weight_decay {decay:g} in place of {optimizer.type} with lr '
                            f'{optimizer.get("lr")}, which is for a convolutional net; tune it to your batch size')
    paramwise = dict(layer_decay_rate=0.85)
    keys = (stock.get('paramwise_cfg') or {}).get('custom_keys') or {}
    kept = {}
    if adam:  # those of a convolutional net's SGD are of another scale
        kept = {key: {mult: setting[mult] for mult in ('lr_mult', 'decay_mult') if mult in setting}
                for key, setting in keys.items() if not key.startswith('backbone') and key.strip('.') not in _RULED}
    if kept:
        paramwise['custom_keys'] = kept
    left_out = sorted(set(keys) - set(kept))
    plan.reasons.append('SapiensLayerDecayConstructor with decay 0.85 a layer, and no weight decay on norms, biases '
                        'and embeddings' + (f'; custom_keys {left_out} are left out' if left_out else ''))
    wrapper = {key: value for key, value in stock.items() if key not in ('optimizer', 'paramwise_cfg', 'constructor')}
    wrapper.setdefault('type', 'OptimWrapper')
    if wrapper['type'] == 'AmpOptimWrapper':
        wrapper.update(dtype='bfloat16')
        wrapper.pop('loss_scale', None)
        plan.reasons.append('bfloat16 in place of float16: activations of large ViTs pass 65504')
    wrapper['clip_grad'] = wrapper.get('clip_grad') or dict(max_norm=1.0, norm_type=2)
    cfg.optim_wrapper = ConfigDict(
        **wrapper, optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=decay),
        constructor='SapiensLayerDecayConstructor', paramwise_cfg=paramwise)
    schedulers = _list(cfg.get('param_scheduler'))
    for scheduler in schedulers:
        if scheduler.get('eta_min'):
            if 'Cosine' in scheduler.type:
                scheduler.eta_min_ratio = scheduler.pop('eta_min') / optimizer.lr
            else:
                scheduler.eta_min = 0
            plan.reasons.append(f'{scheduler.type} has no absolute eta_min, which would lift the decayed rates')


# ---------------------------------------------------------------------------------------------------------------------


def _brief(error: Exception) -> str:
    return f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'


def _list(value) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def parts_of(value) -> Iterator[ConfigDict]:
    """Every dict in a config's value, outermost first."""
    if isinstance(value, dict):
        yield value
        value = value.values()
    if not isinstance(value, str) and hasattr(value, '__iter__'):
        for item in value:
            if isinstance(item, (dict, list, tuple)):
                yield from parts_of(item)


def _arguments(host: str, part: dict) -> dict:
    """A component's settings, those that it takes by default included."""
    with MODELS.switch_scope_and_registry(host) as registry:
        kind = registry.get(part['type']) if isinstance(part.get('type'), str) else None
    if kind is None:  # part of a component that has a type
        return dict(part)
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    return {**defaults, **part}


def _difference(old, new):
    """What a config that inherits ``old`` must say to become ``new``."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if set(old) - set(new) or old.get('type') != new.get('type'):
        return {'_delete_': True, **new}
    return {key: _difference(old.get(key), value) for key, value in new.items() if key not in old or old[key] != value}
