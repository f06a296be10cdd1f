"""Data sets, data loaders and evaluators of the public release as ours."""
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from ...dense.label_files import ARRAY_SUFFIXES, IMAGE_SUFFIXES
from ...utils.config_text import Code
from ...utils.text import some
from ...vocabularies.body_parts import FLIPPED_PARTS
from ...vocabularies.lip import FLIPPED_LIP
from .kinds import Kind
from .pipelines import (
    flip_pairs,
    migrate_dense_test_pipeline,
    migrate_dense_train_pipeline,
    migrate_pose_pipeline,
)
from .report import MigrationError, Report, arguments, check_arguments, converted, no_counterpart

_FILES = ('data_root', 'data_prefix', 'ann_file', 'pipeline', 'metainfo', 'lazy_init')
_KEPT = ('filter_cfg', 'indices', 'serialize_data', 'max_refetch')
_UNIONS = ('CombinedDataset', 'DepthCombinedDataset', 'NormalCombinedDataset', 'ConcatDataset')


class DataSet(NamedTuple):
    """A data set of ours: its class, the environment variable of its root, and the default root.

    ``outputs`` is the number of its keypoints or classes; None for what has no such number or another in each config.
    ``own_layout`` means that the public one is private: its files get the names of configs/.
    """
    type: str
    variable: str
    root: str
    outputs: int | None
    own_layout: bool = False


_GOLIATH = DataSet('SapiensCocoStyleDataset', 'GOLIATH_ROOT', 'data/goliath', 308, True)
_RENDERS = DataSet('SapiensDenseDataset', 'RENDER_PEOPLE_ROOT', 'data/render_people', None, True)
#: By task and public class.
DATA_SETS = {
    ('pose', 'CocoDataset'): DataSet('SapiensCocoDataset', 'COCO_ROOT', 'data/coco', 17),
    ('pose', 'CocoWholeBodyDataset'): DataSet('SapiensCocoWholeBodyDataset', 'COCO_ROOT', 'data/coco', 133),
    ('pose', 'GoliathDataset'): _GOLIATH,
    ('pose', 'GoliathEvalDataset'): _GOLIATH,
    ('parts', 'GoliathDataset'): DataSet('SapiensDenseDataset', 'PARTS_ROOT', 'data/parts', 28, True),
    ('parts', 'FaceDataset'): DataSet('SapiensDenseDataset', 'FACE_PARTS_ROOT', 'data/face_parts', None, True),
    ('parts', 'LIPDataset'): DataSet('SapiensLIPDataset', 'LIP_ROOT', 'data/lip', 20),
    ('parts', 'CIHPDataset'): DataSet('SapiensCIHPDataset', 'CIHP_ROOT', 'data/cihp', 20),
    ('depth', 'RenderPeopleDataset'): _RENDERS,
    ('depth', 'DepthGeneralDataset'): DataSet('SapiensDenseDataset', 'DEPTH_ROOT', 'data/depth', None, True),
    ('normal', 'NormalRenderPeopleDataset'): _RENDERS,
    ('normal', 'NormalGeneralDataset'): DataSet('SapiensDenseDataset', 'NORMAL_ROOT', 'data/normal', None, True),
}
_DENSE_METRICS = dict(parts='SapiensPartsMetric', depth='SapiensDepthMetric', normal='SapiensNormalMetric')
_FLIPPED = {28: FLIPPED_PARTS, 20: FLIPPED_LIP}
_PREFIXES = {17: 'coco', 133: 'coco_wholebody', 308: 'goliath'}
_LAYOUT = dict(
    pose='annotations/train.json, annotations/val.json and images/, 308 keypoints a person in COCO style '
    '(docs/keypoints.md)',
    parts='train/ and test/, each with images/ and parts/ (docs/datasets.md)',
    depth='train/ and test/, each with images/, masks/ and depths/ (docs/datasets.md)',
    normal='train/ and test/, each with images/, masks/ and normals/ (docs/datasets.md)')


