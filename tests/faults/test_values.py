"""F24, F25: values too large for a message, and pickles that are hostile or cannot be made or loaded."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.exceptions import ActorDiedError, RayError, RayTaskError, WorkerCrashedError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("healthy")

GET_S = 15
MB = 1 << 20


def ask(what: str) -> Any:
    runtime: Any = current.runtime
    return runtime.ask(what)


@skate.remote
def echo(value: Any) -> Any:
    return value


@skate.remote
def size(value: Any) -> int:
    return len(value)


@skate.remote(max_retries=0)
def ignores(*_: Any) -> int:
    return os.getpid()


# ------------------------------------------------------------ F24


@pytest.mark.parametrize("make", [lambda: np.ones(100 * MB, np.uint8), lambda: bytes(100 * MB)], ids=["array", "bytes"])
def test_f24_a_large_argument_goes_through_the_store(make: Callable[[], Any]) -> None:
    @skate.remote
    def holds(value: Any) -> tuple[int, int]:
        import resource

        return len(value), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    refs = [holds.remote(make()) for _ in range(2)]
    for length, _ in skate.get(refs, timeout=GET_S):
        assert length == 100 * MB


def test_f24_a_large_result_and_its_like_as_an_argument() -> None:
    @skate.remote
    def large() -> np.ndarray:
        return np.full(100 * MB, 3, np.uint8)

    assert skate.get(size.remote(large.remote()), timeout=GET_S) == 100 * MB


def test_f24_a_large_closure_goes_through_the_store() -> None:
    data = np.ones(40 * MB, np.uint8)

    @skate.remote
    def closes_over() -> int:
        return int(data[0]) + len(data)

    assert skate.get([closes_over.remote() for _ in range(4)], timeout=GET_S) == [40 * MB + 1] * 4


def test_f24_many_middling_arguments() -> None:
    """Each below the limit of an inline value; together far above what a packet holds."""

    @skate.remote
    def total(*values: bytes) -> int:
        return sum(map(len, values))

    assert skate.get(total.remote(*[bytes(30_000) for _ in range(1000)]), timeout=GET_S) == 30_000_000


def test_f24_a_large_error_is_an_error() -> None:
    @skate.remote
    def fails() -> None:
        raise ValueError("x" * (50 * MB))

    with pytest.raises(RayTaskError) as caught:
        skate.get(fails.remote(), timeout=GET_S)
    assert "ValueError" in str(caught.value)


def test_f24_an_oversized_actor_call() -> None:
    @skate.remote
    class Sink:
        def size(self, value: Any) -> int:
            return len(value)

    sink = Sink.remote()
    assert skate.get(sink.size.remote(bytes(100 * MB)), timeout=GET_S) == 100 * MB
    assert skate.get(sink.size.remote(b"123"), timeout=GET_S) == 3


# ------------------------------------------------------------ F25


class Evil:
    """Runs a function with arguments where it is unpickled."""

    def __init__(self, run: Callable[..., Any], *arguments: Any) -> None:
        self.how = run, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.how


def fail_to_load(text: str) -> None:
    raise KeyError(text)


def kill_unless(pid: int) -> str:
    """Kills the process, unless it is the driver's."""
    if os.getpid() != pid:
        os.kill(os.getpid(), signal.SIGKILL)
    return "harmless here"


def test_f25_an_argument_that_cannot_be_loaded() -> None:
    with pytest.raises(RayTaskError, match="not to be loaded"):
        skate.get(ignores.remote(Evil(fail_to_load, "not to be loaded")), timeout=GET_S)


def test_f25_a_result_that_cannot_be_loaded() -> None:
    @skate.remote
    def gives() -> Evil:
        return Evil(fail_to_load, "not to be loaded")

    ref = gives.remote()
    for _ in range(2):
        with pytest.raises((KeyError, RayError), match="not to be loaded"):
            skate.get(ref, timeout=GET_S)


def test_f25_a_hostile_argument_kills_its_worker_only() -> None:
    held = skate.put(np.ones(MB, np.uint8))
    node = {worker["pid"] for worker in ask("workers")}
    with pytest.raises(WorkerCrashedError) as caught:
        skate.get(ignores.remote(Evil(kill_unless, os.getpid())), timeout=GET_S)
    assert caught.value.exit_signal == signal.SIGKILL
    assert node
    assert len(skate.get(held, timeout=GET_S)) == MB


@pytest.mark.parametrize("inside", [0, 2 * MB], ids=["inline", "in the store"])
def test_f25_neither_node_nor_driver_unpickles_what_it_passes_on(inside: int) -> None:
    """The hostile value goes from worker to worker by reference: only the process that reads it suffers."""
    driver = os.getpid()

    @skate.remote
    def gives() -> tuple[Any, bytes]:
        return Evil(kill_unless, driver), bytes(inside)

    ref = gives.remote()
    skate.wait([ref], timeout=GET_S)
    with pytest.raises(WorkerCrashedError):
        skate.get(ignores.remote(ref), timeout=GET_S)
    assert skate.get(ignores.remote([ref]), timeout=GET_S), "as a reference it is not read"
    assert skate.get(ref, timeout=GET_S)[0] == "harmless here"


