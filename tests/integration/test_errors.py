"""Errors: bad input is refused at the call, and what a task raises arrives as its own type with its traceback."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

import skate
from skate.exceptions import (
    ActorUnschedulableError,
    RayError,
    RayTaskError,
    TaskUnschedulableError,
    UnserializableException,
)

from .scripts import run_script

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
def divide(a: float, b: float) -> float:
    return a / b


@skate.remote
def echo(x: Any) -> Any:
    return x


@skate.remote
def call(box: list[Any]) -> Any:
    return skate.get(box[0])


def test_a_task_error_is_its_own_type_and_a_task_error() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        skate.get(divide.remote(1, 0))
    error: Any = caught.value
    assert isinstance(error, RayTaskError)
    assert isinstance(error, skate.exceptions.TaskError)
    assert isinstance(error.cause, ZeroDivisionError)
    assert error.function_name == "divide"
    text = str(error)
    assert "return a / b" in text, "the line that failed"
    assert "test_errors.py" in text
    assert f"pid={error.pid}" in text


def test_each_get_raises_a_fresh_error() -> None:
    ref = divide.remote(1, 0)
    errors = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            skate.get(ref)
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_through_several_tasks() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        skate.get(call.remote([call.remote([divide.remote(1, 0)])]))
    text = str(caught.value)
    assert "divide() failed" in text
    assert "call() failed" in text


def test_attributes_and_notes_survive() -> None:
    class Custom(Exception):
        def __init__(self, code: int, *, detail: str) -> None:
            super().__init__(f"code {code}")
            self.code = code
            self.detail = detail

    @skate.remote
    def fail() -> None:
        error = Custom(7, detail="more")
        error.add_note("a note")
        raise error from KeyError("origin")

    with pytest.raises(Custom) as caught:
        skate.get(fail.remote())
    assert caught.value.code == 7
    assert caught.value.detail == "more"
    assert "KeyError" in str(caught.value)
    assert "a note" in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


def test_an_exception_that_cannot_be_pickled() -> None:
    class Locked(Exception):
        def __init__(self) -> None:
            super().__init__("held")
            self.lock = threading.Lock()

    @skate.remote
    def fail() -> None:
        raise Locked()

    with pytest.raises(RayTaskError, match="held") as caught:
        skate.get(fail.remote())
    assert caught.value.cause_type.endswith("Locked")
    assert "raise Locked()" in str(caught.value)


def test_an_exception_that_cannot_be_unpickled() -> None:
    def explode() -> None:
        raise RuntimeError("not here")

    class Bomb(Exception):
        def __reduce__(self) -> Any:
            return explode, ()

    @skate.remote
    def fail() -> None:
        raise Bomb("original")

    with pytest.raises((RayTaskError, UnserializableException), match="Bomb"):
        skate.get(fail.remote())
    assert skate.get(echo.remote(1)) == 1


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_exceptions_that_are_no_errors(name: str) -> None:
    @skate.remote(max_retries=0)
    def leave(name: str) -> None:
        raise __builtins__[name]("left") if isinstance(__builtins__, dict) else getattr(__builtins__, name)("left")

    with pytest.raises(RayError):
        skate.get(leave.remote(name))
    assert skate.get(echo.remote(1)) == 1


def test_stop_iteration() -> None:
    @skate.remote
    def stop() -> None:
        raise StopIteration(3)

    with pytest.raises(StopIteration):
        skate.get(stop.remote())


def test_deep_recursion_in_a_task() -> None:
    @skate.remote
    def deep(n: int) -> int:
        def down(n: int) -> int:
            return down(n + 1)

        return down(n)

    with pytest.raises(RecursionError):
        skate.get(deep.remote(0))


def test_errors_can_be_pickled() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        skate.get(divide.remote(1, 0))
    back = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(back, ZeroDivisionError)
    assert str(back) == str(caught.value)


def test_calling_a_remote_function() -> None:
    with pytest.raises(TypeError, match=r"divide\.remote"):
        divide(1, 2)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="b"):
        divide.remote(1)
    with pytest.raises(TypeError, match="divide"):
        divide.remote(1, 2, 3)
    with pytest.raises(TypeError, match="c"):
        divide.remote(1, 2, c=3)


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="num_cpus"):
        skate.remote(num_cpu=1)(lambda: 1)
    with pytest.raises((TypeError, ValueError), match="num_cpus"):
        echo.options(num_cpus="two")
    with pytest.raises(ValueError, match="num_cpus"):
        echo.options(num_cpus=-1)
    with pytest.raises(ValueError, match="max_restarts"):
        echo.options(max_restarts=1)
    with pytest.raises(ValueError, match="num_cpus"):
        echo.options(resources={"CPU": 1})
    with pytest.raises(ValueError, match="num_returns"):
        echo.options(num_returns=-1)
    with pytest.raises(TypeError, match=r"function|class"):
        skate.remote(3)
    with pytest.raises(TypeError, match="remote"):
        skate.remote(echo)


def test_requests_that_can_never_be_met() -> None:
    with pytest.raises(TaskUnschedulableError, match="CPU: 2"):
        echo.options(num_cpus=3).remote(1)
    with pytest.raises(TaskUnschedulableError, match="green"):
        echo.options(resources={"green": 1}).remote(1)
    with pytest.raises(ActorUnschedulableError, match="CPU"):
        skate.remote(num_cpus=64)(type("A", (), {})).remote()


def test_a_second_init() -> None:
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        skate.init()
    skate.init(ignore_reinit_error=True)
    assert skate.get(echo.remote(1)) == 1


def test_use_after_shutdown() -> None:
    done = run_script("""
        import skate

        @skate.remote
        def one():
            return 1

        @skate.remote
        class Actor:
            def one(self):
                return 1

        skate.init(num_cpus=1)
        old, actor, done = skate.put([1]), Actor.remote(), one.remote()
        pending = skate.remote(lambda: __import__("time").sleep(10)).remote()
        skate.get(actor.one.remote())
        skate.shutdown()
        skate.shutdown()
        assert not skate.is_initialized()
        uses = [lambda: skate.get(pending), lambda: skate.get(actor.one.remote())]
        for use in [*uses, lambda: skate.get(skate.wait([pending])[0])]:
            try:
                use()
            except skate.exceptions.RaySystemError as error:
                assert "init" in str(error) or "shut down" in str(error), error
            else:
                raise AssertionError("no error")
        skate.init(num_cpus=1)
        assert skate.get(one.remote()) == 1
        echo = skate.remote(lambda x: x)
        for use in (lambda: skate.get(echo.remote([old])), lambda: skate.get(actor.one.remote())):
            try:
                use()
            except skate.exceptions.RayError as error:
                print("refused:", type(error).__name__)
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == 2


def test_automatic_init() -> None:
    done = run_script("""
        import skate
        assert not skate.is_initialized()
        print(skate.get(skate.remote(lambda: 41 + 1).remote()))
        assert skate.is_initialized()
    """)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def test_init_after_shutdown_many_times() -> None:
    done = run_script("""
        import os, skate
        for i in range(5):
            with skate.init(num_cpus=1):
                assert skate.get(skate.remote(lambda: i).remote()) == i
        print(len(os.listdir("/proc/self/fd")))
    """)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 6, "descriptors are left after shutdown"


def test_wrong_init() -> None:
    done = run_script("""
        import skate
        wrong = [{"num_cpus": -1}, {"num_cpu": 1}, {"object_store_memory": "x"}, {"namespace": 3}, {"address": "auto"}]
        wrong += [{"address": "10.0.0.1:6379"}, {"local_mode": True}, {"mode": "threads"}, {"labels": {"a": "b c"}}]
        for options in wrong:
            try:
                skate.init(**options)
            except Exception as error:
                assert next(iter(options)) in str(error), (options, error)
            else:
                raise AssertionError(options)
            assert not skate.is_initialized()
    """)
    assert done.returncode == 0, done.stderr
