"""Migration of the public release's models: backbone, head, losses, codec and checkpoints."""
import inspect
import re
from pathlib import PurePosixPath

from ...backbones.sapiens_vit import SapiensViT
from ...utils.config_text import Code
from ...utils.text import some
from ..config_report import ConfigError, Report
from ..model_zoo import RELEASED, released_file
from .components import Migration, Rule, arguments, convert

_DECONVS = ('in_channels', 'deconv_out_channels', 'deconv_kernel_sizes', 'conv_out_channels', 'conv_kernel_sizes',
            'init_cfg', 'out_channels')
_IMAGES = ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr', 'pad_val', 'seg_pad_val', 'size', 'size_divisor',
           'pad_size_divisor', 'test_cfg', 'non_blocking')
_BACKBONE = Rule('SapiensViT', tuple(inspect.signature(SapiensViT).parameters))
_POSE_HEAD = Rule('SapiensPoseHead', (*_DECONVS, 'loss', 'decoder'), ('norm_cfg', ))
_DENSE_HEAD = Rule(
    'SapiensDenseHead', (*_DECONVS, 'num_classes', 'channels', 'loss_decode', 'ignore_index', 'in_index',
                         'align_corners'), ('norm_cfg', 'dropout_ratio', 'act_cfg', 'conv_cfg'))
_CODEC = Rule('SapiensUDPHeatmap', ('input_size', 'heatmap_size', 'sigma', 'blur_kernel_size'), ('heatmap_type', ))
_PREPROCESSORS = {'PoseDataPreprocessor': Rule('PoseDataPreprocessor', _IMAGES),
                 'SegDataPreProcessor': Rule('SapiensDensePreprocessor', _IMAGES)}
_LOSSES = {
    'KeypointMSELoss': Rule('KeypointMSELoss', ('use_target_weight', 'skip_empty_channel', 'loss_weight')),
    'KeypointOHKMMSELoss': Rule('SapiensOHKMMSELoss', ('use_target_weight', 'topk', 'loss_weight')),
    # The public reduction 'none' is followed by a mean over all pixels.
    'CrossEntropyLoss': Rule(
        'SapiensWeightedCrossEntropyLoss', ('class_weight', 'loss_weight', 'loss_name'),
        fixed=dict(use_sigmoid=[False], use_mask=[False], avg_non_ignore=[False], reduction=['none', 'mean'])),
    'SiLogLoss': Rule('SapiensSiLogLoss', ('loss_weight', 'loss_name'), fixed=dict(reduction=['mean'])),
}
_NORMAL_LOSSES = dict(CosineSimilarityLoss='cos_weight', L1Loss='l1_weight')


def migrate_model(m: Migration) -> dict:
    model, kind, report = m.cfg['model'], m.kind, m.report
    report.change('model.type', f'{model["type"]} -> {kind.model}')
    out = dict(type=kind.model)
    if model.get('data_preprocessor'):
        out['data_preprocessor'] = convert(model['data_preprocessor'], _PREPROCESSORS, 'model.data_preprocessor',
                                           report)
    out['backbone'] = _backbone(model, 'model.backbone', report)
    out[kind.head_key] = _head(m, f'model.{kind.head_key}')
    width = m.arch('embed_dims')
    if m.head.get('in_channels') != width:
        report.by_hand(f'model.{kind.head_key}.in_channels',
                       f'got {m.head.get("in_channels")}, but {model["backbone"]["arch"]} has {width}')
    out.update({key: dict(model[key] or {}) for key in ('train_cfg', 'test_cfg') if key in model})
    return {**out, **arguments(model, 'model', report, ignored=(*out, 'pretrained', 'data_preprocessor'))}


def _backbone(model: dict, path: str, report: Report) -> dict:
    config = model['backbone']
    out = convert(config, _BACKBONE, path, report)
    init = out.pop('init_cfg', None)
    if init is None and model.get('pretrained'):
        init = dict(type='Pretrained', checkpoint=model['pretrained'])
    if isinstance(init, dict) and init.get('type') == 'Pretrained':
        checkpoint = _pretrained_file(str(init.get('checkpoint') or ''), config['arch'], path, report)
        init = dict(type='Pretrained', checkpoint=checkpoint)
    if init:
        out['init_cfg'] = init
    return recomputed(out, path, report)


def recomputed(config: dict, path: str, report: Report) -> dict:
    if 'with_cp' in config:
        return config
    report.change(f'{path}.with_cp', 'True added: the public batch sizes need the memory; without it a step is faster')
    return {**config, 'with_cp': True}


