"""How datasets are carried out on a cluster: pools, errors, ends, and what is used."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import skate
import skate.data
from skate.client import current
from skate.data import Dataset, plan
from skate.data.execution import remote
from skate.data.execution.executor import Execution
from skate.data.execution.operators import MapOperator
from skate.data.execution.remote import RemoteRunner
from skate.data.functions import UserFunction
from skate.data.run import blocks_of, execute, runs_here
from skate.testing import eventually

Batch = dict[str, Any]


class Size(NamedTuple):
    """Of a pool of actors."""

    min_size: int
    max_size: int


class Add:
    """Adds a number that it was constructed with."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, batch: Batch) -> Batch:
        return {"id": batch["id"] + self.number}


class Broken:
    """Cannot be constructed."""

    def __init__(self) -> None:
        raise RuntimeError("there is no model")

    def __call__(self, batch: Batch) -> Batch:
        return batch


class Dies:
    """Its process ends once, in the middle."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, batch: Batch) -> Batch:
        if batch["id"][0] == 500 and not os.path.exists(self.mark):
            with open(self.mark, "w"):
                os._exit(3)
        return batch


class Waits:
    """Says that it was called, and waits."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, batch: Batch) -> Batch:
        with open(self.mark, "w"):
            time.sleep(60)
        return batch


def slowly(batch: Batch) -> Batch:
    """So that a pool is there while tasks of what comes before it wait."""
    time.sleep(0.05)
    return batch


def rows(blocks: int = 10) -> Dataset:
    return skate.data.range(1000, override_num_blocks=blocks)


def pooled(source: Dataset, cls: type, *args: Any, **options: Any) -> Dataset:
    function = UserFunction(cls, constructor_args=args)
    return Dataset(
        plan.MapFunction(source._node, "map_batches", function, None, "numpy", Size(1, 2), None, options),
        source._context,
    )


def run(dataset: Dataset) -> Execution:
    return execute(dataset._node, dataset._context)


def total(dataset: Dataset) -> int:
    return sum(int(np.sum(block.column("id").to_numpy())) for block in blocks_of(dataset._node, dataset._context))


@pytest.mark.parametrize("options", [{}, {"num_cpus": 1}], ids=["unreserved", "reserved"])
def test_a_pool_leaves_cpus_for_what_feeds_it(start: Callable[..., str], options: dict[str, Any]) -> None:
    start(num_cpus=1)
    dataset = pooled(rows().map_batches(lambda batch: batch), Add, 5, **options).map_batches(lambda batch: batch)
    assert total(dataset) == sum(range(1000)) + 5 * 1000


def test_tasks_take_no_cpu_from_a_pool_that_is_to_come(start: Callable[..., str]) -> None:
    start(num_cpus=1)
    for options, reserved in (({"num_cpus": 1}, True), ({}, False)):
        execution = run(pooled(rows().map_batches(slowly), Add, 5, **options))
        assert isinstance(execution.runner, RemoteRunner)
        read = next(operator for operator in execution.operators if isinstance(operator, MapOperator))
        assert execution.runner._are_cpus_reserved(read.work) is reserved
        assert sum(bundle.meta.rows for bundle in execution) == 1000


@pytest.mark.usefixtures("cluster")
class TestPools:
    def test_a_class_that_cannot_be_constructed_fails_the_execution(self) -> None:
        with pytest.raises(RuntimeError, match="there is no model") as caught:
            total(pooled(rows(), Broken))
        assert any("MapBatches(Broken)" in note for note in caught.value.__notes__)

    def test_an_actor_that_dies_is_replaced_and_its_task_run_again(self, tmp_path: Path) -> None:
        assert total(pooled(rows(), Dies, str(tmp_path / "died"))) == sum(range(1000))
        assert (tmp_path / "died").exists()

    @pytest.mark.parametrize("in_pool", [True, False])
    def test_resources_that_no_node_has_are_an_error(self, in_pool: bool) -> None:
        dataset = pooled(rows(), Add, 1, num_gpus=1) if in_pool else rows().map_batches(lambda each: each, num_gpus=1)
        with pytest.raises(ValueError, match="GPU: 1"):
            total(dataset)


