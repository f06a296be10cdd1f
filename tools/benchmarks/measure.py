"""Seconds of functions that take turns, and peak memory of a process."""
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def take_turns(functions: list[Callable], rounds: int) -> list[float]:
    """Returns the fewest seconds of each function over some rounds, after a warm-up round."""
    seconds = [[] for _ in functions]
    for _ in range(rounds + 1):
        for function, out in zip(functions, seconds):
            synchronize()
            start = time.perf_counter()
            function()
            synchronize()
            out.append(time.perf_counter() - start)
    return [min(out[1:]) for out in seconds]


def synchronize() -> None:
    import torch  # here, as processes that measure their memory import it later
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> int:
    """Returns the peak resident memory of this process, on Linux since it was last cleared, in bytes."""
    status = Path('/proc/self/status')
    if status.exists():
        # `ru_maxrss` outlives exec on Linux: it would be that of the starting process if that is the larger one.
        line = next(line for line in status.read_text().splitlines() if line.startswith('VmHWM'))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