def _head(m: Migration, path: str) -> dict:
    config, report = m.head, m.report
    if config.get('norm_cfg'):
        report.change(f'{path}.norm_cfg', f'{config["norm_cfg"].get("type")} dropped: the layers use InstanceNorm')
    if m.kind.task == 'pose':
        out = convert(config, _POSE_HEAD, path, report)
        loss = _loss(config.get('loss', dict(type='KeypointMSELoss')), f'{path}.loss', report)
        return {**out, 'loss': loss, 'decoder': Code('codec')}
    out = convert(config, _DENSE_HEAD, path, report)
    widths = [*config.get('deconv_out_channels', ()), *config.get('conv_out_channels', ())]
    if widths and out.get('channels', widths[-1]) != widths[-1]:
        report.change(f'{path}.channels', f'dropped: the last layer has {widths[-1]} inputs, not {out.pop("channels")}')
    if 'loss_decode' in config:
        losses, path = config['loss_decode'], f'{path}.loss_decode'
        losses = losses if isinstance(losses, (list, tuple)) else [losses]
        if m.kind.task == 'normal':
            out['loss_decode'] = _normal_losses(losses, path, report)
        elif len(losses) == 1:
            out['loss_decode'] = _loss(losses[0], path, report)
        else:
            out['loss_decode'] = [_loss(loss, f'{path}.{index}', report) for index, loss in enumerate(losses)]
    return out


def _loss(config: dict, path: str, report: Report) -> dict:
    if config.get('type') == 'CrossEntropyLoss' and config.get('class_weight') \
            and config.get('reduction', 'mean') == 'mean':
        report.change(path, "CrossEntropyLoss of mmseg stays: its mean is divided by the weights")
        return config
    return convert(config, _LOSSES, path, report)


def _normal_losses(losses: list[dict], path: str, report: Report) -> dict | list[dict]:
    names = [loss.get('type') for loss in losses]
    unknown = [name for name in names if name not in _NORMAL_LOSSES]
    if unknown or len(set(names)) < len(names):
        report.by_hand(path, f'{some(unknown or names)} has no counterpart')
        return losses
    report.change(path, f'{" + ".join(names)} -> SapiensNormalLoss, which has another eps')
    weights = dict.fromkeys(_NORMAL_LOSSES.values(), 0.)
    for index, loss in enumerate(losses):
        args = arguments(loss, f'{path}.{index}', report, ('loss_weight', ), ('reduction', 'eps', 'loss_name'))
        weights[_NORMAL_LOSSES[loss['type']]] = args.get('loss_weight', 1.)
    return dict(type='SapiensNormalLoss', **weights)


def migrate_codec(config: dict | None, path: str, report: Report) -> dict:
    """Returns the codec of a pose model; ConfigError if it is not a UDPHeatmap of Gaussians, or lacks a size."""
    config = config or {}
    if config.get('type') != 'UDPHeatmap' or config.get('heatmap_type', 'gaussian') != 'gaussian':
        raise ConfigError(f'{path}: got {config.get("type")} of {config.get("heatmap_type", "gaussian")}, expected '
                          'UDPHeatmap of gaussian; migrate this config by hand')
    for key in ('input_size', 'heatmap_size'):
        if not isinstance(config.get(key), (list, tuple)) or len(config[key]) != 2:
            raise ConfigError(f'{path}.{key}: got {config.get(key)}, expected (w, h); correct it')
    return convert(config, _CODEC, path, report)


def _pretrained_file(checkpoint: str, arch: str, path: str, report: Report) -> str:
    source, name = released_file(arch, 'pretrain').source, PurePosixPath(checkpoint).name
    where, expected = f'{path}.init_cfg.checkpoint', PurePosixPath(source).name
    size = re.search(r'sapiens_(?:host_)?\d+(?:\.\d+)?b', checkpoint)
    if size and size[0] != arch:
        report.ask(where, f'got {name} of {size[0]}, but arch is {arch}: used {source}; correct arch if it is wrong')
    elif not name.startswith(expected.removesuffix('_clean.pth')):
        report.ask(where, f'got {name or "nothing"}, which is no public pretrained file: used {source}; give the path '
                   'or hf:// address of yours')
    else:
        report.change(where, f'{name} -> {source}')
    return source


def migrate_load_from(checkpoint: str | None, report: Report) -> str | None:
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
