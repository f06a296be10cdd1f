#!/usr/bin/env bash
# Tests under Slurm, one task per GPU (on nodes without GPUs, that number of CPU processes).
# Environment variables: GPUS in total (8), GPUS_PER_NODE (8 at most), CPUS_PER_TASK (8), MASTER_PORT (a random one),
# GRES (gpu:GPUS_PER_NODE; empty leaves --gres out, for nodes without GPUs), further SRUN_ARGS, and PYTHON.
set -eu
if [ $# -lt 4 ]; then
  echo "usage: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]" >&2
  exit 2
fi
partition=$1 job=$2 config=$3 checkpoint=$4
shift 4

root=$(cd "$(dirname "$0")/.." && pwd)
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
gres=${GRES-gpu:$per_node}
# Jobs that share a node must not share a port.
export MASTER_PORT=${MASTER_PORT:-$((20000 + RANDOM % 10000))}
# shellcheck disable=SC2086  (SRUN_ARGS is several words)
exec srun --partition="$partition" --job-name="$job" ${gres:+--gres="$gres"} --ntasks="$gpus" \
  --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
  "${PYTHON:-python}" -u "$root/tools/test.py" "$config" "$checkpoint" --launcher slurm "$@"
