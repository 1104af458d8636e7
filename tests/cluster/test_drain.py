"""Nodes that are drained: they take nothing new, lose nothing, and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import skate
from skate.client import asking, sessions
from skate.client.init_options import InitOptions
from skate.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, TaskUnschedulableError
from skate.testing import eventually
from skate.util import state
from skate.util.placement_group import placement_group
from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from .conftest import HOST, STORE_BYTES, Nodes, on

LARGE = 1_000_000


def drain(nodes: Nodes, name: str, deadline_s: float = 0.0, reason: str = "a test") -> Any:
    head = nodes.started[0]
    argument = {"node": name, "reason": reason, "deadline_s": deadline_s}
    return asking.ask_at(head.host, head.port, "drain", argument, of_head=True)


def state_of(nodes: Nodes, node: sessions.Session) -> dict[str, Any]:
    head = nodes.started[0]
    status = asking.ask_at(head.host, head.port, "cluster_status", of_head=True)
    found: dict[str, Any] = next(each for each in status["nodes"] if each["NodeID"] == node.node_id)
    return {**found, "failures": [each["text"] for each in status["failures"]]}


def is_drained(nodes: Nodes, node: sessions.Session) -> bool:
    return bool(state_of(nodes, node)["State"] == "drained" and not sessions.began(node.pid))


@skate.remote
def where(path: str = "", until: str = "") -> str:
    if path:
        Path(path).touch()
    while until and not os.path.exists(until):
        time.sleep(0.01)
    return skate.get_runtime_context().get_node_id()


@skate.remote
class Keeper:
    def __init__(self) -> None:
        self.calls = 0

    def place(self, seconds: float = 0.0) -> tuple[str, int, int]:
        time.sleep(seconds)
        self.calls += 1
        return skate.get_runtime_context().get_node_id(), os.getpid(), self.calls


@skate.remote
def large(number: int) -> Any:
    return np.full(LARGE, number, np.uint8)


def test_an_idle_node_ends_and_is_not_lost(nodes: Nodes) -> None:
    nodes.add(1)
    idle = nodes.add(1)
    skate.init(address=nodes.address)
    assert drain(nodes, str(idle.node_no))["id"] == idle.node_id
    eventually(lambda: is_drained(nodes, idle), 10)
    assert state_of(nodes, idle)["failures"] == []
    assert [node["Alive"] for node in skate.nodes()] == [True, False]


def test_what_runs_ends_and_nothing_new_begins(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(1)
    going = nodes.add(2, there=1)
    skate.init(address=nodes.address)
    begun, go = str(tmp_path / "begun"), str(tmp_path / "go")
    running = where.options(**on("there")).remote(begun, go)
    eventually(lambda: os.path.exists(begun), 10)
    drain(nodes, going.node_id[:8], reason="for maintenance")
    waits = eventually(lambda: state_of(nodes, going)["Drain"]["waits_for"], 5)
    assert waits[0] == "1 leased worker", waits
    assert state_of(nodes, going)["State"] == "draining"
    assert state_of(nodes, going)["Drain"]["reason"] == "for maintenance"
    head = nodes.started[0].node_id
    assert set(skate.get([where.remote() for _ in range(6)], timeout=20)) == {head}
    soft, hard = (NodeAffinitySchedulingStrategy(going.node_id, soft=soft) for soft in (True, False))
    assert skate.get(where.options(scheduling_strategy=soft).remote(), timeout=20) == head
    with pytest.raises(TaskUnschedulableError, match="is being drained"):
        where.options(scheduling_strategy=hard).remote()
    waiting = where.options(**on("there")).remote()
    assert skate.wait([waiting, running], timeout=0.3)[0] == []
    status = asking.ask(nodes.started[0], "cluster_status")
    assert "only node 2 could, which is being drained" in str(status["demand"])
    Path(go).touch()
    assert skate.get(running, timeout=20) == going.node_id
    eventually(lambda: is_drained(nodes, going), 10)
    new = nodes.add(1, there=1)
    assert skate.get(waiting, timeout=20) == new.node_id


def test_an_actor_that_may_restart_is_moved_and_no_call_fails(nodes: Nodes) -> None:
    nodes.add(2)
    going = nodes.add(2)
    skate.init(address=nodes.address)
    strategy = NodeAffinitySchedulingStrategy(going.node_id, soft=True)
    keeper = Keeper.options(max_restarts=1, scheduling_strategy=strategy).remote()
    assert skate.get(keeper.place.remote(), timeout=20)[0] == going.node_id
    calls = [keeper.place.remote(0.3), *(keeper.place.remote() for _ in range(5))]
    drain(nodes, str(going.node_no))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        calls.append(keeper.place.remote())
        if skate.get(calls[-1], timeout=20)[0] != going.node_id:
            break
    places = skate.get(calls, timeout=20)  # no call has failed, though none may be made again
    assert [calls for node, _, calls in places if node == going.node_id] == [*range(2, len(places) + 1)]
    assert places[-1][0] == nodes.started[0].node_id and places[-1][2] == 1
    eventually(lambda: is_drained(nodes, going), 10)
    os.kill(places[-1][1], signal.SIGKILL)  # the move was not charged: it may still be restarted once

    def came_back() -> bool:
        try:
            return bool(skate.get(keeper.place.remote(), timeout=20)[1] != places[-1][1])
        except ActorUnavailableError:
            return False

    eventually(came_back, 10)


def test_an_actor_that_may_not_stays_until_it_ends(nodes: Nodes) -> None:
    nodes.add(1)
    going = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    mortal = Keeper.options(**on("there")).remote()
    assert skate.get(mortal.place.remote(), timeout=20)[0] == going.node_id
    drain(nodes, str(going.node_no))
    waits = eventually(lambda: state_of(nodes, going)["Drain"]["waits_for"], 5)
    assert waits == ["1 actor (Keeper)"]
    assert skate.get(mortal.place.remote(), timeout=20)[2] == 2
    skate.kill(mortal)
    eventually(lambda: is_drained(nodes, going), 10)


def test_a_deadline_ends_what_is_left(nodes: Nodes) -> None:
    nodes.add(1)
    going = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    mortal = Keeper.options(**on("there")).remote()
    skate.get(mortal.place.remote(), timeout=20)
    children = psutil.Process(going.pid).children(recursive=True)
    began = time.monotonic()
    drain(nodes, str(going.node_no), deadline_s=0.5)
    eventually(lambda: state_of(nodes, going)["State"] == "dead", 10)
    assert time.monotonic() - began >= 0.4
    assert "still 1 actor (Keeper)" in str(state_of(nodes, going)["failures"])
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive

    def how_it_ended() -> str:
        try:
            skate.get(mortal.place.remote(), timeout=20)
        except ActorUnavailableError:
            return ""
        except ActorDiedError as error:
            return str(error)
        return ""

    assert "time for its drain" in eventually(how_it_ended, 10)


def test_a_drain_survives_the_head(nodes: Nodes) -> None:
    nodes.add(1)
    going = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    mortal = Keeper.options(**on("there")).remote()
    skate.get(mortal.place.remote(), timeout=20)
    head = next(p for p in psutil.Process(nodes.started[0].pid).children() if "head_process" in " ".join(p.cmdline()))
    drain(nodes, str(going.node_no))
    head.kill()  # at once: it has written the order before it has answered
    eventually(lambda: state_of(nodes, going)["State"] == "draining", 10)
    assert eventually(lambda: state_of(nodes, going)["Drain"]["waits_for"], 10) == ["1 actor (Keeper)"]
    skate.kill(mortal)
    eventually(lambda: is_drained(nodes, going), 10)


def test_a_placement_group_goes_on_elsewhere_with_its_actors(nodes: Nodes) -> None:
    nodes.add(0)
    going = nodes.add(1)
    skate.init(address=nodes.address)
    group = placement_group([{"CPU": 1}])
    assert group.wait(10)
    inside = PlacementGroupSchedulingStrategy(group, 0)
    keeper = Keeper.options(max_restarts=1, max_task_retries=-1, scheduling_strategy=inside).remote()
    assert skate.get(keeper.place.remote(), timeout=20)[0] == going.node_id
    new = nodes.add(1)
    drain(nodes, str(going.node_no))
    eventually(lambda: is_drained(nodes, going), 10)
    assert skate.get(keeper.place.remote(), timeout=20)[0] == new.node_id


def test_what_cannot_be_drained_says_so(nodes: Nodes) -> None:
    head = nodes.add(1)
    nodes.add(1)
    skate.init(address=nodes.address)
    with pytest.raises(ValueError, match="node 1 has the head and cannot be drained"):
        drain(nodes, "1")
    with pytest.raises(ValueError, match="there is no node '7' that lives"):
        drain(nodes, "7")
    with pytest.raises(ValueError, match="may be any of the nodes 1, 2"):
        drain(nodes, head.name)


@skate.remote
def pack(number: int) -> list[Any]:
    """References of a worker to objects of its node, inside a value that is large itself."""
    return [skate.put(np.full(LARGE, number, np.uint8)), skate.put(number), np.zeros(LARGE, np.uint8)]


@skate.remote
def total(array: Any) -> int:
    return int(array.sum())


def add_large(nodes: Nodes) -> sessions.Session:
    """A node with more room for objects than others: the first to be chosen as an heir."""
    head = nodes.started[0]
    options = InitOptions(num_cpus=1, object_store_memory=2 * STORE_BYTES)
    nodes.started.append(sessions.start_node(options, sessions.Wish(False, HOST, 0, head.host, head.port)))
    return nodes.started[-1]


def test_objects_of_a_drained_node_live_on_another_and_end_there(nodes: Nodes) -> None:
    nodes.add(1)
    going, heir = nodes.add(2, there=1), add_large(nodes)
    skate.init(address=nodes.address)
    once = {**on("there"), "max_retries": 0}
    results = [large.options(**once).remote(number) for number in range(4)]
    packs = skate.get([pack.options(**once).remote(number) for number in range(3)], timeout=20)
    outer = [pack.options(**once).remote(number) for number in range(3)]
    skate.wait([*results, *outer], num_returns=7, timeout=20)
    for node in (going, heir):  # what an heir has inherited is handed on in its turn
        drain(nodes, str(node.node_no))
        eventually(lambda node=node: is_drained(nodes, node), 20)
        assert int(skate.get(results.pop(), timeout=20)[-1]) == len(results)
    assert [int(skate.get(ref, timeout=20)[-1]) for ref in results] == [0, 1]
    for number in range(3):
        inner, small = packs[number][:2]
        assert int(skate.get(inner, timeout=20)[0]) == number and skate.get(small, timeout=20) == number
        inner, small = skate.get(outer[number], timeout=20)[:2]
        assert skate.get(total.remote(inner), timeout=20) == number * LARGE and skate.get(small, timeout=20) == number
    head = nodes.started[0]
    assert asking.ask(head, "store")["objects"] > 10
    made = [row["call_site"] for row in state.list_objects() if row["object_size"] > LARGE]
    assert made and all(site.startswith(("result of ", "put at ")) for site in made), made
    del results, packs, outer, inner, small
    eventually(lambda: asking.ask(head, "store")["objects"] == 0, 15, "objects end where they were inherited")
    assert asking.ask(head, "validate")


def test_an_heir_that_is_lost_takes_along_only_what_cannot_be_made_again(nodes: Nodes) -> None:
    nodes.add(1)
    going, heir = nodes.add(1, there=1), add_large(nodes)
    skate.init(address=nodes.address)
    made = large.remote(0)
    placed = large.options(**on("there")).remote(7)
    put = skate.get(pack.options(**on("there")).remote(3), timeout=20)[0]
    skate.wait([made, placed], num_returns=2, timeout=20)
    drain(nodes, str(going.node_no))
    eventually(lambda: is_drained(nodes, going), 20)
    nodes.kill(heir)
    eventually(lambda: state_of(nodes, heir)["State"] == "dead", 10)
    nodes.add(1, there=1)
    assert int(skate.get(placed, timeout=20)[0]) == 7
    with pytest.raises(ObjectLostError):
        skate.get(put, timeout=20)


def test_readers_lose_nothing_while_a_node_is_drained(nodes: Nodes) -> None:
    """References are passed on and dropped all the time, and everybody pulls from the node that goes."""
    nodes.add(2)
    going = nodes.add(2, there=1)
    skate.init(address=nodes.address)
    refs = [ref for ref, _, _ in skate.get([pack.options(**on("there")).remote(n) for n in range(8)], timeout=20)]
    drain(nodes, str(going.node_no))
    rounds = 0
    while not is_drained(nodes, going):
        number = rounds % len(refs)
        rounds += 1
        assert skate.get(total.remote(refs[number]), timeout=20) == number * LARGE
        if rounds > len(refs):
            refs[number] = skate.get(hand_back.remote([refs[number]]), timeout=20)[0]
    assert rounds > 1
    assert [int(skate.get(ref, timeout=20)[0]) for ref in refs] == list(range(8))


def test_programs_keep_a_node_that_is_drained_and_new_ones_are_refused(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(1)
    going = nodes.add(1)
    program = f"""
import sys, skate
skate.init(address="{going.host}:{going.port}")
ref = skate.put(b"x" * {LARGE})
print(skate.get_runtime_context().get_node_id(), flush=True)
sys.stdin.read()
assert len(skate.get(ref)) == {LARGE}
"""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as driver:
        assert driver.stdout is not None and driver.stdout.readline().strip() == going.node_id
        drain(nodes, str(going.node_no))
        waits = eventually(lambda: state_of(nodes, going)["Drain"]["waits_for"], 5)
        assert waits == ["1 driver"]
        with pytest.raises(ConnectionError, match="is being drained"):
            skate.init(address=f"{going.host}:{going.port}")
        driver.communicate(timeout=20)
    assert driver.returncode == 0
    eventually(lambda: is_drained(nodes, going), 10)


@skate.remote
def hand_back(refs: list[Any]) -> list[Any]:
    return refs
