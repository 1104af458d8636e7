"""How the calls of async actors end, and what they know while they run: callers that are gone, streams, contexts."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import WorkerCrashedError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")

WATCHED_S = 0.5
WAKEUPS_MAX = 60
"""A loop that looks once a millisecond would wake up 500 times in `WATCHED_S`."""


@skate.remote
class Service:
    def __init__(self) -> None:
        self.now = 0
        self.made = 0
        self.closed = 0
        self.event: asyncio.Event | None = None
        self.color: Any = contextvars.ContextVar("color", default="none")

    async def wait(self) -> None:
        self.now += 1
        try:
            await self.gate().wait()
        finally:
            self.now -= 1
        self.made += 1

    def gate(self) -> asyncio.Event:
        if self.event is None:
            self.event = asyncio.Event()
        return self.event

    async def open(self) -> None:
        self.gate().set()

    async def state(self) -> tuple[int, int, int]:
        return self.now, self.made, self.closed

    async def items(self) -> AsyncIterator[int]:
        try:
            for number in range(20):
                self.made = number + 1
                yield number
        finally:
            self.closed += 1

    def plain_items(self) -> Iterator[int]:
        try:
            for number in range(20):
                self.made = number + 1
                yield number
        finally:
            self.closed += 1

    async def endless(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 0
        finally:
            self.closed += 1

    async def pid(self) -> int:
        return os.getpid()

    async def at_once(self) -> str | None:
        return skate.get_runtime_context().get_task_id()

    def plain(self) -> str | None:
        return skate.get_runtime_context().get_task_id()

    async def in_a_subtask(self) -> list[str | None]:
        async def inner() -> str | None:
            await asyncio.sleep(0)
            return skate.get_runtime_context().get_task_id()

        def in_a_thread() -> str | None:
            return skate.get_runtime_context().get_task_id()

        return list(await asyncio.gather(inner(), asyncio.to_thread(in_a_thread)))

    async def paint(self) -> str:
        before = self.color.get()
        self.color.set("red")
        await asyncio.sleep(0)
        return str(before)


@skate.remote(max_retries=0)
def leave_behind(service: Any, path: str, how: str, calls: int) -> None:
    """A caller that makes calls, tells that they run, and then waits for its end."""
    if how == "calls":
        kept: Any = [service.wait.remote() for _ in range(calls)]
    else:
        method = getattr(service, how).options(_generator_backpressure_num_objects=2)
        kept = method.remote()
        skate.get(next(kept))
    Path(path).write_text(str(os.getpid()))
    time.sleep(30)
    del kept


def _kill_caller(service: Any, path: Path, how: str, calls: int) -> None:
    ref = leave_behind.remote(service, str(path), how, calls)
    eventually(lambda: path.exists() and path.read_text())
    if how == "calls":
        eventually(lambda: skate.get(service.state.remote())[0] > calls)
    os.kill(int(path.read_text()), signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        skate.get(ref)


def test_calls_of_a_caller_that_is_gone_run_to_their_end(tmp_path: Path) -> None:
    service = Service.remote()
    mine = service.wait.remote()
    eventually(lambda: skate.get(service.state.remote())[0] == 1)
    _kill_caller(service, tmp_path / "pid", "calls", 5)
    assert skate.get(service.state.remote())[:2] == (6, 0)
    skate.get(service.open.remote())
    assert skate.get(mine) is None
    eventually(lambda: skate.get(service.state.remote())[:2] == (0, 6))


@pytest.mark.parametrize("how", ["items", "plain_items"])
def test_a_stream_ends_when_its_consumer_is_gone(tmp_path: Path, how: str) -> None:
    service = Service.remote()
    _kill_caller(service, tmp_path / "pid", how, 0)
    eventually(lambda: skate.get(service.state.remote())[2] == 1)
    assert skate.get(service.state.remote())[1] <= 4


def _wakeups(pid: int) -> int:
    """How often the main thread of a process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


@pytest.mark.parametrize("how", ["items", "plain_items"])
def test_a_stream_that_waits_for_its_consumer_sleeps(how: str) -> None:
    service = Service.remote()
    pid = skate.get(service.pid.remote())
    stream = getattr(service, how).options(_generator_backpressure_num_objects=2).remote()
    first = skate.get(next(stream))
    eventually(lambda: skate.get(service.state.remote())[1] >= 3)
    made = skate.get(service.state.remote())[1]
    before = _wakeups(pid)
    time.sleep(WATCHED_S)
    assert _wakeups(pid) - before < WAKEUPS_MAX
    assert skate.get(service.state.remote())[1] == made <= 4
    assert [first, *skate.get(list(stream))] == list(range(20))
    assert skate.get(service.state.remote())[2] == 1


def test_a_stream_without_waits_lets_others_in() -> None:
    service = Service.remote()
    stream = service.endless.remote()
    skate.get(next(stream))
    assert skate.get(service.state.remote(), timeout=10)[2] == 0
    del stream
    eventually(lambda: skate.get(service.state.remote())[2] == 1)


def test_the_context_is_there_from_the_first_step_on() -> None:
    service = Service.remote()
    for method in (service.at_once, service.plain):
        ref = method.remote()
        assert skate.get(ref) == ref.task_id()
    ref = service.in_a_subtask.remote()
    assert skate.get(ref) == [ref.task_id()] * 2


def test_context_variables_stay_in_their_call() -> None:
    service = Service.remote()
    for _ in range(3):
        assert skate.get(service.paint.remote()) == "none"
    assert set(skate.get([service.paint.remote() for _ in range(50)])) == {"none"}
