"""What tasks and actors submit themselves is in the history, too, though nobody asks them for it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import skate
from skate.client import past
from skate.testing import eventually


@skate.remote
def inner(i: int) -> int:
    """A value, but for the last."""
    if i == 4:
        raise ValueError("the last")
    return i


def start() -> None:
    """Five tasks, of which one fails."""
    skate.wait([inner.remote(i) for i in range(5)], num_returns=5)


@skate.remote
class Actor:
    """Starts tasks."""

    def starts(self) -> None:
        """And waits for them."""
        start()


@skate.remote
class Async:
    """Starts tasks, from an event loop that they stop."""

    async def starts(self) -> None:
        """And waits for them."""
        start()


def rows(folder: Path) -> list[tuple[Any, ...]]:
    """What is written: nobody is asked."""
    kept = next(iter(past.sessions(str(folder))), None)
    if kept is None:
        return []
    with closing(sqlite3.connect(f"file:{kept.path}?mode=ro", uri=True)) as db:
        return sorted(db.execute("SELECT name, state, count(*) FROM tasks GROUP BY name, state"))


def test_a_worker_that_waits_for_work_tells_what_its_tasks_have_started(tmp_path: Path) -> None:
    skate.shutdown()
    skate.init(num_cpus=2, _temp_dir=str(tmp_path))
    actors = [Actor.remote(), Async.remote(), Actor.options(max_concurrency=2).remote()]
    skate.get(skate.remote(start).options(name="outer").remote())
    for actor in actors:
        skate.get(actor.starts.remote())
    expected = [("Actor.starts", "FINISHED", 2), ("Async.starts", "FINISHED", 1), ("inner", "FAILED", 4)]
    expected += [("inner", "FINISHED", 16), ("outer", "FINISHED", 1)]
    eventually(lambda: rows(tmp_path) == expected, 10, "all is written, and nobody has asked")
    skate.shutdown()


PROGRAM = """
import os, skate, sys
from skate.testing import eventually

skate.init(num_cpus=2, _temp_dir=sys.argv[1])
go = os.path.join(sys.argv[1], "go")

@skate.remote(num_cpus=0)
def done(i):
    return i

@skate.remote
def begins():
    open(go, "w").close()
    eventually(lambda: False, 60)

@skate.remote
def outer():
    skate.get([done.remote(i) for i in range(5)])
    skate.get([begins.remote(), begins.options(name="queued", num_cpus=2).remote()])

@skate.remote
class Actor:
    def starts(self):
        skate.get([done.remote(i) for i in range(5)])

actor = Actor.remote()
running = outer.remote()
eventually(lambda: os.path.exists(go), 20)
skate.get(actor.starts.remote())
"""


def test_what_tasks_had_started_is_known_when_their_program_ends(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], timeout=60, check=True)
    expected = [("Actor.starts", "FINISHED", 1), ("begins", "FAILED", 1), ("done", "FINISHED", 10)]
    expected += [("outer", "FAILED", 1), ("queued", "FAILED", 1)]
    eventually(lambda: rows(tmp_path) == expected, 10, "its node has written all")
