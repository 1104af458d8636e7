"""Values of every kind: numpy, pandas, Arrow, classes of scripts, lambdas; and what cannot be pickled."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import skate

pytestmark = pytest.mark.usefixtures("cluster")


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: list[int]


@skate.remote
def echo(value: Any) -> Any:
    return value


VALUES: list[Any] = [
    None, True, -1, 2**100, 1.5, float("inf"), 1j, "", "ü" * 1000, b"\0\xff", bytearray(b"abc"), (), (1, (2,)), [], {},
    {1: {2: [3]}}, {1, 2}, frozenset({3}), range(5), slice(1, 2), Color.RED, Point(1, [2]),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), decimal.Decimal("1.10"),
    collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], maxlen=2),
    Path("/tmp"), int, len,
    NotImplemented, ...,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_round_trip(value: Any) -> None:
    for back in (skate.get(skate.put(value)), skate.get(echo.remote(value)), skate.get(echo.remote([value]))[0]):
        assert back == value
        assert type(back) is type(value)


def test_nan_and_shared_parts() -> None:
    shared = [1]
    back = skate.get(echo.remote({"a": shared, "b": shared}))
    assert back["a"] is back["b"]
    loop: list[Any] = []
    loop.append(loop)
    back = skate.get(echo.remote(loop))
    assert back[0] is back


@pytest.mark.parametrize("dtype", ["u1", "f8", "c16", "U5", "M8[s]", "?", "O"])
@pytest.mark.parametrize("shape", [(), (0,), (10,), (300, 400)])
def test_numpy(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype)
    back = skate.get(echo.remote(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_numpy_orders_and_strides() -> None:
    base = np.arange(100_000).reshape(100, 1000)
    for array in (np.asfortranarray(base), base[::2, ::3], base.T, np.broadcast_to(base[0], (50, 1000))):
        np.testing.assert_array_equal(skate.get(echo.remote(array)), array)


def test_many_buffers() -> None:
    arrays = [np.full(5000, i, np.uint16) for i in range(200)]
    back = skate.get(echo.remote(arrays))
    assert all((a == b).all() for a, b in zip(arrays, back, strict=True))


def test_structured_arrays() -> None:
    array = np.zeros(5000, dtype=[("a", "i4"), ("b", "f8", (2,))])
    array["a"] = 7
    np.testing.assert_array_equal(skate.get(echo.remote(array)), array)


def test_pandas() -> None:
    frame = pd.DataFrame({"n": np.arange(50_000), "s": ["x"] * 50_000, "t": pd.Timestamp("2024-01-01")})
    frame["c"] = frame["s"].astype("category")
    pd.testing.assert_frame_equal(skate.get(echo.remote(frame)), frame)
    ref = skate.put(frame)
    assert skate.get(skate.remote(lambda f: int(f["n"].sum())).remote(ref)) == sum(range(50_000))


def test_arrow_is_not_copied() -> None:
    table = pa.table({"n": np.arange(500_000), "s": pa.array(["abc", None] * 250_000)})
    ref = skate.put(table)
    one, two = skate.get(ref), skate.get(ref)
    assert one.equals(table)
    address = lambda t: t["n"].chunk(0).buffers()[1].address  # noqa: E731
    assert address(one) == address(two)
    assert skate.get(skate.remote(lambda t: t.num_rows).remote(ref)) == 500_000


def test_buffers_of_every_kind() -> None:
    data = os.urandom(200_000)
    assert skate.get(echo.remote(bytearray(data))) == data
    assert skate.get(echo.remote(memoryview(data))) == data


def test_functions_and_classes_by_value() -> None:
    factor = 3

    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

        def scaled(self) -> int:
            return self.x * factor

    assert skate.get(echo.remote(Local(2))).scaled() == 6
    assert isinstance(skate.get(echo.remote(Local(2))), Local)
    assert skate.get(echo.remote(lambda x: x * factor))(2) == 6


def test_a_remote_function_and_a_class_are_values_too() -> None:
    @skate.remote
    class Actor:
        def one(self) -> int:
            return 1

    @skate.remote
    def use(function: Any, cls: Any) -> int:
        actor = cls.remote()
        return skate.get(function.remote(skate.get(actor.one.remote())))

    assert skate.get(use.remote(echo, Actor)) == 1


@pytest.mark.parametrize("make", [threading.Lock, socket.socket, lambda: (i for i in ())])
def test_what_cannot_be_pickled_is_named(make: Any) -> None:
    value = make()
    name = type(value).__name__
    with pytest.raises(TypeError, match=name):
        echo.remote({"deep": [value]})
    with pytest.raises(TypeError, match="deep"):
        skate.put({"deep": [value]})
    with pytest.raises(TypeError, match="value"):
        skate.remote(lambda: value).remote()
    close = getattr(value, "close", None)
    if close is not None:
        close()


def test_a_result_that_cannot_be_pickled() -> None:
    lock = skate.remote(lambda: {"held": __import__("threading").Lock()})
    with pytest.raises(TypeError, match="lock"):
        skate.get(lock.remote())


def test_a_class_that_breaks_when_unpickled() -> None:
    def explode() -> Any:
        raise RuntimeError("boom at load")

    class Bomb:
        def __reduce__(self) -> Any:
            return explode, ()

    with pytest.raises(RuntimeError, match="boom at load"):
        skate.get(echo.remote(Bomb()))
    with pytest.raises(RuntimeError, match="boom at load"):
        skate.get(skate.put(Bomb()))
    with pytest.raises(RuntimeError, match="boom at load"):
        skate.get(skate.remote(lambda: Bomb()).remote())
    assert skate.get(echo.remote(1)) == 1


SCRIPT = """
    import skate as ray
    from dataclasses import dataclass
    from helper import helped

    LIMIT = 5

    class Oops(Exception):
        pass

    @dataclass
    class Item:
        n: int

    @ray.remote
    def f(item):
        assert type(item) is Item
        if item.n > LIMIT:
            raise Oops(item.n)
        return Item(helped(item.n))

    @ray.remote
    class Actor:
        def make(self, n):
            return Item(n)

    if __name__ == "__main__":
        ray.init(num_cpus=1)
        assert ray.get(f.remote(Item(1))) == Item(2)
        try:
            ray.get(f.remote(Item(6)))
        except Oops as error:
            print("caught", type(error).__mro__[2] is Oops or isinstance(error, Oops))
        actor = Actor.remote()
        assert ray.get(f.remote(actor.make.remote(3))) == Item(4)
        print("fine")
"""


def test_classes_of_a_script(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def helped(n):\n    return n + 1\n")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    root = str(Path(skate.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30, env=env, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "caught True\nfine\n"
