"""Models that run: a network from images to heatmaps and maps, and what is known about it.

A model comes from the released checkpoints by size and task, from a config and checkpoint of your own training, from a
checkpoint alone that says what it is (MMEngine's ``meta``, or the metadata that :func:`save_model` writes), or from an
ONNX file of ours. Reading a checkpoint runs no code of it, and its config may name registered classes only.
"""
import ast
import colorsys
import copy
import importlib
import json
import os
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope, Registry, root
from torch import Tensor

from ..backbones import SapiensViT
from ..backbones.model_zoo import RELEASED, released_file
from ..engine.checkpoint import CheckpointError, load_checkpoint_file
from ..engine.config import load_config
from ..engine.fetch import fetch_file, sha256_of
from ..engine.weights import fill_model, save_weights
from ..tasks import canonical_name, dense_tasks
from ..utils.files import parse_json
from ..utils.text import count, some
from ..version import HOSTS
from ..vocabularies.body_parts import FLIPPED_PARTS, PART_COLORS, PART_NAMES

__all__ = [
    'DTYPES', 'EMBEDDED', 'PARAMETERS', 'SIZES', 'SapiensNetwork', 'TASKS', 'TaskModel', 'choose_device',
    'choose_dtype', 'default_tasks', 'embedded_tasks', 'fastest_dtype', 'load_model', 'load_released', 'pair_weights',
    'read_config', 'released_config', 'released_source', 'save_model'
]

#: Files of the model that comes with the package, ``--size tiny``; each says in its metadata what it is.
EMBEDDED = Path(__file__).resolve().parents[1] / 'weights'
#: What the released models do, by the names of the zoo.
TASKS = {'pose-308': 'pose-308', 'pose-133': 'pose-133', 'pose-17': 'pose-17', 'parts': 'seg-28', 'depth': 'depth',
         'normal': 'normal'}
#: Task -> size -> parameters of a released model: to count them, hosts are imported and models built for 8 seconds.
PARAMETERS = {
    'pose-308': {'0.3b': 329_682_740, '0.6b': 661_180_980, '1b': 1_168_893_236},
    'pose-133': {'0.3b': 329_548_165, '0.6b': 661_046_405, '1b': 1_168_758_661, '2b': 2_166_256_645},
    'pose-17': {'0.3b': 329_458_961, '0.6b': 660_957_201, '1b': 1_168_669_457, '2b': 2_166_167_441},
    'parts': {'0.3b': 339_495_196, '0.6b': 670_993_436, '1b': 1_178_705_692},
    'depth': {'0.3b': 319_910_017, '0.6b': 649_835_393, '1b': 1_155_974_785, '2b': 2_151_113_473},
    'normal': {'0.3b': 339_475_971, '0.6b': 670_974_211, '1b': 1_178_686_467, '2b': 2_176_184_451},
}
SIZES = ('tiny', '0.3b', '0.6b', '1b', '2b')
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
#: Names of tasks in this folder that are not yet those of the table of tasks.
_FORMER = dict(seg='parts')
_SCOPES = ('mmengine', 'mmcv', 'mmpose', 'mmseg')


class SapiensNetwork(nn.Module):
    """From images to the raw outputs of a model's heads.

    Args:
        model: A pose estimator or dense segmentor.
        mean: Of the three channels of its input, 0 to 255.
        std: Their standard deviations.
        bgr: Whether that input is BGR.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float], bgr: bool = False):
        super().__init__()
        self.model = model
        self.bgr = bgr
        self.dtype = torch.float32
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Runs RGB images (B, 3, H, W), 0 to 255 in any dtype, of the model's input size.

        Returns:
            Float32 heatmaps (B, K, h, w), logits of parts (B, C, h, w), depth (B, 1, h, w) or normals (B, 3, h, w), not
            of unit length. Of several tasks a dict by task.
        """
        images = images.flip(1) if self.bgr else images
        images = (images.float() - self.mean) / self.std
        return self.model(images.to(self.dtype), None, mode='tensor')

    def cast(self, dtype: torch.dtype) -> 'SapiensNetwork':
        """Computes in another dtype, but for the input's scale and the last layers.

        Peaks of heatmaps are refined far below the pixel, and bfloat16 has 8 bits.
        """
        self.dtype = dtype
        last = self.last_layers()
        exact = [copy.deepcopy(layer.state_dict()) for layer in last]  # rounding them could not be undone
        self.model.to(dtype)
        for layer, weights in zip(last, exact):
            layer.float().load_state_dict(weights)
            layer.register_forward_pre_hook(_to_float32)
        return self

    def last_layers(self) -> list[nn.Module]:
        """The layers that the outputs come from."""
        return [module for name, module in self.model.named_modules()
                if name.rpartition('.')[2] in ('final_layer', 'conv_seg')]


