"""What is listed of nodes that do not answer, and of those that are lost, and what their histories still say."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import past, sessions
from skate.testing import eventually
from skate.util import state

from .conftest import Nodes, on
from .test_state import events, named, shell, texts


@skate.remote
def inner(x: int) -> int:
    """A value."""
    return x


@skate.remote
def outer(x: int) -> Any:
    """Starts another task, from the node that it is on."""
    return skate.get(inner.remote(x))


def test_a_node_that_hangs_is_named(nodes: Nodes) -> None:
    nodes.add(1)
    other = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    skate.get([inner.remote(i) for i in range(10)])
    os.kill(other.pid, signal.SIGSTOP)
    try:
        with pytest.warns(UserWarning, match="node 2"):
            found = state.list_tasks(limit=1000, timeout=0.5, raise_on_missing_output=False)
        begin = time.monotonic()
        listed = shell("list", "tasks", "--address", nodes.address, "--timeout", "0.3")
        took = time.monotonic() - begin
    finally:
        os.kill(other.pid, signal.SIGCONT)
    assert len(found) >= 10 and any("node 2" in each for each in found.missing)
    assert any("node 2" in each for each in listed["missing"]) and took < 4.5, "one question alone would wait for 5 s"


def test_histories_outlive_their_nodes(nodes: Nodes, home: Path) -> None:
    nodes.add(1)
    lost = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    skate.get(outer.options(**on("there")).remote(1))
    eventually(lambda: named("inner"))
    nodes.kill(lost)
    eventually(lambda: any("node 2" in text and "is lost" in text for text in texts(nodes.address)), 10)
    found = shell("list", "tasks", "--address", nodes.address)
    assert any("node 2" in each and "has ended" in each for each in found["notes"])
    notes = shell("list", "jobs", "--address", nodes.address)["notes"]
    assert any("node 2" in each and "has ended: programs that ran there" in each for each in notes)
    assert skate.get_runtime_context().gcs_address == nodes.address
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert named("outer") and not named("inner")
    skate.shutdown()
    sessions.stop(nodes.started)
    assert past.sessions(), "the files are there"
    (kept,) = [each for each in past.sessions() if each.name == Path(lost.folder).name]
    assert shell("summary", "tasks", "--session", kept.name)["summary"]["inner"] == {"FINISHED": 1}
    heads = [each for each in past.sessions() if each.name.endswith("-head")]
    assert heads
    (cluster,) = [row for row in shell("history") if any(each["session"] == kept.name for each in row["files"])]
    assert [each["nodes"] for each in cluster["files"]] == ["node 1", "node 2", "its head"], "they are one cluster"
    assert (cluster["nodes"], cluster["state"]) == ("2 nodes", "ended")
    assert set(shell("summary", "tasks", "--session", cluster["session"])["summary"]) == {"inner", "outer"}
    counted = "SELECT name, count(*) AS n FROM tasks GROUP BY name ORDER BY name"
    assert shell("history", kept.name, "--sql", counted) == [{"name": "inner", "n": 1}, {"name": "outer", "n": 1}]


def test_a_node_that_was_stopped_is_no_error(nodes: Nodes) -> None:
    nodes.add(1)
    stopped = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    sessions.stop([stopped])

    def told() -> list[Any]:
        found = [each for each in events(nodes.address) if "has ended: it was stopped" in each["text"]]
        return [each["severity"] for each in found if "node 2" in each["text"]]

    eventually(lambda: told() == ["WARNING"], 10, "the head says that the node has ended")
    skate.shutdown()
