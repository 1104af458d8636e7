"""Generators in a process that did not start their task: they do what they do for the one that did."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import current
from skate.exceptions import GetTimeoutError, RayError, TaskCancelledError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote(num_cpus=0)
def count(n: int, delay_s: float = 0.0) -> Iterator[int]:
    for i in range(n):
        time.sleep(delay_s)
        yield i


@skate.remote(num_cpus=0)
def gated(n: int, gate: str) -> Iterator[int]:
    """Makes `n` items, and ends when the file exists."""
    yield from range(n)
    while not os.path.exists(gate):
        time.sleep(0.005)


@skate.remote(num_cpus=0)
def endless(heartbeat: str) -> Iterator[int]:
    i = 0
    while True:
        Path(heartbeat).write_text(str(i))
        yield i
        i += 1
        time.sleep(0.005)


@skate.remote(num_cpus=0)
def broken(n: int) -> Iterator[int]:
    yield from range(n)
    raise ValueError("half way")


@skate.remote(num_cpus=0)
class Keeper:
    """An actor that keeps a generator from call to call."""

    def keep(self, box: list[Any]) -> None:
        self.generator = box[0]

    def take(self, n: int) -> list[int]:
        return [skate.get(next(self.generator)) for _ in range(n)]

    def rest(self) -> list[int]:
        return [skate.get(ref) for ref in self.generator]

    def is_finished(self) -> bool:
        return bool(self.generator.is_finished())

    def end(self) -> str:
        try:
            skate.get(self.generator.completed(), timeout=10)
        except Exception as error:
            return type(error).__name__ + ": " + str(error)
        return "done"

    def has_ended(self) -> bool:
        return bool(skate.wait([self.generator.completed()], timeout=0)[0])

    def close(self) -> None:
        self.generator.close()

    def drop(self) -> None:
        del self.generator

    def give(self) -> list[Any]:
        return [self.generator]

    def short_waits(self, n: int) -> int:
        for _ in range(n):
            ready, _ = skate.wait([self.generator], timeout=0.001)
            assert not ready
        return len(self.generator._stream.callbacks)


def kept(generator: Any) -> Any:
    keeper = Keeper.remote()
    skate.get(keeper.keep.remote([generator]))
    return keeper


def beats(path: Path) -> bool:
    before = path.read_text()
    time.sleep(0.1)
    return path.read_text() != before


def test_it_can_be_read_after_the_call_that_brought_it() -> None:
    keeper = kept(count.remote(20, 0.005))
    assert skate.get(keeper.take.remote(3), timeout=10) == [0, 1, 2]
    time.sleep(0.05)
    assert skate.get(keeper.rest.remote(), timeout=10) == list(range(3, 20))


def test_completed_and_finished(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    keeper = kept(gated.remote(3, str(gate)))
    assert not skate.get(keeper.is_finished.remote())
    assert not skate.get(keeper.has_ended.remote())
    assert skate.get(keeper.take.remote(3), timeout=10) == [0, 1, 2]
    assert not skate.get(keeper.is_finished.remote()), "the task has not ended"
    gate.touch()
    assert skate.get(keeper.end.remote(), timeout=10) == "done"
    assert skate.get(keeper.is_finished.remote())
    assert skate.get(keeper.rest.remote()) == []


def test_finished_only_when_all_is_taken() -> None:
    keeper = kept(count.remote(2, 0.05))
    assert skate.get(keeper.end.remote(), timeout=10) == "done"
    assert not skate.get(keeper.is_finished.remote())
    assert skate.get(keeper.rest.remote()) == [0, 1]
    assert skate.get(keeper.is_finished.remote())


def test_a_failure() -> None:
    @skate.remote
    def read(generator: Any) -> list[str]:
        out = []
        for ref in generator:
            try:
                out.append(str(skate.get(ref)))
            except ValueError:
                out.append("error")
        return [*out, str(generator.is_finished())]

    assert skate.get(read.remote(broken.remote(2)), timeout=10) == ["0", "1", "error", "True"]
    keeper = kept(broken.remote(1))
    assert "half way" in skate.get(keeper.end.remote(), timeout=10)


def test_one_that_had_ended_before() -> None:
    generator = count.remote(4)
    assert skate.get(next(generator)) == 0
    skate.get(generator.completed())
    keeper = kept(generator)
    assert skate.get(keeper.end.remote(), timeout=10) == "done"
    assert not skate.get(keeper.is_finished.remote())
    assert skate.get(keeper.rest.remote()) == [1, 2, 3]
    assert skate.get(keeper.is_finished.remote())
    failed = broken.remote(1)
    skate.wait([failed.completed()])
    assert "half way" in skate.get(kept(failed).end.remote(), timeout=10)


def test_close(tmp_path: Path) -> None:
    heart = tmp_path / "heart"
    keeper = kept(endless.remote(str(heart)))
    assert skate.get(keeper.take.remote(2), timeout=10) == [0, 1]
    skate.get(keeper.close.remote())
    assert "TaskCancelledError" in skate.get(keeper.end.remote(), timeout=10)
    assert not beats(heart)


def test_closing_one_of_an_actor(tmp_path: Path) -> None:
    @skate.remote(num_cpus=0)
    class Source:
        async def items(self, heartbeat: str) -> Any:
            i = 0
            while True:
                Path(heartbeat).write_text(str(i))
                yield i
                i += 1
                await asyncio.sleep(0.005)

    heart = tmp_path / "heart"
    source = Source.remote()
    keeper = kept(source.items.remote(str(heart)))
    assert skate.get(keeper.take.remote(2), timeout=10) == [0, 1]
    skate.get(keeper.close.remote())
    assert "TaskCancelledError" in skate.get(keeper.end.remote(), timeout=10)
    assert not beats(heart)


def test_cancel(tmp_path: Path) -> None:
    @skate.remote
    def cancel(box: list[Any]) -> str:
        skate.cancel(box[0])
        try:
            for ref in box[0]:
                skate.get(ref)
        except TaskCancelledError:
            return "cancelled"
        return "not cancelled"

    assert skate.get(cancel.remote([endless.remote(str(tmp_path / "heart"))]), timeout=10) == "cancelled"


def test_no_cancellation_is_lost(tmp_path: Path) -> None:
    for i in range(150):
        generator = endless.remote(str(tmp_path / "heart"))
        time.sleep(0.0005 * (i % 10))
        generator.close()
        deadline = time.monotonic() + 5
        with pytest.raises(TaskCancelledError):
            while time.monotonic() < deadline:
                skate.get(next(generator))


def test_the_last_one_to_drop_it_stops_the_task(tmp_path: Path) -> None:
    heart = tmp_path / "heart"
    generator = endless.remote(str(heart))
    one, other = kept(generator), kept(generator)
    del generator
    gc.collect()
    assert skate.get(one.take.remote(2), timeout=10) == [0, 1]
    skate.get(one.drop.remote())
    assert beats(heart)
    assert skate.get(other.take.remote(2), timeout=10) == [0, 1]
    skate.get(other.drop.remote())
    eventually(lambda: not beats(heart), 10, what="the end of a task whose items nobody reads")


def test_the_maker_can_read_on_when_the_other_has_dropped_it(tmp_path: Path) -> None:
    generator = endless.remote(str(tmp_path / "heart"))
    keeper = kept(generator)
    assert skate.get(keeper.take.remote(3), timeout=10) == [0, 1, 2]
    skate.get(keeper.drop.remote())
    assert [skate.get(next(generator)) for _ in range(5)] == [0, 1, 2, 3, 4]
    again = kept(generator)
    first = skate.get(again.take.remote(1), timeout=10)[0]
    assert first == 5


def test_two_readers_each_get_everything() -> None:
    generator = count.remote(30, 0.002)
    one, other = kept(generator), kept(generator)
    assert skate.get([one.rest.remote(), other.rest.remote()], timeout=20) == [list(range(30))] * 2
    assert [skate.get(ref) for ref in generator] == list(range(30))


def test_passed_on_twice() -> None:
    first = kept(count.remote(30, 0.005))
    assert skate.get(first.take.remote(2), timeout=10) == [0, 1]
    second = Keeper.remote()
    skate.get(second.keep.remote(first.give.remote()), timeout=10)
    assert skate.get(second.take.remote(2), timeout=10) == [2, 3]
    skate.get(first.drop.remote())
    assert skate.get(second.rest.remote(), timeout=10) == list(range(4, 30))


def test_returned_to_the_driver() -> None:
    @skate.remote(num_cpus=0)
    class Maker:
        def make(self, n: int) -> list[Any]:
            return [count.remote(n, 0.005)]

    maker = Maker.remote()
    generator = skate.get(maker.make.remote(10))[0]
    assert skate.get(next(generator), timeout=10) == 0
    assert not generator.is_finished()
    assert [skate.get(ref) for ref in generator] == list(range(1, 10))
    assert generator.is_finished()
    assert skate.get(generator.completed(), timeout=10) is None


def test_returned_by_a_task() -> None:
    @skate.remote(num_cpus=0)
    def make(n: int) -> Any:
        return count.remote(n, 0.005)

    generator = skate.get(make.remote(10))
    assert [skate.get(ref, timeout=10) for ref in generator] == list(range(10))


def test_back_to_its_maker() -> None:
    generator = count.remote(10, 0.01)
    keeper = kept(generator)
    copy = skate.get(keeper.give.remote())[0]
    del generator, keeper
    assert [skate.get(ref, timeout=10) for ref in copy] == list(range(10))
    assert copy.is_finished()


def test_the_maker_dies(tmp_path: Path) -> None:
    @skate.remote(num_cpus=0)
    class Maker:
        def make(self, heart: str) -> list[Any]:
            return [endless.remote(heart)]

        def pid(self) -> int:
            return os.getpid()

    maker = Maker.remote()
    generator = skate.get(maker.make.remote(str(tmp_path / "heart")))[0]
    completed = generator.completed()
    assert skate.get(next(generator), timeout=10) == 0
    os.kill(skate.get(maker.pid.remote()), signal.SIGKILL)
    with pytest.raises(RayError):
        for ref in generator:
            skate.get(ref, timeout=10)
    assert generator.is_finished()
    with pytest.raises(RayError):
        skate.get(completed, timeout=10)


def test_async_for() -> None:
    async def read(generator: Any) -> list[int]:
        return [await ref async for ref in generator]

    @skate.remote
    def main(generator: Any) -> list[int]:
        return asyncio.run(read(generator))

    assert skate.get(main.remote(count.remote(10, 0.005)), timeout=10) == list(range(10))


def test_await_of_a_reference_that_arrived() -> None:
    async def value(ref: Any) -> Any:
        return await ref

    @skate.remote
    def main(box: list[Any]) -> int:
        return int(asyncio.run(value(box[0])))

    @skate.remote(num_cpus=0)
    def slow() -> int:
        time.sleep(0.1)
        return 5

    assert skate.get(main.remote([slow.remote()]), timeout=10) == 5


def test_two_async_readers_of_one_generator() -> None:
    async def main() -> list[int]:
        generator = count.remote(50, 0.001)

        async def read() -> list[int]:
            return [await ref async for ref in generator]

        lists = await asyncio.gather(read(), read(), read())
        return sorted(item for items in lists for item in items)

    assert asyncio.run(main()) == list(range(50))


def test_short_waits_leave_nothing_behind(tmp_path: Path) -> None:
    generator = gated.remote(0, str(tmp_path / "gate"))
    runtime: Any = current.runtime
    for _ in range(20):
        assert not skate.wait([generator], timeout=0.001)[0]
        with pytest.raises(GetTimeoutError):
            runtime.stream_next(generator, 0.001)

    async def impatient() -> None:
        for _ in range(20):
            try:
                await asyncio.wait_for(generator.__anext__(), 0.001)
            except TimeoutError:
                continue

    asyncio.run(impatient())
    assert generator._stream.callbacks == []
    keeper = kept(generator)
    assert skate.get(keeper.short_waits.remote(20), timeout=10) == 0
    (tmp_path / "gate").touch()
    assert skate.get(keeper.rest.remote(), timeout=10) == []
