"""Looking at a program from inside and from outside: what its node and its processes say of themselves."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import observing
from skate.exceptions import RuntimeEnvSetupError, UnsupportedError, WorkerCrashedError
from skate.testing import eventually
from skate.util import state
from skate.util.state import StateApiClient
from skate.util.state.common import ListApiOptions, StateResource, SummaryApiOptions, SummaryResource

from .commands import shell

OUTSIDE = """
import sys
from skate.client import observing
observer = observing.observe(sys.argv[1])
said, silent = observing.tell_all(observer, "tasks", {"limit": 10})
print(sorted((task["name"], task["state"]) for _, told in said for task in told["value"]["tasks"]), silent)
"""


@skate.remote
def waits(path: str) -> str:
    """Until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


@skate.remote
def ends(code: int) -> None:
    """Its process."""
    os._exit(code)


@skate.remote
def use(value: str) -> str:
    """What it is given."""
    return value


@skate.remote
class Holds:
    """An actor."""

    def wait(self, path: str) -> None:
        """Until a file is there."""
        while not os.path.exists(path):
            time.sleep(0.01)


def tasks() -> dict[str, str]:
    """The unfinished tasks, by name."""
    said, silent = observing.tell_all(observing.require(), "tasks", {"limit": 100})
    assert not silent
    return {task["name"]: task["state"] for _, told in said for task in told["value"]["tasks"]}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Any:
    """One node, with few CPUs."""
    skate.init(num_cpus=1)
    yield
    skate.shutdown()


def test_unfinished_tasks_are_told_with_their_states(tmp_path: Path) -> None:
    mark = tmp_path / "go"
    first = waits.remote(str(mark))
    last = use.remote(first)
    other = waits.options(name="queued").remote(str(mark))
    eventually(lambda: tasks().get("waits") == "RUNNING")
    assert tasks() == {"waits": "RUNNING", "use": "PENDING_ARGS_AVAIL", "queued": "PENDING_NODE_ASSIGNMENT"}
    mark.touch()
    assert skate.get([last, other]) == [str(mark)] * 2
    assert tasks() == {}


def test_calls_of_actors_are_told(tmp_path: Path) -> None:
    actor = Holds.remote()
    refs = [actor.wait.remote(str(tmp_path / "go")) for _ in range(3)]
    eventually(lambda: tasks().get("Holds.wait") is not None)
    said, _ = observing.tell_all(observing.require(), "tasks", {"limit": 2})
    (value,) = [told["value"] for _, told in said if told["value"]["count"]]
    assert value["count"] == 3 and len(value["tasks"]) == 2
    assert value["tasks"][0]["actor_id"] == actor._actor_id.hex()  # type: ignore[attr-defined]
    (tmp_path / "go").touch()
    skate.get(refs)


def test_a_program_is_seen_from_outside(tmp_path: Path) -> None:
    ref = waits.remote(str(tmp_path / "go"))
    eventually(lambda: tasks().get("waits") == "RUNNING")
    run = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(os.getpid())], capture_output=True, text=True, timeout=30, check=True
    )
    assert run.stdout.strip() == "[('waits', 'RUNNING')] []"
    (tmp_path / "go").touch()
    skate.get(ref)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(ConnectionError, match="process 1 is no skate program"):
        observing.observe("1")
    with pytest.raises(ValueError, match="not HOST:PORT"):
        observing.observe("nonsense")
    said, silent = observing.tell_all(observing.require(), "no such question")
    assert not said and "does not know the question 'no such question'" in silent[0]


@skate.remote
def runs_behind(path: str, _before: str) -> None:
    """Listens while it runs, as it submits something."""
    skate.put(path)
    while not os.path.exists(path):
        time.sleep(0.01)


def starts(name: str) -> list[Any]:
    """The rows of a task that runs."""
    return [row for row in state.list_tasks(filters=[("name", "=", name)], detail=True) if row.state == "RUNNING"]


def test_when_a_task_began_that_runs_is_known(tmp_path: Path) -> None:
    before = time.time() * 1000
    first = waits.remote(str(tmp_path / "first"))
    second = use.options(name="second").remote(str(tmp_path))
    third = waits.options(name="third").remote(str(tmp_path / "third"))
    (row,) = eventually(lambda: starts("waits"))
    assert before - 1 <= row.start_time_ms <= time.time() * 1000 + 1 and row.creation_time_ms <= row.start_time_ms
    opened = time.time() * 1000
    (tmp_path / "first").touch()
    (row,) = eventually(lambda: starts("third"))
    assert row.start_time_ms >= opened > row.creation_time_ms, "it has waited for the worker"
    (tmp_path / "third").touch()
    last = runs_behind.remote(str(tmp_path / "last"), use.remote(first))
    (row,) = eventually(lambda: [row for row in starts("runs_behind") if row.start_time_ms])
    assert row.start_time_ms >= opened, "its process has said so"
    (tmp_path / "last").touch()
    skate.get([first, second, third, last])


