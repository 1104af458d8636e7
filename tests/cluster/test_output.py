"""What tasks print that were started by tasks arrives at the driver, also from nodes that it has never used."""

from __future__ import annotations

from typing import Any

import pytest

import skate
from skate.client import current
from skate.testing import eventually
from skate.wire.messages import Output

from .conftest import Nodes, on


@skate.remote
def speaks() -> None:
    """Says something."""
    print("from far away")


@skate.remote
def starts(steps: list[str]) -> Any:
    """Starts a task on the first of these nodes, which does so on the next."""
    print("from", steps[0])
    rest = steps[1:]
    return skate.get(
        starts.options(**on(rest[0])).remote(rest) if len(rest) > 1 else speaks.options(**on(rest[0])).remote()
    )


def test_what_is_printed_where_the_driver_has_nothing_arrives(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ["bob", "alice", "ming"]
    for name in steps:
        nodes.add(1, **{name: 1})
    skate.init(address=nodes.address)
    lines: list[str] = []
    runtime: Any = current.runtime

    def note(message: Output) -> None:
        lines.extend(message.lines)

    monkeypatch.setattr(runtime, "on_output", note)
    skate.get(starts.options(**on("bob")).remote(steps), timeout=20)
    eventually(lambda: "from far away" in lines, 10)
    assert sorted(lines) == ["from alice", "from bob", "from far away"]
