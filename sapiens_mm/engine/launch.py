"""Starting a run from a config, with or without GPUs, in one process or several."""
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

    Where there is no accelerator, a distributed run goes over gloo on the CPU: MMEngine's own start assumes a GPU for
    each process. Besides, checkpoints run no code, the pointer to the last one is written whole,
    and a scaled learning rate counts accumulated batches.

    Args:
        cfg: Of any task and host.
        resume: Go on from the newest whole checkpoint in the work dir, where there is one. So does a config with
            ``resume=True`` that names no checkpoint.

    Raises:
        RuntimeError: The launcher does not fit the machine.
        CheckpointError: There are checkpoints to resume from, but none is whole.
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
            raise RuntimeError(f'{local_processes} processes are started here, but there are only '
                               f'{torch.cuda.device_count()} GPUs: start one for each at most')
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
    """Makes glibc's malloc map blocks from ``threshold`` bytes on one by one, for the rest of this process.

    By itself it raises that limit to 32 MB with the first tensors that are freed, and from then on takes activations,
    gradients and optimizer state from one heap, which fills with holes (see also
    https://sourceware.org/bugzilla/show_bug.cgi?id=14581 on aligned blocks, which torch asks for). Measured with glibc
    2.36, a checkpointed training step of the 0.3b model at 1024x768 peaks at 8.7 GB with those holes.

    Does nothing where there is another libc, or where the environment already sets the limit.

    Returns:
        Whether the limit was set.
    """
    chosen = 'MALLOC_MMAP_THRESHOLD_' in os.environ or 'mmap_threshold' in os.environ.get('GLIBC_TUNABLES', '')
    if chosen or platform.libc_ver()[0] != 'glibc':
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, threshold))


def leave_out_fused(cfg: Config) -> None:
    """Takes ``fused`` from the config's optimizer where torch has that for accelerators only: on a CPU before 2.4."""
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if optimizer.get('fused') and get_device() == 'cpu' and digit_version(torch.__version__) < digit_version('2.4'):
        optimizer.pop('fused')


def _recomputes(cfg) -> bool:
    """Whether a part of a model's config has activation checkpointing."""
    return isinstance(cfg, dict) and (cfg.get('with_cp') is True or any(map(_recomputes, cfg.values())))


def _count_accumulation(runner: Runner, cfg: Config) -> None:
    """Makes the learning rate scale with the samples of an optimizer step: MMEngine counts those of a forward pass."""
    scaling, counts = cfg.get('auto_scale_lr'), (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if scaling and scaling.get('enable') and counts > 1:
        # Not in the config, which is written to the work dir.
        per_batch = dict(scaling, base_batch_size=scaling.base_batch_size / counts)
        if hasattr(runner, 'strategy'):
            runner.strategy._auto_scale_lr = per_batch
        else:
            runner.auto_scale_lr = per_batch
        runner.logger.info(f'A step adds up {counts} batches (accumulative_counts): of the base batch size '
                           f'{scaling.base_batch_size}, 1 / {counts} is for each.')


def leave_process_group() -> None:
    """Ends a distributed run in good order; call it once all processes are done. Does nothing in a lone process."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _name_process_as_slurm() -> None:
    """Sets what torch reads from the environment to what srun set, as MMEngine's own start on GPUs does after us."""
    if 'SLURM_STEP_TASKS_PER_NODE' not in os.environ:
        raise RuntimeError("launcher is 'slurm', but SLURM_STEP_TASKS_PER_NODE is not set: srun starts the processes "
                           '(tools/slurm_train.sh and tools/slurm_test.sh call it)')
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
        # MMEngine would take the first node of the whole job, on which nothing of this step need run.
        nodes = os.environ['SLURM_STEP_NODELIST']
        try:
            hosts = subprocess.run(['scontrol', 'show', 'hostnames', nodes], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f'scontrol does not tell the first of {nodes} ({error}): set MASTER_ADDR') from error
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]


def _use_cpu_processes(cfg: Config, local_processes: int) -> None:
    if cfg.launcher not in ('pytorch', 'slurm'):
        raise RuntimeError(f"launcher is '{cfg.launcher}', but this machine has no GPU, where processes are started "
                           'with --launcher pytorch (tools/dist_train.sh) or slurm (tools/slurm_train.sh) only')
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    share = max(1, cores // local_processes)
    if cfg.launcher == 'slurm' and 'SLURM_CPUS_PER_TASK' in os.environ:
        # Slurm may have bound each process to cores of its own, which then are not to be divided.
        share = min(cores, int(os.environ['SLURM_CPUS_PER_TASK']))
    torch.set_num_threads(share)
    # A given `device_ids` keeps MMEngine from naming GPUs; the rest are its own defaults.
    defaults = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper = cfg.get('model_wrapper_cfg') or defaults
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
