"""Starting a run from a config, with or without GPUs, in one process or several."""
import os

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner


def build_runner(cfg: Config) -> Runner:
    """Builds the config's runner (``runner_type``, by default :class:`mmengine.runner.Runner`).

    Where there is no accelerator, a distributed run goes over gloo on the CPU: MMEngine's own start assumes a GPU for
    each process.
    """
    if cfg.get('launcher', 'none') != 'none':
        local_processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        if get_device() == 'cpu':
            _use_cpu_processes(cfg, local_processes)
        elif get_device() == 'cuda' and local_processes > torch.cuda.device_count():
            raise RuntimeError(f'{local_processes} processes are started here, but there are only '
                               f'{torch.cuda.device_count()} GPUs: start one for each at most')
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def leave_process_group() -> None:
    """Ends a distributed run in good order; call it once all processes are done. Does nothing in a lone process."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _use_cpu_processes(cfg: Config, local_processes: int) -> None:
    if cfg.launcher != 'pytorch':
        raise RuntimeError(f"launcher is '{cfg.launcher}', but this machine has no GPU, where processes are started "
                           'with --launcher pytorch only (tools/dist_train.sh does so)')
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // local_processes))
    # A given `device_ids` keeps MMEngine from naming GPUs; the rest are its own defaults.
    defaults = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper = cfg.get('model_wrapper_cfg') or defaults
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
