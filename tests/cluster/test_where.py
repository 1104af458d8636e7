"""Where tasks run: on the own node while there is room, then where it is; and never are more workers taken than are used."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any, cast

import pytest

import skate
from skate.client import asking, current
from skate.client.tasks import Tasks
from skate.exceptions import TaskUnschedulableError
from skate.testing import eventually
from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .conftest import Nodes


@skate.remote
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return skate.get_runtime_context().get_node_id()


@skate.remote
def short() -> None:
    return


@skate.remote(num_cpus=0)
class Place:
    def where(self) -> str:
        return skate.get_runtime_context().get_node_id()


@skate.remote
def linger(marks: str) -> None:
    open(os.path.join(marks, str(os.getpid())), "w").close()
    time.sleep(60)


def places(nodes: Nodes, count: int, **options: Any) -> list[int]:
    """How many of `count` tasks, all at once, ran on each node."""
    ran = Counter(skate.get([nap.options(**options).remote(0.4) for _ in range(count)], timeout=20))
    return [ran[node.node_id] for node in nodes.started]


def all_free() -> bool:
    return skate.available_resources() == skate.cluster_resources()


def test_work_stays_together_and_then_spreads(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = []
    leased = Tasks.leased_far
    monkeypatch.setattr(Tasks, "leased_far", lambda *args: (granted.append(args[2]), leased(*args))[1])
    for cpus in (2, 4, 4):
        nodes.add(cpus)
    skate.init(address=nodes.address)
    assert places(nodes, 2) == [2, 0, 0], "there is room here, though no worker has started yet"
    assert not granted
    for count, wanted in [(3, [2, 1, 0]), (4, [2, 2, 0]), (10, [2, 4, 4])]:
        eventually(all_free, 5)
        assert places(nodes, count) == wanted, "a node is half filled before the next is begun"
    assert len(granted) <= 1 + 2 + 8, "nobody takes a worker that nothing waits for"
    spread = {"scheduling_strategy": "SPREAD"}
    for count, wanted in [(3, [1, 1, 1]), (6, [2, 2, 2]), (9, [2, 4, 3])]:
        eventually(all_free, 5)
        assert sorted(places(nodes, count, **spread)) == sorted(wanted)


def test_spread_leaves_out_a_node_that_is_full(nodes: Nodes, tmp_path: Any) -> None:
    for _ in range(3):
        nodes.add(2)
    skate.init(address=nodes.address)
    there = NodeAffinitySchedulingStrategy(nodes.started[1].node_id, soft=False)
    busy = [linger.options(scheduling_strategy=there).remote(str(tmp_path)) for _ in range(2)]
    eventually(lambda: len(os.listdir(tmp_path)) == 2, 10)
    eventually(lambda: skate.available_resources().get("CPU") == 4, 5)
    assert places(nodes, 4, scheduling_strategy="SPREAD") == [2, 0, 2]
    for ref in busy:
        skate.cancel(ref, force=True)


def test_tasks_that_must_be_on_a_node_fail_when_it_is_lost(nodes: Nodes, tmp_path: Any) -> None:
    nodes.add(1)
    lost = nodes.add(1)
    skate.init(address=nodes.address)
    assert sum(node["Alive"] for node in skate.nodes()) == 2, "the head has let it in, so it is there for everybody"
    hard, soft = (NodeAffinitySchedulingStrategy(lost.node_id, soft=soft) for soft in (False, True))
    running = linger.options(scheduling_strategy=hard).remote(str(tmp_path))
    eventually(lambda: len(os.listdir(tmp_path)) == 1, 10)
    waits = nap.options(scheduling_strategy=hard).remote(0)
    may_move = nap.options(scheduling_strategy=soft).remote(0)
    assert skate.wait([waits, may_move], timeout=0.3)[0] == [], "the node is full, and both wait for it"
    nodes.kill(lost)
    for ref in (running, waits):
        with pytest.raises(TaskUnschedulableError, match=lost.node_id):
            skate.get(ref, timeout=10)
    assert skate.get(may_move, timeout=10) == nodes.started[0].node_id
    again = nap.options(scheduling_strategy=hard)
    with pytest.raises(TaskUnschedulableError, match=lost.node_id):
        skate.get(again.remote(0), timeout=10)


def test_what_finds_no_room_waits_for_whichever_node_is_free_first(nodes: Nodes, tmp_path: Any) -> None:
    busy = []
    for number in range(3):
        nodes.add(1, **{f"only{number}": 1})
        skate.init(address=nodes.address, ignore_reinit_error=True)
        busy.append(linger.options(resources={f"only{number}": 1}).remote(str(tmp_path)))
        eventually(lambda: len(os.listdir(tmp_path)) == len(busy), 10)
    waits = nap.remote(0)
    eventually(lambda: skate.why(waits).count("0 of 1 CPU free") == 3, 5, "it says which nodes it waits for")
    demand = lambda: asking.ask(nodes.started[2], "cluster_status")["demand"]  # noqa: E731
    eventually(lambda: [(each["node"], each["count"]) for each in demand()] == [(1, 1)], 5, "it is counted once")
    skate.cancel(busy[2], force=True)
    assert skate.get(waits, timeout=20) == nodes.started[2].node_id
    for ref in busy[:2]:
        skate.cancel(ref, force=True)


def test_what_waits_is_counted_as_it_is(nodes: Nodes) -> None:
    head = nodes.add(1)
    other = nodes.add(1, there=1)
    skate.init(address=nodes.address)

    def demand() -> list[int]:
        found = asking.ask_at(head.host, head.port, "cluster_status", of_head=True)["demand"]
        return [each["count"] for each in found]

    there = NodeAffinitySchedulingStrategy(other.node_id, soft=False)
    kinds: list[dict[str, Any]] = [
        {"resources": {"there": 1}},
        {"scheduling_strategy": there},
        {"scheduling_strategy": "SPREAD"},
        {"resources": {"nowhere": 1}},
    ]
    for options, run in zip(kinds, (1, 1, 2, 0), strict=True):
        refs = [nap.options(**options).remote(60) for _ in range(10)]
        eventually(lambda run=run: demand() == [10 - run], 5, f"all but {run} of ten are counted")
        for ref in refs[7:]:
            skate.cancel(ref)
        eventually(lambda run=run: demand() == [7 - run], 5, "so much less is not told by itself")
        for ref in refs[:7]:
            skate.cancel(ref, force=True)
        eventually(lambda: demand() == [] and all_free(), 10)


def test_a_node_that_has_joined_is_there_at_once_for_programs_on_others(nodes: Nodes) -> None:
    nodes.add(1)
    skate.init(address=nodes.address)
    for number in range(2, 4):
        joined = nodes.add(1, **{f"r{number}": 1})
        there = NodeAffinitySchedulingStrategy(joined.node_id, soft=False)
        ran = nap.options(scheduling_strategy=there).remote(0)
        actor = Place.options(scheduling_strategy=there).remote()
        assert skate.cluster_resources()["CPU"] == number == len(skate.nodes())
        assert skate.get([ran, actor.where.remote()], timeout=20) == [joined.node_id] * 2
        skate.kill(actor)
    with pytest.raises(TaskUnschedulableError, match="is not there"):
        nap.options(scheduling_strategy=NodeAffinitySchedulingStrategy("f" * 32, soft=False)).remote(0)


@pytest.mark.parametrize("soft", [False, True])
def test_tasks_that_are_to_be_on_a_node_wait_for_it_though_others_have_room(nodes: Nodes, soft: bool) -> None:
    for _ in range(2):
        nodes.add(1)
    skate.init(address=nodes.address)
    for node in nodes.started:
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=soft)
        ran = skate.get([nap.options(scheduling_strategy=there).remote(0.1) for _ in range(4)], timeout=20)
        assert set(ran) == {node.node_id}


@pytest.mark.parametrize("strategy", ["DEFAULT", "SPREAD"])
def test_a_program_of_short_tasks_has_the_use_of_a_node_that_joins(nodes: Nodes, strategy: str) -> None:
    """While there is one node, its demand stands for a while when its queue runs empty; then others must hear of each change."""
    nodes.add(1)
    skate.init(address=nodes.address)
    submitter = cast("Any", current.runtime).tasks.submitter
    quick, slow = (function.options(scheduling_strategy=strategy) for function in (short, nap))
    for _ in range(10):
        skate.get([quick.remote() for _ in range(50)], timeout=20)
    assert submitter.patient
    nodes.add(3)
    for _ in range(5):
        skate.get([quick.remote() for _ in range(50)], timeout=20)
        ran = skate.get([slow.remote(0.5) for _ in range(4)], timeout=20)
        assert Counter(ran) == {nodes.started[0].node_id: 1, nodes.started[1].node_id: 3}
    assert not submitter.patient
