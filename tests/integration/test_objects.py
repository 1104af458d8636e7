"""Objects: put and get, shared memory without copies, lifetime, the store's limits."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.exceptions import ObjectStoreFullError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")

MB = 1 << 20


@skate.remote
def make(size: int, fill: int = 1) -> np.ndarray:
    return np.full(size, fill, np.uint8)


@skate.remote
def total(array: np.ndarray) -> int:
    return int(array.sum())


def store() -> dict[str, int]:
    runtime: Any = current.runtime
    found: dict[str, int] = runtime.ask("store")
    return found


@pytest.mark.parametrize("size", [0, 1, 1000, 32 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 100 * 1024, MB, 20 * MB])
def test_every_size_there_and_back(size: int) -> None:
    data = os.urandom(min(size, 4096)) * (size // 4096 + 1)
    data = data[:size]
    echo = skate.remote(lambda value: value)
    assert skate.get(skate.put(data)) == data
    assert skate.get(echo.remote(data)) == data
    assert skate.get(echo.remote(skate.put(data))) == data
    assert skate.get(echo.remote([data, {"key": data}])) == [data, {"key": data}]


def test_arrays_are_read_only_and_not_copied() -> None:
    ref = skate.put(np.arange(10 * MB, dtype=np.uint8))
    one, two = skate.get(ref), skate.get(ref)
    assert not one.flags.writeable
    assert one.__array_interface__["data"][0] == two.__array_interface__["data"][0]
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1


def test_a_view_outlives_its_reference() -> None:
    ref = make.remote(8 * MB, 7)
    array = skate.get(ref)
    part = array[MB : 2 * MB]
    del ref, array
    gc.collect()
    others = [skate.put(np.zeros(8 * MB, np.uint8)) for _ in range(10)]
    skate.get([total.remote(other) for other in others])
    assert part.sum() == 7 * MB, "the memory of a live view was given to somebody else"


def test_a_view_in_a_worker_outlives_its_reference() -> None:
    @skate.remote
    class Keeper:
        def keep(self, array: np.ndarray) -> None:
            self.part = array[::2]

        def total(self) -> int:
            return int(self.part.sum())

    keeper = Keeper.remote()
    skate.get(keeper.keep.remote(make.remote(8 * MB, 3)))
    for _ in range(5):
        skate.get(total.remote(np.zeros(8 * MB, np.uint8)))
    assert skate.get(keeper.total.remote()) == 3 * 4 * MB


def test_memory_is_given_back() -> None:
    for _ in range(100):
        assert skate.get(total.remote(make.remote(20 * MB))) == 20 * MB


def test_results_pass_between_workers() -> None:
    refs = [make.remote(MB, i) for i in range(10)]
    assert skate.get([total.remote(ref) for ref in refs]) == [i * MB for i in range(10)]


def test_put_in_a_task_and_hand_out() -> None:
    @skate.remote
    def handed_out() -> list[Any]:
        return [skate.put("small"), skate.put(np.ones(MB, np.uint8))]

    small, large = skate.get(handed_out.remote())
    assert skate.get(small) == "small"
    assert skate.get(large).sum() == MB


def test_an_object_too_large_for_the_store() -> None:
    capacity = store()["capacity"]
    with pytest.raises(ObjectStoreFullError, match=str(capacity)[:3]):
        skate.put(np.zeros(capacity + MB, np.uint8))
    with pytest.raises(ObjectStoreFullError):
        skate.get(make.remote(capacity + MB))


def test_a_full_store_is_an_error_and_recovers() -> None:
    read = []
    with pytest.raises(ObjectStoreFullError):
        for _ in range(30):
            read.append(skate.get(skate.put(np.ones(40 * MB, np.uint8))))
    assert 5 <= len(read) <= 10
    assert read[0][5] == 1, "what is in the store stays readable"
    read.clear()
    assert skate.get(skate.put(np.ones(200 * MB, np.uint8))).sum() == 200 * MB


def test_a_put_waits_for_room() -> None:
    read = [skate.get(skate.put(np.ones(40 * MB, np.uint8))) for _ in range(8)]

    @skate.remote
    def large() -> np.ndarray:
        return np.ones(200 * MB, np.uint8)

    waiting = large.remote()
    ready, _ = skate.wait([waiting], timeout=0.3)
    assert not ready
    read.clear()
    assert skate.get(waiting, timeout=20)[0] == 1


def test_dropping_a_reference_before_the_task_ends() -> None:
    for _ in range(20):
        make.remote(5 * MB)
    assert skate.get(total.remote(make.remote(100))) == 100


def test_large_arguments_go_through_the_store_once() -> None:
    array = np.ones(30 * MB, np.uint8)
    ref = skate.put(array)
    before = store()["objects"]
    assert skate.get([total.remote(ref) for _ in range(20)]) == [30 * MB] * 20
    eventually(lambda: store()["objects"] <= before + 1)


def test_a_large_reference_argument_costs_little() -> None:
    ref = skate.put(np.ones(100 * MB, np.uint8))

    @skate.remote
    def first(array: np.ndarray) -> int:
        return int(array[0])

    skate.get([first.remote(ref) for _ in range(10)])
    start = time.perf_counter()
    for _ in range(50):
        assert skate.get(first.remote(ref)) == 1
    assert (time.perf_counter() - start) / 50 < 0.01


def test_put_of_a_reference() -> None:
    with pytest.raises(TypeError, match="ObjectRef"):
        skate.put(skate.put(1))
