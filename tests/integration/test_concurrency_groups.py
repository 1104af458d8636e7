"""Concurrency groups: named pools of one actor."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import skate

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote(concurrency_groups={"io": 2, "compute": 1})
class Grouped:
    def __init__(self) -> None:
        self.event = threading.Event()

    @skate.method(concurrency_group="io")
    def wait(self) -> int:
        assert self.event.wait(10)
        return threading.get_ident()

    @skate.method(concurrency_group="compute")
    def set(self) -> int:
        self.event.set()
        return threading.get_ident()

    def default(self) -> int:
        return threading.get_ident()


@skate.remote(concurrency_groups={"io": 2})
class AsyncGrouped:
    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.running = 0
        self.most = 0

    @skate.method(concurrency_group="io")
    async def work(self) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return self.most

    async def ping(self) -> str:
        return "pong"


def test_a_full_group_blocks_no_other() -> None:
    actor = Grouped.remote()
    waiting = [actor.wait.remote() for _ in range(4)]
    default = skate.get(actor.default.remote(), timeout=10)
    compute = skate.get(actor.set.remote(), timeout=10)
    io = set(skate.get(waiting, timeout=10))
    assert len(io) <= 2
    assert not io & {default, compute}


def test_the_group_can_be_chosen_at_the_call() -> None:
    actor = Grouped.remote()
    waiting = [actor.wait.remote() for _ in range(2)]
    skate.get(actor.default.options(concurrency_group="compute").remote(), timeout=10)
    skate.get(actor.set.remote())
    skate.get(waiting)


def test_an_unknown_group() -> None:
    actor: Any = Grouped.remote()
    with pytest.raises(ValueError, match="io"):
        actor.default.options(concurrency_group="nope")
    with pytest.raises(ValueError, match="nope"):

        @skate.remote(concurrency_groups={"io": 2})
        class Wrong:
            @skate.method(concurrency_group="nope")
            def work(self) -> None: ...

    skate.get(actor.default.remote())


def test_groups_of_an_async_actor() -> None:
    actor = AsyncGrouped.remote()
    refs = [actor.work.remote() for _ in range(8)]
    assert skate.get(actor.ping.remote()) == "pong"
    assert max(skate.get(refs)) == 2
