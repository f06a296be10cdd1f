"""Execution of a function on independent items: shards of an array job, local processes, a Ray cluster.

Every runner calls ``make``, a picklable function that returns the function, once in each worker, so that a model is
loaded once.
"""
import contextlib
import logging
import os
import pickle
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

Make = Callable[[], Callable[[Any], Any]]
_END = object()

_make, _function = None, None  # of a worker process
_THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')


def parse_shard(text: str) -> tuple[int, int]:
    """Parses ``'I/N'``, shard I of the N of an array job; a ValueError unless 0 <= I < N."""
    try:
        index, count = map(int, text.split('/'))
    except ValueError:
        raise ValueError(f"got '{text}', expected two numbers such as 0/4") from None
    if not 0 <= index < count:
        raise ValueError(f'got {text}, expected I/N with 0 <= I < N')
    return index, count


def run_in_processes(make: Make | Sequence[Make], items: Iterable, workers: int = 1, threads: int = 1,
                     died: Callable[[Any], Any] | None = None) -> Iterator[Any]:
    """Applies a function to picklable items in at most ``workers`` new processes.

    The processes are spawned, ignore Ctrl-C and end with this process. Yields results in the order of completion.
    Raises the errors of the function, or a ChildProcessError if a worker died twice on an item.

    Args:
        make: That of all workers, or a list with one for each, instead of ``workers``.
        threads: Number of threads of a process.
        died: Returns the result of an item on which a worker died; by default a new worker repeats it once.
    """
    makes = [make] * workers if callable(make) else list(make)
    waiting, returned = iter(items), deque()
    pools: list[ProcessPoolExecutor | None] = [None] * len(makes)  # one for each worker, to know whose item is lost
    running: dict[Future, tuple[int, Any, bool]] = {}
    theirs, mine = get_context('spawn').Pipe(duplex=False)

    def lose(worker: int, item: Any, again: bool) -> Any:
        pools[worker].shutdown()
        pools[worker] = None
        if died is not None:
            return died(item)
        if again:
            raise ChildProcessError('a worker process died, perhaps for lack of memory; use fewer workers')
        returned.append((item, True))
        return _END

    def submit(worker: int) -> None:
        item, again = returned.popleft() if returned else (next(waiting, _END), False)
        if item is _END:
            return
        with _environment(dict.fromkeys(_THREADS, str(threads))), _interrupts_ignored():  # both are inherited
            if pools[worker] is None:
                pools[worker] = ProcessPoolExecutor(1, get_context('spawn'), _start, (makes[worker], theirs))
            running[pools[worker].submit(_apply, item)] = worker, item, again

    try:
        for worker in range(len(makes)):
            submit(worker)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                worker, item, again = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    result = lose(worker, item, again)
                submit(worker)
                if result is not _END:
                    yield result
    finally:
        for pool in pools:
            if pool is not None:
                pool.shutdown()
        mine.close()
        theirs.close()


def run_on_ray(make: Make, items: Sequence, address: str = 'local', workers: int = 1,
               num_gpus: float = 0) -> Iterator[Any]:
    """Applies a function to picklable items on a Ray cluster, and repeats an item whose machine is lost.

    ``address`` is for :func:`ray.init`: ``'local'`` starts a cluster on this machine, ``'auto'`` finds a running one.
    Each worker takes one core and ``num_gpus`` GPUs; .5 lets two share one. Yields results in the order of completion.

    Raises an ImportError without Ray, a RuntimeError if the cluster cannot be reached or a worker fails.
    """
    if not items:
        return
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"running on Ray needs the optional extra ray ({error}): pip install 'sapiens_mm[ray]'"
                          ) from error
    try:
        _check_reachable(address)
        local = dict(include_dashboard=False, num_cpus=max(workers, os.cpu_count())) if address == 'local' else {}
        ray.init(address, log_to_driver=False, logging_level='error', **local)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger('ray.data').setLevel(logging.ERROR)  # hides the execution plan
        # A block is the unit of scheduling and of repetition.
        results = ray.data.from_items([pickle.dumps(item) for item in items], override_num_blocks=len(items)).map(
            _RayWorker, fn_constructor_args=(make, ), num_gpus=num_gpus or None, num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))))
        for row in results.iter_rows():
            yield pickle.loads(row['result'])
    except (ray.exceptions.RayError, ConnectionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise RuntimeError(f'Ray ({address}): {lines[-1]}') from error
    finally:
        ray.shutdown()


def _start(make: Make, parent: Connection) -> None:
    global _make
    threading.Thread(target=_exit_with, args=(parent, ), daemon=True).start()
    _make = make


def _exit_with(parent: Connection) -> None:
    """Ends this process when the other end of the pipe is closed, also if the parent is killed."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os._exit(1)


def _apply(item):
    global _function
    if _function is None:  # not at the start of the process, where an error would look like its death
        _function = _make()
    return _function(item)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python sets signal handlers there only
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _RayWorker:
    def __init__(self, make: Make):
        self._function = make()

    def __call__(self, row: dict) -> dict:
        return dict(result=pickle.dumps(self._function(pickle.loads(row['item']))))  # Ray would convert it to a table


def _check_reachable(address: str, timeout: float = 10.) -> None:
    """Raises a ConnectionError if nothing answers at ``host:port``; Ray would retry silently for minutes."""
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if not (host and port.isdigit()):
        return  # 'local', 'auto'
    try:
        socket.create_connection((host, int(port)), timeout).close()
    except OSError as error:
        raise ConnectionError(f'no answer ({error}), expected a running cluster; give the address that `ray start '
                              "--head` prints, 'auto' on one of its machines, or 'local'") from error
