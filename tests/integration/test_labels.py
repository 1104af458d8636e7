"""Labels in a session of one's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import skate
from skate.exceptions import ActorUnschedulableError, TaskUnschedulableError


@skate.remote
def resources() -> dict[str, float]:
    return skate.get_runtime_context().get_assigned_resources()


@skate.remote
class Resident:
    def labels(self) -> dict[str, str]:
        return skate.get_runtime_context().get_node_labels()


def test_a_session_of_ones_own_has_labels(start: Callable[..., str]) -> None:
    start(num_cpus=2, labels={"zone": "a"})
    inside = resources.options(label_selector={"zone": "in(a,b)"})
    assert skate.get([inside.remote() for _ in range(20)], timeout=20) == [{"CPU": 1.0}] * 20
    actor = Resident.options(label_selector={"zone": "a"}).remote()
    found = skate.get(actor.labels.remote(), timeout=20)
    assert found["zone"] == "a" and found["ray.io/node-id"] == skate.nodes()[0]["NodeID"]
    assert skate.nodes()[0]["Labels"] == found


def test_what_the_only_node_is_not_is_said_at_once(start: Callable[..., str]) -> None:
    start(num_cpus=1, labels={"zone": "a"})
    with pytest.raises(TaskUnschedulableError, match=r"zone in .b."):
        resources.options(label_selector={"zone": "b"}).remote()
    with pytest.raises(ActorUnschedulableError, match=r"zone !in .a."):
        Resident.options(label_selector={"zone": "!a"}).remote()
    soft = resources.options(label_selector={"zone": "b"}, fallback_strategy=[{"label_selector": {"zone": "a"}}])
    assert skate.get(soft.remote(), timeout=20)
