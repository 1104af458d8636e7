"""Where objects were created: what is always known, and what is when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.cli.memory import HINT
from skate.client import sites
from skate.testing import eventually
from skate.util import state

from .commands import shell

LARGE = sites.NOTED_BYTES_MIN
HERE = __file__
OPTION = "record_ref_creation_sites"


@pytest.fixture(autouse=True)
def end() -> Iterator[None]:
    """Each test has a cluster of its own."""
    skate.shutdown()
    yield
    skate.shutdown()


def line_of(mark: str) -> int:
    """The line of this file that has this mark."""
    lines = Path(HERE).read_text().splitlines()
    return next(at for at, line in enumerate(lines, 1) if f"# {mark}" in line and "line_of" not in line)


@skate.remote
def large() -> bytes:  # large
    """A value for shared memory."""
    return b"r" * LARGE


@skate.remote
class Keeper:
    """Holds what it is given."""

    def keep(self, refs: list[Any]) -> None:
        self.refs = refs

    def large(self) -> bytes:  # method
        return b"m" * LARGE

    async def items(self) -> Any:  # items
        yield b"i" * LARGE


def call_sites() -> dict[str, str]:
    """By object, as the state API has them."""
    return {row["object_id"]: row["call_site"] for row in state.list_objects()}


def test_what_fills_the_memory_says_where_it_was_created() -> None:
    skate.init(num_cpus=2)
    keeper = Keeper.remote()
    known = skate.put(b"p" * LARGE)  # known
    refs = [skate.put(1), large.remote(), keeper.large.remote()]
    item = next(keeper.items.options(num_returns="streaming").remote())
    skate.wait([*refs, item], num_returns=4)
    skate.get(keeper.keep.remote([known, *refs]))
    private = skate.put(b"q" * LARGE)  # private
    small = skate.put(b"s" * (LARGE // 2))
    found = call_sites()
    me = "test_what_fills_the_memory_says_where_it_was_created"
    assert found[known.hex()] == f"put at {HERE}:{line_of('known')} in {me}"
    assert found[private.hex()] == f"put at {HERE}:{line_of('private')} in {me}"
    assert found[small.hex()] == found[refs[0].hex()] == state_not_recorded()
    assert found[refs[1].hex()] == f"result of large ({HERE}:{line_of('large') - 1})"
    assert found[refs[2].hex()] == f"result of Keeper.large ({HERE}:{line_of('method')})"
    assert f"result of Keeper.items ({HERE}:{line_of('items')})" in found.values()
    row = next(row for row in state.list_objects(detail=True) if row["object_id"] == private.hex())
    assert row["owner"] == f"driver {os.getpid()}" and row["holders"] == {f"driver {os.getpid()}": 1}
    assert row["object_size"] > LARGE and row["status"] == "IN_STORE" and row["node_id"]
    assert HINT in shell("memory") and f":{line_of('known')} in " in shell("memory")
    ident = private.hex()
    del private
    eventually(lambda: ident not in call_sites())


def state_not_recorded() -> str:
    from skate.client.state import NOT_RECORDED

    return NOT_RECORDED


@skate.remote
def outer() -> list[Any]:
    """Submits and puts in a worker."""
    return [large.remote(), skate.put(7)]  # inner


def test_with_the_option_all_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"SKATE_{OPTION}", "1")
    skate.init(num_cpus=2)
    keeper = Keeper.remote()
    task, call, small, plain = large.remote(), keeper.large.remote(), skate.put({}), skate.put(1)  # all
    many = large.options(num_returns=2, name="two", max_retries=0).remote()  # two
    pending = Keeper.remote().large.remote()  # pending
    skate.wait([task, call, *many], num_returns=4)
    skate.get(keeper.keep.remote([task, call, small, plain, pending, *many]))
    inner = skate.get(outer.remote())
    skate.wait(inner, num_returns=2)
    found = call_sites()
    me = "test_with_the_option_all_are_known"
    at = f"{HERE}:{line_of('all')} in {me}"
    assert found[task.hex()] == f"result of large, called at {at}"
    assert found[call.hex()] == f"result of Keeper.large, called at {at}"
    assert found[small.hex()] == found[plain.hex()] == f"put at {at}"
    assert found[many[1].hex()] == f"result of two, called at {HERE}:{line_of('two')} in {me}"
    assert found[pending.hex()] == f"result of Keeper.large, called at {HERE}:{line_of('pending')} in {me}"
    assert found[inner[0].hex()] == f"result of large, called at {HERE}:{line_of('inner')} in outer"
    assert found[inner[1].hex()] == f"put at {HERE}:{line_of('inner')} in outer"
    assert state_not_recorded() not in found.values()
    assert HINT not in shell("memory")
    blocks = [site for ident, site in found.items() if ident not in {ref.hex() for ref in [task, call, *many]}]
    assert f"result of large, called at {at}" in blocks  # that with the bytes, which the worker has made


def test_memory_adds_up_by_where_and_takes_the_words_of_ray() -> None:
    skate.init(num_cpus=1)
    kept = [skate.put(b"x" * LARGE) for _ in range(3)]  # three
    one = skate.put(b"y" * 5 * LARGE)  # one
    found = shell("memory", "--group-by", "STACK_TRACE", "--json")
    sums = {each["call_site"].partition(" in ")[0]: (each["objects"], each["bytes"]) for each in found["sums"]}
    assert sums[f"put at {HERE}:{line_of('three')}"][0] == 3
    assert 5 * LARGE < sums[f"put at {HERE}:{line_of('one')}"][1] < 6 * LARGE
    assert shell("memory", "--group-by", "call_site", "--json") == found
    assert found["objects"][0]["object_id"] == one.hex() and found["total"] == 4
    limited = shell("memory", "--sort-by", "OBJECT_SIZE", "-n", "2", "--json")
    assert len(limited["objects"]) == 2 and limited["total"] == 4
    shown = shell("memory", "--units", "MB", "--sort-by", "PID")
    assert "2.621" in shown and kept[0].hex() in shown and "MB" in shown.splitlines()[0]
    assert one.hex() not in shell("memory", "--stats-only", "--group-by", "NODE_ADDRESS")
    assert "is not one of" in shell("memory", "--sort-by", "colour", code=2)
    assert state.list_objects(limit=2)[0].call_site.startswith("put at ")
    filtered = state.list_objects(filters=[("call_site", "=", state.list_objects()[0]["call_site"])])
    assert [row["object_id"] for row in filtered] == [one.hex()]
