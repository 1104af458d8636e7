"""Actors with `async def` methods, and references in asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import skate
from skate.exceptions import ActorDiedError, TaskCancelledError

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
class Signal:
    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.waiting = 0

    async def wait(self) -> str:
        self.waiting += 1
        try:
            await self.event.wait()
        finally:
            self.waiting -= 1
        return "sent"

    async def send(self) -> None:
        self.event.set()

    async def count(self) -> int:
        return self.waiting

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("async")

    def plain(self) -> str:
        return threading.current_thread().name

    async def thread(self) -> str:
        return threading.current_thread().name

    async def use(self, box: list[Any]) -> Any:
        return await box[0]

    async def items(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def context(self) -> tuple[str | None, str | None]:
        await asyncio.sleep(0.001)
        context = skate.get_runtime_context()
        return context.get_task_id(), context.get_actor_id()


def test_a_thousand_calls_at_once() -> None:
    signal = Signal.remote()
    waiting = [signal.wait.remote() for _ in range(500)]
    while skate.get(signal.count.remote()) < 500:
        pass
    skate.get(signal.send.remote())
    assert skate.get(waiting) == ["sent"] * 500


def test_max_concurrency_bounds_them() -> None:
    @skate.remote(max_concurrency=3)
    class Bounded:
        def __init__(self) -> None:
            self.now = self.most = 0

        async def work(self) -> int:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return self.most

    bounded = Bounded.remote()
    assert max(skate.get([bounded.work.remote() for _ in range(12)])) == 3


def test_errors_and_plain_methods() -> None:
    signal = Signal.remote()
    with pytest.raises(ValueError, match="async"):
        skate.get(signal.fail.remote())
    assert skate.get(signal.plain.remote()) == skate.get(signal.thread.remote())


def test_await_a_reference_inside() -> None:
    @skate.remote
    def one() -> int:
        return 1

    signal = Signal.remote()
    assert skate.get(signal.use.remote([one.remote()])) == 1
    assert skate.get(signal.use.remote([skate.put("x" * 100_000)])) == "x" * 100_000


def test_async_generator() -> None:
    signal = Signal.remote()
    assert [skate.get(ref) for ref in signal.items.remote(5)] == [0, 1, 2, 3, 4]


def test_context_follows_the_call() -> None:
    signal = Signal.remote()
    refs = [signal.context.remote() for _ in range(20)]
    found = skate.get(refs)
    assert [task for task, _ in found] == [ref.task_id() for ref in refs]
    assert {actor for _, actor in found} == {signal._actor_id.hex()}


def test_cancel_a_call() -> None:
    signal = Signal.remote()
    ref = signal.wait.remote()
    other = signal.wait.remote()
    while skate.get(signal.count.remote()) < 2:
        pass
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=10)
    assert skate.get(signal.count.remote()) == 1
    skate.get(signal.send.remote())
    assert skate.get(other) == "sent"


def test_kill_while_calls_wait() -> None:
    signal = Signal.remote()
    refs = [signal.wait.remote() for _ in range(10)]
    skate.get(signal.count.remote())
    skate.kill(signal)
    for ref in refs:
        with pytest.raises(ActorDiedError):
            skate.get(ref)


def test_exit_actor_in_a_coroutine() -> None:
    @skate.remote
    class Leaver:
        async def leave(self) -> None:
            skate.exit_actor()

    with pytest.raises(ActorDiedError):
        skate.get(Leaver.remote().leave.remote())


def test_await_in_the_driver() -> None:
    @skate.remote
    def square(x: int) -> int:
        return x * x

    @skate.remote
    def fail() -> None:
        raise KeyError("lost")

    async def main() -> None:
        assert await square.remote(3) == 9
        assert await asyncio.gather(*[square.remote(i) for i in range(50)]) == [i * i for i in range(50)]
        with pytest.raises(KeyError):
            await fail.remote()
        done, pending = await asyncio.wait([asyncio.ensure_future(_as_coroutine(square.remote(2)))], timeout=10)
        assert done and not pending
        async for ref in Signal.remote().items.remote(3):
            assert await ref in (0, 1, 2)

    asyncio.run(main())


async def _as_coroutine(ref: Any) -> Any:
    return await ref


def test_waiting_with_a_timeout_leaves_the_task_alone() -> None:
    signal = Signal.remote()
    ref = signal.wait.remote()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_as_coroutine(ref), 0.05)

    asyncio.run(main())
    skate.get(signal.send.remote())
    assert skate.get(ref) == "sent"
