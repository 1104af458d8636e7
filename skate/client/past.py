"""Sessions that have ended, or that run on this machine, by the files of their histories.

A session's file can be asked what its node would be asked about the past, so that what lists tasks lists those of ended sessions,
too. What only a running session could tell, nobody answers. The files of one cluster belong together: each says of which it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..wire import history_file
from ..wire.history_file import OTHERS_MAX as OTHERS_MAX
from .observing import Member
from .sessions import Session, began, folder_of_all

END = ".db"
OF_HEAD = "-head"
"""Behind the name of the session of the node that has started the head."""


@dataclass(frozen=True, slots=True)
class Past:
    """A session's file."""

    name: str
    path: Path
    size_bytes: int
    changed: float
    """When it was written last, in seconds since 1970."""
    running: bool
    cluster: str = ""
    """What all files of a cluster have in common; "": it is of none, or of an older skate."""
    node_no: int = 0

    @property
    def of_head(self) -> bool:
        """Whether the head has written it."""
        return self.name.endswith(OF_HEAD)


def sessions(temp_dir: str | None = None) -> list[Past]:
    """The sessions of this user on this machine of which there are histories, the newest first."""
    return sorted(_files(folder_of_all(temp_dir)), key=lambda past: -past.changed)


def _files(base: Path) -> Iterator[Past]:
    for path in (base / history_file.FOLDER).glob(f"*{END}"):
        try:
            status = [each.stat() for each in (path, path.with_name(path.name + "-wal")) if each.exists()]
        except OSError:
            continue  # it was removed meanwhile, as too many came after it
        if status:
            size = sum(each.st_size for each in status)
            changed = max(
                (each.st_mtime for each in status if each.st_size), default=0.0
            )  # who reads leaves an empty one
            about = _about(path)
            if about is None:
                continue
            cluster, number = about.get("cluster", ""), int(about.get("node_no", 0))
            yield Past(path.stem, path, size, changed, _lives(base / path.stem.removesuffix(OF_HEAD)), cluster, number)


