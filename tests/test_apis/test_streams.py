"""Tests of prefetching and grouping of streams."""
import threading
import time

import pytest

from sapiens_mm.apis.streams import MAX_WAITING, groups, prefetch


def numbers(made, number=20):
    for i in range(number):
        made.append(i)
        yield i


def failing():
    yield 1
    raise KeyError('gone')


def test_groups():
    assert list(groups(range(5), lambda group: len(group) == 2)) == [[0, 1], [2, 3], [4]]
    assert list(groups([], lambda group: True)) == []
    stream = groups(failing(), lambda group: len(group) == 2)
    assert next(stream) == [1]
    with pytest.raises(KeyError, match='gone'):
        next(stream)


def test_prefetch_re_raises_errors():
    items = prefetch(failing(), 2)
    assert next(items) == 1
    with pytest.raises(KeyError, match='gone'):
        next(items)


@pytest.mark.parametrize(('depth', 'size', 'most'), [
    (3, 0, 5), (5, MAX_WAITING // 2, 4), (5, 2 * MAX_WAITING, 2)])  # with the item that was taken
def test_prefetch_is_bounded_in_items_and_bytes(depth, size, most):
    made = []
    items = prefetch(numbers(made), depth, lambda item: size)
    assert next(items) == 0
    time.sleep(.3)
    assert 2 <= len(made) <= most
    assert list(items) == list(range(1, 20))


def test_closing_ends_threads_and_iterators():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    items = prefetch(prefetch(endless(), 1), 1)
    next(items)
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_ctrl_c_while_the_thread_starts(monkeypatch):
    def start(self):
        run(self)
        raise KeyboardInterrupt

    def endless():
        while True:
            yield 0

    run, before = threading.Thread.start, threading.active_count()
    monkeypatch.setattr(threading.Thread, 'start', start)
    with pytest.raises(KeyboardInterrupt):
        next(prefetch(endless(), 1))
    assert threading.active_count() == before


def test_stop_ends_a_stream_that_blocks():
    stop, blocked = threading.Event(), threading.Event()

    def blocking():
        yield 1
        blocked.wait()

    items = prefetch(blocking(), 1, stop=stop)
    assert next(items) == 1
    stop.set()
    assert list(items) == []
    blocked.set()
