#!/usr/bin/env bash
# Trains on GPUS devices of each node (without GPUs, in that number of CPU processes).
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT on each. PYTHON chooses the interpreter.
set -eu
if [ $# -lt 2 ] || ! [ "$2" -ge 1 ] 2>/dev/null; then
  echo "usage: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]" >&2
  exit 2
fi
config=$1 gpus=$2
shift 2

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
if [ "${NNODES:-1}" -eq 1 ] && [ -z "${MASTER_PORT:-}" ]; then
  # Each run gets a free port, and the machine's name is not looked up.
  rendezvous=(--standalone --local_addr 127.0.0.1)
else
  rendezvous=(--node_rank "${NODE_RANK:-0}" --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${MASTER_PORT:-29500}")
fi
exec "$python" -m torch.distributed.run --nnodes "${NNODES:-1}" --nproc_per_node "$gpus" "${rendezvous[@]}" \
  "$root/tools/train.py" "$config" --launcher pytorch "$@"
