"""Tests of the hook that marks the logged iterations."""
from types import SimpleNamespace

import pytest
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub

from sapiens_mm.engine import SapiensLoggedIterHook


def logged(batch_idx, interval=3, length=7):
    hub = MessageHub.get_instance('logged_iter')
    hooks = [LoggerHook(interval=interval)] if interval else []
    runner = SimpleNamespace(hooks=hooks, train_dataloader=range(length), message_hub=hub, iter=100 + batch_idx,
                             max_iters=1000)
    SapiensLoggedIterHook().before_train_iter(runner, batch_idx)
    return hub.get_info('logged_iter')


@pytest.mark.parametrize(('batch_idx', 'expected'), [(0, False), (2, True), (3, False), (5, True), (6, True)])
def test_every_interval_of_the_epoch_and_its_end(batch_idx, expected):
    assert logged(batch_idx) == expected


def test_nothing_without_a_log():
    assert not logged(2, interval=None)
