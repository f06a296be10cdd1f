"""Models run by OpenVINO on the CPU: conversion from PyTorch, cached on disk."""
import functools
import hashlib
import inspect
import json
import os
import sys
import threading
import warnings
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from ..engine.fetch import sha256_of
from ..utils.files import cache_folder, read_json, remove, replacing
from ..utils.text import first_line
from .network import SapiensNetwork, TaskModel

RUNTIMES = 'torch', 'openvino', 'auto'
#: Dtype -> OpenVINO's name of the precision.
PRECISIONS = {torch.float32: 'f32', torch.bfloat16: 'bf16'}
MODEL, WEIGHTS, SUMS = 'model.xml', 'model.bin', 'sha256.json'
#: Bytes of conversions in the cache folder; beyond, those unused the longest are removed.
MAX_CACHED = 20 * 2**30


class OpenvinoNetwork:
    """A converted model as a function of images (B, 3, H, W); several threads may call it.

    ``dtype`` is that of its computations: float32 where the CPU has no bfloat16.
    """

    def __init__(self, model, tasks: tuple[str, ...], dtype: torch.dtype):
        openvino = import_openvino()
        self.tasks = tasks
        # Threads on fixed cores would meet those of other processes there.
        self._compiled = _core().compile_model(model, 'CPU', {
            'INFERENCE_PRECISION_HINT': PRECISIONS[dtype], 'INFERENCE_NUM_THREADS': torch.get_num_threads(),
            'PERFORMANCE_HINT': 'LATENCY', 'ENABLE_CPU_PINNING': False})
        precision = self._compiled.get_property('INFERENCE_PRECISION_HINT')
        self.dtype = torch.bfloat16 if precision == openvino.Type.bf16 else torch.float32
        self._lock = threading.Lock()  # its request serves one call at a time

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        images = images.float().contiguous().numpy()
        with self._lock:
            outputs = self._compiled(images)
        return {task: torch.from_numpy(outputs[i]) for i, task in enumerate(self.tasks)}


class _Outputs(nn.Module):
    """A model whose outputs are a tuple, in the order of its tasks."""

    def __init__(self, model: TaskModel):
        super().__init__()
        self.network, self.model = model.network, model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(images)
        return tuple(outputs[task] for task in self.model.tasks)


def import_openvino():
    """Returns the module ``openvino``, without its package that reports its use to the vendor."""
    sys.modules.setdefault('openvino_telemetry', None)
    import openvino
    return openvino


@functools.cache
def _core():
    """Returns the process's only Core, which keeps OpenVINO's CPU plugin loaded.

    The plugin gives the thread that loads it a stack for signals, on CPUs with AMX. Unloaded by another thread, as by
    garbage collection, it would free that stack, and the next Ctrl-C would end the process.
    """
    return import_openvino().Core()


