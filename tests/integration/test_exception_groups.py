"""Exception groups that a task raises, with members that cannot travel."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import skate
from skate.exceptions import RayTaskError, UnserializableException

pytestmark = pytest.mark.usefixtures("cluster")


class Locked(Exception):
    """Its objects lose their lock on the way; the rest of them arrives."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Painted(ExceptionGroup):  # type: ignore[type-arg]
    """A group whose class has arguments of its own."""

    def __new__(cls, color: str, errors: list[Exception]) -> Painted:
        return super().__new__(cls, "painted", errors)

    def __init__(self, color: str, errors: list[Exception]) -> None:
        self.color = color

    def derive(self, excs: Any) -> Painted:
        return Painted(self.color, list(excs))


def stuck() -> Exception:
    """An exception whose class cannot be pickled, in no form."""

    class Stuck(Exception):
        lock = threading.Lock()

    return Stuck("stuck here")


@skate.remote(max_retries=0)
def fail(kind: str) -> None:
    if kind == "plain":
        raise ExceptionGroup("plain", [ValueError(1), KeyError("k")])
    if kind == "painted":
        raise Painted("red", [ValueError(1), stuck()])
    if kind == "base":
        raise BaseExceptionGroup("base", [KeyboardInterrupt(), stuck()])
    inner = ExceptionGroup("inner", [KeyError("k"), stuck()])
    inner.add_note("of the inner one")
    raise ExceptionGroup("outer", [ValueError(1), Locked("lost"), stuck(), inner])


def caught(kind: str) -> Any:
    with pytest.raises(RayTaskError) as info:
        skate.get(fail.remote(kind))
    return info.value


def test_all_members_travel() -> None:
    error = caught("plain")
    assert isinstance(error, ExceptionGroup)
    assert [repr(each) for each in error.exceptions] == ["ValueError(1)", "KeyError('k')"]


def test_members_that_cannot_travel_have_a_standin() -> None:
    error = caught("mixed")
    assert isinstance(error, ExceptionGroup) and error.message == "outer"
    value, locked, standin, inner = error.exceptions
    assert type(value) is ValueError and value.args == (1,)
    assert type(locked).__name__ == "Locked" and locked.args == ("lost",) and "lock" in str(locked.lock)
    assert type(standin) is UnserializableException and "stuck here" in str(standin)
    assert "Stuck" in standin.__notes__[0]
    assert isinstance(inner, ExceptionGroup) and inner.__notes__ == ["of the inner one"]
    assert type(inner.exceptions[0]) is KeyError and type(inner.exceptions[1]) is UnserializableException
    assert error.cause.exceptions == error.exceptions


def test_they_are_caught_by_type() -> None:
    found = []
    try:
        skate.get(fail.remote("mixed"))
    except* ValueError as group:
        found.append(("ValueError", len(group.exceptions)))
    except* KeyError as group:
        found.append(("KeyError", len(group.exceptions)))
    except* UnserializableException as group:
        found.append(("standin", len(group.exceptions)))
    except* Exception as group:
        found.append(("other", len(group.exceptions)))
    assert dict(found) == {"ValueError": 1, "KeyError": 1, "standin": 2, "other": 1}


def test_a_class_with_arguments_of_its_own() -> None:
    cause = caught("painted").cause
    assert type(cause).__name__ == "Painted" and cause.color == "red"
    assert [type(each) for each in cause.exceptions] == [ValueError, UnserializableException]


def test_a_group_of_what_are_no_errors() -> None:
    cause = caught("base").cause
    assert type(cause) is BaseExceptionGroup
    assert [type(each) for each in cause.exceptions] == [KeyboardInterrupt, UnserializableException]
