"""What somebody means who has written an id, a part of one, a name, or a process id: for commands, which people type.

An id in full is what it says. Else names and process ids count, and then ids that begin or end so: those of tasks differ at
their ends. When several things are meant, those that have not ended go first (or, for who wants a process, those that have one);
if there are several of these, too, nobody chooses
for whoever asks: they are named. But what is called by a name, and has ended each time, may be meant as it was the last time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import state
from .endings import ago
from .filters import EQUAL, LIKE, Filter, meets
from .observing import Observer
from .words import several

KINDS = ("actors", "tasks", "objects", "workers", "jobs", "placement-groups", "nodes")
NAMES: dict[str, tuple[str, ...]] = {
    "tasks": ("name",),
    "actors": ("name", "class_name", "pid"),
    "objects": (),
    "workers": ("pid",),
    "jobs": ("driver_pid",),
    "placement-groups": ("name",),
    "nodes": ("node_no", "node_name"),
}
"""What a thing may be called by besides its id."""
_PIDS = ("pid", "driver_pid")
"""0 means there: no process."""
IDS = {kind: (key, "submission_id") if kind == "jobs" else (key,) for kind, key in state.KEY.items()}
PART_MIN = 4
"""So long a part of an id has to be."""
SHOWN_MAX = 10
"""So many things are named that may be meant."""
OVER = ("FINISHED", "FAILED", "DEAD", "SUCCEEDED", "STOPPED", "REMOVED")


class Ambiguous(ValueError):
    """Several things may be meant; the message names them."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that was found."""

    kind: str
    ident: str
    rows: tuple[dict[str, Any], ...]
    """In all detail; of a task, its attempts."""

    @property
    def state(self) -> str:
        """How it is, in the words of its list."""
        row = self.rows[0]
        return str(row.get("state") or row.get("status") or "")

    def __str__(self) -> str:
        row = self.rows[0]
        name = row.get("class_name") if self.kind == "actors" else row.get("func_or_class_name") or row.get("node_name")
        name = name or (row.get("submission_id") if row.get("submission_id") != self.ident else None)
        called = "".join(f" {each}" for each in (name, row.get("name") if row.get("name") != name else "") if each)
        pid = f", process {row['pid']}" if row.get("pid") else ""
        return f"{self.kind[:-1].replace('-', ' ')}{called} {self.ident}: {self.state}{pid}"

    def beside_others(self) -> str:
        """With what tells it from others of its name."""
        began = min((row["start_time_ms"] for row in self.rows if row.get("start_time_ms")), default=0)
        times = [f"{word} {ago(at / 1000)}" for word, at in (("began", began), ("ended", self.ended)) if at]
        job = f"of job {self.rows[0]['job_id']}" if self.kind == "tasks" and self.rows[0].get("job_id") else ""
        more = "".join(f", {each}" for each in (*times, job) if each)
        return f"{self}{more}"

    @property
    def ended(self) -> int:
        """When it has ended, in milliseconds; 0: it has not, or that is not known."""
        return max(row.get("end_time_ms") or 0 for row in self.rows) if self.state in OVER else 0


def find(
    observer: Observer,
    text: str,
    kinds: Iterable[str],
    missing: list[str],
    rather: Callable[[Thing], bool] = lambda thing: thing.state not in OVER,
    last: bool = False,
) -> Thing | None:
    """What is meant by a text, of things of these kinds; None if there is no such thing.

    Args:
        observer: the cluster.
        text: an id, a part of one, a name or a process id.
        kinds: of `KINDS`.
        missing: of whom nothing is known is added to it.
        rather: says of a thing whether it is meant rather than others.
        last: of things that are all called so, and have all ended, the one that ended last is meant. `missing` says so.

    Raises:
        Ambiguous: it may be several things.
    """
    looks = [_Look(observer, kind, missing) for kind in kinds]
    for tier in (_by_id, _by_name, _by_part):
        found: dict[str, Thing] = {}
        for look in looks:
            for thing in look.find(tier(look.kind, text)):
                found.setdefault(thing.ident, thing)  # an object has the id of its task
        if found and last and tier is _by_name and len(found) > 1 and all(thing.ended for thing in found.values()):
            thing = max(found.values(), key=lambda thing: thing.ended)
            others = "others" if len(found) >= SHOWN_MAX * 2 else several(len(found) - 1, "other")
            seen = (
                f": `skate list {thing.kind} -f name={shlex.quote(text)}` has them"
                if "name" in NAMES[thing.kind]
                else ""
            )
            missing.append(f"{others} of this name ended before it{seen}")
            return thing
        if found:
            return _only(text, list(found.values()), rather)
    return None


def _by_id(kind: str, text: str) -> list[Filter]:
    return [(name, EQUAL, text) for name in IDS[kind]]


def _by_name(kind: str, text: str) -> list[Filter]:
    return [(name, EQUAL, text) for name in NAMES[kind] if text != "0" or name not in _PIDS]


def _by_part(kind: str, text: str) -> list[Filter]:
    return [(name, LIKE, text.casefold()) for name in IDS[kind]] if len(text) >= PART_MIN else []


def _only(text: str, found: list[Thing], rather: Callable[[Thing], bool]) -> Thing:
    live = [thing for thing in found if rather(thing)]
    for wanted in (found, live):
        if len(wanted) == 1:
            return wanted[0]
    shown = (live or found)[:SHOWN_MAX]
    more = len(live or found) - len(shown)
    lines = [*(thing.beside_others() for thing in shown), *(["and more"] if more else [])]
    raise Ambiguous("\n  ".join([f"{text!r} may be one of several things: say more of the id of one of them", *lines]))


class _Look:
    """The things of one kind. But for tasks, which may be millions, they are all asked for, once."""

    def __init__(self, observer: Observer, kind: str, missing: list[str]) -> None:
        self.observer = observer
        self.kind = kind
        self.missing = missing
        self._all: list[dict[str, Any]] | None = None

    def find(self, ways: list[Filter]) -> Iterator[Thing]:
        """Those of which one of these is so."""
        ident = state.KEY[self.kind]
        found: dict[str, list[dict[str, Any]]] = {}
        for way in ways:
            for row in self._rows(way):
                rows = found.setdefault(str(row[ident] or row.get("submission_id")), [])
                if row not in rows:  # an actor may be called as its class is
                    rows.append(row)
        for key, rows in found.items():
            yield Thing(self.kind, key, tuple(rows))

    def _rows(self, way: Filter) -> list[dict[str, Any]]:
        if self.kind == "tasks":
            return self._listed([way], SHOWN_MAX * 2)
        if self._all is None:
            self._all = self._listed([], 1 << 30)
        return [row for row in self._all if meets(row, [way])]

    def _listed(self, wanted: list[Filter], limit: int) -> list[dict[str, Any]]:
        found = state.listed(self.observer, self.kind, wanted, limit, detail=True)
        self.missing += [each for each in found.missing if each not in self.missing]
        return found.rows
