"""The worker's main loop sleeps no longer than until something is due."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import Any

import pytest

from skate.worker.process import Worker


class Loop:
    """A pump that has `due` to do, and to which nothing comes."""

    def __init__(self, due: list[float | None]) -> None:
        self.due = due

    def claim(self) -> None:
        return

    def unclaim(self, hand_over: bool) -> None:
        return

    def between(self) -> float | None:
        return self.due.pop(0)


@pytest.fixture
def worker() -> Iterator[Any]:
    """One whose main loop has nothing to read but a descriptor in place of the pump's."""
    made: Any = Worker.__new__(Worker)
    made.epoll, made.inner = select.epoll(), os.eventfd(0)
    made.epoll.register(made.inner, select.EPOLLIN)
    made.draining, made.becoming, made.actor, made._spin_misses = False, None, None, 4
    yield made
    made.epoll.close()
    os.close(made.inner)


def test_the_main_loop_of_an_idle_worker_comes_back_when_something_is_due(worker: Any) -> None:
    loop = Loop([0.01, 0.02])
    assert worker._wait(loop) == [] and worker._wait(loop) == []
    assert loop.due == []
