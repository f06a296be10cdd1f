"""Migration of the public release's masked autoencoding: the model, and epochs as iterations of an image stream."""
from ...utils.config_text import Code
from ..config_report import ConfigError, Report
from .components import Migration, Rule, arguments, convert, no_counterpart, parts_of_union
from .model import recomputed
from .runtime import migrate_schedule

#: Images of the datasets that public configs name, until the user gives the number of theirs.
_NOMINAL_SIZES = dict(Humans300M=300_000_000, ImageNet=1_281_167)
_BACKBONE = Rule(
    'SapiensViT', ('arch', 'img_size', 'patch_size', 'final_norm', 'qkv_bias', 'drop_rate', 'drop_path_rate',
                   'patch_cfg', 'with_cp'), ('mask_ratio', 'init_cfg'))
# Without to_rgb: images are loaded as RGB.
_PREPROCESSOR = Rule('ImgDataPreprocessor', ('mean', 'std'), ('to_rgb', ))
_DECODER = Rule('SapiensMAEDecoder', ('mlp_ratio', 'with_cp'), renamed=dict(
    decoder_embed_dim='embed_dims', decoder_depth='num_layers', decoder_num_heads='num_heads',
    in_chans='out_channels'))


def migrate_mae(m: Migration) -> dict:
    model, report = m.cfg['model'], m.report
    backbone, neck, head = (model.get(key) or {} for key in ('backbone', 'neck', 'head'))
    out = dict(type='SapiensMAE')
    if neck.get('type') != 'MAEPretrainDecoder':
        report.by_hand('model.neck', f'got {neck.get("type")}, expected MAEPretrainDecoder')
        return model
    if preprocessor := model.get('data_preprocessor') or m.cfg.get('data_preprocessor'):
        out['data_preprocessor'] = convert(preprocessor, _PREPROCESSOR, 'data_preprocessor', report)
    xavier = dict(type='Xavier', layer='Linear', distribution='uniform')
    new = convert(backbone, _BACKBONE, 'model.backbone', report)
    out['backbone'] = recomputed({**new, 'init_cfg': xavier}, 'model.backbone', report)
    out['neck'] = _neck(neck, backbone, m)
    out['mask_ratio'] = backbone.get('mask_ratio', 0.75)
    out['norm_target'] = bool(head.get('norm_pix', False))
    arguments(head, 'model.head', report, (), ('norm_pix', 'patch_size', 'loss', 'in_channels'))
    loss = head.get('loss') or {}
    if loss.get('type', 'PixelReconstructionLoss') != 'PixelReconstructionLoss' or loss.get('criterion', 'L2') != 'L2':
        report.by_hand('model.head.loss', f'{loss.get("type")} {loss.get("criterion")} has no counterpart, the loss is '
                       'the mean squared error')
    report.change('model', "MAE -> SapiensMAE, the head's norm_pix -> norm_target, mask_ratio moved to the model, "
                  'initialization to the backbone')
    return {**out, **arguments(model, 'model', report, ignored=(*out, 'head', 'init_cfg', 'data_preprocessor'))}


