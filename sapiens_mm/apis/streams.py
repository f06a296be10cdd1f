"""Streams of items: prefetching in a thread, and grouping."""
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Bytes of images that may wait for the next stage; beyond, no other image is read or made.
MAX_WAITING = 2**27


def groups(items: Iterable, full: Callable[[list], bool]) -> Iterator[list]:
    """Splits a stream into lists that are ``full``; items that precede an error are yielded before it is raised."""
    group, error = [], None
    try:
        for item in items:
            group.append(item)
            if full(group):
                yield group
                group = []
    except Exception as raised:
        error = raised
    if group:
        yield group
    if error is not None:
        raise error


def prefetch(items: Iterable, depth: int, size: Callable[[Any], int] = lambda item: 0,
             stop: threading.Event | None = None) -> Iterator:
    """Runs an iterator ahead in a thread and re-raises its errors; closing the returned generator ends both.

    At most ``depth`` items are queued, and none is added while `MAX_WAITING` bytes (by ``size`` of an item) are queued.
    Once ``stop`` is set, the stream ends, even while the iterator blocks.
    """
    waiting: deque = deque()
    changed = threading.Condition()
    closed = False

    def put(item: Any, error: BaseException | None, held: int) -> bool:
        with changed:
            waiting.append((item, error, held))
            changed.notify_all()
            changed.wait_for(lambda: closed or (len(waiting) < depth
                                                and sum(held for *_, held in waiting) <= MAX_WAITING))
            return not closed

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item, None, size(item)):
                    break
            else:
                put(None, StopIteration(), 0)
        except BaseException as error:
            put(None, error, 0)
        finally:
            if hasattr(iterator, 'close'):
                iterator.close()

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()  # inside, as Ctrl-C may come here
        while True:
            with changed:
                # Setting `stop` notifies nobody, so it is polled.
                while not changed.wait_for(lambda: waiting, None if stop is None else .2):
                    if stop.is_set():
                        return
                item, error, _ = waiting.popleft()
                changed.notify_all()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        with changed:
            closed = True
            changed.notify_all()
        if thread.is_alive():
            thread.join(1 if stop is not None and stop.is_set() else None)
