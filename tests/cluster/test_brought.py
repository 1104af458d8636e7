"""A node that a program has brought along ends with it: nothing that may outlive the program is there, nor work of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import asking, sessions
from skate.client.init_options import InitOptions
from skate.testing import eventually

from .conftest import HOST, STORE_BYTES, Nodes

PROGRAM = """
import json, sys
import skate
from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy
context = skate.init(address=sys.argv[1], namespace="brought")
own = skate.get_runtime_context().get_node_id()

@skate.remote(num_cpus=0, scheduling_strategy="SPREAD")
class Keeper:
    def place(self):
        return skate.get_runtime_context().get_node_id()

def say(**what):
    print(json.dumps(what), flush=True)
"""
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(nodes: Nodes, tmp_path: Path) -> Iterator[Start]:
    """Start a program that has no node on its machine. It goes on until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def begin(body: str) -> subprocess.Popen[str]:
        environment: dict[str, Any] = {**os.environ, "SKATE_TEMP_DIR": str(tmp_path)}
        command = [sys.executable, "-c", f"{PROGRAM}{body}\nsys.stdin.read()\n", nodes.address]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))
        return started[-1]

    yield begin
    for each in started:
        with each:
            assert each.stdin is not None
            each.stdin.close()
            assert each.wait(20) == 0


def said(program: subprocess.Popen[str]) -> dict[str, Any]:
    assert program.stdout is not None
    found: dict[str, Any] = json.loads(program.stdout.readline() or "{}")
    return found


@skate.remote(num_cpus=0)
class Keeper:
    def place(self) -> str:
        return skate.get_runtime_context().get_node_id()


def test_what_may_outlive_a_program_is_not_on_the_node_that_it_has_brought(nodes: Nodes, start: Start) -> None:
    nodes.add(1)
    program = start("""
plain = Keeper.options(scheduling_strategy="DEFAULT")
kept = [each.options(name=f"kept{at}", lifetime="detached").remote() for at, each in enumerate([plain, Keeper, Keeper])]
mine = plain.remote()
group = skate.util.placement_group([{"memory": 1e6}], lifetime="detached", name="group")
assert group.wait(20)
say(own=own, kept=skate.get([each.place.remote() for each in kept], timeout=20), mine=skate.get(mine.place.remote(), timeout=20))
""")
    heard = said(program)
    lasting = nodes.started[0].node_id
    assert heard["mine"] == heard["own"] != lasting, "what ends with the program may be there"
    assert set(heard["kept"]) == {lasting}
    skate.init(address=nodes.address, namespace="brought")
    spread = {"scheduling_strategy": "SPREAD"}
    others = [Keeper.options(**spread).remote() for _ in range(2)]
    assert set(skate.get([each.place.remote() for each in others], timeout=20)) == {lasting}, "work of another program"
    where = skate.remote(lambda: skate.get_runtime_context().get_node_id()).options(num_cpus=0, **spread)
    assert set(skate.get([where.remote() for _ in range(4)], timeout=20)) == {lasting}
    bundles = skate.util.placement_group_table(skate.util.get_placement_group("group"))["bundles_to_node_id"]
    assert list(bundles.values()) == [lasting]
    assert program.stdin is not None
    program.stdin.close()
    assert program.wait(20) == 0
    eventually(lambda: [node["Alive"] for node in skate.nodes()] == [True, False], 10)
    kept = [skate.get_actor(f"kept{at}") for at in range(3)]
    assert skate.get([each.place.remote() for each in kept], timeout=20) == [lasting] * 3
    for each in kept:
        skate.kill(each)
    skate.util.remove_placement_group(skate.util.get_placement_group("group"))


def test_what_only_a_brought_node_could_run_is_said_to_wait(nodes: Nodes, start: Start) -> None:
    small = InitOptions(num_cpus=1, memory=1 << 20, object_store_memory=STORE_BYTES)
    nodes.started.append(sessions.start_node(small, sessions.Wish(True, HOST)))
    enough = 2 << 20
    program = start(f"""
there = NodeAffinitySchedulingStrategy(own, soft=False)
try:
    skate.get(Keeper.options(lifetime="detached", scheduling_strategy=there).remote().place.remote(), timeout=20)
except skate.exceptions.ActorDiedError as error:
    say(error=str(error))
large = Keeper.options(lifetime="detached", name="large", memory={enough}).remote()
group = skate.util.placement_group([{{"memory": {enough}}}])
skate.get_actor("large")
say(why=skate.why(large.place.remote()), group=group.wait(0.1))
""")
    assert "it is detached, and must be on node" in said(program)["error"]
    heard = said(program)
    reason = "only node 2 could, which ends with the program that has brought it along"
    assert reason in heard["why"] and not heard["group"]
    head = nodes.started[0]
    status = lambda: asking.ask_at(head.host, head.port, "cluster_status", of_head=True)["demand"]  # noqa: E731
    eventually(lambda: reason in str(status()), 10, "it says so")
    skate.init(address=nodes.address, namespace="brought")
    skate.kill(skate.get_actor("large"))
    eventually(lambda: not status(), 10)
