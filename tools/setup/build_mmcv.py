"""Builds and installs mmcv with its compiled ops, with torch's headers precompiled.

Run it with the interpreter of the virtual environment, after ``requirements/build.txt`` is installed. Each of mmcv's 77
C++ files parses torch's headers again, which takes nearly all of the build time; a precompiled header reduces it from
over ten minutes to under four on two cores. The header must be compiled with the flags of the build. If they differ (a
CUDA build, another compiler), the compiler ignores the header, and the build is only slower.

Usage: ``python tools/setup/build_mmcv.py [further pip options]``
"""
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def compiler_flags() -> list[str]:
    """Returns the flags with which torch's ``BuildExtension`` compiles a C++ file of mmcv's CPU build."""
    import torch
    from setuptools._distutils.ccompiler import new_compiler
    from setuptools._distutils.sysconfig import customize_compiler
    from torch.utils.cpp_extension import BuildExtension, include_paths
    compiler = new_compiler()
    customize_compiler(compiler)
    includes = [*include_paths(), sysconfig.get_paths()['include']]
    flags = [
        *compiler.compiler_so[1:], *(f'-I{path}' for path in includes), '-std=c++17', '-DTORCH_API_INCLUDE_EXTENSION_H',
        '-DTORCH_EXTENSION_NAME=_ext'
    ]
    if hasattr(BuildExtension, '_add_gnu_cpp_abi_flag'):  # older releases name the ABIs that torch was built with
        names = {name: getattr(torch._C, f'_PYBIND11_{name}') for name in ('COMPILER_TYPE', 'STDLIB', 'BUILD_ABI')}
        flags += [f'-DPYBIND11_{name}="{value}"' for name, value in names.items() if value is not None]
        flags.append(f'-D_GLIBCXX_USE_CXX11_ABI={torch._C._GLIBCXX_USE_CXX11_ABI:d}')
    return flags


def precompile(folder: Path) -> Path:
    """Precompiles torch's headers into ``folder`` and returns the header to include."""
    header = folder / 'pch.h'
    header.write_text('#include <torch/types.h>\n')
    compiler = shlex.split(os.environ.get('CXX', 'c++'))
    command = [*compiler, *compiler_flags(), '-x', 'c++-header', str(header), '-o', f'{header}.gch']
    if subprocess.run(command).returncode:
        print('torch\'s headers could not be precompiled; mmcv is built without that', file=sys.stderr)
    return header


def main() -> int:
    # Python's own flags request debug information, which is not needed and slows down the build.
    os.environ['CFLAGS'] = f'{os.environ.get("CFLAGS", "")} -g0'.strip()
    env = dict(os.environ, MMCV_WITH_OPS='1')
    env.setdefault('MAX_JOBS', str(os.cpu_count()))
    env['PATH'] = os.pathsep.join([str(Path(sys.executable).parent), env.get('PATH', '')])  # ninja lies there
    import torch
    from torch.utils.cpp_extension import CUDA_HOME
    if torch.cuda.is_available() and CUDA_HOME is None:
        print('No CUDA compiler (nvcc) found: mmcv\'s ops are built for the CPU only. Set CUDA_HOME for GPU ops.')
        env['CUDA_VISIBLE_DEVICES'] = ''
    with tempfile.TemporaryDirectory() as folder:
        header = precompile(Path(folder))
        env['CFLAGS'] += f' -include {header}'
        pip = [sys.executable, '-m', 'pip', 'install', '--no-build-isolation', *sys.argv[1:], 'mmcv']
        for name in ('build', 'openmmlab'):  # the pins
            pip += ['-c', str(ROOT / 'requirements' / f'{name}.txt')]
        return subprocess.run(pip, env=env).returncode


if __name__ == '__main__':
    sys.exit(main())