@dataclass
class _Data:
    """What the functions below share: the model's side of the data, and what they fill."""
    kind: Kind
    outputs: int | None  # keypoints or classes of the head
    codec: dict | None
    pairs: list | None  # labels that the training exchanges in a mirror image
    given_root: str | None  # of all data sets
    report: Report
    roots: dict = field(default_factory=dict)  # variable of the config -> root
    pipelines: dict = field(default_factory=dict)  # likewise

    def root_of(self, found: DataSet) -> str:
        """The variable of a data set's root, which ends in a slash."""
        root = (self.given_root or f'{{{{${found.variable}:{found.root}}}}}').rstrip('/') + '/'
        known = next((name for name, other in self.roots.items() if other == root), None)
        if known:
            return known
        name = found.variable.lower() if self.roots else 'data_root'
        self.roots[name] = root
        layout = f'; expected there: {_LAYOUT[self.kind.task]}' if found.own_layout else ''
        if layout or self.given_root is None:
            self.report.ask(name, (self.given_root or f'set {found.variable}, or change the line') + layout)
        return name


def migrate_data(cfg: dict, kind: Kind, data_root: str | None, report: Report) -> dict:
    """Roots, pipelines, data loaders and evaluators of pose, parts, depth and normals, by the config's variables."""
    head = cfg['model'][kind.head_key]
    outputs = dict(pose=head.get('out_channels'), parts=head.get('num_classes')).get(kind.task)
    parts = parts_of_union(cfg['train_dataloader']['dataset'], 'train_dataloader.dataset', Report())
    pairs = next((found for part, _ in parts if (found := flip_pairs(part.get('pipeline') or [])) is not None), None)
    data = _Data(kind, outputs, head.get('decoder'), pairs, data_root, report)
    loaders = {}
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if name == 'test_dataloader' and loader and loader == cfg.get('val_dataloader'):
            loaders[name] = Code('val_dataloader')
        elif loader:
            loaders[name] = migrate_loader(name, loader, data)
    if kind.task != 'pose':
        report.ask('train_dataloader.batch_size', f'{cfg["train_dataloader"].get("batch_size")} a GPU; batch size x '
                   'GPUs should reach 64 images a step, as in the release')
    backgrounds = {}
    if any(step.get('folder') == 'backgrounds' for pipeline in data.pipelines.values() for step in pipeline):
        backgrounds['backgrounds'] = '{{$BACKGROUND_ROOT:data/backgrounds}}'
    return {**data.roots, **backgrounds, **data.pipelines, **loaders, **migrate_evaluators(cfg, loaders, data)}


def migrate_loader(name: str, loader: dict, data: _Data) -> dict:
    """A data loader; its pipelines become variables, to which the data sets refer."""
    path, kind, report = f'{name}.dataset', data.kind, data.report
    out = {key: value for key, value in loader.items() if key != 'dataset'}
    if name != 'train_dataloader' and (out.get('sampler') or {}).get('type') == 'DefaultSampler':
        out['sampler'] = {**out['sampler'], 'round_up': False}
    datasets = []
    for inner, where in parts_of_union(loader['dataset'], path, report):
        found = DATA_SETS.get((kind.task, inner.get('type')))
        other = kind.task == 'pose' and found is not None and found.outputs != data.outputs
        if found is None:
            datasets.append({key: value for key, value in no_counterpart(inner, where, report).items()
                             if key != 'pipeline'})
        elif other and name != 'train_dataloader':
            report.drop(where, f'{inner["type"]} left out: it has {found.outputs} keypoints, the model {data.outputs}. '
                        'Test on it with SapiensCommon114Dataset and SapiensCommon114Metric')
        else:
            if other:
                report.by_hand(where, f'{inner["type"]} has {found.outputs} keypoints, but the head {data.outputs}')
            convert = migrate_pose_dataset if kind.task == 'pose' else migrate_dense_dataset
            dataset = convert(inner, found, name, where, data)
            dataset['pipeline'] = migrate_pipeline(inner.get('pipeline') or [], name, f'{where}.pipeline', data)
            report.change(where, f'{inner["type"]} -> {dataset["type"]}')
            datasets.append(dataset)
    if not datasets:
        report.by_hand(path, 'no data set is left')
    out['dataset'] = datasets[0] if len(datasets) == 1 else dict(type='ConcatDataset', datasets=datasets)
    return out


