"""Loading of models by size and task, from a config and checkpoint, a checkpoint alone, or an exported ONNX file.

A checkpoint alone describes its model in MMEngine's ``meta`` or in the metadata that :func:`save_model` writes. Reading
a checkpoint never runs code from it.
"""
import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from ..engine.checkpoint import CheckpointError, load_checkpoint_file
from ..engine.fetch import fetch_file
from ..engine.licenses import license_of
from ..engine.weights import fill_model, save_weights
from ..names import SIZES
from ..tasks import canonical_name, get_task, is_pose
from ..utils.text import count, some
from . import model_zoo
from .model_config import (
    build_model,
    config_errors,
    describe_model,
    input_size_of,
    read_config,
    read_metadata,
    released_names,
    stored_config,
)
from .network import SapiensNetwork, TaskModel
from .onnx_model import load_onnx_model

__all__ = ['load_model', 'load_models', 'load_released', 'pair_weights', 'save_model', 'weights_of']


def load_model(checkpoint: str | os.PathLike, config: str | os.PathLike | dict | None = None,
               tasks: Sequence[str] | None = None, device: str | torch.device = 'cpu',
               dtype: torch.dtype = torch.float32) -> TaskModel:
    """Builds a model and loads its weights, which must fill every tensor.

    Args:
        checkpoint: A path, ``http(s)://`` or ``hf://`` address; also an exported ``.onnx`` file.
        config: Config file or dict of a top-down pose estimator with ``SapiensUDPHeatmap`` or of a dense estimator.
            None if the checkpoint contains it (written in training or by :func:`save_model`), or is a released file
            under its own name.
        tasks: Tasks of a multi-task model to keep; by default all.
        dtype: Dtype of its computations.

    Raises:
        FileNotFoundError: The config or the checkpoint is missing.
        ImportError: mmpose or mmseg is missing.
        CheckpointError: The weights cannot be fetched, or do not fill the model.
        ValueError: The config is of an unsupported model.
    """
    source = os.fspath(checkpoint)
    path = fetch_file(source)
    if path.endswith('.onnx'):
        return load_onnx_model(path, device)
    content = load_checkpoint_file(path)
    metadata = read_metadata(path, content, source)
    dataset_meta = metadata.get('dataset_meta')
    if config is None:
        released = None if isinstance(metadata.get('cfg'), str) else model_zoo.find_released(source)
        cfg = (Config(model_zoo.released_config(*released, metadata.get('patch_padding'))) if released
               else stored_config(metadata, source))
        dataset_meta = dataset_meta or released and released_names(released[1])
    elif isinstance(config, dict):
        cfg = Config(copy.deepcopy(dict(config)))
    elif os.path.isfile(config):
        cfg = read_config(config)
    else:
        raise FileNotFoundError(f"config file '{os.fspath(config)}' does not exist; check the path")
    weights = weights_of(content, source)
    with config_errors(source):
        model, model_cfg = build_model(cfg, source, trusted=config is not None)
    _check_padding(model, metadata, source)
    fill_model(model, weights, source, assign=True)
    model.float().requires_grad_(False).eval()
    with config_errors(source):
        available, metainfo, codec = describe_model(model, cfg, dataset_meta, source)
        preprocessor = model_cfg.get('data_preprocessor') or {}
        network = SapiensNetwork(model, preprocessor['mean'], preprocessor['std'], not preprocessor.get('bgr_to_rgb'))
        input_size = input_size_of(model, cfg, codec)
    tasks = available if tasks is None else [canonical_name(task) for task in tasks]
    if not set(tasks) & set(available):
        raise ValueError(f'tasks: got {", ".join(tasks)}, expected some of {", ".join(available)} for {source}')
    loaded = TaskModel(available, input_size, metainfo, network, source, path, torch.device(device), codec,
                       dict(model=model_cfg), dtype=dtype, license=_license_of(metadata, source, cfg))
    loaded.keep(tasks)
    network.to(device).cast(dtype)
    return loaded


def _check_padding(model: torch.nn.Module, metadata: dict, source: str) -> None:
    """Raises a ValueError for a backbone with another padding than a trace's: weights of both have the same shapes."""
    traced = metadata.get('patch_padding')
    embedding = getattr(getattr(model.backbone, 'patch_embed', None), 'projection', None)
    if traced is not None and embedding is not None and embedding.padding != (traced, traced):
        raise ValueError(f'backbone.patch_cfg.padding: got {embedding.padding[0]}, expected {traced}, with which '
                         f'{source} was traced; set it in the config')


def load_released(size: str, task: str, **kwargs) -> TaskModel:
    """Loads a released model, or the embedded model of a task, with arguments of :func:`load_model`.

    Raises a ValueError if it was not released, and a CheckpointError if the weights cannot be fetched.
    """
    task = canonical_name(task)
    if size != 'tiny':
        return load_model(_released_source(size, task), **kwargs)
    return load_model(_embedded_file(task), tasks=[task], **kwargs)


def _embedded_file(task: str) -> Path:
    files = model_zoo.embedded_tasks()
    if task not in files:
        known = f'expected one of {", ".join(files)}' if files else f'but {model_zoo.EMBEDDED} has no weights'
        raise ValueError(f"task: got '{task}' for the embedded model, {known}; use another size or your own weights")
    return files[task]


