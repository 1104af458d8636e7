"""What type checkers must accept, and the types they must find."""

from __future__ import annotations

from collections.abc import Generator
from typing import assert_type

import skate
from skate import ObjectRef, ObjectRefGenerator
from skate.actor import ActorHandle


@skate.remote
def double(x: int) -> int:
    return 2 * x


@skate.remote
def join(a: str, b: int = 1, *, sep: str = "") -> str:
    return sep.join([a] * b)


@skate.remote(num_cpus=2)
def halve(x: int) -> float:
    return x / 2


@skate.remote(num_returns=2)
def pair(x: int) -> tuple[int, int]:
    return x, x


@skate.remote
def count(n: int) -> Generator[int, None, None]:
    yield from range(n)


@skate.remote
def untyped(x):  # type: ignore[no-untyped-def]
    return x


class Counter:
    def __init__(self, start: int, step: int = 1) -> None:
        self.n = start

    def add(self, by: int) -> int:
        self.n += by
        return self.n


CounterActor = skate.remote(Counter)
RestartedCounter = skate.remote(max_restarts=1)(Counter)

assert_type(double.remote(1), ObjectRef[int])
assert_type(skate.get(double.remote(1)), int)
assert_type(skate.get([double.remote(1), double.remote(2)]), list[int])
assert_type(skate.get(join.remote("a", 2, sep=",")), str)
assert_type(skate.get(halve.remote(3)), float)
assert_type(skate.put("x"), ObjectRef[str])

reference = double.remote(1)
double.remote(reference)
double.remote(x=reference)
join.remote("a", reference, sep="-")
join.remote(b=reference, a=skate.put("a"))

first, second = pair.remote(1)
left, right = double.options(num_returns=2).remote(1)
assert_type(skate.get(double.options(num_cpus=2).remote(1)), int)

assert_type(count.remote(3), ObjectRefGenerator[int])
for item in count.remote(3):
    assert_type(skate.get(item), int)

for square in double.map(range(3)):
    assert_type(square, int)

skate.get(untyped.remote(1))

counter = CounterActor.remote(1, step=2)
assert_type(counter, ActorHandle[Counter])
skate.get(counter.add.remote(2))
skate.kill(counter)
assert_type(CounterActor.options(name="c", num_cpus=1).remote(1), ActorHandle[Counter])
assert_type(RestartedCounter.remote(1), ActorHandle[Counter])
CounterActor.remote(reference)
CounterActor.remote(start=reference)

done, rest = skate.wait([reference], num_returns=1, timeout=1.0)
assert_type(done, list[ObjectRef[int]])

with skate.Executor(max_workers=2) as executor:
    assert_type(executor.submit(len, "x").result(), int)


async def awaited() -> None:
    assert_type(await double.remote(1), int)
