"""A peer that does not read for a while: whatever was sent to it arrives, or fails with a reason; nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import skate
from skate.exceptions import ActorDiedError, TaskCancelledError
from skate.testing import eventually
from skate.wire import channel

pytestmark = pytest.mark.usefixtures("cluster")

LIMIT = 1 << 20
"""What a channel takes for a peer that does not read, lowered for these tests."""


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "BACKLOG_BYTES_MAX", LIMIT)


@skate.remote
def total(*parts: bytes) -> int:
    return sum(map(len, parts))


@skate.remote
class Sink:
    def pid(self) -> int:
        return os.getpid()

    def total(self, *parts: bytes) -> int:
        return sum(map(len, parts))


def small_parts(count: int) -> list[Any]:
    """References to values that travel inside messages."""
    return [skate.put(bytes(15_000)) for _ in range(count)]


def is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


@contextmanager
def stopped(actor: Any) -> Iterator[int]:
    """The process of the actor is stopped until the end of the block, or until somebody lets it go on."""
    pid = skate.get(actor.pid.remote())
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(pid), what="the stop of the actor")
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_task_larger_than_the_backlog() -> None:
    parts = small_parts(400)
    assert skate.get([total.remote(*parts) for _ in range(4)], timeout=30) == [400 * 15_000] * 4


def test_calls_of_an_actor_that_does_not_read() -> None:
    sink = Sink.remote()
    parts = small_parts(200)
    with stopped(sink):
        refs = [sink.total.remote(*parts) for _ in range(20)]
        later = [sink.total.remote(b"x") for _ in range(100)]
        assert skate.wait(refs, timeout=0.1)[0] == []
    assert skate.get(refs, timeout=30) == [200 * 15_000] * 20
    assert skate.get(later, timeout=30) == [1] * 100


def test_cancelling_calls_that_wait() -> None:
    sink = Sink.remote()
    parts = small_parts(200)
    with stopped(sink):
        refs = [sink.total.remote(*parts) for _ in range(20)]
        for ref in refs[10:]:
            skate.cancel(ref)
    assert skate.get(refs[0], timeout=30) == 200 * 15_000
    for ref in refs[-5:]:
        with pytest.raises(TaskCancelledError):
            skate.get(ref, timeout=30)
    skate.wait(refs, num_returns=len(refs), timeout=30)


def test_an_actor_that_dies_without_having_read() -> None:
    sink = Sink.remote()
    parts = small_parts(200)
    with stopped(sink) as pid:
        refs = [sink.total.remote(*parts) for _ in range(20)]
        os.kill(pid, signal.SIGKILL)
        for ref in refs:
            with pytest.raises(ActorDiedError):
                skate.get(ref, timeout=30)


def test_a_restarted_actor_gets_what_the_dead_one_had_not_read() -> None:
    sink = Sink.options(max_restarts=1).remote()
    with stopped(sink) as pid:
        refs = [sink.total.remote(bytes(20_000)) for _ in range(200)]
        os.kill(pid, signal.SIGKILL)
        assert skate.get(refs, timeout=30) == [20_000] * 200, "none of them had begun: each can run again"


def test_tasks_of_a_worker_that_dies_without_having_read() -> None:
    @skate.remote(max_retries=0)
    def pid() -> int:
        return os.getpid()

    parts = small_parts(400)
    for worker in set(skate.get([pid.remote() for _ in range(50)])):
        os.kill(worker, signal.SIGKILL)
    assert skate.get([total.remote(*parts) for _ in range(8)], timeout=30) == [400 * 15_000] * 8
