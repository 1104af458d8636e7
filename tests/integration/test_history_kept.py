"""Histories after their sessions: what is kept, how much of it, and how it is asked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import skate
from skate.client import past
from skate.exceptions import RayTaskError
from skate.testing import eventually
from skate.util import state

from .commands import shell

COLUMNS = (
    *(
        "task_id",
        "attempt_number",
        "name",
        "state",
        "type",
        "job_id",
        "actor_id",
        "parent_task_id",
        "node_no",
        "worker_pid",
    ),
    "error_type",
)
PROGRAM = """
import os, skate, sys, time
skate.init(num_cpus=1, _temp_dir=sys.argv[1])
f = skate.remote(lambda: 1).options(name="killed")
skate.get([f.remote() for _ in range(10)])
time.sleep(1.0)  # more than what a history may lose
os.kill(os.getpid(), 9)
"""


@skate.remote
def double(x: int) -> int:
    """A value."""
    return 2 * x


@skate.remote
def fails() -> None:
    """Never returns."""
    raise ValueError("no such thing")


@skate.remote
def waits() -> None:
    """Does not end by itself."""
    time.sleep(60)


@skate.remote
class Counter:
    """An actor."""

    def add(self, x: int) -> int:
        """A value."""
        return x + 1


@pytest.fixture(autouse=True)
def no_session() -> None:
    """Each test has sessions of its own."""
    skate.shutdown()


def test_the_past_can_be_asked(tmp_path: Path) -> None:
    skate.init(num_cpus=2, _temp_dir=str(tmp_path))
    skate.get([double.options(name="past").remote(i) for i in range(100)])
    counter = Counter.remote()
    skate.get([counter.add.remote(i) for i in range(10)])
    failed = double.options(name="after").remote(fails.remote())
    with pytest.raises(RayTaskError):
        skate.get(failed)
    skate.shutdown()
    (kept,) = past.sessions(str(tmp_path))
    assert not kept.running
    where = ("--session", kept.name, "--temp-dir", str(tmp_path))
    found = shell("list", "tasks", "--limit", "1000", "--detail", "--json", *where)
    assert found["total"] == len(found["rows"]) == 112 and found["missing"] == []
    assert shell("summary", "tasks", "--json", *where)["summary"]["past"] == {"FINISHED": 100}
    (job,) = shell("list", "jobs", "--json", *where)["rows"]
    assert (job["status"], job["driver_pid"]) == ("SUCCEEDED", os.getpid())
    assert "has ended" in shell("events", *where)
    assert "there are its tasks, jobs and events" in shell("list", "actors", *where)
    with closing(sqlite3.connect(kept.path)) as db:
        rows = set(db.execute(f"SELECT {', '.join(COLUMNS)} FROM tasks"))
        times = dict(db.execute("SELECT task_id, end_time FROM tasks"))
    assert rows == {tuple(row[name] for name in COLUMNS) for row in found["rows"]}
    assert all(abs(times[row["task_id"]] * 1000 - row["end_time_ms"]) <= 1 for row in found["rows"])


def test_a_session_is_asked_by_sql(tmp_path: Path) -> None:
    skate.init(num_cpus=1, _temp_dir=str(tmp_path))
    skate.get([double.remote(i) for i in range(10)])
    skate.shutdown()
    ask = ("history", "last", "--temp-dir", str(tmp_path), "--sql")
    found = shell(*ask, "SELECT name, state, count(*) AS n FROM tasks GROUP BY name, state", "--json")
    assert found == [{"name": "double", "state": "FINISHED", "n": 10}]
    assert "readonly" in shell(*ask, "DELETE FROM chunks", code=1)
    assert "no such table" in shell(*ask, "SELECT * FROM nowhere", code=1)
    (session,) = shell("history", "--temp-dir", str(tmp_path), "--json")
    assert session["state"] == "ended" and Path(session["file"]).exists()
    assert "no session is called" in shell("list", "tasks", "--session", "x", "--temp-dir", str(tmp_path), code=1)


def test_a_killed_program_leaves_its_history(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], timeout=30, check=False)
    found = shell("summary", "tasks", "--json", "--session", "last", "--temp-dir", str(tmp_path))
    assert found["summary"] == {"killed": {"FINISHED": 10}}


RUNNING = """
import os, skate, sys, time
folder = sys.argv[1]
skate.init(num_cpus=2, _temp_dir=sys.argv[1])

@skate.remote
def begun(name):
    open(os.path.join(folder, name), "w").close()

@skate.remote(num_cpus=0)
def sleeps():
    skate.get(begun.options(num_cpus=0).remote("slept"))
    time.sleep(60)

@skate.remote
def starts():
    return skate.get(sleeps.remote())

@skate.remote
def spins():
    skate.get(begun.options(num_cpus=0).remote("spun"))
    while True:
        pass

@skate.remote(num_cpus=0, max_concurrency=2)
class Actor:
    def calls(self, name):
        skate.get(begun.options(num_cpus=0).remote(name))
        time.sleep(60)

actor = Actor.remote()
refs = [actor.calls.remote("a"), actor.calls.remote("b"), starts.remote(), spins.remote()]
while not all(os.path.exists(os.path.join(folder, name)) for name in ("slept", "spun", "a", "b")):
    time.sleep(0.01)
