"""Models of the public release as ours: estimator, backbone, head, losses, preprocessor and checkpoints."""
import inspect
import re
from pathlib import PurePosixPath

from ...backbones.model_zoo import RELEASED, released_file
from ...backbones.sapiens_vit import SapiensViT
from ...utils.config_text import Code
from ...utils.text import some
from .kinds import Kind
from .report import Report, renamed, same

_BACKBONE = same(' '.join(name for name in inspect.signature(SapiensViT).parameters))
_HEAD = {
    **same('in_channels deconv_out_channels deconv_kernel_sizes conv_out_channels conv_kernel_sizes init_cfg'),
    'norm_cfg': None}
_POSE_HEAD = {**_HEAD, **same('out_channels loss decoder')}
_DENSE_HEAD = {**_HEAD, **same('num_classes out_channels channels loss_decode ignore_index in_index align_corners'),
               'dropout_ratio': None, 'act_cfg': None, 'conv_cfg': None}
_PREPROCESSOR = same('mean std bgr_to_rgb rgb_to_bgr pad_val seg_pad_val size size_divisor pad_size_divisor test_cfg '
                     'non_blocking')
_PREPROCESSORS = dict(PoseDataPreprocessor='PoseDataPreprocessor', SegDataPreProcessor='SapiensDensePreprocessor')
# Public loss -> ours, its arguments, and those that must have one of these values.
_LOSSES = {
    'KeypointMSELoss': ('KeypointMSELoss', same('use_target_weight skip_empty_channel loss_weight'), {}),
    'KeypointOHKMMSELoss': ('SapiensOHKMMSELoss', same('use_target_weight topk loss_weight'), {}),
    'CrossEntropyLoss': ('SapiensWeightedCrossEntropyLoss', same('class_weight loss_weight loss_name'),
                         dict(use_sigmoid=[False], use_mask=[False], avg_non_ignore=[False],
                              reduction=['none', 'mean'])),  # of all pixels, then
    'SiLogLoss': ('SapiensSiLogLoss', same('loss_weight loss_name'), dict(reduction=['mean'])),
}
_NORMAL_LOSSES = dict(CosineSimilarityLoss='cos_weight', L1Loss='l1_weight')


def migrate_model(cfg: dict, kind: Kind, report: Report) -> dict:
    """The model of pose, parts, depth or normals; its codec becomes the variable ``codec``."""
    model = cfg['model']
    head = model[kind.head_key]
    report.change('model.type', f'{model["type"]} -> {kind.model}')
    out = dict(type=kind.model)
    if model.get('data_preprocessor'):
        out['data_preprocessor'] = migrate_preprocessor(model['data_preprocessor'], report)
    out['backbone'] = migrate_backbone(model, 'model.backbone', report)
    out[kind.head_key] = migrate_head(head, kind, report)
    width = SapiensViT.arch_zoo[model['backbone']['arch']]['embed_dims']
    if head.get('in_channels') != width:
        report.keep(f'model.{kind.head_key}.in_channels',
                    f'got {head.get("in_channels")}, but {model["backbone"]["arch"]} has {width}.')
    known = {'type', 'data_preprocessor', 'backbone', kind.head_key, 'pretrained'}
    for key, value in model.items():
        if key in ('train_cfg', 'test_cfg'):
            out[key] = dict(value or {})
        elif key not in known and value is not None:
            report.keep(f'model.{key}', 'is no part of this model.')
            out[key] = value
    return out


def migrate_preprocessor(config: dict, report: Report) -> dict:
    """The preprocessor of a fine-tuned model."""
    path, name = 'model.data_preprocessor', config.get('type')
    if name not in _PREPROCESSORS:
        report.keep(path, f'{name} has no counterpart.')
        return config
    if _PREPROCESSORS[name] != name:
        report.change(path, f'{name} -> {_PREPROCESSORS[name]}')
    return dict(type=_PREPROCESSORS[name], **renamed(config, path, _PREPROCESSOR, report))


