"""Actor classes made by the decorator; for pyright only, as for mypy a decorator cannot change what a class is."""

from __future__ import annotations

from typing import assert_type

import skate


@skate.remote
class Counter:
    def __init__(self, start: int, step: int = 1) -> None:
        self.n = start

    def add(self, by: int) -> int:
        self.n += by
        return self.n


@skate.remote(max_restarts=1)
class Plain:
    def hello(self) -> str:
        return "hello"


counter = Counter.remote(1, step=2)
skate.get(counter.add.remote(2))
skate.get(Plain.remote().hello.remote())
Counter.options(name="c").remote(1)
assert_type(skate.put(1), skate.ObjectRef[int])
