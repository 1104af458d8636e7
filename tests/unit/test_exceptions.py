"""Exceptions: names, hierarchy, pickling, and the class that is two."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from skate import exceptions as ex

RAY_NAMES = """
RayError RayTaskError TaskCancelledError WorkerCrashedError RayActorError ActorDiedError ActorUnavailableError
LocalRayletDiedError NodeDiedError ObjectLostError OwnerDiedError ObjectReconstructionFailedError
ObjectFreedError ObjectFetchTimedOutError ReferenceCountingAssertionError ObjectStoreFullError OutOfDiskError
OutOfMemoryError GetTimeoutError RuntimeEnvSetupError TaskPlacementGroupRemoved ActorPlacementGroupRemoved
TaskUnschedulableError ActorUnschedulableError PendingCallsLimitExceeded UnserializableException
AuthenticationError RayChannelError RayChannelTimeoutError RayCgraphCapacityExceeded
StreamingGeneratorReplayInconsistentError ActorAlreadyExistsError ActorHandleNotFoundError CrossLanguageError
RaySystemError
"""


@pytest.mark.parametrize("name", RAY_NAMES.split())
def test_rays_names_exist_and_survive_pickling(name):
    cls = getattr(ex, name)
    assert issubclass(cls, ex.RayError)
    if cls is ex.RayTaskError:
        return
    error = cls("something")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def test_aliases_and_bases():
    assert ex.SkateError is ex.RayError
    assert ex.TaskError is ex.RayTaskError
    assert ex.ActorError is ex.RayActorError
    assert issubclass(ex.GetTimeoutError, TimeoutError)
    assert issubclass(ex.ActorDiedError, ex.RayActorError)
    assert issubclass(ex.OwnerDiedError, ex.ObjectLostError)
    assert issubclass(ex.ActorAlreadyExistsError, ValueError)
    assert issubclass(ex.UnsupportedError, NotImplementedError)
    assert issubclass(ex.OutOfMemoryError, ex.WorkerCrashedError)


def test_a_crash_says_all_that_is_known():
    error = ex.WorkerCrashedError("The worker of task f died.", 9, None, 50_000_000, ["last", "words"])
    text = str(pickle.loads(pickle.dumps(error)))
    for part in ("task f", "9 (SIGKILL)", "50 MB", "last", "words"):
        assert part in text
    assert pickle.loads(pickle.dumps(error)).last_output == ["last", "words"]


def test_an_actor_that_failed_to_start_carries_the_cause():
    cause = task_error(ValueError("no")).as_instanceof_cause()
    error = pickle.loads(pickle.dumps(ex.ActorDiedError(cause, actor_id="ab", class_name="C")))
    assert error.actor_init_failed
    assert isinstance(error.cause, ValueError)
    assert "C ab" in str(error) and "no" in str(error)


def task_error(cause):
    text = f"Traceback (most recent call last):\n{type(cause).__name__}: {cause}\n"
    return ex.RayTaskError("f", text, cause, 12, "abcd")


class Plain(Exception):
    pass


class NeedsArguments(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")
        self.a, self.b = a, b


class Slotted(Exception):
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Meta(type):
    pass


class WithMeta(Exception, metaclass=Meta):
    pass


class StrictNew(Exception):
    def __new__(cls, a, b):
        return super().__new__(cls, a, b)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    x: int


class Final(Exception):
    def __init_subclass__(cls) -> None:
        raise TypeError("final")


def loaded(error):
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize(
    "cause",
    [
        ValueError("v"),
        KeyError("k"),
        OSError(2, "no such file", "name"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        StopIteration(3),
        ExceptionGroup("several", [ValueError(1)]),
        Plain("p"),
        WithMeta("m"),
        Slotted(3),
        StrictNew(1, 2),
        NeedsArguments(1, 2),
        Frozen(5),
        ex.WorkerCrashedError("inner"),
        ex.GetTimeoutError("late"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_the_error_of_a_task_is_also_what_the_task_raised(cause):
    error = task_error(cause).as_instanceof_cause()
    assert isinstance(error, ex.RayTaskError)
    assert isinstance(error, type(cause))
    assert error.cause is cause
    assert error.args == cause.args
    assert (error.function_name, error.pid, error.task_id) == ("f", 12, "abcd")
    assert "f() failed (pid=12, task abcd)" in str(error)
    try:
        raise error
    except type(cause) as caught:
        assert caught is error


def test_fields_of_the_cause_are_there():
    error = task_error(OSError(2, "no such file", "name")).as_instanceof_cause()
    assert (error.errno, error.filename) == (2, "name")
    assert task_error(NeedsArguments(1, 2)).as_instanceof_cause().b == 2
    assert task_error(Slotted(3)).as_instanceof_cause().x == 3
    assert task_error(Frozen(5)).as_instanceof_cause().x == 5
    assert task_error(UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")).as_instanceof_cause().reason == "bad"
    group = task_error(ExceptionGroup("several", [ValueError(1)])).as_instanceof_cause()
    assert [type(each) for each in group.exceptions] == [ValueError]


def test_the_class_is_made_once():
    assert type(task_error(Plain()).as_instanceof_cause()) is type(task_error(Plain()).as_instanceof_cause())


@pytest.mark.parametrize("cause", [Final("f"), KeyboardInterrupt(), SystemExit(1), None], ids=repr)
def test_where_no_such_class_can_be(cause):
    made = ex.RayTaskError("f", "trace") if cause is None else task_error(cause)
    error = made.as_instanceof_cause()
    assert type(error) is ex.RayTaskError
    assert error.cause is cause


@pytest.mark.parametrize("cause", [ValueError("v"), OSError(2, "no", "n"), Plain("p"), StrictNew(1, 2)], ids=repr)
def test_the_double_class_survives_pickling(cause):
    error = task_error(cause).as_instanceof_cause()
    error.add_note("a note")
    again = loaded(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert again.__notes__ == ["a note"]
    assert type(loaded(task_error(cause))) is ex.RayTaskError


def test_subclasses_by_users_survive_pickling():
    error = MyError(1, b=2)
    assert loaded(error).b == 2


class MyError(ex.RayError):
    def __init__(self, a, *, b):
        super().__init__(f"{a}")
        self.b = b
