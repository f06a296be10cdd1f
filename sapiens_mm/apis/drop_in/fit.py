"""Backbone, neck and head settings that fit what a stock head gets."""
import inspect
import os.path as osp

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS

from ...backbones import SapiensViT
from ...backbones.model_zoo import RELEASED
from .plan import DropIn, Refused, as_list, parts_of
from .stock import Measured, input_size

#: Tasks whose public backbones were trained with `patch_cfg=dict(padding=2)`.
_PADDED_TASKS = ('pose-17', 'pose-133', 'pose-308', 'normal')
_WIDTH = 256  # channels of the pyramid where the stock maps differ in theirs
#: Heads that also take the first map, though `in_index` does not say so.
_FIRST_MAP_HEADS = ('DepthwiseSeparableASPPHead', )


def put_backbone(plan: DropIn, arch: str | dict, checkpoint: str | None) -> None:
    cfg = plan.cfg
    height, width = input_size(cfg)
    backbone = dict(type='SapiensViT', arch=arch, img_size=height if height == width else (height, width))
    if height * width >= 512**2:
        backbone['with_cp'] = True
        plan.reasons.append('with_cp=True recomputes activations, since images are 512 x 512 or larger')
    size = arch.removeprefix('sapiens_') if isinstance(arch, str) else None
    if checkpoint is None and (size, 'pretrain') in RELEASED:
        checkpoint = RELEASED[size, 'pretrain'].source
    if checkpoint is None:
        plan.reasons.append(f'the backbone starts from random weights: there are no public ones of {arch}')
    else:
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
        public = {osp.basename(file.path): key for key, file in RELEASED.items()}
        their_size, task = public.get(osp.basename(checkpoint), (size, None))
        if their_size != size:
            raise ValueError(f"checkpoint '{checkpoint}' is of the size {their_size}, expected {arch}; name "
                             'another, or leave it out')
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


def _pyramid(plan: DropIn, width: int, strides: list[float], out_channels: int, why: str) -> ConfigDict:
    """A feature pyramid, or an error where a ViT cannot give these strides."""
    listed = ', '.join(f'{stride:g}' for stride in strides)
    if not set(strides) <= {4, 8, 16, 32, 64, 128} or strides != sorted(set(strides)):
        raise Refused(f'{plan.base}: its head takes maps of strides {listed}, but SapiensFeaturePyramid gives 4 to '
                      '128, ascending')
    plan.strides = strides
    plan.reasons.append(f'SapiensFeaturePyramid of strides {listed} with {out_channels} channels: {why}')
    return ConfigDict(type='SapiensFeaturePyramid', in_channels=width, out_channels=out_channels, strides=strides)


def fit_detector(plan: DropIn, measured: Measured, width: int) -> None:
    model = plan.cfg.model
    if not measured.maps:
        raise Refused(f'{plan.base}: {model.type} takes no maps, so that it is no detector')
    neck = model.get('neck')
    kind = str(neck.type).rpartition('.')[2] if isinstance(neck, dict) else None
    channels = [count for count, _ in measured.maps]
    strides = [stride for _, stride in measured.maps]
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
             for part in parts_of(value) if as_list(part.get('in_channels')) == old]
    if not heads:
        raise Refused(f'{plan.base}: its head takes maps of {old} channels, but states them nowhere as in_channels')
    for head in heads:
        head.in_channels = new
    plan.reasons.append(f'in_channels={new} in the head, as wide as the pyramid')


def fit_segmentor(plan: DropIn, measured: Measured, width: int) -> None:
    model = plan.cfg.model
    heads = [head for key in ('decode_head', 'auxiliary_head') for head in as_list(model.get(key))]
    number = len(measured.maps)
    wants = [list(range(number)) if _takes_all(head) else [i % number for i in as_list(head.get('in_index', -1))]
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


def fit_pose(plan: DropIn, measured: Measured, width: int) -> None:
    model = plan.cfg.model
    if model.get('head') is None:
        raise Refused(f'{plan.base}: {model.type} has no head')
    neck = model.get('neck')
    kind = str((neck or {}).get('type')).rpartition('.')[2]
    if measured.maps and (len(measured.maps) > 1 or neck is not None):
        channels = [count for count, _ in measured.maps]
        strides = [stride for _, stride in measured.maps]
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


def fit_classifier(plan: DropIn, measured: Measured, width: int) -> None:
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


def _arguments(host: str, part: dict) -> dict:
    """A component's settings, those that it takes by default included."""
    with MODELS.switch_scope_and_registry(host) as registry:
        kind = registry.get(part['type']) if isinstance(part.get('type'), str) else None
    if kind is None:  # part of a component that has a type
        return dict(part)
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    return {**defaults, **part}



#: By host.
FIT = dict(mmdet=fit_detector, mmpose=fit_pose, mmseg=fit_segmentor, mmpretrain=fit_classifier)