def parts_of_union(dataset: dict, path: str, report: Report) -> list[tuple[dict, str]]:
    """The data sets of a union, each with its whole pipeline, and their places."""
    if not isinstance(dataset, dict) or any(not isinstance(step, dict) for step in dataset.get('pipeline') or ()):
        raise MigrationError(f'{path}: got {type(dataset).__name__}, expected a data set with a list of transforms, '
                             'all of them dicts; correct it')
    if dataset.get('type') not in _UNIONS:
        return [(dataset, path)]
    check_arguments(dataset, path, report,
                    ('datasets', 'pipeline', 'metainfo', 'lazy_init', 'test_mode', 'serialize_data'))
    parts = []
    for index, inner in enumerate(dataset.get('datasets', ())):
        for part, where in parts_of_union(inner, f'{path}.datasets.{index}', report):
            pipeline = [*(part.get('pipeline') or ()), *(dataset.get('pipeline') or ())]
            parts.append(({'metainfo': dataset.get('metainfo'), **part, 'pipeline': pipeline}, where))
    return parts


def migrate_pipeline(pipeline: list, loader: str, path: str, data: _Data) -> Code:
    """The variable of a pipeline of any task."""
    train = loader == 'train_dataloader'
    if data.kind.task == 'pose':
        new = migrate_pose_pipeline(pipeline, data.codec, path, train, data.report)
    elif train:
        new = migrate_dense_train_pipeline(pipeline, data.kind.task, path, data.report)
    else:
        new = migrate_dense_test_pipeline(pipeline, path, data.report)
    return name_pipeline(new, loader, data.pipelines)


def name_pipeline(pipeline: list, loader: str, pipelines: dict) -> Code:
    """The variable of a pipeline in ``pipelines``, where it is added if it is not there."""
    base = 'train_pipeline' if loader == 'train_dataloader' else 'test_pipeline'
    names = (base, *(f'{base}_{number}' for number in range(2, len(pipelines) + 2)))
    name = next(name for name in names if pipelines.get(name, pipeline) == pipeline)
    pipelines[name] = pipeline
    return Code(name)


def migrate_pose_dataset(config: dict, found: DataSet, loader: str, path: str, data: _Data) -> dict:
    """A data set of keypoints."""
    report, test = data.report, loader != 'train_dataloader'
    root = data.root_of(found)
    args = arguments(config, path, report, ignored=(*_FILES, 'bbox_file'),
                     kept=(*_KEPT, 'data_mode', 'test_mode', 'sample_interval'))
    data_mode, test_mode = args.pop('data_mode', 'topdown'), args.pop('test_mode', test)
    out = dict(type=found.type, data_root=Code(root), data_mode=data_mode)
    if found.own_layout:
        out.update(ann_file=f'annotations/{"val" if test else "train"}.json', data_prefix=dict(img='images/'))
        report.change(f'{path}.ann_file', f'{_base(config.get("ann_file"))} -> {out["ann_file"]}')
    else:
        own_root = config.get('data_root') or ''
        out['ann_file'] = _inside(config.get('ann_file') or '', own_root, 'annotations', f'{path}.ann_file', report)
        out['data_prefix'] = _prefixes(config, path, report)
        if 'bbox_file' in config:
            out['bbox_file'] = _box_file(config['bbox_file'], own_root, root, f'{path}.bbox_file', report)
    out.update(_metainfo(config, path, data))
    return {**out, **args, **(dict(test_mode=test_mode) if test else {})}


