"""Tasks, objects and actors on other nodes, as on one's own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meeting import meet

import skate
from skate.client import asking, waiting
from skate.exceptions import GetTimeoutError, RayTaskError
from skate.testing import eventually

from .conftest import Nodes, on

pytestmark = pytest.mark.usefixtures("three", "at_rest")
N = 200_000
NAMES = ["bob", "alice", "ming"]


@skate.remote
def where() -> str:
    return skate.get_runtime_context().get_node_id()


@skate.remote
def make(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float64)


@skate.remote
def total(array: np.ndarray) -> float:
    return float(array.sum())


@skate.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, by: int = 1) -> int:
        self.count += by
        return self.count

    def place(self) -> tuple[str, int]:
        return skate.get_runtime_context().get_node_id(), os.getpid()

    def ones(self, count: int) -> np.ndarray:
        return np.ones(count)


EXPECTED = float(np.arange(N, dtype=np.float64).sum())


def test_the_nodes_are_known(three: Nodes) -> None:
    found = skate.nodes()
    assert {node["NodeID"] for node in found} == {node.node_id for node in three.started}
    assert all(node["Alive"] for node in found)
    assert skate.cluster_resources()["CPU"] == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_task_runs_where_its_resource_is(name: str) -> None:
    has = {node["NodeID"] for node in skate.nodes() if node["Resources"].get(name)}
    assert set(skate.get([where.options(**on(name)).remote() for _ in range(10)], timeout=20)) == has


def test_work_that_does_not_fit_here_goes_elsewhere() -> None:
    @skate.remote
    def busy(_: int) -> str:
        time.sleep(0.2)
        return skate.get_runtime_context().get_node_id()

    began = time.monotonic()
    places = skate.get([busy.remote(i) for i in range(10)], timeout=30)
    assert len(set(places)) == 3, "all five CPUs work"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("maker", NAMES)
@pytest.mark.parametrize("reader", NAMES)
def test_large_objects_between_all_nodes(maker: str, reader: str) -> None:
    ref = make.options(**on(maker)).remote(N)
    assert skate.get(total.options(**on(reader)).remote(ref), timeout=20) == EXPECTED
    assert float(skate.get(ref, timeout=20).sum()) == EXPECTED


@pytest.mark.parametrize("reader", NAMES)
def test_arguments_and_puts_travel(reader: str) -> None:
    there = total.options(**on(reader))
    array = np.arange(N, dtype=np.float64)
    assert skate.get(there.remote(array), timeout=20) == EXPECTED
    assert skate.get(there.remote(skate.put(array)), timeout=20) == EXPECTED


def test_references_inside_values() -> None:
    @skate.remote
    def reads(inside: dict[str, Any]) -> float:
        return float(skate.get(inside["ref"]).sum())

    @skate.remote
    def gives() -> dict[str, Any]:
        return {"ref": skate.put(np.ones(N)), "small": skate.put([1, 2])}

    ref = make.options(**on("alice")).remote(N)
    assert skate.get(reads.options(**on("ming")).remote({"ref": ref}), timeout=20) == EXPECTED
    given = skate.get(gives.options(**on("alice")).remote(), timeout=20)
    assert skate.get(given["small"], timeout=20) == [1, 2]
    assert float(skate.get(given["ref"], timeout=20).sum()) == N


def test_tasks_from_tasks_on_other_nodes() -> None:
    @skate.remote
    def parent() -> list[float]:
        child = total.options(**on("alice"))
        return skate.get([child.remote(np.ones(10)) for _ in range(3)])

    assert skate.get(parent.options(**on("ming")).remote(), timeout=20) == [10.0] * 3


def test_errors_and_streams_come_back() -> None:
    @skate.remote
    def fails() -> None:
        raise ValueError("there")

    @skate.remote(num_returns="streaming")
    def counts(limit: int) -> Any:
        yield from range(limit)

    with pytest.raises(ValueError, match="there") as caught:
        skate.get(fails.options(**on("alice")).remote(), timeout=20)
    assert isinstance(caught.value, RayTaskError)
    assert [skate.get(ref) for ref in counts.options(**on("alice")).remote(5)] == list(range(5))


def test_a_long_task_holds_nobody_behind_it() -> None:
    @skate.remote
    def nap(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    there = nap.options(resources={"alice": 1})
    skate.get([there.remote(0) for _ in range(50)], timeout=20)
    began = time.monotonic()
    refs = [there.remote(3), *(there.remote(0) for _ in range(20))]
    skate.get(refs[1:], timeout=20)
    assert time.monotonic() - began < 3
    skate.cancel(refs[0])


def test_tasks_that_were_short_before_run_at_once_on_another_node(tmp_path: Path) -> None:
    comes = skate.remote(num_cpus=0.1, resources={"alice": 0.5})(meet)
    for _ in range(100):
        assert skate.get(comes.remote(tmp_path, 0, 0), timeout=20)
    assert all(skate.get([comes.remote(tmp_path, me, 4) for me in range(4)], timeout=20))


@pytest.mark.parametrize("name", NAMES)
def test_actors_on_every_node(name: str) -> None:
    has = {node["NodeID"] for node in skate.nodes() if node["Resources"].get(name)}
    counter = Counter.options(**on(name)).remote(5)
    assert skate.get([counter.add.remote() for _ in range(50)], timeout=20) == list(range(6, 56))
    assert skate.get(counter.place.remote())[0] in has
    assert float(skate.get(counter.ones.remote(N), timeout=20).sum()) == N


def test_handles_travel_and_names_are_known_everywhere() -> None:
    @skate.remote
    def use(handle: Any) -> int:
        return skate.get(handle.add.remote(100))

    @skate.remote
    def find() -> int:
        return skate.get(skate.get_actor("known").add.remote(1000))

    counter = Counter.options(name="known", **on("alice")).remote()
    assert skate.get(use.options(**on("ming")).remote(counter), timeout=20) == 100
    assert skate.get(find.options(**on("ming")).remote(), timeout=20) == 1100
    assert skate.get(find.options(**on("bob")).remote(), timeout=20) == 2100
    with pytest.raises(ValueError, match="known"):
        Counter.options(name="known").remote()
    skate.kill(counter)
    eventually(lambda: "known" not in skate.util.list_named_actors(), 10)


def test_a_dropped_actor_ends() -> None:
    counter = Counter.options(**on("alice")).remote()
    _, pid = skate.get(counter.place.remote(), timeout=20)
    del counter
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), 10)


def test_a_restarted_actor_is_found_again() -> None:
    counter = Counter.options(max_restarts=1, max_task_retries=1, **on("alice")).remote()
    _, pid = skate.get(counter.place.remote(), timeout=20)
    os.kill(pid, 9)
    assert skate.get(counter.add.remote(), timeout=20) == 1
    assert skate.get(counter.place.remote())[1] != pid


def test_a_worker_that_is_killed_is_retried() -> None:
    @skate.remote(max_retries=1)
    def dies_once(path: str) -> str:
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), 9)
        return "alive"

    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        assert skate.get(dies_once.options(**on("alice")).remote(f"{folder}/x"), timeout=20) == "alive"


def test_objects_and_their_copies_end(three: Nodes) -> None:
    from skate.client import asking

    def objects() -> list[int]:
        return [asking.ask(node, "store")["objects"] for node in three.started]

    before = objects()
    for _ in range(5):
        ref = make.options(**on("alice")).remote(N)
        assert skate.get(total.options(**on("ming")).remote({"in": ref}["in"]), timeout=20) == EXPECTED
    del ref
    eventually(lambda: all(now <= was for was, now in zip(before, objects(), strict=True)), 15, "objects end")
    assert all(asking.ask(node, "validate") for node in three.started)


def test_node_affinity(three: Nodes) -> None:
    from skate.exceptions import ActorUnschedulableError, TaskUnschedulableError
    from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    for node in three.started:
        wanted = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        assert set(skate.get([where.options(scheduling_strategy=wanted).remote() for _ in range(6)], timeout=20)) == {
            node.node_id
        }
        keeper = Counter.options(scheduling_strategy=wanted).remote()
        assert skate.get(keeper.place.remote(), timeout=20)[0] == node.node_id
    nowhere = NodeAffinitySchedulingStrategy("ab" * 16, soft=False)
    with pytest.raises(TaskUnschedulableError, match="abab"):
        where.options(scheduling_strategy=nowhere).remote()
    with pytest.raises(ActorUnschedulableError, match="abab"):
        Counter.options(scheduling_strategy=nowhere).remote()
    anywhere = NodeAffinitySchedulingStrategy("ab" * 16, soft=True)
    assert skate.get(where.options(scheduling_strategy=anywhere).remote(), timeout=20)
    keeper = Counter.options(scheduling_strategy=anywhere).remote()
    assert skate.get(keeper.add.remote(), timeout=20) == 1


def test_spread_uses_every_node(three: Nodes) -> None:
    @skate.remote(num_cpus=0.1, scheduling_strategy="SPREAD")
    def nap() -> str:
        time.sleep(0.1)
        return skate.get_runtime_context().get_node_id()

    everywhere = {node.node_id for node in three.started}
    assert set(skate.get([nap.remote() for _ in range(9)], timeout=20)) == everywhere
    total = skate.cluster_resources()
    eventually(lambda: skate.available_resources() == total, 5, "there is room for an actor on every node")
    counters = [Counter.options(scheduling_strategy="SPREAD").remote() for _ in range(3)]
    assert {skate.get(counter.place.remote(), timeout=20)[0] for counter in counters} == everywhere


def test_a_wait_says_what_the_cluster_lacks(
    three: Nodes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = where.options(resources={"unheard": 1}).remote()
    assert "no node of the cluster has" in skate.why(nowhere) and "1 unheard" in skate.why(nowhere)
    status = lambda: asking.ask(three.started[1], "cluster_status")["demand"]  # noqa: E731
    eventually(lambda: [each["count"] for each in status()] == [1], 5, "it is counted once")
    assert "no node has any unheard" in status()[0]["reason"]
    monkeypatch.setattr(waiting, "SLOW_GET_S", 0.1)
    with pytest.raises(GetTimeoutError, match="no node of the cluster has"):
        skate.get(nowhere, timeout=0.3)
    assert "no node of the cluster has" in capsys.readouterr().err
    skate.cancel(nowhere)

    @skate.remote(resources={"ming": 1})
    def hold() -> None:
        time.sleep(30)

    first, second = hold.remote(), hold.remote()
    eventually(lambda: "0 of 1 ming free" in skate.why(second), 10)
    skate.cancel(second)
    skate.cancel(first)


def test_what_an_actor_had_is_free_as_soon_as_nobody_has_its_handle() -> None:
    for _ in range(4):
        keeper = Counter.options(num_cpus=2, resources={"alice": 0.5}).remote()
        began = time.monotonic()
        skate.get(keeper.add.remote(), timeout=20)
        assert time.monotonic() - began < 2.5
        del keeper