def _neck(neck: dict, backbone: dict, m: Migration) -> dict:
    size, patch = backbone.get('img_size', 1024), backbone.get('patch_size', 16)
    height, width = (size, size) if isinstance(size, int) else size
    of_backbone = dict(num_patches=[(height // patch) * (width // patch)], patch_size=[patch],
                       embed_dim=[m.arch('embed_dims')])
    out = convert(neck, _DECODER._replace(fixed=of_backbone), 'model.neck', m.report)
    ratio = out.pop('mlp_ratio', 4)
    if ratio != 4:
        out['feedforward_channels'] = int(ratio * out.get('embed_dims', 512))
    return recomputed(out, 'model.neck', m.report)


def migrate_images(m: Migration) -> dict:
    loader, report = m.cfg['train_dataloader'], m.report
    parts = parts_of_union(loader['dataset'], 'train_dataloader.dataset', report)
    for part, where in parts[1:]:
        report.drop(where, f'{part.get("type")} left out: a stream has one source. Move the images below one folder, '
                    'or list them (docs/pretraining_data.md)')
    dataset, where = parts[0]
    root = '{{$PRETRAIN_ROOT:data/humans}}' if m.data_root is None else m.data_root
    if m.data_root is None:
        report.ask('data_root', 'set PRETRAIN_ROOT, or change the line, to a folder of images; for a list or shards '
                   'change source (docs/pretraining_data.md)')
    report.change(where, f'{dataset.get("type")} -> SapiensImages')
    images = dict(type='SapiensImages', source=dict(type='folder', path=Code('data_root')),
                  **_augmentation(dataset.get('pipeline') or [], f'{where}.pipeline', report))
    kept = {key: value for key, value in loader.items() if key not in ('dataset', 'sampler', 'collate_fn')}
    if m.cfg.get('test_dataloader'):
        report.drop('test_dataloader', 'left out: tools/reconstruct.py shows reconstructions')
    return dict(data_root=root, train_dataloader={
        **kept, 'sampler': None, 'collate_fn': dict(type='default_collate'), 'dataset': images})


def _augmentation(pipeline: list[dict], path: str, report: Report) -> dict:
    out = dict(flip=0.)
    for index, step in enumerate(pipeline):
        where, name = f'{path}.{index}', step.get('type')
        if name == 'RandomResizedCrop':
            args = arguments(step, where, report, ('scale', 'crop_ratio_range', 'backend', 'interpolation'))
            if args.get('interpolation', 'bicubic') != 'bicubic':
                report.drop(f'{where}.interpolation', f'{args["interpolation"]} left out: the interpolation is bicubic')
            size = args['scale']
            out['size'] = (size, size) if isinstance(size, int) else tuple(size[::-1])
            out['scale'] = tuple(args.get('crop_ratio_range', (0.08, 1.)))
        elif name == 'RandomFlip':
            out['flip'] = arguments(step, where, report, ('prob', 'direction')).get('prob', 0.5)
        elif name not in ('LoadImageFromFile', 'PackInputs'):
            no_counterpart(step, where, report)
    if 'size' not in out:
        raise ConfigError(f'{path}: got no RandomResizedCrop, expected one; add it')
    report.change(path, 'RandomResizedCrop + RandomFlip -> arguments of SapiensImages')
    return out


def migrate_epochs(m: Migration) -> dict:
    num_images, report = m.num_images, m.report
    if num_images is None:
        dataset = parts_of_union(m.cfg['train_dataloader']['dataset'], '', Report())[0][0].get('type')
        if dataset not in _NOMINAL_SIZES:
            raise ConfigError('num_images: got none, expected the number of images, which turns epochs into '
                              'iterations; give --num-images')
        num_images = _NOMINAL_SIZES[dataset]
        report.ask('num_images', f'{num_images} images, the size of {dataset}; pass --num-images, or change '
                   'the line')
    batch = (m.cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if batch is None:
        batch = m.cfg['train_dataloader']['batch_size']
        report.ask('batch', f'{batch}, that of one GPU: give the images per step on all GPUs')
    report.ask('batch', f'{batch} images per step: GPUs x batch size of train_dataloader x accumulative_counts must '
               'equal it, for the learning rate and the number of iterations')
    return dict(num_images=num_images, batch=batch, epoch=Code('-(-num_images // batch)'))


def migrate_loop(hooks: dict, m: Migration) -> dict:
    schedulers, loop = migrate_schedule(m), m.cfg.get('train_cfg') or {}
    if 'max_epochs' not in loop:
        m.report.by_hand('train_cfg', 'got no max_epochs')
        return dict(train_cfg=loop, param_scheduler=schedulers, **hooks)
    steps = []
    for scheduler in schedulers:
        new = {key: value for key, value in scheduler.items() if key not in ('by_epoch', 'convert_to_iter_based')}
        if scheduler.get('by_epoch', True):
            new.update({key: Code(f'{new[key]} * epoch') for key in ('begin', 'end', 'T_max') if new.get(key)})
        steps.append({**new, 'by_epoch': False})
    default = dict(hooks['default_hooks'])
    checkpoint = default.get('checkpoint')
    if checkpoint and checkpoint.get('by_epoch', True):
        interval = Code(f'{checkpoint.get("interval", 1)} * epoch')
        default['checkpoint'] = {**checkpoint, 'interval': interval, 'by_epoch': False}
    m.report.change('train_cfg', 'epochs -> iterations of SapiensStreamTrainLoop')
    return dict(train_cfg=dict(type='SapiensStreamTrainLoop', max_iters=Code(f'{loop["max_epochs"]} * epoch')),
                param_scheduler=steps, default_hooks=default, custom_hooks=hooks['custom_hooks'],
                log_processor=m.cfg.get('log_processor') or dict(by_epoch=False, window_size=10, num_digits=4))
