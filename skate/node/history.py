"""What has happened on this node, for later: tasks that have ended, as their callers tell of them, and events.

The callers' chunks are written as they come, one row each, in the file `history/<session>.db` beside the session's folder, which
is there after the session has ended, too. SQLite is imported when there is something to write: an idle node stays small, and a
program that only starts and ends leaves no file. What cannot be written (the disk is full) ends the history; that is said
in the log, and by whoever is asked.

INV-1: the file has at most `max_bytes` of chunks, and `EVENTS_MAX` events.
INV-2: at most `sessions_max` files of ended sessions are kept.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..version import __version__
from ..wire.config import HistoryConfig
from ..wire.groups import RESCHEDULING
from .faults import Minor

if TYPE_CHECKING:
    import sqlite3

    from ..head.actors import Actor
    from ..head.groups import Group
    from ..wire.history import Recorded
    from ..wire.messages import Death, Hello
    from .client import Client
    from .service import Node

EVENTS_MAX = 100_000
ACTORS_MAX = 10_000
"""Of so many actors it is known what was said last."""
WRITE_S = 1.0
"""How long events wait to be written."""
INFO, WARNING, ERROR = "INFO", "WARNING", "ERROR"
KEPT = ("history_tasks", "history_counts", "history_events")


class History(Minor):
    """The history of one node."""

    def __init__(self, node: Node, config: HistoryConfig) -> None:
        self.node = node
        self.config = config
        self.off = "" if config.enabled else "it is switched off by history_enabled"
        """Why nothing is written."""
        self._db: sqlite3.Connection | None = None
        self._bytes = 0
        self._events: deque[tuple[Any, ...]] = deque(maxlen=EVENTS_MAX)
        """Not written yet."""
        self._actors: dict[bytes, tuple[str, int]] = {}
        """The last that was said of each actor."""
        self._write_at = 0.0
        node.parts.append(self)

    # ------------------------------------------------------------ what happens

    def on_recorded(self, client: Client, message: Recorded) -> None:
        """A client tells of tasks that have ended."""
        self.write(client.job, client.id.hex(), client.pid, message)

    def write(self, job: str, caller: str, pid: int, message: Recorded) -> None:
        """Keep a chunk: of which job, and who has submitted its tasks."""
        if self.off:
            return
        import sqlite3

        from ..wire import history_file

        try:
            db = self._open()
            self._bytes += history_file.add_chunk(db, job, caller, pid, message)
            while self._bytes > self.config.max_bytes and (size := history_file.drop_oldest_chunk(db)):
                self._bytes -= size
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def event(self, severity: str, source: str, text: str, job: str = "", **ids: Any) -> None:
        """Something has happened.

        Args:
            severity: `INFO`, `WARNING` or `ERROR`.
            source: of what: JOB, WORKER, ACTOR, NODE, PLACEMENT_GROUP, OBJECT_STORE.
            text: one line.
            job: the job that it is about, if it is about one.
            ids: of what else it is about: `actor_id`, `pid` and so on.
        """
        if self.off:
            return
        now = time.time()
        if not self._events:
            self._write_at = time.monotonic() + WRITE_S
        words = msgspec.json.encode(ids).decode()
        number = 0 if self.node.head is not None else self.node.node_no
        self._events.append((now, severity, source, text, job, number, words))

    def job_began(self, job: str, hello: Hello) -> None:
        """A driver has come."""
        text = f"job {job} has begun: {hello.job_name or 'a driver'}, process {hello.pid}"
        ids = {"pid": hello.pid, "entrypoint": hello.main_path, "namespace": hello.namespace}
        self.event(INFO, "JOB", text, job, **ids, submission=hello.submission)

    def job_ended(self, driver: Client, why: str = "") -> None:
        """A driver has gone: it has said how, or `why` is known, or it was killed. Its exit code only its parent knows."""
        if driver.leaving is None:
            why = why or "it has ended without a word: it was killed, or has called os._exit"
        elif not driver.leaving.intended:
            why = driver.leaving.reason
        text = f"job {driver.job} has {'failed' if why else 'ended'}, process {driver.pid}{': ' * bool(why)}{why}"
        status = "FAILED" if why else "SUCCEEDED"
        self.event(ERROR if why else INFO, "JOB", text, driver.job, pid=driver.pid, status=status, message=why)

    def worker_died(self, client: Client, actor: str, death: Death) -> None:
        """A worker has ended that should not have."""
        what = f" ({actor})" if actor else ""
        text = f"worker process {death.pid}{what} has died: {death.reason}"
        ids = {"pid": death.pid, "worker_id": client.id.hex(), "memory_bytes": death.memory_bytes}
        ids |= {"exit_code": death.exit_code, "signal": death.signal, "out_of_memory": death.out_of_memory}
        self.event(ERROR, "WORKER", text, client.job, **ids, last_lines=death.last_lines[-5:])

    def actor_changed(self, actor: Actor) -> None:
        """An actor was made, has started, or has ended."""
        state = str(actor.state)
        if self.off or self._actors.get(actor.id) == (state, actor.restarts):
            return
        self.actor_known(actor)
        death, name = actor.death, actor.spec.name or actor.spec.class_name
        ended = state in ("dead", "restarting")
        why = f": {death.reason}" if death is not None and ended else ""
        severity = (
            INFO if not ended or (death is not None and death.intended) else ERROR if state == "dead" else WARNING
        )
        text = f"actor {name} ({actor.id.hex()}) is {state}{why}"
        ids = {"actor_id": actor.id.hex(), "pid": actor.pid, "restarts": actor.restarts}
        self.event(severity, "ACTOR", text, actor.job, **ids)

    def actor_known(self, actor: Actor) -> None:
        """As it is now an actor is no news."""
        self._actors[actor.id] = str(actor.state), actor.restarts
        while len(self._actors) > ACTORS_MAX:
            del self._actors[next(iter(self._actors))]

    def group_changed(self, group: Group) -> None:
        """A placement group has another state."""
        ident, reason = group.spec.id.hex(), f": {group.reason}" if group.reason else ""
        severity = WARNING if group.state == RESCHEDULING else INFO
        text = f"placement group {group.spec.name or ident} is {group.state}{reason}"
        self.event(severity, "PLACEMENT_GROUP", text, group.job, placement_group_id=ident)

    # ------------------------------------------------------------ the file

    @property
    def path(self) -> Path:
        """Where it is written. The head's process has a file of its own."""
        folder, end = self.node.session_dir, ".db"
        if self.node.head is not None:
            folder, end = folder.parent, "-head.db"
        return folder.parent / "history" / f"{folder.name}{end}"

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            from ..wire import history_file

            path = self.path
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._prune(path)
            self._db = history_file.create(path)
            about = {
                "version": __version__,
                "node_id": self.node.node_id,
                "node_no": self.node.node_no,
                "cluster": self._cluster(),
                "began": time.time(),
            }
            rows = [(name, str(value)) for name, value in about.items()]
            self._db.executemany("INSERT OR REPLACE INTO session VALUES (?, ?)", rows)
            self._bytes = history_file.bytes_of_chunks(self._db)
        return self._db

    def _cluster(self) -> str:
        """What all nodes of a cluster know of it, and its head, and no other: the id of its first node."""
        return self.node.view[min(self.node.view)].id if self.node.view else ""

    def _prune(self, own: Path) -> None:
        """Remove the files of the oldest sessions that have ended, if there are too many."""
        base = own.parent.parent
        ended: list[tuple[float, Path]] = []
        for path in own.parent.glob("*.db"):
            if path != own and not (base / path.stem.removesuffix("-head")).exists():
                try:
                    ended.append((path.stat().st_mtime, path))
                except FileNotFoundError:
                    continue  # another session has removed it
        ended.sort()
        for _, path in ended[: max(0, len(ended) - self.config.sessions_max + 1)]:
            for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                each.unlink(missing_ok=True)

    def _write_events(self) -> None:
        import sqlite3

        events = list(self._events)
        self._events.clear()
        try:
            db = self._open()
            db.execute("BEGIN")
            columns = "time, severity, source, text, job, node, ids"
            db.executemany(f"INSERT INTO event ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", events)
            db.execute("DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", (EVENTS_MAX,))
            db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.off = f"its file could not be written: {error}"
        print(f"the history of this node ends: {self.off}", file=sys.stderr, flush=True)
        self._close()

    # ------------------------------------------------------------ questions

    def answer(self, what: str, argument: dict[str, Any]) -> dict[str, Any]:
        """{"value": the answer, "off": why the history is not complete}."""
        import sqlite3

        from ..wire import history_file

        try:
            if self._events:
                self._write_events()
            if self._db is None and not self.off and self.path.exists():
                self._open()  # the head was started again: it goes on with the file of the one before
            value = None if self._db is None else history_file.QUESTIONS[what](self._db, argument)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            value = None
        return {"value": value, "off": self.off, "path": str(self.path) if self._db is not None else ""}

    # ------------------------------------------------------------ time and end

    def on_time(self, now: float) -> None:
        """Write events."""
        if self._events and now >= self._write_at:
            self._write_events()

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._write_at - now) if self._events else None

    def close(self) -> None:
        """The session ends. If only its beginning and end are known, there is no file."""
        for driver in self.node.jobs.values():
            if not driver.far:
                self.job_ended(driver, "its node has ended before it")
        if self._events and (self._db is not None or any(event[1] != INFO for event in self._events)):
            self._write_events()
        self._close()

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
