"""`skate top` over several nodes: all of them are seen, each kills what is on it, and one that is lost stops nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import skate
from skate.cli.top_source import Cluster, Row, Wish
from skate.exceptions import WorkerCrashedError
from skate.testing import eventually

from .conftest import Nodes, on

WAIT_S = 20.0


@skate.remote(max_retries=0)
def waits(path: str) -> None:
    """Until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)


@skate.remote
class Holds:
    """An actor."""

    def pid(self) -> int:
        """Its process."""
        return os.getpid()


def rows(source: Cluster, view: str) -> list[Row]:
    found = source.poll(Wish(view))
    assert not found.error, found.error
    return found.rows


def test_each_node_is_seen_and_kills_what_is_on_it(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(2)
    nodes.add(1, ming=1)
    skate.init(address=nodes.address, log_to_driver=False)
    ref = waits.options(**on("ming")).remote(str(tmp_path / "go"))
    actor = Holds.options(num_cpus=0, **on("ming")).remote()
    pid = skate.get(actor.pid.remote())
    source = Cluster(nodes.address, None)
    assert source.address == nodes.address
    seen = {row["node_no"]: row for row in rows(source, "nodes")}
    assert {no: row["cpus"] for no, row in seen.items()} == {1: 2, 2: 1}
    assert all(row["memory_used"] and row["store"] for row in seen.values())
    (row,) = [row for row in rows(source, "actors") if row["pid"] == pid]
    assert row["node_no"] == 2 and source.kill("actors", row).endswith("was killed")
    (row,) = eventually(lambda: [row for row in rows(source, "actors") if row["state"] == "DEAD"], WAIT_S)
    assert row["pid"] == 0 and "by hand" in row["death_cause"]
    (task,) = eventually(lambda: [row for row in rows(source, "tasks") if row["state"] == "RUNNING"], WAIT_S)
    (worker,) = [row for row in rows(source, "workers") if row["pid"] == task["worker_pid"]]
    assert worker["node_no"] == 2 and source.kill("workers", worker).endswith("was killed")
    with pytest.raises(WorkerCrashedError, match="by hand"):
        skate.get(ref, timeout=WAIT_S)


def test_a_node_that_does_not_answer_is_named_and_it_goes_on(nodes: Nodes) -> None:
    nodes.add(1)
    other = nodes.add(1)
    source = Cluster(nodes.address, None)
    assert len(rows(source, "nodes")) == 2
    os.kill(other.pid, signal.SIGSTOP)
    try:
        found = source.poll(Wish("nodes"))
        assert not found.error and any(f"node {other.node_no} " in each for each in found.missing)
    finally:
        os.kill(other.pid, signal.SIGCONT)
    eventually(lambda: not source.poll(Wish("nodes")).missing, WAIT_S)
