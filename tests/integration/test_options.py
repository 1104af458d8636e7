"""Each option that is accepted does what it says, on one machine; those that other files test are not repeated here."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import ActorUnschedulableError, TaskUnschedulableError, UnsupportedError, WorkerCrashedError
from skate.testing import eventually
from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy

pytestmark = pytest.mark.usefixtures("cluster")

ELSEWHERE = "ab" * 16
"""The id of a node that there is not."""


@skate.remote
def node_id() -> str:
    return skate.get_runtime_context().get_node_id()


@skate.remote
class Flaky:
    """Fails, or dies, until a file is as long as it is told."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.order: list[int] = []

    def _attempt(self) -> int:
        with self.path.open("a") as out:
            out.write("x")
        return len(self.path.read_text())

    def fail(self, attempts: int) -> int:
        count = self._attempt()
        if count < attempts:
            raise KeyError("again")
        return count

    def die(self, attempts: int) -> int:
        count = self._attempt()
        if count < attempts:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    def items(self) -> Iterator[int]:
        for number in range(10):
            self._attempt()
            yield number

    def note(self, number: int) -> None:
        self.order.append(number)

    def noted(self) -> list[int]:
        return self.order

    def node_id(self) -> str:
        return skate.get_runtime_context().get_node_id()

    def pid(self) -> int:
        return os.getpid()

    def ask(self, what: str) -> Any:
        return getattr(skate.get_runtime_context(), what)


# ------------------------------------------------------------ resources


def test_memory_bounds_what_runs_at_once(tmp_path: Path) -> None:
    half = skate.cluster_resources()["memory"] * 0.6

    @skate.remote(memory=half, num_cpus=0.1)
    def alone() -> bool:
        mark = tmp_path / "busy"
        mark.touch(exist_ok=False)
        time.sleep(0.02)
        mark.unlink()
        return True

    assert all(skate.get([alone.remote() for _ in range(6)], timeout=20))
    with pytest.raises(TaskUnschedulableError, match="memory"):
        alone.options(memory=half * 10).remote()


def test_tasks_without_cpus_do_not_wait_for_them() -> None:
    @skate.remote
    def both() -> int:
        inner = [node_id.options(num_cpus=0).remote() for _ in range(3)]
        return len(skate.get(inner))

    assert skate.get(both.options(num_cpus=2).remote(), timeout=20) == 3


@pytest.mark.parametrize("count", [2, 3, 4])
def test_parts_of_a_cpu_run_at_the_same_time(count: int, tmp_path: Path) -> None:
    """Each waits until all of them run."""

    @skate.remote(num_cpus=0.5)
    def together(number: int) -> bool:
        (tmp_path / str(number)).touch()
        return bool(eventually(lambda: len(os.listdir(tmp_path)) >= count))

    assert all(skate.get([together.remote(number) for number in range(count)], timeout=20))


@pytest.mark.parametrize(
    "options", [{"accelerator_type": "A100"}, {"num_gpus": 1}, {"resources": {"gold": 1}}, {"num_cpus": 3}]
)
def test_what_is_not_there_is_an_error(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TaskUnschedulableError):
        node_id.options(**options).remote()
    with pytest.raises(ActorUnschedulableError):
        Flaky.options(**options).remote(str(tmp_path / "x"))


# ------------------------------------------------------------ where


@pytest.mark.parametrize("strategy", ["DEFAULT", "SPREAD", None, "here", "elsewhere if need be"])
def test_strategies_that_one_machine_can_follow(strategy: str | None, tmp_path: Path) -> None:
    here = skate.nodes()[0]["NodeID"]
    wanted: Any = {
        "here": NodeAffinitySchedulingStrategy(here, soft=False),
        "elsewhere if need be": NodeAffinitySchedulingStrategy(ELSEWHERE, soft=True),
    }.get(str(strategy), strategy)
    assert skate.get(node_id.options(scheduling_strategy=wanted).remote(), timeout=10) == here
    flaky = Flaky.options(scheduling_strategy=wanted).remote(str(tmp_path / "x"))
    assert skate.get(flaky.node_id.remote(), timeout=10) == here


