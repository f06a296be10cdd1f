"""``sapiens-mm export``: models as ONNX or ``torch.export`` files that run without this package.

docs/export.md describes inputs, outputs, and pre- and postprocessing in another language.
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

from ..engine.checkpoint import CheckpointError
from ..tasks import get_task
from ..utils.text import with_option
from ..version import __version__, require_torch
from .models import load_model
from .network import DTYPES, TaskModel
from .onnx_model import INPUT, OnnxNetwork

SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
#: Dtype -> largest difference from the original relative to the output's largest value, and of keypoints in pixels.
TOLERANCES = dict(fp32=(1e-4, 0.05), fp16=(0.02, 0.5), bf16=(0.1, 1.))
CHECKED_BATCHES = (1, 3)
#: The first torch whose models know that they are exported, and whose ONNX export accepts an exported program.
OLDEST_TORCH = '2.7'


class ExportedModel(nn.Module):
    """A model with named outputs; ``with_decode``: keypoints instead of heatmaps and labels instead of logits."""

    def __init__(self, model: TaskModel, with_decode: bool):
        super().__init__()
        self.network = model.network
        self.model = model
        self.with_decode = with_decode

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns outputs by name for RGB images (B, 3, H, W) float32, 0 to 255, of the model's input size."""
        outputs = self.model(images)
        if self.with_decode:
            return decode(self.model, outputs)
        return {get_task(task).raw_output: output for task, output in outputs.items()}


