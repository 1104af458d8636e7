"""What tasks and actors submit themselves is in the history, too, though nobody asks them for it."""

from __future__ import annotations

import sqlite3
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
