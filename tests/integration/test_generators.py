"""Generators: streams of references, back-pressure, errors, and streams that are passed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate.exceptions import TaskCancelledError, WorkerCrashedError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
def count(n: int, delay_s: float = 0.0) -> Iterator[int]:
    for i in range(n):
        time.sleep(delay_s)
        yield i


@skate.remote
def arrays(n: int) -> Iterator[np.ndarray]:
    for i in range(n):
        yield np.full(200_000, i, np.uint8)


@skate.remote
def tracked(n: int, folder: str) -> Iterator[int]:
    for i in range(n):
        (Path(folder) / str(i)).touch()
        yield i


def values(generator: Any) -> list[Any]:
    return [skate.get(ref) for ref in generator]


def test_items_in_order() -> None:
    assert values(count.remote(0)) == []
    assert values(count.remote(1)) == [0]
    assert values(count.remote(500)) == list(range(500))


def test_items_come_while_it_runs() -> None:
    generator = count.remote(3, 0.15)
    start = time.monotonic()
    assert skate.get(next(generator)) == 0
    assert time.monotonic() - start < 0.4
    assert values(generator) == [1, 2]


def test_large_items() -> None:
    assert [int(skate.get(ref)[0]) for ref in arrays.remote(20)] == list(range(20))


def test_a_dropped_stream_frees_its_items() -> None:
    generator = arrays.remote(20)
    next(generator)
    skate.wait([generator.completed()])
    del generator


def test_a_dropped_stream_stops_nothing_else() -> None:
    for _ in range(5):
        generator = arrays.remote(50)
        next(generator)
        del generator
    assert values(count.remote(3)) == [0, 1, 2]


def test_an_error_ends_the_stream() -> None:
    @skate.remote
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("half way")

    generator = broken.remote()
    assert skate.get(next(generator)) == 1
    with pytest.raises(ValueError, match="half way"):
        skate.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)
    with pytest.raises(ValueError, match="half way"):
        skate.get(generator.completed())


def test_completed_and_finished() -> None:
    generator = count.remote(2)
    skate.get(generator.completed())
    assert not generator.is_finished()
    assert values(generator) == [0, 1]
    assert generator.is_finished()


def test_back_pressure(tmp_path: Path) -> None:
    generator = tracked.options(_generator_backpressure_num_objects=3).remote(20, str(tmp_path))
    made = lambda: len(list(tmp_path.iterdir()))  # noqa: E731
    eventually(lambda: made() >= 3)
    skate.wait([generator.completed()], timeout=0.2)
    assert made() <= 4, "the task ran ahead of its consumer"
    assert skate.get(next(generator)) == 0
    eventually(lambda: made() >= 4)
    assert values(generator) == list(range(1, 20))


def test_without_back_pressure_it_runs_ahead(tmp_path: Path) -> None:
    generator = tracked.remote(20, str(tmp_path))
    skate.get(generator.completed(), timeout=10)
    assert len(list(tmp_path.iterdir())) == 20
    assert values(generator) == list(range(20))


def test_passed_to_a_task() -> None:
    @skate.remote
    def consume(generator: Any) -> list[int]:
        return [skate.get(ref) for ref in generator]

    assert skate.get(consume.remote(count.remote(10, 0.01))) == list(range(10))
    finished = count.remote(5)
    skate.get(finished.completed())
    assert skate.get(consume.remote(finished)) == list(range(5))


def test_passed_to_a_task_half_read() -> None:
    @skate.remote
    def consume(box: list[Any]) -> list[int]:
        return [int(skate.get(ref)[0]) for ref in box[0]]

    generator = arrays.remote(6)
    next(generator)
    assert skate.get(consume.remote([generator])) == [1, 2, 3, 4, 5]


def test_of_an_actor_method() -> None:
    @skate.remote
    class Source:
        def items(self, n: int) -> Iterator[int]:
            yield from range(n)

        @skate.method(num_returns="streaming")
        def listed(self, n: int) -> Any:
            return (i for i in range(n))

        def ping(self) -> str:
            return "pong"

    source = Source.remote()
    first, second = source.items.remote(5), source.items.remote(3)
    assert values(first) == [0, 1, 2, 3, 4]
    assert values(second) == [0, 1, 2]
    assert values(source.listed.remote(2)) == [0, 1]
    assert skate.get(source.ping.remote()) == "pong"


def test_async_for() -> None:
    async def main() -> list[int]:
        return [await ref async for ref in count.remote(10, 0.005)]

    assert asyncio.run(main()) == list(range(10))


def test_dynamic() -> None:
    @skate.remote(num_returns="dynamic")
    def split(n: int) -> Iterator[int]:
        yield from range(n)

    ref = split.remote(4)
    assert [skate.get(item) for item in skate.get(ref)] == [0, 1, 2, 3]


def test_dynamic_passed_on() -> None:
    @skate.remote(num_returns="dynamic")
    def split(n: int) -> Iterator[int]:
        yield from range(n)

    @skate.remote
    def consume(items: Any) -> int:
        return sum(skate.get(item) for item in items)

    assert skate.get(consume.remote(split.remote(5))) == 10


def test_a_generator_with_a_fixed_number_of_returns() -> None:
    assert skate.get(count.options(num_returns=3).remote(3)) == [0, 1, 2]


def test_cancel() -> None:
    generator = count.remote(1000, 0.02)
    assert skate.get(next(generator)) == 0
    skate.cancel(generator)
    with pytest.raises(TaskCancelledError):
        for ref in generator:
            skate.get(ref)


def test_a_crash_ends_the_stream() -> None:
    @skate.remote(max_retries=0)
    def crash() -> Iterator[int]:
        import os
        import time

        yield 1
        time.sleep(0.05)
        os._exit(3)

    generator = crash.remote()
    assert skate.get(next(generator)) == 1
    with pytest.raises(WorkerCrashedError):
        skate.get(next(generator))


def test_a_crashed_stream_is_retried(tmp_path: Path) -> None:
    @skate.remote(max_retries=2)
    def crash_once(flag: str) -> Iterator[int]:
        import os

        for i in range(10):
            if i == 5 and not os.path.exists(flag):
                with open(flag, "w"):
                    os._exit(3)
            yield i

    assert values(crash_once.remote(str(tmp_path / "flag"))) == list(range(10))


def test_something_else_than_a_generator() -> None:
    @skate.remote(num_returns="streaming")
    def plain() -> int:
        return 3

    with pytest.raises(Exception, match=r"iter|generator"):
        for ref in plain.remote():
            skate.get(ref)
