"""F16: the store smaller than asked for, full, or without memory behind it: typed errors, never a SIGBUS or a hang."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.exceptions import ObjectStoreFullError, RayTaskError
from skate.testing import eventually

from .conftest import check_health

GET_S = 20
MB = 1 << 20
STORE = 100 * MB


@pytest.fixture
def small(start: Callable[..., str]) -> Iterator[None]:
    """A cluster with a small store, healthy before and after."""
    start(object_store_memory=STORE)
    check_health()
    yield
    check_health()
    eventually(lambda: ask("store")["objects"] == 0, 5, "the store is empty again")
    assert ask("validate")


def ask(what: str) -> Any:
    runtime: Any = current.runtime
    return runtime.ask(what)


@skate.remote
def make(size: int) -> np.ndarray:
    return np.ones(size, np.uint8)


@skate.remote
def total(array: np.ndarray) -> int:
    return int(array.sum(dtype=np.int64))


def test_f16_an_object_larger_than_the_store(small: None) -> None:
    for _ in range(2):
        with pytest.raises(ObjectStoreFullError, match="object store holds"):
            skate.put(np.ones(STORE + MB, np.uint8))
        with pytest.raises(ObjectStoreFullError):
            total.remote(np.ones(STORE + MB, np.uint8))
    assert skate.get(total.remote(np.ones(50 * MB, np.uint8)), timeout=GET_S) == 50 * MB


def test_f16_a_result_larger_than_the_store(small: None) -> None:
    with pytest.raises(ObjectStoreFullError) as caught:
        skate.get(make.options(max_retries=0).remote(STORE + MB), timeout=GET_S)
    assert isinstance(caught.value, RayTaskError)
    assert skate.get(total.remote(make.remote(50 * MB)), timeout=GET_S) == 50 * MB


def test_f16_a_store_full_of_what_is_in_use(small: None) -> None:
    """Nobody will ever make room: an error, in a time that one can wait."""
    read = []
    with pytest.raises(ObjectStoreFullError) as caught:
        for number in range(12):
            read.append(skate.get(skate.put(np.full(20 * MB, number, np.uint8))))
    assert 3 <= len(read) <= 5
    assert str(STORE) in str(caught.value)
    assert f"of driver process {os.getpid()}, " in str(caught.value), "it says who holds what"
    for number, array in enumerate(read):
        assert int(array[-1]) == number, "what is in memory stays readable"
    del read, array
    for _ in range(10):
        skate.put(np.ones(20 * MB, np.uint8))


def test_f16_room_that_comes_free_is_waited_for(small: None) -> None:
    """More results than fit at a time, each let go when it was read."""
    pending = [make.remote(20 * MB) for _ in range(15)]
    seen = 0
    while pending:
        ready, pending = skate.wait(pending, timeout=GET_S)
        assert ready, "no result in time"
        seen += len(skate.get(ready[0], timeout=GET_S))
        del ready
    assert seen == 15 * 20 * MB


def refuse(counter: list[int]) -> Callable[[int, int, int], None]:
    """As `os.posix_fallocate` of a machine whose memory is used up."""

    def fallocate(fd: int, offset: int, size: int) -> None:
        counter.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fallocate


def test_f16_the_machine_has_no_memory_for_a_put(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse(refused))
        with pytest.raises(ObjectStoreFullError, match=os.strerror(errno.ENOSPC)):
            skate.put(np.ones(30 * MB, np.uint8))
    assert refused, "the fault did not happen"
    for _ in range(5):
        assert int(skate.get(skate.put(np.ones(30 * MB, np.uint8)), timeout=GET_S)[0]) == 1


def test_f16_the_machine_has_no_memory_for_a_result(small: None) -> None:
    @skate.remote(max_retries=0)
    def starved(size: int) -> np.ndarray:
        import os

        calls: list[int] = []
        whole, os.posix_fallocate = os.posix_fallocate, refuse(calls)
        try:
            skate.put(np.ones(size, np.uint8))
        finally:
            os.posix_fallocate = whole
        return np.ones(size, np.uint8)

    with pytest.raises(ObjectStoreFullError, match=os.strerror(errno.ENOSPC)) as caught:
        skate.get(starved.remote(30 * MB), timeout=GET_S)
    assert isinstance(caught.value, RayTaskError)


def test_f16_memory_is_reserved_before_it_is_written(small: None) -> None:
    """Each page that is written was reserved first: running out is an error then, not a SIGBUS."""
    reserved: list[tuple[int, int]] = []
    whole = os.posix_fallocate

    def noted(fd: int, offset: int, size: int) -> None:
        reserved.append((offset, size))
        whole(fd, offset, size)

    os.posix_fallocate = noted
    try:
        ref = skate.put(np.ones(30 * MB, np.uint8))
    finally:
        os.posix_fallocate = whole
    assert sum(size for _, size in reserved) >= 30 * MB
    del ref


def test_f16_a_killed_writer_gives_its_memory_back(small: None) -> None:
    @skate.remote(max_retries=0)
    def fills_and_dies() -> None:
        held = [skate.put(np.ones(20 * MB, np.uint8)) for _ in range(4)]
        os._exit(len(held))

    for _ in range(4):
        with pytest.raises(skate.exceptions.WorkerCrashedError) as caught:
            skate.get(fills_and_dies.remote(), timeout=GET_S)
        assert caught.value.exit_code == 4
    assert skate.get(total.remote(make.remote(80 * MB)), timeout=GET_S) == 80 * MB


def test_what_ran_when_memory_became_short_is_let_go(small: None) -> None:
    """The client notes which tasks those were. Their results must not live by that, as the end of the fixture shows."""

    @skate.remote
    def late() -> np.ndarray:
        time.sleep(0.3)
        return np.ones(20 * MB, np.uint8)

    runtime: Any = current.runtime
    refs = [late.remote() for _ in range(2)]
    eventually(lambda: list(runtime.spilling._in_flight()), 5, "they run")
    with runtime.lock:
        runtime.spilling.press()
    assert [len(array) for array in skate.get(refs, timeout=GET_S)] == [20 * MB] * 2


@skate.remote(max_calls=1)
def join_after(size: int, *pieces: np.ndarray) -> np.ndarray:
    """Reads all pieces when its result is to be stored."""
    out = np.full(size, len(pieces), np.uint8)
    out[: len(pieces)] = [int(piece[0]) for piece in pieces]
    reading.extend(pieces)
    return out


reading: list[np.ndarray] = []


def test_f16_what_is_read_lies_all_over_the_store(small: None) -> None:
    """A third is in use, in small pieces that cannot move: there is room for a large block all the same."""
    refs = [skate.put(np.full(350 << 10, number, np.uint8)) for number in range(240)]
    used = refs[::3]
    result = join_after.remote(40 * MB, *used)
    del refs
    array = skate.get(result, timeout=GET_S)
    assert array.nbytes == 40 * MB and array[-1] == len(used)
    assert array[: len(used)].tolist() == [3 * number for number in range(len(used))]
    assert resident(current.runtime) <= STORE + MB, "as much was given back to the machine"
    del array, result, used


def resident(runtime: Any) -> int:
    """The memory of the arena."""
    return os.fstat(runtime.memory.arena.fd).st_blocks * 512
