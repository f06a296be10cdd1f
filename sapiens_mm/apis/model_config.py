"""Model configs for inference: reading from files and checkpoints, building on the meta device, description.

A config stored in a checkpoint is parsed as literals and may only name registered classes, so none of its code runs.
"""
import ast
import colorsys
import copy
import importlib
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry, root

from ..engine.checkpoint import CheckpointError
from ..engine.config import load_config
from ..tasks import canonical_name, dense_tasks, get_task, is_pose
from ..utils.files import parse_json
from ..version import HOSTS
from ..vocabularies.body_parts import FLIPPED_PARTS, PART_COLORS, PART_NAMES

_SCOPES = ('mmengine', 'mmcv', 'mmpose', 'mmseg')


def read_config(path: str | os.PathLike) -> Config:
    """Reads a config file.

    Raises:
        FileNotFoundError: The file or one of its bases is missing.
        ImportError: An import of the config fails.
        ValueError: The config fails in another way.
    """
    try:
        return load_config(path)
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:  # whatever the config's own code or MMEngine raises
        files = [os.fspath(path)]  # then its bases, down to the one at fault
        for frame, _ in traceback.walk_tb(error.__traceback__):
            file = str(frame.f_locals.get('filename'))
            files += [file] if os.path.isfile(file) else []
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = getattr(error, 'lineno', None) or (last.lineno if last.filename == files[-1] else None)
        raise ValueError(f'config {files[-1]} cannot be read{f", line {line}" if line else ""}: '
                         f'{type(error).__name__}: {getattr(error, "msg", error)}') from error


@contextmanager
def config_errors(source: str) -> Iterator[None]:
    """Turns errors about missing or mistyped settings into a ValueError that names the checkpoint."""
    try:
        yield
    except (AssertionError, AttributeError, LookupError, TypeError) as error:
        text = (str(error).strip().splitlines() or [''])[0]
        raise ValueError(f'the config for {source} is invalid ({type(error).__name__}: {text}); use the config of its '
                         'training') from error


def read_metadata(path: str, content: dict, source: str) -> dict:
    """Returns MMEngine's ``meta`` or the metadata of ``.safetensors``, with ``dataset_meta`` parsed."""
    if path.endswith('.safetensors'):
        from safetensors import safe_open
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
    else:
        metadata = content.get('meta')
        metadata = metadata if isinstance(metadata, dict) else {}
    meta = metadata.get('dataset_meta')
    try:
        if isinstance(meta, str):
            meta = parse_json(meta)
            if 'keypoint_id2name' in meta:
                meta['keypoint_id2name'] = dict(enumerate(meta['keypoint_id2name'].values()))  # JSON keys are text
        if meta is not None and not isinstance(meta, dict):
            raise ValueError(f'got a {type(meta).__name__}, expected a dict')
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f'dataset_meta in {source} cannot be read ({error}); use another checkpoint') from error
    return {**metadata, 'dataset_meta': meta}