def test_runtime_environments_and_events_are_listed_as_in_ray() -> None:
    wanted = {"env_vars": {"WHICH": "observed"}}
    skate.get(use.options(runtime_env=wanted).remote("x"))
    with pytest.raises(RuntimeEnvSetupError):
        skate.get(use.options(runtime_env={"py_executable": "/no/such/python"}).remote("x"))
    client = StateApiClient()
    good, bad = client.list(StateResource.RUNTIME_ENVS, ListApiOptions(detail=True, timeout=5))
    assert (good.runtime_env, good.success, good.error) == (wanted, True, "") and good.creation_time_ms > 0
    assert (bad.success, bad.creation_time_ms) == (False, None) and "cannot be executed" in bad.error
    assert state.list_runtime_envs(filters=[("success", "=", "false")])[0].runtime_env == bad.runtime_env
    assert shell("list", "runtime-envs", "--json")["total"] == 2
    assert [row.success for row in state.list_runtime_envs(filters=[("success", "=", 0)])] == [False]
    events = state.list_cluster_events(filters=[("source_type", "=", "job")], detail=True)
    assert "has begun" in events[0].message and events[0].custom_fields["pid"] == os.getpid()
    summary = client.summary(SummaryResource.TASKS, options=SummaryApiOptions(timeout=5))
    assert summary["cluster"]["summary"]["use"]["state_counts"]["FAILED"] == 1
    ref = use.remote("y")
    skate.get(ref)
    assert state.get_task(ref).task_id == client.get("tasks", ref.task_id()).task_id == ref.task_id()  # type: ignore[union-attr]
    with pytest.raises(UnsupportedError, match="no use for cookies"):
        StateApiClient(headers={"x": "y"})


def test_rows_are_dicts_if_that_is_wanted() -> None:
    (row,) = state.list_nodes()
    columns = row.asdict()
    assert columns["node_port"] is None and columns["labels"] == row.labels, "what was not asked for is None, as in Ray"
    columns["labels"].clear()
    assert row.labels, "it is a copy"
    (whole,) = state.list_nodes(detail=True)
    assert dict(whole) == whole.asdict() and whole.asdict().keys() == columns.keys()
    assert copy(row) == pickle.loads(pickle.dumps(row)) == row


def test_what_a_shell_means_by_an_exit_code_is_said_and_what_died_is_in_the_status() -> None:
    with pytest.raises(WorkerCrashedError, match=r"with code 139 \(128 \+ 11: SIGSEGV\)"):
        skate.get(ends.options(max_retries=0).remote(139))
    with pytest.raises(WorkerCrashedError, match=r"with code 3 \("):  # what follows is about its memory
        skate.get(ends.options(max_retries=0).remote(3))
    lines = shell("status", "--address", str(os.getpid())).splitlines()
    assert [line.partition(" ago: ")[2].partition(", pid")[0] for line in lines[-2:]] == ["a worker"] * 2
    assert "SIGSEGV" in lines[-2] and lines[-1].endswith("with code 3")


def test_a_list_explains_whom_it_asks() -> None:
    said = shell("list", "tasks", "--explain", "--timeout", "20")
    assert re.search(r"^asked which nodes there are: answered after [\d.]+ ms$", said, re.M)
    assert re.search(r"^asked node 0 \(.*\): its processes for tasks: answered after [\d.]+ ms$", said, re.M)
    assert "--timeout about the present" in shell("list", "tasks", "--session", "last", "--timeout", "1", code=2)


def test_times_in_tables_are_for_people() -> None:
    table, data = shell("list", "cluster-events"), shell("list", "cluster-events", "--json")["rows"]
    shown = datetime.fromtimestamp(data[0]["time"]).isoformat(" ", "milliseconds")
    assert isinstance(data[0]["time"], float) and shown in table.splitlines()[1]
    ref = use.remote("timed")
    skate.get(ref)
    words = ("list", "tasks", "-f", f"task_id={ref.task_id()}", "--detail")
    (row,) = shell(*words, "--json")["rows"]
    shown = datetime.fromtimestamp(row["end_time_ms"] / 1000).isoformat(" ", "milliseconds")
    assert shown in shell(*words)
    assert str(row["end_time_ms"]) in shell("get", "tasks", row["task_id"])


def test_what_has_a_process_is_meant_when_its_stack_is_asked_for(tmp_path: Path) -> None:
    actor = Holds.options(name="holds").remote()
    eventually(lambda: shell("get", "actors", "holds", "--json")["rows"][0]["state"] == "ALIVE")
    assert len(shell("get", "actors", "holds", "--json")["rows"]) == 1, "its class is called so, too"
    refs = [waits.options(name="two").remote(str(tmp_path / "go")) for _ in range(2)]
    eventually(lambda: starts("two"))
    assert "waits  " in shell("stack", "two") and "PENDING_NODE" in shell("get", "tasks", "two", code=1)
    (tmp_path / "go").touch()
    skate.get(refs)
    skate.kill(actor)


def test_a_call_that_waits_behind_anothers_is_not_said_to_run(tmp_path: Path) -> None:
    @skate.remote
    class Busy:
        def hold(self) -> None:
            skate.get(waits.remote(str(tmp_path / "go")))

        def other(self) -> int:
            return 1

    @skate.remote(num_cpus=0)
    def call(actor: Any) -> int:
        return skate.get(actor.other.remote())

    def states() -> dict[str, str]:
        rows = [row for row in state.list_tasks() if row["state"] not in ("FINISHED", "FAILED")]
        return {row["name"].rpartition(".")[2]: row["state"] for row in rows}

    actor = Busy.remote()
    held = actor.hold.remote()
    eventually(lambda: states().get("waits") == "RUNNING", 10)
    called = call.remote(actor)
    wanted = {"hold": "RUNNING", "waits": "RUNNING", "call": "RUNNING", "other": "SUBMITTED_TO_WORKER"}
    eventually(lambda: states() == wanted, 10)
    (tmp_path / "go").touch()
    assert skate.get([held, called], timeout=20) == [None, 1]
