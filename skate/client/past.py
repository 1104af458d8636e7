"""Sessions that have ended, or that run on this machine, by the files of their histories.

A session's file can be asked what its node would be asked about the past, so that what lists tasks lists those of ended sessions,
too. What only a running session could tell, nobody answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..wire import history_file
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
            size, changed = sum(each.st_size for each in status), max(each.st_mtime for each in status)
            yield Past(path.stem, path, size, changed, _lives(base / path.stem.removesuffix(OF_HEAD)))


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
    known = sessions(temp_dir)
    of_nodes = [each for each in known if not each.name.endswith(OF_HEAD)]
    found = of_nodes[:1] if name == "last" else [each for each in known if each.name == name]
    found = found or [each for each in of_nodes if each.name.startswith((name, f"session-{name}-"))]
    if not known:
        raise ConnectionError(f"no history is kept here (looked in {folder_of_all(temp_dir)})")
    if len(found) != 1:
        which = f"{len(found)} sessions are" if found else "no session is"
        raise ConnectionError(f"{which} called {name!r}: `skate history` lists those that are kept")
    return found[0]


def query(past: Past, sql: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """What SQL finds in a session's file: the names of its columns, and the rows.

    Raises:
        ValueError: the SQL is wrong, or would change something.
    """
    try:
        db = history_file.open_to_read(past.path)
    except sqlite3.Error as error:
        raise ValueError(str(error)) from None
    try:
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
    """The `Observer` of a file."""

    def __init__(self, past: Past) -> None:
        self.past = past

    def nodes(self) -> list[dict[str, Any]]:
        """The node that has written the file."""
        about = dict(self._read(lambda db: db.execute("SELECT key, value FROM session").fetchall()))
        return [
            {
                "No": int(about.get("node_no", 0)),
                "NodeID": about.get("node_id", ""),
                "Alive": True,  # its file is, which is all that is asked
                "State": "alive" if self.past.running else "ended",
                "NodeName": self.past.name,
                "NodeManagerAddress": "",
                "Resources": {},
                "Labels": {},
            }
        ]

    def _read(self, question: Callable[[sqlite3.Connection], Any], path: Path | None = None) -> Any:
        path = path or self.past.path
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
        return {"value": self._read(lambda db: question(db, argument or {})), "off": "", "path": str(self.past.path)}

    def ask_head(self, what: str, argument: Any = None) -> Any:
        """See `Observer`. What a head has written is a file of its own, beside that of its node."""
        if what in history_file.QUESTIONS:
            path = self.past.path.with_name(f"{self.past.name}{OF_HEAD}{END}")
            if not path.exists():
                return {"value": [], "off": "", "path": ""}
            question = history_file.QUESTIONS[what]
            return {"value": self._read(lambda db: question(db, argument or {}), path), "off": "", "path": str(path)}
        if what == "jobs":
            return []
        if what == "actor":
            return None
        raise ValueError("of a session's history there are its tasks, jobs and events")