waiting = [starts.options(num_cpus=2).remote() for _ in range(3)]
os.kill(os.getpid(), 9)
"""


def test_what_ran_when_its_program_was_killed_is_known_afterwards(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", RUNNING, str(tmp_path)], timeout=30, check=False)
    eventually(lambda: _ended(str(tmp_path)), 10, "its node has written all")
    where = ("--json", "--detail", "--filter", "state=FAILED", "--session", "last", "--temp-dir", str(tmp_path))
    found = shell("list", "tasks", *where)["rows"]
    names = sorted(row["name"] for row in found)
    assert names == ["Actor.calls", "Actor.calls", "sleeps", "spins", "starts"], "but not what had not begun"
    assert {row["error_message"] for row in found} == {"its program ended before it had"}
    assert {row["error_type"] for row in found} == {"NotRunningError"} and len({row["task_id"] for row in found}) == 5
    assert all(row["worker_pid"] and row["start_time_ms"] < row["end_time_ms"] for row in found)


ENDS = {
    "": ("SUCCEEDED", ""),
    "raise KeyError('no such thing')": ("FAILED", "KeyError: 'no such thing'"),
    "raise KeyboardInterrupt": ("FAILED", "KeyboardInterrupt"),
    "os.kill(os.getpid(), 9)": ("FAILED", "it has ended without a word: it was killed, or has called os._exit"),
}


def test_how_a_program_has_ended_is_known_afterwards(tmp_path: Path) -> None:
    for number, (end, expected) in enumerate(ENDS.items()):
        folder, file = str(tmp_path / str(number)), tmp_path / "program.py"
        file.write_text(PROGRAM.replace("time.sleep(1.0)", "").replace("os.kill(os.getpid(), 9)", end))
        by = ["-m", "skate.cli", "run"] if "Interrupt" in end else []
        subprocess.run([sys.executable, *by, str(file), folder], timeout=30, capture_output=True, check=False)
        eventually(lambda folder=folder, expected=expected: _ended(folder) == [expected], 10, "its node has written it")


def _ended(folder: str) -> list[tuple[str, str]]:
    if not past.sessions(folder):
        return []
    rows = shell("list", "jobs", "--json", "--detail", "--session", "last", "--temp-dir", folder)["rows"]
    return [(row["status"], row["message"]) for row in rows if row["end_time_ms"]]


def test_what_never_ended_is_known_afterwards(tmp_path: Path) -> None:
    skate.init(num_cpus=1, _temp_dir=str(tmp_path))
    refs = [waits.remote() for _ in range(2)]
    eventually(lambda: [row for row in state.list_tasks() if row["state"] == "RUNNING"], 10, "one of them runs")
    skate.shutdown()
    del refs
    found = shell("list", "tasks", "--json", "--detail", "--session", "last", "--temp-dir", str(tmp_path))["rows"]
    assert [(row["name"], row["state"]) for row in found] == [("waits", "FAILED")] * 2
    assert {row["error_message"] for row in found} == {"its program ended before it had"}
    assert sorted(bool(row["worker_pid"]) for row in found) == [False, True], "one of them had a worker"


def test_only_so_much_is_kept(tmp_path: Path) -> None:
    for _ in range(3):
        limits = {"history_max_bytes": 1 << 16, "history_sessions_max": 2}
        skate.init(num_cpus=2, _temp_dir=str(tmp_path), _system_config=limits)
        for round_ in range(3):
            named, other = double.options(name=f"round {round_}"), double.options(name=f"other {round_}")
            for number in range(750):  # one at a time and of two kinds by turns, which takes a row for each
                skate.get(named.remote(number))
                skate.get(other.remote(number))
        found = state.summarize_tasks()["cluster"]["summary"]
        assert "round 0" not in found and "round 2" in found
        skate.shutdown()
    assert len(past.sessions(str(tmp_path))) == 2
    assert all(kept.size_bytes < 8 << 20 for kept in past.sessions(str(tmp_path)))


def test_to_read_a_session_does_not_make_it_the_newest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        skate.init(num_cpus=1, _temp_dir=str(tmp_path))
        skate.get(double.options(name=name).remote(1))
        skate.shutdown()
    known = past.sessions(str(tmp_path))
    for _ in range(3):
        found = shell("list", "tasks", "--json", "--session", "last", "--temp-dir", str(tmp_path))["rows"]
        assert [row["name"] for row in found] == ["two"]
        assert shell("list", "tasks", "--json", "--session", known[1].name, "--temp-dir", str(tmp_path))["rows"]
    assert [(each.name, each.changed) for each in past.sessions(str(tmp_path))] == [
        (each.name, each.changed) for each in known
    ]


def test_history_can_be_switched_off(tmp_path: Path) -> None:
    skate.init(num_cpus=1, _temp_dir=str(tmp_path), _system_config={"history_enabled": False})
    skate.get([double.remote(i) for i in range(10)])
    with pytest.raises(RuntimeError, match="keeps no history: it is switched off"):
        state.list_tasks()
    with pytest.warns(UserWarning, match="not complete"):
        assert state.list_tasks(raise_on_missing_output=False) == []
    skate.shutdown()
    assert past.sessions(str(tmp_path)) == []


def test_a_program_without_work_leaves_no_file(tmp_path: Path) -> None:
    skate.init(num_cpus=1, _temp_dir=str(tmp_path))
    skate.shutdown()
    assert past.sessions(str(tmp_path)) == []


def test_a_history_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    skate.init(num_cpus=1, _temp_dir=str(tmp_path))
    (tmp_path / f"skate-{os.getuid()}" / "history").mkdir(mode=0o700)
    runtime_folder = next((tmp_path / f"skate-{os.getuid()}").glob("session-*"))
    (tmp_path / f"skate-{os.getuid()}" / "history" / f"{runtime_folder.name}.db").mkdir()
    assert skate.get(double.remote(1)) == 2
    with pytest.warns(UserWarning, match="its file could not be written"):
        state.list_tasks(raise_on_missing_output=False)
    assert skate.get(double.remote(2)) == 4
    skate.shutdown()
