"""Networks: from image batches to the raw outputs of a model's heads, and the metadata of its tasks."""
import copy
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn as nn
from mmengine.device import get_device
from torch import Tensor

from ..backbones import Sapiens2ViT, SapiensViT
from ..engine.fetch import sha256_of
from ..tasks import canonical_name
from ..utils.text import count, first_line

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


class SapiensNetwork(nn.Module):
    """A pose or dense estimator that normalizes RGB images of 0 to 255 and returns float32; ``bgr``: it takes BGR."""

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float], bgr: bool = False):
        super().__init__()
        self.model = model
        self.bgr = bgr
        self.dtype = torch.float32
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Runs RGB images (B, 3, H, W), 0 to 255 in any dtype, of the model's input size.

        Returns heatmaps, logits, depth or normals (of any length), (B, C, h, w) float32; a dict for several tasks.
        """
        return self.model(self._normalize(images), None, mode='tensor')

    @property
    def number_of_layers(self) -> int:
        """Number of blocks of a ``SapiensViT`` or ``Sapiens2ViT``; a ValueError for other backbones."""
        backbone = self.model.backbone
        if not isinstance(backbone, (SapiensViT, Sapiens2ViT)):
            raise ValueError(f'features: got the backbone {type(backbone).__name__}, expected SapiensViT or '
                             'Sapiens2ViT')
        return backbone.num_layers

    def features(self, images: Tensor, layers: Sequence[int] = (-1, )) -> list[Tensor]:
        """Returns the backbone's map (B, C, h, w) float32 of each layer, of images as in :meth:`forward`.

        ``layers`` are blocks from 0, or negative from the end.
        """
        places = [layer % self.number_of_layers for layer in layers]
        indices = sorted(set(places))
        # Contiguous, since the layout in memory changes the last bits.
        outputs = self.model.backbone.forward_blocks(self._normalize(images).contiguous(), indices)
        return [outputs[indices.index(place)].float() for place in places]

    def _normalize(self, images: Tensor) -> Tensor:
        images = images.flip(1) if self.bgr else images
        return ((images.float() - self.mean) / self.std).to(self.dtype)

    def cast(self, dtype: torch.dtype) -> 'SapiensNetwork':
        """Sets the dtype except in normalization and last layers: bfloat16 is too coarse to locate heatmap peaks."""
        self.dtype = dtype
        last = self.last_layers()
        weights = [copy.deepcopy(layer.state_dict()) for layer in last]  # casting back would not undo the rounding
        self.model.to(dtype)
        for layer, exact in zip(last, weights, strict=True):
            layer.float().load_state_dict(exact)
            layer.register_forward_pre_hook(_to_float32)
        return self

    def last_layers(self) -> list[nn.Module]:
        return [module for name, module in self.model.named_modules()
                if name.rpartition('.')[2] in ('final_layer', 'conv_seg')]


def _to_float32(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return tuple(arg.float() for arg in args)


@dataclass
class TaskModel:
    """A network and the meaning of its outputs.

    Attributes:
        tasks: Tasks of its outputs: one ``'pose-<keypoints>'``, or some of the dense tasks.
        input_size: (H, W) of its input in pixels.
        metainfo: Dict by task. For keypoints that of mmpose's ``parse_pose_metainfo`` (``keypoint_id2name``,
            ``skeleton_links``, ``flip_indices``, colors); for seg ``classes``, ``palette``, ``flip_indices``.
        network: From images to raw outputs: a :class:`SapiensNetwork`, or a function with its arguments and results.
        source, path: Path or address of the weights, and their local file.
        codec: Decoder of heatmaps, a ``SapiensUDPHeatmap``; None without keypoints.
        config: The model's config, None for ONNX.
        runtime: What runs it: ``'torch'``, ``'onnx'`` or ``'openvino'``.
        dtype: Of its computations.
        license: Of the weights, where it is known: that in the file, or of the release that it or its config names.
    """
    tasks: tuple[str, ...]
    input_size: tuple[int, int]
    metainfo: dict[str, dict]
    network: Callable[[Tensor], Tensor | dict[str, Tensor]]
    source: str
    path: str
    device: torch.device
    codec: Any = None
    config: dict | None = None
    runtime: str = 'torch'
    dtype: torch.dtype = torch.float32
    license: str | None = None

    @cached_property
    def sha256(self) -> str | None:
        stored = os.path.basename(os.path.realpath(self.path))
        if re.fullmatch('[0-9a-f]{64}', stored):  # the Hub's cache names large files by their hash
            return stored
        return sha256_of(self.path) if os.path.isfile(self.path) else None

    def keep(self, tasks: Sequence[str]) -> None:
        if len(self.tasks) > 1 and isinstance(self.network, SapiensNetwork):
            heads = self.config['model']['heads']
            for name in [name for name in heads if canonical_name(name) not in tasks]:
                del heads[name]
                del self.network.model.heads[canonical_name(name)]
        self.tasks = tuple(task for task in self.tasks if task in tasks)
        self.metainfo = {task: self.metainfo[task] for task in self.tasks}

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Returns raw outputs by task for images (B, 3, H, W) on the model's device."""
        outputs = self.network(images)
        return outputs if isinstance(outputs, dict) else {self.tasks[0]: outputs}


def choose_device(device: str | torch.device | None) -> torch.device:
    """Returns a working device by name; by default the GPU, else MPS, else the CPU."""
    try:
        chosen = torch.device(device or get_device())
    except RuntimeError as error:  # its message lists twenty kinds of devices
        raise ValueError(f"device: got '{device}', expected one such as cuda:0, mps or cpu; or omit it") from error
    try:
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: got '{device}' ({first_line(error)}), expected a working one such as cpu; or omit it"
                         ) from error
    return chosen


def choose_devices(names: Sequence[str] | None) -> list[str]:
    """Returns devices for one process each: ``['all']`` is every GPU; a ValueError for one that does not exist."""
    number = torch.cuda.device_count()
    if names and 'all' in names:
        if len(names) > 1 or not number:
            raise ValueError(f'devices: got {", ".join(names)} with {count(number, "GPU")}, expected all alone where '
                             'there is a GPU, or names such as cuda:0,cuda:1 or cpu,cpu')
        return [f'cuda:{index}' for index in range(number)]
    for name in names or ():
        if name.startswith('cuda:') and name[5:].isdecimal() and int(name[5:]) < number:
            continue  # the device is not touched, which would take memory of each
        try:
            choose_device(name)
        except ValueError as error:
            raise ValueError(str(error).replace('device', 'devices', 1)) from error
    return list(names or ())


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Returns a supported dtype by name (``'bf16'`` or ``'bfloat16'``); by default the device's fastest."""
    names = {**DTYPES, **{str(value).removeprefix('torch.'): value for value in DTYPES.values()}}
    chosen = fastest_dtype(device) if dtype is None else names.get(dtype, dtype)
    if chosen not in DTYPES.values():
        raise ValueError(f'dtype: got {dtype!r}, expected one of {", ".join(names)}')
    return chosen


def fastest_dtype(device: torch.device) -> torch.dtype:
    if device.type == 'cuda':
        fast = torch.cuda.get_device_capability(device) >= (8, 0)  # torch.cuda.is_bf16_supported counts emulation too
    elif device.type == 'cpu':
        fast = any(getattr(torch.cpu, name, bool)() for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32
