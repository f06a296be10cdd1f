"""``sapiens-mm export``: a model as a file that runs without this package, by ONNX Runtime or ``torch.export``.

docs/export.md says what goes in, what comes out, and how to do the rest in another language.
"""
import argparse
import json
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..engine.fetch import CheckpointError
from ..version import __version__, require_torch
from .models import DTYPES, TaskModel, load_model
from .onnx_model import INPUT, RAW_OUTPUTS, OnnxNetwork

SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
#: Largest difference from the original in units of the output's largest value, and of keypoints in pixels.
TOLERANCES = dict(fp32=(1e-4, 0.05), fp16=(0.02, 0.5), bf16=(0.1, 1.))
CHECKED_BATCHES = (1, 3)
#: The first that tells a model that it is being exported, and whose ONNX export takes an exported program.
OLDEST_TORCH = '2.7'


class ExportedModel(nn.Module):
    """A model whose outputs have names.

    Args:
        model: The model.
        with_decode: Whether they are keypoints, labels and so on instead of heatmaps and logits.
    """

    def __init__(self, model: TaskModel, with_decode: bool):
        super().__init__()
        self.network = model.network
        self.model = model
        self.with_decode = with_decode

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs by name of RGB images (B, 3, H, W), 0 to 255, float32, of the model's input size."""
        outputs = self.model(images)
        if self.with_decode:
            return decode(self.model, outputs)
        return {RAW_OUTPUTS[task.partition('-')[0]]: output for task, output in outputs.items()}


def decode(model: TaskModel, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is meant by a model's raw outputs (by task).

    Returns:
        Those that the model has of ``keypoints`` (B, K, 2) in pixels of the input, their ``scores`` (B, K), ``labels``
        (B, H, W) uint8, ``depth`` (B, 1, H, W) and unit ``normals`` (B, 3, H, W).
    """
    decoded = {}
    for task, output in outputs.items():
        if model.codec is not None:
            decoded['keypoints'], decoded['scores'] = model.codec.decode_heatmaps(output)
            continue
        output = F.interpolate(output, model.input_size, mode='bilinear', align_corners=False)
        if task == 'parts':
            decoded['labels'] = output.argmax(1).to(torch.uint8)
        elif task == 'depth':
            decoded['depth'] = output
        else:
            decoded['normals'] = F.normalize(output, dim=1)
    return decoded


def export_model(model: TaskModel, path: str | os.PathLike, format: str = 'onnx',
                 with_decode: bool = False) -> dict[str, tuple[float, float]]:
    """Writes a model to a file, if what that computes is what the model does.

    Args:
        model: On the CPU, as :func:`sapiens_mm.apis.models.load_model` gives it, in the dtype that is wanted.
        path: The file. ONNX models of more than 1.5 GB get another one beside it, ``<path>.data``.
        format: ``'onnx'`` or ``'torch-export'``.
        with_decode: See :class:`ExportedModel`.

    Returns:
        By output the largest difference that was found, and the one that is tolerated.

    Raises:
        ImportError: A package for ONNX is missing, or torch is too old.
        OSError: The file cannot be written.
        ValueError: The model is an ONNX file itself, or would be one in bfloat16.
        CheckpointError: The file cannot be run, or a difference is too large; then there is no file.
    """
    if not isinstance(model.network, nn.Module):
        raise ValueError(f'{model.source} is exported already')
    if format == 'onnx' and model.network.dtype == torch.bfloat16:
        raise ValueError('ONNX Runtime, which an ONNX file is compared by, has no bfloat16 convolutions on a CPU; take '
                         'fp16 or the format torch-export')
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f'{path} cannot be written: it must be a file in a folder that is there')
    if format == 'onnx':
        _require_onnx()
    require_torch(OLDEST_TORCH, 'sapiens-mm export')
    # Beside the file, to be moved in one step; made first, since it tells whether anything can be written there.
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as folder:
        part = Path(folder) / path.name
        exported = ExportedModel(model, with_decode).eval()
        batch = torch.export.Dim('batch')
        with torch.no_grad(), _quiet():
            program = torch.export.export(exported, (_images(model, 2), ), dynamic_shapes={INPUT: {0: batch}})
            model.network.eval()  # forgets what the backbone keeps: it was traced
        metadata = {name: json.dumps(value, default=_plain) for name, value in _metadata(model, with_decode).items()}
        if format == 'onnx':
            _write_onnx(program, part, metadata)
            run = OnnxNetwork(os.fspath(part), torch.device('cpu'))
        else:
            torch.export.save(program, part, extra_files={'metadata.json': json.dumps(metadata)})
            run = torch.export.load(part).module()
        differences = _compare(model, run, with_decode)
        wrong = [f'{name} by {found:.2g} (tolerated: {tolerated:g})'
                 for name, (found, tolerated) in differences.items() if not found <= tolerated]
        if wrong:
            raise CheckpointError(f'what was exported differs from {model.source} in {", ".join(wrong)}')
        del run  # which may have the files open
        for file in sorted(Path(folder).iterdir(), reverse=True):  # the data first
            os.replace(file, path.with_name(file.name))
    return differences


def _require_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f"ONNX needs more packages ({error}): pip install 'sapiens_mm[export]'") from error


@contextmanager
def _quiet():
    """Without warnings: those of exports are torch's about torch."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def _write_onnx(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    names = program.call_spec.out_spec.context  # the keys of the outputs
    with _quiet():
        onnx_program = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=list(names),
                                         verbose=False)
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(path)


