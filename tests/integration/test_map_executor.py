"""`f.map(...)` and `skate.Executor`."""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures import Future, as_completed, wait
from pathlib import Path

import pytest

import skate
from skate.exceptions import WorkerCrashedError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
def square(x: int) -> int:
    return x * x


@skate.remote
def add(a: int, b: int) -> int:
    return a + b


@skate.remote
def picky(x: int) -> int:
    if x == 57:
        raise ValueError("57")
    return x


def plain_square(x: int) -> int:
    return x * x


def test_map() -> None:
    assert list(square.map([])) == []
    assert list(square.map(range(5000))) == [x * x for x in range(5000)]
    assert list(add.map(range(100), range(100, 200))) == list(range(100, 300, 2))
    assert sorted(square.map(range(300), ordered=False)) == [x * x for x in range(300)]
    assert list(square.map(range(10), chunk_size=3)) == [x * x for x in range(10)]


def test_map_of_an_endless_iterable() -> None:
    results = square.map(itertools.count())
    assert list(itertools.islice(results, 1000)) == [x * x for x in range(1000)]
    results.close()


def test_map_is_bounded_in_flight() -> None:
    taken = 0

    def items() -> object:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield i

    results = square.map(items(), chunk_size=1, max_in_flight=4)
    assert next(results) == 0
    assert taken <= 6
    results.close()


def test_map_error_comes_in_its_place() -> None:
    results = picky.map(range(100), chunk_size=10)
    assert list(itertools.islice(results, 57)) == list(range(57))
    with pytest.raises(ValueError, match="57"):
        next(results)
    results.close()


def test_map_takes_references() -> None:
    assert list(square.map([skate.put(2), 3, square.remote(2)])) == [4, 9, 16]


def test_map_survives_a_killed_worker(tmp_path: Path) -> None:
    @skate.remote(max_retries=2)
    def once(x: int, folder: str) -> int:
        flag = Path(folder) / "died"
        if x == 50 and not flag.exists():
            flag.touch()
            os._exit(1)
        return x

    assert list(once.map(range(100), itertools.repeat(str(tmp_path)), chunk_size=5)) == list(range(100))


def test_map_wrong_arguments() -> None:
    with pytest.raises(TypeError):
        square.map()
    with pytest.raises(TypeError):
        square.map(range(3), range(3))
    with pytest.raises(ValueError, match="chunk_size"):
        square.map(range(3), chunk_size=0)
    with pytest.raises(ValueError, match="max_in_flight"):
        square.map(range(3), max_in_flight=0)


def test_executor() -> None:
    with skate.Executor() as executor:
        assert executor.submit(plain_square, 3).result(10) == 9
        assert executor.submit(pow, 2, 5).result(10) == 32
        assert list(executor.map(plain_square, range(200))) == [x * x for x in range(200)]
        assert list(executor.map(plain_square, range(200), chunksize=50)) == [x * x for x in range(200)]
        futures = [executor.submit(plain_square, i) for i in range(20)]
        assert {future.result() for future in as_completed(futures, 10)} == {x * x for x in range(20)}
        done, pending = wait(futures)
        assert len(done) == 20 and not pending
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(plain_square, 1)


def test_executor_errors_and_callbacks() -> None:
    def fail() -> None:
        raise KeyError("x")

    seen: list[Future[None]] = []
    with skate.Executor() as executor:
        future = executor.submit(fail)
        assert isinstance(future.exception(10), KeyError)
        future.add_done_callback(seen.append)
        crashed = executor.submit(os._exit, 3)
        assert isinstance(crashed.exception(30), WorkerCrashedError)
    assert seen == [future]


def test_executor_bounds_its_workers(tmp_path: Path) -> None:
    def alone(folder: str) -> bool:
        path = Path(folder) / "lock"
        path.touch(exist_ok=False)
        time.sleep(0.01)
        path.unlink()
        return True

    with skate.Executor(max_workers=1) as executor:
        assert all(executor.map(alone, [str(tmp_path)] * 5))


def test_executor_cancel(tmp_path: Path) -> None:
    def block(path: str) -> None:
        while not os.path.exists(path):
            time.sleep(0.005)

    executor = skate.Executor(max_workers=1)
    first = executor.submit(block, str(tmp_path / "go"))
    second = executor.submit(plain_square, 1)
    assert second.cancel()
    (tmp_path / "go").touch()
    first.result(10)
    executor.shutdown(cancel_futures=True)
    eventually(second.cancelled)
