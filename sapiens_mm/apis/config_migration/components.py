"""Components of the public release and their counterparts here: tasks, types, arguments and datasets."""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ...backbones.sapiens_vit import SapiensViT
from ...tasks import TASKS
from ..config_report import ConfigError, Report

UNIONS = ('CombinedDataset', 'DepthCombinedDataset', 'NormalCombinedDataset', 'ConcatDataset')
_BACKBONES = ('mmpretrain.VisionTransformer', 'VisionTransformer', 'MAEViT')


class Kind(NamedTuple):
    """A task of the public release: key and type of its head, default scope, module that registers its components."""
    task: str
    head_key: str
    head: str
    scope: str
    imports: str

    @property
    def model(self) -> str:
        return TASKS[self.task].estimator if self.task in TASKS else 'SapiensMAE'


_DENSE = ('decode_head', 'SapiensDenseHead', 'mmseg', 'sapiens_mm.dense')
#: By the public types of the model and its head.
KINDS = {
    ('TopdownPoseEstimator', 'HeatmapHead'): Kind('pose', 'head', 'SapiensPoseHead', 'mmpose', 'sapiens_mm.pose'),
    ('EncoderDecoder', 'VitHead'): Kind('seg', *_DENSE),
    ('DepthEstimator', 'VitDepthHead'): Kind('depth', *_DENSE),
    ('DepthEstimator', 'VitNormalHead'): Kind('normal', *_DENSE),
    ('EncoderDecoder', 'VitDepthHead'): Kind('depth', *_DENSE),
    ('EncoderDecoder', 'VitNormalHead'): Kind('normal', *_DENSE),
    ('MAE', 'MAEPretrainHead'): Kind('pretrain', 'head', '', 'mmengine', 'sapiens_mm.pretrain'),
}


class Rule(NamedTuple):
    """The type that replaces a public component ('' drops it), and the conversion of its arguments.

    ``ignored`` arguments have no effect here, ``renamed`` maps public names to ours, and ``fixed`` has the values that
    the counterpart always uses; other values have no counterpart.
    """
    type: str = ''
    kept: Iterable[str] = ()
    ignored: Iterable[str] = ()
    renamed: Mapping[str, str] = {}
    fixed: Mapping[str, list] = {}


@dataclass
class Migration:
    cfg: dict
    kind: Kind
    report: Report
    data_root: str | None = None
    num_images: int | None = None
    roots: dict[str, str] = field(default_factory=dict)
    pipelines: dict[str, list] = field(default_factory=dict)

    @property
    def head(self) -> dict:
        return self.cfg['model'][self.kind.head_key]

    @property
    def outputs(self) -> int | None:
        return self.head.get(dict(pose='out_channels', seg='num_classes').get(self.kind.task))

    def arch(self, setting: str) -> int:
        return SapiensViT.arch_zoo[self.cfg['model']['backbone']['arch']][setting]


def find_kind(cfg: dict) -> Kind:
    """Returns the task of a public config; ConfigError if it is not of the public release, or already converted."""
    model = cfg.get('model')
    if not isinstance(model, dict) or not isinstance(model.get('backbone'), dict):
        raise ConfigError('model: got no model with a backbone, expected a config of the public Sapiens release; '
                          'give a whole config, not its base files')
    backbone, arch = model['backbone'].get('type'), model['backbone'].get('arch')
    head = next((model[key] for key in ('head', 'decode_head') if isinstance(model.get(key), dict)), {}).get('type')
    if backbone == 'SapiensViT':
        raise ConfigError('model.backbone: got SapiensViT, expected a config of the public release; this one is '
                          'already ours, use it directly')
    if backbone not in _BACKBONES or str(arch) not in SapiensViT.arch_zoo:
        raise ConfigError(f'model.backbone: got {backbone} of arch {arch!r}, expected a backbone of the public '
                          f'release, one of {", ".join(SapiensViT.arch_zoo)}; for a stock config use '
                          'tools/drop_in.py')
    if (model.get('type'), head) not in KINDS:
        known = ', '.join(' with '.join(types) for types in KINDS)
        raise ConfigError(f'model: got {model.get("type")} with {head}, expected {known}; migrate its head by hand')
    return KINDS[model['type'], head]


def arguments(config: dict, path: str, report: Report, kept: Iterable[str] = (), ignored: Iterable[str] = (),
              renamed: Mapping[str, str] = {}) -> dict:
    """Returns the arguments under our names, without ``type``; unknown ones are kept and reported."""
    names = {**renamed, **{name: name for name in kept}}
    out = {}
    for key, value in config.items():
        if key in names:
            out[names[key]] = value
        elif key not in ('type', *ignored) and value is not None and value is not False and value not in ((), [], {}):
            report.by_hand(f'{path}.{key}', f'{key}={value!r} of {config.get("type")} has no counterpart')
            out[key] = value
    return out


def convert(config: dict, rules: Rule | Mapping[str, Rule], path: str, report: Report) -> dict:
    rule = rules if isinstance(rules, Rule) else rules.get(config.get('type'))
    if rule is None:
        return no_counterpart(config, path, report)
    if rule.type and config.get('type') != rule.type:
        report.change(path, f'{config.get("type")} -> {rule.type}')
    fixed = [key for key, values in rule.fixed.items() if config.get(key) in values]
    return dict(type=rule.type, **arguments(config, path, report, rule.kept, (*rule.ignored, *fixed), rule.renamed))


def no_counterpart(config: dict, path: str, report: Report) -> dict:
    report.by_hand(path, f'{config.get("type")} has no counterpart')
    return config


def parts_of_union(dataset: dict, path: str, report: Report) -> list[tuple[dict, str]]:
    """Returns the datasets of a union, each with its whole pipeline, and their keys."""
    if not isinstance(dataset, dict) or any(not isinstance(step, dict) for step in dataset.get('pipeline') or ()):
        raise ConfigError(f'{path}: got {type(dataset).__name__}, expected a dataset with a list of transforms, '
                          'all of them dicts; correct it')
    if dataset.get('type') not in UNIONS:
        return [(dataset, path)]
    arguments(dataset, path, report, (),
              ('datasets', 'pipeline', 'metainfo', 'lazy_init', 'test_mode', 'serialize_data'))
    parts = []
    for index, inner in enumerate(dataset.get('datasets', ())):
        for part, where in parts_of_union(inner, f'{path}.datasets.{index}', report):
            pipeline = [*(part.get('pipeline') or ()), *(dataset.get('pipeline') or ())]
            parts.append(({'metainfo': dataset.get('metainfo'), **part, 'pipeline': pipeline}, where))
    return parts