def _metadata(model: TaskModel, with_decode: bool) -> dict:
    network, codec = model.network, model.codec
    order = [2, 1, 0] if network.bgr else [0, 1, 2]  # of the images
    return dict(
        tasks=model.tasks,
        input_size=model.input_size,
        with_decode=with_decode,
        mean=network.mean.flatten()[order],
        std=network.std.flatten()[order],
        dtype=_dtype_name(model),
        metainfo=model.metainfo,
        codec=codec and {name: getattr(codec, name)
                         for name in ('input_size', 'heatmap_size', 'sigma', 'blur_kernel_size')},
        weights=os.path.basename(model.path),
        weights_sha256=model.sha256,
        versions=dict(sapiens_mm=__version__, torch=torch.__version__))


def _plain(value) -> list:
    return value.tolist() if hasattr(value, 'tolist') else list(value)


def _dtype_name(model: TaskModel) -> str:
    return next(name for name, dtype in DTYPES.items() if dtype == model.network.dtype)


def _images(model: TaskModel, number: int) -> Tensor:
    """Coarse and fine noise (B, 3, H, W), 0 to 255."""
    random = torch.Generator().manual_seed(number)
    height, width = model.input_size
    noise = [torch.rand(number, 3, height // cell, width // cell, generator=random) for cell in (1, 16)]
    return sum(F.interpolate(part, (height, width)) for part in noise) * 127.5


@torch.no_grad()
def _compare(model: TaskModel, run: Callable, with_decode: bool) -> dict[str, tuple[float, float]]:
    """By output the largest difference between a file and its model, and the one that is tolerated."""
    tolerance, pixels = TOLERANCES[_dtype_name(model)]
    differences = {}
    for number in CHECKED_BATCHES:
        images = _images(model, number)
        found, raw = run(images), model(images)
        wanted = decode(model, raw) if with_decode else ExportedModel(model, False)(images)
        if {name: tensor.shape for name, tensor in found.items()} != {
                name: tensor.shape for name, tensor in wanted.items()}:
            raise CheckpointError(f'what was exported has other outputs than {model.source} for a batch of {number}')
        for name, output in wanted.items():
            difference, tolerated = (found[name].float() - output.float()).abs(), tolerance
            if name == 'keypoints':
                # Where heatmaps that differ as much as they may have their peak elsewhere, nothing can be said.
                heatmaps = raw[model.tasks[0]]
                noise = torch.rand(heatmaps.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
                other = model.codec.decode_heatmaps(heatmaps + noise * tolerance * heatmaps.abs().max())[0]
                difference, tolerated = difference[(other - output).norm(dim=-1) < pixels], pixels
            elif name == 'labels':
                # By how much the logit of another class is lower.
                logits = F.interpolate(raw['parts'], model.input_size, mode='bilinear', align_corners=False)
                difference = logits.amax(1) - logits.gather(1, found[name][:, None].long()).squeeze(1)
                difference, tolerated = difference / logits.abs().max(), 2 * tolerance
            elif name == 'normals' and with_decode:
                # Short vectors have no certain direction.
                length = F.interpolate(raw['normal'], model.input_size, mode='bilinear').norm(dim=1, keepdim=True)
                difference = difference * length / length.max()
            else:
                difference = difference / output.abs().max()
            worst = difference.max().item() if difference.numel() else 0.
            before = differences.get(name, (0., ))[0]
            differences[name] = (worst if math.isnan(worst) else max(before, worst)), tolerated  # NaN stays
    return differences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``sapiens-mm export``."""
    parser.add_argument('config', nargs='?', help='config of the model; needless where the checkpoint says what it is: '
                        'of a training, the embedded ones')
    parser.add_argument('checkpoint', help='its weights: a path, http(s):// or hf://')
    parser.add_argument('--format', choices=tuple(SUFFIXES), default='onnx')
    parser.add_argument('--dtype', choices=tuple(DTYPES), default='fp32', help='what it computes in')
    parser.add_argument('--with-decode', action='store_true', help='put out keypoints, labels, depth and unit normals '
                        'at the size of the input instead of heatmaps, logits and so on')
    parser.add_argument('--out', help='the file; by default named like the checkpoint, in this folder')


def main(args: argparse.Namespace) -> int:
    """Exports; returns 0, 1 if the result differs from the model or cannot be run, or 2 for wrong arguments."""
    try:
        model = load_model(args.checkpoint, args.config, dtype=DTYPES[args.dtype])
        path = args.out or Path(args.checkpoint).stem + SUFFIXES[args.format]
    except (CheckpointError, ImportError, OSError, ValueError) as error:
        print(f'sapiens-mm: {error}', file=sys.stderr)
        return 2
    try:
        differences = export_model(model, path, args.format, args.with_decode)
    except (ImportError, OSError, ValueError, CheckpointError) as error:
        print(f'sapiens-mm: {error}', file=sys.stderr)
        return 1 if isinstance(error, CheckpointError) else 2
    for name, (found, tolerated) in differences.items():
        unit = 'pixels' if name == 'keypoints' else 'of the largest value'
        print(f'{name}: {found:.2g} {unit} from the original at most (tolerated: {tolerated:g})')
    print(f'wrote {path}')
    return 0