def migrate_dense_dataset(config: dict, found: DataSet, loader: str, path: str, data: _Data) -> dict:
    """A data set of parts, depth or normals: folders of files of the same names."""
    report, test = data.report, loader != 'train_dataloader'
    root = data.root_of(found)
    # Files of the same name belong together whatever their suffixes, if these are the formats that ours reads.
    suffixes = [key for key in ('img_suffix', 'seg_map_suffix')
                if config.get(key) in (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)]
    args = arguments(config, path, report, kept=_KEPT, ignored=(*_FILES, 'test_mode', *suffixes))
    if config.get('ann_file'):
        report.drop(f'{path}.ann_file', f'{_base(config["ann_file"])} left out: all files of the folder are used. A '
                    'text file with a name a line can be ann_file here')
    out = dict(type=found.type)
    if found.own_layout:
        out.update(data_root=Code(f"{root} + '{'test' if test else 'train'}/'"), tasks=(data.kind.task, ))
        if data.kind.task == 'parts':
            out['data_prefix'] = dict(mask_path=None)
    else:
        out.update(data_root=Code(root), split='val' if test else 'train')
        prefix = _prefixes(config, path, report)
        if prefix:
            out['data_prefix'] = prefix
            report.change(f'{path}.data_prefix', f'{some(prefix.values())} kept; without it the folders are those of '
                          'the archive')
    if data.kind.task == 'parts':
        out.update(_vocabulary(found, path, test, data))
    out.update(_metainfo(config, path, data))
    return {**out, **args, **(dict(test_mode=True) if test else {})}


def _vocabulary(found: DataSet, path: str, test: bool, data: _Data) -> dict:
    """Metainfo of classes that no vocabulary of ours names; the mirror pairs are those of the training."""
    number, table = data.outputs, list(range(data.outputs))
    for left, right in data.pairs or ():
        table[left], table[right] = right, left
    if number == found.outputs:
        if data.pairs is not None and tuple(table) != tuple(_FLIPPED[number]) and not test:
            data.report.drop(f'{path}.pipeline', f'swap_seg_labels {data.pairs} left out: SapiensRandomWarp exchanges '
                             'the left and right classes of the vocabulary')
        return {}
    if not test:
        data.report.ask(f'{path}.metainfo', f'the names of the {number} classes, which the public config does not tell'
                        + ('' if data.pairs else ', and flip_indices: what each class is in a mirror image'))
    return dict(metainfo=dict(
        classes=Code(f"[f'class_{{i}}' for i in range({number})]"),
        palette=Code(f'[(37 * i % 256, 97 * i % 256, 173 * i % 256) for i in range({number})]'), flip_indices=table))


def _metainfo(config: dict, path: str, data: _Data) -> dict:
    """A vocabulary of the config's own; those of the release belong to the classes of the data sets."""
    metainfo = config.get('metainfo') or {}
    if set(metainfo) <= {'from_file'}:
        name = _base(metainfo.get('from_file'))
        if data.kind.task != 'pose' or name in ('nothing', *(f'{known}.py' for known in _PREFIXES.values())):
            return {}
    data.report.by_hand(f'{path}.metainfo', f'{some(metainfo.values(), 1)[:60]} is a vocabulary of its own '
                        '(docs/your_keypoints.md)')
    return dict(metainfo=metainfo)


def _base(path: str | None) -> str:
    return PurePosixPath(path).name if path else 'nothing'


def _inside(value: str, root: str, folder: str, path: str, report: Report) -> str:
    """A file or folder relative to the data root; of one elsewhere only the name stays, in a folder."""
    root = root.rstrip('/') + '/'
    if value.startswith(root) and len(root) > 1:
        return value[len(root):]
    if not value.startswith(('/', '..', '~')) and '://' not in value:
        return value
    new = f'{folder}/{_base(value)}'.lstrip('/')
    report.ask(path, f'{_base(value)} lay outside of the data root: put it at {new} there, or change the line')
    return new


def _prefixes(config: dict, path: str, report: Report) -> dict[str, str]:
    """The folders of a data set, relative to its root."""
    return {key: _inside(value, config.get('data_root') or '', '', f'{path}.data_prefix.{key}', report)
            for key, value in (config.get('data_prefix') or {}).items() if key in ('img', 'img_path', 'seg_map_path')}


def _box_file(value: str | None, own_root: str, root: str, path: str, report: Report) -> str | None:
    """The boxes of a detector, below the data root; mmpose takes their path as it is."""
    if value is None:
        return None
    folder = own_root.rstrip('/') + '/'
    inside = own_root and value.startswith(folder)
    new = value.removeprefix(folder) if inside else f'person_detection_results/{_base(value)}'
    report.ask(path, f'boxes of a person detector at {new} in the data root, or None for the annotated boxes')
    return Code(f'{root} + {new!r}')


