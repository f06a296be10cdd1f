"""Migration of the public release's datasets, data loaders and evaluators."""
from pathlib import PurePosixPath
from typing import NamedTuple

from ...dense.label_files import ARRAY_SUFFIXES, IMAGE_SUFFIXES
from ...utils.config_text import Code
from ...utils.text import some
from ...vocabularies.body_parts import FLIPPED_PARTS
from ...vocabularies.lip import FLIPPED_LIP
from ..config_report import Report
from .components import Migration, Rule, arguments, convert, no_counterpart, parts_of_union
from .pipelines import flip_pairs, migrate_dense_test_pipeline, migrate_dense_train_pipeline, migrate_pose_pipeline

_FILES = ('data_root', 'data_prefix', 'ann_file', 'pipeline', 'metainfo', 'lazy_init')
_KEPT = ('filter_cfg', 'indices', 'serialize_data', 'max_refetch')
_FLIPPED = {28: FLIPPED_PARTS, 20: FLIPPED_LIP}
_LAYOUT = dict(
    pose='annotations/train.json, annotations/val.json and images/, 308 keypoints per person in COCO style '
    '(docs/keypoints.md)',
    seg='train/ and test/, each with images/ and parts/ (docs/datasets.md)',
    depth='train/ and test/, each with images/, masks/ and depths/ (docs/datasets.md)',
    normal='train/ and test/, each with images/, masks/ and normals/ (docs/datasets.md)')
_PARTS_METRIC = Rule('SapiensPartsMetric', ('ignore_index', 'prefix'), ('iou_metrics', 'collect_device', 'nan_to_num'))
_POSE_METRICS = ('CocoMetric', 'CocoWholeBodyMetric', 'GoliathCocoWholeBodyMetric', 'GoliathMetric')
_POSE_METRIC = Rule(
    'SapiensKeypointMetric', ('ann_file', 'use_area', 'iou_type', 'score_mode', 'keypoint_score_thr', 'nms_mode',
                              'nms_thr', 'format_only', 'outfile_prefix', 'collect_device', 'prefix'),
    ('coco_wholebody_ann_file', ))
_DENSE_METRICS = dict(seg='SapiensPartsMetric', depth='SapiensDepthMetric', normal='SapiensNormalMetric')
_POSE_PREFIXES = {17: 'coco', 133: 'coco_wholebody', 308: 'goliath'}


class DataSet(NamedTuple):
    """A dataset of ours; ``outputs`` are keypoints or classes (None: none, or they vary by config).

    Files of a ``private`` public dataset get the names of configs/.
    """
    type: str
    variable: str
    root: str
    outputs: int | None = None
    private: bool = False


def _dense(variable: str, outputs: int | None = None) -> DataSet:
    return DataSet('SapiensDenseDataset', f'{variable.upper()}_ROOT', f'data/{variable}', outputs, True)


_GOLIATH = DataSet('SapiensCocoStyleDataset', 'GOLIATH_ROOT', 'data/goliath', 308, True)
#: By task and public class.
DATA_SETS = {
    ('pose', 'CocoDataset'): DataSet('SapiensCocoDataset', 'COCO_ROOT', 'data/coco', 17),
    ('pose', 'CocoWholeBodyDataset'): DataSet('SapiensCocoWholeBodyDataset', 'COCO_ROOT', 'data/coco', 133),
    ('pose', 'GoliathDataset'): _GOLIATH,
    ('pose', 'GoliathEvalDataset'): _GOLIATH,
    ('seg', 'GoliathDataset'): _dense('parts', 28),
    ('seg', 'FaceDataset'): _dense('face_parts'),
    ('seg', 'LIPDataset'): DataSet('SapiensLIPDataset', 'LIP_ROOT', 'data/lip', 20),
    ('seg', 'CIHPDataset'): DataSet('SapiensCIHPDataset', 'CIHP_ROOT', 'data/cihp', 20),
    ('depth', 'RenderPeopleDataset'): _dense('render_people'),
    ('depth', 'DepthGeneralDataset'): _dense('depth'),
    ('normal', 'NormalRenderPeopleDataset'): _dense('render_people'),
    ('normal', 'NormalGeneralDataset'): _dense('normal'),
}


