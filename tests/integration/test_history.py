"""The history of tasks and events, and the state API over it: what is recorded, listed, filtered, summed up and kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest

import skate
from skate.cli.main import cli
from skate.exceptions import RayTaskError, WorkerCrashedError
from skate.testing import eventually
from skate.util import state
from skate.util.state.common import ListApiOptions

from .commands import shell


@skate.remote
def double(x: int) -> int:
    """A value."""
    return 2 * x


@skate.remote
def fails() -> None:
    """Never returns."""
    raise ValueError("no such thing")


@skate.remote(max_retries=1)
def dies(path: str) -> str:
    """The first attempt kills its worker."""
    if not os.path.exists(path):
        Path(path).touch()
        os._exit(7)
    return path


@skate.remote(retry_exceptions=[KeyError], max_retries=2)
def stumbles(folder: str) -> int:
    """The first attempt raises."""
    seen = len(os.listdir(folder))
    Path(folder, str(seen)).touch()
    if not seen:
        raise KeyError("first")
    return seen


@skate.remote
def outer() -> Any:
    """Starts another."""
    return skate.get(double.options(name="inner").remote(4))


@skate.remote
def waits(path: str) -> str:
    """Until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


@skate.remote(max_restarts=1, max_task_retries=1)
class Mortal:
    """An actor that may die once."""

    def dies(self, path: str) -> str:
        """The first attempt kills it."""
        if not os.path.exists(path):
            Path(path).touch()
            os._exit(7)
        return path


