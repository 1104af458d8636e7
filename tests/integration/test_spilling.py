"""A store of 64 MiB with several times as much in it: every value comes back whole."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.testing import eventually

MB = 1 << 20
STORE = 64 * MB
GET_S = 60


def ask(what: str) -> Any:
    runtime: Any = current.runtime
    return runtime.ask(what)


@pytest.fixture
def small(start: Callable[..., str]) -> Iterator[str]:
    """A session with a small store; at its end nothing is left in memory or on the disk."""
    yield start(object_store_memory=STORE)
    gc.collect()
    eventually(lambda: ask("store")["objects"] == 0, 10, "the store is empty again")
    eventually(lambda: ask("store")["disk_files"] == 0, 10, "the disk is empty again")
    assert ask("validate")


def spilled_files(folder: str) -> list[Path]:
    return [path for path in Path(folder).glob("skate-spilled-*/*") if path.is_file()]


@skate.remote
def make(number: int, size: int = 10 * MB) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, size, np.uint8)


@skate.remote
def check(number: int, array: np.ndarray) -> bool:
    return bool((array == np.random.default_rng(number).integers(0, 256, array.size, np.uint8)).all())


def value(number: int, size: int = 10 * MB) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, size, np.uint8)


def test_500_mb_of_puts_come_back(small: str) -> None:
    refs = [skate.put(value(number)) for number in range(50)]
    assert ask("store")["spilled_bytes"] > 400 * MB
    on_disk = lambda: sum(path.stat().st_size for path in spilled_files(small))  # noqa: E731
    eventually(lambda: on_disk() == ask("store")["disk_bytes"] > 0, 10, "what is being written is written")
    files = spilled_files(small)
    assert all(path.stat().st_mode & 0o77 == 0 for path in [*files, files[0].parent])
    for number in [*range(50), *reversed(range(50))]:
        assert (skate.get(refs[number], timeout=GET_S) == value(number)).all(), number
    assert ask("store")["spilled_bytes"] < 520 * MB, "what was written once is not written again"
    checks = [check.remote(number, ref) for number, ref in enumerate(refs)]
    assert all(skate.get(checks, timeout=GET_S))


def test_a_reader_keeps_its_view(small: str) -> None:
    first = skate.put(value(0))
    view = skate.get(first)
    refs = [skate.put(value(number)) for number in range(1, 30)]
    assert (view == value(0)).all()
    del first
    refs += [skate.put(value(number)) for number in range(30, 40)]
    assert (view == value(0)).all(), "also when the last reference is gone"
    for number, ref in enumerate(refs, 1):
        assert (skate.get(ref) == value(number)).all()


def test_three_tasks_fill_the_store_at_a_time(small: str) -> None:
    @skate.remote(num_cpus=0.5)
    def fills(first: int) -> list[Any]:
        refs = [skate.put(value(number)) for number in range(first, first + 17)]
        assert all((skate.get(ref) == value(number)).all() for number, ref in enumerate(refs, first))
        return refs

    found = skate.get([fills.remote(first) for first in (0, 100, 200)], timeout=GET_S)
    for first, refs in zip((0, 100, 200), found, strict=True):
        for number, ref in enumerate(refs, first):
            assert (skate.get(ref, timeout=GET_S) == value(number)).all(), "the task that has put it is over"
    del refs, ref, found


def test_results_of_tasks_are_spilled_and_passed_on(small: str) -> None:
    made = [make.remote(number) for number in range(40)]
    checks = [check.remote(number, ref) for number, ref in enumerate(made)]
    assert all(skate.get(checks, timeout=GET_S))
    nested = [skate.put([ref]) for ref in made]
    for number, ref in enumerate(nested):
        assert (skate.get(skate.get(ref)[0]) == value(number)).all()


def test_a_shuffle_of_several_stores(small: str) -> None:
    """240 MB through a store of 64 MiB: split by value, then merged and sorted."""
    parts = 6

    @skate.remote(num_returns=parts)
    def split(array: np.ndarray) -> list[np.ndarray]:
        edges = np.linspace(0, 1 << 32, parts + 1)
        return [array[(array >= low) & (array < high)] for low, high in itertools.pairwise(edges)]

    @skate.remote
    def merge(*arrays: np.ndarray) -> np.ndarray:
        return np.sort(np.concatenate(arrays))

    @skate.remote
    def generate(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 1 << 32, 10 * MB // 4, np.uint32)

    pieces = [split.remote(generate.remote(seed)) for seed in range(8)]
    merged = [merge.remote(*(piece[at] for piece in pieces)) for at in range(parts)]
    del pieces
    last = -1
    count = 0
    for ref in merged:
        array = skate.get(ref, timeout=GET_S)
        assert array[0] >= last and (array[1:] >= array[:-1]).all()
        last = int(array[-1])
        count += len(array)
        del array
    assert count == 8 * 10 * MB // 4


def test_an_actor_gets_what_was_spilled(small: str) -> None:
    @skate.remote
    class Keeper:
        def __init__(self, first: np.ndarray) -> None:
            self.sum = int(first.sum())

        def add(self, array: np.ndarray) -> int:
            self.sum += int(array.sum())
            return self.sum

        def pid(self) -> int:
            return os.getpid()

    refs = [skate.put(value(number)) for number in range(20)]
    keeper: Any = Keeper.remote(refs[0])  # type: ignore[attr-defined]
    sums = skate.get([keeper.add.remote(ref) for ref in refs[1:]], timeout=GET_S)
    assert sums[-1] == sum(int(value(number).sum()) for number in range(20))


def test_an_object_outlives_its_maker_on_the_disk(small: str) -> None:
    @skate.remote(max_calls=1)
    def once(number: int) -> list[Any]:
        return [skate.put(value(number))]

    refs = [skate.get(once.remote(number), timeout=GET_S)[0] for number in range(15)]
    for number, ref in enumerate(refs):
        assert (skate.get(ref, timeout=GET_S) == value(number)).all()