def migrate_data(m: Migration) -> dict:
    loaders = {}
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = m.cfg.get(name)
        if name == 'test_dataloader' and loader and loader == m.cfg.get('val_dataloader'):
            loaders[name] = Code('val_dataloader')
        elif loader:
            loaders[name] = _loader(name, loader, m)
    if m.kind.task != 'pose':
        m.report.ask('train_dataloader.batch_size', f'{m.cfg["train_dataloader"].get("batch_size")} per GPU; batch '
                     'size x GPUs should reach 64 images per step, as in the release')
    backgrounds = {}
    if any(step.get('folder') == 'backgrounds' for pipeline in m.pipelines.values() for step in pipeline):
        backgrounds['backgrounds'] = '{{$BACKGROUND_ROOT:data/backgrounds}}'
    return {**m.roots, **backgrounds, **m.pipelines, **loaders, **_evaluators(loaders, m)}


def _root(known: DataSet, m: Migration) -> str:
    root = (m.data_root or f'{{{{${known.variable}:{known.root}}}}}').rstrip('/') + '/'
    if root in m.roots.values():
        return next(name for name, other in m.roots.items() if other == root)
    name = known.variable.lower() if m.roots else 'data_root'
    m.roots[name] = root
    layout = f'; expected files: {_LAYOUT[m.kind.task]}' if known.private else ''
    if layout or m.data_root is None:
        m.report.ask(name, (m.data_root or f'set {known.variable}, or change the line') + layout)
    return name


def _loader(name: str, loader: dict, m: Migration) -> dict:
    path, report, train = f'{name}.dataset', m.report, name == 'train_dataloader'
    out = {key: value for key, value in loader.items() if key != 'dataset'}
    if not train and (out.get('sampler') or {}).get('type') == 'DefaultSampler':
        out['sampler'] = {**out['sampler'], 'round_up': False}
    datasets = []
    for inner, where in parts_of_union(loader['dataset'], path, report):
        known = DATA_SETS.get((m.kind.task, inner.get('type')))
        other = m.kind.task == 'pose' and known is not None and known.outputs != m.outputs
        if known is None:
            datasets.append({key: value for key, value in no_counterpart(inner, where, report).items()
                             if key != 'pipeline'})
        elif other and not train:
            report.drop(where, f'{inner["type"]} left out: it has {known.outputs} keypoints, the model {m.outputs}. '
                        'Test on it with SapiensCommon114Dataset and SapiensCommon114Metric')
        else:
            if other:
                report.by_hand(where, f'{inner["type"]} has {known.outputs} keypoints, but the head {m.outputs}')
            dataset = (_pose_dataset if m.kind.task == 'pose' else _dense_dataset)(inner, known, not train, where, m)
            dataset['pipeline'] = _pipeline(inner.get('pipeline') or [], train, f'{where}.pipeline', m)
            report.change(where, f'{inner["type"]} -> {dataset["type"]}')
            datasets.append(dataset)
    if not datasets:
        report.by_hand(path, 'none of the datasets can be used')
    out['dataset'] = datasets[0] if len(datasets) == 1 else dict(type='ConcatDataset', datasets=datasets)
    return out


def _pipeline(pipeline: list, train: bool, path: str, m: Migration) -> Code:
    if m.kind.task == 'pose':
        new = migrate_pose_pipeline(pipeline, m.head.get('decoder'), path, train, m.report)
    elif train:
        new = migrate_dense_train_pipeline(pipeline, m.kind.task, path, m.report)
    else:
        new = migrate_dense_test_pipeline(pipeline, path, m.report)
    base = 'train_pipeline' if train else 'test_pipeline'
    names = (base, *(f'{base}_{number}' for number in range(2, len(m.pipelines) + 2)))
    name = next(name for name in names if m.pipelines.get(name, new) == new)
    m.pipelines[name] = new
    return Code(name)


