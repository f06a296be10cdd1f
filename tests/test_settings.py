"""Tables "setting | release | here | why" of configs/*/README.md against the configs."""
from inspect import signature
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import TRANSFORMS

import sapiens_mm.dense  # noqa: F401  (registers)
from sapiens_mm.pretrain import SapiensImages

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
SIZES = ('0.3b', '0.6b', '1b', '2b')
GPUS = 1024  # in pretraining
LOSSES = dict(
    KeypointMSELoss='MSE', SapiensOHKMMSELoss='MSE of the {topk} worst',
    SapiensWeightedCrossEntropyLoss='cross entropy, weighted by class', SapiensSiLogLoss='SiLog',
    SapiensNormalLoss='(1 - cosine) + L1')


def steps_of(cfg, kind):
    return [step for step in cfg.train_dataloader.dataset.pipeline if step['type'] == kind]


def warp_of(cfg):
    return TRANSFORMS.build(steps_of(cfg, 'SapiensRandomWarp')[0])


def loss_of(cfg):
    loss = cfg.model.head.loss if 'head' in cfg.model else cfg.model.decode_head.loss_decode
    return LOSSES[loss.type].format(**loss)


def passes_of(cfg):
    return cfg.optim_wrapper.get('accumulative_counts', 1)


def decay_of(cfg):
    decay = cfg.param_scheduler[1]
    how = dict(CosineAnnealingLR='cosine to 0', PolyLR='linear to 0').get(decay.type)
    if decay.type == 'MultiStepLR':
        how = f'x {decay.gamma:g} at {" and ".join(map(str, decay.milestones))}'
    return f'{decay.end} epochs, {how}'


def images_of(cfg, gpus=8):
    return gpus * cfg.train_dataloader.batch_size * passes_of(cfg)


def millions_of(cfg):
    return cfg.train_cfg.max_iters * GPUS * cfg.train_dataloader.batch_size / 1e6


def background_of(cfg):
    kinds = [step['type'] for step in cfg.train_dataloader.dataset.pipeline]
    if 'SapiensRandomBackground' not in kinds:
        return 'never replaced'
    at = kinds.index('SapiensRandomBackground')
    where = 'before' if at < kinds.index('SapiensRandomWarp') else 'after'
    return f'replaced, p {cfg.train_dataloader.dataset.pipeline[at].prob:g}, {where} the crop'


def corners_of(cfg):
    warp = warp_of(cfg)
    if not warp.stock_padding:
        return 'filled from the image'
    if cfg.model.type == 'SapiensPartsSegmentor':
        return f'BGR {warp.pad_val}, label {warp.corner_label}'.replace('BGR (0, 0, 0)', 'black')
    return 'empty'


def rotation_of(cfg):
    warp = warp_of(cfg)
    return f'up to {warp.rotate_range:g} degrees, p {warp.rotate_prob:g}' if warp.rotate_prob else 'none'


def crop_of(cfg):
    warp = warp_of(cfg)
    classes = '' if warp.cat_max_ratio == 1 else f', no class above {warp.cat_max_ratio:g}'
    return '{} x {}'.format(*warp.size) + classes


