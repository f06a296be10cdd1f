"""Start of a run from a config: launchers, CPU processes, host memory, resuming."""
import ctypes
import functools
import os
import platform
import subprocess

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils import digit_version

from .checkpoint import refuse_foreign_files
from .hooks.checkpoint import SapiensCheckpointHook
from .last_checkpoint import resume_latest

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def build_runner(cfg: Config, resume: bool = False) -> Runner:
    """Builds the config's runner (``runner_type``, by default :class:`mmengine.runner.Runner`).

    Without an accelerator, a distributed run uses gloo on the CPU, while MMEngine expects a GPU for each process.
    Besides, checkpoints run no code, ``last_checkpoint`` is replaced atomically, and a scaled learning rate counts
    accumulated batches.

    Args:
        cfg: Config of any task and host.
        resume: Resume from the newest complete checkpoint in the work dir, if any. So does a config with
            ``resume=True`` that names no checkpoint.

    Raises:
        RuntimeError: The launcher does not fit the machine.
        CheckpointError: The work dir has checkpoints, but none is complete.
    """
    refuse_foreign_files()
    if _recomputes(cfg.get('model')) and get_device() == 'cpu':
        return_freed_memory()
    leave_out_fused(cfg)
    launcher = cfg.get('launcher', 'none')
    if launcher == 'slurm':
        _name_process_as_slurm()
    if launcher != 'none':
        local_processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        if get_device() == 'cpu':
            _use_cpu_processes(cfg, local_processes)
        elif get_device() == 'cuda' and local_processes > torch.cuda.device_count():
            raise RuntimeError(f'processes: got {local_processes} on this machine, expected at most one for each '
                               f'of its {torch.cuda.device_count()} GPUs; start fewer')
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    for hook in getattr(runner, 'hooks', []):
        if type(hook) is CheckpointHook:
            hook.__class__ = SapiensCheckpointHook
    if resume or (cfg.get('resume') and not cfg.get('load_from')):
        resume_latest(runner)
    _count_accumulation(runner, cfg)
    return runner


@functools.cache
def return_freed_memory(threshold: int = 1 << 20) -> bool:
    """Makes glibc's malloc map blocks of ``threshold`` bytes or more one by one, in this process from now on.

    By default it raises that limit to 32 MB with the first tensors that are freed, and then takes activations,
    gradients and optimizer state from one heap, which fragments (see also
    https://sourceware.org/bugzilla/show_bug.cgi?id=14581 on aligned blocks, which torch requests). With glibc 2.36, a
    checkpointed training step of the 0.3b model at 1024x768 peaks at 8.7 GB when fragmented.

    Returns whether the limit was set. It is not with another libc, or if the environment sets it.
    """
    chosen = 'MALLOC_MMAP_THRESHOLD_' in os.environ or 'mmap_threshold' in os.environ.get('GLIBC_TUNABLES', '')
    if chosen or platform.libc_ver()[0] != 'glibc':
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, threshold))


def leave_out_fused(cfg: Config) -> None:
    """Removes ``fused`` from the config's optimizer on a CPU with torch before 2.4, which has none there."""
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if optimizer.get('fused') and get_device() == 'cpu' and digit_version(torch.__version__) < digit_version('2.4'):
        optimizer.pop('fused')


def _recomputes(cfg) -> bool:
    """Whether a part of a model's config has activation checkpointing."""
    return isinstance(cfg, dict) and (cfg.get('with_cp') is True or any(map(_recomputes, cfg.values())))


def _count_accumulation(runner: Runner, cfg: Config) -> None:
    """Scales the learning rate by the samples of an optimizer step; MMEngine counts those of a forward pass."""
    scaling, counts = cfg.get('auto_scale_lr'), (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if scaling and scaling.get('enable') and counts > 1:
        # Not in the config, since that is written to the work dir.
        per_batch = dict(scaling, base_batch_size=scaling.base_batch_size / counts)
        if hasattr(runner, 'strategy'):
            runner.strategy._auto_scale_lr = per_batch
        else:
            runner.auto_scale_lr = per_batch
        runner.logger.info(f'A step accumulates {counts} batches, so the base batch size of one forward pass is '
                           f'{scaling.base_batch_size} / {counts}')


def leave_process_group() -> None:
    """Ends a distributed run once all processes call it; does nothing in a single process."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _name_process_as_slurm() -> None:
    """Sets torch's environment variables from srun's, as MMEngine does on GPUs."""
    if 'SLURM_STEP_TASKS_PER_NODE' not in os.environ:
        raise RuntimeError("launcher: got 'slurm' without SLURM_STEP_TASKS_PER_NODE, expected processes of srun; start "
                           'them with tools/slurm_train.sh or tools/slurm_test.sh')
    counts = []
    for part in os.environ['SLURM_STEP_TASKS_PER_NODE'].split(','):  # '2(x3),1' is two on each of three nodes, then one
        count, _, nodes = part.rstrip(')').partition('(x')
        counts += [count] * int(nodes or 1)
    os.environ.update(
        RANK=os.environ['SLURM_PROCID'],
        WORLD_SIZE=os.environ['SLURM_NTASKS'],
        LOCAL_RANK=os.environ['SLURM_LOCALID'],
        LOCAL_WORLD_SIZE=counts[int(os.environ['SLURM_NODEID'])])
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        # MMEngine takes the first node of the whole job, on which this step need not run.
        nodes = os.environ['SLURM_STEP_NODELIST']
        try:
            hosts = subprocess.run(['scontrol', 'show', 'hostnames', nodes], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f'scontrol cannot list the nodes {nodes} ({error}); set MASTER_ADDR') from error
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]


def _use_cpu_processes(cfg: Config, local_processes: int) -> None:
    if cfg.launcher not in ('pytorch', 'slurm'):
        raise RuntimeError(f"launcher: got '{cfg.launcher}' on a machine without a GPU, expected pytorch "
                           '(tools/dist_train.sh) or slurm (tools/slurm_train.sh)')
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    share = max(1, cores // local_processes)
    if cfg.launcher == 'slurm' and 'SLURM_CPUS_PER_TASK' in os.environ:
        # Slurm may have bound each process to its own cores already.
        share = min(cores, int(os.environ['SLURM_CPUS_PER_TASK']))
    torch.set_num_threads(share)
    # `device_ids=None` keeps MMEngine from choosing a GPU; the rest are its defaults.
    defaults = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper = cfg.get('model_wrapper_cfg') or defaults
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