def test_a_task_for_a_node_that_there_is_not() -> None:
    wanted = NodeAffinitySchedulingStrategy(ELSEWHERE, soft=False)
    with pytest.raises(TaskUnschedulableError, match=ELSEWHERE):
        skate.get(node_id.options(scheduling_strategy=wanted).remote(), timeout=10)


def test_an_actor_for_a_node_that_there_is_not(tmp_path: Path) -> None:
    wanted = NodeAffinitySchedulingStrategy(ELSEWHERE, soft=False)
    with pytest.raises(ActorUnschedulableError, match=ELSEWHERE):
        skate.get(Flaky.options(scheduling_strategy=wanted).remote(str(tmp_path / "x")).pid.remote(), timeout=10)


# ------------------------------------------------------------ retries


@pytest.mark.parametrize(("retries", "works"), [(0, False), (1, False), (2, True), (-1, True)])
def test_max_retries_counts_deaths(retries: int, works: bool, tmp_path: Path) -> None:
    @skate.remote(max_retries=retries)
    def die() -> int:
        with (tmp_path / "attempts").open("a") as out:
            out.write("x")
        count = (tmp_path / "attempts").stat().st_size
        if count < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    if works:
        assert skate.get(die.remote(), timeout=20) == 3
    else:
        with pytest.raises(WorkerCrashedError):
            skate.get(die.remote(), timeout=20)
        assert (tmp_path / "attempts").stat().st_size == retries + 1


def test_retry_exceptions_true_is_all_of_them(tmp_path: Path) -> None:
    @skate.remote(max_retries=5, retry_exceptions=True)
    def fail() -> int:
        with (tmp_path / "attempts").open("a") as out:
            out.write("x")
        count = (tmp_path / "attempts").stat().st_size
        if count < 4:
            raise OSError(count)
        return count

    assert skate.get(fail.remote(), timeout=20) == 4
    (tmp_path / "attempts").unlink()
    with pytest.raises(OSError, match="1"):
        skate.get(fail.options(retry_exceptions=False).remote(), timeout=20)


def test_methods_are_retried_on_exceptions_when_asked(tmp_path: Path) -> None:
    flaky = Flaky.remote(str(tmp_path / "attempts"))
    with pytest.raises(KeyError):
        skate.get(flaky.fail.options(max_task_retries=5).remote(3), timeout=20)
    (tmp_path / "attempts").unlink()
    assert skate.get(flaky.fail.options(max_task_retries=5, retry_exceptions=True).remote(3), timeout=20) == 3
    (tmp_path / "attempts").unlink()
    assert skate.get(flaky.fail.options(max_task_retries=2, retry_exceptions=[KeyError]).remote(3), timeout=20) == 3
    (tmp_path / "attempts").unlink()
    with pytest.raises(KeyError):
        skate.get(flaky.fail.options(max_task_retries=5, retry_exceptions=[OSError]).remote(3), timeout=20)
    (tmp_path / "attempts").unlink()
    with pytest.raises(KeyError):
        skate.get(flaky.fail.options(max_task_retries=1, retry_exceptions=True).remote(3), timeout=20)
    assert len((tmp_path / "attempts").read_text()) == 2


def test_restarts_and_retries_without_limit(tmp_path: Path) -> None:
    flaky = Flaky.options(max_restarts=-1, max_task_retries=-1).remote(str(tmp_path / "attempts"))
    assert skate.get(flaky.die.remote(5), timeout=20) == 5


# ------------------------------------------------------------ names, order, streams


def test_namespace_and_lifetime(tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    flaky = Flaky.options(name="f", namespace="other", lifetime="non_detached").remote(path)
    pid = skate.get(flaky.pid.remote())
    with pytest.raises(ValueError, match="f"):
        skate.get_actor("f")
    assert skate.get(skate.get_actor("f", namespace="other").pid.remote()) == pid
    del flaky
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of an actor that is not detached")


@pytest.mark.parametrize("ordered", [None, False, True])
def test_calls_of_one_caller_stay_in_order(ordered: bool | None, tmp_path: Path) -> None:
    flaky = Flaky.options(allow_out_of_order_execution=ordered).remote(str(tmp_path / "x"))
    for number in range(100):
        flaky.note.remote(number)
    noted = skate.get(flaky.noted.remote())
    assert sorted(noted) == list(range(100))
    assert ordered or noted == list(range(100))


def test_order_is_not_promised_where_it_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="max_concurrency"):
        Flaky.options(allow_out_of_order_execution=False, max_concurrency=2).remote(str(tmp_path / "x"))