def migrate_evaluators(cfg: dict, loaders: dict, data: _Data) -> dict:
    """``val_evaluator`` and ``test_evaluator``."""
    out = {}
    for name in ('val_evaluator', 'test_evaluator'):
        loader, config = loaders.get(name.replace('evaluator', 'dataloader')), cfg.get(name)
        if name == 'test_evaluator' and config and config == cfg.get('val_evaluator') and isinstance(loader, Code):
            out[name] = Code('val_evaluator')
        elif config:
            many = config if isinstance(config, (list, tuple)) else [config]
            source = loaders['val_dataloader'] if isinstance(loader, Code) else loader
            new = [_evaluator(entry, name, source, data) for entry in many]
            out[name] = new[0] if len(new) == 1 else new
    return out


def _evaluator(config: dict, path: str, loader: dict | None, data: _Data) -> dict:
    name, kind, report = config.get('type'), data.kind, data.report
    if kind.task == 'parts' and name == 'IoUMetric':
        return converted(config, 'SapiensPartsMetric', path, report, kept=('ignore_index', 'prefix'),
                         ignored=('iou_metrics', 'collect_device', 'nan_to_num'))
    if name == _DENSE_METRICS.get(kind.task):
        return config
    metrics = ('CocoMetric', 'CocoWholeBodyMetric', 'GoliathCocoWholeBodyMetric', 'GoliathMetric')
    if kind.task != 'pose' or name not in metrics or loader is None:
        return no_counterpart(config, path, report)
    dataset = loader['dataset']
    if isinstance(dataset.get('data_root'), Code):
        ann_file = Code(f'{dataset["data_root"]} + {dataset["ann_file"]!r}')
    else:
        ann_file = config.get('ann_file')
        report.by_hand(f'{path}.ann_file', 'must be the annotation file of the data set, which is not known')
    new = 'CocoMetric' if data.outputs == 17 else 'SapiensKeypointMetric'
    return converted({**config, 'ann_file': ann_file}, new, path, report,
                     kept=('ann_file', 'use_area', 'iou_type', 'score_mode', 'keypoint_score_thr', 'nms_mode',
                           'nms_thr', 'format_only', 'outfile_prefix', 'collect_device', 'prefix'),
                     ignored=('coco_wholebody_ann_file', ))


def add_test(cfg: dict, kind: Kind, report: Report) -> None:
    """Adds a test to a public config of dense labels: the training's first data set, its folder ``test/``."""
    train, metric = cfg['train_dataloader'], _DENSE_METRICS[kind.task]
    dataset, _ = parts_of_union(train['dataset'], 'train_dataloader.dataset', Report())[0]
    size = tuple((cfg['model'].get('data_preprocessor') or {}).get('size') or (1024, 768))
    dataset = {**dataset, 'pipeline': [dict(type='Resize', scale=size[::-1])]}
    sampler = dict(type='DefaultSampler', shuffle=False)
    cfg.update(test_dataloader={**train, 'sampler': sampler, 'dataset': dataset}, test_evaluator=dict(type=metric),
               test_cfg=cfg.get('test_cfg') or {})
    report.change('test_dataloader', f'added, with {metric}: the public config has no test')


def save_best(value, kind: Kind, outputs: int | None, path: str, report: Report):
    """The metrics that the best checkpoint is chosen by, under the names of our evaluators."""
    if value in (None, 'auto'):
        return value
    names = [value] if isinstance(value, str) else list(value)
    prefix = dict(pose=_PREFIXES.get(outputs), parts='parts').get(kind.task)
    if prefix is None:
        report.drop(path, f'{some(names)} left out: choose one of the evaluator\'s figures')
        return None
    new = [f'{prefix}/{name.rpartition("/")[2]}' for name in names]
    if new != names:
        report.change(path, f'{some(names)} -> {some(new)}')
    return new[0] if isinstance(value, str) else new