def stored_config(metadata: dict, source: str) -> Config:
    if not isinstance(metadata.get('cfg'), str):
        raise CheckpointError(f'{source} has no config in it; pass the config file too')
    try:
        return Config(_parse_config(metadata['cfg']))
    except (AttributeError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise CheckpointError(f'the config in {source} cannot be read ({type(error).__name__}: {error}); pass the '
                              'config file too') from error


def _parse_config(text: str) -> dict:
    """Returns model, scope and test pipeline, but no metainfo of datasets, which may name a file that would run."""
    if text.startswith('{'):
        cfg = parse_json(text)
    else:
        cfg = {node.targets[0].id: node.value for node in ast.parse(text).body
               if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
        cfg = {name: _literal(cfg[name]) for name in ('model', 'default_scope', 'test_dataloader') if name in cfg}
    pipeline = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or []
    kept = {name: cfg[name] for name in ('model', 'default_scope') if name in cfg}
    return {**kept, 'test_dataloader': dict(dataset=dict(pipeline=pipeline))}


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict' and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return (tuple if isinstance(node, ast.Tuple) else list)(_literal(item) for item in node.elts)
    return ast.literal_eval(node)


def _check_types(config: dict, scope: str, source: str) -> None:
    """Refuses unregistered types, which MMEngine would import as modules."""
    host = importlib.import_module(f'{scope}.registry')
    host.MODELS.import_from_location()
    registries = [value for module in (root, host) for value in vars(module).values() if isinstance(value, Registry)]
    for kind in _types(config):
        scope, _, name = str(kind).rpartition('.')
        if scope not in ('', *_SCOPES) or not any(name in registry.module_dict for registry in registries):
            raise CheckpointError(f"the config in {source} has the unregistered type '{kind}'; if you trust it, pass "
                                  'the config file too')


def _types(config: Any) -> list[str]:
    if isinstance(config, dict):
        kinds = [config['type']] if 'type' in config else []
        return kinds + [kind for value in config.values() for kind in _types(value)]
    return [kind for item in config for kind in _types(item)] if isinstance(config, (list, tuple)) else []


def build_model(cfg: Config, source: str, trusted: bool = True) -> tuple[nn.Module, dict]:
    """Returns the model on the meta device and its plain config; only trusted configs may name classes by module."""
    if 'model' not in cfg:
        raise ValueError(f'the config for {source} has no model')
    scope = cfg.get('default_scope') or ('mmpose' if 'head' in cfg.model else 'mmseg')
    if scope not in ('mmpose', 'mmseg'):
        raise ValueError(f"the config for {source}: got default_scope='{scope}', expected 'mmpose' or 'mmseg'")
    try:
        importlib.import_module('sapiens_mm.pose' if scope == 'mmpose' else 'sapiens_mm.dense')  # registers
        models = importlib.import_module(f'{scope}.registry').MODELS
    except ModuleNotFoundError as error:
        _, _, version, host = HOSTS[scope]
        raise ImportError(f'{source} needs {host} ({error}): pip install {host}=={version}') from error
    plain = Config(dict(model=cfg.model)).to_dict()['model']
    config = copy.deepcopy(plain)
    # Inference needs no losses and initial weights, and the network normalizes images.
    for head in [config.get('head'), config.get('decode_head'), *(config.get('heads') or {}).values()]:
        for name in ('loss', 'init_cfg'):
            (head or {}).pop(name, None)
        if scope == 'mmseg' and head:
            head['loss_decode'] = ()  # by default mmseg builds one and warns
    for name in ('data_preprocessor', 'auxiliary_head', 'loss_weights', 'train_cfg', 'init_cfg', 'pretrained'):
        config.pop(name, None)
    config['backbone'].pop('init_cfg', None)
    config['backbone'].pop('with_cp', None)
    if not trusted:
        _check_types(config, scope, source)
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        try:
            return models.build(config), plain
        except KeyError as error:
            raise ValueError(f'the model for {source} cannot be built ({str(error.args[0]).splitlines()[0]}); if it '
                             'needs modules of yours, pass its config with their custom_imports') from error


def describe_model(model: nn.Module, cfg: Config, dataset_meta: dict | None, source: str
                   ) -> tuple[tuple[str, ...], dict, Any]:
    if getattr(model, 'head', None) is not None:
        codec = getattr(model.head, 'decoder', None)
        if not hasattr(codec, 'decode_heatmaps'):
            raise ValueError(f'the pose model for {source}: got the codec {type(codec).__name__}, expected '
                             'SapiensUDPHeatmap')
        number = model.head.out_channels
        task = f'pose-{number}'
        return (task, ), {task: _keypoint_names(number, cfg, dataset_meta)}, codec
    from ..dense.estimators import SapiensDenseEstimator
    from ..dense.multitask import SapiensMultiTask
    if isinstance(model, SapiensMultiTask):
        heads = dict(model.heads.items())
    elif isinstance(model, SapiensDenseEstimator):
        heads = {model.task: model.decode_head}
    else:
        raise ValueError(f'the config for {source}: got a {type(model).__name__}, expected a top-down pose estimator, '
                         f'{", ".join(task.estimator for task in dense_tasks().values())} or SapiensMultiTask')
    metainfo = {task: _class_names(head.out_channels, cfg, dataset_meta) if get_task(task).kind == 'classes' else {}
                for task, head in heads.items()}
    return tuple(heads), metainfo, None


def released_names(task: str) -> dict | None:
    if is_pose(task):
        from ..pose.metainfo import get_metainfo
        return get_metainfo(int(task[5:]))
    if canonical_name(task) == 'seg':
        return dict(classes=PART_NAMES, palette=PART_COLORS, flip_indices=FLIPPED_PARTS)
    return None


def _keypoint_names(number: int, cfg: Config, dataset_meta: dict | None) -> dict:
    from mmpose.apis.inference import dataset_meta_from_config
    with DefaultScope.overwrite_default_scope('mmpose'):
        stated = [dataset_meta] if dataset_meta else [dataset_meta_from_config(cfg, mode) for mode in ('test', 'train')]
    for meta in stated:
        if meta and meta.get('num_keypoints') == number:  # a model may be tested on a subset of its keypoints
            return dict(meta)
    colors = np.array(_plain_palette(number + 1)[1:], np.uint8)
    return dict(num_keypoints=number, keypoint_id2name={i: f'keypoint_{i}' for i in range(number)},
                keypoint_colors=colors, skeleton_links=[], skeleton_link_colors=np.zeros((0, 3), np.uint8))


def _class_names(number: int, cfg: Config, dataset_meta: dict | None) -> dict:
    from mmseg.registry import DATASETS
    stated = [dataset_meta] if dataset_meta else []
    for mode in ('test', 'train') if not stated else ():
        dataset = (cfg.get(f'{mode}_dataloader') or {}).get('dataset') or {}
        with DefaultScope.overwrite_default_scope('mmseg'):
            kind = DATASETS.get(dataset.type) if 'type' in dataset else None
        stated.append(dataset.get('metainfo') or getattr(kind, 'METAINFO', None))
    known = dict(classes=tuple(f'class_{i}' for i in range(number)))
    for meta in stated:
        if meta and len(meta.get('classes') or ()) == number:
            known = {name: meta[name] for name in ('classes', 'palette', 'flip_indices') if name in meta}
            break
    return dict(palette=_plain_palette(number)) | known


def _plain_palette(number: int) -> tuple[tuple[int, int, int], ...]:
    hues = [i * .618034 % 1 for i in range(number - 1)]
    return (0, 0, 0), *(tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, .75, .95)) for hue in hues)


def input_size_of(model: nn.Module, cfg: Config, codec: Any) -> tuple[int, int]:
    """Returns the input size (H, W) of the codec, the test pipeline or the backbone."""
    if codec is not None:
        return tuple(codec.input_size[::-1])
    pipeline = cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', [])
    sizes = [step['size'] for step in pipeline if 'size' in step]
    size = tuple(int(side) for side in (sizes or [model.backbone.img_size])[0])
    patch = getattr(model.backbone, 'patch_size', 1)
    if any(side % patch for side in size):
        raise ValueError(f'size in the test pipeline: got {size} (H, W), expected multiples of {patch}, the patch size')
    return size