def decode(model: TaskModel, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Decodes raw outputs by task, at the size of the input (H, W).

    Returns by name ``keypoints`` (B, K, 2) in pixels of the input and their ``scores`` (B, K); ``labels`` and
    ``foreground`` (B, H, W) uint8; ``depth`` (B, 1, H, W); unit ``normals`` (B, 3, H, W).
    """
    decoded = {}
    for name, output in outputs.items():
        task = get_task(name)
        if task.kind == 'keypoints':
            decoded[task.decoded_output], decoded['scores'] = model.codec.decode_heatmaps(output)
            continue
        output = F.interpolate(output, model.input_size, mode='bilinear', align_corners=False)
        if task.is_integer:
            output = output.argmax(1).to(torch.uint8)
        elif task.kind == 'vectors':
            output = F.normalize(output, dim=1)
        decoded[task.decoded_output] = output
    return decoded


def export_model(model: TaskModel, path: str | os.PathLike, format: str = 'onnx',
                 with_decode: bool = False) -> dict[str, tuple[float, float]]:
    """Writes a model to a file whose outputs equal the model's; returns the largest and the tolerated error by output.

    Args:
        model: A model on the CPU, of the exported dtype; see :func:`sapiens_mm.apis.models.load_model`.
        path: The file. ONNX models of more than 1.5 GB get a second one, ``<path>.data``.
        format: ``'onnx'`` or ``'torch-export'``.
        with_decode: See :class:`ExportedModel`.

    Raises:
        ImportError: A package for ONNX is missing, or torch is too old.
        OSError: The file cannot be written.
        ValueError: The model is an ONNX file, or a bfloat16 model is exported to ONNX.
        CheckpointError: The exported model cannot be run, or a difference is too large; no file is written.
    """
    if not isinstance(model.network, nn.Module):
        raise ValueError(f'{model.source} is exported already; export its checkpoint')
    if format == 'onnx' and model.network.dtype == torch.bfloat16:
        raise ValueError('dtype: got bf16 for ONNX, expected fp32 or fp16, as ONNX Runtime has no bfloat16 '
                         'convolutions on CPUs; or use the format torch-export')
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f'{path} cannot be written: expected a file in an existing folder')
    if format == 'onnx':
        _require_onnx()
    require_torch(OLDEST_TORCH, 'sapiens-mm export')
    # Made first, as it fails in a read-only folder.
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as folder:
        part = Path(folder) / path.name
        exported = ExportedModel(model, with_decode).eval()
        batch = torch.export.Dim('batch')
        with torch.no_grad(), _no_warnings():
            program = torch.export.export(exported, (_images(model, 2), ), dynamic_shapes={INPUT: {0: batch}})
            model.network.eval()  # clears the backbone's traced caches
        metadata = {name: json.dumps(value, default=_to_list) for name, value in _metadata(model, with_decode).items()}
        if format == 'onnx':
            _write_onnx(program, part, metadata)
            run = OnnxNetwork(os.fspath(part), torch.device('cpu'))
        else:
            torch.export.save(program, part, extra_files={'metadata.json': json.dumps(metadata)})
            run = torch.export.load(part).module()
        differences = _compare(model, run, with_decode)
        wrong = [f'{name} by {difference:.2g} (tolerated: {tolerated:g})'
                 for name, (difference, tolerated) in differences.items() if not difference <= tolerated]
        if wrong:
            raise CheckpointError(f'the exported model differs from {model.source} in {", ".join(wrong)}')
        del run  # may hold the files open
        for file in sorted(Path(folder).iterdir(), reverse=True):  # the data first
            os.replace(file, path.with_name(file.name))
    return differences


def _require_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f"export to ONNX needs more packages ({error}): pip install 'sapiens_mm[export]'") from error


@contextmanager
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def _write_onnx(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    names = program.call_spec.out_spec.context  # keys of the outputs
    with _no_warnings():
        onnx_program = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=list(names),
                                         verbose=False)
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(path)


def _metadata(model: TaskModel, with_decode: bool) -> dict:
    network, codec = model.network, model.codec
    order = [2, 1, 0] if network.bgr else [0, 1, 2]  # RGB
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
        license=model.license,
        versions=dict(sapiens_mm=__version__, torch=torch.__version__))


def _to_list(value) -> list:
    return value.tolist() if hasattr(value, 'tolist') else list(value)


def _dtype_name(model: TaskModel) -> str:
    return next(name for name, dtype in DTYPES.items() if dtype == model.network.dtype)


def _images(model: TaskModel, number: int) -> Tensor:
    """Returns coarse and fine noise (B, 3, H, W), 0 to 255."""
    random = torch.Generator().manual_seed(number)
    height, width = model.input_size
    noise = [torch.rand(number, 3, height // cell, width // cell, generator=random) for cell in (1, 16)]
    return sum(F.interpolate(part, (height, width)) for part in noise) * 127.5


@torch.no_grad()
def _compare(model: TaskModel, run: Callable, with_decode: bool) -> dict[str, tuple[float, float]]:
    differences = {}
    for number in CHECKED_BATCHES:
        images = _images(model, number)
        actual, raw = run(images), model(images)
        expected = decode(model, raw) if with_decode else {
            get_task(task).raw_output: output for task, output in raw.items()}
        if {name: tensor.shape for name, tensor in actual.items()} != {
                name: tensor.shape for name, tensor in expected.items()}:
            raise CheckpointError(f'the exported model has other outputs than {model.source} for a batch of {number}')
        decoded = {get_task(task).decoded_output: output for task, output in raw.items()} if with_decode else {}
        for name, output in expected.items():
            difference, tolerated = _difference(model, name, actual[name], output, decoded.get(name))
            worst = difference.max().item() if difference.numel() else 0.
            before = differences.get(name, (0., ))[0]
            differences[name] = (worst if math.isnan(worst) else max(before, worst)), tolerated  # NaN stays
    return differences


def _difference(model: TaskModel, name: str, actual: Tensor, expected: Tensor, raw: Tensor | None
                ) -> tuple[Tensor, float]:
    """Returns the differences of an output and the tolerance; ``raw`` is the output before decoding, if any."""
    tolerance, pixels = TOLERANCES[_dtype_name(model)]
    difference = (actual.float() - expected.float()).abs()
    if raw is not None and name == 'keypoints':
        # Excludes keypoints whose peak moves if heatmaps differ as much as they may.
        noise = torch.rand(raw.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        other = model.codec.decode_heatmaps(raw + noise * tolerance * raw.abs().max())[0]
        return difference[(other - expected).norm(dim=-1) < pixels], pixels
    if raw is not None and name == 'labels':
        # The margin by which the logit of another class is lower.
        logits = F.interpolate(raw, model.input_size, mode='bilinear', align_corners=False)
        difference = logits.amax(1) - logits.gather(1, actual[:, None].long()).squeeze(1)
        return difference / logits.abs().max(), 2 * tolerance
    if raw is not None and name == 'normals':
        # Short vectors have an uncertain direction.
        length = F.interpolate(raw, model.input_size, mode='bilinear').norm(dim=1, keepdim=True)
        return difference * length / length.max(), tolerance
    return difference / expected.abs().max(), tolerance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', nargs='?', help='config of the model; omit it if the checkpoint contains it, as '
                        'those of trainings and the embedded ones do')
    parser.add_argument('checkpoint', help='its weights: a path, http(s):// or hf://')
    parser.add_argument('--format', choices=tuple(SUFFIXES), default='onnx', help='(%(default)s)')
    parser.add_argument('--dtype', choices=tuple(DTYPES), default='fp32', help='dtype of computations (%(default)s)')
    parser.add_argument('--with-decode', action='store_true', help='export keypoints, labels, depth and unit normals '
                        'at the size of the input instead of heatmaps and logits')
    parser.add_argument('--out', help='the file; by default named like the checkpoint, in the current folder')


def main(args: argparse.Namespace) -> int:
    """Exports a model; returns 0, 1 if the file differs from it or cannot be run, or 2 for wrong arguments."""
    try:
        model = load_model(args.checkpoint, args.config, dtype=DTYPES[args.dtype])
        path = args.out or Path(args.checkpoint).stem + SUFFIXES[args.format]
    except (CheckpointError, ImportError, OSError, ValueError) as error:
        print(f'sapiens-mm: {error}', file=sys.stderr)
        return 2
    try:
        differences = export_model(model, path, args.format, args.with_decode)
    except (ImportError, OSError, ValueError, CheckpointError) as error:
        print(f'sapiens-mm: {with_option(error, ("dtype", ))}', file=sys.stderr)
        return 1 if isinstance(error, CheckpointError) else 2
    for name, (difference, tolerated) in differences.items():
        unit = 'pixels' if name == 'keypoints' else 'of the largest value'
        print(f'{name}: differs from the original by at most {difference:.2g} {unit} (tolerated: {tolerated:g})')
    print(f'wrote {path}')
    return 0
