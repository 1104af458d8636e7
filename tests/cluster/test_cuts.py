"""A connection between two nodes is cut while both live: what the one holds of the other's objects is not let go."""

from __future__ import annotations

from typing import Any

import skate
from skate.client import asking, sessions
from skate.testing import cut_connections, eventually

from .conftest import Nodes, on

SIZE = 200_000


@skate.remote(max_task_retries=-1)
class Owner:
    """Puts objects, and forgets them."""

    def put(self, name: bytes) -> list[Any]:
        return [skate.put(name * SIZE)]

    def nothing(self) -> None:
        """After this, what was returned last is not held here."""


@skate.remote
class Borrower:
    """Keeps what it is given, and makes objects that contain it."""

    def keep(self, refs: list[Any]) -> None:
        self.refs = refs

    def wrap(self) -> list[Any]:
        return [skate.put(self.refs), skate.put([*self.refs, b"." * SIZE])]

    def forget(self) -> None:
        del self.refs


def objects(node: sessions.Session) -> int:
    found: int = asking.ask(node, "store")["objects"]
    return found


def put(owner: Any, name: bytes) -> Any:
    """An object that is at home with its owner, and held by nobody but this program."""
    (ref,) = skate.get(owner.put.remote(name), timeout=20)
    skate.get(owner.nothing.remote(), timeout=20)
    return ref


def after_the_grace(owner: Any, node: sessions.Session, kept: int) -> None:
    """Wait until an object that is let go now has ended, and all but `kept` others: what was forgotten before ended sooner."""
    put(owner, b"s")
    eventually(lambda: objects(node) == kept, 15, f"only {kept} objects are there")


def test_what_an_object_contains_outlives_the_connection_of_its_node(nodes: Nodes, there: sessions.Session) -> None:
    third = nodes.add(1, third=1)
    owner = Owner.options(**on("there")).remote()
    borrower = Borrower.options(**on("third")).remote()
    inner = put(owner, b"a")
    skate.get(borrower.keep.remote([inner]), timeout=20)
    outer = skate.get(borrower.wrap.remote(), timeout=20)
    skate.get(borrower.forget.remote(), timeout=20)
    del inner
    eventually(lambda: cut_connections(third.pid, there.port)[0], 10, "the node of the objects has told the other")
    after_the_grace(owner, there, 1)
    for ref in outer:
        assert skate.get(skate.get(ref, timeout=20)[0], timeout=20) == b"a" * SIZE
    del outer, ref
    eventually(lambda: objects(there) == objects(third) == 0, 15, "it ends with what contains it")