def _pose_dataset(config: dict, known: DataSet, test: bool, path: str, m: Migration) -> dict:
    root, report = _root(known, m), m.report
    args = arguments(config, path, report, (*_KEPT, 'data_mode', 'test_mode', 'sample_interval'),
                     (*_FILES, 'bbox_file'))
    data_mode, test_mode = args.pop('data_mode', 'topdown'), args.pop('test_mode', test)
    out = dict(type=known.type, data_root=Code(root), data_mode=data_mode)
    if known.private:
        out.update(ann_file=f'annotations/{"val" if test else "train"}.json', data_prefix=dict(img='images/'))
        report.change(f'{path}.ann_file', f'{_name(config.get("ann_file"))} -> {out["ann_file"]}')
    else:
        public_root = config.get('data_root') or ''
        out['ann_file'] = _inside(config.get('ann_file') or '', public_root, 'annotations', f'{path}.ann_file', report)
        out['data_prefix'] = _prefixes(config, path, report)
        if 'bbox_file' in config:
            out['bbox_file'] = _box_file(config['bbox_file'], public_root, root, f'{path}.bbox_file', report)
    return {**out, **_metainfo(config, path, m), **args, **(dict(test_mode=test_mode) if test else {})}


def _dense_dataset(config: dict, known: DataSet, test: bool, path: str, m: Migration) -> dict:
    root, report, parts = _root(known, m), m.report, m.kind.task == 'seg'
    # Our datasets match files by name, with any suffix of a known format.
    suffixes = [key for key in ('img_suffix', 'seg_map_suffix')
                if config.get(key) in (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)]
    args = arguments(config, path, report, _KEPT, (*_FILES, 'test_mode', *suffixes))
    if config.get('ann_file'):
        report.drop(f'{path}.ann_file', f'{_name(config["ann_file"])} left out: all files of the folder are used. '
                    'ann_file can be a text file with one name per line')
    out = dict(type=known.type)
    if known.private:
        out.update(data_root=Code(f"{root} + '{'test' if test else 'train'}/'"), tasks=(m.kind.task, ),
                   **(dict(data_prefix=dict(mask_path=None)) if parts else {}))
    else:
        out.update(data_root=Code(root), split='val' if test else 'train')
        if prefix := _prefixes(config, path, report):
            out['data_prefix'] = prefix
            report.change(f'{path}.data_prefix', f'{some(prefix.values())} kept; the default folders are those of '
                          'the archive')
    return {**out, **(_classes(known, path, test, m) if parts else {}), **_metainfo(config, path, m), **args,
            **(dict(test_mode=True) if test else {})}


def _classes(known: DataSet, path: str, test: bool, m: Migration) -> dict:
    parts = parts_of_union(m.cfg['train_dataloader']['dataset'], 'train_dataloader.dataset', Report())
    pairs = next((pairs for part, _ in parts if (pairs := flip_pairs(part.get('pipeline') or [])) is not None), None)
    number, table = m.outputs, list(range(m.outputs))
    for left, right in pairs or ():
        table[left], table[right] = right, left
    if number == known.outputs:
        if pairs is not None and tuple(table) != tuple(_FLIPPED[number]) and not test:
            m.report.drop(f'{path}.pipeline', f'swap_seg_labels {pairs} left out: SapiensRandomWarp exchanges '
                          'the left and right classes of the vocabulary')
        return {}
    if not test:
        m.report.ask(f'{path}.metainfo', f'the names of the {number} classes, which the public config does not have'
                     + ('' if pairs else ', and flip_indices: the mirrored class of each class'))
    return dict(metainfo=dict(
        classes=Code(f"[f'class_{{i}}' for i in range({number})]"),
        palette=Code(f'[(37 * i % 256, 97 * i % 256, 173 * i % 256) for i in range({number})]'), flip_indices=table))


def _metainfo(config: dict, path: str, m: Migration) -> dict:
    metainfo = config.get('metainfo') or {}
    if set(metainfo) <= {'from_file'} and (m.kind.task != 'pose' or _name(metainfo.get('from_file')) in (
            'nothing', *(f'{name}.py' for name in _POSE_PREFIXES.values()))):
        return {}
    m.report.by_hand(f'{path}.metainfo', f'{some(metainfo.values(), 1)[:60]} is a custom vocabulary '
                     '(docs/your_keypoints.md)')
    return dict(metainfo=metainfo)


def _name(path: str | None) -> str:
    return PurePosixPath(path).name if path else 'nothing'


