"""What of an environment works, and what to do about the rest."""
import importlib.util
import os
import platform
from collections.abc import Iterator

import torch

from ..engine.fetch import why_no_hub
from ..version import HOSTS, __version__, require
from .models import EMBEDDED, embedded_tasks, fastest_dtype

# package -> what for.
_OPTIONAL = {'av': 'videos', 'gradio': 'sapiens-mm app', 'onnx': 'export to ONNX', 'onnxscript': 'export to ONNX',
             'onnxruntime': 'running .onnx files'}


def examine() -> Iterator[tuple[str, str, str]]:
    """Looks at one thing after the other.

    Yields:
        What was looked at, what was found, and what to do about it; the latter is empty where nothing is wrong.
    """
    yield 'sapiens_mm', f'{__version__}, Python {platform.python_version()}, {platform.platform()}', ''
    for package, (_, _, tested, pip_name) in HOSTS.items():
        try:
            require(package)
            yield package, importlib.import_module(package).__version__, ''
        except Exception as error:  # whatever a broken package raises on import is what is asked for
            yield package, f'{type(error).__name__}: {str(error).splitlines()[0]}', f'pip install {pip_name}=={tested}'
    yield _ops()
    yield _numpy()
    yield _gpu()
    for package, use in _OPTIONAL.items():
        there = importlib.util.find_spec(package) is not None
        yield package, 'there' if there else f'not there; only needed for {use} (pip install {package})', ''
    tasks = embedded_tasks()
    yield ('embedded model', ', '.join(tasks) if tasks else f'no weights in {EMBEDDED}',
           '' if tasks else 'install the package again, or take --size 0.3b and larger')
    reason = why_no_hub(timeout=3)
    # What comes with the package works without it.
    yield 'Hugging Face Hub', f'not reached ({reason}): only weights in the cache' if reason else 'reached', ''


def _ops() -> tuple[str, str, str]:
    try:
        importlib.import_module('mmcv._ext')
    except Exception as error:
        return ('mmcv ops', f'{type(error).__name__}: {str(error).splitlines()[0]}',
                'mmcv was built for another torch, or without its ops: pip install --no-build-isolation --no-cache-dir '
                '--force-reinstall --no-deps mmcv==2.1.0')
    return 'mmcv ops', 'there', ''


def _numpy() -> tuple[str, str, str]:
    import numpy
    old = int(numpy.__version__.split('.')[0]) < 2
    return 'numpy', numpy.__version__, '' if old else "xtcocotools is built for numpy 1: pip install 'numpy<2'"


def _gpu() -> tuple[str, str, str]:
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        device, name = torch.device('cuda'), f'{torch.cuda.get_device_name(0)}, {memory:.0f} GiB'
    elif torch.backends.mps.is_available():
        device, name = torch.device('mps'), 'MPS'
    else:
        device, name = torch.device('cpu'), f'CPU, {os.cpu_count()} cores'
    broken = torch.version.cuda is not None and os.path.exists('/dev/nvidia0') and not torch.cuda.is_available()
    return ('device', f'{name}; computes in {str(fastest_dtype(device)).removeprefix("torch.")}',
            f'there is an NVIDIA GPU that torch (CUDA {torch.version.cuda}) does not find: its driver is too old, or '
            'CUDA_VISIBLE_DEVICES hides it' if broken else '')