def _about(path: Path) -> dict[str, str] | None:
    """What a file says of itself; None of one that is being made, or is none of ours."""
    try:
        with closing(history_file.open_to_read(path)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'session'").fetchone():
                return None
            return dict(db.execute("SELECT key, value FROM session").fetchall()) or None
    except sqlite3.Error:
        return {}  # whoever asks it hears why


def clusters(temp_dir: str | None = None) -> list[list[Past]]:
    """The same, those of each cluster together: its nodes by number, and then its head. The newest cluster is first."""
    found: dict[str, list[Past]] = {}
    for each in sessions(temp_dir):
        found.setdefault(each.cluster or each.name.removesuffix(OF_HEAD), []).append(each)
    return [sorted(files, key=lambda each: (each.of_head, each.node_no)) for files in found.values()]


def fellows(past: Past, temp_dir: str | None = None) -> list[Past]:
    """All files of the cluster of a node's file, itself among them; of what a head has written only that."""
    if past.of_head:
        return [past]
    return next(files for files in clusters(temp_dir) if any(each.path == past.path for each in files))


def _lives(folder: Path) -> bool:
    """Whether a session goes on: its folder stays behind when it was killed."""
    if not folder.exists():
        return False
    try:
        session = msgspec.json.decode((folder / "node.json").read_bytes(), type=Session)
    except (OSError, msgspec.DecodeError):  # a program's: its folder is named after its process
        return Path("/proc", folder.name.split("-")[1]).exists()
    return bool(session.began) and began(session.pid) == session.began


def find(name: str, temp_dir: str | None = None) -> Past:
    """The session with this name, or with this beginning of it, or "last". What a head has written has to be named in full.

    Raises:
        ConnectionError: there is none, or more than one.
    """
    known = [each for files in clusters(temp_dir) for each in files]
    of_nodes = [each for each in known if not each.of_head]
    found = of_nodes[:1] if name == "last" else [each for each in known if each.name == name]
    found = found or [each for each in of_nodes if each.name.startswith((name, f"session-{name}-"))]
    if not known:
        raise ConnectionError(f"no history is kept here (looked in {folder_of_all(temp_dir)})")
    if len(found) != 1:
        which = f"{len(found)} sessions are" if found else "no session is"
        raise ConnectionError(f"{which} called {name!r}: `skate history` lists those that are kept")
    return found[0]


def query(past: Past, sql: str, others: Sequence[Past] = ()) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """What SQL finds in a session's file: the names of its columns, and the rows.

    Args:
        past: the file.
        sql: what to ask.
        others: files whose tasks and events count, too, at most `OTHERS_MAX`.

    Raises:
        ValueError: the SQL is wrong, or would change something.
    """
    try:
        db = history_file.open_to_read(past.path)
    except sqlite3.Error as error:
        raise ValueError(str(error)) from None
    try:
        history_file.join(db, [each.path for each in others])
        cursor = db.execute(sql)
    except sqlite3.Error as error:
        db.close()
        raise ValueError(str(error)) from None
    return [column[0] for column in cursor.description or ()], _rows(db, cursor)


def _rows(db: sqlite3.Connection, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    with closing(db):
        try:
            yield from cursor
        except sqlite3.Error as error:
            raise ValueError(str(error)) from None


class PastObserver:
    """The `Observer` of a file, or of all files of a cluster."""

    def __init__(self, past: Past, files: Sequence[Past] = ()) -> None:
        """`files`: see `fellows`."""
        self.past = past
        files = files or [past]
        self._of_nodes = {each.node_no: each for each in files if not each.of_head or each is past}
        of_head = past.path.with_name(f"{past.name}{OF_HEAD}{END}")
        self._of_head = next((each.path for each in files if each.of_head and each is not past), of_head)
        self.running = any(each.running for each in files)

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that have written the files."""
        return [self._node(number, past) for number, past in self._of_nodes.items()]

    def _node(self, number: int, past: Past) -> dict[str, Any]:
        about = dict(self._read(lambda db: db.execute("SELECT key, value FROM session").fetchall(), past.path))
        return {
            "No": int(about.get("node_no", number)),
            "NodeID": about.get("node_id", ""),
            "Alive": True,  # its file is, which is all that is asked
            "State": "alive" if past.running else "ended",
            "NodeName": past.name,
            "NodeManagerAddress": "",
            "Resources": {},
            "Labels": {},
        }

    def _read(self, question: Callable[[sqlite3.Connection], Any], path: Path) -> Any:
        try:
            with closing(history_file.open_to_read(path)) as db:
                return question(db)
        except sqlite3.Error as error:
            raise ValueError(f"{path}: {error}") from None

    def ask(self, member: Member, what: str, argument: Any = None) -> Any:
        """See `Observer`."""
        if what in ("tell", "list_workers", "list_jobs", "deaths"):
            return []  # nobody is there any more
        if what in ("process", "actor"):
            return None
        question = history_file.QUESTIONS.get(what)
        if question is None:
            raise ValueError("of a session's history there are its tasks, jobs and events")
        path = self._of_nodes.get(member.no, self.past).path
        return {"value": self._read(lambda db: question(db, argument or {}), path), "off": "", "path": str(path)}

    def ask_head(self, what: str, argument: Any = None) -> Any:
        """See `Observer`. What a head has written is a file of its own, beside that of its node."""
        if what in history_file.QUESTIONS:
            path = self._of_head
            if not path.exists():
                return {"value": [], "off": "", "path": ""}
            question = history_file.QUESTIONS[what]
            return {"value": self._read(lambda db: question(db, argument or {}), path), "off": "", "path": str(path)}
        if what == "jobs":
            return self._submitted()
        if what == "actor":
            return None
        raise ValueError("of a session's history there are its tasks, jobs and events")

    def _submitted(self) -> list[dict[str, Any]]:
        """The jobs that were submitted, as the head has shown them last."""
        jobs: dict[str, dict[str, Any]] = {}
        after = -1  # from the first event on
        while found := self.ask_head("history_events", {"source": "JOB", "after": after})["value"]:
            after = found[-1]["id"]
            said = [event["submitted"] for event in found if "submitted" in event]
            jobs |= {job["submission_id"]: job for job in said}
        jobs = {ident: job for ident, job in jobs.items() if not job.get("deleted")}
        if not self.running:
            for job in jobs.values():
                if job["end_time"] is None:
                    job |= {"status": "STOPPED", "message": "it ran or waited when the cluster ended"}
        return list(jobs.values())