@pytest.mark.usefixtures("cluster")
class TestEnds:
    @pytest.mark.parametrize("in_pool", [True, False])
    def test_an_interrupt_ends_what_runs(self, in_pool: bool, tmp_path: Path) -> None:
        mark = str(tmp_path / "called")
        waits = Waits(mark)
        dataset = pooled(rows(), Waits, mark) if in_pool else rows().map_batches(lambda batch: waits(batch))
        killer = threading.Thread(target=lambda: eventually(lambda: os.path.exists(mark), 20) and interrupt())
        killer.start()
        before = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            total(dataset)
        killer.join(10)
        assert time.monotonic() - before < 25, "nobody waits for the functions"

    def test_another_thread_ends_a_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote, "POLL_S", 60.0)
        runner = remote.RemoteRunner()
        waker = threading.Thread(target=lambda: eventually(lambda: runner._waiter is not None, 20) and runner.wake())
        waker.start()
        before = time.monotonic()
        assert runner.poll(lambda task: True, wait=True) == []
        waker.join(10)
        assert time.monotonic() - before < 30, "it waits no longer than until it is woken"

    def test_closing_early_ends_what_runs(self) -> None:
        found = iter(run(rows(50).map_batches(lambda batch: batch)))
        assert next(found).meta.rows == 20
        found.close()  # type: ignore[attr-defined]

    def test_inside_of_tasks_on_all_cpus(self) -> None:
        @skate.remote
        def nested() -> int:
            return total(rows().map_batches(lambda batch: batch))

        assert skate.get([nested.remote() for _ in range(3)], timeout=25) == [sum(range(1000))] * 3

    def test_two_executions_at_the_same_time(self) -> None:
        first, second = (iter(run(rows(20).map_batches(lambda batch: batch))) for _ in range(2))
        assert sum(one.meta.rows + two.meta.rows for one, two in zip(first, second, strict=True)) == 2000


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("cluster")
class TestErrors:
    @staticmethod
    def seventh(batch: Batch) -> Batch:
        if batch["id"][0] == 700:
            raise ZeroDivisionError("the seventh")
        return batch

    def test_a_user_error_keeps_its_type_and_names_the_operator(self) -> None:
        with pytest.raises(ZeroDivisionError, match="the seventh") as caught:
            total(rows().map_batches(self.seventh))
        assert "raised in MapBatches(seventh), rows 0 to 99" in caught.value.__notes__[0]
        assert "skate/data" not in str(caught.value), "the traceback begins at the user's code"

    def test_so_many_blocks_may_fail(self) -> None:
        dataset = rows().map_batches(self.seventh)
        dataset._context.max_errored_blocks = 1
        execution = run(dataset)
        assert sum(bundle.meta.rows for bundle in execution) == 900
        assert execution.stats().operators[0].failed == 1

    def test_a_task_that_dies_is_run_again(self, tmp_path: Path) -> None:
        dies = Dies(str(tmp_path / "died"))
        assert total(rows().map_batches(lambda batch: dies(batch))) == sum(range(1000))


@pytest.mark.usefixtures("cluster")
def test_the_budget_is_kept_while_the_consumer_is_slow() -> None:
    """Four times the store goes through; what lies in it is never more than the budget and what running tasks make ahead."""

    def grow(batch: Batch) -> Batch:
        return {"x": np.ones((len(batch["id"]), 128))}

    dataset = skate.data.range(1_600_000, override_num_blocks=16).map_batches(grow, batch_size=4000)
    execution = run(dataset)
    ask: Any = current.runtime.ask  # type: ignore[union-attr]
    size = 0
    for bundle in execution:
        size += bundle.meta.size_bytes
        store = ask("store")
        del bundle
    assert size == 1_600_000 * 128 * 8 > 3.9 * store["capacity"]
    # The budget leaves room. But the store does not wait for what clients are about to give back, and what leaves it then is a
    # quarter of it: on a busy machine that happens once or twice.
    assert store["spilled_bytes"] <= store["capacity"] // 2 < size // 7, (
        "what goes through has not to be written to disk"
    )
    assert execution.peak_bytes <= execution.budget_bytes + 4 * execution.window_bytes


@pytest.mark.usefixtures("cluster")
def test_statistics_say_what_was_used_and_waited_for() -> None:
    execution = run(pooled(rows().map_batches(lambda batch: batch), Add, 1))
    assert sum(bundle.meta.rows for bundle in execution) == 1000
    first, second = execution.stats().operators
    assert (first.tasks, first.rows_out, second.rows_in, second.rows_out) == (10, 1000, 1000, 1000)
    assert second.seconds > 0 and second.peak_bytes > 10 << 20 and sum(second.blocked.values()) > 0
    assert execution.why() == "it is done"
    assert "MapBatches(Add): 10 tasks, 1000 rows" in str(execution.stats())


def test_small_plans_run_here() -> None:
    context = skate.data.DataContext()
    small = skate.data.range(100)
    assert runs_here(small._node, context)
    assert runs_here(small.map(lambda row: row).sort("id")._node, context) == (os.cpu_count() == 1)
    assert runs_here(skate.data.range(100, override_num_blocks=1).map(lambda row: row)._node, context)
    assert not runs_here(skate.data.range(10_000_000)._node, context)
    assert not runs_here(small.map(lambda row: row, num_cpus=2)._node, context)
    assert not runs_here(pooled(small, Add, 1)._node, context)
