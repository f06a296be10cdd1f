"""``sapiens-mm doctor``: checks of the environment with advice."""
import argparse
import importlib.util
import os
import platform
from collections.abc import Iterator

import torch

from ..engine.fetch import why_no_hub
from ..utils.text import count
from ..version import HOSTS, __version__, require
from .model_zoo import EMBEDDED, embedded_tasks
from .network import fastest_dtype

# package -> its use
_OPTIONAL = {'av': 'videos', 'gradio': 'sapiens-mm app', 'onnx': 'export to ONNX', 'onnxscript': 'export to ONNX',
             'onnxruntime': 'running .onnx files'}


def main(args: argparse.Namespace) -> int:
    failed = 0
    for name, result, advice in examine():
        print(f'{"wrong" if advice else "ok":5}  {name:22} {result}' + (f'\n       {advice}' if advice else ''))
        failed += bool(advice)
    print(f'{count(failed, "check")} failed' if failed else 'all checks passed')
    return int(failed > 0)


def examine() -> Iterator[tuple[str, str, str]]:
    """Yields the name of each check, its result, and advice, which is empty if nothing is wrong."""
    yield 'sapiens_mm', f'{__version__}, Python {platform.python_version()}, {platform.platform()}', ''
    for package, (_, _, tested, pip_name) in HOSTS.items():
        try:
            require(package)
            yield package, importlib.import_module(package).__version__, ''
        except Exception as error:  # a broken package may raise anything
            yield package, f'{type(error).__name__}: {str(error).splitlines()[0]}', f'pip install {pip_name}=={tested}'
    yield _ops()
    yield _numpy()
    yield _gpu()
    for package, use in _OPTIONAL.items():
        installed = importlib.util.find_spec(package) is not None
        yield package, 'installed' if installed else f'missing; only needed for {use} (pip install {package})', ''
    tasks = embedded_tasks()
    yield ('embedded model', ', '.join(tasks) if tasks else f'no weights in {EMBEDDED}',
           '' if tasks else 'reinstall the package, or use --size 0.3b and larger')
    reason = why_no_hub(timeout=3)
    # No advice: embedded and cached weights work offline.
    yield 'Hugging Face Hub', f'unreachable ({reason}); only cached weights work' if reason else 'reachable', ''


def _ops() -> tuple[str, str, str]:
    try:
        importlib.import_module('mmcv._ext')
    except Exception as error:
        return ('mmcv ops', f'{type(error).__name__}: {str(error).splitlines()[0]}',
                'mmcv was built for another torch, or without its ops: pip install --no-build-isolation --no-cache-dir '
                '--force-reinstall --no-deps mmcv==2.1.0')
    return 'mmcv ops', 'available', ''


def _numpy() -> tuple[str, str, str]:
    import numpy
    old = int(numpy.__version__.split('.')[0]) < 2
    return 'numpy', numpy.__version__, '' if old else "xtcocotools needs numpy 1: pip install 'numpy<2'"


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
            f'torch (CUDA {torch.version.cuda}) cannot use the NVIDIA GPU: update its driver, or check '
            'CUDA_VISIBLE_DEVICES' if broken else '')
