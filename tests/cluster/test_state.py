"""What happens on several nodes is listed as one, by a driver and from outside, also while a node does not answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

import skate
from skate.cli.main import cli
from skate.testing import eventually
from skate.util import state

from .conftest import Nodes, on


@skate.remote
def inner(x: int) -> int:
    """A value."""
    return x


@skate.remote
def outer(x: int) -> Any:
    """Starts another task, from the node that it is on."""
    return skate.get(inner.remote(x))


@skate.remote
class Server:
    """An actor."""

    def answer(self) -> int:
        """A value."""
        return 1


def shell(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(cli, [*words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def named(name: str) -> list[state.StateRow]:
    return list(state.list_tasks(filters=[("name", "=", name)], limit=1000, detail=True))


def events(address: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(cli, ["events", "--limit", "1000", "--json", "--address", address])
    return [json.loads(line) for line in done.stdout.splitlines()]


def texts(address: str) -> list[str]:
    return [event["text"] for event in events(address)]


@pytest.mark.usefixtures("at_rest")
def test_tasks_of_all_nodes_are_one_list(three: Nodes) -> None:
    places = ("bob", "alice", "ming")
    refs = [outer.options(name=place, **on(place)).remote(i) for i in range(20) for place in places]
    skate.get(refs)
    numbers = {}
    for place in places:
        rows = named(place)
        assert len(rows) == 20
        (numbers[place],) = {row.node_no for row in rows}
        assert all(row.node_id and row.start_time_ms <= row.end_time_ms for row in rows)
    assert sorted(numbers.values()) == [1, 2, 3]
    rows = eventually(lambda: (found := named("inner")) and len(found) == 60 and found)
    assert {row.parent_task_id for row in rows} == {ref.hex() for ref in refs}
    found = shell("list", "tasks", "--filter", "name=inner", "--limit", "1000", "--address", three.address)
    assert len(found["rows"]) == 60 and found["missing"] == []
    found = shell("list", "tasks", "--filter", "name=inner", "--limit", "5", "--address", three.address)
    assert len(found["rows"]) == 5
    assert shell("summary", "tasks", "--address", three.address)["summary"]["inner"] == {"FINISHED": 60}


@pytest.mark.usefixtures("at_rest")
def test_actors_workers_and_events_of_all_nodes(three: Nodes) -> None:
    server = Server.options(name="server", **on("ming")).remote()
    skate.get([server.answer.remote() for _ in range(10)])
    (actor,) = [row for row in state.list_actors(detail=True) if row.name == "server"]
    assert actor.node_no == 3 and actor.state == "ALIVE"
    assert {row.worker_pid for row in named("Server.answer")} == {actor.pid}
    assert {row.node_no for row in state.list_workers(detail=True)} == {1, 2, 3}
    assert [row.state for row in state.list_nodes()] == ["ALIVE"] * 3
    skate.kill(server)
    eventually(lambda: any("actor server" in text and "dead" in text for text in texts(three.address)))
    seen = texts(three.address)
    assert sum("has joined" in text for text in seen) == 3
    assert any("has begun" in text for text in seen)