def _released_source(size: str, task: str) -> str:
    for name, value, known in (('size', size, SIZES), ('task', task, model_zoo.RELEASED_TASKS)):
        if value not in known:
            raise ValueError(f"{name}: got '{value}', expected one of {', '.join(known)}")
    return model_zoo.released_file(size, task).source


def load_models(tasks: Sequence[str] | None, size: str, weights: str | os.PathLike | tuple | list | None,
                **kwargs) -> list[TaskModel]:
    """Loads the models for some tasks; ``kwargs`` are ``device`` and ``dtype`` of :func:`load_model`.

    Args:
        tasks: The tasks; None for the default ones of the size, or all of the weights.
        size: Size of the released models; see :func:`load_released`.
        weights: Used instead of released models: a checkpoint, a pair of config and checkpoint, or a list of both.

    Raises:
        ValueError: Tasks, size or weights are invalid.
        CheckpointError: Weights cannot be fetched, or do not fill the model.
        FileNotFoundError, ImportError: As for :func:`load_model`.
    """
    if weights is not None:
        return _load_own(tasks, weights, kwargs)
    tasks = list(dict.fromkeys(model_zoo.default_tasks(size) if tasks is None else tasks))
    if sum(map(is_pose, tasks)) > 1:  # checked before gigabytes are fetched
        raise ValueError(f'tasks: got {", ".join(tasks)}, expected at most one keypoint set')
    if size != 'tiny':
        for task in tasks:
            _released_source(size, task)
        return [load_released(size, task, **kwargs) for task in tasks]
    files = {task: _embedded_file(task) for task in tasks or ['pose-17']}
    return [load_model(path, tasks=[task for task in tasks if files[task] == path], **kwargs)
            for path in dict.fromkeys(files.values())]


def _load_own(tasks: Sequence[str] | None, weights, options: dict) -> list[TaskModel]:
    models = []
    for entry in weights if isinstance(weights, list) else [weights]:
        config, checkpoint = entry if isinstance(entry, tuple) and len(entry) == 2 else (None, entry)
        if not isinstance(checkpoint, (str, os.PathLike)):
            raise ValueError(f'weights: got {checkpoint!r}, expected a checkpoint, a pair of config and checkpoint, or '
                             'a list of these')
        models.append(load_model(checkpoint, config, **options))
    if not models:
        raise ValueError('weights: got an empty list, expected checkpoints, or None for the released ones')
    available = {task for model in models for task in model.tasks}
    missing = [task for task in tasks or () if task not in available]
    if missing:
        raise ValueError(f'tasks: got {", ".join(missing)}, expected some of {", ".join(sorted(available))}, the tasks '
                         'of the weights')
    for model in models:
        model.keep(tasks or model.tasks)
    return [model for model in models if model.tasks]


def pair_weights(configs: Sequence[str], checkpoints: Sequence[str]) -> list | None:
    """Returns ``weights`` for :func:`load_models` from ``--config`` and ``--checkpoint``; None without checkpoints."""
    if configs and len(configs) != len(checkpoints):
        raise ValueError(f'--config, --checkpoint: got {len(configs)} and {len(checkpoints)}, expected pairs, or only '
                         'checkpoints that contain their configs')
    return list(zip(configs, checkpoints)) if configs else list(checkpoints) or None


def weights_of(content: dict, source: str) -> dict[str, Tensor]:
    weights = content.get('state_dict', content)
    if not isinstance(weights, dict) or not weights:
        kind = 'nothing' if isinstance(weights, dict) else f'a {type(weights).__name__}'
        raise CheckpointError(f'state_dict of {source}: got {kind}, expected named tensors; use another checkpoint')
    wrong = [f'{name!r} ({type(value).__name__})' for name, value in weights.items() if not (
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        and not value.is_quantized)]
    if wrong:
        raise CheckpointError(f'state_dict of {source}: {len(wrong)} of {count(len(weights), "entry", "entries")} are '
                              f'no named tensors: {some(wrong)}; use another checkpoint')
    return {name.removeprefix('module.'): value for name, value in weights.items()}


def _license_of(metadata: dict, source: str, cfg: Config) -> str | None:
    if isinstance(metadata.get('license'), str):
        return metadata['license']
    named = [source, cfg.get('load_from'), cfg.model.get('init_cfg'), cfg.model.get('backbone')]
    return license_of(' '.join(map(str, named)))


def save_model(model: TaskModel, path: str | os.PathLike, dtype: torch.dtype = torch.float32,
               license: str | None = None) -> None:
    """Writes a ``.safetensors`` file, which :func:`load_model` reads without a config.

    Floating-point tensors become ``dtype``; others, such as counters of BatchNorm, stay. ``license`` is that of the
    weights, by default the model's.
    """
    config = {**model.config, 'test_dataloader': dict(dataset=dict(pipeline=[dict(size=model.input_size)]))}
    # One dataset_meta describes all heads: that of the only task, or of the classes.
    named = [meta for task, meta in model.metainfo.items()
             if len(model.tasks) == 1 or get_task(task).kind == 'classes']
    metadata = dict(tasks=json.dumps(model.tasks), cfg=json.dumps(config, default=list),
                    dataset_meta=json.dumps(named[0] if named else {}, default=lambda array: array.tolist()))
    if license or model.license:
        metadata['license'] = license or model.license
    weights = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
               for name, tensor in model.network.model.state_dict().items()}
    save_weights(weights, os.fspath(path), metadata)
