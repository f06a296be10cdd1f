"""Settings of backbone, neck and head from the maps that a stock head receives."""
import inspect
import math
import os.path as osp

from mmengine.config import ConfigDict
from mmengine.registry import MODELS

from ...engine.licenses import license_of
from ..model_zoo import PADDED_TASKS, RELEASED, SAPIENS2_PRETRAINED, find_public
from .plan import Plan, as_list, parts_of, type_name
from .stock import Measured, input_size

_WIDTH = 256  # channels of the pyramid where the stock maps differ in theirs
#: Heads that also take the first map, though `in_index` does not say so.
_FIRST_MAP_HEADS = ('DepthwiseSeparableASPPHead', )


def put_backbone(plan: Plan, vit: type, arch: str | dict, checkpoint: str | None) -> None:
    cfg = plan.cfg
    height, width = input_size(cfg)
    backbone = dict(type=vit.__name__, arch=arch, img_size=height if height == width else (height, width))
    if height * width >= 512**2:
        backbone['with_cp'] = True
        plan.note('with_cp=True recomputes activations, since images are 512 x 512 or larger')
    size = arch.removeprefix('sapiens_') if isinstance(arch, str) else None
    if checkpoint is None and (size, 'pretrain') in RELEASED:
        checkpoint = RELEASED[size, 'pretrain'].source
    elif checkpoint is None:
        checkpoint = SAPIENS2_PRETRAINED.get(size)
    if checkpoint is None:
        plan.note(f'the backbone starts from random weights: none are public for {arch}')
    else:
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
        if license := license_of(checkpoint):
            plan.note(f'init_cfg: weights under the license {license}, and so is what is trained from them')
        their_size, task = find_public(checkpoint) or (size, None)
        if their_size != size:
            raise ValueError(f"checkpoint '{checkpoint}' is of the size {their_size}, expected {arch}; name "
                             'another, or leave it out')
        if task in PADDED_TASKS:
            backbone['patch_cfg'] = dict(padding=2)
            plan.note(f'patch_cfg=dict(padding=2), with which the public {task} models were trained')
        if '://' not in checkpoint and not osp.exists(checkpoint):
            plan.note(f"init_cfg: '{checkpoint}' does not exist yet")
    if cfg.model.get('backbone') is None:
        cfg.model.image_encoder = [ConfigDict(backbone), *cfg.model.image_encoder[1:]]
    else:
        cfg.model.backbone = ConfigDict(backbone)
    for key in ('pretrained', 'init_cfg'):
        if cfg.model.get(key) is not None:
            cfg.model[key] = None
            plan.note(f"model.{key}=None: its weights are the stock backbone's")
    if cfg.get('load_from'):
        cfg.load_from = None
        plan.note("load_from=None: its weights are the stock model's")
    imports = (cfg.get('custom_imports') or {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    cfg.custom_imports = ConfigDict(imports=[*imports, 'sapiens_mm'], allow_failed_imports=False)


def _pyramid(plan: Plan, width: int, strides: list[float], out_channels: int, why: str) -> ConfigDict:
    listed = ', '.join(f'{stride:g}' for stride in strides)
    if not set(strides) <= {4, 8, 16, 32, 64, 128} or strides != sorted(set(strides)):
        raise plan.refusal(f'strides: got {listed} at its head, expected ascending ones of 4 to 128, as '
                           'SapiensFeaturePyramid gives')
    plan.strides = strides
    plan.note(f'SapiensFeaturePyramid of strides {listed} with {out_channels} channels: {why}')
    return ConfigDict(type='SapiensFeaturePyramid', in_channels=width, out_channels=out_channels, strides=strides)


def fit_detector(plan: Plan, measured: Measured, width: int) -> None:
    """Adds a pyramid with the strides that heads of mmdet need; DETR-like models keep their neck."""
    model = plan.cfg.model
    if not measured.maps:
        raise plan.refusal(f'neck: got no feature maps in {model.type}, expected at least one')
    neck = model.get('neck')
    kind = type_name(neck) if isinstance(neck, dict) else ''
    channels = [count for count, _ in measured.first_maps]
    strides = [stride for _, stride in measured.first_maps]
    why = ('as the anchor or point generator of the head states' if measured.head_strides else
           'as the head takes from the stock model')
    replaced = type_name(as_list(neck)[0]) if neck else ''
    source = f'in place of {replaced}, {why}' if replaced else why
    if kind == 'ChannelMapper' and len(measured.maps) == 1:
        neck.in_channels = [width]
        plan.strides = [16]
        plan.note('ChannelMapper on the one map of stride 16: the head is a DETR of one level')
    elif kind in ('ChannelMapper', 'DilatedEncoder'):
        inner = [stride for _, stride in measured.backbone][-len(measured.maps):]
        pyramid = _pyramid(plan, width, inner, _WIDTH, f'{kind} stays and takes maps of these strides')
        neck.in_channels = _WIDTH if isinstance(neck.in_channels, int) else [_WIDTH] * len(neck.in_channels)
        model.neck = [pyramid, neck]
        plan.strides = strides
    elif len(set(channels)) == 1:
        pyramid = _pyramid(plan, width, strides, channels[0], source)
        model.neck = [pyramid, *neck[1:]] if isinstance(neck, list) else pyramid
        plan.strides = [stride for _, stride in measured.maps]
    elif isinstance(neck, list):
        raise plan.refusal(f'neck: got maps of {channels} channels after {replaced}, expected one width')
    else:
        model.neck = _pyramid(plan, width, strides, _WIDTH, source)
        _replace_channels(plan, channels, [_WIDTH] * len(channels))


def _replace_channels(plan: Plan, old: list[int], new: list[int]) -> None:
    heads = [part for key, value in plan.cfg.model.items() if key not in ('backbone', 'neck')
             for part in parts_of(value) if as_list(part.get('in_channels')) == old]
    if not heads:
        raise plan.refusal(f'in_channels: got none of {old} in its head, which takes maps of these channels')
    for head in heads:
        head.in_channels = new
    plan.note(f'in_channels={new} in the head, as wide as the pyramid')


def fit_segmentor(plan: Plan, measured: Measured, width: int) -> None:
    """Adds a pyramid if heads of mmseg need maps of several strides; else they get maps of stride 16."""
    model = plan.cfg.model
    heads = [head for key in ('decode_head', 'auxiliary_head') for head in as_list(model.get(key))]
    number = len(measured.maps)
    taken = [list(range(number)) if _takes_all(head) else [i % number for i in as_list(head.get('in_index', -1))]
             for head in heads]
    also_first = any(type_name(head) in _FIRST_MAP_HEADS for head in heads)
    used = sorted({i for indices in taken for i in indices} | ({0} if also_first else set()))
    if len({measured.maps[i][1] for i in used}) > 1:
        places, channels = _from_pyramid(plan, measured, width, used)
    else:
        places, channels = _from_depths(plan, measured, width, used)
        stride = measured.maps[used[0]][1]
        if stride < 16 and any('dilations' in head for head in heads):
            plan.note(f'dilations: stay; at stride 16 they reach {16 / stride:g} times as far as at the '
                      f'stock {stride:g}')
    for head, indices in zip(heads, taken):
        if not _takes_all(head):
            new = [places[i] for i in indices]
            head.in_index = new if isinstance(head.get('in_index', -1), (list, tuple)) else new[0]
        if head.get('in_channels') is not None:
            head.in_channels = [channels] * len(indices) if isinstance(head.in_channels, (list, tuple)) else channels
        if type_name(head) in _FIRST_MAP_HEADS:
            head.c1_in_channels = channels


def _from_pyramid(plan: Plan, measured: Measured, width: int, used: list[int]) -> tuple[dict[int, int], int]:
    neck = plan.cfg.model.get('neck')
    strides = sorted({measured.maps[i][1] for i in used})
    widths = {measured.maps[i][0] for i in used}
    channels = widths.pop() if neck is not None and len(widths) == 1 else _WIDTH
    why = 'the stock maps of the heads have these strides' if neck is None else f'in place of {type_name(neck)}'
    plan.cfg.model.neck = _pyramid(plan, width, strides, channels, why)
    return {i: strides.index(measured.maps[i][1]) for i in used}, channels


def _from_depths(plan: Plan, measured: Measured, width: int, used: list[int]) -> tuple[dict[int, int], int]:
    neck = plan.cfg.model.get('neck')
    backbone = plan.backbone
    last = num_layers_of(backbone)
    number = len(measured.maps)
    depths = measured.depths if len(measured.depths) == number else [(i + 1) / number for i in range(number)]
    blocks = [max(round(depth * last), 1) - 1 for depth in depths]
    indices = sorted({blocks[i] for i in used} | {last - 1})
    plan.strides = [16] * len(indices)
    if indices != [last - 1]:
        backbone.out_indices = indices
        plan.note(f'out_indices={indices}: the heads take maps of one stride from several depths')
    places = {i: indices.index(blocks[i]) for i in used}
    if neck is None:
        plan.note('no neck: each head takes one stride, and gets 16')
        return places, width
    neck.in_channels = [width] * len(indices) if isinstance(neck.in_channels, (list, tuple)) else width
    plan.note(f'{type_name(neck)}: stays, with in_channels={neck.in_channels}')
    return places, measured.maps[used[0]][0]


def num_layers_of(backbone: dict) -> int:
    return MODELS.get(backbone['type'])._arch_settings(backbone['arch'])['num_layers']


def _takes_all(head: dict) -> bool:
    return isinstance(head.get('in_channels'), (list, tuple)) and 'in_index' not in head


def fit_pose(plan: Plan, measured: Measured, width: int) -> None:
    """Adds a pyramid if a model of mmpose has a neck or several maps; else the head gets the map of stride 16."""
    model = plan.cfg.model
    if model.get('head') is None:
        raise plan.refusal(f'{model.type} has no head')
    neck = model.get('neck')
    kind = type_name(neck)
    if measured.maps and (len(measured.maps) > 1 or neck is not None):
        channels = [count for count, _ in measured.maps]
        strides = [stride for _, stride in measured.maps]
        if len(set(channels)) > 1:
            raise plan.refusal(f'channels: got {channels} at its head, expected one width, as '
                               'SapiensFeaturePyramid gives')
        if len(strides) > 1 and len(set(strides)) == 1:
            raise plan.refusal(f'its head supervises {len(strides)} stages of the stock backbone')
        why = f'in place of {kind}, whose output has these strides'
        model.neck = _pyramid(plan, width, strides, channels[0], why)
        return
    plan.strides = [16]
    stock_stride = measured.backbone[-1][1]
    plan.note(f'no pyramid: the head takes one map, and gets stride 16 (stock: {stock_stride:g})'
              + (f'; {kind} stays' if neck else ''))
    for head in parts_of(model.head):
        if head.get('in_channels') == measured.backbone[-1][0]:
            head.in_channels = width
        if head.get('in_featuremap_size') is not None:
            head.in_featuremap_size = tuple(-(-side // 16) for side in reversed(input_size(plan.cfg)))
            plan.note(f'in_featuremap_size={head.in_featuremap_size} of stride 16')
        _fit_deconvolutions(plan, head, stock_stride)


def _fit_deconvolutions(plan: Plan, head: ConfigDict, stock_stride: float) -> None:
    settings = _arguments(plan.host, head)
    if 'deconv_out_channels' not in settings:
        return
    stock = list(settings['deconv_out_channels'] or [])
    number = round(math.log2(16 / stock_stride * 2**len(stock)))
    if number < 0 and not stock and 'in_featuremap_size' in head:
        return  # works at the stride of its map
    if number < 0:
        raise plan.refusal(f'stride: got {stock_stride / 2**len(stock):g} at its head, expected at most a ViT\'s 16')
    if number == len(stock):
        return
    head.deconv_out_channels = (stock or [_WIDTH])[:1] * number if number else None
    head.deconv_kernel_sizes = [4] * number if number else None
    if 'deconv_num_groups' in settings:
        head.deconv_num_groups = (list(settings['deconv_num_groups'] or [1])[:1]) * number if number else None
    plan.note(f'{number} transposed convolutions lead from stride 16 to the stock {16 / 2**number:g} '
              f'(before: {len(stock)})')


def fit_classifier(plan: Plan, measured: Measured, width: int) -> None:
    model = plan.cfg.model
    head = model.head
    if not isinstance(head.get('in_channels'), int):
        raise plan.refusal(f'head.in_channels: got {head.get("in_channels")}, expected a number; the stock '
                           'backbone classifies by itself or outputs several vectors')
    backbone = plan.backbone
    kind = type_name(head)
    neck = model.get('neck') if model.get('backbone') is not None else (model.image_encoder[1:] or [None])[0]
    if kind == 'DeiTClsHead':
        raise plan.refusal(f'{kind} reads a distillation token, which {backbone.type} does not have')
    if kind == 'VisionTransformerClsHead':
        backbone.out_type = 'cls_token'
        if backbone.type == 'SapiensViT':
            backbone.with_cls_token = True
        plan.note(f"out_type='cls_token': {kind} reads the cls token")
    elif neck is None and not measured.maps:
        backbone.out_type = 'avg_featmap'
        plan.note(f"out_type='avg_featmap': {kind} takes one vector, without a neck")
    elif neck is None or type_name(neck) in ('GlobalAveragePooling', 'GeneralizedMeanPooling'):
        plan.strides = [16]
        plan.note(f"out_type='featmap': {kind if neck is None else type_name(neck)} stays and takes the map")
    else:
        raise plan.refusal(f'neck: got {neck.type}, which fits only the stock maps, expected '
                           'GlobalAveragePooling or none')
    head.in_channels = width


def _arguments(host: str, part: dict) -> dict:
    with MODELS.switch_scope_and_registry(host) as registry:
        kind = registry.get(part['type']) if isinstance(part.get('type'), str) else None
    if kind is None:  # part of a component that has a type
        return dict(part)
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    return {**defaults, **part}


#: By host.
FIT = dict(mmdet=fit_detector, mmpose=fit_pose, mmseg=fit_segmentor, mmpretrain=fit_classifier)
