"""Errors packed in one process and unpacked in another."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import pytest

from skate.client.errors import describe_packed, format_remote_traceback, pack_error, to_raise, unpack_error
from skate.exceptions import RayTaskError, TaskCancelledError, WorkerCrashedError


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


def pack(error, name="f"):
    return pack_error(raised(error), function_name=name, pid=7, task_id="aa")


def through(error):
    return to_raise(unpack_error(pack(error)))


class NeedsArguments(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.a, self.b = a, b


class HoldsLock(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()
        self.code = 5


class Unloadable(Exception):
    def __reduce__(self):
        return _explode, ()


def _explode():
    raise RuntimeError("cannot be loaded")


class BadStr(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def test_an_error_arrives_as_its_own_type():
    error = through(ValueError("bad value"))
    assert isinstance(error, ValueError) and isinstance(error, RayTaskError)
    assert error.args == ("bad value",)
    assert (error.function_name, error.pid, error.task_id) == ("f", 7, "aa")
    assert "raise error" in str(error) and "ValueError: bad value" in str(error)


def test_required_arguments_do_not_matter():
    error = through(NeedsArguments(1, 2))
    assert isinstance(error, NeedsArguments)
    assert (error.a, error.b) == (1, 2)


def test_attributes_that_cannot_be_pickled_become_text():
    error = through(HoldsLock("locked"))
    assert isinstance(error, HoldsLock)
    assert error.code == 5
    assert "lock" in error.lock
    assert error.args == ("locked",)


def test_arguments_that_cannot_be_pickled_become_text():
    error = through(ValueError("x", threading.Lock()))
    assert isinstance(error, ValueError)
    assert error.args[0] == "x" and "lock" in error.args[1]


def test_an_own_reduce_that_does_not_load_is_gone_around():
    assert isinstance(through(Unloadable("u")), Unloadable)


def test_a_class_of_a_function():
    class Local(Exception):
        pass

    assert isinstance(through(Local("l")), Exception)
    assert through(Local("l")).cause_type.endswith("Local")


def test_what_cannot_travel_at_all_is_described():
    class Stubborn(Exception):
        def __reduce_ex__(self, protocol):
            raise TypeError("no")

        lock = threading.Lock()

    error = through(Stubborn("s"))
    assert type(error) is RayTaskError
    assert error.cause is None
    assert "Stubborn" in error.cause_type
    assert "Stubborn: s" in str(error)


def test_a_broken_str():
    assert isinstance(through(BadStr()), BadStr)
    assert format_remote_traceback(raised(BadStr()))


def test_a_class_that_the_receiver_does_not_have(tmp_path):
    (tmp_path / "worker_only.py").write_text("class Special(Exception): pass\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import worker_only\n"
        "from skate.client.errors import pack_error\n"
        "try: raise worker_only.Special('s')\n"
        "except Exception as e: data = pack_error(e, function_name='f', pid=1, task_id='')\n"
        "sys.stdout.buffer.write(data)"
    )
    data = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, stdout=subprocess.PIPE).stdout
    error = to_raise(unpack_error(data))
    assert type(error) is RayTaskError
    assert error.cause_type == "worker_only.Special"
    assert "Special: s" in str(error) and "could not be unpickled" in str(error)


def test_an_error_that_passed_through_two_tasks_keeps_its_type():
    inner = through(KeyError("k"))
    outer = to_raise(unpack_error(pack(inner, "g")))
    assert isinstance(outer, KeyError) and outer.function_name == "g"
    assert type(outer.cause) is KeyError
    assert "f() failed" in str(outer)
    third = to_raise(unpack_error(pack(outer, "h")))
    assert isinstance(third, KeyError)


def test_errors_of_the_system_inside_a_task_stay_catchable():
    error = through(TaskCancelledError("ab"))
    assert isinstance(error, TaskCancelledError) and isinstance(error, RayTaskError)
    assert type(error).__name__ == "RayTaskError(TaskCancelledError)"


def test_errors_of_the_system_travel_as_they_are():
    crash = WorkerCrashedError("died", 11, None, 1000, ["x"])
    error = to_raise(unpack_error(pack(crash, "")))
    assert type(error) is WorkerCrashedError
    assert error.exit_signal == 11 and str(error) == str(crash)
    task_error = unpack_error(pack(ValueError("v")))
    again = to_raise(unpack_error(pack_error(task_error, function_name="", pid=0, task_id="")))
    assert isinstance(again, ValueError) and again.function_name == "f" and str(again) == str(task_error)


def test_unpacking_never_raises():
    for data in (b"", b"junk", pickle.dumps(3), pickle.dumps((1, 2)), pack(ValueError())[:-3]):
        assert isinstance(unpack_error(data), RayTaskError)


def test_each_raise_gets_an_exception_of_its_own():
    error = unpack_error(pack(ValueError("v")))
    first, second = to_raise(error), to_raise(error)
    assert first is not second
    with pytest.raises(ValueError):
        raise first
    assert second.__traceback__ is None


def test_plain_errors_are_copied():
    error = raised(OSError(2, "no", "name"))
    copy = to_raise(error)
    assert copy is not error and copy.filename == "name" and copy.__traceback__ is None


def test_frames_of_skate_are_left_out():
    from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        NodeAffinitySchedulingStrategy(3, False)
    except TypeError as error:
        text = format_remote_traceback(error)
    assert "test_errors.py" in text
    assert "scheduling_strategies.py" not in text


def test_what_skate_says_itself_has_no_frames_but_its_faults_have():
    from skate.client import filters

    def of_skate(text):
        with pytest.raises((ValueError, AttributeError)) as caught:
            filters.parse(text)
        return format_remote_traceback(caught.value.with_traceback(caught.tb.tb_next))

    said = of_skate("nonsense")
    assert "File" not in said and "ValueError: 'nonsense' is not KEY=VALUE" in said
    assert "filters.py" in of_skate(3)


def test_causes_are_shown():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        text = unpack_error(pack_error(error, function_name="f", pid=0, task_id="")).traceback_str
    assert "KeyError: 'first'" in text and "direct cause" in text and "ValueError: second" in text


def test_a_huge_text_is_cut():
    assert len(pack(ValueError("x" * 1_000_000))) < 1_500_000
    assert len(unpack_error(pack(ValueError("x" * 1_000_000))).traceback_str) < 300_000


def told(error):
    """What the history is told of an error of a task."""
    return describe_packed(pack_error(raised(error), function_name="f", pid=1, task_id=""))


def test_the_message_of_a_packed_error_may_have_several_lines():
    assert told(ValueError("first\nsecond: line")) == ("ValueError", "ValueError: first\nsecond: line")
    assert told(KeyError("x")) == ("KeyError", "KeyError: 'x'")
    assert told(BadStr())[0] == "BadStr"
    kind, text = told(ExceptionGroup("many", [ValueError("a"), KeyError("b")]))
    assert (kind, text) == ("ExceptionGroup", "ExceptionGroup: many (2 sub-exceptions)")