def migrate_backbone(model: dict, path: str, report: Report) -> dict:
    """The backbone of a fine-tuned model, with its pretrained file at the public address."""
    config = model['backbone']
    report.change(path, f'{config["type"]} -> SapiensViT')
    out = dict(type='SapiensViT', **renamed(config, path, _BACKBONE, report))
    init = out.pop('init_cfg', None)
    if init is None and model.get('pretrained'):
        init = dict(type='Pretrained', checkpoint=model['pretrained'])
    if isinstance(init, dict) and init.get('type') == 'Pretrained':
        checkpoint = pretrained_file(str(init.get('checkpoint') or ''), config['arch'], path, report)
        out['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
    elif init:
        out['init_cfg'] = init
    return recomputed(out, path, report)


def recomputed(config: dict, path: str, report: Report) -> dict:
    """A backbone or decoder that recomputes activations, unless it says otherwise."""
    if 'with_cp' in config:
        return config
    report.change(f'{path}.with_cp', 'True added: the public batch sizes need the memory; without it a step is faster')
    return {**config, 'with_cp': True}


def migrate_head(config: dict, kind: Kind, report: Report) -> dict:
    """The head of a fine-tuned model; a pose head refers to the variable ``codec``."""
    path = f'model.{kind.head_key}'
    report.change(path, f'{config["type"]} -> {kind.head}')
    if config.get('norm_cfg'):
        report.change(f'{path}.norm_cfg', f'{config["norm_cfg"].get("type")} dropped, the layers are InstanceNorm')
    out = dict(type=kind.head, **renamed(config, path, _POSE_HEAD if kind.task == 'pose' else _DENSE_HEAD, report))
    if kind.task == 'pose':
        out['loss'] = migrate_loss(config.get('loss', dict(type='KeypointMSELoss')), f'{path}.loss', report)
        out['decoder'] = Code('codec')
        return out
    widths = [*config.get('deconv_out_channels', ()), *config.get('conv_out_channels', ())]
    if widths and out.get('channels', widths[-1]) != widths[-1]:
        report.change(f'{path}.channels', f'dropped: the last layer gets {widths[-1]}, not {out.pop("channels")}')
    if 'loss_decode' in config:
        losses = config['loss_decode']
        losses = losses if isinstance(losses, (list, tuple)) else [losses]
        convert = migrate_normal_losses if kind.task == 'normal' else _migrate_losses
        out['loss_decode'] = convert(losses, f'{path}.loss_decode', report)
    return out


def _migrate_losses(losses: list[dict], path: str, report: Report) -> dict | list[dict]:
    if len(losses) == 1:
        return migrate_loss(losses[0], path, report)
    return [migrate_loss(loss, f'{path}.{index}', report) for index, loss in enumerate(losses)]


def migrate_loss(config: dict, path: str, report: Report) -> dict:
    """A loss of keypoints, parts or depth."""
    if config.get('type') not in _LOSSES:
        report.keep(path, f'{config.get("type")} has no counterpart.')
        return config
    name, table, fixed = _LOSSES[config['type']]
    if name == 'SapiensWeightedCrossEntropyLoss' and config.get('class_weight') \
            and config.get('reduction', 'mean') == 'mean':
        report.change(path, "CrossEntropyLoss stays mmseg's: its mean is divided by the weights")
        return config
    wrong = {key: config[key] for key, values in fixed.items() if config.get(key, values[0]) not in values}
    for key, value in wrong.items():
        report.keep(f'{path}.{key}', f'got {value!r}, but {name} has {fixed[key][0]!r}.')
    if name != config['type']:
        report.change(path, f'{config["type"]} -> {name}')
    return dict(type=name, **renamed(config, path, {**table, **dict.fromkeys(fixed)}, report), **wrong)


def migrate_normal_losses(losses: list[dict], path: str, report: Report) -> dict | list[dict]:
    """The losses of normals, which are one here."""
    names = [loss.get('type') for loss in losses]
    unknown = [name for name in names if name not in _NORMAL_LOSSES]
    if unknown or len(set(names)) < len(names):
        report.keep(path, f'{some(unknown or names)} has no counterpart.')
        return losses
    report.change(path, f'{" + ".join(names)} -> SapiensNormalLoss, with its own eps')
    weights = dict.fromkeys(_NORMAL_LOSSES.values(), 0.)
    for index, loss in enumerate(losses):
        table = {'loss_weight': 'weight', 'reduction': None, 'eps': None, 'loss_name': None}
        weights[_NORMAL_LOSSES[loss['type']]] = renamed(loss, f'{path}.{index}', table, report).get('weight', 1.)
    return dict(type='SapiensNormalLoss', **weights)


def migrate_codec(config: dict | None, path: str, report: Report) -> dict | None:
    """The codec of a pose model."""
    if not config or config.get('type') != 'UDPHeatmap' or config.get('heatmap_type', 'gaussian') != 'gaussian':
        report.keep(path, f'{(config or {}).get("type")} has no counterpart, expected UDPHeatmap of Gaussians.')
        return config
    report.change(path, 'UDPHeatmap -> SapiensUDPHeatmap')
    table = {**same('input_size heatmap_size sigma blur_kernel_size'), 'heatmap_type': None}
    return dict(type='SapiensUDPHeatmap', **renamed(config, path, table, report))


def pretrained_file(checkpoint: str, arch: str, path: str, report: Report) -> str:
    """The public pretrained file that a backbone starts from.

    Args:
        checkpoint: The public config's path.
        arch: Name of the backbone, which decides.
        path: Place of the backbone.
        report: Gets a path that is of another size, or of no public file.
    """
    source, name = released_file(arch, 'pretrain').source, PurePosixPath(checkpoint).name
    where, expected = f'{path}.init_cfg.checkpoint', PurePosixPath(source).name
    size = re.search(r'sapiens_(?:host_)?\d+(?:\.\d+)?b', checkpoint)
    if size and size[0] != arch:
        report.ask(where, f'got {name} of {size[0]}, but arch is {arch}: took {source}; correct arch if it is wrong')
    elif not name.startswith(expected.removesuffix('_clean.pth')):
        report.ask(where, f'got {name or "nothing"}, which is no public pretrained file: took {source}; give the path '
                   'or hf:// address of yours')
    else:
        report.change(where, f'{name} -> {source}')
    return source


def migrate_load_from(checkpoint: str | None, report: Report) -> str | None:
    """Where a whole model is read from: a public file's address, or None for the user to fill in."""
    if not checkpoint:
        return None
    name = PurePosixPath(str(checkpoint)).name
    for file in RELEASED.values():
        if PurePosixPath(file.path).name == name:
            report.change('load_from', f'{name} -> {file.source}')
            return file.source
    report.ask('load_from', f'got {name}, which is no public file: set to None; give the path or hf:// address of '
               'yours')
    return None