def choose_runtime(runtime: str, device: torch.device, dtype: torch.dtype, compile: bool = False) -> str:
    """Returns ``'torch'`` or ``'openvino'``; ``'auto'`` is OpenVINO where it is installed and supports the options.

    It times nothing, so that equal processes choose alike. Raises an ImportError without OpenVINO, and a ValueError for
    an unknown runtime, and for options that it does not support.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f'runtime: got {runtime!r}, expected one of {", ".join(RUNTIMES)}')
    if runtime == 'auto':
        try:
            return choose_runtime('openvino', device, dtype, compile)
        except (ImportError, ValueError):
            return 'torch'
    if runtime == 'openvino':
        if compile:
            raise ValueError('compile: got True with the runtime openvino, expected False')
        _check_openvino(device, dtype)
    return runtime


def _check_openvino(device: torch.device, dtype: torch.dtype) -> None:
    if device.type != 'cpu':
        raise ValueError(f'runtime: got openvino on {device}, expected torch; or set the device to cpu')
    if dtype not in PRECISIONS:
        raise ValueError(f'runtime: got openvino with {dtype}, expected float32 or bfloat16; set the dtype to fp32')
    try:
        import_openvino()
    except ModuleNotFoundError as error:
        raise ImportError(f"runtime openvino needs one more package ({error}): pip install 'sapiens_mm[openvino]'"
                          ) from error


def use_openvino(model: TaskModel, dtype: torch.dtype) -> None:
    """Makes OpenVINO run a model of PyTorch in float32, with computations in ``dtype``.

    Its conversion is read from the cache folder, where it is written the first time; it is made again if files there
    are damaged. Without a hash of the weights, and if the folder cannot be written, it is not cached.

    Raises a ValueError for an ONNX model.
    """
    if not isinstance(model.network, SapiensNetwork):
        raise ValueError(f'runtime: got openvino for {model.source}, expected a model in PyTorch; load its checkpoint, '
                         'or set the runtime to torch')
    key = _key(model)
    folder = None if key is None else cache_folder('openvino') / key
    converted = None if folder is None else _read(folder)
    if converted is None:
        converted = _convert(model)
        if folder is not None:
            _write(converted, folder)
    model.network = OpenvinoNetwork(converted, model.tasks, dtype)
    model.runtime, model.dtype = 'openvino', model.network.dtype


def _key(model: TaskModel) -> str | None:
    """Returns a hash of what determines the conversion (weights, config, code, versions), None if some is unknown."""
    openvino = import_openvino()
    network = model.network
    try:
        paths = {inspect.getsourcefile(type(module)) for module in network.modules()}
    except TypeError:  # of a class without a file
        return None
    if model.sha256 is None or None in paths:
        return None
    facts = [model.sha256, model.tasks, model.input_size, model.config, network.mean.flatten().tolist(),
             network.std.flatten().tolist(), network.bgr, torch.__version__, openvino.__version__]
    key = hashlib.sha256(json.dumps(facts, default=list).encode())
    for path in sorted(paths):
        key.update(Path(path).read_bytes())
    return key.hexdigest()[:32]


def _convert(model: TaskModel):
    openvino = import_openvino()
    example = torch.zeros(1, 3, *model.input_size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the tracer's, of sizes that are constants on purpose
        # OpenVINO's own tracing runs the model three times, which takes minutes for the large ones.
        traced = torch.jit.trace(_Outputs(model).eval(), example, strict=False, check_trace=False)
        return openvino.convert_model(traced, input=[(-1, 3, *model.input_size)])


def _read(folder: Path):
    """Returns a cached conversion, None if it is missing or damaged."""
    try:
        sums = read_json(folder / SUMS)
        if sums == {name: sha256_of(str(folder / name)) for name in (MODEL, WEIGHTS)}:
            os.utime(folder)  # states its last use
            return _core().read_model(folder / MODEL)
    except (OSError, RuntimeError, ValueError):  # OpenVINO's errors are RuntimeErrors
        pass
    return None


def _write(converted, folder: Path) -> None:
    openvino = import_openvino()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder, unique=True) as part:
            part = Path(part)
            part.mkdir()
            openvino.save_model(converted, part / MODEL, compress_to_fp16=False)
            sums = {name: sha256_of(str(part / name)) for name in (MODEL, WEIGHTS)}
            (part / SUMS).write_text(json.dumps(sums))
        _remove_unused(folder)
    except (OSError, RuntimeError) as error:
        if (folder / SUMS).exists():  # of another process
            return
        warnings.warn(f'{folder} cannot be written ({first_line(error)}); the next start converts the model again',
                      stacklevel=2)


def _remove_unused(newest: Path) -> None:
    """Keeps the newest conversion, and those used last as long as all have at most `MAX_CACHED` bytes."""
    total = _size(newest)
    others = [(path.stat().st_mtime, path) for path in newest.parent.iterdir() if path != newest]
    for _, path in sorted(others, reverse=True):
        total += _size(path)
        if total > MAX_CACHED:
            remove(path)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob('*'))