def test_back_pressure_of_a_method(tmp_path: Path) -> None:
    path = tmp_path / "made"
    flaky = Flaky.remote(str(path))
    stream = flaky.items.options(_generator_backpressure_num_objects=2).remote()
    assert skate.get(next(stream)) == 0
    eventually(lambda: path.stat().st_size >= 3)
    time.sleep(0.05)
    assert path.stat().st_size <= 4
    assert skate.get(list(stream)) == list(range(1, 10))
    assert path.stat().st_size == 10


@pytest.mark.parametrize("lends", [True, False])
def test_a_stream_that_waits_for_its_consumer_may_lend_its_cpu(lends: bool) -> None:
    @skate.remote(_generator_backpressure_num_objects=1, _generator_lends_cpu=lends)
    def items() -> Iterator[int]:
        yield from range(3)

    streams = [items.remote() for _ in range(int(skate.cluster_resources()["CPU"]))]
    skate.wait(streams, num_returns=len(streams), timeout=10)
    other = node_id.remote()
    assert bool(skate.wait([other], timeout=10 if lends else 0.3)[0]) == lends
    assert [skate.get(list(stream)) for stream in streams] == [[0, 1, 2]] * len(streams)
    assert skate.get(other, timeout=10)


def test_no_returns() -> None:
    assert node_id.options(num_returns=0).remote() is None


@pytest.mark.parametrize("wanted", [True, False])
def test_task_events_change_nothing(wanted: bool, tmp_path: Path) -> None:
    """skate keeps no record of tasks: there is nothing to switch off."""
    assert skate.get(node_id.options(enable_task_events=wanted).remote())
    flaky = Flaky.options(enable_task_events=wanted).remote(str(tmp_path / "x"))
    assert skate.get(flaky.pid.options(enable_task_events=wanted).remote())


def test_max_concurrency_one_runs_one_at_a_time() -> None:
    @skate.remote(max_concurrency=1)
    class One:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def work(self) -> bool:
            free = self.lock.acquire(blocking=False)
            time.sleep(0.002)
            self.lock.release()
            return free

    one = One.remote()
    assert all(skate.get([one.work.remote() for _ in range(20)]))


NOT_SUPPORTED: list[tuple[str, Any]] = [
    ("runtime_env", {"conda": "base"}),
    ("placement_group", object()),
    ("placement_group_bundle_index", 1),
    ("placement_group_capture_child_tasks", True),
    ("_labels", {"zone": "a"}),
    ("object_store_memory", 1 << 20),
    ("enable_tensor_transport", True),
    ("tensor_transport", "nccl"),
    ("_num_objects_per_yield", 2),
    ("_actor_generator_backpressure_num_objects", 2),
]


@pytest.mark.parametrize(("name", "value"), NOT_SUPPORTED)
def test_what_is_not_supported_says_so(name: str, value: Any, tmp_path: Path) -> None:
    from skate.api.options import valid_options

    if name in valid_options("t"):
        with pytest.raises(UnsupportedError, match=name):
            node_id.options(**{name: value}).remote()
    if name in valid_options("a"):
        with pytest.raises(UnsupportedError, match=name):
            Flaky.options(**{name: value}).remote(str(tmp_path / "x"))
    if name in valid_options("m"):
        with pytest.raises(UnsupportedError, match=name):
            skate.method(**{name: value})(lambda self: None)


def test_every_option_has_a_test() -> None:
    """An option that is added to the table needs a test that it does what it says."""
    from skate.api.options import valid_options

    here = Path(__file__)
    texts = "".join(path.read_text() for path in here.parent.glob("test_*.py"))
    names = {name for kind in "tam" for name in valid_options(kind)}
    assert not [name for name in names if f"{name}=" not in texts and f'"{name}"' not in texts]