def _to_float32(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return tuple(arg.float() for arg in args)


@dataclass
class TaskModel:
    """A network and what its outputs mean.

    Attributes:
        tasks: What it puts out: ``'pose-<keypoints>'`` alone, or some of ``'parts'``, ``'depth'``, ``'normal'``.
        input_size: (H, W) of the images that it takes, in pixels.
        metainfo: By task. Keypoints have what mmpose's ``parse_pose_metainfo`` gives (``keypoint_id2name``,
            ``skeleton_links``, ``flip_indices``, colours); parts ``classes``, ``palette``, ``flip_indices``.
        network: Images to raw outputs as :class:`SapiensNetwork` does it.
        source: Where the weights came from.
        path: Their local file.
        device: Where the images have to be.
        codec: Decodes heatmaps: a ``SapiensUDPHeatmap``; None without keypoints.
        config: The model's config, None for ONNX.
    """
    tasks: tuple[str, ...]
    input_size: tuple[int, int]
    metainfo: dict[str, dict]
    network: Any
    source: str
    path: str
    device: torch.device
    codec: Any = None
    config: dict | None = None

    @cached_property
    def sha256(self) -> str | None:
        """SHA-256 of the weights' file; of a folder None."""
        stored = os.path.basename(os.path.realpath(self.path))
        if re.fullmatch('[0-9a-f]{64}', stored):  # the Hub's cache names large files by it; a sum takes a minute
            return stored
        return sha256_of(self.path) if os.path.isfile(self.path) else None

    def keep(self, tasks: Sequence[str]) -> None:
        """Leaves out what is not wanted; of several heads, only those of these tasks are run from then on."""
        if len(self.tasks) > 1 and isinstance(self.network, SapiensNetwork):
            for task in set(self.tasks) - set(tasks):
                del self.network.model.heads[canonical_name(task)]
                heads = self.config['model']['heads']
                del heads[next(name for name in heads if canonical_name(name) == canonical_name(task))]
        self.tasks = tuple(task for task in self.tasks if task in tasks)
        self.metainfo = {task: self.metainfo[task] for task in self.tasks}

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs by task of images (B, 3, H, W) on the model's device."""
        outputs = self.network(images)
        if isinstance(outputs, dict):
            return {_FORMER.get(task, task): output for task, output in outputs.items()}
        return {self.tasks[0]: outputs}


def load_model(checkpoint: str | os.PathLike, config: str | os.PathLike | dict | None = None,
               tasks: Sequence[str] | None = None, device: str | torch.device = 'cpu',
               dtype: torch.dtype = torch.float32) -> TaskModel:
    """Builds a model and fills it with its weights, every tensor of it.

    Args:
        checkpoint: A path, ``http(s)://`` or ``hf://`` address; also an ``.onnx`` file of ours.
        config: Config of a top-down pose estimator with ``SapiensUDPHeatmap`` or of our dense segmentors, or its
            contents. None where the checkpoint tells: one that a training wrote, one of :func:`save_model`, or a
            released one under its own name.
        tasks: What of a model of several tasks is wanted; by default all.
        device: Where it goes.
        dtype: What it computes in.

    Raises:
        FileNotFoundError: A file is missing.
        ImportError: There is no mmpose or mmseg for it.
        CheckpointError: The weights cannot be had, or are not those of this model.
        ValueError: The config is of a model that is not run here.
    """
    source = os.fspath(checkpoint)
    path = fetch_file(source)
    if path.endswith('.onnx'):
        from .onnx_model import load_onnx_model
        return load_onnx_model(path, device)
    content = load_checkpoint_file(path)
    meta = _metadata(path, content, source)
    dataset_meta = meta.get('dataset_meta')
    if config is None:
        released = None if isinstance(meta.get('cfg'), str) else _find_released(source)
        cfg = Config(released_config(*released)) if released else _read_own_config(source, meta)
        dataset_meta = dataset_meta or released and _released_names(released[1])
    elif isinstance(config, dict):
        cfg = Config(copy.deepcopy(dict(config)))
    elif os.path.isfile(config):
        cfg = read_config(config)
    else:
        raise FileNotFoundError(f"there is no config file '{os.fspath(config)}'; check the path")
    weights = weights_of(content, source)
    with _config_errors(source):
        model, cfg_model = _build(cfg, source, trusted=config is not None)
    fill_model(model, weights, source, assign=True)
    model.float().requires_grad_(False).eval()

    with _config_errors(source):
        found, metainfo, codec = _describe(model, cfg, dataset_meta, source)
        preprocessor = cfg_model.get('data_preprocessor') or {}
        network = SapiensNetwork(model, preprocessor['mean'], preprocessor['std'], not preprocessor.get('bgr_to_rgb'))
        input_size = _input_size(model, cfg, codec)
    if tasks is not None and not set(tasks) & set(found):
        raise ValueError(f'{source} has {", ".join(found)}, but none of {", ".join(tasks)}')
    loaded = TaskModel(found, input_size, metainfo, network, source, path, torch.device(device),
                       codec, dict(model=cfg_model))
    loaded.keep(tasks or found)
    network.to(device).cast(dtype)
    return loaded


def read_config(path: str | os.PathLike) -> Config:
    """A config file.

    Raises:
        FileNotFoundError, ImportError: It, one that it is based on, or what it imports is missing.
        ValueError: It is no program that runs to its end.
    """
    try:
        return load_config(path)
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:  # of the config, or of MMEngine about it
        files = [os.fspath(path)]  # and those that it is based on, to the one at hand
        for frame, _ in traceback.walk_tb(error.__traceback__):
            file = str(frame.f_locals.get('filename'))
            files += [file] if os.path.isfile(file) else []
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = getattr(error, 'lineno', None) or (last.lineno if last.filename == files[-1] else None)
        raise ValueError(f'the config {files[-1]} cannot be read{f", line {line}" if line else ""}: '
                         f'{type(error).__name__}: {getattr(error, "msg", error)}') from error


def load_released(size: str, task: str, **kwargs) -> TaskModel:
    """A released model, fetched once, or the part of the embedded model that does the task.

    Args:
        size: One of `SIZES`.
        task: One of `TASKS`.
        **kwargs: ``device`` and ``dtype`` of :func:`load_model`.

    Raises:
        ValueError: There is no such size or task, or not this one for that size.
        CheckpointError: The weights cannot be had.
    """
    if size != 'tiny':
        return load_model(released_source(size, task), **kwargs)
    there = embedded_tasks()
    if task not in there:
        raise ValueError(f"the embedded model has no '{task}'" + (f', but {", ".join(there)}' if there else
                         f': no weights lie in {EMBEDDED}; take another size, or weights of your own'))
    return load_model(there[task], tasks=[task], **kwargs)


def released_source(size: str, task: str) -> str:
    """Where the weights of a released model are.

    Raises:
        ValueError: There is no such size or task, or not this one for that size.
    """
    if task not in TASKS:
        raise ValueError(f"task is '{task}', but must be one of {', '.join(TASKS)}")
    if size not in SIZES:
        raise ValueError(f"size is '{size}', but must be one of {', '.join(SIZES)}")
    sizes = [name for name, zoo in RELEASED if zoo == TASKS[task]]
    if size not in sizes:
        raise ValueError(f'{task} was not released for {size}; take {", ".join(sizes[:-1])} or {sizes[-1]}')
    return released_file(size, TASKS[task]).source


def default_tasks(size: str) -> tuple[str, ...]:
    """What the models of a size do if nothing else is asked for: one kind of keypoints, and all maps.

    Raises:
        ValueError: There is no such size.
    """
    if size == 'tiny':
        return tuple(embedded_tasks())
    there = [task for task, zoo in TASKS.items() if (size, zoo) in RELEASED]
    if not there:
        raise ValueError(f"size is '{size}', but must be one of {', '.join(SIZES)}")
    poses = [task for task in there if task.startswith('pose')]
    return *poses[:1], *(task for task in there if task not in poses)


def embedded_tasks() -> dict[str, Path]:
    """Task -> file of the embedded model."""
    return {task: path for path in sorted(EMBEDDED.glob('*.safetensors'))
            for task in parse_json(_metadata(os.fspath(path), {}, os.fspath(path))['tasks'])}


def save_model(model: TaskModel, path: str | os.PathLike, dtype: torch.dtype = torch.float32) -> None:
    """Writes a ``.safetensors`` file that :func:`load_model` needs no config for.

    Args:
        model: As :func:`load_model` gave it.
        path: The file.
        dtype: Of the tensors in it.
    """
    config = {**model.config, 'test_dataloader': dict(dataset=dict(pipeline=[dict(size=model.input_size)]))}
    dataset_meta = next(iter(model.metainfo.values())) if len(model.tasks) == 1 else model.metainfo.get('parts', {})
    metadata = dict(tasks=json.dumps(model.tasks), cfg=json.dumps(config, default=list),
                    dataset_meta=json.dumps(dataset_meta, default=lambda array: array.tolist()))
    weights = {name: tensor.to(dtype) for name, tensor in model.network.model.state_dict().items()}
    save_weights(weights, os.fspath(path), metadata)


def released_config(size: str, task: str) -> dict:
    """The config of a released model, of which an installed package has no files.

    Args:
        size: ``'0.3b'``, ``'0.6b'``, ``'1b'``, ``'2b'``.
        task: One of `TASKS`.
    """
    width = SapiensViT.arch_zoo[f'sapiens_{size}']['embed_dims']
    # What the checkpoints do not tell: models of keypoints and normals pad the patches.
    padding = 0 if task in ('parts', 'depth') else 2
    backbone = dict(type='SapiensViT', arch=f'sapiens_{size}', img_size=(1024, 768), patch_size=16,
                    patch_cfg=dict(padding=padding))
    preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
    if task.startswith('pose'):
        codec = dict(type='SapiensUDPHeatmap', input_size=(768, 1024), heatmap_size=(192, 256), sigma=6)
        head = dict(type='SapiensPoseHead', in_channels=width, out_channels=int(task[5:]), decoder=codec)
        return dict(default_scope='mmpose', model=dict(
            type='SapiensPoseEstimator', data_preprocessor=preprocessor, backbone=backbone, head=head))
    head = dict(type='SapiensDenseHead', in_channels=width)
    if task == 'depth':
        head |= dict(deconv_out_channels=(384, ) * 4, deconv_kernel_sizes=(4, ) * 4, conv_out_channels=(384, ) * 2,
                     conv_kernel_sizes=(1, ) * 2)
    if task == 'parts':
        head |= dict(num_classes=28)
    kind = dict(parts='SapiensPartsSegmentor', depth='SapiensDepthEstimator', normal='SapiensNormalEstimator')[task]
    return dict(default_scope='mmseg',
                model=dict(type=kind, data_preprocessor=preprocessor, backbone=backbone, decode_head=head))


def pair_weights(configs: Sequence[str], checkpoints: Sequence[str]) -> list | None:
    """The ``weights`` that ``--config`` and ``--checkpoint`` name; None without any.

    Raises:
        ValueError: They are not as many.
    """
    if configs and len(configs) != len(checkpoints):
        raise ValueError(f'there are {len(configs)} --config and {len(checkpoints)} --checkpoint; give them in pairs, '
                         'or checkpoints alone that say what they are')
    return list(zip(configs, checkpoints)) if configs else list(checkpoints) or None


def choose_device(device: str | torch.device | None) -> torch.device:
    """A device by name; None: a GPU if there is one, else MPS, else the CPU.

    Raises:
        ValueError: There is no such device.
    """
    try:
        chosen = torch.device(device or get_device())
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise ValueError(f"device '{device}' cannot be used ({reason}); leave it out to take what there is") from error
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """A dtype by its name, ``'bf16'`` or ``'bfloat16'``; None: the fastest one of the device.

    Raises:
        ValueError: Nothing is computed in it.
    """
    names = {**DTYPES, **{str(value).removeprefix('torch.'): value for value in DTYPES.values()}}
    chosen = fastest_dtype(device) if dtype is None else names.get(dtype, dtype)
    if chosen not in DTYPES.values():
        raise ValueError(f'dtype is {dtype!r}, but must be {", ".join(names)}, or that of torch')
    return chosen


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes with it, else float32."""
    if device.type == 'cuda':
        fast = torch.cuda.get_device_capability(device) >= (8, 0)  # torch's own question counts emulation, too
    elif device.type == 'cpu':
        fast = any(getattr(torch.cpu, name, bool)() for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


@contextmanager
def _config_errors(source: str) -> Iterator[None]:
    """Within it, a config that lacks something or has it in another type is a ValueError that names the checkpoint."""
    try:
        yield
    except (AssertionError, AttributeError, LookupError, TypeError) as error:
        text = (str(error).strip().splitlines() or [''])[0]
        raise ValueError(f'the config for {source} cannot be used ({type(error).__name__}: {text}); give the config '
                         'that the checkpoint was trained with') from error


def weights_of(content: dict, source: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name.

    Raises:
        CheckpointError: It holds something else.
    """
    weights = content.get('state_dict', content)
    if not isinstance(weights, dict) or not weights:
        found = 'nothing' if isinstance(weights, dict) else f'a {type(weights).__name__}'
        raise CheckpointError(f'{source} has {found} as its state_dict, expected tensors by their names; take another '
                              'checkpoint')
    wrong = [f'{name!r} ({type(value).__name__})' for name, value in weights.items() if not (
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        and not value.is_quantized)]
    if wrong:
        raise CheckpointError(f'{source} has {count(len(wrong), "entry", "entries")} of {len(weights)} that are no '
                              f'tensors by their names: {some(wrong)}; take a checkpoint with a state_dict')
    return {name.removeprefix('module.'): value for name, value in weights.items()}


def _metadata(path: str, content: dict, source: str) -> dict:
    """What a checkpoint says of itself: MMEngine's ``meta``, or the metadata of ``.safetensors``."""
    if not path.endswith('.safetensors'):
        metadata = content.get('meta')
        metadata = metadata if isinstance(metadata, dict) else {}
    else:
        from safetensors import safe_open
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
    meta = metadata.get('dataset_meta')
    try:
        if isinstance(meta, str):
            meta = parse_json(meta)
            if 'keypoint_id2name' in meta:  # JSON has no numbers for keys
                meta['keypoint_id2name'] = dict(enumerate(meta['keypoint_id2name'].values()))
        if meta is not None and not isinstance(meta, dict):
            raise ValueError(f'got a {type(meta).__name__}, expected a dict')
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f'the dataset_meta in {source} cannot be read ({error}); take another '
                              'checkpoint') from error
    return {**metadata, 'dataset_meta': meta}


