"""Actors with max_concurrency above 1 and plain methods: threads."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import skate
from skate.exceptions import TaskCancelledError

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote(max_concurrency=4)
class Threads:
    def __init__(self) -> None:
        self.barrier = threading.Barrier(4)
        self.event = threading.Event()

    def meet(self) -> int:
        return self.barrier.wait(10)

    def wait(self) -> bool:
        return self.event.wait(10)

    def set(self) -> None:
        self.event.set()

    def until_cancelled(self) -> str:
        deadline = time.monotonic() + 10
        while not skate.get_runtime_context().is_canceled():
            if time.monotonic() > deadline:
                return "never cancelled"
            time.sleep(0.001)
        raise RuntimeError("saw it")

    def nested(self, x: int) -> int:
        return skate.get(skate.remote(lambda y: y + 1).remote(x))

    def task_id(self) -> str | None:
        time.sleep(0.001)
        return skate.get_runtime_context().get_task_id()

    def fail(self, x: int) -> None:
        raise ValueError(str(x))


def test_calls_run_at_the_same_time() -> None:
    actor = Threads.remote()
    assert sorted(skate.get([actor.meet.remote() for _ in range(4)])) == [0, 1, 2, 3]


def test_one_call_waits_for_another() -> None:
    actor = Threads.remote()
    waiting = [actor.wait.remote() for _ in range(3)]
    skate.get(actor.set.remote())
    assert skate.get(waiting) == [True] * 3


def test_threads_submit_and_get() -> None:
    actor = Threads.remote()
    assert skate.get([actor.nested.remote(i) for i in range(20)]) == list(range(1, 21))


def test_context_is_the_threads_own() -> None:
    actor = Threads.remote()
    refs = [actor.task_id.remote() for _ in range(20)]
    assert skate.get(refs) == [ref.task_id() for ref in refs]


def test_errors_stay_apart() -> None:
    actor = Threads.remote()
    refs = [actor.fail.remote(i) for i in range(10)]
    for i, ref in enumerate(refs):
        with pytest.raises(ValueError, match=str(i)):
            skate.get(ref)


def test_cancel_sets_a_flag() -> None:
    actor = Threads.remote()
    ref = actor.until_cancelled.remote()
    skate.wait([ref], timeout=0.05)
    skate.cancel(ref)
    with pytest.raises((TaskCancelledError, RuntimeError)):
        skate.get(ref, timeout=10)


def test_threads_in_the_driver() -> None:
    @skate.remote
    def echo(x: int) -> int:
        return x

    results: dict[int, Any] = {}

    def work(me: int) -> None:
        results[me] = skate.get([echo.remote(me * 1000 + i) for i in range(100)])

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {me: [me * 1000 + i for i in range(100)] for me in range(8)}


def test_thread_of_a_task_may_submit() -> None:
    @skate.remote
    def echo(x: int) -> int:
        return x

    @skate.remote
    def threaded() -> list[int]:
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.extend(skate.get([echo.remote(i) for i in range(5)])))
        thread.start()
        thread.join()
        return results

    assert skate.get(threaded.remote()) == [0, 1, 2, 3, 4]
