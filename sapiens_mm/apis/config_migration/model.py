"""Models of the public release as ours: estimator, backbone, head, losses, preprocessor and checkpoints."""
import inspect
import re
from pathlib import PurePosixPath

from ...backbones.model_zoo import RELEASED, released_file
from ...backbones.sapiens_vit import SapiensViT
from ...utils.config_text import Code
from ...utils.text import some
from .kinds import Kind
from .report import MigrationError, Report, arguments, converted, no_counterpart

_BACKBONE = tuple(inspect.signature(SapiensViT).parameters)
_HEAD = ('in_channels', 'deconv_out_channels', 'deconv_kernel_sizes', 'conv_out_channels', 'conv_kernel_sizes',
         'init_cfg')
_POSE_HEAD = (*_HEAD, 'out_channels', 'loss', 'decoder')
_DENSE_HEAD = (*_HEAD, 'num_classes', 'out_channels', 'channels', 'loss_decode', 'ignore_index', 'in_index',
               'align_corners')
_PREPROCESSOR = ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr', 'pad_val', 'seg_pad_val', 'size', 'size_divisor',
                 'pad_size_divisor', 'test_cfg', 'non_blocking')
_PREPROCESSORS = dict(PoseDataPreprocessor='PoseDataPreprocessor', SegDataPreProcessor='SapiensDensePreprocessor')
# Public loss -> ours, its arguments, and those that must have one of these values.
_LOSSES = {
    'KeypointMSELoss': ('KeypointMSELoss', ('use_target_weight', 'skip_empty_channel', 'loss_weight'), {}),
    'KeypointOHKMMSELoss': ('SapiensOHKMMSELoss', ('use_target_weight', 'topk', 'loss_weight'), {}),
    'CrossEntropyLoss': ('SapiensWeightedCrossEntropyLoss', ('class_weight', 'loss_weight', 'loss_name'),
                         dict(use_sigmoid=[False], use_mask=[False], avg_non_ignore=[False],
                              reduction=['none', 'mean'])),  # of all pixels, then
    'SiLogLoss': ('SapiensSiLogLoss', ('loss_weight', 'loss_name'), dict(reduction=['mean'])),
}
_NORMAL_LOSSES = dict(CosineSimilarityLoss='cos_weight', L1Loss='l1_weight')


def migrate_model(cfg: dict, kind: Kind, report: Report) -> dict:
    """The model of pose, parts, depth or normals; its codec becomes the variable ``codec``."""
    model = cfg['model']
    head = model[kind.head_key]
    report.change('model.type', f'{model["type"]} -> {kind.model}')
    out = dict(type=kind.model)
    if model.get('data_preprocessor'):
        config, path = model['data_preprocessor'], 'model.data_preprocessor'
        new = _PREPROCESSORS.get(config.get('type'))
        out['data_preprocessor'] = converted(config, new, path, report, kept=_PREPROCESSOR) if new else \
            no_counterpart(config, path, report)
    out['backbone'] = migrate_backbone(model, 'model.backbone', report)
    out[kind.head_key] = migrate_head(head, kind, report)
    width = SapiensViT.arch_zoo[model['backbone']['arch']]['embed_dims']
    if head.get('in_channels') != width:
        report.by_hand(f'model.{kind.head_key}.in_channels',
                       f'got {head.get("in_channels")}, but {model["backbone"]["arch"]} has {width}')
    out.update({key: dict(model[key] or {}) for key in ('train_cfg', 'test_cfg') if key in model})
    return {**out, **arguments(model, 'model', report, ignored=(*out, 'pretrained', 'data_preprocessor'))}