@skate.remote
class Counter:
    """An actor."""

    def add(self, x: int) -> int:
        """A value."""
        return x + 1

    def fail(self) -> None:
        """Never returns."""
        raise KeyError("gone")

    async def slow(self) -> int:
        """Nothing."""
        return 1


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A session whose folder is of this file."""
    folder = tmp_path_factory.mktemp("h")
    skate.shutdown()
    skate.init(num_cpus=2, _temp_dir=str(folder))
    yield folder
    skate.shutdown()


def tasks(**wanted: Any) -> list[state.StateRow]:
    return state.list_tasks(filters=[(key, "=", value) for key, value in wanted.items()], detail=True, limit=10_000)


def test_each_task_is_recorded_once_with_its_times() -> None:
    before = time.time() * 1000 - 1
    refs = [double.options(name="many").remote(i) for i in range(5000)]
    skate.get(refs)
    rows = tasks(name="many")
    assert {row.task_id for row in rows} == {ref.hex() for ref in refs}
    assert len(rows) == 5000
    now = time.time() * 1000 + 1
    for row in rows:
        assert before <= row.creation_time_ms <= row.start_time_ms + 1 <= row.end_time_ms + 1 <= now, row
        assert (row.state, row.type, row.attempt_number, row.error_type) == ("FINISHED", "NORMAL_TASK", 0, "")
    assert {row.worker_pid for row in rows} <= {row.pid for row in state.list_workers()}
    assert rows[0].worker_id and rows[0].node_id == skate.nodes()[0]["NodeID"]
    assert state.summarize_tasks()["cluster"]["summary"]["many"]["state_counts"] == {"FINISHED": 5000}


def test_tasks_of_many_kinds_in_one_packet_are_each_recorded_once(tmp_path: Path) -> None:
    @skate.remote(num_returns=2)
    def two(x: int) -> tuple[int, int]:
        return x, x

    double_b = double.options(name="kind-b")
    of: dict[str, list[str]] = {"kind-a": [], "kind-b": [], "kind-bad": [], "kind-two": []}
    refs: list[Any] = []
    good: Any = 1  # or the last reference of those that do not fail: some tasks wait for others
    for i in range(3000):
        mode = (i * i // 7) % 11
        if mode < 7:
            good = made = double.options(name="kind-a").remote(i)
            name = "kind-a"
        elif mode < 9:
            made, name = double_b.remote(good if i % 5 == 0 else i), "kind-b"
        elif mode == 9:
            made, name = fails.options(name="kind-bad").remote(), "kind-bad"
        else:
            made, name = two.options(name="kind-two").remote(i)[0], "kind-two"
        if i % 13 == 0:
            skate.put(i)  # takes a number of its own
        of[name].append(made.hex())
        refs.append(made)
    skate.wait(refs, num_returns=len(refs))
    for name, ids in of.items():
        rows = tasks(name=name)
        assert sorted(row.task_id for row in rows) == sorted(ids), name
        wanted = "FAILED" if name == "kind-bad" else "FINISHED"
        assert {row.state for row in rows} == {wanted}


def test_tasks_one_at_a_time_are_each_recorded_with_their_times() -> None:
    before = time.time() * 1000 - 1
    function = double.options(name="single")
    known = {}
    for i in range(500):
        begin = time.time() * 1000
        ref = function.remote(i)
        skate.get(ref)
        known[ref.hex()] = begin, time.time() * 1000
    rows = tasks(name="single")
    assert sorted(row.task_id for row in rows) == sorted(known) and rows[0].creation_time_ms >= before
    for row in rows:
        begin, end = known[row.task_id]
        assert begin - 2 <= row.creation_time_ms <= end and begin - 2 <= row.end_time_ms <= end + 2, (row, begin, end)


def test_a_long_task_has_its_own_times(tmp_path: Path) -> None:
    ref = waits.options(name="long").remote(str(tmp_path / "go"))
    eventually(lambda: [row.state for row in tasks(name="long")] == ["RUNNING"])
    time.sleep(0.2)  # it is to take that long
    (tmp_path / "go").touch()
    skate.get(ref)
    (row,) = tasks(name="long")
    assert row.state == "FINISHED" and 200 <= row.end_time_ms - row.start_time_ms < 5000


def test_failures_say_what_failed(tmp_path: Path) -> None:
    with pytest.raises(RayTaskError):
        skate.get(fails.remote())
    (row,) = tasks(name="fails")
    assert (row.state, row.error_type, row.error_message) == ("FAILED", "ValueError", "ValueError: no such thing")
    with pytest.raises(WorkerCrashedError):
        skate.get(dies.options(name="dead", max_retries=0).remote(str(tmp_path / "never")))
    (row,) = tasks(name="dead")
    assert row.error_type == "WorkerCrashedError" and "with code 7" in row.error_message
    failed = fails.remote()
    with pytest.raises(RayTaskError):
        skate.get(double.options(name="after").remote(failed))
    (row,) = tasks(name="after")
    assert row.state == "FAILED" and row.worker_pid == 0


def test_attempts_are_rows_of_one_task(tmp_path: Path) -> None:
    ref = stumbles.remote(str(tmp_path))
    assert skate.get(ref) == 1
    rows = tasks(name="stumbles")
    assert sorted((row.attempt_number, row.state) for row in rows) == [(0, "FAILED"), (1, "FINISHED")]
    assert {row.task_id for row in rows} == {ref.hex()}
    crash = dies.options(name="crash").remote(str(tmp_path / "mark"))
    skate.get(crash)
    rows = tasks(name="crash")
    assert sorted((row.attempt_number, row.state) for row in rows) == [(0, "FAILED"), (1, "FINISHED")]
    assert {row.task_id for row in rows} == {crash.hex()}
    found = state.get_task(crash.hex())
    assert isinstance(found, list) and len(found) == 2


def test_attempts_at_a_call_are_rows_of_one_task(tmp_path: Path) -> None:
    actor = Mortal.remote()
    ref = actor.dies.remote(str(tmp_path / "mark"))
    skate.get(ref)
    rows = tasks(name="Mortal.dies")
    assert sorted((row.attempt_number, row.state) for row in rows) == [(0, "FAILED"), (1, "FINISHED")]
    assert {row.task_id for row in rows} == {ref.hex()}


def test_a_task_knows_its_parent() -> None:
    ref = outer.remote()
    assert skate.get(ref) == 8
    (row,) = eventually(lambda: tasks(name="inner"))
    assert row.parent_task_id == ref.hex()


def test_calls_of_actors_are_recorded() -> None:
    actor = Counter.remote()
    skate.get([actor.add.remote(i) for i in range(50)])
    with pytest.raises(RayTaskError):
        skate.get(actor.fail.remote())
    rows = tasks(name="Counter.add")
    assert len(rows) == 50 and {row.type for row in rows} == {"ACTOR_TASK"}
    (found,) = [row for row in state.list_actors() if row.actor_id == rows[0].actor_id]
    assert found.class_name == "Counter" and found.state == "ALIVE"
    assert {row.worker_pid for row in rows} == {found.pid}  # also of those that were answered before the pid was known
    (row,) = tasks(name="Counter.fail")
    assert row.error_type == "KeyError" and row.actor_id == found.actor_id
    assert state.get_actor(found.actor_id).num_restarts == 0  # type: ignore[union-attr]


def test_who_was_handed_an_actor_knows_its_class(tmp_path: Path) -> None:
    """Its calls are listed by the name of the class while they run, and when they are over."""

    @skate.remote
    def call(handle: Any, path: str) -> Any:
        return skate.get(handle.wait.options(num_returns=1).remote(path))

    @skate.remote
    class Late:
        def wait(self, path: str) -> int:
            waits_for = Path(path)
            while not waits_for.exists():
                time.sleep(0.01)
            return 1

    late, go = Late.remote(), tmp_path / "go"
    ref = call.remote(late, str(go))
    eventually(lambda: [row.state for row in tasks(name="Late.wait")] == ["RUNNING"], 10, "the call is listed")
    (row,) = tasks(name="Late.wait")
    go.touch()
    assert row.type == "ACTOR_TASK"
    assert skate.get(ref) == 1
    eventually(lambda: [row.state for row in tasks(name="Late.wait")] == ["FINISHED"], 10, "it is recorded")


def test_what_has_not_ended_is_listed_first(tmp_path: Path) -> None:
    mark = tmp_path / "go"
    first = waits.options(name="open").remote(str(mark))
    last = double.options(name="last").remote(first)
    eventually(lambda: tasks(name="open")[0].state == "RUNNING")
    top = state.list_tasks(limit=2)
    assert {row.state for row in top} == {"RUNNING", "PENDING_ARGS_AVAIL"}
    assert state.get_task(last.hex()).state == "PENDING_ARGS_AVAIL"  # type: ignore[union-attr]
    mark.touch()
    skate.get(first)


def test_filters_and_limits() -> None:
    skate.get([double.options(name="filtered").remote(i) for i in range(20)])
    assert len(state.list_tasks(filters=[("name", "=", "filtered")], limit=7)) == 7
    rows = state.list_tasks(filters=[("name", "=", "filtered"), ("state", "!=", "FINISHED")])
    assert rows == [] and rows.total == 0
    with pytest.raises(ValueError, match="no 'colour' to filter by"):
        state.list_tasks(filters=[("colour", "=", "red")])
    found = state.list_tasks(filters=[("name", "=", "Filtered")])
    assert len(found) == 20, "case does not matter, also to what has ended"
    assert {row.worker_id for row in found} <= {row.worker_id for row in state.list_workers()}
    (again,) = tasks(task_id=found[0].task_id.upper(), job_id=found[0].job_id.upper())
    assert again.task_id == found[0].task_id
    pid = tasks(name="filtered")[0].worker_pid
    assert all(row.worker_pid == pid for row in tasks(worker_pid=pid))
    client = state.StateApiClient()
    assert len(client.list("tasks", ListApiOptions(limit=3))) == 3
    with pytest.raises(AttributeError, match="no 'colour'"):
        _ = client.list("nodes")[0].colour


def test_commands_show_the_same() -> None:
    skate.get([double.options(name="shown").remote(i) for i in range(3)])
    found = shell("list", "tasks", "--filter", "name=shown", "--detail", "--json")
    assert [row["name"] for row in found["rows"]] == ["shown"] * 3 and found["missing"] == []
    ident = found["rows"][0]["task_id"]
    assert f'task_id: "{ident}"' in shell("get", "tasks", ident)
    assert "is not among the tasks" in shell("get", "tasks", "ab" * 16, code=1)
    assert shell("summary", "tasks", "--json")["summary"]["shown"] == {"FINISHED": 3}
    assert "shown" in shell("summary", "tasks") and "FINISHED" in shell("list", "tasks", "--limit", "2")
    for kind in ("actors", "objects", "nodes", "workers", "jobs", "placement-groups"):
        assert shell("list", kind, "--json")["missing"] == []
        shell("list", kind, "--format", "yaml")
    assert shell("list", "jobs", "--json")["rows"][0]["driver_pid"] == os.getpid()
    assert "no 'colour'" in shell("list", "tasks", "--filter", "colour=red", code=2)


def test_the_status_of_a_program_is_that_of_its_node(cluster: Path, tmp_path: Path) -> None:
    refs = [waits.options(num_cpus=2).remote(str(tmp_path / "go")) for _ in range(2)]
    eventually(lambda: shell("status", "--json", "--temp-dir", str(cluster))["demand"], 10, "one of them waits")
    lines = shell("status", "--temp-dir", str(cluster)).splitlines()
    assert lines[0] == f"program {os.getpid()}, in a cluster of its own: 1 node alive" and "2/2 CPU" in lines[1]
    assert lines[2].endswith("1 x (2 CPU): every node that could is busy")
    (tmp_path / "go").touch()
    skate.get(refs, timeout=20)


def test_what_has_ended_since_it_was_listed_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    ref = double.remote(3)
    skate.get(ref)
    monkeypatch.setattr("skate.cli.why._first_of_each", lambda observer: [ref.task_id()])
    assert shell("why") == "nothing waits: no program has an unfinished task\n"
    assert "is done: it finished" in shell("why", ref.task_id())


def test_memory_says_who_holds_what() -> None:
    data = skate.put(b"x" * 1_000_000)
    holder = Counter.remote()
    skate.get(holder.add.remote(1))
    kept = skate.get(skate.remote(lambda refs: len(refs)).remote([data]))
    assert kept == 1
    found = shell("memory", "--json")
    (row,) = [row for row in found["objects"] if row["object_id"] == data.hex()]
    assert row["object_size"] >= 1_000_000 and row["owner"] == f"driver {os.getpid()}"
    assert row["holders"][f"driver {os.getpid()}"] >= 1
    assert data.hex() in shell("memory", "--sort-by", "owner")
    assert shell("memory", "--group-by", "owner", "--stats-only", "--json")["objects"] == []


def test_timeline(tmp_path: Path) -> None:
    skate.get([double.options(name="traced").remote(i) for i in range(10)])
    events = skate.timeline()
    assert events is not None
    spans = [event for event in events if event["name"] == "traced"]
    assert len(spans) == 10 and all(event["ph"] == "X" and event["dur"] > 0 for event in spans)
    assert {event["tid"] for event in events if event["name"] == "thread_name"} >= {span["tid"] for span in spans}
    path = tmp_path / "trace.json"
    shell("timeline", str(path))
    assert [event["name"] for event in json.loads(path.read_text())].count("traced") == 10


def test_events(tmp_path: Path) -> None:
    with pytest.raises(WorkerCrashedError):
        skate.get(dies.options(max_retries=0).remote(str(tmp_path / "never")))
    actor = Counter.options(name="famous").remote()
    skate.get(actor.add.remote(1))
    skate.kill(actor)
    texts = eventually(lambda: [each for each in _events() if "famous" in each and "dead" in each] and _events())
    assert any("worker process" in text and "with code 7" in text for text in texts)
    assert any("actor famous" in text and "alive" in text for text in texts)
    assert any("has begun" in text for text in texts)
    assert "with code 7" in shell("events", "--severity", "ERROR")


def _events() -> list[str]:
    done = click.testing.CliRunner().invoke(cli, ["events", "--json"])
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]
