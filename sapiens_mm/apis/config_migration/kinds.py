"""Tasks of the public release, recognized by model and head types."""
from dataclasses import dataclass

from ...backbones.sapiens_vit import SapiensViT
from .report import MigrationError

PUBLIC_BACKBONES = ('mmpretrain.VisionTransformer', 'VisionTransformer', 'MAEViT')


@dataclass(frozen=True)
class Kind:
    """A task of the public release, and its pieces here.

    ``task`` is its name, ``model`` and ``head`` are our types, and ``head_key`` is the head's key in the model.
    ``scope`` is the default scope, ``imports`` the module that registers the pieces, and ``runtime`` the hooks that
    each training gets.
    """
    task: str
    model: str
    head_key: str
    head: str
    scope: str
    imports: str
    runtime: tuple[str, ...] = ('SapiensSeedHook', 'SapiensLoggedIterHook', 'SapiensNonFiniteHook')


_DENSE = dict(head_key='decode_head', head='SapiensDenseHead', scope='mmseg', imports='sapiens_mm.dense')
#: By the public types of the model and its head.
KINDS = {
    ('TopdownPoseEstimator', 'HeatmapHead'): Kind(
        'pose', 'SapiensPoseEstimator', 'head', 'SapiensPoseHead', 'mmpose', 'sapiens_mm.pose'),
    ('EncoderDecoder', 'VitHead'): Kind('parts', 'SapiensPartsSegmentor', **_DENSE),
    ('DepthEstimator', 'VitDepthHead'): Kind('depth', 'SapiensDepthEstimator', **_DENSE),
    ('DepthEstimator', 'VitNormalHead'): Kind('normal', 'SapiensNormalEstimator', **_DENSE),
    ('EncoderDecoder', 'VitDepthHead'): Kind('depth', 'SapiensDepthEstimator', **_DENSE),
    ('EncoderDecoder', 'VitNormalHead'): Kind('normal', 'SapiensNormalEstimator', **_DENSE),
    ('MAE', 'MAEPretrainHead'): Kind(
        'pretrain', 'SapiensMAE', 'head', '', 'mmengine', 'sapiens_mm.pretrain',
        ('SapiensSeedHook', 'SapiensStreamHook', 'SapiensNonFiniteHook', 'SapiensThroughputHook')),
}


def find_kind(cfg: dict) -> Kind:
    """The kind of a config.

    Raises:
        MigrationError: It is not of the public release, or is one of ours already.
    """
    model = cfg.get('model')
    if not isinstance(model, dict) or not isinstance(model.get('backbone'), dict):
        raise MigrationError('model: got no model with a backbone, expected a config of the public Sapiens release; '
                             'give the config of a model, not a part of one')
    backbone, arch = model['backbone'].get('type'), model['backbone'].get('arch')
    head = next((model[key] for key in ('head', 'decode_head') if isinstance(model.get(key), dict)), {}).get('type')
    if backbone == 'SapiensViT':
        raise MigrationError('model.backbone: got SapiensViT, expected a config of the public release; this one is '
                             'already ours, use it as it is')
    if backbone not in PUBLIC_BACKBONES or str(arch) not in SapiensViT.arch_zoo:
        raise MigrationError(f'model.backbone: got {backbone} of arch {arch!r}, expected a backbone of the public '
                             f'release, one of {", ".join(SapiensViT.arch_zoo)}; for a stock config use '
                             'tools/drop_in.py')
    if (model.get('type'), head) not in KINDS:
        known = ', '.join(' with '.join(types) for types in KINDS)
        raise MigrationError(f'model: got {model.get("type")} with {head}, expected {known}; migrate its head by hand')
    return KINDS[model['type'], head]