#: Setting -> its value in a config, as the tables of the READMEs write it.
TRAINING = {
    'optimizer': lambda cfg: '{type}, betas {betas}, weight decay {weight_decay:g}'.format(
        **cfg.optim_wrapper.optimizer),
    'gradient clipping': lambda cfg: f'norm {cfg.optim_wrapper.clip_grad.max_norm:g}',
}
FINE_TUNING = {
    **TRAINING,
    'learning rate': lambda cfg: f'{cfg.optim_wrapper.optimizer.lr:.0e}',
    'layer decay': lambda cfg: f'{cfg.optim_wrapper.paramwise_cfg.layer_decay_rate:g}',
    'images per GPU': lambda cfg: str(cfg.train_dataloader.batch_size),
    'warm-up': lambda cfg: f'{cfg.param_scheduler[0].end // passes_of(cfg)} steps',
    'schedule': decay_of,
    'loss': loss_of,
    'epochs between validations': lambda cfg: str(cfg.train_cfg.val_interval),
    'photometric distortion': lambda cfg: 'yes' if steps_of(cfg, 'SapiensPhotometricDistortion') else 'no',
}
POSE = {
    **FINE_TUNING,
    'base batch': lambda cfg: str(cfg.auto_scale_lr.base_batch_size),
    'mirror image': lambda cfg: f'p {steps_of(cfg, "RandomFlip")[0].prob:g}',
    'half body': lambda cfg: 'yes' if steps_of(cfg, 'RandomHalfBody') else 'no',
    'scale': lambda cfg: '{:g} to {:g}'.format(*steps_of(cfg, 'RandomBBoxTransform')[0].scale_factor),
    'rotation': lambda cfg: f'up to {steps_of(cfg, "RandomBBoxTransform")[0].rotate_factor} degrees',
    'blur': lambda cfg: ', '.join(f'{step.kind} p {step.prob:g}' for step in steps_of(cfg, 'SapiensRandomBlur')),
    'dropout': lambda cfg: '; '.join('one hole, {:g} to {:g} of the sides'.format(*step.size)
                                     for step in steps_of(cfg, 'SapiensCoarseDropout')),
    'box padding': lambda cfg: f'{steps_of(cfg, "GetBBoxCenterScale")[0].padding:g}',
    'heatmaps': lambda cfg: 'UDP, {1} x {0}, sigma {2}, decoded with blur {3}'.format(
        *cfg.model.head.decoder.heatmap_size, cfg.model.head.decoder.sigma, cfg.model.head.decoder.blur_kernel_size),
    'flip test': lambda cfg: 'yes' if cfg.model.test_cfg.get('flip_test') else 'no',
    'test boxes': lambda cfg: Path(cfg.test_dataloader.dataset.bbox_file or 'annotated').stem,
}
DENSE_TASKS = {
    **FINE_TUNING,
    'images per step': lambda cfg: str(images_of(cfg)),
    'background': background_of,
    'scale': lambda cfg: '{:g} to {:g}'.format(*warp_of(cfg).scale_range),
    'crop': crop_of,
    'rotation': rotation_of,
    'mirror image': lambda cfg: f'p {warp_of(cfg).flip_prob:g}',
    'images smaller than the crop': lambda cfg: 'padded ' + (
        'right and below' if warp_of(cfg).stock_padding else 'on all sides'),
    'flip test': lambda cfg: 'yes' if cfg.model.test_cfg.get('flip_test') else 'no',
    'test-time augmentation': lambda cfg: 'yes' if 'tta_model' in cfg else 'no',
}
CORNERS = {'corners of a rotation': corners_of}
PRETRAINING = {
    **TRAINING,
    'input': lambda cfg: '{} x {}'.format(*cfg.train_dataloader.dataset.size),
    'images per step': lambda cfg: str(images_of(cfg, GPUS)),
    'learning rate': lambda cfg: f'{cfg.optim_wrapper.optimizer.lr * 256 / images_of(cfg, GPUS):.1e} for 256 images',
    'warm-up': lambda cfg: f'1 / {round(cfg.train_cfg.max_iters / cfg.param_scheduler[0].end)} of the training',
    'schedule': lambda cfg: f'cosine to 0, {millions_of(cfg):.0f} M images',
    'masked patches': lambda cfg: f'{cfg.model.mask_ratio:g}',
    'target': lambda cfg: 'normalized patches' if cfg.model.norm_target else 'pixels',
    'decoder': lambda cfg: '{embed_dims} wide, {num_layers} deep, {num_heads} heads'.format(**cfg.model.neck),
    'crop': lambda cfg: '{:g} to {:g} of the area, bicubic'.format(
        *cfg.train_dataloader.dataset.get('scale', signature(SapiensImages).parameters['scale'].default)),
    'mirror image': lambda cfg: 'p {:g}'.format(
        cfg.train_dataloader.dataset.get('flip', signature(SapiensImages).parameters['flip'].default)),
}
#: Task -> its settings, and the datasets in its README with their folders.
README_TABLES = {
    'pose': (POSE, {'COCO': 'coco', 'COCO-WholeBody': 'coco_wholebody', '308 keypoints': 'goliath'}),
    'seg': ({**DENSE_TASKS, **CORNERS}, {'28 parts': 'goliath', 'LIP': 'lip', 'CIHP': 'cihp'}),
    'depth': ({**DENSE_TASKS, **CORNERS}, {'renders': 'render_people', 'SynthHuman': 'synthhuman'}),
    'normal': ({**DENSE_TASKS, 'labels': lambda cfg: warp_of(cfg).normal_interpolation},
               {'renders': 'render_people', 'SynthHuman': 'synthhuman'}),
    'pretrain': (PRETRAINING, {'images of people': 'humans_300m'}),
}


@pytest.mark.parametrize('task', README_TABLES)
def test_settings_of_readmes_are_those_of_the_configs(task, monkeypatch):
    """A row has one value, or one for each size; it holds for the datasets that it names, or for all."""
    monkeypatch.setenv('WORLD_SIZE', str(GPUS))
    settings, names = README_TABLES[task]
    text = (CONFIGS / f'sapiens_{task}/README.md').read_text()
    table = text.partition('| setting | release | here | why |\n|---|---|---|---|\n')[2].partition('\n\n')[0]
    configs = {name: [Config.fromfile(next((CONFIGS / f'sapiens_{task}/{folder}').glob(f'sapiens_{size}-*.py')))
                      for size in SIZES] for name, folder in names.items()}
    checked = []
    for line in table.splitlines():
        title, release, here, why = (cell.strip() for cell in line.strip('|').split('|'))
        setting, _, only = title.partition(': ')
        for name in only.split(', ') if only else names:
            values = list(map(settings[setting], configs[name]))
            assert here == (values[0] if len({*values}) == 1 else ', '.join(values)), f'{title} ({name})'
            checked.append((setting, name))
        assert bool(why) == (here != release), f'{title}: only a difference from the release has a reason'
    assert sorted(checked) == sorted((setting, name) for setting in settings for name in names)