def migrate_backbone(model: dict, path: str, report: Report) -> dict:
    """The backbone of a fine-tuned model, with its pretrained file at the public address."""
    config = model['backbone']
    out = converted(config, 'SapiensViT', path, report, kept=_BACKBONE)
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
    if config.get('norm_cfg'):
        report.change(f'{path}.norm_cfg', f'{config["norm_cfg"].get("type")} dropped, the layers are InstanceNorm')
    if kind.task == 'pose':
        out = converted(config, kind.head, path, report, kept=_POSE_HEAD, ignored=('norm_cfg', ))
        out['loss'] = migrate_loss(config.get('loss', dict(type='KeypointMSELoss')), f'{path}.loss', report)
        out['decoder'] = Code('codec')
        return out
    out = converted(config, kind.head, path, report, kept=_DENSE_HEAD,
                    ignored=('norm_cfg', 'dropout_ratio', 'act_cfg', 'conv_cfg'))
    widths = [*config.get('deconv_out_channels', ()), *config.get('conv_out_channels', ())]
    if widths and out.get('channels', widths[-1]) != widths[-1]:
        report.change(f'{path}.channels', f'dropped: the last layer gets {widths[-1]}, not {out.pop("channels")}')
    if 'loss_decode' in config:
        losses, path = config['loss_decode'], f'{path}.loss_decode'
        losses = losses if isinstance(losses, (list, tuple)) else [losses]
        if kind.task == 'normal':
            out['loss_decode'] = migrate_normal_losses(losses, path, report)
        elif len(losses) == 1:
            out['loss_decode'] = migrate_loss(losses[0], path, report)
        else:
            out['loss_decode'] = [migrate_loss(loss, f'{path}.{index}', report) for index, loss in enumerate(losses)]
    return out


def migrate_loss(config: dict, path: str, report: Report) -> dict:
    """A loss of keypoints, parts or depth."""
    if config.get('type') not in _LOSSES:
        return no_counterpart(config, path, report)
    name, kept, fixed = _LOSSES[config['type']]
    if config['type'] == 'CrossEntropyLoss' and config.get('class_weight') \
            and config.get('reduction', 'mean') == 'mean':
        report.change(path, "CrossEntropyLoss stays mmseg's: its mean is divided by the weights")
        return config
    right = [key for key, values in fixed.items() if config.get(key) in values]
    return converted(config, name, path, report, kept=kept, ignored=right)


def migrate_normal_losses(losses: list[dict], path: str, report: Report) -> dict | list[dict]:
    """The losses of normals, which are one here."""
    names = [loss.get('type') for loss in losses]
    unknown = [name for name in names if name not in _NORMAL_LOSSES]
    if unknown or len(set(names)) < len(names):
        report.by_hand(path, f'{some(unknown or names)} has no counterpart')
        return losses
    report.change(path, f'{" + ".join(names)} -> SapiensNormalLoss, with its own eps')
    weights = dict.fromkeys(_NORMAL_LOSSES.values(), 0.)
    for index, loss in enumerate(losses):
        args = arguments(loss, f'{path}.{index}', report, kept=('loss_weight', ),
                         ignored=('reduction', 'eps', 'loss_name'))
        weights[_NORMAL_LOSSES[loss['type']]] = args.get('loss_weight', 1.)
    return dict(type='SapiensNormalLoss', **weights)


def migrate_codec(config: dict | None, path: str, report: Report) -> dict:
    """The codec of a pose model.

    Raises:
        MigrationError: It is not a UDPHeatmap of Gaussians with both of its sizes.
    """
    config = config or {}
    if config.get('type') != 'UDPHeatmap' or config.get('heatmap_type', 'gaussian') != 'gaussian':
        raise MigrationError(f'{path}: got {config.get("type")} of {config.get("heatmap_type", "gaussian")}, expected '
                             'UDPHeatmap of gaussian; migrate this config by hand')
    for key in ('input_size', 'heatmap_size'):
        if not isinstance(config.get(key), (list, tuple)) or len(config[key]) != 2:
            raise MigrationError(f'{path}.{key}: got {config.get(key)}, expected (w, h); correct it')
    return converted(config, 'SapiensUDPHeatmap', path, report, ignored=('heatmap_type', ),
                     kept=('input_size', 'heatmap_size', 'sigma', 'blur_kernel_size'))


def pretrained_file(checkpoint: str, arch: str, path: str, report: Report) -> str:
    """The public pretrained file that a backbone starts from; ``arch`` decides.

    A path of another size or file is reported for the user to check.
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
    source = next((file.source for file in RELEASED.values() if PurePosixPath(file.path).name == name), None)
    if source:
        report.change('load_from', f'{name} -> {source}')
    else:
        report.ask('load_from', f'got {name}, which is no public file: set to None; give the path or hf:// address of '
                   'yours')
    return source