def _find_released(source: str) -> tuple[str, str] | None:
    """Size and task of a released file, by its name."""
    for (size, name), file in RELEASED.items():
        task = next((task for task, zoo in TASKS.items() if zoo == name), None)
        if task and os.path.basename(file.path) == os.path.basename(source):
            return size, task
    return None


def _released_names(task: str) -> dict | None:
    """What the outputs of a released model are called."""
    if task.startswith('pose'):
        from ..pose.metainfo import get_metainfo
        return get_metainfo(int(task[5:]))
    return dict(classes=PART_NAMES, palette=PART_COLORS, flip_indices=FLIPPED_PARTS) if task == 'parts' else None


def _read_own_config(source: str, meta: dict) -> Config:
    """The config of a checkpoint that comes alone."""
    if isinstance(meta.get('cfg'), str):
        try:
            return Config(_parse_config(meta['cfg']))
        except (AttributeError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
            raise CheckpointError(f'the config in {source} cannot be read ({type(error).__name__}: {error}); give the '
                                  'config file too') from error
    raise CheckpointError(f'{source} does not say which model it is of; give its config too')


def _parse_config(text: str) -> dict:
    """What is needed of a config: the model, its host, and the test pipeline for the size of its input.

    The rest may hold what is no literal, and names data sets whose metainfo would be run (``from_file``).
    """
    if text.startswith('{'):
        cfg = parse_json(text)
    else:
        cfg = {node.targets[0].id: node.value for node in ast.parse(text).body
               if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
        cfg = {name: _literal(cfg[name]) for name in ('model', 'default_scope', 'test_dataloader') if name in cfg}
    pipeline = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or []
    kept = {name: cfg[name] for name in ('model', 'default_scope') if name in cfg}
    return {**kept, 'test_dataloader': dict(dataset=dict(pipeline=pipeline))}


def _check_types(config: dict, scope: str, source: str) -> None:
    """Refuses types that are not registered: MMEngine imports whatever module has such a name."""
    host = importlib.import_module(f'{scope}.registry')
    host.MODELS.import_from_location()
    registries = [value for module in (root, host) for value in vars(module).values() if isinstance(value, Registry)]
    for kind in _types(config):
        scope, _, name = str(kind).rpartition('.')
        if scope not in ('', *_SCOPES) or not any(name in registry.module_dict for registry in registries):
            raise CheckpointError(f"the config in {source} names the type '{kind}', which no registry has; if you "
                                  'trust it, give the config file too')


def _literal(node: ast.expr) -> Any:
    """A value as MMEngine writes it into configs: literals and ``dict(...)``. Nothing is run."""
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict' and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return (tuple if isinstance(node, ast.Tuple) else list)(_literal(item) for item in node.elts)
    return ast.literal_eval(node)


def _types(config: Any) -> list[str]:
    if isinstance(config, dict):
        own = [config['type']] if 'type' in config else []
        return own + [kind for value in config.values() for kind in _types(value)]
    return [kind for item in config for kind in _types(item)] if isinstance(config, (list, tuple)) else []


def _build(cfg: Config, source: str, trusted: bool = True) -> tuple[nn.Module, dict]:
    """The model without storage for its weights, and its config as plain values.

    Only a config that is ``trusted`` may name classes by their modules.
    """
    if 'model' not in cfg:
        raise ValueError(f'the config for {source} has no model')
    scope = cfg.get('default_scope') or ('mmpose' if 'head' in cfg.model else 'mmseg')
    if scope not in ('mmpose', 'mmseg'):
        raise ValueError(f"the config for {source} has default_scope='{scope}'; models of mmpose and mmseg are run")
    try:
        if scope == 'mmpose':
            from mmpose.registry import MODELS

            from .. import pose  # noqa: F401  (registers)
        else:
            from mmseg.registry import MODELS

            from .. import dense  # noqa: F401  (registers)
    except ModuleNotFoundError as error:
        _, _, version, host = HOSTS[scope]
        raise ImportError(f'{source} is run by {host} ({error}): pip install {host}=={version}') from error
    plain = Config(dict(model=cfg.model)).to_dict()['model']
    config = copy.deepcopy(plain)
    # Neither losses nor first weights are needed, and images are normalised in the network.
    for part in [config.get('head'), config.get('decode_head'), *(config.get('heads') or {}).values()]:
        for name in ('loss', 'init_cfg'):
            (part or {}).pop(name, None)
        if scope == 'mmseg' and part:
            part['loss_decode'] = ()  # without it mmseg builds one, by a way that warns of itself
    for name in ('data_preprocessor', 'auxiliary_head', 'loss_weights', 'train_cfg', 'init_cfg', 'pretrained'):
        config.pop(name, None)
    config['backbone'].pop('init_cfg', None)
    config['backbone'].pop('with_cp', None)
    if not trusted:
        _check_types(config, scope, source)
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        try:
            return MODELS.build(config), plain
        except KeyError as error:
            raise ValueError(f'the model for {source} cannot be built ({str(error.args[0]).splitlines()[0]}); if it '
                             'needs modules of your own, give its config with their custom_imports') from error


def _describe(model: nn.Module, cfg: Config, dataset_meta: dict | None, source: str) -> tuple[tuple, dict, Any]:
    """The tasks of a model, their metainfo and the codec of its keypoints."""
    if getattr(model, 'head', None) is not None:
        codec = getattr(model.head, 'decoder', None)
        if not hasattr(codec, 'decode_heatmaps'):
            raise ValueError(f'the pose model for {source} has the codec {type(codec).__name__}; those with '
                             'SapiensUDPHeatmap are run')
        number = model.head.out_channels
        task = f'pose-{number}'
        return (task, ), {task: _keypoints(number, cfg, dataset_meta)}, codec
    from ..dense.estimators import DenseEstimator
    from ..dense.multitask import SapiensMultiTask
    if isinstance(model, SapiensMultiTask):
        heads = {_FORMER.get(task, task): head for task, head in model.heads.items()}
    elif isinstance(model, DenseEstimator):
        heads = {_FORMER.get(model.task, model.task): model.decode_head}
    else:
        raise ValueError(f'the config for {source} is of a {type(model).__name__}; top-down pose estimators and '
                         f'{", ".join(task.estimator for task in dense_tasks().values())}, SapiensMultiTask are run')
    metainfo = {task: _classes(head.out_channels, cfg, dataset_meta) if task == 'parts' else {}
                for task, head in heads.items()}
    return tuple(heads), metainfo, None


def _keypoints(number: int, cfg: Config, dataset_meta: dict | None) -> dict:
    """Names, links, colours and mirror images of keypoints, as checkpoint or config state them; else names alone."""
    from mmpose.apis.inference import dataset_meta_from_config
    with DefaultScope.overwrite_default_scope('mmpose'):
        stated = [dataset_meta] if dataset_meta else [dataset_meta_from_config(cfg, mode) for mode in ('test', 'train')]
    for meta in stated:  # a model may be tested on fewer keypoints than it has
        if meta and meta.get('num_keypoints') == number:
            return dict(meta)
    colors = np.array(_plain_palette(number + 1)[1:], np.uint8)
    return dict(num_keypoints=number, keypoint_id2name={i: f'keypoint_{i}' for i in range(number)},
                keypoint_colors=colors, skeleton_links=[], skeleton_link_colors=np.zeros((0, 3), np.uint8))


def _classes(number: int, cfg: Config, dataset_meta: dict | None) -> dict:
    """Names, colours and mirror images of classes, as checkpoint or config state them; else ``class_0``, ..."""
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
    """Black for the background, and colours that are far apart."""
    hues = [i * .618034 % 1 for i in range(number - 1)]
    return (0, 0, 0), *(tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, .75, .95)) for hue in hues)


def _input_size(model: nn.Module, cfg: Config, codec: Any) -> tuple[int, int]:
    if codec is not None:
        return tuple(codec.input_size[::-1])
    pipeline = cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', [])
    sizes = [step['size'] for step in pipeline if 'size' in step]
    size = tuple(int(side) for side in (sizes or [model.backbone.img_size])[0])
    patch = getattr(model.backbone, 'patch_size', 1)
    if any(side % patch for side in size):
        raise ValueError(f'the test pipeline makes images of {size} (H, W), but a model is run on whole patches of '
                         f'{patch}: change the size there')
    return size

