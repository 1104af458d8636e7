"""Placement groups on one machine: what is reserved, who may use it, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import skate
from skate.exceptions import ActorDiedError, RaySystemError, TaskPlacementGroupRemoved
from skate.testing import eventually
from skate.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from skate.util.placement_group import PlacementGroup, get_current_placement_group
from skate.util.scheduling_strategies import PlacementGroupSchedulingStrategy

pytestmark = pytest.mark.usefixtures("cluster")


def inside(group: PlacementGroup, index: int = -1, **more: Any) -> dict[str, Any]:
    """The options of what is to run in a group."""
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, index, **more)}


@pytest.fixture
def make() -> Any:
    """Makes groups that are removed after the test."""
    made: list[PlacementGroup] = []

    def make(*args: Any, **kwargs: Any) -> PlacementGroup:
        made.append(placement_group(*args, **kwargs))
        return made[-1]

    yield make
    for group in made:
        remove_placement_group(group)
    eventually(lambda: placement_group_table() == {}, 5)


Make = Callable[..., PlacementGroup]


@skate.remote
def where() -> str | None:
    group = get_current_placement_group()
    return group.id if group is not None else None


@skate.remote
def nap(seconds: float) -> None:
    time.sleep(seconds)


def test_what_is_reserved_nobody_else_gets(make: Make) -> None:
    before = skate.available_resources()["CPU"]
    group = make([{"CPU": 1}, {"CPU": 0.5}])
    assert skate.get(group.ready(), timeout=10) == group
    assert skate.available_resources()["CPU"] == before - 1.5
    assert skate.cluster_resources()["CPU"] == 2, "the total is what it was, without the bundles beside it"
    outside = where.options(num_cpus=2).remote()
    assert skate.wait([outside], timeout=0.3)[0] == []
    assert skate.get(where.options(**inside(group, 0)).remote(), timeout=10) == group.id
    assert skate.get(where.options(num_cpus=0.5, **inside(group)).remote(), timeout=10) == group.id
    remove_placement_group(group)
    assert skate.get(outside, timeout=10) is None


def test_a_bundle_holds_no_more_than_it_has(make: Make) -> None:
    group = make([{"CPU": 1}])
    first, second = (nap.options(**inside(group, 0)).remote(0.3) for _ in range(2))
    began = time.monotonic()
    skate.get([first, second], timeout=10)
    assert time.monotonic() - began > 0.55, "one after the other"
    with pytest.raises(ValueError, match="does not fit into any of the bundles"):
        nap.options(num_cpus=2, **inside(group)).remote(0)
    with pytest.raises(ValueError, match="one of 0 to 0"):
        nap.options(**inside(group, 1)).remote(0)


def test_actors_and_what_they_start(make: Make) -> None:
    group = make([{"CPU": 1}, {"CPU": 1}])

    @skate.remote(num_cpus=1)
    class Worker:
        def here(self) -> Any:
            return where.remote.__self__ is not None and skate.get_runtime_context().get_placement_group_id()

        def child(self) -> str | None:
            found: str | None = skate.get(where.options(num_cpus=0.5).remote(), timeout=10)
            return found

    plain = Worker.options(**inside(group, 0)).remote()
    assert skate.get(plain.here.remote(), timeout=10) == group.id
    captures = Worker.options(**inside(group, 1, placement_group_capture_child_tasks=True)).remote()
    assert skate.get(captures.here.remote(), timeout=10) == group.id
    del plain
    assert skate.get(captures.child.remote(), timeout=10) == group.id


def test_removal_ends_what_runs_there_and_what_waits(make: Make) -> None:
    group = make([{"CPU": 1}])

    @skate.remote(max_restarts=-1)
    class Keeper:
        def ok(self) -> int:
            return 1

    keeper = Keeper.options(num_cpus=0, **inside(group)).remote()
    assert skate.get(keeper.ok.remote(), timeout=10) == 1
    running = nap.options(**inside(group)).remote(100)
    waiting = nap.options(**inside(group)).remote(0)
    eventually(lambda: "runs on" in skate.why(running), 10)
    remove_placement_group(group)
    for ref in (running, waiting, nap.options(**inside(group)).remote(0)):
        with pytest.raises(TaskPlacementGroupRemoved, match=group.id):
            skate.get(ref, timeout=10)
    with pytest.raises(ActorDiedError, match="placement group was removed"):
        skate.get(keeper.ok.remote(), timeout=10)
    late = Keeper.options(num_cpus=0, **inside(group)).remote()
    with pytest.raises(ActorDiedError, match="placement group was removed"):
        skate.get(late.ok.remote(), timeout=10)
    eventually(lambda: skate.available_resources()["CPU"] == 2, 5)


def test_a_group_that_does_not_fit_waits_and_says_why(make: Make) -> None:
    large = make([{"CPU": 2}])
    assert large.wait(10)
    second = make([{"CPU": 1}, {"CPU": 1}])
    assert not second.wait(0.1)
    row = placement_group_table(second)
    assert row["state"] == "PENDING" and row["stats"]["scheduling_state"] == "what it needs is in use"
    never = make([{"CPU": 100}])
    ready = never.ready()
    eventually(lambda: "could ever give" in skate.why(ready), 5)
    task = where.options(**inside(never)).remote()
    eventually(lambda: "its placement group is PENDING" in skate.why(task), 5)
    remove_placement_group(never)
    with pytest.raises(RaySystemError, match="never be ready"):
        skate.get(ready, timeout=10)
    remove_placement_group(large)
    assert second.wait(10)


def test_names(make: Make) -> None:
    group = make([{"CPU": 1}], name="mine")
    assert get_placement_group("mine") == group and get_placement_group("mine").bundle_specs == [{"CPU": 1.0}]
    with pytest.raises(ValueError, match="'other'"):
        get_placement_group("other")
    twice = make([{"CPU": 1}], name="mine")
    with pytest.raises(RaySystemError, match="exists already"):
        skate.get(twice.ready(), timeout=10)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (([],), "at least one"),
        (([{}],), "empty"),
        (([{"CPU": 0}],), "empty"),
        (([{"CPU": -1}],), "zero or more"),
        (([{"CPU": 1e-6}],), "smallest"),
        ((["CPU"],), "a dict"),
        (([{"CPU": 1}], "FAST"), "STRICT_SPREAD"),
        (([{"CPU": 1}], "PACK", "", "forever"), "detached"),
    ],
)
def test_bad_input(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        placement_group(*arguments)


def test_handles_travel(make: Make) -> None:
    group = make([{"CPU": 0.5}])

    @skate.remote(num_cpus=0.5)
    def use(group: PlacementGroup) -> Any:
        return group.bundle_count, skate.get(where.options(num_cpus=0.5, **inside(group)).remote(), timeout=10)

    assert skate.get(use.remote(group.ready()), timeout=10) == (1, group.id)


def test_both_ways_to_import() -> None:
    import skate.util.placement_group as module

    assert callable(skate.util.placement_group) and module.placement_group([{"CPU": 0.1}]).wait(10)
    remove_placement_group(get_first())


def get_first() -> PlacementGroup:
    return PlacementGroup(next(iter(placement_group_table())), [])
