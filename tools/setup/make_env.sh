#!/usr/bin/env bash
# Makes the virtual environment that the Makefile, the tests and the README use.
#
#   tools/setup/make_env.sh [PYTHON] [VENV] [TORCH]      (python3, .venv and 2.12.1 unless told)
#
# Safe to run again: a finished environment is recognised by its stamp within a fraction of a second, an interrupted one
# is continued. Every stage prints the seconds it took.
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
  die "torch $torch was never tried: there is no $pins; choose one that is there with TORCH=, or write that file"

stamp="$venv/.sapiens_mm"
# `hash` is of everything that decides what gets installed.
hash=$({ echo "$version $torch"; cat requirements/*.txt setup.py tools/setup/*; } | cksum)
[ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && exit 0

compiler=${CXX:-c++}
command -v "$compiler" >/dev/null 2>&1 ||
  die "no C++ compiler '$compiler' found, and mmcv's ops are built from source; install one (Debian: apt-get install g++) or set CXX="
"$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
  die "Python.h of $python is missing, and mmcv's ops need it; install the headers (Debian: apt-get install python$version-dev)"
if [ -x "$venv/bin/python" ]; then
  found=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo unusable)
  [ "$found" = "$version" ] ||
    die "$venv holds Python $found, but $python is $version; delete that folder, or choose another with VENV="
else
  mkdir -p "$(dirname "$venv")"
  free_gb=$(($(df -Pk "$(dirname "$venv")" | awk 'NR==2 {print $4}') / 1048576))
  [ "$free_gb" -ge "$need_gb" ] ||
    die "$free_gb GB free here, but torch, its CUDA libraries and mmcv, and the cache of the synthetic bodies, need $need_gb GB; free some, or choose a folder on another disk with VENV="
fi

stage() { # NAME COMMAND...: runs it, its output kept for the case that it fails
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
    die "stage '$name' failed (whole output: $log); mend what it says and run 'make env' again: it goes on from here"
  fi
}
pip="$venv/bin/python -m pip --disable-pip-version-check"

make_venv() { [ -x "$venv/bin/python" ] && $pip --version || "$python" -m venv "$venv"; }
build_mmcv() {
  local check='import mmcv._ext'
  "$venv/bin/python" -c "$check" && return
  "$venv/bin/python" tools/setup/build_mmcv.py && "$venv/bin/python" -c "$check" && return
  # pip's cache knows a built wheel by mmcv's version alone; one that was built against another torch does not import.
  $pip uninstall -y mmcv
  "$venv/bin/python" tools/setup/build_mmcv.py --no-cache-dir && "$venv/bin/python" -c "$check"
}

stage "virtual environment $venv (Python $version)" make_venv
stage "build tools and torch" $pip install -r requirements/build.txt -r "$pins"
stage "mmcv's compiled ops" build_mmcv
stage "OpenMMLab libraries" $pip install --no-build-isolation -r requirements/openmmlab.txt -c requirements/build.txt -c "$pins"
stage "sapiens_mm, its extras, test tools" $pip install --no-build-isolation -e . -r requirements/pretrain.txt -r requirements/synth.txt -r requirements/export.txt -r requirements/app.txt -r requirements/test.txt -c requirements/build.txt -c "$pins"
# Anny reads its bodies from a thousand text files once and caches them (1 GB in ~/.cache/anny).
stage "cache of the synthetic bodies" "$venv/bin/python" -c 'from sapiens_mm.synth.body import load_body; load_body()'
stage "check of the environment" $pip check
echo "$hash" >"$stamp"
