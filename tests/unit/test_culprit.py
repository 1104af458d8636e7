"""The path to what cannot be pickled."""

from __future__ import annotations

import io
import socket
import threading

import cloudpickle
import pytest

from skate.client.culprit import explain_unpicklable, find_culprits
from skate.util import inspect_serializability


class Holder:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Slots:
    __slots__ = ("conn",)

    def __init__(self, conn):
        self.conn = conn


class Stateful:
    def __init__(self, conn):
        self.conn = conn

    def __getstate__(self):
        return {"conn": self.conn, "other": 1}


class Reducing:
    def __init__(self, conn):
        self.conn = conn

    def __reduce__(self):
        return Reducing, (self.conn,)


LOCK = threading.Lock()


def uses_global():
    return LOCK


def closure_over(db):
    def f():
        return db

    return f


def default_argument(lock=LOCK):
    return lock


def explain(value):
    with pytest.raises(Exception) as caught:
        cloudpickle.dumps(value)
    return explain_unpicklable(value, caught.value)


@pytest.fixture
def conn():
    with socket.socket() as made:
        yield made


def test_closure(conn):
    assert "closure f -> cell 'db' -> .conn -> <socket>" in explain(closure_over(Holder(conn=conn)))


@pytest.mark.parametrize(
    "make, path",
    [
        (lambda c: {"a": [1, (c,)]}, "<dict> -> ['a'] -> [1] -> [0] -> <socket>"),
        (lambda c: Slots(c), "Slots> -> .conn -> <socket>"),
        (lambda c: Stateful(c), "Stateful> -> .conn -> <socket>"),
        (lambda c: Reducing(c), "Reducing> -> .conn -> <socket>"),
        (lambda c: Holder(inner=Holder(conn=c)).__init__, ".__self__ -> .inner -> .conn -> <socket>"),
        (lambda c: c, "Cannot pickle <socket>"),
    ],
)
def test_paths(conn, make, path):
    assert path in explain(make(conn))


def test_globals_and_defaults():
    # A function of a module is pickled by name; one of __main__ or of another function by value.
    by_value = type(uses_global)(uses_global.__code__, {"LOCK": LOCK, "__name__": "__main__"}, "uses_global")
    assert "global 'LOCK' -> <_thread.lock>" in explain(by_value)
    with_default = type(uses_global)(default_argument.__code__, {"__name__": "__main__"}, "d", (LOCK,))
    assert "default 0 -> <_thread.lock>" in explain(with_default)


def test_cycles_and_depth_end():
    cycle: dict = {"lock": LOCK}
    cycle["self"] = cycle
    assert "['lock']" in explain(cycle)
    deep: list = [LOCK]
    for _ in range(100):
        deep = [deep]
    assert "Cannot pickle" in explain(deep)


def test_several():
    found = find_culprits({"a": LOCK, "b": [threading.RLock()]}, 5)
    assert sorted(str(each) for each in found) == [
        "<dict> -> ['a'] -> <_thread.lock>",
        "<dict> -> ['b'] -> [0] -> <_thread.RLock>",
    ]
    assert find_culprits({"a": 1}, 5) == []


def test_inspect_serializability():
    out = io.StringIO()
    ok, failures = inspect_serializability({"lock": LOCK}, name="mine", print_file=out)
    assert not ok
    (failure,) = failures
    assert failure.obj is LOCK and failure.name == "['lock']" and failure.path[0] == "mine"
    assert "mine" in out.getvalue() and "_thread.lock" in out.getvalue()
    assert inspect_serializability(3, print_file=out) == (True, set())
