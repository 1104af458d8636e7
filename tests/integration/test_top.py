"""`skate top` on a real program: what it does is seen, told more about, and killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Log

import skate
from skate.cli.top_app import Top
from skate.cli.top_source import ROWS_FIRST, ROWS_MAX, Cluster, Row, Wish
from skate.exceptions import ActorDiedError, TaskCancelledError, WorkerCrashedError
from skate.testing import eventually

from .commands import shell

WAIT_S = 20.0
PROGRAM = "import sys, skate; skate.init(num_cpus=1); print('ready', flush=True); sys.stdin.read()"


@skate.remote
def waits(path: str) -> str:
    """Until a file is there."""
    print("waiting for it", flush=True)
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


@skate.remote
def quick() -> int:
    """A value."""
    return 1


@skate.remote(num_cpus=0)
class Holds:
    """An actor."""

    def pid(self) -> int:
        """Its process."""
        return os.getpid()


@pytest.fixture(scope="module", autouse=True)
def program() -> Iterator[None]:
    """This one."""
    skate.init(num_cpus=2, log_to_driver=False)
    yield
    skate.shutdown()


@pytest.fixture
def source() -> Cluster:
    """Looks at this program from outside: not by its links."""
    return Cluster(str(os.getpid()), None)


def rows(source: Cluster, view: str) -> list[Row]:
    """All of a view. A process that ends while it is asked is missing, once."""
    found = eventually(lambda: not (each := source.poll(Wish(view))).missing and each, WAIT_S)
    assert not found.error
    return found.rows


def row_of(source: Cluster, view: str, **wanted: Any) -> Row:
    """The only row with these values, as soon as there is one."""

    def find() -> list[Row]:
        return [row for row in rows(source, view) if all(row[key] == value for key, value in wanted.items())]

    (row,) = eventually(find, WAIT_S)
    return row


def test_all_views_of_a_program(source: Cluster, tmp_path: Path) -> None:
    skate.get([quick.remote() for _ in range(20)])
    ref = waits.remote(str(tmp_path / "go"))
    task = row_of(source, "tasks", name="waits", state="RUNNING")
    node = row_of(source, "nodes", cpus=2, cpus_used=1)
    assert 0 < node["memory_used"] < node["memory"]
    assert node["store"] > 0 and 0 <= node["load"] <= 1
    worker = row_of(source, "workers", pid=task["worker_pid"])
    assert worker["memory"] > 1e6
    functions = {row["name"]: row for row in rows(source, "functions")}
    assert functions["waits"]["running"] == 1 and functions["quick"]["finished"] == 20
    assert functions["quick"]["per_s"] == 0.0
    assert any("has begun" in event["text"] for event in rows(source, "events"))
    assert len(rows(source, "events")) == len({event["id"] for event in rows(source, "events")})
    (tmp_path / "go").touch()
    assert skate.get(ref) == str(tmp_path / "go")


def test_conditions_and_more_rows_are_asked_of_the_cluster(source: Cluster) -> None:
    skate.get([quick.options(name="early").remote() for _ in range(2)])
    skate.get([quick.remote() for _ in range(ROWS_FIRST)])
    first = source.poll(Wish("tasks"))
    assert len(first.rows) == ROWS_FIRST < first.total and "early" not in {row["name"] for row in first.rows}
    assert len(source.poll(Wish("tasks", ROWS_MAX)).rows) == first.total
    found = source.poll(Wish("tasks", ROWS_FIRST, (("name", "=", "early"),)))
    assert [row["name"] for row in found.rows] == ["early"] * 2 and found.total == 2


def test_an_actor_is_killed_and_says_so(source: Cluster) -> None:
    actor = Holds.options(max_restarts=-1).remote()
    pid = skate.get(actor.pid.remote())
    row = row_of(source, "actors", pid=pid, state="ALIVE")
    assert source.kill("actors", row) == f"actor {row['actor_id']} was killed"
    assert "by hand" in row_of(source, "actors", actor_id=row["actor_id"], state="DEAD")["death_cause"]
    with pytest.raises(ActorDiedError, match="by hand"):
        skate.get(actor.pid.remote(), timeout=WAIT_S)
    assert "no actor that lives has the id" in source.kill("actors", row)


def test_a_worker_is_killed_and_says_so(source: Cluster, tmp_path: Path) -> None:
    ref = waits.options(max_retries=0).remote(str(tmp_path / "go"))
    task = row_of(source, "tasks", name="waits", state="RUNNING")
    worker = row_of(source, "workers", pid=task["worker_pid"])
    assert source.kill("workers", worker) == f"worker {worker['pid']} was killed"
    with pytest.raises(WorkerCrashedError, match="by hand"):
        skate.get(ref, timeout=WAIT_S)
    event = f"worker process {worker['pid']} has died: it was killed by hand, with `skate top`"
    eventually(lambda: event in [row["text"] for row in rows(source, "events")])
    eventually(lambda: "no worker of this node" in source.kill("workers", worker))
    driver = row_of(source, "workers", state="DRIVER")
    assert "no worker of this node" in source.kill("workers", driver)


def test_a_task_is_cancelled_whether_it_runs_or_waits(source: Cluster, tmp_path: Path) -> None:
    path = str(tmp_path / "go")
    runs = [waits.options(name="runs").remote(path) for _ in range(2)]
    queued = waits.options(name="queued").remote(path)
    late = waits.options(name="late").remote(queued)
    eventually(lambda: [row["state"] for row in rows(source, "tasks") if row["name"] == "runs"] == ["RUNNING"] * 2)
    for name, ref in (("late", late), ("queued", queued)):
        row = row_of(source, "tasks", name=name)
        assert source.kill("tasks", row) == f"task {row['task_id']} was cancelled"
        with pytest.raises(TaskCancelledError, match="by hand"):
            skate.get(ref, timeout=WAIT_S)
    for row in [row for row in rows(source, "tasks") if row["name"] == "runs"]:
        assert source.kill("tasks", row) == f"task {row['task_id']} was cancelled"
    for ref in runs:
        with pytest.raises(TaskCancelledError, match="was cancelled by hand, with `skate top`"):
            skate.get(ref, timeout=WAIT_S)
    found = [row for row in rows(source, "tasks") if "cancelled by hand" in row.get("error_message", "")]
    assert {row["name"] for row in found} == {"runs", "queued", "late"}
    ids = {row["task_id"] for row in found}
    events = [row["text"] for row in rows(source, "events") if "was cancelled by hand, with `skate top`" in row["text"]]
    assert {text.split("(")[1].split(")")[0] for text in events} == ids and len(events) == 4
    row = row_of(source, "tasks", name="late", state="FAILED")
    assert source.kill("tasks", row) == "nothing was cancelled: the task has ended"


def test_once_prints_text() -> None:
    printed = shell("top", "--once", "--interval", "0.1", "--address", str(os.getpid()))
    lines = printed.splitlines()
    assert lines[0].startswith("cluster of 1 node   CPUs 0/2   memory ") and lines[1].startswith("tasks: 0 running")
    assert {"nodes", "functions", "actors"} <= set(lines) and "events" not in lines
    assert "this is no terminal: say --once" in shell("top", "--address", str(os.getpid()), code=1)


def test_without_textual_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    for name in [
        name for name in sys.modules if name.startswith(("textual.", "skate.cli.top_app", "skate.cli.top_pane"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    assert "pip install 'skate[top]'" in shell("top", "--address", str(os.getpid()), code=1)


def test_a_program_that_has_ended_is_said() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        source = Cluster(str(other.pid), None)
        assert len(rows(source, "nodes")) == 1
        other.communicate(timeout=WAIT_S)
    assert "does not answer" in source.poll(Wish("nodes")).error
    assert "is no skate program of yours that runs here" in source.poll(Wish("nodes")).error
    assert source.kill("actors", {"actor_id": "00"}).startswith("nothing was killed")


# ------------------------------------------------------------ on the screen

Play = Callable[[Top, Pilot[None]], Awaitable[None]]


def play(source: Cluster, steps: Play, view: str) -> None:
    """Run the screen with a program of keys."""

    async def main() -> None:
        app = Top(source, view, 0.1)
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await until(pilot, lambda: app.shown)
            await steps(app, pilot)
        app.poller.thread.join(WAIT_S)
        assert not app.poller.thread.is_alive()

    asyncio.run(main())
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in alive if "skate.cli" in child.cmdline()]


async def until(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it has not come"
        await pilot.pause(0.05)


def output(app: Top) -> str:
    """What a command has printed."""
    return "\n".join(app.screen.query_one(Log).lines)


def test_keys_tell_all_about_a_row_and_kill_it(source: Cluster) -> None:
    actor = Holds.options(name="victim").remote()
    skate.get(actor.pid.remote())

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"victim alive", "enter")
        await until(pilot, lambda: len(app.shown) == 1)
        await pilot.press("enter")
        await until(pilot, lambda: 'name: "victim"' in output(app))
        await pilot.press("escape")
        await pilot.press("k")
        await pilot.press("y")
        await until(pilot, lambda: app.shown == [])

    play(source, steps, "actors")
    with pytest.raises(ActorDiedError):
        skate.get(actor.pid.remote(), timeout=WAIT_S)


def test_keys_tell_why_where_it_is_and_what_it_has_printed(source: Cluster, tmp_path: Path) -> None:
    ref = waits.remote(str(tmp_path / "go"))

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.shown[0]["state"] == "RUNNING")
        for key, wanted in (("w", "runs"), ("s", "test_top.py"), ("l", "waiting for it")):
            await pilot.press(key)
            await until(pilot, lambda wanted=wanted: wanted in output(app))
            await pilot.press("escape")  # ends also the command that follows

    play(source, steps, "tasks")
    (tmp_path / "go").touch()
    skate.get(ref)