def _inside(value: str, root: str, folder: str, path: str, report: Report) -> str:
    root = root.rstrip('/') + '/'
    if value.startswith(root) and len(root) > 1:
        return value[len(root):]
    if not value.startswith(('/', '..', '~')) and '://' not in value:
        return value
    new = f'{folder}/{_name(value)}'.lstrip('/')
    report.ask(path, f'{_name(value)} lay outside of the data root: move it to {new} there, or change the line')
    return new


def _prefixes(config: dict, path: str, report: Report) -> dict[str, str]:
    return {key: _inside(value, config.get('data_root') or '', '', f'{path}.data_prefix.{key}', report)
            for key, value in (config.get('data_prefix') or {}).items() if key in ('img', 'img_path', 'seg_map_path')}


def _box_file(value: str | None, public_root: str, root: str, path: str, report: Report) -> str | None:
    if value is None:
        return None
    folder = public_root.rstrip('/') + '/'
    inside = public_root and value.startswith(folder)
    new = value.removeprefix(folder) if inside else f'person_detection_results/{_name(value)}'
    report.ask(path, f'boxes of a person detector at {new} in the data root, or None for the annotated boxes')
    return Code(f'{root} + {new!r}')


def _evaluators(loaders: dict, m: Migration) -> dict:
    out = {}
    for name in ('val_evaluator', 'test_evaluator'):
        loader, config = loaders.get(name.replace('evaluator', 'dataloader')), m.cfg.get(name)
        if name == 'test_evaluator' and config and config == m.cfg.get('val_evaluator') and isinstance(loader, Code):
            out[name] = Code('val_evaluator')
        elif config:
            many = config if isinstance(config, (list, tuple)) else [config]
            source = loaders['val_dataloader'] if isinstance(loader, Code) else loader
            new = [_evaluator(entry, name, source, m) for entry in many]
            out[name] = new[0] if len(new) == 1 else new
    return out


def _evaluator(config: dict, path: str, loader: dict | None, m: Migration) -> dict:
    name = config.get('type')
    if m.kind.task == 'seg' and name == 'IoUMetric':
        return convert(config, _PARTS_METRIC, path, m.report)
    if name == _DENSE_METRICS.get(m.kind.task):
        return config
    if m.kind.task != 'pose' or name not in _POSE_METRICS or loader is None:
        return no_counterpart(config, path, m.report)
    dataset = loader['dataset']
    if isinstance(dataset.get('data_root'), Code):
        ann_file = Code(f'{dataset["data_root"]} + {dataset["ann_file"]!r}')
    else:
        ann_file = config.get('ann_file')
        m.report.by_hand(f'{path}.ann_file', 'must be the annotation file of the dataset, which is unknown')
    rule = _POSE_METRIC._replace(type='CocoMetric') if m.outputs == 17 else _POSE_METRIC
    return convert({**config, 'ann_file': ann_file}, rule, path, m.report)


def add_test(m: Migration) -> None:
    train, metric = m.cfg['train_dataloader'], _DENSE_METRICS[m.kind.task]
    dataset, _ = parts_of_union(train['dataset'], 'train_dataloader.dataset', Report())[0]
    size = tuple((m.cfg['model'].get('data_preprocessor') or {}).get('size') or (1024, 768))
    dataset = {**dataset, 'pipeline': [dict(type='Resize', scale=size[::-1])]}
    sampler = dict(type='DefaultSampler', shuffle=False)
    m.cfg.update(test_dataloader={**train, 'sampler': sampler, 'dataset': dataset}, test_evaluator=dict(type=metric),
                 test_cfg=m.cfg.get('test_cfg') or {})
    m.report.change('test_dataloader', f'added, with {metric}: the public config has no test')


def save_best(value, m: Migration):
    if value in (None, 'auto'):
        return value
    path, names = 'default_hooks.checkpoint.save_best', [value] if isinstance(value, str) else list(value)
    prefix = dict(pose=_POSE_PREFIXES.get(m.outputs), seg='parts').get(m.kind.task)
    if prefix is None:
        m.report.drop(path, f'{some(names)} left out: choose one of the evaluator\'s metrics')
        return None
    new = [f'{prefix}/{name.rpartition("/")[2]}' for name in names]
    if new != names:
        m.report.change(path, f'{some(names)} -> {some(new)}')
    return new[0] if isinstance(value, str) else new