def test_f25_a_hostile_argument_kills_its_actor_only() -> None:
    @skate.remote
    class Target:
        def take(self, _: Any) -> int:
            return os.getpid()

    target, other = Target.remote(), Target.remote()
    pid = skate.get(other.take.remote(0), timeout=GET_S)
    with pytest.raises(ActorDiedError) as caught:
        skate.get(target.take.remote(Evil(kill_unless, os.getpid())), timeout=GET_S)
    assert caught.value.exit_signal == signal.SIGKILL
    assert skate.get(other.take.remote(0), timeout=GET_S) == pid


def test_f25_a_result_that_cannot_be_pickled() -> None:
    @skate.remote
    def gives() -> Any:
        return {"inner": [threading.Lock()]}

    with pytest.raises(TypeError, match="lock") as caught:
        skate.get(gives.remote(), timeout=GET_S)
    assert isinstance(caught.value, RayTaskError)


def test_f25_an_item_of_a_stream_that_cannot_be_pickled() -> None:
    @skate.remote
    def gives() -> Any:
        yield 1
        yield threading.Lock()

    stream = gives.remote()
    assert skate.get(next(stream), timeout=GET_S) == 1
    with pytest.raises((TypeError, RayTaskError), match="lock"):
        skate.get(next(stream), timeout=GET_S)


def test_f25_a_result_whose_pickling_raises_anything() -> None:
    class Bad:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def __reduce__(self) -> Any:
            raise self.error

    @skate.remote(max_retries=0)
    def gives(error: BaseException) -> Any:
        return Bad(error)

    for error in (ValueError("on purpose"), RecursionError("on purpose"), KeyboardInterrupt("on purpose")):
        with pytest.raises(RayError, match="on purpose"):
            skate.get(gives.remote(error), timeout=GET_S)


class NeedsTwo(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class HasLock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Explodes(Exception):
    def __reduce__(self) -> Any:
        return fail_to_load, ("exploded while loading",)


class KillsTheReader(Exception):
    def __reduce__(self) -> Any:
        return os._exit, (1,)


class NoText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("make", "typed"),
    [
        (lambda: NeedsTwo(1, 2), True),
        (lambda: HasLock("a lock inside"), True),
        (lambda: Explodes("it explodes"), False),
        (lambda: NoText("no text"), True),
        (lambda: pickle.PicklingError("of the library's own"), True),
        (lambda: ExceptionGroup("several", [ValueError("one"), HasLock("two")]), False),
    ],
    ids=["two arguments", "lock", "unloadable", "no text", "pickling error", "group"],
)
def test_f25_exceptions_that_cannot_be_pickled(make: Callable[[], Exception], typed: bool) -> None:
    @skate.remote
    def fails() -> None:
        raise make()

    with pytest.raises(RayTaskError) as caught:
        skate.get(fails.remote(), timeout=GET_S)
    name = type(make()).__name__
    assert name in str(caught.value) or name in repr(caught.value)
    assert caught.value.cause_type.endswith(name)
    if typed:
        assert isinstance(caught.value.cause, Exception)


def test_f25_an_exception_that_kills_whoever_loads_it_kills_its_worker_at_most() -> None:
    """Errors are loaded back where they were raised before they are sent: the driver is never the first to try."""

    @skate.remote(max_retries=0)
    def fails() -> None:
        raise KillsTheReader("deadly")

    with pytest.raises((RayTaskError, WorkerCrashedError)):
        skate.get(fails.remote(), timeout=GET_S)


def test_f25_a_function_that_cannot_be_loaded() -> None:
    evil = Evil(fail_to_load, "the closure does not load")

    @skate.remote
    def closes_over() -> Any:
        return evil

    with pytest.raises(RayError, match="closure does not load"):
        skate.get(closes_over.remote(), timeout=GET_S)


def test_f25_a_class_that_cannot_be_loaded() -> None:
    evil = Evil(fail_to_load, "the class does not load")

    @skate.remote
    class Broken:
        def __init__(self) -> None:
            self.evil = evil

        def method(self) -> int:
            return 1

    with pytest.raises(ActorDiedError, match="class does not load"):
        skate.get(Broken.remote().method.remote(), timeout=GET_S)


def test_f25_what_cannot_be_pickled_fails_at_the_call() -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        echo.remote([lock])
    with pytest.raises(TypeError, match="lock"):
        skate.put({"a": lock})
    eventually(lambda: ask("validate"), 5)
